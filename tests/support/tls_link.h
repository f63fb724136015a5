/* A client engine (workers/tls.h) and a real OpenSSL server, joined in memory. Each piece
 * of ciphertext is lent to the client from fresh memory that is freed as soon as the loan
 * ends, so that AddressSanitizer sees an engine that breaks its promise. */
#ifndef MAILCASK_SUPPORT_TLS_LINK_H
#define MAILCASK_SUPPORT_TLS_LINK_H

#include "tests/support/certificates.h"
#include "workers/tls.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The server's context, for one protocol version (TLS1_2_VERSION...). Free with
 * SSL_CTX_free(). */
SSL_CTX *tls_server_context(const struct certificate *certificate, int version);

struct tls_link {
    struct tls *client;
    SSL *server;
    size_t piece; /* at most so many bytes of ciphertext a loan; 0: whatever there is */
    size_t cut;   /* a loan ends at this byte of all the ciphertext; 0: nowhere */
    size_t delivered;
    int result; /* of the client's last step */
    bool established;
    uint8_t *got; /* plaintext that reached the client */
    size_t got_size;
};

/* host: for the client, see tls_create(). Free with tls_link_destroy(). */
struct tls_link *tls_link_create(struct tls_context *client, SSL_CTX *server,
                                 const char *host);
void tls_link_destroy(struct tls_link *link);

/* The client goes as far as it can with what it was fed: handshake, then reads. Its output
 * goes to the server. Returns the step it ended with, never 0. */
int tls_link_advance(struct tls_link *link);

/* Feed these bytes as link->piece and link->cut say, advancing after each loan. */
void tls_link_deliver(struct tls_link *link, const uint8_t *data, size_t size);

/* Both sides in turn until neither has anything to say. The server does its handshake, then
 * reads and drops what the client wrote. Returns link->result. */
int tls_link_run(struct tls_link *link);

/* The server writes (its handshake is done by then); tls_link_run() delivers. */
void tls_link_server_write(struct tls_link *link, const void *data, size_t size);

/* Everything the client has to send goes to the server. */
void tls_link_flush(struct tls_link *link);

#endif
