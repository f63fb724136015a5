#include "archive/packer.h"

#include "archive/archive_internal.h"
#include "archive/error.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A block is closed when its messages' metas grow beyond, whatever its bytes. */
#define BLOCK_META_MAX (4u << 20)

/* Invariants: 1. raw[0, message_start) belongs to the messages already in `meta`. 2.
 * streaming implies message_start == 0 and no messages in `meta`. 3. err is sticky. */
struct packer {
    uint32_t account;
    struct codec *codec;
    packer_emit *emit;
    void *arg;
    int err;
    uint64_t highest;
    uint64_t block_number;
    struct buffer raw;
    struct buffer meta;
    struct block_meta_writer block;
    bool in_message;
    bool streaming;
    size_t message_start;
    uint64_t message_size;
    uint32_t chunks;
    uint8_t stream[STREAM_ID_SIZE];
};

struct packer *packer_create(uint32_t account, struct codec *codec, packer_emit *emit,
                             void *arg)
{
    struct packer *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->account = account;
    p->codec = codec;
    p->emit = emit;
    p->arg = arg;
    block_meta_begin(&p->block, &p->meta);
    return p;
}

void packer_destroy(struct packer *p)
{
    if (p == NULL)
        return;
    buffer_free(&p->raw);
    buffer_free(&p->meta);
    free(p);
}

int packer_emit_record(struct packer *p, struct record *r)
{
    int err = record_prepare(r, p->codec);
    if (err != 0)
        record_destroy(r);
    else
        err = p->emit(p->arg, r);
    if (err != 0)
        p->err = err;
    return err;
}

int packer_fill_body(struct packer *p, struct record *r, enum codec_effort effort,
                     const uint8_t *data, size_t size)
{
    int err = record_fill_body(r, p->codec, effort, data, size);
    if (err != 0)
        p->err = err;
    return err;
}

static struct record *new_record(struct packer *p, enum record_type type)
{
    struct record *r = record_create(type, p->account, archive_now_us());
    if (r == NULL)
        p->err = -ENOMEM;
    return r;
}

/* The messages in `meta`, whose bytes are raw[0, size), become a BLOCK. */
static int close_block(struct packer *p, size_t size)
{
    if (p->block.count == 0)
        return 0;
    struct record *r = new_record(p, RECORD_BLOCK);
    if (r == NULL)
        return p->err;
    block_meta_end(&p->block, p->highest);
    r->meta = p->meta;
    p->meta = (struct buffer){0};
    block_meta_begin(&p->block, &p->meta);
    p->block_number++;
    int err = packer_fill_body(p, r, CODEC_FETCH, p->raw.data, size);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    return packer_emit_record(p, r);
}

static int emit_chunk(struct packer *p)
{
    struct record *r = new_record(p, RECORD_CHUNK);
    if (r == NULL)
        return p->err;
    struct chunk_meta meta = {.sequence = p->chunks++,
                              .raw_offset = p->message_size - p->raw.size};
    memcpy(meta.stream, p->stream, STREAM_ID_SIZE);
    chunk_meta_encode(&r->meta, &meta);
    int err = packer_fill_body(p, r, CODEC_FETCH, p->raw.data, p->raw.size);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    p->raw.size = 0;
    return packer_emit_record(p, r);
}

/* Close the block before the message that is being added, which moves to the front. */
static int close_before_message(struct packer *p)
{
    size_t start = p->message_start, partial = p->raw.size - start;
    int err = close_block(p, start);
    if (err != 0)
        return err;
    if (partial > 0 && start > 0)
        memmove(p->raw.data, p->raw.data + start, partial);
    p->raw.size = partial;
    p->message_start = 0;
    return 0;
}

/* The open block is full in the middle of a message: what is complete goes out as a block;
 * a message that fills one by itself becomes a stream of chunks. */
static int make_room(struct packer *p)
{
    if (p->message_start > 0 || p->block.count > 0) {
        int err = close_before_message(p);
        if (err != 0)
            return err;
    }
    if (p->raw.size < CHUNK_RAW_MAX)
        return 0;
    if (!p->streaming) {
        int err = random_bytes(p->stream, sizeof(p->stream));
        if (err != 0)
            return p->err = err;
        p->streaming = true;
    }
    return emit_chunk(p);
}

void packer_begin(struct packer *p)
{
    assert(!p->in_message);
    p->in_message = true;
    p->streaming = false;
    p->message_start = p->raw.size;
    p->message_size = 0;
    p->chunks = 0;
}

int packer_add(struct packer *p, const uint8_t *data, size_t size)
{
    assert(p->in_message);
    while (p->err == 0 && size > 0) {
        size_t room = CHUNK_RAW_MAX - p->raw.size;
        size_t part = size < room ? size : room;
        buffer_put(&p->raw, data, part);
        if (p->raw.failed)
            return p->err = -ENOMEM;
        p->message_size += part;
        data += part;
        size -= part;
        if (p->raw.size == CHUNK_RAW_MAX && size > 0)
            make_room(p);
    }
    return p->err;
}

uint64_t packer_message_size(const struct packer *p)
{
    return p->message_size;
}

void packer_abort(struct packer *p)
{
    if (p->in_message)
        p->raw.size = p->streaming ? 0 : p->message_start;
    p->in_message = false;
    p->streaming = false;
}

static int emit_end(struct packer *p, const struct message_meta *m)
{
    struct record *r = new_record(p, RECORD_END);
    struct block_meta_writer w;
    if (r == NULL)
        return p->err;
    block_meta_begin(&w, &r->meta);
    block_meta_add(&w, m);
    block_meta_end(&w, p->highest);
    return packer_emit_record(p, r);
}

static int add_to_block(struct packer *p, const struct message_meta *m)
{
    block_meta_add(&p->block, m);
    if (p->meta.failed)
        return p->err = -ENOMEM;
    if (p->raw.size < CHUNK_RAW_MAX && p->block.count < BLOCK_MESSAGES_MAX &&
        p->meta.size < BLOCK_META_MAX)
        return 0;
    return packer_flush(p);
}

int packer_keep(struct packer *p, struct message_meta *m, uint64_t highest)
{
    assert(p->in_message);
    if (p->err != 0)
        return p->err;
    p->highest = highest;
    p->in_message = false;
    m->kind = BODY_SLICE;
    m->place = p->message_start;
    if (!p->streaming)
        return add_to_block(p, m);
    p->streaming = false;
    if (p->raw.size > 0 && emit_chunk(p) != 0)
        return p->err;
    m->kind = BODY_STREAM;
    m->place = p->chunks;
    memcpy(m->stream, p->stream, STREAM_ID_SIZE);
    return emit_end(p, m);
}

int packer_share(struct packer *p, const struct message_meta *m, uint64_t highest)
{
    packer_abort(p);
    if (p->err != 0)
        return p->err;
    p->highest = highest;
    return add_to_block(p, m);
}

uint64_t packer_block(const struct packer *p)
{
    return p->block_number;
}

int packer_flush(struct packer *p)
{
    if (p->err != 0 || p->streaming)
        return p->err;
    if (!p->in_message)
        p->message_start = p->raw.size;
    int err = close_before_message(p);
    if (err == 0 && p->raw.size == 0)
        buffer_free(&p->raw);
    return err;
}

size_t packer_memory(const struct packer *p)
{
    return p->raw.capacity + p->meta.capacity;
}
