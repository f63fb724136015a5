#include "archive/backup.h"

#include "archive/backup_internal.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/removal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

void backup_damage(struct backup *b, uint64_t segment, const char *text)
{
    b->summary->damaged++;
    if (b->options->report != NULL)
        b->options->report(b->options->arg, segment, text);
}

int backup_refuse(struct backup *b, const char *why)
{
    b->summary->refused = why;
    return ERR_EXISTS;
}

static int add_segment(struct backup *b, struct buffer *list, uint64_t id,
                       const struct segment_row *row)
{
    struct backup_segment s = {.id = id, .size = row->indexed, .sealed = row->sealed};
    memcpy(s.hash, row->hash, SHA256_SIZE);
    buffer_put(list, &s, sizeof(s));
    if (row->sealed) {
        b->summary->head_segment = id;
        memcpy(b->summary->head, row->hash, SHA256_SIZE);
    }
    return list->failed ? -ENOMEM : 0;
}

static int take_rows(struct backup *b, struct index_txn *t, struct buffer *list)
{
    struct segment_row row;
    uint64_t id = 0;
    int err;
    for (; (err = row_next_segment(t, &id, &row)) == 0; id++) {
        /* What repacking has replaced is in others of them, synced and read back. */
        if (row.indexed > SEGMENT_HEADER_SIZE && !row_is_superseded(t, id))
            err = add_segment(b, list, id, &row);
        if (err != 0)
            return err;
    }
    for (size_t i = 0; i < b->there_count; i++)
        b->there[i].replaced = row_is_superseded(t, b->there[i].id);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* What is durable now, in one transaction: all of the archive that this backup is of. */
static int snapshot(struct backup *b)
{
    struct archive *a = b->archive;
    struct index_txn *t = NULL;
    struct buffer list = {0};
    int err = index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    err = take_rows(b, t, &list);
    index_abort(t);
    void *segments = list.data; /* malloc()ed, whole structs only: aligned */
    b->segments = segments;
    b->count = list.size / sizeof(*b->segments);
    /* Behind the index: so it knows of every segment that the index has. */
    return err != 0 ? err : cask_load(a->ops, a->path, &b->cask);
}

static int compare_ids(const void *key, const void *element)
{
    const uint64_t *id = key;
    const struct backup_segment *s = element;
    return (*id > s->id) - (*id < s->id);
}

static bool is_in_snapshot(const struct backup *b, uint64_t id)
{
    return b->count > 0 &&
           bsearch(&id, b->segments, b->count, sizeof(*b->segments), compare_ids) != NULL;
}

/* Another file has its name in the backup, with its records up to end: replace it only if
 * nothing is lost by that. */
static int weigh(struct backup *b, struct backup_segment *s, uint64_t end)
{
    char source[PATH_MAX], copy[PATH_MAX];
    struct seal seal = {0};
    bool equal = false, sound = false;
    int err = segment_path(b->archive->path, s->id, source);
    if (err == 0)
        err = segment_path(b->to, s->id, copy);
    if (err != 0)
        return err;
    err = backup_compare(b, source, copy, end, &equal);
    if (err != 0) {
        backup_damage(b, s->id,
                      err == -ENOENT ? "missing in the archive; the backup has some of it"
                                     : error_text(err));
        s->wanted = false;
        return 0;
    }
    if (equal) {
        s->wanted = s->sealed || end < s->size;
        return 0;
    }
    err = backup_check(b, copy, s->id, NULL, &seal, &sound);
    seal_free(&seal);
    if (err == 0 && sound)
        return backup_refuse(b, "a segment in it differs from the archive's, and is sound: "
                                "one of the two has gone its own way");
    return err;
}

/* Is it in the backup already? */
static int plan_segment(struct backup *b, struct backup_segment *s)
{
    struct segment_file f;
    struct segment_trailer trailer;
    s->wanted = true;
    int err = segment_open(b->archive->ops, b->to, s->id, b->cask.uuid, &f);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (err == ERR_DAMAGED)
        return b->begun_anew ? backup_refuse(b, "it holds segments of another archive") : 0;
    if (err != 0)
        return err;
    uint64_t size = f.size;
    bool damaged = f.header_damaged;
    err = segment_read_trailer(&f, &trailer);
    segment_file_close(&f);
    if (err != 0 && err != ERR_NOT_FOUND)
        return err;
    bool sealed = err == 0;
    if (damaged)
        return 0;
    if (sealed && s->sealed && size == s->size &&
        memcmp(trailer.hash, s->hash, SHA256_SIZE) == 0) {
        s->wanted = false;
        return 0;
    }
    s->seal_there = sealed ? trailer.seal_offset : 0;
    if (sealed && !s->sealed) {
        memcpy(s->hash, trailer.hash, SHA256_SIZE);
        memcpy(s->previous, trailer.predecessor_hash, SHA256_SIZE);
    }
    return weigh(b, s, sealed ? trailer.seal_offset : size);
}

/* What is open in the archive is sealed in the backup: anew, if its predecessor has another
 * seal by now. Repacking has a segment of its own, so there may be two. */
static void plan_chain(struct backup_segment *s, const struct backup_segment *before)
{
    if (s->sealed || before->id + 1 != s->id)
        return;
    s->wanted |= (before->wanted && !before->sealed) ||
                 memcmp(s->previous, before->hash, SHA256_SIZE) != 0;
}

/* Segments that only the backup has. */
static int plan_there(struct backup *b)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < b->there_count; i++) {
        uint64_t id = b->there[i].id;
        if (b->there[i].replaced || is_in_snapshot(b, id))
            continue;
        if (id > b->cask.highest_segment)
            return backup_refuse(b, "it holds segments that the archive never had: is the "
                                    "archive an older copy, or was the backup written to?");
        int err = segment_path(b->archive->path, id, path);
        if (err != 0)
            return err;
        if (access(path, F_OK) != 0)
            backup_damage(b, id, "missing in the archive; the backup has it");
    }
    return 0;
}

/* Nothing is written before all of this is known. */
static int plan(struct backup *b)
{
    int err = plan_there(b);
    for (size_t i = 0; err == 0 && i < b->count; i++) {
        err = plan_segment(b, &b->segments[i]);
        if (err == 0 && i > 0)
            plan_chain(&b->segments[i], &b->segments[i - 1]);
        if (err == 0 && b->segments[i].wanted)
            b->total_bytes += b->segments[i].size;
    }
    return err;
}

/* The lowest id that repacking has replaced, 0: none. */
static uint64_t first_replaced(const struct backup *b)
{
    for (size_t i = 0; i < b->there_count; i++)
        if (b->there[i].replaced)
            return b->there[i].id;
    return 0;
}

/* An index of the backup would not be true any more. */
static int drop_index(struct backup *b)
{
    return b->total_bytes > 0 || first_replaced(b) != 0 ? index_remove(b->to) : 0;
}

/* CASK makes it an archive, so it comes when all that it names is there. */
static int write_cask(struct backup *b)
{
    struct cask cask = b->cask;
    cask.highest_segment = b->count > 0 ? b->segments[b->count - 1].id : 0;
    for (size_t i = 0; i < b->there_count; i++)
        if (!b->there[i].replaced && b->there[i].id > cask.highest_segment)
            cask.highest_segment = b->there[i].id;
    return cask_save(b->archive->ops, b->to, &cask);
}

/* What has replaced the segments from `lowest` on is made behind them: all of it must be
 * sound in the backup, this run's and that of earlier ones. */
static int check_successors(struct backup *b, uint64_t lowest, bool *out_sound)
{
    char path[PATH_MAX];
    int err = 0;
    *out_sound = b->summary->damaged == 0;
    for (size_t i = 0; err == 0 && *out_sound && i < b->count; i++) {
        struct backup_segment *s = &b->segments[i];
        struct seal seal = {0};
        if (s->id < lowest || s->checked)
            continue;
        err = segment_path(b->to, s->id, path);
        if (err == 0)
            err = backup_check(b, path, s->id, s->sealed ? s->hash : NULL, &seal,
                               &s->checked);
        seal_free(&seal);
        *out_sound = s->checked;
        if (err == 0 && !s->checked)
            backup_damage(b, s->id, "damaged in the backup: what it replaces stays there");
    }
    return err;
}

/* What repacking has replaced in the archive. It is not kept longer than there, for the
 * backup would grow by a whole archive with each repacking. */
static int remove_replaced(struct backup *b)
{
    const struct file_ops *ops = b->archive->ops;
    char path[PATH_MAX];
    bool sound = false;
    uint64_t lowest = first_replaced(b);
    if (lowest == 0)
        return 0;
    int err = check_successors(b, lowest, &sound);
    if (err != 0 || !sound)
        return err;
    for (size_t i = 0; err == 0 && i < b->there_count; i++) {
        if (!b->there[i].replaced)
            continue;
        err = segment_path(b->to, b->there[i].id, path);
        if (err == 0)
            err = ops->unlink(ops->ctx, path);
        if (err == 0)
            b->summary->segments_removed++;
    }
    return err != 0 ? err : backup_folder_sync(b);
}

static int count_segments(struct backup *b)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    int err = segment_list(b->to, &ids, &count);
    free(ids);
    b->summary->segments = count;
    return err;
}

static int list_there(struct backup *b)
{
    uint64_t *ids = NULL;
    int err = segment_list(b->to, &ids, &b->there_count);
    if (err == 0 && (b->there = calloc(b->there_count + 1, sizeof(*b->there))) == NULL)
        err = -ENOMEM;
    for (size_t i = 0; err == 0 && i < b->there_count; i++)
        b->there[i].id = ids[i];
    free(ids);
    return err;
}

static int run(struct backup *b)
{
    int err = removal_hold(b->archive->path, &b->hold_fd);
    if (err == 0)
        err = cask_load(b->archive->ops, b->archive->path, &b->cask);
    if (err == 0)
        err = backup_folder_open(b);
    if (err == 0)
        err = list_there(b);
    if (err == 0)
        err = snapshot(b);
    if (err == 0)
        err = plan(b);
    if (err == 0)
        err = drop_index(b);
    /* By id, oldest first: what is there of an account is always its beginning. */
    for (size_t i = 0; err == 0 && i < b->count; i++)
        if (b->segments[i].wanted)
            err = backup_copy(b, &b->segments[i]);
    if (err == 0)
        err = write_cask(b);
    if (err == 0)
        err = remove_replaced(b);
    return err != 0 ? err : count_segments(b);
}

int archive_backup(struct archive *a, const char *to, const struct backup_options *options,
                   struct backup_summary *out)
{
    struct backup b = {.archive = a,
                       .to = to,
                       .options = options,
                       .summary = out,
                       .hold_fd = -1,
                       .lock_fd = -1};
    *out = (struct backup_summary){0};
    b.window = malloc(2 * (size_t)BACKUP_STEP);
    int err = b.window == NULL ? -ENOMEM : run(&b);
    removal_release(b.hold_fd);
    if (b.lock_fd >= 0)
        close(b.lock_fd);
    free(b.window);
    record_view_free(&b.view);
    free(b.segments);
    free(b.there);
    return err;
}
