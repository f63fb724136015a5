/* SHA-256 values with a fixed-size value each: open addressing, grows by doubling. One
 * thread. */
#ifndef MAILCASK_ARCHIVE_HASH_SET_H
#define MAILCASK_ARCHIVE_HASH_SET_H

#include "archive/digest.h"

#include <stddef.h>
#include <stdint.h>

/* Zero-initialised but for value_size is empty. A slot is a used mark, the hash, the value.
 */
struct hash_set {
    size_t value_size; /* 0: only the hashes */
    size_t count;
    size_t capacity;
    uint8_t *slots;
};

/* The value of the hash (some byte, if value_size is 0); NULL: not there. Good until the
 * next put. */
void *hash_set_get(const struct hash_set *s, const uint8_t sha256[SHA256_SIZE]);
/* The same, made with a zeroed value if it is not there; NULL when memory runs out. */
void *hash_set_put(struct hash_set *s, const uint8_t sha256[SHA256_SIZE]);
/* The values one by one, in no order: *at is 0 at first. NULL: that was all. */
void *hash_set_next(const struct hash_set *s, size_t *at);
void hash_set_free(struct hash_set *s);

#endif
