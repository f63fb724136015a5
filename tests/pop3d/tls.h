/* TLS of the server: OpenSSL over the non-blocking socket. */
#ifndef MAILCASK_POP3D_TLS_H
#define MAILCASK_POP3D_TLS_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "tests/pop3d/options.h"

/* How a call on the connection ended. Only IO_OK moved bytes. */
enum io { IO_OK, IO_WANTS_READ, IO_WANTS_WRITE, IO_CLOSED, IO_FAILED };

/* With the certificate of the options, or one made in memory: a CA and a server certificate
 * for localhost, 127.0.0.1 and ::1. Writes options->write_ca. NULL after a message on
 * standard error. */
SSL_CTX *tls_context_new(const struct options *options);

enum io tls_accept(SSL *tls);
/* tls NULL: the plain socket. */
enum io connection_read(SSL *tls, int fd, void *data, size_t size, size_t *out_read);
enum io connection_write(SSL *tls, int fd, const void *data, size_t size,
                         size_t *out_written);

/* The reason of the last IO_FAILED, for the log; empties OpenSSL's queue. */
const char *tls_reason(void);

#endif
