#include "tests/pop3d/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST_CAPACITY 256

void *memory_new(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL) {
        fputs("pop3d: out of memory\n", stderr);
        abort();
    }
    return memory;
}

char *memory_copy_string(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memory_new(size);
    memcpy(copy, text, size);
    return copy;
}

char *buffer_room(struct buffer *buffer, size_t size)
{
    if (buffer->size == 0)
        buffer->head = 0;
    size_t needed = buffer->head + buffer->size + size;
    if (needed <= buffer->capacity && buffer->data != NULL)
        return buffer->data + buffer->head + buffer->size;
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : SMALLEST_CAPACITY;
    while (capacity < buffer->size + size)
        capacity *= 2;
    char *data = memory_new(capacity);
    if (buffer->size > 0)
        memcpy(data, buffer->data + buffer->head, buffer->size);
    free(buffer->data);
    *buffer = (struct buffer){.data = data, .size = buffer->size, .capacity = capacity};
    return data + buffer->size;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buffer_room(buffer, size), data, size);
    buffer->size += size;
}

void buffer_add_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, text, strlen(text));
}

void buffer_addf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    assert(size >= 0);
    buffer_add(buffer, text, (size_t)size);
    free(text);
}

char *buffer_front(const struct buffer *buffer)
{
    return buffer->data != NULL ? buffer->data + buffer->head : NULL;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    assert(size <= buffer->size);
    buffer->head += size;
    buffer->size -= size;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
