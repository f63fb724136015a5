/* The cache of TLS sessions alone: its bounds, and how long it trusts. What the engine
 * makes of it is in test_tls_resume.c. */
#include "tests/support/certificates.h"
#include "workers/tls_sessions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#define HOST "pop.acme.example"
#define PORT 995
#define PLENTY ((size_t)8 * 1024 * 1024)
#define NOW ((int64_t)1700000000)

static SSL_SESSION *session_create(int version, unsigned number)
{
    SSL_SESSION *session = SSL_SESSION_new();
    assert_non_null(session);
    assert_int_equal(SSL_SESSION_set_protocol_version(session, version), 1);
    assert_int_equal(SSL_SESSION_set1_id(session, (unsigned char *)&number, sizeof(number)),
                     1);
    return session;
}

static struct tls_sessions_place place_number(unsigned number, char host[32])
{
    snprintf(host, 32, "host%u.example", number);
    return (struct tls_sessions_place){.context = 1, .host = host, .port = PORT};
}

static const struct tls_sessions_trust long_trust = {NOW, NOW + TLS_SESSION_AGE_S};

static bool holds(struct tls_sessions *sessions, unsigned number, int64_t now_s)
{
    char host[32];
    struct tls_sessions_trust trust;
    const struct tls_sessions_place place = place_number(number, host);
    SSL_SESSION *session = tls_sessions_take(sessions, &place, now_s, &trust);
    bool found = session != NULL;
    SSL_SESSION_free(session);
    return found;
}

static void put(struct tls_sessions *sessions, unsigned number, int version)
{
    char host[32];
    const struct tls_sessions_place place = place_number(number, host);
    tls_sessions_put(sessions, &place, session_create(version, number), NULL, &long_trust);
}

static void trust_has_a_beginning_and_an_end(void **state)
{
    (void)state;
    const int64_t good[] = {NOW, NOW + 1, NOW + TLS_SESSION_AGE_S};
    const int64_t bad[] = {NOW - 1, NOW - 100000, NOW + TLS_SESSION_AGE_S + 1};
    struct tls_sessions *sessions = tls_sessions_create(PLENTY);
    put(sessions, 1, TLS1_2_VERSION);
    for (size_t i = 0; i < 3; i++)
        assert_true(holds(sessions, 1, good[i]));
    for (size_t i = 0; i < 3; i++) {
        put(sessions, 1, TLS1_2_VERSION);
        assert_false(holds(sessions, 1, bad[i]));
        assert_int_equal(tls_sessions_count(sessions), 0);
    }
    tls_sessions_destroy(sessions);
}

static void sessions_are_bounded_in_number(void **state)
{
    (void)state;
    struct tls_sessions *sessions = tls_sessions_create(PLENTY * 100);
    for (unsigned i = 0; i < TLS_SESSIONS_MAX; i++)
        put(sessions, i, TLS1_2_VERSION);
    assert_int_equal(tls_sessions_count(sessions), TLS_SESSIONS_MAX);
    assert_true(holds(sessions, 0, NOW)); /* lately used */
    put(sessions, TLS_SESSIONS_MAX, TLS1_2_VERSION);
    assert_int_equal(tls_sessions_count(sessions), TLS_SESSIONS_MAX);
    assert_true(holds(sessions, 0, NOW));
    assert_false(holds(sessions, 1, NOW));
    assert_true(holds(sessions, 2, NOW));
    assert_true(holds(sessions, TLS_SESSIONS_MAX, NOW));
    tls_sessions_destroy(sessions);
}

static void sessions_are_bounded_in_bytes(void **state)
{
    (void)state;
    const size_t limit = 20000;
    struct tls_sessions *sessions = tls_sessions_create(limit);
    for (unsigned i = 0; i < 100; i++) {
        put(sessions, i, TLS1_2_VERSION);
        assert_true(tls_sessions_bytes(sessions) <= limit);
        assert_true(holds(sessions, i, NOW));
    }
    assert_in_range(tls_sessions_count(sessions), 10, 20);
    tls_sessions_destroy(sessions);
    sessions = tls_sessions_create(100); /* not even one */
    put(sessions, 1, TLS1_2_VERSION);
    assert_int_equal(tls_sessions_count(sessions), 0);
    assert_int_equal(tls_sessions_bytes(sessions), 0);
    tls_sessions_destroy(sessions);
}

static void one_server_is_bounded(void **state)
{
    (void)state;
    struct tls_sessions *sessions = tls_sessions_create(PLENTY);
    put(sessions, 2, TLS1_3_VERSION);
    for (unsigned i = 0; i < 2 * TLS_SESSIONS_PER_SERVER_MAX; i++)
        put(sessions, 1, TLS1_3_VERSION);
    assert_int_equal(tls_sessions_count(sessions), TLS_SESSIONS_PER_SERVER_MAX + 1);
    tls_sessions_destroy(sessions);
}

static void a_session_with_many_certificates_is_not_kept(void **state)
{
    (void)state;
    char host[32];
    const struct certificate_spec spec = {.common_name = HOST};
    const struct tls_sessions_place place = place_number(1, host);
    struct certificate *certificate = certificate_create(&spec);
    struct tls_sessions *sessions = tls_sessions_create(PLENTY);
    STACK_OF(X509) *chain = sk_X509_new_null();
    unsigned kept = 0;
    for (int i = 0; i < 30; i++) {
        sk_X509_push(chain, certificate->x509);
        tls_sessions_put(sessions, &place, session_create(TLS1_2_VERSION, 1), chain,
                         &long_trust);
        kept += tls_sessions_count(sessions);
        assert_true(tls_sessions_bytes(sessions) < 2 * TLS_SESSION_SIZE_MAX);
    }
    assert_in_range(kept, 5, 30);
    put(sessions, 1, TLS1_2_VERSION);
    tls_sessions_put(sessions, &place, session_create(TLS1_2_VERSION, 1), chain,
                     &long_trust);
    assert_true(tls_sessions_bytes(sessions) < TLS_SESSION_SIZE_MAX);
    sk_X509_free(chain);
    tls_sessions_destroy(sessions);
    certificate_destroy(certificate);
}

static void a_refusal_ends_after_its_time(void **state)
{
    (void)state;
    char host[32];
    const struct tls_sessions_place place = place_number(1, host);
    struct tls_sessions *sessions = tls_sessions_create(PLENTY);
    put(sessions, 1, TLS1_2_VERSION);
    put(sessions, 2, TLS1_2_VERSION);
    tls_sessions_refused(sessions, &place, NOW);
    assert_int_equal(tls_sessions_count(sessions), 2);
    put(sessions, 1, TLS1_2_VERSION);
    assert_false(holds(sessions, 1, NOW));
    assert_true(holds(sessions, 2, NOW));
    put(sessions, 1, TLS1_2_VERSION);
    assert_false(holds(sessions, 1, NOW + TLS_REFUSAL_AGE_S));
    assert_false(holds(sessions, 1, NOW + TLS_REFUSAL_AGE_S + 1));
    put(sessions, 1, TLS1_2_VERSION);
    assert_true(holds(sessions, 1, NOW + TLS_REFUSAL_AGE_S + 1));
    tls_sessions_destroy(sessions);
}

static void a_context_that_ends_takes_its_sessions_along(void **state)
{
    (void)state;
    char host[32];
    struct tls_sessions *sessions = tls_sessions_create(PLENTY);
    uint64_t numbers[2] = {tls_sessions_context(sessions), tls_sessions_context(sessions)};
    assert_int_not_equal(numbers[0], numbers[1]);
    struct tls_sessions_trust trust;
    struct tls_sessions_place place = place_number(1, host);
    for (unsigned i = 0; i < 20; i++) {
        place.context = numbers[i % 2];
        place.port = (uint16_t)i;
        tls_sessions_put(sessions, &place, session_create(TLS1_2_VERSION, i), NULL,
                         &long_trust);
    }
    tls_sessions_forget(sessions, numbers[0]);
    assert_int_equal(tls_sessions_count(sessions), 10);
    place.context = numbers[0];
    place.port = 18;
    assert_null(tls_sessions_take(sessions, &place, NOW, &trust));
    tls_sessions_destroy(sessions);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trust_has_a_beginning_and_an_end),
        cmocka_unit_test(sessions_are_bounded_in_number),
        cmocka_unit_test(sessions_are_bounded_in_bytes),
        cmocka_unit_test(one_server_is_bounded),
        cmocka_unit_test(a_session_with_many_certificates_is_not_kept),
        cmocka_unit_test(a_refusal_ends_after_its_time),
        cmocka_unit_test(a_context_that_ends_takes_its_sessions_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
