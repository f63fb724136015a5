/* Whether a server is who it should be, and if not, why, in a sentence. Part of
 * workers/tls.c, for nobody else. */
#ifndef MAILCASK_WORKERS_TLS_VERIFY_H
#define MAILCASK_WORKERS_TLS_VERIFY_H

#include "workers/tls.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* A policy, ready for use by one SSL_CTX. */
struct tls_trust {
    char *ca_file; /* NULL: the system's */
    bool pinned;
    uint8_t pin[TLS_FINGERPRINT_SIZE];
    EVP_MD *sha256; /* fetched once: each implicit fetch takes locks */
};

/* One connection's server. */
struct tls_peer {
    struct tls *tls; /* whose it is */
    const struct tls_trust *trust;
    char *host;
    bool host_is_address;
    char *complaint;      /* why its certificate was refused, or NULL */
    enum tls_fault fault; /* if so, TLS_FAULT_EXPIRED or behind it */
};

/* trust starts as all zeroes and must outlive ctx. Errors and out_text as
 * tls_context_create(). */
int tls_trust_init(struct tls_trust *trust, const struct tls_policy *policy, SSL_CTX *ctx,
                   char out_text[TLS_TEXT_SIZE]);
void tls_trust_clear(struct tls_trust *trust);

/* peer starts as all zeroes but for tls, and must outlive ssl. Errors as tls_create(). */
int tls_peer_init(struct tls_peer *peer, const struct tls_trust *trust, const char *host,
                  SSL *ssl);
void tls_peer_clear(struct tls_peer *peer);

/* After a full handshake: the end of the time, in seconds since the epoch, in which the
 * certificates verified just now are valid. INT64_MAX where dates are not looked at. */
int64_t tls_peer_valid_until(const SSL *ssl);

/* See tls_describe_certificate(). */
void tls_peer_describe(const SSL *ssl, char out_text[TLS_TEXT_SIZE]);

#endif
