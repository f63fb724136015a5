/* The TLS engine against a real server engine in memory: bytes and ends.
 * Certificates are in test_tls_verify.c, what it does not put up with in
 * test_tls_refused.c. */
#include "archive/error.h"
#include "tests/support/tls_pair.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#define GREETING "+OK ready\r\n"
#define GREETING_SIZE (sizeof(GREETING) - 1)
#define MEBIBYTE ((size_t)1024 * 1024)

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* Handshake, greeting, clean close, cut as the link says. Returns the ciphertext's size. */
static size_t converse(struct tls_pair *p, size_t piece, size_t cut)
{
    struct tls_link *link = tls_pair_link(p);
    link->piece = piece;
    link->cut = cut;
    assert_int_equal(tls_link_run(link), TLS_WANT);
    assert_true(link->established);
    tls_link_server_write(link, GREETING, GREETING_SIZE);
    SSL_shutdown(link->server);
    assert_int_equal(tls_link_run(link), TLS_CLOSED);
    assert_int_equal(link->got_size, GREETING_SIZE);
    assert_memory_equal(link->got, GREETING, GREETING_SIZE);
    size_t size = link->delivered;
    tls_link_destroy(link);
    return size;
}

static void feeds_byte_by_byte(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        for (size_t piece = 1; piece < 8; piece++)
            converse(&p, piece, 0);
        tls_pair_close(&p);
    }
}

static void feeds_with_one_cut_anywhere(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        size_t size = converse(&p, 0, 0);
        for (size_t cut = 1; cut < size; cut++)
            converse(&p, 0, cut);
        tls_pair_close(&p);
    }
}

static uint8_t *pattern(size_t size)
{
    uint8_t *data = malloc(size);
    assert_non_null(data);
    uint32_t x = 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = (uint8_t)(x >> 24);
    }
    return data;
}

static void reads_a_mebibyte_in_odd_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {0, 997, 16411, 32749};
    uint8_t *data = pattern(MEBIBYTE);
    for (size_t i = 0; i < VERSIONS * 4; i++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[i % VERSIONS]);
        struct tls_link *link = tls_pair_connect(&p);
        link->piece = pieces[i / VERSIONS];
        tls_link_server_write(link, data, MEBIBYTE);
        assert_int_equal(tls_link_run(link), TLS_WANT);
        assert_int_equal(link->got_size, MEBIBYTE);
        assert_memory_equal(link->got, data, MEBIBYTE);
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
    free(data);
}

/* Send up to size bytes of the output; the server must find the plaintext at expected. */
static size_t send_piece(struct tls_link *link, size_t size, const uint8_t *expected)
{
    uint8_t plain[16 * 1024];
    const uint8_t *output = NULL;
    size_t pending = tls_output(link->client, &output), got = 0;
    size_t n = pending < size ? pending : size;
    assert_int_equal(BIO_write(SSL_get_rbio(link->server), output, (int)n), (int)n);
    tls_output_consume(link->client, n);
    for (int rc; (rc = SSL_read(link->server, plain, sizeof(plain))) > 0; got += (size_t)rc)
        assert_memory_equal(plain, expected + got, (size_t)rc);
    return got;
}

static void writes_a_mebibyte_in_odd_pieces(void **state)
{
    (void)state;
    uint8_t *data = pattern(MEBIBYTE);
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        struct tls_link *link = tls_pair_connect(&p);
        size_t written = 0, arrived = 0, blocked = 0;
        for (int round = 0; round < 1000 && arrived < MEBIBYTE; round++) {
            size_t left = MEBIBYTE - written, n = 0;
            size_t piece = left < 4099 ? left : 4099;
            int rc = piece > 0 ? tls_write(link->client, data + written, piece, &n) : 0;
            assert_true(rc == 0 || rc == TLS_BLOCKED);
            assert_true((rc == TLS_BLOCKED) == (n == 0) || piece == 0);
            written += n;
            blocked += rc == TLS_BLOCKED;
            arrived += send_piece(link, 3001, data + arrived);
        }
        assert_int_equal(arrived, MEBIBYTE);
        assert_true(blocked > 0);
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
    free(data);
}

static void output_stays_in_place_until_consumed(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    const uint8_t *first = NULL, *later = NULL;
    uint8_t copy[64];
    size_t n = 0;
    assert_int_equal(tls_output(link->client, &first), 0);
    assert_int_equal(tls_write(link->client, "CAPA\r\n", 6, &n), 0);
    size_t size = tls_output(link->client, &first);
    assert_in_range(size, 7, sizeof(copy));
    memcpy(copy, first, size);
    while (tls_write(link->client, "NOOP\r\n", 6, &n) == 0)
        continue;
    assert_in_range(tls_output(link->client, &later), size + 1, 16 * 1024);
    assert_ptr_equal(first, later);
    assert_memory_equal(copy, first, size);
    tls_output_consume(link->client, 5);
    tls_output(link->client, &later);
    assert_ptr_equal(first + 5, later);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void keeps_a_loan_that_ends_early(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    for (int i = 0; i < 3; i++)
        tls_link_server_write(link, GREETING, GREETING_SIZE);
    char *data = NULL, plain[100];
    size_t size = (size_t)BIO_get_mem_data(SSL_get_wbio(link->server), &data), n = 0;
    uint8_t *loan = malloc(size);
    assert_non_null(loan);
    memcpy(loan, data, size);
    tls_feed(link->client, loan, size);
    assert_int_equal(tls_read(link->client, plain, sizeof(plain), &n), 0);
    assert_int_equal(n, GREETING_SIZE);
    assert_int_equal(tls_keep_input(link->client), 0);
    assert_int_equal(tls_keep_input(link->client), 0);
    memset(loan, 0, size);
    free(loan);
    assert_int_equal(tls_link_advance(link), TLS_WANT);
    assert_int_equal(link->got_size, 2 * GREETING_SIZE);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void end_without_close_notify_is_truncation(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        struct tls_link *link = tls_pair_connect(&p);
        tls_link_server_write(link, GREETING, GREETING_SIZE);
        assert_int_equal(tls_link_run(link), TLS_WANT);
        tls_end_of_input(link->client);
        assert_int_equal(tls_link_advance(link), ERR_CLOSED);
        assert_int_equal(tls_link_advance(link), ERR_CLOSED);
        assert_non_null(strstr(tls_error(link->client), "without ending TLS"));
        assert_int_equal(link->got_size, GREETING_SIZE);
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
}

static void end_within_a_record_is_truncation(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    tls_link_server_write(link, GREETING, GREETING_SIZE);
    char *data = NULL;
    long size = BIO_get_mem_data(SSL_get_wbio(link->server), &data);
    tls_link_deliver(link, (const uint8_t *)data, (size_t)size - 1);
    assert_int_equal(link->result, TLS_WANT);
    tls_end_of_input(link->client);
    assert_int_equal(tls_link_advance(link), ERR_CLOSED);
    assert_int_equal(link->got_size, 0);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void data_and_clean_end_in_one_loan_are_both_seen(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_2_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    tls_link_server_write(link, GREETING, GREETING_SIZE);
    SSL_shutdown(link->server);
    assert_int_equal(tls_link_run(link), TLS_CLOSED);
    /* What follows is not looked at, and the loan ends all the same. */
    for (int i = 0; i < 2; i++)
        tls_link_deliver(link, (const uint8_t *)GREETING, GREETING_SIZE);
    tls_end_of_input(link->client);
    assert_int_equal(tls_link_advance(link), TLS_CLOSED);
    assert_int_equal(link->got_size, GREETING_SIZE);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void end_during_the_handshake_is_reported(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_link(&p);
    assert_int_equal(tls_link_advance(link), TLS_WANT);
    tls_end_of_input(link->client);
    assert_int_equal(tls_link_advance(link), ERR_CLOSED);
    assert_non_null(strstr(tls_error(link->client), "during the TLS handshake"));
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void close_notify_reaches_the_server_once(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        tls_pair_open(&p, versions[v]);
        struct tls_link *early = tls_pair_link(&p);
        const uint8_t *output = NULL;
        assert_int_equal(tls_close_notify(early->client), 0);
        assert_int_equal(tls_output(early->client, &output), 0);
        tls_link_destroy(early);

        struct tls_link *link = tls_pair_connect(&p);
        assert_int_equal(tls_close_notify(link->client), 0);
        size_t size = tls_output(link->client, &output);
        assert_true(size > 0);
        assert_int_equal(tls_close_notify(link->client), 0);
        assert_int_equal(tls_output(link->client, &output), size);
        tls_link_server_write(link, GREETING, GREETING_SIZE);
        assert_int_equal(tls_link_run(link), TLS_WANT);
        assert_true((SSL_get_shutdown(link->server) & SSL_RECEIVED_SHUTDOWN) != 0);
        assert_int_equal(link->got_size, GREETING_SIZE);
        tls_link_destroy(link);
        tls_pair_close(&p);
    }
}

static void close_notify_waits_for_room(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    size_t n = 0;
    /* A key update and its answer are how the server's peer can be made to fill what
     * tls_write() leaves free. */
    while (tls_write(link->client, "NOOP\r\n", 6, &n) == 0)
        continue;
    int rc = TLS_WANT;
    for (int i = 0; i < 200 && rc == TLS_WANT; i++) {
        assert_int_equal(SSL_key_update(link->server, SSL_KEY_UPDATE_REQUESTED), 1);
        tls_link_server_write(link, "x", 1);
        char *data = NULL, plain[10];
        size_t size = (size_t)BIO_get_mem_data(SSL_get_wbio(link->server), &data);
        tls_feed(link->client, (const uint8_t *)data, size);
        do
            rc = tls_read(link->client, plain, sizeof(plain), &n);
        while (rc == 0);
        assert_int_equal(tls_keep_input(link->client), 0);
        (void)BIO_reset(SSL_get_wbio(link->server));
    }
    assert_int_equal(rc, TLS_BLOCKED);
    assert_int_equal(tls_close_notify(link->client), TLS_BLOCKED);
    tls_link_flush(link);
    assert_int_equal(tls_close_notify(link->client), 0);
    assert_int_equal(tls_link_run(link), TLS_WANT);
    assert_true((SSL_get_shutdown(link->server) & SSL_RECEIVED_SHUTDOWN) != 0);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void stale_error_of_another_connection_is_harmless(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    char plain[10];
    size_t n = 0;
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(tls_read(link->client, plain, sizeof(plain), &n), TLS_WANT);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(tls_write(link->client, "NOOP\r\n", 6, &n), 0);
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void describes_protocol_and_cipher(void **state)
{
    (void)state;
    char text[64];
    struct tls_pair p;
    tls_pair_open(&p, TLS1_3_VERSION);
    struct tls_link *link = tls_pair_connect(&p);
    tls_describe(link->client, text, sizeof(text));
    assert_string_equal(text, "TLSv1.3 TLS_AES_128_GCM_SHA256");
    assert_string_equal(tls_error(link->client), "");
    tls_link_destroy(link);
    tls_pair_close(&p);
}

static void expect_cipher(struct tls_pair *p, const char *want)
{
    char text[64];
    struct tls_link *link = tls_pair_connect(p);
    tls_describe(link->client, text, sizeof(text));
    assert_string_equal(text, want);
    tls_link_destroy(link);
}

/* A server that leaves the choice to the client, and servers that have their own. */
static void asks_for_aes_128_and_takes_what_the_server_insists_on(void **state)
{
    (void)state;
    struct tls_pair p;
    tls_pair_open(&p, TLS1_2_VERSION);
    expect_cipher(&p, "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_int_equal(SSL_CTX_set_cipher_list(p.server, "ECDHE-ECDSA-AES256-GCM-SHA384"), 1);
    expect_cipher(&p, "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384");
    tls_pair_close(&p);
    tls_pair_open(&p, TLS1_3_VERSION);
    expect_cipher(&p, "TLSv1.3 TLS_AES_128_GCM_SHA256");
    assert_int_equal(SSL_CTX_set_ciphersuites(p.server, "TLS_AES_256_GCM_SHA384"), 1);
    expect_cipher(&p, "TLSv1.3 TLS_AES_256_GCM_SHA384");
    assert_int_equal(SSL_CTX_set_ciphersuites(p.server, "TLS_CHACHA20_POLY1305_SHA256"), 1);
    expect_cipher(&p, "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256");
    tls_pair_close(&p);
}

/* The measure for thousands of quiet mailboxes. Sanitizers replace malloc and count
 * nothing. */
static void idle_connection_holds_little_memory(void **state)
{
    (void)state;
    enum { COUNT = 20, BYTES_MAX = 24 * 1024 };
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_pair p;
        struct tls_link *links[COUNT];
        tls_pair_open(&p, versions[v]);
        for (size_t i = 0; i < COUNT; i++) {
            links[i] = tls_pair_connect(&p);
            tls_link_server_write(links[i], GREETING, GREETING_SIZE);
            tls_link_run(links[i]);
        }
        size_t with = mallinfo2().uordblks;
        for (size_t i = 0; i < COUNT; i++) {
            tls_destroy(links[i]->client);
            links[i]->client = NULL;
        }
        assert_in_range(with - mallinfo2().uordblks, 0, (size_t)COUNT * BYTES_MAX);
        for (size_t i = 0; i < COUNT; i++)
            tls_link_destroy(links[i]);
        tls_pair_close(&p);
    }
}

static void *converse_in_thread(void *argument)
{
    struct tls_pair *p = argument;
    for (int i = 0; i < 10; i++)
        converse(p, 0, 0);
    return NULL;
}

static void two_contexts_serve_two_threads(void **state)
{
    (void)state;
    struct tls_pair p[VERSIONS];
    pthread_t threads[VERSIONS];
    for (size_t i = 0; i < VERSIONS; i++) {
        tls_pair_open(&p[i], versions[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, converse_in_thread, &p[i]), 0);
    }
    for (size_t i = 0; i < VERSIONS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        tls_pair_close(&p[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feeds_byte_by_byte),
        cmocka_unit_test(feeds_with_one_cut_anywhere),
        cmocka_unit_test(reads_a_mebibyte_in_odd_pieces),
        cmocka_unit_test(writes_a_mebibyte_in_odd_pieces),
        cmocka_unit_test(output_stays_in_place_until_consumed),
        cmocka_unit_test(keeps_a_loan_that_ends_early),
        cmocka_unit_test(end_without_close_notify_is_truncation),
        cmocka_unit_test(end_within_a_record_is_truncation),
        cmocka_unit_test(data_and_clean_end_in_one_loan_are_both_seen),
        cmocka_unit_test(end_during_the_handshake_is_reported),
        cmocka_unit_test(close_notify_reaches_the_server_once),
        cmocka_unit_test(close_notify_waits_for_room),
        cmocka_unit_test(stale_error_of_another_connection_is_harmless),
        cmocka_unit_test(describes_protocol_and_cipher),
        cmocka_unit_test(asks_for_aes_128_and_takes_what_the_server_insists_on),
        cmocka_unit_test(idle_connection_holds_little_memory),
        cmocka_unit_test(two_contexts_serve_two_threads),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
