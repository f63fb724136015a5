#include "archive/repack.h"

#include "archive/error.h"
#include "archive/repack_internal.h"
#include "archive/store.h"

#include <errno.h>
#include <limits.h>
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

bool repack_lists(const struct buffer *segments, uint64_t id)
{
    for (size_t i = 0; i < segments->size; i += sizeof(uint64_t))
        if (get_u64(segments->data + i) == id)
            return true;
    return false;
}

int repack_progress(struct repack *r, uint64_t bytes)
{
    r->done_bytes += bytes;
    if (r->done_bytes > r->total_bytes)
        r->done_bytes = r->total_bytes;
    if (r->options->progress != NULL &&
        r->options->progress(r->options->arg, r->done_bytes, r->total_bytes) != 0)
        return ERR_STOPPED;
    return 0;
}

int repack_in_store(struct repack *r, int (*work)(void *arg), void *arg)
{
    const struct repack_options *o = r->options;
    return o->in_store != NULL ? o->in_store(o->arg, work, arg) : work(arg);
}

static void note_made(struct repack *r, uint64_t segment)
{
    if (segment != 0 && !repack_lists(&r->made, segment))
        buffer_put_u64(&r->made, segment);
}

/* In the store's thread. */
static int move_batch(void *arg)
{
    struct repack *r = arg;
    int err = r->made.failed ? -ENOMEM : 0;
    size_t i = 0;
    while (err == 0 && i < r->batch_count) {
        err = store_move(r->archive, r->batch[i++]);
        note_made(r, store_moved_segment(r->archive));
    }
    for (size_t k = 0; i + k < r->batch_count; k++)
        r->batch[k] = r->batch[i + k];
    r->batch_count -= i;
    return err != 0 ? err : store_commit_moved(r->archive);
}

static void drop_batch(struct repack *r)
{
    for (size_t i = 0; i < r->batch_count; i++)
        record_destroy(r->batch[i]);
    r->batch_count = 0;
    r->batch_bytes = 0;
}

int repack_flush(struct repack *r)
{
    int err = r->batch_count > 0 ? repack_in_store(r, move_batch, r) : 0;
    drop_batch(r);
    return err;
}

int repack_emit(struct repack *r, struct record *record)
{
    r->batch[r->batch_count++] = record;
    r->batch_bytes += record_size(&record->header);
    return r->batch_count < REPACK_BATCH_RECORDS && r->batch_bytes < REPACK_BATCH_BYTES
               ? 0
               : repack_flush(r);
}

static int copy_account(void *arg, const struct account_info *info)
{
    return repack_copy_messages(arg, info);
}

/* Parts and chunks before the messages that name them. */
static int copy(struct repack *r)
{
    int err = r->options->in_store == NULL ? repack_collect_names(r) : 0;
    for (size_t i = 0; err == 0 && i < r->sources_count; i++)
        err = repack_copy_records(r, &r->sources[i]);
    if (err == 0)
        err = repack_flush_pack(r);
    if (err == 0)
        err = repack_copy_chunks(r);
    if (err == 0)
        err = archive_each_account(r->archive, copy_account, r);
    return err != 0 ? err : repack_flush(r);
}

/* From here on the sources need not be there. */
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
    int err = record_prepare(record, r->codec);
    if (err != 0) {
        record_destroy(record);
        return err;
    }
    err = repack_emit(r, record);
    return err != 0 ? err : repack_flush(r);
}

static void count_after(struct repack *r)
{
    for (size_t i = 0; i < r->made.size; i += sizeof(uint64_t)) {
        char path[PATH_MAX];
        struct stat st;
        if (segment_path(r->archive->path, get_u64(r->made.data + i), path) == 0 &&
            stat(path, &st) == 0)
            r->summary->bytes_after += (uint64_t)st.st_size;
    }
}

/* In the store's thread. */
static int seal_all(void *arg)
{
    const struct repack *r = arg;
    return store_seal(r->archive);
}

/* In the store's thread. */
static int seal_own(void *arg)
{
    const struct repack *r = arg;
    int err = store_seal_moved(r->archive);
    return err != 0 || r->options->in_store != NULL ? err
                                                    : archive_drop_garbage(r->archive);
}

static int rewrite(struct repack *r)
{
    int err = copy(r);
    if (err == 0)
        err = repack_check(r);
    if (err == 0)
        err = write_supersedes(r);
    if (err == 0)
        err = repack_in_store(r, seal_own, r);
    if (err == 0) {
        r->summary->segments_read = r->sources_count;
        count_after(r);
    }
    return err;
}

static int run(struct repack *r)
{
    int err = r->options->in_passing ? 0 : repack_in_store(r, seal_all, r);
    if (err == 0)
        err = reader_create(r->archive, &r->reader);
    if (err == 0)
        err = repack_look(r);
    if (err == 0 && r->sources_count > 0)
        err = rewrite(r);
    /* It may be a while until it goes on. */
    if (err == ERR_STOPPED)
        (void)repack_in_store(r, seal_own, r);
    return err != 0 ? err : repack_remove(r);
}

static void release(struct repack *r)
{
    drop_batch(r);
    reader_destroy(r->reader);
    codec_destroy(r->codec);
    record_view_free(&r->view);
    record_view_free(&r->packed);
    hash_set_free(&r->named);
    hash_set_free(&r->copied);
    buffer_free(&r->pack);
    buffer_free(&r->made);
    buffer_free(&r->unproven);
    free(r->sources);
    free(r);
}

int archive_repack(struct archive *a, const struct repack_options *options,
                   struct repack_summary *out)
{
    *out = (struct repack_summary){0};
    struct repack *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    r->archive = a;
    r->options = options;
    r->summary = out;
    r->began_us = archive_now_us();
    r->codec = codec_create();
    int err = r->codec == NULL ? -ENOMEM : run(r);
    release(r);
    return err;
}
