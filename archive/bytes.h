/* Little-endian fields, a bounded cursor for decoding, and a growing buffer for encoding.
 * On disk nothing is ever a native struct. */
#ifndef MAILCASK_ARCHIVE_BYTES_H
#define MAILCASK_ARCHIVE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *to, uint32_t value)
{
    put_u16(to, (uint16_t)value);
    put_u16(to + 2, (uint16_t)(value >> 16));
}

static inline void put_u64(uint8_t *to, uint64_t value)
{
    put_u32(to, (uint32_t)value);
    put_u32(to + 4, (uint32_t)(value >> 32));
}

static inline uint16_t get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)get_u16(from) | (uint32_t)get_u16(from + 2) << 16;
}

static inline uint64_t get_u64(const uint8_t *from)
{
    return (uint64_t)get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

/* Big-endian, for index keys: they sort as their numbers do. */
static inline void put_key32(uint8_t *to, uint32_t value)
{
    put_u32(to, __builtin_bswap32(value));
}

static inline void put_key64(uint8_t *to, uint64_t value)
{
    put_u64(to, __builtin_bswap64(value));
}

static inline uint32_t get_key32(const uint8_t *from)
{
    return __builtin_bswap32(get_u32(from));
}

static inline uint64_t get_key64(const uint8_t *from)
{
    return __builtin_bswap64(get_u64(from));
}

/* Decoding: a take beyond the end sets `bad` (sticky) and yields zero or NULL, so a decoder
 * may read all its fields and ask once. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static inline struct cursor cursor_over(const void *data, size_t size)
{
    const uint8_t *at = data;
    return (struct cursor){.at = at, .end = size == 0 ? at : at + size, .bad = false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* size bytes, borrowed from the input; NULL beyond the end. */
static inline const uint8_t *take_bytes(struct cursor *c, size_t size)
{
    if (c->bad || size > cursor_left(c)) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *at = c->at;
    c->at += size;
    return at;
}

static inline uint8_t take_u8(struct cursor *c)
{
    const uint8_t *at = take_bytes(c, 1);
    return at == NULL ? (uint8_t)0 : *at;
}

static inline uint16_t take_u16(struct cursor *c)
{
    const uint8_t *at = take_bytes(c, 2);
    return at == NULL ? (uint16_t)0 : get_u16(at);
}

static inline uint32_t take_u32(struct cursor *c)
{
    const uint8_t *at = take_bytes(c, 4);
    return at == NULL ? 0 : get_u32(at);
}

static inline uint64_t take_u64(struct cursor *c)
{
    const uint8_t *at = take_bytes(c, 8);
    return at == NULL ? 0 : get_u64(at);
}

static inline void take_copy(struct cursor *c, void *to, size_t size)
{
    const uint8_t *at = take_bytes(c, size);
    if (at != NULL)
        memcpy(to, at, size);
    else
        memset(to, 0, size);
}

/* A byte string that is borrowed from somewhere; not terminated. */
struct span {
    const uint8_t *data;
    size_t size;
};

static inline struct span span_of(const void *data, size_t size)
{
    return (struct span){.data = data, .size = size};
}

static inline struct span span_text(const char *text)
{
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* A string with a u16 length before it. */
static inline struct span take_span(struct cursor *c)
{
    size_t size = take_u16(c);
    const uint8_t *at = take_bytes(c, size);
    return span_of(at, at == NULL ? 0 : size);
}

/* Encoding: grows as needed. When memory runs out `failed` is set (sticky) and later puts
 * are void; the owner asks once at the end. Zero-initialised is empty. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

/* Room for size more bytes behind the end, which the caller fills and then counts by adding
 * to `size`; NULL when memory ran out. */
uint8_t *buffer_reserve(struct buffer *b, size_t size);
void buffer_put(struct buffer *b, const void *data, size_t size);
void buffer_put_u8(struct buffer *b, uint8_t value);
void buffer_put_u16(struct buffer *b, uint16_t value);
void buffer_put_u32(struct buffer *b, uint32_t value);
void buffer_put_u64(struct buffer *b, uint64_t value);
/* A u16 length, then the bytes; at most 65,535 (assert). */
void buffer_put_span(struct buffer *b, struct span value);
/* The buffer as a set of numbers, a bit each: put grows it, with zeros. */
void buffer_put_bit(struct buffer *b, uint64_t n);
bool buffer_bit(const struct buffer *b, uint64_t n);
void buffer_clear_bit(struct buffer *b, uint64_t n);
/* Forget the contents, keep the memory. */
void buffer_clear(struct buffer *b);
void buffer_free(struct buffer *b);

#endif
