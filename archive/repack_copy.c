#include "archive/repack_internal.h"

#include "archive/error.h"

#include <errno.h>
#include <stdlib.h>

/* A block that is being filled. */
struct gathering {
    struct repack *repack;
    uint32_t account;
    uint64_t highest;
    struct buffer raw;
    struct buffer meta;
    struct block_meta_writer block;
    uint64_t lsn;         /* the highest of the records it is made of */
    struct buffer slices; /* struct slice each */
};

/* Where a slice of the sources went: messages with equal bodies share it. */
struct slice {
    struct place place;
    uint64_t old_offset;
    uint64_t new_offset;
};

#define BLOCK_META_MAX (8u << 20)

static int collect_message(struct repack *r, const struct message_meta *m)
{
    struct run_meta run;
    struct span runs = m->runs;
    int err;
    while ((err = run_meta_next(&runs, &run)) == 0)
        for (uint64_t i = 0; i < run_part_count(&run.run); i++)
            if (hash_set_put(&r->named, run.parts + i * SHA256_SIZE) == NULL)
                return -ENOMEM;
    if (m->kind == BODY_STREAM) {
        uint8_t name[SHA256_SIZE] = {0};
        memcpy(name, m->stream, STREAM_ID_SIZE);
        if (hash_set_put(&r->named, name) == NULL)
            return -ENOMEM;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int collect_account(void *arg, const struct account_info *info)
{
    struct repack *r = arg;
    struct message_meta m;
    uint64_t n = 0;
    int err;
    while ((err = reader_next(r->reader, info->number, n, &m)) != ERR_NOT_FOUND) {
        n = m.n;
        if (err == 0)
            err = collect_message(r, &m);
        if (err != 0 && err != ERR_DAMAGED) /* a damaged message can name nothing */
            return err;
    }
    return 0;
}

int repack_collect_names(struct repack *r)
{
    return archive_each_account(r->archive, collect_account, r);
}

bool repack_is_garbage(const struct repack *r, const uint8_t name[SHA256_SIZE])
{
    return r->options->in_store == NULL && hash_set_get(&r->named, name) == NULL;
}

static int fill_body(struct repack *r, struct record *record, const struct buffer *raw)
{
    return record_fill_body(record, r->codec, CODEC_REPACK, raw->data, raw->size);
}

/* The record in r->view, its body loaded, as a new one with the same LSN. */
static int move_view(struct repack *r)
{
    const struct record_header *h = &r->view.header;
    struct record *copy = record_create((enum record_type)h->type, h->account, h->time_us);
    if (copy == NULL)
        return -ENOMEM;
    copy->header.lsn = h->lsn;
    buffer_put(&copy->meta, r->view.meta.data, r->view.meta.size);
    int err = fill_body(r, copy, &r->view.body);
    if (err == 0)
        err = record_prepare_at(copy, r->codec, CODEC_REPACK);
    if (err == 0)
        return repack_emit(r, copy);
    record_destroy(copy);
    return err;
}

/* Is this copy the one that counts, and does anything name the part? */
static bool part_lives(struct repack *r, const struct place *place)
{
    const uint8_t *sha256 = NULL;
    struct index_txn *t = NULL;
    struct part_row row = {0};
    if (part_meta_decode(span_of(r->view.meta.data, r->view.meta.size), &sha256) != 0 ||
        repack_is_garbage(r, sha256) || index_begin_read(r->archive->index, &t) != 0)
        return false;
    int err = row_get_part(t, sha256, &row);
    index_abort(t);
    return err == 0 && row.place.segment == place->segment &&
           row.place.offset == place->offset;
}

/* Marks the LSN; false if it was marked before. */
static bool first_copy(struct repack *r, uint64_t lsn)
{
    uint8_t key[SHA256_SIZE] = {0};
    size_t before = r->copied.count;
    put_u64(key, lsn);
    return hash_set_put(&r->copied, key) == NULL || r->copied.count > before;
}

/* A PACK is written when it has grown to this. */
#define PACK_META_SIZE (1u << 20)

int repack_flush_pack(struct repack *r)
{
    if (r->pack.size == 0)
        return 0;
    struct record *record = record_create(RECORD_PACK, 0, archive_now_us());
    if (record == NULL)
        return -ENOMEM;
    record->header.lsn = r->pack_lsn;
    record->meta = r->pack;
    r->pack = (struct buffer){0};
    r->pack_lsn = 0;
    int err = record_prepare_at(record, r->codec, CODEC_PACK);
    if (err == 0)
        return repack_emit(r, record);
    record_destroy(record);
    return err;
}

/* A record without a body joins the PACK, unless a run that was killed has left it twice.
 */
static int pack_view(struct repack *r, const struct record_view *v)
{
    const struct packed_record packed = {.type = v->header.type,
                                         .account = v->header.account,
                                         .lsn = v->header.lsn,
                                         .time_us = v->header.time_us,
                                         .meta = span_of(v->meta.data, v->meta.size)};
    if (!first_copy(r, v->header.lsn))
        return 0;
    packed_record_encode(&r->pack, &packed);
    if (packed.lsn > r->pack_lsn)
        r->pack_lsn = packed.lsn;
    if (r->pack.failed)
        return -ENOMEM;
    return r->pack.size < PACK_META_SIZE ? 0 : repack_flush_pack(r);
}

static int take_pack_apart(struct repack *r)
{
    struct span rest = span_of(r->view.meta.data, r->view.meta.size);
    int err;
    while ((err = record_view_unpack(&r->view, &rest, &r->packed)) == 0) {
        err = pack_view(r, &r->packed);
        if (err != 0)
            return err;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* Messages come account by account; COMMIT and SEAL belong to their segment. */
static int copy_record(struct repack *r, struct segment_file *f)
{
    const struct place place = {.segment = f->header.id, .offset = r->view.offset};
    int err = 0;
    if (row_is_ledger(r->view.header.type))
        return pack_view(r, &r->view);
    switch (r->view.header.type) {
    case RECORD_COMMIT:
    case RECORD_SEAL:
    case RECORD_BLOCK:
    case RECORD_CHUNK:
    case RECORD_END:
        return 0;
    case RECORD_ACCOUNT:
    case RECORD_SOURCE:
        return pack_view(r, &r->view);
    case RECORD_PACK:
        return take_pack_apart(r);
    case RECORD_PART:
        if (!part_lives(r, &place))
            return 0;
        break;
    default: /* SUPERSEDES, and compatible types of a later version */
        if (!first_copy(r, r->view.header.lsn))
            return 0;
        break;
    }
    err = segment_read_body(f, &r->view, r->codec);
    if (err == 0)
        err = move_view(r);
    return err != 0 ? err : repack_progress(r, record_size(&r->view.header));
}

/* The next record from *offset on that can be read, into r->view. ERR_NOT_FOUND: the seal
 * is next. */
static int read_next(struct repack *r, struct segment_file *f, uint64_t limit,
                     uint64_t *offset)
{
    if (*offset >= limit)
        return ERR_NOT_FOUND;
    int err = segment_read(f, *offset, limit, r->codec, &r->view);
    while (err == ERR_DAMAGED) {
        err = segment_resync(f, *offset + 1, limit, offset);
        if (err == 0)
            err = segment_read(f, *offset, limit, r->codec, &r->view);
    }
    if (err == 0)
        *offset += record_size(&r->view.header);
    return err;
}

int repack_copy_records(struct repack *r, const struct source_segment *source)
{
    struct archive *a = r->archive;
    struct segment_file f;
    struct segment_trailer trailer;
    uint64_t offset = SEGMENT_HEADER_SIZE, records = 0;
    int err = segment_open(a->ops, a->path, source->id, a->cask.uuid, &f);
    if (err != 0)
        return err;
    err = segment_read_trailer(&f, &trailer);
    while (err == 0 && (err = read_next(r, &f, trailer.seal_offset, &offset)) == 0) {
        records++;
        err = copy_record(r, &f);
    }
    segment_file_close(&f);
    /* What is passed over had healed when the segment was looked at: that and no more. */
    if (err == ERR_NOT_FOUND)
        err = records == source->records ? 0 : ERR_DAMAGED;
    return err;
}

/* The next chunk behind *at that leads into a source and may be named. */
static int next_chunk(struct repack *r, struct index_walk *at, struct message_meta *stream,
                      uint32_t *out_sequence)
{
    struct index_txn *t = NULL;
    struct span value;
    uint8_t name[SHA256_SIZE] = {0};
    int err = index_begin_read(r->archive->index, &t);
    if (err != 0)
        return err;
    do {
        err = index_walk(t, TABLE_CHUNKS, at, &value);
        if (err == 0 && (at->size != STREAM_ID_SIZE + 4 || value.size < 8))
            err = ERR_INDEX;
        if (err == 0)
            memcpy(name, at->key, STREAM_ID_SIZE);
    } while (err == 0 &&
             (!repack_is_source(r, get_u64(value.data)) || repack_is_garbage(r, name)));
    index_abort(t);
    if (err != 0)
        return err;
    memcpy(stream->stream, name, STREAM_ID_SIZE);
    *out_sequence = get_key32(at->key + STREAM_ID_SIZE);
    return 0;
}

int repack_copy_chunks(struct repack *r)
{
    struct index_walk at = {0};
    struct message_meta stream = {.kind = BODY_STREAM};
    struct place place;
    uint32_t sequence = 0;
    int err;
    while ((err = next_chunk(r, &at, &stream, &sequence)) == 0) {
        err = reader_chunk(r->reader, &stream, sequence, &r->view, &place);
        if (err == 0)
            err = move_view(r);
        if (err == 0)
            err = repack_progress(r, r->view.header.body_size);
        if (err != 0)
            return err;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int emit_block(struct gathering *g)
{
    if (g->block.count == 0)
        return 0;
    struct record *record = record_create(RECORD_BLOCK, g->account, archive_now_us());
    if (record == NULL)
        return -ENOMEM;
    block_meta_end(&g->block, g->highest);
    record->header.lsn = g->lsn;
    record->meta = g->meta;
    g->meta = (struct buffer){0};
    block_meta_begin(&g->block, &g->meta);
    int err = fill_body(g->repack, record, &g->raw);
    if (err == 0)
        err = record_prepare_at(record, g->repack->codec, CODEC_REPACK);
    if (err != 0) {
        record_destroy(record);
        return err;
    }
    buffer_clear(&g->raw);
    buffer_clear(&g->slices);
    g->lsn = 0;
    return repack_emit(g->repack, record);
}

static bool find_slice(const struct gathering *g, const struct place *place,
                       uint64_t offset, uint64_t *out_offset)
{
    struct slice s;
    for (size_t i = g->slices.size; i >= sizeof(s); i -= sizeof(s)) {
        memcpy(&s, g->slices.data + i - sizeof(s), sizeof(s));
        if (s.place.segment == place->segment && s.place.offset == place->offset &&
            s.old_offset == offset) {
            *out_offset = s.new_offset;
            return true;
        }
    }
    return false;
}

static int add_slice(struct gathering *g, struct message_meta *m,
                     const struct message_row *row)
{
    struct span own;
    uint64_t offset = 0;
    int err = reader_own(g->repack->reader, g->account, m, &own);
    if (err != 0)
        return err;
    if (g->raw.size > 0 && g->raw.size + own.size > BLOCK_RAW_MAX) {
        err = emit_block(g);
        if (err != 0)
            return err;
    }
    if (!find_slice(g, &row->place, m->place, &offset)) {
        const struct slice s = {
            .place = row->place, .old_offset = m->place, .new_offset = g->raw.size};
        buffer_put(&g->slices, &s, sizeof(s));
        offset = g->raw.size;
        buffer_put(&g->raw, own.data, own.size);
    }
    m->place = offset;
    return 0;
}

static int add_to_block(struct gathering *g, struct message_meta *m,
                        const struct message_row *row)
{
    int err = m->kind == BODY_SLICE ? add_slice(g, m, row) : 0;
    if (err != 0)
        return err;
    block_meta_add(&g->block, m);
    if (row->lsn > g->lsn)
        g->lsn = row->lsn;
    if (g->raw.failed || g->meta.failed || g->slices.failed)
        return -ENOMEM;
    if (g->block.count < BLOCK_MESSAGES_MAX && g->meta.size < BLOCK_META_MAX &&
        g->raw.size < BLOCK_RAW_MAX)
        return 0;
    return emit_block(g);
}

/* A message of chunks moves as it is; they are there already. */
static int move_stream(struct gathering *g, const struct message_meta *m,
                       const struct message_row *row)
{
    struct repack *r = g->repack;
    struct record *end = record_create(RECORD_END, g->account, archive_now_us());
    if (end == NULL)
        return -ENOMEM;
    struct block_meta_writer w;
    block_meta_begin(&w, &end->meta);
    block_meta_add(&w, m);
    block_meta_end(&w, g->highest);
    end->header.lsn = row->lsn;
    int err = record_prepare_at(end, r->codec, CODEC_REPACK);
    if (err == 0)
        return repack_emit(r, end);
    record_destroy(end);
    return err;
}

/* The next message behind *n: its row. */
static int next_row(struct repack *r, uint32_t account, uint64_t *n,
                    struct message_row *row)
{
    struct index_txn *t = NULL;
    int err = index_begin_read(r->archive->index, &t);
    if (err != 0)
        return err;
    ++*n;
    err = row_next_message(t, account, n, row);
    index_abort(t);
    return err;
}

static int copy_message(struct gathering *g, uint64_t n, const struct message_row *row)
{
    struct message_meta m;
    int err = reader_message(g->repack->reader, g->account, n, &m);
    if (err != 0)
        return err;
    if (reader_segment(g->repack->reader) != row->place.segment)
        return 0; /* it was fetched again meanwhile */
    /* What is taken over keeps its flags but one: it is no heal of anything in its new
     * place. */
    m.flags &= (uint8_t)~MESSAGE_HEALS;
    err = m.kind == BODY_STREAM ? move_stream(g, &m, row) : add_to_block(g, &m, row);
    return err != 0 ? err : repack_progress(g->repack, m.size);
}

int repack_copy_messages(struct repack *r, const struct account_info *account)
{
    struct gathering g = {
        .repack = r, .account = account->number, .highest = account->highest};
    struct message_row row;
    uint64_t n = 0;
    int err;
    block_meta_begin(&g.block, &g.meta);
    while ((err = next_row(r, account->number, &n, &row)) == 0) {
        if (repack_is_source(r, row.place.segment))
            err = copy_message(&g, n, &row);
        if (err != 0)
            break;
    }
    if (err == ERR_NOT_FOUND)
        err = emit_block(&g);
    buffer_free(&g.raw);
    buffer_free(&g.meta);
    buffer_free(&g.slices);
    return err;
}
