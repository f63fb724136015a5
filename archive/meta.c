#include "archive/meta.h"

#include "archive/meta_internal.h"

#include <assert.h>

void block_meta_begin(struct block_meta_writer *w, struct buffer *out)
{
    *w = (struct block_meta_writer){.out = out, .count_at = out->size};
    buffer_put_u32(out, 0);
    buffer_put_u64(out, 0);
}

void block_meta_add(struct block_meta_writer *w, const struct message_meta *m)
{
    struct buffer *out = w->out;
    assert(m->uidl.size <= UIDL_SIZE_MAX);
    buffer_put_u64(out, m->n);
    buffer_put_u32(out, m->source);
    buffer_put_u8(out, m->kind);
    buffer_put_u8(out, m->flags);
    buffer_put_u64(out, m->listed_size);
    buffer_put_u64(out, m->size);
    buffer_put(out, m->sha256, sizeof(m->sha256));
    buffer_put(out, m->salt, sizeof(m->salt));
    buffer_put_u64(out, (uint64_t)m->fetched_us);
    buffer_put_u64(out, m->place);
    if (m->kind == BODY_STREAM)
        buffer_put(out, m->stream, sizeof(m->stream));
    buffer_put_u32(out, (uint32_t)m->runs.size);
    buffer_put(out, m->runs.data, m->runs.size);
    buffer_put_span(out, m->uidl);
    for (int i = 0; i < FIELD_COUNT; i++)
        buffer_put_span(out, m->fields[i]);
    w->count++;
}

void block_meta_end(struct block_meta_writer *w, uint64_t highest)
{
    if (w->out->failed)
        return;
    put_u32(w->out->data + w->count_at, w->count);
    put_u64(w->out->data + w->count_at + 4, highest);
}

int block_meta_open(struct block_meta_reader *r, struct span meta)
{
    *r = (struct block_meta_reader){.cursor = cursor_over(meta.data, meta.size)};
    r->count = take_u32(&r->cursor);
    r->highest = take_u64(&r->cursor);
    return r->cursor.bad || r->count > BLOCK_MESSAGES_MAX ? ERR_DAMAGED : 0;
}

int block_meta_next(struct block_meta_reader *r, struct message_meta *out)
{
    if (r->next == r->count)
        return meta_finished(&r->cursor) == 0 ? ERR_NOT_FOUND : ERR_DAMAGED;
    struct cursor *c = &r->cursor;
    *out = (struct message_meta){0};
    out->n = take_u64(c);
    out->source = take_u32(c);
    out->kind = take_u8(c);
    out->flags = take_u8(c);
    out->listed_size = take_u64(c);
    out->size = take_u64(c);
    take_copy(c, out->sha256, sizeof(out->sha256));
    take_copy(c, out->salt, sizeof(out->salt));
    out->fetched_us = (int64_t)take_u64(c);
    out->place = take_u64(c);
    if (out->kind == BODY_STREAM)
        take_copy(c, out->stream, sizeof(out->stream));
    uint32_t runs_size = take_u32(c);
    out->runs = span_of(take_bytes(c, runs_size), runs_size);
    out->uidl = meta_take_limited(c, UIDL_SIZE_MAX);
    for (int i = 0; i < FIELD_COUNT; i++)
        out->fields[i] = meta_take_limited(c, FIELD_SIZE_MAX);
    if (c->bad || out->n == 0 || out->kind > BODY_SAME)
        return ERR_DAMAGED;
    r->next++;
    return 0;
}

uint64_t run_part_count(const struct base64_run *run)
{
    return (run->size + PART_RAW_MAX - 1) / PART_RAW_MAX;
}

size_t run_part_size(const struct base64_run *run, uint64_t i)
{
    uint64_t left = run->size - i * PART_RAW_MAX;
    return left < PART_RAW_MAX ? (size_t)left : PART_RAW_MAX;
}

void run_meta_encode(struct buffer *out, const struct run_meta *m)
{
    buffer_put_u64(out, m->at);
    buffer_put_u32(out, m->run.line_length);
    buffer_put_u8(out, (uint8_t)m->run.line_end);
    buffer_put_u64(out, m->run.size);
    buffer_put(out, m->parts, run_part_count(&m->run) * SHA256_SIZE);
}

int run_meta_next(struct span *runs, struct run_meta *out)
{
    if (runs->size == 0)
        return ERR_NOT_FOUND;
    struct cursor c = cursor_over(runs->data, runs->size);
    out->at = take_u64(&c);
    out->run.line_length = take_u32(&c);
    uint8_t line_end = take_u8(&c);
    out->run.line_end = (enum base64_line_end)line_end;
    out->run.size = take_u64(&c);
    if (c.bad || !base64_run_valid(&out->run) ||
        run_part_count(&out->run) > cursor_left(&c) / SHA256_SIZE)
        return ERR_DAMAGED;
    out->parts = take_bytes(&c, run_part_count(&out->run) * SHA256_SIZE);
    *runs = span_of(c.at, cursor_left(&c));
    return 0;
}

int run_meta_total(struct span runs, uint64_t *out_encoded, uint64_t *out_decoded)
{
    struct run_meta m;
    int err;
    *out_encoded = *out_decoded = 0;
    while ((err = run_meta_next(&runs, &m)) == 0) {
        *out_encoded += base64_run_encoded_size(&m.run);
        *out_decoded += m.run.size;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

void part_meta_encode(struct buffer *out, const uint8_t sha256[SHA256_SIZE])
{
    buffer_put(out, sha256, SHA256_SIZE);
}

int part_meta_decode(struct span meta, const uint8_t **out_sha256)
{
    *out_sha256 = meta.data;
    return meta.size == SHA256_SIZE ? 0 : ERR_DAMAGED;
}

void chunk_meta_encode(struct buffer *out, const struct chunk_meta *m)
{
    buffer_put(out, m->stream, sizeof(m->stream));
    buffer_put_u32(out, m->sequence);
    buffer_put_u64(out, m->raw_offset);
}

int chunk_meta_decode(struct span meta, struct chunk_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    take_copy(&c, out->stream, sizeof(out->stream));
    out->sequence = take_u32(&c);
    out->raw_offset = take_u64(&c);
    return meta_finished(&c);
}

void commit_meta_encode(struct buffer *out, const struct commit_meta *m)
{
    buffer_put_u64(out, m->durable_upto);
}

int commit_meta_decode(struct span meta, struct commit_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->durable_upto = take_u64(&c);
    return meta_finished(&c);
}

void account_meta_encode(struct buffer *out, const struct account_meta *m)
{
    buffer_put_u32(out, m->number);
    buffer_put_span(out, m->name);
}

int account_meta_decode(struct span meta, struct account_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->number = take_u32(&c);
    out->name = meta_take_limited(&c, NAME_SIZE_MAX);
    return out->number == 0 || out->name.size == 0 ? ERR_DAMAGED : meta_finished(&c);
}

void source_meta_encode(struct buffer *out, const struct source_meta *m)
{
    buffer_put_u32(out, m->number);
    buffer_put_span(out, m->host);
    buffer_put_span(out, m->login);
}

int source_meta_decode(struct span meta, struct source_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->number = take_u32(&c);
    out->host = meta_take_limited(&c, NAME_SIZE_MAX);
    out->login = meta_take_limited(&c, NAME_SIZE_MAX);
    return out->number == 0 ? ERR_DAMAGED : meta_finished(&c);
}

void seen_meta_encode(struct buffer *out, const struct seen_meta *m)
{
    buffer_put_u64(out, m->n);
    buffer_put_u32(out, m->source);
    buffer_put_u64(out, m->listed_size);
    buffer_put_span(out, m->uidl);
}

int seen_meta_decode(struct span meta, struct seen_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->n = take_u64(&c);
    out->source = take_u32(&c);
    out->listed_size = take_u64(&c);
    out->uidl = meta_take_limited(&c, UIDL_SIZE_MAX);
    return out->n == 0 ? ERR_DAMAGED : meta_finished(&c);
}

void quarantine_meta_encode(struct buffer *out, const struct quarantine_meta *m)
{
    buffer_put_u32(out, m->source);
    buffer_put_u64(out, m->listed_size);
    buffer_put_u64(out, m->size);
    buffer_put_span(out, m->uidl);
    buffer_put_span(out, m->file);
    buffer_put_span(out, m->reason);
}

int quarantine_meta_decode(struct span meta, struct quarantine_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->source = take_u32(&c);
    out->listed_size = take_u64(&c);
    out->size = take_u64(&c);
    out->uidl = meta_take_limited(&c, UIDL_SIZE_MAX);
    out->file = meta_take_limited(&c, NAME_SIZE_MAX);
    out->reason = meta_take_limited(&c, TEXT_SIZE_MAX);
    return meta_finished(&c);
}

void lost_meta_encode(struct buffer *out, const struct lost_meta *m)
{
    buffer_put_u64(out, m->segment);
    buffer_put_u64(out, m->first);
    buffer_put_u64(out, m->last);
    buffer_put_span(out, m->reason);
}

int lost_meta_decode(struct span meta, struct lost_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->segment = take_u64(&c);
    out->first = take_u64(&c);
    out->last = take_u64(&c);
    out->reason = meta_take_limited(&c, TEXT_SIZE_MAX);
    return out->first > out->last ? ERR_DAMAGED : meta_finished(&c);
}

void access_meta_encode(struct buffer *out, const struct access_meta *m)
{
    buffer_put_u8(out, m->command);
    buffer_put_u64(out, m->count);
    buffer_put_u64(out, m->first);
    buffer_put_u64(out, m->last);
    buffer_put_span(out, m->user);
    buffer_put_span(out, m->detail);
    buffer_put_span(out, m->reason);
}

int access_meta_decode(struct span meta, struct access_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->command = take_u8(&c);
    out->count = take_u64(&c);
    out->first = take_u64(&c);
    out->last = take_u64(&c);
    out->user = meta_take_limited(&c, NAME_SIZE_MAX);
    out->detail = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->reason = meta_take_limited(&c, TEXT_SIZE_MAX);
    bool sensible = out->command >= ACCESS_SHOW && out->command <= ACCESS_RESTORE &&
                    out->first <= out->last;
    return sensible ? meta_finished(&c) : ERR_DAMAGED;
}

void packed_record_encode(struct buffer *out, const struct packed_record *r)
{
    buffer_put_u8(out, r->type);
    buffer_put_u32(out, r->account);
    buffer_put_u64(out, r->lsn);
    buffer_put_u64(out, (uint64_t)r->time_us);
    buffer_put_u32(out, (uint32_t)r->meta.size);
    buffer_put(out, r->meta.data, r->meta.size);
}

int packed_record_next(struct span *rest, struct packed_record *out)
{
    if (rest->size == 0)
        return ERR_NOT_FOUND;
    struct cursor c = cursor_over(rest->data, rest->size);
    out->type = take_u8(&c);
    out->account = take_u32(&c);
    out->lsn = take_u64(&c);
    out->time_us = (int64_t)take_u64(&c);
    uint32_t size = take_u32(&c);
    out->meta = span_of(take_bytes(&c, size), size);
    if (c.bad || out->type == RECORD_PACK)
        return ERR_DAMAGED;
    *rest = span_of(c.at, cursor_left(&c));
    return 0;
}

#define SUPERSEDED_SIZE (8 + SHA256_SIZE)

void superseded_encode(struct buffer *out, const struct superseded *s)
{
    buffer_put_u64(out, s->segment);
    buffer_put(out, s->hash, sizeof(s->hash));
}

int superseded_count(struct span meta, size_t *out_count)
{
    *out_count = meta.size / SUPERSEDED_SIZE;
    return meta.size % SUPERSEDED_SIZE != 0 ? ERR_DAMAGED : 0;
}

void superseded_at(struct span meta, size_t i, struct superseded *out)
{
    struct cursor c = cursor_over(meta.data + i * SUPERSEDED_SIZE, SUPERSEDED_SIZE);
    out->segment = take_u64(&c);
    take_copy(&c, out->hash, sizeof(out->hash));
}

void toc_entry_encode(struct buffer *out, const struct toc_entry *e)
{
    buffer_put_u64(out, e->offset);
    buffer_put_u64(out, e->lsn);
    buffer_put_u64(out, e->first_n);
    buffer_put_u32(out, e->count_n);
    buffer_put_u32(out, e->account);
    buffer_put_u8(out, e->type);
}

int toc_decode(struct span meta, size_t *out_count)
{
    if (meta.size % TOC_ENTRY_SIZE != 0)
        return ERR_DAMAGED;
    *out_count = meta.size / TOC_ENTRY_SIZE;
    return 0;
}

void toc_entry_at(struct span meta, size_t i, struct toc_entry *out)
{
    struct cursor c = cursor_over(meta.data + i * TOC_ENTRY_SIZE, TOC_ENTRY_SIZE);
    out->offset = take_u64(&c);
    out->lsn = take_u64(&c);
    out->first_n = take_u64(&c);
    out->count_n = take_u32(&c);
    out->account = take_u32(&c);
    out->type = take_u8(&c);
}
