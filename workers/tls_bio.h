/* The ciphertext sides of one TLS engine, as a BIO for OpenSSL: a borrowed window of
 * received bytes and a bounded buffer of bytes to send. Part of workers/tls.c, for nobody
 * else.
 *
 * 1. Bytes of the output never move before they are consumed (a send may be in flight).
 * 2. The output takes memory only while it holds bytes: an idle connection has none.
 * 3. kept != NULL only while input points into it. */
#ifndef MAILCASK_WORKERS_TLS_BIO_H
#define MAILCASK_WORKERS_TLS_BIO_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many of the first received bytes are remembered, to tell plain text from TLS. */
#define TLS_FIRST_SIZE 4

struct tls_wire {
    const uint8_t *input; /* what is left of the window */
    size_t input_size;
    uint8_t *kept;    /* our copy of the window, or NULL */
    bool input_ended; /* an end of file follows the window */
    bool no_memory;   /* a write failed for want of memory */
    uint8_t *output;  /* TLS_OUTPUT_SIZE bytes, or NULL */
    size_t output_start;
    size_t output_end;
    uint8_t first[TLS_FIRST_SIZE];
    uint8_t first_size;
};

/* The method of all these BIOs; NULL without memory. BIO_meth_free() it after the last of
 * them. */
BIO_METHOD *tls_wire_method(void);

/* A BIO over wire, which starts as zeroes and must outlive it; NULL without memory. */
BIO *tls_wire_bio(const BIO_METHOD *method, struct tls_wire *wire);

/* Frees what the wire holds, not the wire. */
void tls_wire_clear(struct tls_wire *wire);

void tls_wire_feed(struct tls_wire *wire, const uint8_t *data, size_t size);

/* Forget what is left of the window. */
void tls_wire_drop_input(struct tls_wire *wire);

/* Copy what is left of the window. Returns 0 or -ENOMEM (the window stays). */
int tls_wire_keep(struct tls_wire *wire);

/* Bytes that a write can still take. */
size_t tls_wire_room(const struct tls_wire *wire);

void tls_wire_consume(struct tls_wire *wire, size_t size);

#endif
