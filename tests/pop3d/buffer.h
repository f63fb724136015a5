/* Bytes that grow at the end and are consumed at the front. Out of memory ends the program:
 * this is a test server. */
#ifndef MAILCASK_POP3D_BUFFER_H
#define MAILCASK_POP3D_BUFFER_H

#include <stddef.h>

/* Borrowed bytes, NULs allowed; data NULL means "not given". */
struct bytes {
    const char *data;
    size_t size;
};

/* All zero is an empty buffer. data[head .. head + size) is what it holds. */
struct buffer {
    char *data;
    size_t head;
    size_t size;
    size_t capacity;
};

/* malloc() and strdup() that never return NULL. */
void *memory_new(size_t size);
char *memory_copy_string(const char *text);

/* Room for size more bytes at the end; count what was written with buffer->size += n. */
char *buffer_room(struct buffer *buffer, size_t size);
void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_add_text(struct buffer *buffer, const char *text);
void buffer_addf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The first byte held; NULL if nothing was ever added. */
char *buffer_front(const struct buffer *buffer);
/* Drop size bytes from the front. */
void buffer_consume(struct buffer *buffer, size_t size);
/* Empty it and give its memory back. */
void buffer_free(struct buffer *buffer);

#endif
