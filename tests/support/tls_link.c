#include "tests/support/tls_link.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 10000

static void need(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "tls link: %s failed\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

SSL_CTX *tls_server_context(const struct certificate *certificate, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    need(ctx != NULL, "SSL_CTX_new");
    /* Level 0, or OpenSSL 3.0 would not even let the server offer TLS 1.1. */
    SSL_CTX_set_security_level(ctx, 0);
    need(SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
             SSL_CTX_set_max_proto_version(ctx, version) == 1,
         "version");
    need(SSL_CTX_use_certificate(ctx, certificate->x509) == 1 &&
             SSL_CTX_use_PrivateKey(ctx, certificate->key) == 1,
         "certificate");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

struct tls_link *tls_link_create(struct tls_context *client, SSL_CTX *server,
                                 const char *host)
{
    struct tls_link *link = calloc(1, sizeof(*link));
    need(link != NULL, "calloc");
    need(tls_create(client, host, &link->client) == 0, "tls_create");
    link->server = SSL_new(server);
    need(link->server != NULL, "SSL_new");
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    need(in != NULL && out != NULL, "BIO_new");
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(link->server, in, out);
    SSL_set_accept_state(link->server);
    return link;
}

void tls_link_destroy(struct tls_link *link)
{
    tls_destroy(link->client);
    SSL_free(link->server);
    free(link->got);
    free(link);
}

void tls_link_flush(struct tls_link *link)
{
    const uint8_t *data = NULL;
    size_t size = tls_output(link->client, &data);
    if (size == 0)
        return;
    need(BIO_write(SSL_get_rbio(link->server), data, (int)size) == (int)size, "BIO_write");
    tls_output_consume(link->client, size);
}

static void append(struct tls_link *link, const uint8_t *data, size_t size)
{
    link->got = realloc(link->got, link->got_size + size);
    need(link->got != NULL, "realloc");
    memcpy(link->got + link->got_size, data, size);
    link->got_size += size;
}

int tls_link_advance(struct tls_link *link)
{
    uint8_t plain[4093];
    int rc = 0;
    do {
        size_t n = 0;
        if (!link->established) {
            rc = tls_handshake(link->client);
            link->established = rc == 0;
        } else {
            rc = tls_read(link->client, plain, sizeof(plain), &n);
        }
        if (n > 0)
            append(link, plain, n);
        tls_link_flush(link);
    } while (rc == 0 || rc == TLS_BLOCKED);
    link->result = rc;
    return rc;
}

/* How long the next loan is. */
static size_t loan_size(const struct tls_link *link, size_t left)
{
    size_t size = left;
    if (link->piece > 0 && size > link->piece)
        size = link->piece;
    size_t until_cut = link->cut > link->delivered ? link->cut - link->delivered : 0;
    if (until_cut > 0 && size > until_cut)
        size = until_cut;
    return size;
}

void tls_link_deliver(struct tls_link *link, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t n = loan_size(link, size);
        uint8_t *loan = malloc(n);
        need(loan != NULL, "malloc");
        memcpy(loan, data, n);
        tls_feed(link->client, loan, n);
        tls_link_advance(link);
        free(loan);
        link->delivered += n;
        data += n;
        size -= n;
    }
}

static void server_step(SSL *server)
{
    char dropped[4096];
    ERR_clear_error();
    if (!SSL_is_init_finished(server))
        SSL_do_handshake(server);
    if (SSL_is_init_finished(server))
        while (SSL_read(server, dropped, sizeof(dropped)) > 0)
            continue;
    ERR_clear_error();
}

int tls_link_run(struct tls_link *link)
{
    tls_link_advance(link);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        server_step(link->server);
        BIO *out = SSL_get_wbio(link->server);
        char *data = NULL;
        long size = BIO_get_mem_data(out, &data);
        if (size <= 0)
            return link->result;
        uint8_t *copy = malloc((size_t)size);
        need(copy != NULL, "malloc");
        memcpy(copy, data, (size_t)size);
        (void)BIO_reset(out);
        tls_link_deliver(link, copy, (size_t)size);
        free(copy);
    }
    need(false, "coming to an end");
    return 0;
}

void tls_link_server_write(struct tls_link *link, const void *data, size_t size)
{
    ERR_clear_error();
    need(SSL_write(link->server, data, (int)size) == (int)size, "SSL_write");
}
