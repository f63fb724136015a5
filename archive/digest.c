#include "archive/digest.h"

#include "archive/error.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <xxhash.h>

/* OpenSSL 3 takes locks at every implicit fetch of an algorithm: each running digest
 * fetches its own once, when it is created. */
struct sha256 {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
    EVP_MD_CTX *copy;
};

void digest_only(void)
{
    const uint64_t lean = OPENSSL_INIT_NO_ADD_ALL_CIPHERS |
                          OPENSSL_INIT_NO_ADD_ALL_DIGESTS |
                          OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS;
    /* If it fails there is nothing lost but the time. */
    (void)OPENSSL_init_crypto(lean, NULL);
}

struct sha256 *sha256_create(void)
{
    struct sha256 *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return NULL;
    h->md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    h->ctx = EVP_MD_CTX_new();
    h->copy = EVP_MD_CTX_new();
    if (h->md == NULL || h->ctx == NULL || h->copy == NULL ||
        EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1) {
        sha256_destroy(h);
        return NULL;
    }
    return h;
}

void sha256_destroy(struct sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->copy);
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    free(h);
}

/* Once its context exists SHA-256 cannot fail: a failure would be our own misuse. */
static void must(int ok)
{
    assert(ok == 1);
    (void)ok;
}

void sha256_start(struct sha256 *h)
{
    must(EVP_DigestInit_ex2(h->ctx, h->md, NULL));
}

void sha256_add(struct sha256 *h, const void *data, size_t size)
{
    if (size > 0)
        must(EVP_DigestUpdate(h->ctx, data, size));
}

void sha256_finish(struct sha256 *h, uint8_t out[SHA256_SIZE])
{
    unsigned size = SHA256_SIZE;
    must(EVP_DigestFinal_ex(h->ctx, out, &size));
}

void sha256_peek(const struct sha256 *h, uint8_t out[SHA256_SIZE])
{
    unsigned size = SHA256_SIZE;
    must(EVP_MD_CTX_copy_ex(h->copy, h->ctx));
    must(EVP_DigestFinal_ex(h->copy, out, &size));
}

void sha256_of(const void *data, size_t size, uint8_t out[SHA256_SIZE])
{
    size_t out_size = SHA256_SIZE;
    must(EVP_Q_digest(NULL, "SHA2-256", NULL, data, size, out, &out_size));
}

uint64_t checksum64(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

int random_bytes(void *out, size_t size)
{
    return RAND_bytes(out, (int)size) == 1 ? 0 : ERR_CRYPTO;
}

void hex_encode(const uint8_t *data, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * size] = '\0';
}
