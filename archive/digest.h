/* SHA-256 for identity, XXH3-64 for accidents. The door to libcrypto's digests and
 * libxxhash. */
#ifndef MAILCASK_ARCHIVE_DIGEST_H
#define MAILCASK_ARCHIVE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

/* For a program that wants nothing else of libcrypto, before all else: half a millisecond
 * less of tables and texts at the first digest. The system's configuration (FIPS, say) is
 * still read. */
void digest_only(void);

/* A running SHA-256. One owner at a time. */
struct sha256;

/* NULL when memory runs out. Started. */
struct sha256 *sha256_create(void);
void sha256_destroy(struct sha256 *h);
/* Start over. */
void sha256_start(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t size);
/* The digest of all that was added; start over before adding again. */
void sha256_finish(struct sha256 *h, uint8_t out[SHA256_SIZE]);
/* The digest so far; adding may go on. */
void sha256_peek(const struct sha256 *h, uint8_t out[SHA256_SIZE]);

void sha256_of(const void *data, size_t size, uint8_t out[SHA256_SIZE]);

uint64_t checksum64(const void *data, size_t size, uint64_t seed);

/* size random bytes from the operating system's generator: 0 or ERR_CRYPTO. */
int random_bytes(void *out, size_t size);

/* Lower-case hexadecimal, terminated: out holds 2 * size + 1. */
void hex_encode(const uint8_t *data, size_t size, char *out);

#endif
