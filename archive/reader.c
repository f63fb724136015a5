#include "archive/reader.h"

#include "archive/archive_internal.h"
#include "archive/assemble.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/part_cache.h"
#include "archive/segment.h"
#include "archive/uidl_rows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Segments kept open. */
#define OPEN_SEGMENTS 8

/* Within this file: the segment is not there. Repacking may have removed it, and then the
 * index knows better by now: look up again, once. */
#define ERR_GONE ERR_NOT_FOUND

static int damaged_if_gone(int err)
{
    return err == ERR_GONE || err == ERR_VERSION ? ERR_DAMAGED : err;
}

struct open_segment {
    uint64_t id; /* 0: free */
    uint64_t used;
    struct segment_file file;
};

struct reader {
    struct archive *archive;
    bool from_disk;
    bool for_one;
    struct codec *codec;
    struct sha256 *hash;
    struct index_txn *txn; /* reset between look-ups */
    uint64_t clock;
    unsigned removals;     /* archive->removals that were looked at */
    uint64_t bytes_closed; /* read by segments closed since */
    struct open_segment segments[OPEN_SEGMENTS];
    struct record_view view; /* the record read last, */
    struct place place;      /* its place (segment 0: none), */
    bool body_loaded;        /* and whether view.body is its raw body, or the start of it */
    bool metas_open;         /* metas walks its meta, and gave `message` last */
    struct block_meta_reader metas;
    struct message_meta message;
    struct record_view chunk;
    struct part_cache *parts;
    struct buffer whole; /* a message that is proved before it is given */
};

static int find_part(void *arg, const uint8_t sha256[SHA256_SIZE], struct place *out)
{
    struct reader *r = arg;
    struct part_row row;
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    err = row_get_part(r->txn, sha256, &row);
    index_reset(r->txn);
    if (err == 0)
        *out = row.place;
    return err;
}

static int read_part(void *arg, const struct place *place, struct record_view *view);

/* The rest of the reader is nothing yet. */
static int create(struct archive *a, const struct reader *kind, struct reader **out)
{
    struct reader *r = malloc(sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    *r = *kind;
    r->archive = a;
    r->codec = codec_create();
    r->hash = sha256_create();
    const struct part_reader parts = {.find = find_part, .read = read_part, .arg = r};
    r->parts = part_cache_create(&parts);
    int err = r->codec == NULL || r->hash == NULL || r->parts == NULL ? -ENOMEM : 0;
    if (err == 0)
        err = a->index == NULL ? ERR_NO_INDEX : index_begin_read(a->index, &r->txn);
    if (err != 0) {
        reader_destroy(r);
        return err;
    }
    index_reset(r->txn);
    *out = r;
    return 0;
}

int reader_create(struct archive *a, struct reader **out)
{
    return create(a, &(struct reader){0}, out);
}

int reader_create_from_disk(struct archive *a, struct reader **out)
{
    return create(a, &(struct reader){.from_disk = true}, out);
}

int reader_create_for_one(struct archive *a, struct reader **out)
{
    return create(a, &(struct reader){.for_one = true}, out);
}

void reader_destroy(struct reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < OPEN_SEGMENTS; i++)
        if (r->segments[i].id != 0)
            segment_file_close(&r->segments[i].file);
    record_view_free(&r->view);
    record_view_free(&r->chunk);
    part_cache_destroy(r->parts);
    buffer_free(&r->whole);
    index_abort(r->txn);
    sha256_destroy(r->hash);
    codec_destroy(r->codec);
    free(r);
}

uint64_t reader_bytes_read(const struct reader *r)
{
    uint64_t bytes = r->bytes_closed;
    for (size_t i = 0; i < OPEN_SEGMENTS; i++)
        if (r->segments[i].id != 0)
            bytes += r->segments[i].file.bytes_read;
    return bytes;
}

/* The slot that holds the segment, or the one to put it into. */
static struct open_segment *find_slot(struct reader *r, uint64_t id)
{
    struct open_segment *oldest = &r->segments[0];
    for (size_t i = 0; i < OPEN_SEGMENTS; i++) {
        struct open_segment *s = &r->segments[i];
        if (s->id == id)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    return oldest;
}

static void close_slot(struct reader *r, struct open_segment *slot)
{
    r->bytes_closed += slot->file.bytes_read;
    segment_file_close(&slot->file);
    slot->id = 0;
    slot->used = 0;
}

static bool is_removed(const struct segment_file *f)
{
    struct stat st;
    return f->ops->fstat(f->ops->ctx, f->fd, &st) == 0 && st.st_nlink == 0;
}

void reader_let_go(struct reader *r)
{
    unsigned removals = atomic_load(&r->archive->removals);
    if (removals == r->removals)
        return;
    r->removals = removals;
    for (size_t i = 0; i < OPEN_SEGMENTS; i++)
        if (r->segments[i].id != 0 && is_removed(&r->segments[i].file))
            close_slot(r, &r->segments[i]);
}

static int open_file(struct reader *r, uint64_t id, struct segment_file *out)
{
    const struct archive *a = r->archive;
    int err = r->from_disk ? segment_open_from_disk(a->ops, a->path, id, a->cask.uuid, out)
                           : segment_open(a->ops, a->path, id, a->cask.uuid, out);
    return err == ERR_NOT_FOUND ? ERR_GONE : err;
}

static int get_segment(struct reader *r, uint64_t id, struct segment_file **out)
{
    struct open_segment *slot = find_slot(r, id);
    if (slot->id != id) {
        if (slot->id != 0)
            close_slot(r, slot);
        int err = open_file(r, id, &slot->file);
        if (err != 0)
            return err;
        slot->id = id;
    }
    slot->used = ++r->clock;
    *out = &slot->file;
    return 0;
}

/* The open segment grows: look again how long it is before calling a place beyond its end.
 */
static int read_record(struct reader *r, const struct place *place,
                       struct record_view *view)
{
    struct segment_file *f = NULL;
    struct stat st;
    int err = get_segment(r, place->segment, &f);
    if (err != 0)
        return err;
    err = segment_read(f, place->offset, f->size, r->codec, view);
    if (err != ERR_DAMAGED || f->ops->fstat(f->ops->ctx, f->fd, &st) != 0 ||
        (uint64_t)st.st_size == f->size)
        return err;
    f->size = (uint64_t)st.st_size;
    return segment_read(f, place->offset, f->size, r->codec, view);
}

static int read_part(void *arg, const struct place *place, struct record_view *view)
{
    struct reader *r = arg;
    struct segment_file *f = NULL;
    int err = read_record(r, place, view);
    if (err == 0)
        err = get_segment(r, place->segment, &f);
    return err != 0 ? err : segment_read_body(f, view, r->codec);
}

static int load_record(struct reader *r, const struct place *place)
{
    if (r->place.segment == place->segment && r->place.offset == place->offset)
        return 0;
    r->place.segment = 0;
    r->body_loaded = false;
    r->metas_open = false;
    int err = read_record(r, place, &r->view);
    if (err == 0)
        r->place = *place;
    return err;
}

/* Message `ordinal` of the record in r->view, which must be n. Whoever walks an account
 * asks for one after the other: each meta is decoded once, not again for all behind it. */
static int decode_message(struct reader *r, uint32_t account, uint64_t n, uint32_t ordinal,
                          struct message_meta *out)
{
    const struct record_header *h = &r->view.header;
    if ((h->type != RECORD_BLOCK && h->type != RECORD_END) || h->account != account)
        return ERR_DAMAGED;
    int err = 0;
    if (!r->metas_open || ordinal + 1 < r->metas.next)
        err = block_meta_open(&r->metas, span_of(r->view.meta.data, r->view.meta.size));
    while (err == 0 && r->metas.next <= ordinal)
        err = block_meta_next(&r->metas, &r->message);
    r->metas_open = err == 0;
    *out = r->message;
    return err != 0 || out->n != n ? ERR_DAMAGED : 0;
}

static int find_row(struct reader *r, uint32_t account, uint64_t n, struct message_row *out)
{
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    err = row_get_message(r->txn, account, n, out);
    index_reset(r->txn);
    return err;
}

static int load_message(struct reader *r, uint32_t account, uint64_t n,
                        struct message_row *row, struct message_meta *out)
{
    int err = load_record(r, &row->place);
    if (err == ERR_GONE) {
        err = find_row(r, account, n, row);
        if (err == 0)
            err = load_record(r, &row->place);
    }
    if (err == 0)
        err = decode_message(r, account, n, row->ordinal, out);
    if (err != 0)
        *out = (struct message_meta){.n = n};
    return damaged_if_gone(err);
}

int reader_message(struct reader *r, uint32_t account, uint64_t n, struct message_meta *out)
{
    struct message_row row;
    int err = find_row(r, account, n, &row);
    return err != 0 ? err : load_message(r, account, n, &row, out);
}

int reader_next(struct reader *r, uint32_t account, uint64_t n, struct message_meta *out)
{
    struct message_row row;
    uint64_t next = n + 1;
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    err = row_next_message(r->txn, account, &next, &row);
    index_reset(r->txn);
    return err != 0 ? err : load_message(r, account, next, &row, out);
}

int reader_places(struct reader *r, uint32_t account, uint64_t n, size_t max,
                  struct message_place *out, size_t *out_count)
{
    struct message_row row;
    size_t count = 0;
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    while (count < max) {
        n++;
        err = row_next_message(r->txn, account, &n, &row);
        if (err != 0)
            break;
        out[count++] = (struct message_place){.n = n,
                                              .segment = row.place.segment,
                                              .offset = row.place.offset,
                                              .ordinal = row.ordinal};
    }
    index_reset(r->txn);
    *out_count = count;
    return err == ERR_NOT_FOUND ? 0 : err;
}

struct uidl_search {
    struct index_txn *txn;
    uint32_t account;
    uint64_t since_lsn;
    uint64_t n; /* 0: none yet */
};

static int find_newer(void *arg, const struct uidl_entry *e)
{
    struct uidl_search *s = arg;
    struct message_row row;
    bool better = e->n != 0 && (s->n == 0 || e->n < s->n);
    if (better && row_get_message(s->txn, s->account, e->n, &row) == 0 &&
        row.lsn > s->since_lsn)
        s->n = e->n;
    return 0;
}

int reader_find_uidl(struct reader *r, uint32_t account, uint32_t source, struct span uidl,
                     uint64_t since_lsn, uint64_t *out_n)
{
    struct uidl_search s = {.txn = r->txn, .account = account, .since_lsn = since_lsn};
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    err = row_each_uidl(r->txn, account, source, uidl, find_newer, &s);
    index_reset(r->txn);
    *out_n = s.n;
    return err == 0 && s.n == 0 ? ERR_NOT_FOUND : err;
}

/* Make the first `upto` bytes of the raw body of r->view, at least, present. */
static int load_body(struct reader *r, uint64_t upto)
{
    struct segment_file *f = NULL;
    if (r->body_loaded && upto <= r->view.body.size)
        return 0;
    int err = get_segment(r, r->place.segment, &f);
    if (err == 0)
        err = segment_read_body_start(
            f, &r->view, r->for_one ? upto : r->view.header.body_raw_size, r->codec);
    r->body_loaded = err == 0;
    return err;
}

/* What the message in r->view keeps of its own. */
static int own_slice(struct reader *r, const struct message_meta *m, struct span *out)
{
    uint64_t encoded = 0, decoded = 0, raw_size = r->view.header.body_raw_size;
    int err = run_meta_total(m->runs, &encoded, &decoded);
    if (err == 0 && encoded > m->size)
        err = ERR_DAMAGED;
    uint64_t size = m->size - encoded;
    if (err == 0 && (m->place > raw_size || size > raw_size - m->place))
        err = ERR_DAMAGED;
    if (err == 0)
        err = load_body(r, m->place + size);
    if (err == 0 && !record_view_slice(&r->view, m->place, size, out))
        err = ERR_DAMAGED;
    return err;
}

static int give_slice(struct reader *r, const struct message_meta *m, struct assembly *as)
{
    struct span own;
    int err = own_slice(r, m, &own);
    if (err == 0)
        err = assemble_own(as, own.data, own.size);
    return err;
}

static int find_chunk(struct reader *r, const struct message_meta *m, uint32_t sequence,
                      struct place *out)
{
    int err = index_renew(r->txn);
    if (err != 0)
        return err;
    err = row_get_chunk(r->txn, m->stream, sequence, out);
    index_reset(r->txn);
    return err == ERR_NOT_FOUND ? ERR_DAMAGED : err;
}

int reader_chunk(struct reader *r, const struct message_meta *m, uint32_t sequence,
                 struct record_view *view, struct place *out)
{
    struct chunk_meta meta;
    struct segment_file *f = NULL;
    int err = find_chunk(r, m, sequence, out);
    if (err == 0)
        err = read_record(r, out, view);
    if (err == ERR_GONE) {
        err = find_chunk(r, m, sequence, out);
        if (err == 0)
            err = read_record(r, out, view);
    }
    if (err == 0)
        err = chunk_meta_decode(span_of(view->meta.data, view->meta.size), &meta);
    if (err == 0 && (view->header.type != RECORD_CHUNK || meta.sequence != sequence ||
                     memcmp(meta.stream, m->stream, STREAM_ID_SIZE) != 0))
        err = ERR_DAMAGED;
    if (err == 0)
        err = get_segment(r, out->segment, &f);
    if (err == 0)
        err = segment_read_body(f, view, r->codec);
    return damaged_if_gone(err);
}

int reader_own(struct reader *r, uint32_t account, const struct message_meta *m,
               struct span *out)
{
    assert(r->place.segment != 0 && r->view.header.account == account);
    return own_slice(r, m, out);
}

uint64_t reader_segment(const struct reader *r)
{
    return r->place.segment;
}

static int give_stream(struct reader *r, const struct message_meta *m, struct assembly *as)
{
    struct place place;
    int err = 0;
    for (uint64_t i = 0; err == 0 && i < m->place; i++) {
        err = reader_chunk(r, m, (uint32_t)i, &r->chunk, &place);
        if (err == 0)
            err = assemble_own(as, r->chunk.body.data, r->chunk.body.size);
    }
    return err;
}

static int gather(void *arg, const uint8_t *data, size_t size)
{
    struct buffer *whole = arg;
    buffer_put(whole, data, size);
    return whole->failed ? -ENOMEM : 0;
}

static int give(struct reader *r, const struct message_meta *m, assemble_sink *sink,
                void *arg)
{
    struct assembly as;
    const struct part_source source = {.get = part_cache_get, .arg = r->parts};
    bool prove_first = sink != NULL && m->size <= BLOCK_RAW_MAX;
    buffer_clear(&r->whole);
    int err = assemble_start(&as, m, &source, r->hash, prove_first ? gather : sink,
                             prove_first ? &r->whole : arg);
    if (err == 0)
        err = m->kind == BODY_STREAM ? give_stream(r, m, &as) : give_slice(r, m, &as);
    if (err == 0)
        err = assemble_end(&as);
    if (err == 0 && prove_first && r->whole.size > 0)
        err = sink(arg, r->whole.data, r->whole.size);
    return err;
}

/* The message's meta, or that of the message of the same bytes that holds its body. */
static int find_body(struct reader *r, uint32_t account, uint64_t n, const uint8_t *sha256,
                     struct message_meta *out)
{
    struct message_meta m;
    int err = reader_message(r, account, n, &m);
    if (err != 0)
        return err;
    *out = m;
    if (sha256 != NULL && memcmp(m.sha256, sha256, SHA256_SIZE) != 0)
        return ERR_DAMAGED;
    if (m.kind != BODY_SAME)
        return 0;
    err = reader_message(r, account, m.place, out);
    if (err == 0 && (out->kind == BODY_SAME || out->size != m.size ||
                     memcmp(out->sha256, m.sha256, SHA256_SIZE) != 0))
        err = ERR_DAMAGED;
    return err == ERR_NOT_FOUND ? ERR_DAMAGED : err;
}

static int give_body(struct reader *r, uint32_t account, uint64_t n, const uint8_t *sha256,
                     assemble_sink *sink, void *arg)
{
    struct message_meta m;
    int err = find_body(r, account, n, sha256, &m);
    if (err == 0)
        err = give(r, &m, sink, arg);
    return err == ERR_VERSION ? ERR_DAMAGED : err;
}

int reader_body(struct reader *r, uint32_t account, uint64_t n,
                int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg)
{
    return give_body(r, account, n, NULL, sink, arg);
}

int reader_body_of(struct reader *r, uint32_t account, uint64_t n,
                   const uint8_t sha256[SHA256_SIZE],
                   int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg)
{
    return give_body(r, account, n, sha256, sink, arg);
}
