#include "tests/support/tls_pair.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOST "pop.acme.example"

void tls_pair_open_with(struct tls_pair *p, int version, enum tls_oldest oldest)
{
    const struct certificate_spec spec = {.common_name = HOST, .names = "DNS:" HOST};
    p->certificate = certificate_create(&spec);
    p->server = tls_server_context(p->certificate, version);
    uint8_t pin[TLS_FINGERPRINT_SIZE];
    char text[TLS_TEXT_SIZE];
    certificate_fingerprint(p->certificate, pin);
    const struct tls_policy policy = {.fingerprint = pin, .oldest = oldest};
    assert_int_equal(tls_context_create(&policy, &p->client, text), 0);
}

void tls_pair_open(struct tls_pair *p, int version)
{
    tls_pair_open_with(p, version, TLS_OLDEST_1_2);
}

void tls_pair_close(struct tls_pair *p)
{
    tls_context_destroy(p->client);
    SSL_CTX_free(p->server);
    certificate_destroy(p->certificate);
}

struct tls_link *tls_pair_link(struct tls_pair *p)
{
    return tls_link_create(p->client, p->server, HOST);
}

struct tls_link *tls_pair_connect(struct tls_pair *p)
{
    struct tls_link *link = tls_pair_link(p);
    assert_int_equal(tls_link_run(link), TLS_WANT);
    assert_true(link->established);
    return link;
}
