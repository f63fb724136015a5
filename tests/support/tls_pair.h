/* A client that trusts the server by its fingerprint, and the server. What fails on the way
 * fails the test. */
#ifndef MAILCASK_TESTS_SUPPORT_TLS_PAIR_H
#define MAILCASK_TESTS_SUPPORT_TLS_PAIR_H

#include "tests/support/tls_link.h"

struct tls_pair {
    struct certificate *certificate;
    struct tls_context *client;
    SSL_CTX *server;
};

/* version: the server's only one (TLS1_2_VERSION...); oldest: the client's. */
void tls_pair_open_with(struct tls_pair *p, int version, enum tls_oldest oldest);
void tls_pair_open(struct tls_pair *p, int version);
void tls_pair_close(struct tls_pair *p);

/* A connection on which nothing has been said; tls_link_destroy() it. */
struct tls_link *tls_pair_link(struct tls_pair *p);
/* One whose handshake is done. */
struct tls_link *tls_pair_connect(struct tls_pair *p);

#endif
