#include "archive/record.h"

#include "archive/digest.h"
#include "archive/error.h"

#include <errno.h>
#include <stdlib.h>

/* Metas below this are left alone: a frame's overhead eats what it saves. */
#define META_COMPRESS_MIN 256

/* Offsets within the header. */
enum {
    AT_SYNC = 0,
    AT_TYPE = 8,
    AT_WORDS = 9,
    AT_CODEC = 10,
    AT_CIPHER = 11,
    AT_FLAGS = 12,
    AT_META_SIZE = 16,
    AT_ACCOUNT = 20,
    AT_BODY_SIZE = 24,
    AT_BODY_RAW_SIZE = 32,
    AT_LSN = 40,
    AT_TIME = 48,
    AT_DICTIONARY = 56,
    AT_KEY = 60,
    AT_META_CHECKSUM = 64,
    AT_BODY_CHECKSUM = 72,
    AT_CHECKSUM = 80, /* behind nonce and tag where there is a cipher */
};

_Static_assert(AT_CHECKSUM + 8 == RECORD_HEADER_SIZE, "the header's table");

struct record *record_create(enum record_type type, uint32_t account, int64_t time_us)
{
    struct record *r = calloc(1, sizeof(*r));
    if (r != NULL) {
        r->header.type = (uint8_t)type;
        r->header.account = account;
        r->header.time_us = time_us;
    }
    return r;
}

void record_destroy(struct record *r)
{
    if (r == NULL)
        return;
    buffer_free(&r->meta);
    buffer_free(&r->stored_meta);
    free(r->body);
    free(r);
}

static int compress_meta(struct record *r, struct codec *codec, enum codec_effort effort)
{
    size_t size = 0;
    buffer_clear(&r->stored_meta);
    uint8_t *to = buffer_reserve(&r->stored_meta, codec_bound(r->meta.size));
    if (to == NULL)
        return -ENOMEM;
    int err = codec_compress(codec, effort, r->meta.data, r->meta.size, to,
                             r->stored_meta.capacity, &size);
    if (err != 0)
        return err;
    if (size < r->meta.size) {
        r->stored_meta.size = size;
        r->header.flags |= RECORD_META_ZSTD;
    }
    return 0;
}

struct span record_stored_meta(const struct record *r)
{
    if (r->header.flags & RECORD_META_ZSTD)
        return span_of(r->stored_meta.data, r->stored_meta.size);
    return span_of(r->meta.data, r->meta.size);
}

int record_prepare(struct record *r, struct codec *codec)
{
    return record_prepare_at(r, codec, CODEC_FETCH);
}

int record_prepare_at(struct record *r, struct codec *codec, enum codec_effort effort)
{
    if (r->meta.failed)
        return -ENOMEM;
    if (r->meta.size > META_RAW_MAX || r->header.body_size > BODY_STORED_MAX)
        return ERR_TOO_LARGE;
    if (codec != NULL && r->meta.size >= META_COMPRESS_MIN) {
        int err = compress_meta(r, codec, effort);
        if (err != 0)
            return err;
    }
    struct span meta = record_stored_meta(r);
    if (meta.size > META_STORED_MAX)
        return ERR_TOO_LARGE;
    r->header.meta_size = (uint32_t)meta.size;
    r->header.meta_checksum = checksum64(meta.data, meta.size, 0);
    r->header.body_checksum = checksum64(r->body, r->header.body_size, 0);
    return 0;
}

int record_fill_body(struct record *r, struct codec *codec, enum codec_effort effort,
                     const uint8_t *data, size_t size)
{
    size_t stored = 0, bound = codec_bound(size);
    r->header.body_raw_size = size;
    if (size == 0)
        return 0;
    r->body = malloc(bound);
    if (r->body == NULL)
        return -ENOMEM;
    int err = codec_compress(codec, effort, data, size, r->body, bound, &stored);
    if (err != 0)
        return err;
    r->header.codec = CODEC_ZSTD;
    if (stored >= size) {
        memcpy(r->body, data, size);
        stored = size;
        r->header.codec = CODEC_STORED;
    }
    r->header.body_size = stored;
    uint8_t *shrunk = realloc(r->body, stored);
    if (shrunk != NULL)
        r->body = shrunk;
    return 0;
}

uint32_t record_header_size(const struct record_header *h)
{
    return h->cipher == 0 ? RECORD_HEADER_SIZE : RECORD_HEADER_CIPHER_SIZE;
}

uint64_t record_size(const struct record_header *h)
{
    return record_header_size(h) + (uint64_t)h->meta_size + h->body_size;
}

uint32_t record_encode_header(const struct record_header *h, uint64_t sync_word,
                              uint64_t offset, uint8_t *out)
{
    uint32_t size = record_header_size(h);
    memset(out, 0, size);
    put_u64(out + AT_SYNC, sync_word);
    out[AT_TYPE] = h->type;
    out[AT_WORDS] = (uint8_t)(size / 8);
    out[AT_CODEC] = h->codec;
    out[AT_CIPHER] = h->cipher;
    put_u32(out + AT_FLAGS, h->flags);
    put_u32(out + AT_META_SIZE, h->meta_size);
    put_u32(out + AT_ACCOUNT, h->account);
    put_u64(out + AT_BODY_SIZE, h->body_size);
    put_u64(out + AT_BODY_RAW_SIZE, h->body_raw_size);
    put_u64(out + AT_LSN, h->lsn);
    put_u64(out + AT_TIME, (uint64_t)h->time_us);
    put_u64(out + AT_META_CHECKSUM, h->meta_checksum);
    put_u64(out + AT_BODY_CHECKSUM, h->body_checksum);
    put_u64(out + size - 8, checksum64(out, size - 8, sync_word + offset));
    return size;
}

int record_decode_header(struct record_header *h, uint64_t sync_word, uint64_t offset,
                         const uint8_t *data, size_t size)
{
    if (size < RECORD_HEADER_SIZE || get_u64(data + AT_SYNC) != sync_word)
        return ERR_DAMAGED;
    size_t header_size = (size_t)data[AT_WORDS] * 8;
    bool plain = data[AT_CIPHER] == 0;
    if (header_size != (plain ? RECORD_HEADER_SIZE : RECORD_HEADER_CIPHER_SIZE) ||
        header_size > size)
        return ERR_DAMAGED;
    uint64_t checksum = checksum64(data, header_size - 8, sync_word + offset);
    if (get_u64(data + header_size - 8) != checksum)
        return ERR_DAMAGED;
    *h = (struct record_header){
        .type = data[AT_TYPE],
        .codec = data[AT_CODEC],
        .cipher = data[AT_CIPHER],
        .flags = get_u32(data + AT_FLAGS),
        .account = get_u32(data + AT_ACCOUNT),
        .meta_size = get_u32(data + AT_META_SIZE),
        .body_size = get_u64(data + AT_BODY_SIZE),
        .body_raw_size = get_u64(data + AT_BODY_RAW_SIZE),
        .lsn = get_u64(data + AT_LSN),
        .time_us = (int64_t)get_u64(data + AT_TIME),
        .meta_checksum = get_u64(data + AT_META_CHECKSUM),
        .body_checksum = get_u64(data + AT_BODY_CHECKSUM),
    };
    if (h->type == 0 || h->type > RECORD_TYPE_MAX || h->codec > CODEC_ZSTD || !plain ||
        (h->flags & ~RECORD_FLAGS_KNOWN) != 0 || h->meta_size > META_STORED_MAX ||
        h->body_size > BODY_STORED_MAX || h->body_raw_size > BLOCK_RAW_MAX)
        return ERR_VERSION;
    return 0;
}

int record_decode_meta(const struct record_header *h, const uint8_t *stored,
                       struct codec *codec, struct buffer *out)
{
    buffer_clear(out);
    if (checksum64(stored, h->meta_size, 0) != h->meta_checksum)
        return ERR_DAMAGED;
    if (!(h->flags & RECORD_META_ZSTD)) {
        buffer_put(out, stored, h->meta_size);
        return out->failed ? -ENOMEM : 0;
    }
    size_t raw_size = 0;
    int err = codec_raw_size(stored, h->meta_size, META_RAW_MAX, &raw_size);
    if (err != 0)
        return err;
    uint8_t *to = buffer_reserve(out, raw_size);
    if (to == NULL)
        return -ENOMEM;
    err = codec_decompress(codec, stored, h->meta_size, to, raw_size);
    if (err == 0)
        out->size = raw_size;
    return err;
}

int record_decode_body(const struct record_header *h, const uint8_t *stored, uint64_t upto,
                       struct codec *codec, struct buffer *out)
{
    buffer_clear(out);
    if (checksum64(stored, h->body_size, 0) != h->body_checksum)
        return ERR_DAMAGED;
    if (h->codec == CODEC_STORED && h->body_size != h->body_raw_size)
        return ERR_DAMAGED;
    if (upto > h->body_raw_size)
        return ERR_DAMAGED;
    uint8_t *to = buffer_reserve(out, upto + 1);
    if (to == NULL)
        return -ENOMEM;
    int err = 0;
    if (h->codec == CODEC_ZSTD && upto < h->body_raw_size)
        err = codec_decompress_start(codec, stored, h->body_size, to, upto);
    else if (h->codec == CODEC_ZSTD)
        err = codec_decompress(codec, stored, h->body_size, to, upto);
    else if (upto > 0)
        memcpy(to, stored, upto);
    if (err == 0)
        out->size = upto;
    return err;
}

const char *record_type_name(uint8_t type)
{
    static const char *const names[] = {
        [RECORD_COMMIT] = "COMMIT",
        [RECORD_ACCOUNT] = "ACCOUNT",
        [RECORD_SOURCE] = "SOURCE",
        [RECORD_BLOCK] = "BLOCK",
        [RECORD_CHUNK] = "CHUNK",
        [RECORD_END] = "END",
        [RECORD_PART] = "PART",
        [RECORD_SEEN] = "SEEN",
        [RECORD_SESSION] = "SESSION",
        [RECORD_SESSION_RUN] = "SESSION_RUN",
        [RECORD_ACCESS] = "ACCESS",
        [RECORD_DELETE_INTENT] = "DELETE_INTENT",
        [RECORD_DELETE_OUTCOME] = "DELETE_OUTCOME",
        [RECORD_QUARANTINE] = "QUARANTINE",
        [RECORD_LOST] = "LOST",
        [RECORD_SUPERSEDES] = "SUPERSEDES",
        [RECORD_SEAL] = "SEAL",
        [RECORD_PACK] = "PACK",
        [RECORD_UNLISTED_RUN] = "UNLISTED_RUN",
    };
    const char *name = type < sizeof(names) / sizeof(names[0]) ? names[type] : NULL;
    return name != NULL ? name : "unknown record";
}
