#include "daemon/arena.h"

#include <openssl/crypto.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#define CHUNK_SIZE ((size_t)64 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    alignas(max_align_t) char data[];
};

static struct arena_chunk *chunk_new(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct arena_chunk))
        return NULL;
    struct arena_chunk *chunk = calloc(1, sizeof(*chunk) + size);
    if (chunk != NULL)
        chunk->size = size;
    return chunk;
}

void *arena_take(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align)
        return NULL;
    size = (size + align - 1) / align * align;

    struct arena_chunk *first = arena->chunks;
    if (first == NULL || first->size - first->used < size) {
        /* A large piece gets a chunk of its own behind the first, which still has room. */
        struct arena_chunk *chunk = chunk_new(size > CHUNK_SIZE / 4 ? size : CHUNK_SIZE);
        if (chunk == NULL)
            return NULL;
        if (first != NULL && chunk->size != CHUNK_SIZE) {
            chunk->next = first->next;
            first->next = chunk;
        } else {
            chunk->next = first;
            arena->chunks = chunk;
        }
        first = chunk;
    }
    void *piece = first->data + first->used;
    first->used += size;
    return piece;
}

void arena_free(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        OPENSSL_cleanse(chunk->data, chunk->used);
        free(chunk);
        chunk = next;
    }
    arena->chunks = NULL;
}
