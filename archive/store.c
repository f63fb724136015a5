#include "archive/store.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_apply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int learn_number(struct archive *a, enum info_number which, uint64_t *out)
{
    struct index_txn *t = NULL;
    int err = index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    err = row_get_number(t, which, out);
    index_abort(t);
    return err;
}

int store_learn_accounts(struct archive *a)
{
    return learn_number(a, INFO_LAST_ACCOUNT, &a->store->last_account);
}

int store_create(struct archive *a)
{
    a->store = calloc(1, sizeof(*a->store));
    if (a->store == NULL)
        return -ENOMEM;
    int err = learn_number(a, INFO_LAST_LSN, &a->store->last_lsn);
    return err != 0 ? err : store_learn_accounts(a);
}

static void clear_batch(struct lane *l)
{
    for (size_t i = 0; i < l->batch_count; i++)
        record_destroy(l->batch[i].record);
    l->batch_count = 0;
    l->batch_bytes = 0;
}

static void clear_pending(struct store *s)
{
    for (size_t i = 0; i < s->pending_count; i++)
        buffer_free(&s->pending[i].key);
    s->pending_count = 0;
}

void store_destroy(struct archive *a)
{
    struct store *s = a->store;
    if (s == NULL)
        return;
    segment_writer_abandon(s->fetched.segment);
    segment_writer_abandon(s->moved.segment);
    clear_batch(&s->fetched);
    clear_batch(&s->moved);
    clear_pending(s);
    free(s);
    a->store = NULL;
}

static int fail(struct archive *a, int err)
{
    if (err != 0 && a->store->failed == 0)
        a->store->failed = err;
    return err;
}

int archive_segment_hash(struct archive *a, uint64_t id, uint8_t out[SHA256_SIZE])
{
    struct index_txn *t = NULL;
    struct segment_row row = {0};
    memset(out, 0, SHA256_SIZE);
    int err = id != 0 ? index_begin_read(a->index, &t) : ERR_NOT_FOUND;
    if (err == 0)
        err = row_get_segment(t, id, &row);
    if (err == 0 && row.sealed)
        memcpy(out, row.hash, SHA256_SIZE);
    index_abort(t);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* A new segment, known to CASK before anything in it can be acknowledged. */
static int open_segment(struct archive *a, struct lane *l)
{
    struct segment_header header = {
        .compatible = l == &a->store->moved ? SEGMENT_REPACKED : 0,
        .id = a->cask.highest_segment + 1,
        .predecessor = a->cask.highest_segment,
        .created_us = archive_now_us(),
    };
    struct cask cask = a->cask;
    memcpy(header.uuid, a->cask.uuid, UUID_SIZE);
    int err = segment_create(a->ops, a->path, &header, &l->segment);
    if (err != 0)
        return err;
    cask.highest_segment = header.id;
    err = cask_save(a->ops, a->path, &cask);
    /* Other threads read the rest of it. */
    if (err == 0)
        a->cask.highest_segment = header.id;
    return err;
}

static int put_in_segment(struct lane *l, struct record *r)
{
    struct batched *b = &l->batch[l->batch_count];
    int err = segment_append(l->segment, r, &b->offset);
    if (err != 0)
        return err;
    b->segment = segment_writer_header(l->segment)->id;
    b->record = r;
    free(r->body);
    r->body = NULL;
    l->batch_count++;
    l->batch_bytes += record_size(&r->header);
    return 0;
}

/* Rows and the offset up to which they go, in one transaction (I3). */
static int index_batch(struct archive *a, const struct lane *l)
{
    struct index_txn *t = NULL;
    int err = index_begin_write(a->index, &t);
    if (err != 0)
        return err;
    for (size_t i = 0; i < l->batch_count; i++) {
        const struct batched *b = &l->batch[i];
        const struct place place = {.segment = b->segment, .offset = b->offset};
        index_apply(t, &b->record->header,
                    span_of(b->record->meta.data, b->record->meta.size), &place);
    }
    struct segment_row row = {.indexed = segment_writer_durable(l->segment)};
    row_put_segment(t, segment_writer_header(l->segment)->id, &row);
    row_put_number(t, INFO_LAST_LSN, a->store->last_lsn);
    return index_commit(t);
}

static int commit_lane(struct archive *a, struct lane *l)
{
    struct store *s = a->store;
    if (s->failed != 0)
        return ERR_FAILED;
    if (l->batch_count == 0)
        return 0;
    int err = segment_sync(l->segment);
    if (err == 0)
        err = index_batch(a, l);
    if (err != 0)
        return fail(a, err);
    s->commits++;
    clear_batch(l);
    if (l == &s->fetched)
        clear_pending(s);
    return 0;
}

static struct lane *other_lane(struct store *s, const struct lane *l)
{
    return l == &s->fetched ? &s->moved : &s->fetched;
}

/* The index, and so a backup, knows of a segment not before it knows of those with lower
 * ids. */
static int begin_segment(struct archive *a, struct lane *l)
{
    int err = commit_lane(a, other_lane(a->store, l));
    return err != 0 ? err : open_segment(a, l);
}

/* A batch opens with COMMIT: what it says of the batches before it holds whatever becomes
 * of it. */
static int begin_batch(struct archive *a, struct lane *l)
{
    int err = l->segment == NULL ? begin_segment(a, l) : 0;
    if (err != 0)
        return err;
    struct record *commit = record_create(RECORD_COMMIT, 0, archive_now_us());
    if (commit == NULL)
        return -ENOMEM;
    const struct commit_meta meta = {.durable_upto = segment_writer_durable(l->segment)};
    commit_meta_encode(&commit->meta, &meta);
    err = record_prepare(commit, NULL);
    if (err == 0) {
        commit->header.lsn = ++a->store->last_lsn;
        err = put_in_segment(l, commit);
    }
    if (err != 0)
        record_destroy(commit);
    return err;
}

static int seal_segment(struct archive *a, struct lane *l)
{
    const struct segment_header *header = segment_writer_header(l->segment);
    struct segment_row row = {.sealed = true};
    struct segment_trailer trailer;
    struct index_txn *t = NULL;
    uint64_t id = header->id;
    uint8_t previous[SHA256_SIZE];
    int err = archive_segment_hash(a, header->predecessor, previous);
    if (err != 0)
        return err;
    err = segment_seal(l->segment, previous, a->codec, &trailer, &row.indexed);
    l->segment = NULL;
    if (err == 0)
        err = index_begin_write(a->index, &t);
    if (err != 0)
        return err;
    memcpy(row.hash, trailer.hash, SHA256_SIZE);
    row_put_segment(t, id, &row);
    return index_commit(t);
}

static uint64_t open_id(const struct lane *l)
{
    return l->segment == NULL ? 0 : segment_writer_header(l->segment)->id;
}

/* Commit and seal what the lane has open. A trailer names its predecessor's, so segments
 * are sealed in the order in which they were made: the other lane's first if it is older.
 */
static int seal_lane(struct archive *a, struct lane *l)
{
    struct lane *other = other_lane(a->store, l);
    if (l->segment == NULL)
        return 0;
    int err = 0;
    if (other->segment != NULL && open_id(other) < open_id(l)) {
        err = commit_lane(a, other);
        if (err == 0)
            err = fail(a, seal_segment(a, other));
    }
    if (err == 0)
        err = commit_lane(a, l);
    return err != 0 ? err : fail(a, seal_segment(a, l));
}

static bool is_full(const struct lane *l, uint64_t size)
{
    return l->segment != NULL && !segment_writer_has_room(l->segment, size);
}

/* Room for size more bytes, in a batch: seals a segment that has none. */
static int make_room(struct archive *a, struct lane *l, uint64_t size)
{
    int err = is_full(l, size)                      ? seal_lane(a, l)
              : l->batch_count == BATCH_RECORDS_MAX ? commit_lane(a, l)
                                                    : 0;
    if (err != 0 || l->batch_count > 0)
        return err;
    err = begin_batch(a, l);
    /* The batch's COMMIT may have taken the last room there was. */
    if (err == 0 && is_full(l, size)) {
        err = seal_lane(a, l);
        if (err == 0)
            err = begin_batch(a, l);
    }
    return err;
}

static int append(struct archive *a, struct lane *l, struct record *r)
{
    struct store *s = a->store;
    int err = s->failed != 0 ? ERR_FAILED : make_room(a, l, record_size(&r->header));
    if (err == 0) {
        if (r->header.lsn == 0)
            r->header.lsn = ++s->last_lsn;
        err = put_in_segment(l, r);
    }
    if (err != 0)
        record_destroy(r);
    return err == ERR_FAILED ? err : fail(a, err);
}

/* A part that is there, or on its way in this batch, is not written again: this is where
 * two workers that meet a new part at once end with one copy. */
static bool part_is_kept(struct archive *a, const struct record *r)
{
    const struct lane *l = &a->store->fetched;
    struct index_txn *t = NULL;
    struct part_row row;
    for (size_t i = 0; i < l->batch_count; i++) {
        const struct record *other = l->batch[i].record;
        if (other->header.type == RECORD_PART &&
            memcmp(other->meta.data, r->meta.data, SHA256_SIZE) == 0)
            return true;
    }
    if ((r->header.flags & RECORD_HEALS) || index_begin_read(a->index, &t) != 0)
        return false;
    bool kept = row_get_part(t, r->meta.data, &row) == 0;
    index_abort(t);
    return kept;
}

int store_append(struct archive *a, struct record *r)
{
    if (r->header.type == RECORD_PART && a->store->failed == 0 && part_is_kept(a, r)) {
        record_destroy(r);
        return 0;
    }
    r->header.lsn = 0;
    return append(a, &a->store->fetched, r);
}

int store_carry(struct archive *a, struct record *r)
{
    r->header.flags |= RECORD_CARRIED;
    return append(a, &a->store->fetched, r);
}

int store_commit(struct archive *a)
{
    return commit_lane(a, &a->store->fetched);
}

int store_seal(struct archive *a)
{
    struct store *s = a->store;
    int err = store_commit(a);
    /* The younger one takes the older one along. */
    if (err == 0)
        err = seal_lane(a, open_id(&s->fetched) > open_id(&s->moved) ? &s->fetched
                                                                     : &s->moved);
    if (err == 0)
        err = seal_lane(a, &s->fetched);
    return err != 0 ? err : seal_lane(a, &s->moved);
}

int store_move(struct archive *a, struct record *r)
{
    return append(a, &a->store->moved, r);
}

int store_commit_moved(struct archive *a)
{
    return commit_lane(a, &a->store->moved);
}

int store_seal_moved(struct archive *a)
{
    return seal_lane(a, &a->store->moved);
}

uint64_t store_moved_segment(const struct archive *a)
{
    return open_id(&a->store->moved);
}

/* The number given out for this key in the current batch, 0 if none. */
static uint32_t find_pending(const struct store *s, uint32_t account, bool source,
                             struct span key)
{
    for (size_t i = 0; i < s->pending_count; i++) {
        const struct pending_name *p = &s->pending[i];
        if ((p->source != 0) == source && (!source || p->account == account) &&
            span_equal(span_of(p->key.data, p->key.size), key))
            return source ? p->source : p->account;
    }
    return 0;
}

static uint32_t last_pending_source(const struct store *s, uint32_t account)
{
    uint32_t last = 0;
    for (size_t i = 0; i < s->pending_count; i++)
        if (s->pending[i].account == account && s->pending[i].source > last)
            last = s->pending[i].source;
    return last;
}

static int remember_pending(struct store *s, uint32_t account, uint32_t source,
                            struct span key)
{
    struct pending_name *p = &s->pending[s->pending_count];
    *p = (struct pending_name){.account = account, .source = source};
    buffer_put(&p->key, key.data, key.size);
    s->pending_count++;
    return p->key.failed ? -ENOMEM : 0;
}

static int give_account(struct archive *a, struct span name, uint32_t *out_account)
{
    struct store *s = a->store;
    *out_account = find_pending(s, 0, false, name);
    if (*out_account != 0)
        return 0;
    const struct account_meta meta = {.number = (uint32_t)++s->last_account, .name = name};
    struct record *r = record_create(RECORD_ACCOUNT, meta.number, archive_now_us());
    if (r == NULL)
        return -ENOMEM;
    account_meta_encode(&r->meta, &meta);
    int err = record_prepare(r, a->codec);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    *out_account = meta.number;
    err = store_append(a, r);
    return err != 0 ? err : remember_pending(s, meta.number, 0, name);
}

static int give_source(struct archive *a, uint32_t account, uint32_t last, struct span host,
                       struct span login, uint32_t *out_source)
{
    struct store *s = a->store;
    uint32_t pending = last_pending_source(s, account);
    const struct source_meta meta = {
        .number = (pending > last ? pending : last) + 1, .host = host, .login = login};
    struct record *r = record_create(RECORD_SOURCE, account, archive_now_us());
    if (r == NULL)
        return -ENOMEM;
    source_meta_encode(&r->meta, &meta);
    int err = record_prepare(r, a->codec);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    *out_source = meta.number;
    err = store_append(a, r);
    if (err != 0)
        return err;
    struct buffer key = {0};
    buffer_put_span(&key, host);
    buffer_put_span(&key, login);
    err = remember_pending(s, account, meta.number, span_of(key.data, key.size));
    buffer_free(&key);
    return err;
}

/* What the index knows of an origin: numbers, 0 where it has none. */
static int known_origin(struct archive *a, struct span name, struct span host,
                        struct span login, uint32_t *account, uint32_t *source,
                        uint32_t *out_last_source)
{
    struct index_txn *t = NULL;
    int err = index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    err = row_find_origin(t, name, host, login, account, source, out_last_source);
    index_abort(t);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int store_origin(struct archive *a, struct span name, struct span host, struct span login,
                 uint32_t *out_account, uint32_t *out_source)
{
    struct store *s = a->store;
    uint32_t last_source = 0;
    if (name.size == 0 || name.size > NAME_SIZE_MAX || host.size > NAME_SIZE_MAX ||
        login.size > NAME_SIZE_MAX)
        return ERR_TOO_LARGE;
    int err = s->pending_count > PENDING_NAMES_MAX - 2 ? store_commit(a) : 0;
    if (err == 0)
        err = known_origin(a, name, host, login, out_account, out_source, &last_source);
    if (err == 0 && *out_account == 0)
        err = give_account(a, name, out_account);
    if (err != 0 || *out_source != 0)
        return err;
    struct buffer key = {0};
    buffer_put_span(&key, host);
    buffer_put_span(&key, login);
    *out_source = find_pending(s, *out_account, true, span_of(key.data, key.size));
    buffer_free(&key);
    if (*out_source == 0)
        err = give_source(a, *out_account, last_source, host, login, out_source);
    return err;
}

int64_t store_segment_created(const struct archive *a)
{
    const struct segment_writer *w = a->store->fetched.segment;
    return w == NULL ? 0 : segment_writer_header(w)->created_us;
}

uint64_t store_batch_bytes(const struct archive *a)
{
    return a->store->fetched.batch_bytes;
}

uint64_t store_commits(const struct archive *a)
{
    return a->store->commits;
}

int store_failure(const struct archive *a)
{
    return a->store->failed;
}
