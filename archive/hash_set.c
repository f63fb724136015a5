#include "archive/hash_set.h"

#include "archive/bytes.h"

#include <stdlib.h>

#define FIRST_CAPACITY 256
/* The used mark takes a word, so that values are aligned. */
#define MARK_SIZE 8

static size_t slot_size(const struct hash_set *s)
{
    return MARK_SIZE + SHA256_SIZE + (s->value_size + 7) / 8 * 8;
}

/* The hash's slot, or the free one where it belongs. */
static uint8_t *find_slot(const struct hash_set *s, const uint8_t sha256[SHA256_SIZE])
{
    size_t mask = s->capacity - 1, i = (size_t)get_u64(sha256) & mask;
    for (;;) {
        uint8_t *slot = s->slots + i * slot_size(s);
        if (slot[0] == 0 || memcmp(slot + MARK_SIZE, sha256, SHA256_SIZE) == 0)
            return slot;
        i = (i + 1) & mask;
    }
}

static bool grow(struct hash_set *s)
{
    struct hash_set bigger = *s;
    bigger.capacity = s->capacity == 0 ? FIRST_CAPACITY : s->capacity * 2;
    bigger.slots = calloc(bigger.capacity, slot_size(s));
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; i < s->capacity; i++) {
        const uint8_t *slot = s->slots + i * slot_size(s);
        if (slot[0] != 0)
            memcpy(find_slot(&bigger, slot + MARK_SIZE), slot, slot_size(s));
    }
    free(s->slots);
    *s = bigger;
    return true;
}

void *hash_set_get(const struct hash_set *s, const uint8_t sha256[SHA256_SIZE])
{
    uint8_t *slot = s->capacity == 0 ? NULL : find_slot(s, sha256);
    return slot == NULL || slot[0] == 0 ? NULL : slot + MARK_SIZE + SHA256_SIZE;
}

void *hash_set_put(struct hash_set *s, const uint8_t sha256[SHA256_SIZE])
{
    if (s->count * 2 >= s->capacity && !grow(s))
        return NULL;
    uint8_t *slot = find_slot(s, sha256);
    if (slot[0] == 0) {
        slot[0] = 1;
        memcpy(slot + MARK_SIZE, sha256, SHA256_SIZE);
        s->count++;
    }
    return slot + MARK_SIZE + SHA256_SIZE;
}

void *hash_set_next(const struct hash_set *s, size_t *at)
{
    while (*at < s->capacity) {
        uint8_t *slot = s->slots + (*at)++ * slot_size(s);
        if (slot[0] != 0)
            return slot + MARK_SIZE + SHA256_SIZE;
    }
    return NULL;
}

void hash_set_free(struct hash_set *s)
{
    free(s->slots);
    s->slots = NULL;
    s->count = s->capacity = 0;
}
