/* Recovery: what is durable is indexed, what may only be in the page cache is written anew
 * into a new segment, what is torn is put aside, and every older segment ends sealed
 * (FORMAT.md, "Recovery"). It may be killed anywhere and run again (I7). */
#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_apply.h"
#include "archive/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Rows changed in one transaction, and those of one record more: what it changes stays in
 * memory, a few MiB. */
#define INDEX_STEP 16384
#define COPY_STEP (1u << 20)

/* An unsealed segment between its walk and its seal. */
struct unsealed {
    uint64_t id;
    uint64_t durable;   /* records below are known to be on disk */
    uint64_t valid_end; /* records from durable to here are valid, but maybe only in the
                           page cache */
    uint64_t size;
    bool seal_torn; /* the tail is a seal whose trailer did not get to the disk */
    struct seal seal;
};

struct recovery {
    struct archive *a;
    struct record_view view;
    struct index_txn *txn; /* open while records are being indexed */
    uint64_t last_lsn;
    struct unsealed *unsealed;
    size_t unsealed_count;
    struct buffer carried; /* LSNs copied by this run: u64 each */
    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total); /* may be NULL */
    uint64_t passed; /* bytes of the segments before this one */
    uint64_t total;  /* of all; 0 without progress */
};

static void damage(struct recovery *r, uint64_t id, uint64_t offset, const char *what)
{
    archive_note(r->a, NOTE_DAMAGE, "segment %" PRIu64 " at offset %" PRIu64 ": %s", id,
                 offset, what);
}

static int end_txn(struct recovery *r)
{
    if (r->txn == NULL)
        return 0;
    struct index_txn *t = r->txn;
    r->txn = NULL;
    return index_commit(t);
}

/* Looked through up to here of the present segment: ERR_STOPPED when the caller wants an
 * end. */
static int tell(struct recovery *r, uint64_t offset)
{
    bool over =
        r->progress != NULL && r->progress(r->a->arg, r->passed + offset, r->total) != 0;
    return over ? ERR_STOPPED : 0;
}

/* Index the record in r->view. */
static int apply_view(struct recovery *r, uint64_t id)
{
    int err = r->txn == NULL ? index_begin_write(r->a->index, &r->txn) : 0;
    if (err != 0)
        return err;
    const struct place place = {.segment = id, .offset = r->view.offset};
    index_apply(r->txn, &r->view.header, span_of(r->view.meta.data, r->view.meta.size),
                &place);
    return index_changes(r->txn) >= INDEX_STEP ? end_txn(r) : 0;
}

static int put_segment_row(struct recovery *r, uint64_t id, const struct segment_row *row)
{
    int err = r->txn == NULL ? index_begin_write(r->a->index, &r->txn) : 0;
    if (err != 0)
        return err;
    row_put_segment(r->txn, id, row);
    if (r->last_lsn > 0)
        row_put_number(r->txn, INFO_LAST_LSN, r->last_lsn);
    return end_txn(r);
}

static void note_lsn(struct recovery *r)
{
    if (r->view.header.lsn > r->last_lsn)
        r->last_lsn = r->view.header.lsn;
}

/* Walk the valid records of [offset, limit), passing over damaged stretches. each may be
 * NULL. damaged: called for each stretch, may be NULL. */
static int walk(struct recovery *r, struct segment_file *f, uint64_t offset, uint64_t limit,
                int (*each)(struct recovery *r, struct segment_file *f, void *arg),
                bool say_damage, void *arg)
{
    while (offset < limit) {
        int err = segment_read(f, offset, limit, r->a->codec, &r->view);
        if (err == 0) {
            note_lsn(r);
            err = each(r, f, arg);
            offset += record_size(&r->view.header);
            if (err == 0)
                err = tell(r, offset);
            if (err != 0)
                return err;
            continue;
        }
        if (err != ERR_DAMAGED && err != ERR_VERSION)
            return err;
        if (say_damage)
            damage(r, f->header.id, offset,
                   err == ERR_VERSION ? "a record of a later version" : "damaged record");
        err = segment_resync(f, offset + 1, limit, &offset);
        if (err != 0)
            return err == ERR_NOT_FOUND ? 0 : err;
    }
    return 0;
}

/* From here to limit: where does the unbroken run of valid records end? */
static int run_end(struct recovery *r, struct segment_file *f, uint64_t offset,
                   uint64_t limit, uint64_t *out_end)
{
    while (offset < limit) {
        int err = segment_read(f, offset, limit, r->a->codec, &r->view);
        if (err == 0)
            err = segment_read_body(f, &r->view, NULL);
        if (err == 0)
            err =
                index_check(&r->view.header, span_of(r->view.meta.data, r->view.meta.size));
        if (err == ERR_DAMAGED || err == ERR_VERSION || r->view.header.type == RECORD_SEAL)
            break;
        if (err != 0)
            return err;
        note_lsn(r);
        offset += record_size(&r->view.header);
    }
    *out_end = offset;
    return 0;
}

static int find_durable(struct recovery *r, struct segment_file *f, void *arg)
{
    struct commit_meta meta;
    struct unsealed *u = arg;
    (void)f;
    if (r->view.header.type == RECORD_SEAL) {
        /* A seal is written only when all before it is durable. */
        u->durable = r->view.offset;
        u->seal_torn = true;
    }
    if (r->view.header.type == RECORD_COMMIT &&
        commit_meta_decode(span_of(r->view.meta.data, r->view.meta.size), &meta) == 0 &&
        meta.durable_upto > u->durable && meta.durable_upto <= r->view.offset)
        u->durable = meta.durable_upto;
    return 0;
}

struct take_arg {
    uint64_t indexed;
    struct seal *seal; /* NULL: sealed already */
};

/* A durable record: count it in the seal to come, index it if it is not yet. */
static int take_durable(struct recovery *r, struct segment_file *f, void *arg)
{
    const struct take_arg *take = arg;
    int err = index_check(&r->view.header, span_of(r->view.meta.data, r->view.meta.size));
    if (err != 0) { /* no writer of ours: told, and passed over */
        damage(r, f->header.id, r->view.offset, "a record that says nothing sensible");
        return 0;
    }
    if (take->seal != NULL)
        err = seal_add(take->seal, r->view.offset, &r->view.header,
                       span_of(r->view.head.data, record_header_size(&r->view.header) +
                                                      r->view.header.meta_size),
                       span_of(r->view.meta.data, r->view.meta.size));
    if (err == 0 && r->view.offset >= take->indexed)
        err = apply_view(r, f->header.id);
    return err;
}

static int recover_sealed(struct recovery *r, struct segment_file *f,
                          struct segment_row *row, const struct segment_trailer *trailer)
{
    struct take_arg take = {.indexed = row->indexed};
    uint64_t start =
        row->indexed < SEGMENT_HEADER_SIZE ? SEGMENT_HEADER_SIZE : row->indexed;
    int err = walk(r, f, start, trailer->seal_offset, take_durable, true, &take);
    if (err != 0)
        return err;
    if (trailer->last_lsn > r->last_lsn)
        r->last_lsn = trailer->last_lsn;
    row->sealed = true;
    row->indexed = f->size;
    memcpy(row->hash, trailer->hash, SHA256_SIZE);
    return put_segment_row(r, f->header.id, row);
}

/* torn_seal: where the seal begins whose trailer is there, but not all of the rest; else 0.
 */
static int recover_unsealed(struct recovery *r, struct segment_file *f,
                            struct segment_row *row, uint64_t torn_seal)
{
    struct unsealed *u = &r->unsealed[r->unsealed_count];
    *u = (struct unsealed){.id = f->header.id,
                           .durable = row->indexed > torn_seal ? row->indexed : torn_seal,
                           .size = f->size,
                           .seal_torn = torn_seal != 0};
    if (u->durable < SEGMENT_HEADER_SIZE)
        u->durable = SEGMENT_HEADER_SIZE;
    int err = walk(r, f, SEGMENT_HEADER_SIZE, f->size, find_durable, false, u);
    if (err == 0)
        err = seal_begin(&u->seal, &f->header);
    if (err != 0)
        return err;
    r->unsealed_count++;
    if (u->durable > f->size) {
        damage(r, u->id, f->size, "the file is shorter than what was written to it");
        u->durable = f->size;
    }
    struct take_arg take = {.indexed = row->indexed, .seal = &u->seal};
    err = walk(r, f, SEGMENT_HEADER_SIZE, u->durable, take_durable, true, &take);
    if (err == 0)
        err = run_end(r, f, u->durable, f->size, &u->valid_end);
    if (err != 0)
        return err;
    row->indexed = u->durable;
    return put_segment_row(r, u->id, row);
}

/* Is the seal on disk for certain? The next segment's trailer names it only once it was
 * synced. */
static bool seal_is_vouched(struct recovery *r, const struct segment_trailer *trailer)
{
    struct segment_file next;
    struct segment_trailer t;
    struct archive *a = r->a;
    if (segment_open(a->ops, a->path, trailer->id + 1, a->cask.uuid, &next) != 0)
        return false;
    bool vouched = next.header.predecessor == trailer->id &&
                   segment_read_trailer(&next, &t) == 0 &&
                   memcmp(t.predecessor_hash, trailer->hash, SHA256_SIZE) == 0;
    segment_file_close(&next);
    return vouched;
}

/* A seal that may be in the page cache only, after a kill or a failed sync, is written
 * again, byte for byte, and synced. ERR_NOT_FOUND: it is not whole. */
static int settle_seal(struct recovery *r, struct segment_file *f,
                       struct segment_trailer *trailer)
{
    const struct file_ops *ops = r->a->ops;
    const struct record_view *v = &r->view;
    uint64_t at = trailer->seal_offset;
    uint8_t bytes[SEGMENT_TRAILER_SIZE];
    char path[PATH_MAX];
    int fd = -1, err = segment_read(f, at, f->size, r->a->codec, &r->view);
    if (err == ERR_DAMAGED || err == ERR_VERSION ||
        (err == 0 && (v->header.type != RECORD_SEAL ||
                      at + record_size(&v->header) + sizeof(bytes) != f->size)))
        return ERR_NOT_FOUND;
    if (err == 0)
        err = segment_path(r->a->path, trailer->id, path);
    if (err == 0)
        err = ops->open(ops->ctx, path, O_RDWR, 0, &fd);
    if (err == -EROFS) /* then nothing waits to be written: what is read is on the disk */
        return 0;
    if (err != 0)
        return err;
    segment_trailer_encode(trailer, bytes);
    err = file_write_all(ops, fd, v->head.data, record_size(&v->header), at);
    if (err == 0)
        err = file_write_all(ops, fd, bytes, sizeof(bytes), f->size - sizeof(bytes));
    if (err == 0)
        err = ops->fdatasync(ops->ctx, fd);
    ops->close(ops->ctx, fd);
    return err;
}

/* A segment that the index does not know to be sealed. */
static int recover_unknown(struct recovery *r, struct segment_file *f,
                           struct segment_row *row)
{
    struct segment_trailer trailer;
    int err = segment_read_trailer(f, &trailer);
    if (err == ERR_NOT_FOUND)
        return recover_unsealed(r, f, row, 0);
    if (err == 0 && !seal_is_vouched(r, &trailer))
        err = settle_seal(r, f, &trailer);
    if (err == ERR_NOT_FOUND)
        return recover_unsealed(r, f, row, trailer.seal_offset);
    return err != 0 ? err : recover_sealed(r, f, row, &trailer);
}

/* A segment whose header never became durable: nothing in it was acknowledged. */
static int remove_stillborn(struct recovery *r, uint64_t id)
{
    char path[PATH_MAX];
    int err = segment_path(r->a->path, id, path);
    return err != 0 ? err : r->a->ops->unlink(r->a->ops->ctx, path);
}

static int recover_segment(struct recovery *r, uint64_t id)
{
    struct archive *a = r->a;
    struct segment_file f;
    struct segment_row row = {0};
    struct segment_trailer trailer;
    struct index_txn *t = NULL;
    int err = index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    err = row_get_segment(t, id, &row);
    index_abort(t);
    if (err != 0 && err != ERR_NOT_FOUND)
        return err;
    err = segment_open(a->ops, a->path, id, a->cask.uuid, &f);
    if ((err == ERR_DAMAGED || err == ERR_VERSION) && id > a->cask.highest_segment)
        return remove_stillborn(r, id);
    if (err == ERR_DAMAGED || err == ERR_VERSION || err == ERR_NOT_FOUND) {
        damage(r, id, 0, err == ERR_VERSION ? error_text(err) : "damaged segment header");
        return 0;
    }
    if (err != 0)
        return err;
    if (f.header_damaged)
        damage(r, id, 0, "damaged segment header; its records can still be read");
    if (row.sealed && row.indexed == f.size)
        goto out;
    if (!row.sealed) {
        err = recover_unknown(r, &f, &row);
        goto out;
    }
    err = segment_read_trailer(&f, &trailer);
    if (err == 0)
        err = recover_sealed(r, &f, &row, &trailer);
    else if (err == ERR_NOT_FOUND) {
        damage(r, id, 0, "the seal is damaged, or the file was cut");
        err = 0;
    }
out:
    r->passed += f.size;
    segment_file_close(&f);
    return err;
}

static bool carried_now(const struct recovery *r, uint64_t lsn)
{
    for (size_t i = 0; i + 8 <= r->carried.size; i += 8)
        if (get_u64(r->carried.data + i) == lsn)
            return true;
    return false;
}

static bool carried_before(struct recovery *r, uint64_t lsn)
{
    struct index_txn *t = NULL;
    if (index_begin_read(r->a->index, &t) != 0)
        return false;
    bool yes = row_is_carried(t, lsn);
    index_abort(t);
    return yes;
}

/* A copy of the record in r->view for the store. */
static int copy_view(struct recovery *r, struct record **out)
{
    const struct record_view *v = &r->view;
    uint32_t header_size = record_header_size(&v->header);
    struct record *copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    copy->header = v->header;
    buffer_put(&copy->meta, v->meta.data, v->meta.size);
    if (v->header.flags & RECORD_META_ZSTD)
        buffer_put(&copy->stored_meta, v->head.data + header_size, v->header.meta_size);
    copy->body = malloc(v->stored_body.size + 1);
    if (copy->body == NULL || copy->meta.failed || copy->stored_meta.failed) {
        record_destroy(copy);
        return -ENOMEM;
    }
    memcpy(copy->body, v->stored_body.data, v->stored_body.size);
    *out = copy;
    return 0;
}

static int carry_record(struct recovery *r)
{
    const struct record_header *h = &r->view.header;
    struct record *copy = NULL;
    if (h->type == RECORD_COMMIT || carried_now(r, h->lsn) || carried_before(r, h->lsn))
        return 0;
    int err = copy_view(r, &copy);
    if (err != 0)
        return err;
    buffer_put_u64(&r->carried, h->lsn);
    return r->carried.failed ? (record_destroy(copy), -ENOMEM) : store_carry(r->a, copy);
}

/* Valid records that may be in the page cache only go into a new segment. Those of
 * repacking need not: what they were copied from is there until they are durable. */
static int carry(struct recovery *r, const struct unsealed *u)
{
    struct segment_file f;
    size_t before = r->carried.size;
    int err = segment_open(r->a->ops, r->a->path, u->id, r->a->cask.uuid, &f);
    if (err != 0)
        return err;
    bool copies = (f.header.compatible & SEGMENT_REPACKED) != 0;
    uint64_t offset = copies ? u->valid_end : u->durable;
    while (err == 0 && offset < u->valid_end) {
        err = segment_read(&f, offset, u->valid_end, r->a->codec, &r->view);
        if (err == 0)
            err = segment_read_body(&f, &r->view, NULL);
        if (err == 0)
            err = carry_record(r);
        offset += record_size(&r->view.header);
    }
    segment_file_close(&f);
    if (err == 0 && r->carried.size > before)
        archive_note(r->a, NOTE_INFO,
                     "segment %" PRIu64 ": %zu records written but not committed were kept",
                     u->id, (r->carried.size - before) / 8);
    return err;
}

/* Copy what will be cut into quarantine/, for a person to see. */
static int put_tail_aside(struct recovery *r, const struct unsealed *u, int from)
{
    char path[PATH_MAX];
    struct archive *a = r->a;
    int n = snprintf(path, sizeof(path), "%s/quarantine/tail-%08" PRIu64 "-%" PRIu64,
                     a->path, u->id, u->valid_end);
    uint8_t *window = malloc(COPY_STEP);
    int to = -1, err = window == NULL ? -ENOMEM : 0;
    if (n < 0 || (size_t)n >= sizeof(path))
        err = -ENAMETOOLONG;
    if (err == 0)
        err = a->ops->open(a->ops->ctx, path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &to);
    uint64_t at = u->valid_end;
    while (err == 0 && at < u->size) {
        size_t size = u->size - at < COPY_STEP ? u->size - at : COPY_STEP;
        err = file_read_exact(a->ops, from, window, size, at);
        if (err == 0)
            err = file_write_all(a->ops, to, window, size, at - u->valid_end);
        at += size;
    }
    if (err == 0)
        err = a->ops->fsync(a->ops->ctx, to);
    if (to >= 0)
        a->ops->close(a->ops->ctx, to);
    free(window);
    if (err == 0)
        archive_note(a, NOTE_INFO,
                     "segment %" PRIu64 ": a torn tail of %" PRIu64
                     " bytes was cut; a copy is in %s",
                     u->id, u->size - u->valid_end, path);
    return err;
}

static int seal_old(struct recovery *r, struct unsealed *u)
{
    struct archive *a = r->a;
    struct segment_row row = {.sealed = true};
    struct segment_trailer trailer;
    struct segment_file f;
    char path[PATH_MAX];
    uint8_t previous[SHA256_SIZE];
    int fd = -1, err = segment_open(a->ops, a->path, u->id, a->cask.uuid, &f);
    if (err != 0)
        return err;
    err = archive_segment_hash(a, f.header.predecessor, previous);
    if (err == 0)
        err = segment_path(a->path, u->id, path);
    if (err == 0)
        err = a->ops->open(a->ops->ctx, path, O_RDWR, 0, &fd);
    if (err == 0 && u->valid_end < u->size && !u->seal_torn)
        err = put_tail_aside(r, u, fd);
    if (err == 0)
        err = seal_write(&u->seal, a->ops, fd, &f.header, u->durable, previous, a->codec,
                         &trailer, &row.indexed);
    if (fd >= 0)
        a->ops->close(a->ops->ctx, fd);
    segment_file_close(&f);
    if (err != 0)
        return err;
    memcpy(row.hash, trailer.hash, SHA256_SIZE);
    return put_segment_row(r, u->id, &row);
}

/* Replaced by repacking and removed, or acknowledged as lost: it need not be there. */
static bool may_be_gone(struct archive *a, uint64_t id)
{
    struct index_txn *t = NULL;
    uint64_t first = id, last = 0;
    if (index_begin_read(a->index, &t) != 0)
        return false;
    bool yes = row_is_superseded(t, id) ||
               (row_next_lost(t, 0, &first, &last) == 0 && first == id);
    index_abort(t);
    return yes;
}

/* Segment ids are given out without gaps: one that is not there is missing. */
static void note_missing(struct recovery *r, const uint64_t *ids, size_t count)
{
    size_t at = 0;
    for (uint64_t id = 1; id <= r->a->cask.highest_segment; id++) {
        if (at < count && ids[at] == id)
            at++;
        else if (!may_be_gone(r->a, id))
            damage(r, id, 0, "the segment is missing");
    }
}

static int recover_all(struct recovery *r, const uint64_t *ids, size_t count)
{
    struct archive *a = r->a;
    int err = 0;
    for (size_t i = 0; err == 0 && i < count; i++)
        err = recover_segment(r, ids[i]);
    if (err == 0)
        err = end_txn(r);
    if (err != 0)
        return err;
    note_missing(r, ids, count);
    for (size_t i = 0; i < count; i++) {
        struct stat st;
        char path[PATH_MAX];
        if (ids[i] > a->cask.highest_segment && segment_path(a->path, ids[i], path) == 0 &&
            stat(path, &st) == 0)
            a->cask.highest_segment = ids[i];
    }
    err = store_create(a);
    if (err != 0)
        return err;
    if (r->last_lsn > a->store->last_lsn)
        a->store->last_lsn = r->last_lsn;
    for (size_t i = 0; err == 0 && i < r->unsealed_count; i++)
        err = carry(r, &r->unsealed[i]);
    if (err == 0)
        err = store_commit(a);
    if (err == 0)
        err = archive_drop_garbage(a); /* rows that superseded segments have brought back */
    if (err == 0)
        err = store_learn_accounts(a); /* those that were carried have their numbers */
    for (size_t i = 0; err == 0 && i < r->unsealed_count; i++)
        err = seal_old(r, &r->unsealed[i]);
    return err;
}

int archive_recover(struct archive *a,
                    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total))
{
    uint64_t *ids = NULL;
    size_t count = 0;
    struct recovery r = {.a = a, .progress = progress};
    struct index_txn *t = NULL;
    int err = segment_list(a->path, &ids, &count);
    if (err != 0)
        return err;
    if (progress != NULL)
        r.total = segment_bytes(a->path, ids, count);
    err = index_begin_read(a->index, &t);
    if (err == 0) {
        err = row_get_number(t, INFO_LAST_LSN, &r.last_lsn);
        index_abort(t);
    }
    r.unsealed = calloc(count + 1, sizeof(*r.unsealed));
    if (err == 0)
        err = r.unsealed == NULL ? -ENOMEM : recover_all(&r, ids, count);
    index_abort(r.txn);
    for (size_t i = 0; i < r.unsealed_count; i++)
        seal_free(&r.unsealed[i].seal);
    free(r.unsealed);
    record_view_free(&r.view);
    buffer_free(&r.carried);
    free(ids);
    return err;
}
