/* Servers that the TLS engine does not speak with, and what it says of them; a record that
 * was changed on the way. */
#include "archive/error.h"
#include "tests/support/tls_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#define GREETING "+OK ready\r\n"
#define GREETING_SIZE (sizeof(GREETING) - 1)

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* Feed these bytes in place of a server's answer to the client's hello. */
static int answer(struct tls_link *link, const void *data, size_t size)
{
    assert_int_equal(tls_link_advance(link), TLS_WANT);
    tls_link_deliver(link, data, size);
    if (link->result == TLS_WANT) {
        tls_end_of_input(link->client);
        tls_link_advance(link);
    }
    return link->result;
}

static void plain_text_server_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *said, *sentence;
    } cases[] = {
        {"+OK POP3 ready <1.2@acme>\r\n", "set tls = starttls"},
        {"+OK", "set tls = starttls"},
        {"-ERR too many connections\r\n", "set tls = starttls"},
        {"220 mail.acme.example ESMTP\r\n", "neither TLS nor POP3"},
        {"HTTP/1.1 400 Bad Request\r\n", "neither TLS nor POP3"},
    };
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t piece = 0; piece < 3; piece++) {
            struct tls_link *link = tls_pair_link(&p);
            link->piece = piece;
            /* A server that says "+OK" and a client that waits: all of it, or byte by byte.
             */
            assert_int_equal(answer(link, cases[i].said, strlen(cases[i].said)), ERR_TLS);
            assert_non_null(strstr(tls_error(link->client), cases[i].sentence));
            tls_link_destroy(link);
        }
    tls_pair_close(&p);
}

static void old_protocol_is_refused(void **state)
{
    (void)state;
    /* ServerHello of TLS 1.1: version, random, no session id, cipher AES128-SHA, no
     * compression. */
    uint8_t hello[5 + 4 + 38] = {22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2};
    hello[sizeof(hello) - 2] = 0x2f;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_1_VERSION);
    struct tls_link *link = tls_pair_link(&p);
    assert_int_equal(answer(link, hello, sizeof(hello)), ERR_TLS);
    assert_non_null(strstr(tls_error(link->client), "does not offer TLS 1.2"));
    tls_link_destroy(link);

    /* A server that understands the client's list of versions answers with an alert. */
    link = tls_pair_link(&p);
    assert_int_equal(tls_link_run(link), ERR_TLS);
    assert_non_null(strstr(tls_error(link->client), "does not offer TLS 1.2"));
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void q56_an_old_protocol_is_spoken_where_it_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        int server;
        enum tls_oldest oldest;
        bool works;
    } cases[] = {
        {TLS1_VERSION, TLS_OLDEST_1_2, false},   {TLS1_VERSION, TLS_OLDEST_1_1, false},
        {TLS1_VERSION, TLS_OLDEST_1_0, true},    {TLS1_1_VERSION, TLS_OLDEST_1_0, true},
        {TLS1_1_VERSION, TLS_OLDEST_1_1, true},  {TLS1_2_VERSION, TLS_OLDEST_1_1, true},
        {TLS1_2_VERSION, TLS_OLDEST_1_3, false}, {TLS1_3_VERSION, TLS_OLDEST_1_3, true},
        {TLS1_3_VERSION, TLS_OLDEST_1_0, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_pair p;
        tls_pair_open_with(&p, cases[i].server, cases[i].oldest);
        struct tls_link *link = tls_pair_link(&p);
        assert_int_equal(tls_link_run(link), cases[i].works ? TLS_WANT : ERR_TLS);
        assert_int_equal(link->established, cases[i].works);
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
}

static void alert_is_quoted(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_set1_groups_list(p.server, (char[]){"P-521"}), 1);
    struct tls_link *link = tls_pair_link(&p);
    assert_int_equal(tls_link_run(link), ERR_TLS);
    assert_non_null(strstr(tls_error(link->client), "alert \"handshake failure\""));
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void changed_record_is_refused(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        struct tls_link *link = tls_pair_connect(&p);
        tls_link_server_write(link, GREETING, GREETING_SIZE);
        char *data = NULL;
        long size = BIO_get_mem_data(SSL_get_wbio(link->server), &data);
        data[size - 1] ^= 1;
        assert_int_equal(tls_link_run(link), ERR_TLS);
        assert_int_equal(link->got_size, 0);
        size_t n = 0;
        assert_int_equal(tls_write(link->client, "QUIT\r\n", 6, &n), ERR_TLS);
        assert_int_equal(tls_close_notify(link->client), 0);
        assert_string_not_equal(tls_error(link->client), "");
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_2_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    assert_int_equal(SSL_renegotiate(link->server), 1);
    assert_int_equal(SSL_do_handshake(link->server), 1);
    tls_link_advance(link);
    char *data = NULL;
    long size = BIO_get_mem_data(SSL_get_wbio(link->server), &data);
    assert_true(size > 0);
    tls_link_deliver(link, (const uint8_t *)data, (size_t)size);
    assert_int_equal(link->result, TLS_WANT);
    char plain[10];
    ERR_clear_error();
    assert_int_equal(SSL_read(link->server, plain, sizeof(plain)), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_server_is_named),
        cmocka_unit_test(old_protocol_is_refused),
        cmocka_unit_test(q56_an_old_protocol_is_spoken_where_it_is_asked_for),
        cmocka_unit_test(alert_is_quoted),
        cmocka_unit_test(changed_record_is_refused),
        cmocka_unit_test(renegotiation_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
