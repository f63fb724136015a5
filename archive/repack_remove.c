#include "archive/error.h"
#include "archive/removal.h"
#include "archive/repack_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

static int unlink_segment(struct archive *a, uint64_t id)
{
    char path[PATH_MAX];
    int err = segment_path(a->path, id, path);
    if (err == 0)
        err = a->ops->unlink(a->ops->ctx, path);
    if (err == 0)
        atomic_fetch_add(&a->removals, 1);
    return err == -ENOENT ? 0 : err;
}

struct forget {
    struct archive *archive;
    uint64_t id;
};

/* In the store's thread. */
static int forget_segment(void *arg)
{
    const struct forget *f = arg;
    struct index_txn *t = NULL;
    int err = index_begin_write(f->archive->index, &t);
    if (err != 0)
        return err;
    row_delete_segment(t, f->id);
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
        struct forget forget = {.archive = a, .id = id};
        if (err == 0 && is_due(r, time_us))
            err = repack_in_store(r, forget_segment, &forget);
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int repack_remove(struct repack *r)
{
    int fd = -1, err = removal_begin(r->archive->path, &fd);
    r->summary->removal_held = err == ERR_LOCKED;
    if (err == 0 || err == ERR_LOCKED)
        err = remove_due(r);
    removal_release(fd);
    return err;
}
