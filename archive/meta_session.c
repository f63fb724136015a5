/* Metas of the ledger's sessions and deletions (meta.h). */
#include "archive/meta.h"
#include "archive/meta_internal.h"

#include <assert.h>

/* The set may be larger than a string's u16 length can say. */
static void put_set(struct buffer *out, struct span set)
{
    buffer_put_u32(out, (uint32_t)set.size);
    buffer_put(out, set.data, set.size);
}

static struct span take_set(struct cursor *c)
{
    uint32_t size = take_u32(c);
    struct span set = span_of(take_bytes(c, size), size);
    if (c->bad || !number_set_valid(set))
        c->bad = true;
    return set;
}

void session_meta_encode(struct buffer *out, const struct session_meta *m)
{
    buffer_put_u32(out, m->source);
    buffer_put_u8(out, m->state);
    buffer_put_u8(out, m->trusted);
    buffer_put_u8(out, m->more);
    buffer_put_u8(out, m->flags);
    buffer_put_u8(out, m->doubts);
    buffer_put_u64(out, (uint64_t)m->began_us);
    buffer_put_u64(out, (uint64_t)m->ended_us);
    const uint64_t counts[] = {
        m->listed,   m->listed_bytes, m->known,       m->fetched, m->deduplicated,
        m->healed,   m->refused,      m->quarantined, m->deleted, m->unknown,
        m->vanished, m->bytes,        m->highest};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        buffer_put_u64(out, counts[i]);
    buffer_put(out, m->digest, sizeof(m->digest));
    buffer_put_span(out, m->address);
    buffer_put_span(out, m->tls);
    buffer_put_span(out, m->untrusted);
    buffer_put_span(out, m->text);
    put_set(out, m->named);
}

int session_meta_decode(struct span meta, struct session_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->source = take_u32(&c);
    out->state = take_u8(&c);
    out->trusted = take_u8(&c);
    out->more = take_u8(&c);
    out->flags = take_u8(&c);
    out->doubts = take_u8(&c);
    out->began_us = (int64_t)take_u64(&c);
    out->ended_us = (int64_t)take_u64(&c);
    uint64_t *const counts[] = {&out->listed,  &out->listed_bytes, &out->known,
                                &out->fetched, &out->deduplicated, &out->healed,
                                &out->refused, &out->quarantined,  &out->deleted,
                                &out->unknown, &out->vanished,     &out->bytes,
                                &out->highest};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        *counts[i] = take_u64(&c);
    take_copy(&c, out->digest, sizeof(out->digest));
    out->address = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->tls = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->untrusted = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->text = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->named = take_set(&c);
    if (out->state > SESSION_FAILED || out->trusted > 1 || out->more > 1 ||
        (out->flags & ~SESSION_FLAGS_KNOWN) != 0)
        return ERR_DAMAGED;
    return meta_finished(&c);
}

void session_run_meta_encode(struct buffer *out, const struct session_run_meta *m)
{
    buffer_put_u32(out, m->source);
    buffer_put_u64(out, m->polls);
    buffer_put_u64(out, (uint64_t)m->first_us);
    buffer_put_u64(out, (uint64_t)m->last_us);
    buffer_put_u64(out, m->listed);
    buffer_put_u64(out, m->listed_bytes);
    buffer_put(out, m->digest, sizeof(m->digest));
}

int session_run_meta_decode(struct span meta, struct session_run_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->source = take_u32(&c);
    out->polls = take_u64(&c);
    out->first_us = (int64_t)take_u64(&c);
    out->last_us = (int64_t)take_u64(&c);
    out->listed = take_u64(&c);
    out->listed_bytes = take_u64(&c);
    take_copy(&c, out->digest, sizeof(out->digest));
    return meta_finished(&c);
}

void intents_begin(struct buffer *out, uint32_t source, uint32_t count)
{
    assert(count > 0 && count <= DELETIONS_MAX);
    buffer_put_u32(out, source);
    buffer_put_u32(out, count);
}

void intents_add(struct buffer *out, const struct intent_meta *m)
{
    buffer_put_u64(out, m->n);
    buffer_put_u64(out, m->listed_size);
    buffer_put_u8(out, m->attempt);
    buffer_put_u8(out, m->proof);
    buffer_put(out, m->sha256, sizeof(m->sha256));
    buffer_put_span(out, m->uidl);
}

int intents_open(struct intents_reader *r, struct span meta)
{
    r->cursor = cursor_over(meta.data, meta.size);
    r->source = take_u32(&r->cursor);
    r->left = take_u32(&r->cursor);
    bool counted = r->left > 0 && r->left <= DELETIONS_MAX;
    return r->cursor.bad || !counted ? ERR_DAMAGED : 0;
}

int intents_next(struct intents_reader *r, struct intent_meta *out)
{
    struct cursor *c = &r->cursor;
    if (r->left == 0)
        return meta_finished(c) == 0 ? ERR_NOT_FOUND : ERR_DAMAGED;
    out->n = take_u64(c);
    out->listed_size = take_u64(c);
    out->attempt = take_u8(c);
    out->proof = take_u8(c);
    take_copy(c, out->sha256, sizeof(out->sha256));
    out->uidl = meta_take_limited(c, UIDL_SIZE_MAX);
    r->left--;
    return c->bad || out->n == 0 ? ERR_DAMAGED : 0;
}

void outcome_meta_encode(struct buffer *out, const struct outcome_meta *m)
{
    buffer_put_u32(out, m->source);
    buffer_put_u8(out, m->state);
    buffer_put_span(out, m->text);
    put_set(out, m->numbers);
}

int outcome_meta_decode(struct span meta, struct outcome_meta *out)
{
    struct cursor c = cursor_over(meta.data, meta.size);
    out->source = take_u32(&c);
    out->state = take_u8(&c);
    out->text = meta_take_limited(&c, TEXT_SIZE_MAX);
    out->numbers = take_set(&c);
    if (out->state < DELETION_ACCEPTED || out->state > DELETION_UNDONE || c.bad ||
        number_set_count(out->numbers) > DELETIONS_MAX)
        return ERR_DAMAGED;
    return meta_finished(&c);
}
