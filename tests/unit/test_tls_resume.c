/* TLS sessions from one connection to the next: what is resumed, and above all what is not.
 * The engine against a real server engine in memory; the cache alone is in
 * test_tls_sessions.c. */
#include "archive/error.h"
#include "tests/support/tls_link.h"
#include "workers/tls_sessions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#define HOST "pop.acme.example"
#define OTHER_HOST "imap.acme.example"
#define PORT 995
#define PLENTY ((size_t)8 * 1024 * 1024)
#define SHORT_LIFE_S 4 /* of a certificate: long enough for four handshakes */

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* A client that trusts an authority by file, and a server with its certificate. */
struct world {
    struct certificate *authority, *certificate;
    char ca_file[64];
    struct tls_sessions *sessions;
    struct tls_context *client;
    SSL_CTX *server;
};

static struct tls_context *client_create(const struct tls_policy *policy,
                                         struct tls_sessions *sessions)
{
    struct tls_context *client;
    char text[TLS_TEXT_SIZE];
    assert_int_equal(tls_context_create(policy, &client, text), 0);
    tls_context_use_sessions(client, sessions);
    return client;
}

static void world_open_until(struct world *w, int version, int64_t not_after_s)
{
    const struct certificate_spec authority = {.common_name = "Test CA", .authority = true};
    w->authority = certificate_create(&authority);
    const struct certificate_spec spec = {.common_name = HOST,
                                          .names = "DNS:" HOST ",DNS:" OTHER_HOST,
                                          .issuer = w->authority,
                                          .not_before_s = -CERTIFICATE_DAY_S,
                                          .not_after_s = not_after_s};
    w->certificate = certificate_create(&spec);
    snprintf(w->ca_file, sizeof(w->ca_file), "/tmp/mailcask-test-ca-%d-%x.pem", getpid(),
             (unsigned)version);
    certificate_write(w->authority, w->ca_file);
    w->server = tls_server_context(w->certificate, version);
    w->sessions = tls_sessions_create(PLENTY);
    assert_non_null(w->sessions);
    const struct tls_policy policy = {.ca_file = w->ca_file};
    w->client = client_create(&policy, w->sessions);
}

static void world_open(struct world *w, int version)
{
    world_open_until(w, version, CERTIFICATE_DAY_S);
}

static void world_close(struct world *w)
{
    tls_context_destroy(w->client);
    assert_int_equal(tls_sessions_count(w->sessions), 0);
    assert_int_equal(tls_sessions_bytes(w->sessions), 0);
    tls_sessions_destroy(w->sessions);
    SSL_CTX_free(w->server);
    certificate_destroy(w->authority);
    certificate_destroy(w->certificate);
    unlink(w->ca_file);
}

/* The server takes another key for its tickets, as after a restart. */
static void restart_server(struct world *w, const struct certificate *certificate,
                           int version)
{
    SSL_CTX_free(w->server);
    w->server = tls_server_context(certificate, version);
}

static struct tls_link *connect_as(struct world *w, struct tls_context *client,
                                   const char *host, uint16_t port)
{
    struct tls_link *link = tls_link_create(client, w->server, host);
    tls_resume(link->client, port);
    tls_link_run(link);
    return link;
}

static struct tls_link *established(struct world *w)
{
    struct tls_link *link = connect_as(w, w->client, HOST, PORT);
    if (!link->established)
        fail_msg("%s", tls_error(link->client));
    return link;
}

static void hang_up(struct tls_link *link)
{
    assert_int_equal(tls_close_notify(link->client), 0);
    tls_link_destroy(link);
}

/* Whether a connection is resumed; it ends as it should. */
static bool resumes_as(struct world *w, struct tls_context *client, const char *host,
                       uint16_t port)
{
    struct tls_link *link = connect_as(w, client, host, port);
    if (!link->established)
        fail_msg("%s", tls_error(link->client));
    bool resumed = tls_resumed(link->client);
    assert_int_equal(resumed, SSL_session_reused(link->server));
    hang_up(link);
    return resumed;
}

static bool resumes(struct world *w)
{
    return resumes_as(w, w->client, HOST, PORT);
}

static void second_connection_is_resumed(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        assert_false(resumes(&w));
        for (int i = 0; i < 10; i++)
            assert_true(resumes(&w));
        world_close(&w);
    }
}

static void a_resumed_session_says_so(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        char text[64], certificate[TLS_TEXT_SIZE];
        world_open(&w, versions[v]);
        struct tls_link *link = established(&w);
        tls_describe(link->client, text, sizeof(text));
        assert_null(strstr(text, "resumed"));
        hang_up(link);
        link = established(&w);
        tls_describe(link->client, text, sizeof(text));
        assert_non_null(strstr(text, " (resumed)"));
        tls_describe_certificate(link->client, certificate);
        assert_non_null(strstr(certificate, "issued by \"Test CA\""));
        hang_up(link);
        world_close(&w);
    }
}

/* It asks for a second ClientHello, with another key share. */
static void a_server_that_wants_another_group_resumes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_set1_groups_list(w.server, (char[]){"P-256"}), 1);
    assert_false(resumes(&w));
    assert_true(resumes(&w));
    assert_true(resumes(&w));
    world_close(&w);
}

static void nothing_is_resumed_unless_it_is_asked_for(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, TLS1_3_VERSION);
    for (int i = 0; i < 2; i++) {
        struct tls_link *link = tls_link_create(w.client, w.server, HOST);
        tls_link_run(link);
        assert_true(link->established);
        assert_false(tls_resumed(link->client));
        hang_up(link);
    }
    assert_int_equal(tls_sessions_count(w.sessions), 0);
    world_close(&w);
}

/* RFC 8446 C.4. */
static void a_ticket_of_tls_1_3_serves_once(void **state)
{
    (void)state;
    struct world w;
    struct tls_link *links[3];
    world_open(&w, TLS1_3_VERSION);
    assert_false(resumes(&w));
    assert_int_equal(tls_sessions_count(w.sessions), 2);
    /* The first flights only: no connection gets a ticket before the others begin. */
    for (size_t i = 0; i < 3; i++) {
        links[i] = tls_link_create(w.client, w.server, HOST);
        tls_resume(links[i]->client, PORT);
        assert_int_equal(tls_handshake(links[i]->client), TLS_WANT);
    }
    assert_int_equal(tls_sessions_count(w.sessions), 0);
    for (size_t i = 0; i < 3; i++) {
        tls_link_run(links[i]);
        assert_true(links[i]->established);
        assert_int_equal(tls_resumed(links[i]->client), i < 2);
    }
    for (size_t i = 0; i < 3; i++)
        hang_up(links[i]);
    world_close(&w);
}

static void a_session_of_tls_1_2_serves_many(void **state)
{
    (void)state;
    struct world w;
    struct tls_link *links[3];
    world_open(&w, TLS1_2_VERSION);
    assert_false(resumes(&w));
    for (size_t i = 0; i < 3; i++)
        links[i] = established(&w);
    for (size_t i = 0; i < 3; i++) {
        assert_true(tls_resumed(links[i]->client));
        hang_up(links[i]);
    }
    assert_int_equal(tls_sessions_count(w.sessions), 1);
    world_close(&w);
}

static void a_session_that_ended_without_close_notify_is_lost(void **state)
{
    (void)state;
    struct world w;
    const struct tls_sessions_place place = {.context = 1, .host = HOST, .port = PORT};
    struct tls_sessions_trust trust;
    world_open(&w, TLS1_2_VERSION);
    tls_link_destroy(established(&w));
    assert_null(tls_sessions_take(w.sessions, &place, (int64_t)time(NULL), &trust));
    assert_int_equal(tls_sessions_count(w.sessions), 0);
    assert_false(resumes(&w));
    assert_true(resumes(&w));
    tls_link_destroy(established(&w));
    assert_false(resumes(&w));
    world_close(&w);
}

/* Behind our goodbye the server may do what it likes, and behind QUIT's reply most just go.
 */
static void a_server_that_hangs_up_first_loses_nothing(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        for (int i = 0; i < 4; i++) {
            struct tls_link *link = established(&w);
            assert_int_equal(tls_resumed(link->client), i > 0);
            tls_link_server_write(link, "+OK bye\r\n", 9);
            if (i % 2 == 0)
                SSL_shutdown(link->server);
            tls_link_run(link);
            assert_int_equal(link->got_size, 9);
            assert_int_equal(tls_close_notify(link->client), 0);
            tls_end_of_input(link->client);
            tls_link_destroy(link);
        }
        world_close(&w);
    }
}

static void another_host_or_port_is_another_server(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        assert_false(resumes(&w));
        assert_false(resumes_as(&w, w.client, OTHER_HOST, PORT));
        assert_false(resumes_as(&w, w.client, HOST, PORT + 1));
        assert_true(resumes(&w));
        world_close(&w);
    }
}

/* Each setting that has a say in the verification makes a context of its own, and so does
 * the same setting once its file was replaced. */
static void another_policy_verifies_for_itself(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        uint8_t pin[TLS_FINGERPRINT_SIZE];
        world_open(&w, versions[v]);
        certificate_fingerprint(w.certificate, pin);
        const struct tls_policy policies[] = {
            {.ca_file = w.ca_file},
            {.fingerprint = pin},
            {.ca_file = w.ca_file, .oldest = TLS_OLDEST_1_0},
        };
        assert_false(resumes(&w));
        for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
            struct tls_context *other = client_create(&policies[i], w.sessions);
            assert_false(resumes_as(&w, other, HOST, PORT));
            assert_true(resumes_as(&w, other, HOST, PORT));
            tls_context_destroy(other);
        }
        assert_true(resumes(&w));
        world_close(&w);
    }
}

static void a_policy_that_refuses_the_server_refuses_it_at_once(void **state)
{
    (void)state;
    struct world w;
    uint8_t pin[TLS_FINGERPRINT_SIZE] = {1};
    const struct tls_policy policy = {.fingerprint = pin};
    world_open(&w, TLS1_3_VERSION);
    assert_false(resumes(&w));
    struct tls_context *other = client_create(&policy, w.sessions);
    struct tls_link *link = connect_as(&w, other, HOST, PORT);
    assert_int_equal(link->result, ERR_TLS);
    assert_int_equal(tls_fault(link->client), TLS_FAULT_PIN);
    tls_link_destroy(link);
    tls_context_destroy(other);
    world_close(&w);
}

static void a_server_that_has_forgotten_gets_a_full_handshake(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        assert_false(resumes(&w));
        restart_server(&w, w.certificate, versions[v]);
        assert_false(resumes(&w));
        assert_true(resumes(&w));
        world_close(&w);
    }
}

static void an_offer_declined_does_not_skip_the_verification(void **state)
{
    (void)state;
    const struct certificate_spec spec = {.common_name = HOST, .names = "DNS:" HOST};
    struct certificate *impostor = certificate_create(&spec);
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        assert_false(resumes(&w));
        restart_server(&w, impostor, versions[v]);
        struct tls_link *link = connect_as(&w, w.client, HOST, PORT);
        assert_int_equal(link->result, ERR_TLS);
        assert_int_equal(tls_fault(link->client), TLS_FAULT_SELF_SIGNED);
        assert_false(tls_blame_session(link->client));
        tls_link_destroy(link);
        world_close(&w);
    }
    certificate_destroy(impostor);
}

/* A ticket with a key name it does not know is an error to it. */
static int abort_on_tickets(SSL *ssl, unsigned char name[16], unsigned char *iv,
                            EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts)
{
    (void)ssl, (void)name, (void)iv, (void)cipher, (void)mac;
    return encrypts ? 0 : -1;
}

static void a_server_that_aborts_is_offered_none_for_a_while(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        assert_false(resumes(&w));
        restart_server(&w, w.certificate, versions[v]);
        SSL_CTX_set_tlsext_ticket_key_evp_cb(w.server, abort_on_tickets);
        struct tls_link *link = connect_as(&w, w.client, HOST, PORT);
        assert_false(link->established);
        assert_int_equal(link->result, ERR_TLS);
        assert_true(tls_blame_session(link->client));
        tls_link_destroy(link);
        assert_int_equal(tls_sessions_count(w.sessions), 1);
        restart_server(&w, w.certificate, versions[v]);
        assert_false(resumes(&w));
        assert_false(resumes(&w));
        assert_int_equal(tls_sessions_count(w.sessions), 1);
        world_close(&w);
    }
}

static void nobody_blames_a_session_that_was_not_offered(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, TLS1_3_VERSION);
    struct tls_link *link = tls_link_create(w.client, w.server, HOST);
    tls_resume(link->client, PORT);
    tls_end_of_input(link->client);
    assert_int_equal(tls_handshake(link->client), ERR_CLOSED);
    assert_false(tls_blame_session(link->client));
    tls_link_destroy(link);
    link = established(&w);
    assert_false(tls_blame_session(link->client));
    hang_up(link);
    world_close(&w);
}

static void a_session_ends_with_its_certificate(void **state)
{
    (void)state;
    struct world w[VERSIONS];
    struct tls_context *pinned[VERSIONS];
    uint8_t pin[TLS_FINGERPRINT_SIZE];
    const struct tls_policy policy = {.fingerprint = pin};
    for (size_t v = 0; v < VERSIONS; v++) {
        world_open_until(&w[v], versions[v], SHORT_LIFE_S);
        certificate_fingerprint(w[v].certificate, pin);
        pinned[v] = client_create(&policy, w[v].sessions);
        assert_false(resumes(&w[v]));
        assert_false(resumes_as(&w[v], pinned[v], HOST, PORT));
    }
    sleep(SHORT_LIFE_S + 1);
    for (size_t v = 0; v < VERSIONS; v++) {
        struct tls_link *link = connect_as(&w[v], w[v].client, HOST, PORT);
        assert_int_equal(tls_fault(link->client), TLS_FAULT_EXPIRED);
        tls_link_destroy(link);
        assert_true(resumes_as(&w[v], pinned[v], HOST, PORT));
        tls_context_destroy(pinned[v]);
        world_close(&w[v]);
    }
}

/* The cache's own session, with the trust that it has; it is put back as changed. */
static struct tls_sessions_trust change_trust(struct world *w, int64_t by_s)
{
    const struct tls_sessions_place place = {.context = 1, .host = HOST, .port = PORT};
    struct tls_sessions_trust trust;
    SSL_SESSION *session =
        tls_sessions_take(w->sessions, &place, (int64_t)time(NULL), &trust);
    assert_non_null(session);
    struct tls_sessions_trust changed = {trust.from_s + by_s, trust.until_s + by_s};
    tls_sessions_put(w->sessions, &place, session, NULL, &changed);
    return trust;
}

static void resuming_does_not_renew_trust(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct world w;
        world_open(&w, versions[v]);
        int64_t began_s = (int64_t)time(NULL);
        assert_false(resumes(&w));
        struct tls_sessions_trust first = change_trust(&w, -1000);
        assert_in_range(first.from_s, began_s, began_s + 60);
        assert_int_equal(first.until_s, first.from_s + TLS_SESSION_AGE_S);
        for (int i = 0; i < 3; i++) {
            assert_true(resumes(&w));
            struct tls_sessions_trust later = change_trust(&w, 0);
            assert_int_equal(later.from_s, first.from_s - 1000);
            assert_int_equal(later.until_s, first.until_s - 1000);
        }
        world_close(&w);
    }
}

static void trust_ends_with_the_first_certificate_of_the_chain(void **state)
{
    (void)state;
    struct world w;
    world_open_until(&w, TLS1_3_VERSION, 3600);
    int64_t now_s = (int64_t)time(NULL);
    assert_false(resumes(&w));
    struct tls_sessions_trust trust = change_trust(&w, 0);
    assert_in_range(trust.until_s, now_s + 3590, now_s + 3610);
    world_close(&w);
}

static void a_session_ends_when_the_server_said(void **state)
{
    (void)state;
    struct world w;
    const struct tls_sessions_place place = {.context = 1, .host = HOST, .port = PORT};
    struct tls_sessions_trust trust;
    world_open(&w, TLS1_3_VERSION);
    SSL_CTX_set_timeout(w.server, 600);
    assert_false(resumes(&w));
    int64_t now_s = (int64_t)time(NULL);
    for (long age_s = 550; age_s <= 650; age_s += 100) {
        SSL_SESSION *session = tls_sessions_take(w.sessions, &place, now_s, &trust);
        assert_non_null(session);
        SSL_SESSION_set_time(session, now_s - age_s);
        tls_sessions_put(w.sessions, &place, session, NULL, &trust);
        session = tls_sessions_take(w.sessions, &place, now_s, &trust);
        assert_int_equal(session != NULL, age_s < 600);
        SSL_SESSION_free(session);
        if (age_s < 600)
            assert_int_equal(tls_sessions_count(w.sessions), 1);
    }
    world_close(&w);
}

static void no_early_data_is_sent(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, TLS1_3_VERSION);
    SSL_CTX_set_max_early_data(w.server, 16384);
    SSL_CTX_set_options(w.server, SSL_OP_NO_ANTI_REPLAY); /* it keeps no sessions */
    assert_false(resumes(&w));
    struct tls_link *link = established(&w);
    assert_true(tls_resumed(link->client));
    assert_int_equal(SSL_get_early_data_status(link->server), SSL_EARLY_DATA_NOT_SENT);
    hang_up(link);
    world_close(&w);
}

static void a_flood_of_tickets_is_not_kept(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, TLS1_3_VERSION);
    struct tls_link *link = established(&w);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(SSL_new_session_ticket(link->server), 1);
        tls_link_server_write(link, "x", 1);
        tls_link_run(link);
    }
    assert_int_equal(link->got_size, 500);
    assert_int_equal(tls_sessions_count(w.sessions), 2);
    hang_up(link);
    world_close(&w);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_connection_is_resumed),
        cmocka_unit_test(a_resumed_session_says_so),
        cmocka_unit_test(a_server_that_wants_another_group_resumes),
        cmocka_unit_test(nothing_is_resumed_unless_it_is_asked_for),
        cmocka_unit_test(a_ticket_of_tls_1_3_serves_once),
        cmocka_unit_test(a_session_of_tls_1_2_serves_many),
        cmocka_unit_test(a_session_that_ended_without_close_notify_is_lost),
        cmocka_unit_test(a_server_that_hangs_up_first_loses_nothing),
        cmocka_unit_test(another_host_or_port_is_another_server),
        cmocka_unit_test(another_policy_verifies_for_itself),
        cmocka_unit_test(a_policy_that_refuses_the_server_refuses_it_at_once),
        cmocka_unit_test(a_server_that_has_forgotten_gets_a_full_handshake),
        cmocka_unit_test(an_offer_declined_does_not_skip_the_verification),
        cmocka_unit_test(a_server_that_aborts_is_offered_none_for_a_while),
        cmocka_unit_test(nobody_blames_a_session_that_was_not_offered),
        cmocka_unit_test(a_session_ends_with_its_certificate),
        cmocka_unit_test(resuming_does_not_renew_trust),
        cmocka_unit_test(trust_ends_with_the_first_certificate_of_the_chain),
        cmocka_unit_test(a_session_ends_when_the_server_said),
        cmocka_unit_test(no_early_data_is_sent),
        cmocka_unit_test(a_flood_of_tickets_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
