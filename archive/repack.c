#include "archive/repack.h"

#include "archive/error.h"
#include "archive/removal.h"
#include "archive/repack_internal.h"
#include "archive/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

bool repack_is_source(const struct repack *r, uint64_t segment)
{
    size_t low = 0, high = r->sources_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->sources[middle].id < segment)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->sources_count && r->sources[low].id == segment;
}

int repack_progress(struct repack *r, uint64_t bytes)
{
    r->done_bytes += bytes;
    if (r->options->progress != NULL &&
        r->options->progress(r->options->arg, r->done_bytes, r->total_bytes) != 0)
        return ERR_STOPPED;
    return 0;
}

/* Does a row lead to this very place, as far as can be seen? */
static bool leads_here(struct index_txn *t, enum index_table table,
                       const struct place *place)
{
    struct index_walk row = {0};
    struct span value;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        /* Each of these rows begins with its place. */
        if (value.size >= 16 && get_u64(value.data) == place->segment &&
            get_u64(value.data + 8) == place->offset)
            return true;
    }
    return err != ERR_NOT_FOUND;
}

/* What the table of contents says is at this place; 0: nothing, or it cannot be read. */
static uint8_t type_by_toc(struct repack *r, struct segment_file *f,
                           const struct segment_trailer *trailer, uint64_t offset)
{
    struct toc_entry e;
    size_t count = 0;
    if (segment_read(f, trailer->seal_offset, f->size, r->archive->codec, &r->view) != 0 ||
        toc_decode(span_of(r->view.meta.data, r->view.meta.size), &count) != 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        toc_entry_at(span_of(r->view.meta.data, r->view.meta.size), i, &e);
        if (e.offset == offset)
            return e.type;
    }
    return 0;
}

/* A damaged record may be left behind if it is one of those that the index leads to, and
 * the index leads elsewhere: what it held has healed. */
static bool damage_has_healed(struct repack *r, struct segment_file *f,
                              const struct segment_trailer *trailer, uint64_t offset)
{
    const struct place place = {.segment = f->header.id, .offset = offset};
    struct index_txn *t = NULL;
    uint8_t type = type_by_toc(r, f, trailer, offset);
    if (type != RECORD_BLOCK && type != RECORD_END && type != RECORD_CHUNK &&
        type != RECORD_PART && type != RECORD_COMMIT)
        return false;
    if (index_begin_read(r->archive->index, &t) != 0)
        return false;
    bool healed = !leads_here(t, TABLE_MESSAGES, &place) &&
                  !leads_here(t, TABLE_PARTS, &place) &&
                  !leads_here(t, TABLE_CHUNKS, &place);
    index_abort(t);
    return healed;
}

/* Can every record that counts be read? *out_packed: repacking made the segment. */
static int look_at(struct repack *r, struct segment_file *f, bool *out_sound,
                   bool *out_packed)
{
    struct archive *a = r->archive;
    struct segment_trailer trailer;
    int err = segment_read_trailer(f, &trailer);
    uint64_t offset = SEGMENT_HEADER_SIZE;
    *out_sound = err == 0 && !f->header_damaged;
    *out_packed = false;
    while (err == 0 && offset < trailer.seal_offset && *out_sound) {
        err = segment_read(f, offset, trailer.seal_offset, a->codec, &r->view);
        bool readable = err == 0; /* header and meta */
        uint64_t size = readable ? record_size(&r->view.header) : 0;
        if (readable)
            err = segment_read_body(f, &r->view, NULL);
        if (err == 0 && r->view.header.type == RECORD_SUPERSEDES)
            *out_packed = true;
        if (err == ERR_DAMAGED)
            *out_sound = damage_has_healed(r, f, &trailer, offset);
        if (readable)
            offset += size;
        if (err == ERR_DAMAGED)
            err =
                readable ? 0 : segment_resync(f, offset + 1, trailer.seal_offset, &offset);
        if (err == ERR_NOT_FOUND) { /* damaged up to the seal */
            offset = trailer.seal_offset;
            err = 0;
        }
    }
    if (err == ERR_DAMAGED || err == ERR_VERSION || err == ERR_NOT_FOUND) {
        *out_sound = false;
        err = 0;
    }
    return err;
}

/* What was packed before is packed again only while it is small. */
#define PACKED_SIZE_MIN (SEGMENT_SIZE_MAX / 4)

static int consider(struct repack *r, uint64_t id, const uint8_t hash[SHA256_SIZE])
{
    struct archive *a = r->archive;
    struct segment_file f;
    bool sound = false, packed = false;
    int err = segment_open(a->ops, a->path, id, a->cask.uuid, &f);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (err == ERR_DAMAGED || err == ERR_VERSION) {
        r->summary->segments_skipped++;
        return 0;
    }
    if (err != 0)
        return err;
    err = look_at(r, &f, &sound, &packed);
    if (err == 0 && !sound)
        r->summary->segments_skipped++;
    else if (err == 0 && (!packed || f.size < PACKED_SIZE_MIN)) {
        struct source_segment *s = &r->sources[r->sources_count++];
        s->id = id;
        s->size = f.size;
        s->packed = packed;
        memcpy(s->hash, hash, SHA256_SIZE);
        r->summary->bytes_before += f.size;
    }
    segment_file_close(&f);
    return err;
}

static int choose_sources(struct repack *r, const uint64_t *ids, size_t count)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < count; i++) {
        struct index_txn *t = NULL;
        struct segment_row row = {0};
        err = index_begin_read(r->archive->index, &t);
        if (err != 0)
            return err;
        bool wanted = row_get_segment(t, ids[i], &row) == 0 && row.sealed &&
                      !row_is_superseded(t, ids[i]);
        index_abort(t);
        if (wanted)
            err = consider(r, ids[i], row.hash);
    }
    /* One segment that was packed already gains nothing. */
    if (r->sources_count == 1 && r->sources[0].packed)
        r->sources_count = 0;
    return err;
}

static int copy_account(void *arg, const struct account_info *info)
{
    return repack_copy_messages(arg, info);
}

static int write_supersedes(struct repack *r)
{
    struct record *record = record_create(RECORD_SUPERSEDES, 0, archive_now_us());
    if (record == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < r->sources_count; i++) {
        struct superseded s = {.segment = r->sources[i].id};
        memcpy(s.hash, r->sources[i].hash, SHA256_SIZE);
        superseded_encode(&record->meta, &s);
    }
    int err = record_prepare(record, r->archive->codec);
    if (err == 0)
        return store_append(r->archive, record);
    record_destroy(record);
    return err;
}

static int ignore(void *arg, const uint8_t *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
    return 0;
}

/* Read every message of the account back that the index now has behind `first`. */
static int check_account(struct repack *r, const struct account_info *info, uint64_t first)
{
    struct message_meta m;
    uint64_t n = 0;
    int err;
    while ((err = reader_next(r->reader, info->number, n, &m)) != ERR_NOT_FOUND) {
        if (err != 0 && err != ERR_DAMAGED)
            return err;
        n = m.n;
        uint64_t segment = reader_segment(r->reader);
        if (err == 0 && segment >= first)
            err = reader_body(r->reader, info->number, n, ignore, NULL);
        else if (err == ERR_DAMAGED)
            err = 0; /* hurt before, and not copied */
        if (err != 0)
            return err;
    }
    return 0;
}

struct check {
    struct repack *repack;
    uint64_t first; /* segment made by this run */
};

static int check_each(void *arg, const struct account_info *info)
{
    const struct check *c = arg;
    return check_account(c->repack, info, c->first);
}

/* Does a table still lead into a source? Then something was not copied. */
static int check_table(struct repack *r, struct index_txn *t, enum index_table table)
{
    struct index_walk row = {0};
    struct span value;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        /* Each of these rows begins with its place. A part that nothing names may stay
         * behind. */
        if (value.size >= 8 && repack_is_source(r, get_u64(value.data)) &&
            (table != TABLE_PARTS || hash_set_get(&r->named, row.key) != NULL))
            return ERR_DAMAGED;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* With an error nothing may go. */
static int check_left(struct repack *r)
{
    static const enum index_table tables[] = {TABLE_MESSAGES, TABLE_LEDGER, TABLE_PARTS};
    struct index_txn *t = NULL;
    int err = index_begin_read(r->archive->index, &t);
    for (size_t i = 0; err == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
        err = check_table(r, t, tables[i]);
    index_abort(t);
    return err;
}

static int unlink_segment(struct archive *a, uint64_t id)
{
    char path[PATH_MAX];
    int err = segment_path(a->path, id, path);
    if (err == 0)
        err = a->ops->unlink(a->ops->ctx, path);
    return err == -ENOENT ? 0 : err;
}

static int forget_segment(struct archive *a, uint64_t id)
{
    struct index_txn *t = NULL;
    int err = index_begin_write(a->index, &t);
    if (err != 0)
        return err;
    row_delete_segment(t, id);
    return index_commit(t);
}

/* The first superseded segment >= *id that the index still has. ERR_NOT_FOUND: no more. */
static int next_replaced(struct archive *a, uint64_t *id, int64_t *out_time_us)
{
    struct index_txn *t = NULL;
    struct segment_row row;
    int err = index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    while ((err = row_next_superseded(t, id, out_time_us)) == 0 &&
           row_get_segment(t, *id, &row) != 0)
        (*id)++;
    index_abort(t);
    return err;
}

static bool is_due(const struct repack *r, int64_t time_us)
{
    return !r->summary->removal_held &&
           (r->options->remove_now || r->began_us - time_us >= REPACK_KEEP_US);
}

static int sync_segments(struct archive *a)
{
    char folder[PATH_MAX];
    int n = snprintf(folder, sizeof(folder), "%s/segments", a->path);
    return n < 0 || (size_t)n >= sizeof(folder) ? -ENAMETOOLONG
                                                : file_sync_folder(a->ops, folder);
}

/* Superseded segments whose time has come. The index forgets them only when their removal
 * is durable: one that a power cut brought back would be indexed over what replaces it. */
static int remove_due(struct repack *r)
{
    struct archive *a = r->archive;
    int64_t time_us = 0;
    int err = index_sync(a->index);
    for (uint64_t id = 0; err == 0; id++) {
        err = next_replaced(a, &id, &time_us);
        if (err == 0 && is_due(r, time_us)) {
            err = unlink_segment(a, id);
            r->summary->segments_removed++;
        } else if (err == 0)
            r->summary->segments_kept++;
    }
    if (err != ERR_NOT_FOUND || r->summary->segments_removed == 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    err = sync_segments(a);
    for (uint64_t id = 0; err == 0; id++) {
        err = next_replaced(a, &id, &time_us);
        if (err == 0 && is_due(r, time_us))
            err = forget_segment(a, id);
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int remove_old(struct repack *r)
{
    int fd = -1, err = removal_begin(r->archive->path, &fd);
    r->summary->removal_held = err == ERR_LOCKED;
    if (err == 0 || err == ERR_LOCKED)
        err = remove_due(r);
    removal_release(fd);
    return err;
}

static void count_after(struct repack *r, uint64_t first)
{
    struct archive *a = r->archive;
    for (uint64_t id = first; id <= a->cask.highest_segment; id++) {
        char path[PATH_MAX];
        struct stat st;
        if (segment_path(a->path, id, path) == 0 && stat(path, &st) == 0)
            r->summary->bytes_after += (uint64_t)st.st_size;
    }
}

static int rewrite(struct repack *r)
{
    struct archive *a = r->archive;
    uint64_t first = a->cask.highest_segment + 1;
    int err = repack_collect_parts(r);
    for (size_t i = 0; err == 0 && i < r->sources_count; i++)
        err = repack_copy_records(r, &r->sources[i]);
    if (err == 0)
        err = repack_flush_pack(r);
    if (err == 0)
        err = archive_each_account(a, copy_account, r);
    if (err == 0)
        err = store_commit(a);
    if (err == 0)
        err = check_left(r);
    struct check c = {.repack = r, .first = first};
    if (err == 0)
        err = archive_each_account(a, check_each, &c);
    if (err == 0)
        err = write_supersedes(r);
    if (err == 0)
        err = store_seal(a);
    if (err == 0)
        err = archive_drop_garbage(a);
    if (err == 0) {
        r->summary->segments_read = r->sources_count;
        count_after(r, first);
    }
    return err;
}

int archive_repack(struct archive *a, const struct repack_options *options,
                   struct repack_summary *out)
{
    struct repack r = {
        .archive = a, .options = options, .summary = out, .began_us = archive_now_us()};
    uint64_t *ids = NULL;
    size_t count = 0;
    *out = (struct repack_summary){0};
    int err = store_seal(a);
    if (err == 0)
        err = segment_list(a->path, &ids, &count);
    if (err == 0)
        err = reader_create(a, &r.reader);
    if (err == 0 && (r.sources = calloc(count + 1, sizeof(*r.sources))) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = choose_sources(&r, ids, count);
    for (size_t i = 0; i < r.sources_count; i++)
        r.total_bytes += r.sources[i].size;
    if (err == 0 && r.sources_count > 0)
        err = rewrite(&r);
    if (err == ERR_STOPPED)
        store_seal(a);
    if (err == 0)
        err = remove_old(&r);
    reader_destroy(r.reader);
    record_view_free(&r.view);
    hash_set_free(&r.named);
    hash_set_free(&r.copied);
    record_view_free(&r.packed);
    buffer_free(&r.pack);
    free(r.sources);
    free(ids);
    return err;
}
