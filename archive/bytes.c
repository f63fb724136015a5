#include "archive/bytes.h"

#include <assert.h>
#include <stdlib.h>

uint8_t *buffer_reserve(struct buffer *b, size_t size)
{
    if (b->failed)
        return NULL;
    if (b->data == NULL || size > b->capacity - b->size) {
        size_t capacity = b->capacity < 128 ? 256 : b->capacity * 2;
        if (capacity < b->size + size)
            capacity = b->size + size;
        uint8_t *data = realloc(b->data, capacity);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->size;
}

void buffer_put(struct buffer *b, const void *data, size_t size)
{
    uint8_t *to = size > 0 ? buffer_reserve(b, size) : NULL;
    if (to != NULL) {
        memcpy(to, data, size);
        b->size += size;
    }
}

void buffer_put_u8(struct buffer *b, uint8_t value)
{
    buffer_put(b, &value, 1);
}

void buffer_put_u16(struct buffer *b, uint16_t value)
{
    uint8_t bytes[2];
    put_u16(bytes, value);
    buffer_put(b, bytes, sizeof(bytes));
}

void buffer_put_u32(struct buffer *b, uint32_t value)
{
    uint8_t bytes[4];
    put_u32(bytes, value);
    buffer_put(b, bytes, sizeof(bytes));
}

void buffer_put_u64(struct buffer *b, uint64_t value)
{
    uint8_t bytes[8];
    put_u64(bytes, value);
    buffer_put(b, bytes, sizeof(bytes));
}

void buffer_put_span(struct buffer *b, struct span value)
{
    assert(value.size <= UINT16_MAX);
    buffer_put_u16(b, (uint16_t)value.size);
    buffer_put(b, value.data, value.size);
}

void buffer_put_bit(struct buffer *b, uint64_t n)
{
    if (n / 8 >= b->size) {
        size_t more = n / 8 + 1 - b->size;
        uint8_t *to = buffer_reserve(b, more);
        if (to == NULL)
            return;
        memset(to, 0, more);
        b->size += more;
    }
    b->data[n / 8] |= (uint8_t)(1u << n % 8);
}

bool buffer_bit(const struct buffer *b, uint64_t n)
{
    return n / 8 < b->size && (b->data[n / 8] >> n % 8 & 1) != 0;
}

void buffer_clear_bit(struct buffer *b, uint64_t n)
{
    if (n / 8 < b->size)
        b->data[n / 8] &= (uint8_t) ~(1u << n % 8);
}

void buffer_clear(struct buffer *b)
{
    b->size = 0;
    b->failed = false;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
