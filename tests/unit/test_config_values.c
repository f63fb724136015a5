/* What the values of a configuration may look like, and what they come to. What is refused
 * is in test_config_errors.c. */
#include "daemon/config.h"

#include "daemon/loopback.h"
#include "tests/support/config_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MINUTE_MS ((uint64_t)60000)
#define DAY_MS (24 * 60 * MINUTE_MS)
#define HEX_32 "00112233445566778899aabbccddeeff"

/* What most cases need and do not look at. */
#define ARCHIVE "[archive]\npath = a\n\n"
#define SERVER "[server s]\nhost = h\npassword-file = p\n"
#define ACCOUNT "[account x@y]\nserver = s\n"

static void sizes(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"32M", (uint64_t)32 << 20},      {"32768K", (uint64_t)32 << 20},
                 {"33554432", (uint64_t)32 << 20}, {"2G", (uint64_t)2 << 30},
                 {"1g", (uint64_t)1 << 30},        {"1024G", (uint64_t)1 << 40}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "[archive]\npath = a\nmax-memory = %s\n",
                 cases[i].text);
        struct config *c = files_load_text(f, text);
        assert_int_equal(c->max_memory_bytes, cases[i].bytes);
        config_free(c);
    }
}

static void metrics_are_served_on_loopback_only(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        const char *text;
        int family;
    } cases[] = {
        {"127.0.0.1:9995", AF_INET}, {"127.1.2.3:1", AF_INET}, {"[::1]:65535", AF_INET6}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128];
        struct loopback address;
        snprintf(text, sizeof(text), ARCHIVE "metrics = %s\n", cases[i].text);
        struct config *c = files_load_text(f, text);
        assert_string_equal(c->metrics, cases[i].text);
        assert_int_equal(loopback_parse(c->metrics, &address), 0);
        assert_int_equal(address.address.ss_family, cases[i].family);
        config_free(c);
    }
    struct config *c = files_load_text(f, ARCHIVE "metrics =\n");
    assert_null(c->metrics);
    config_free(c);
}

static void durations(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"1s", 1000},           {"30s", 30000}, {"15m", 15 * MINUTE_MS},
                 {"1h", 60 * MINUTE_MS}, {"1d", DAY_MS}, {"30d", 30 * DAY_MS}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), ARCHIVE SERVER ACCOUNT "poll = %s\n", cases[i].text);
        struct config *c = files_load_text(f, text);
        assert_int_equal(c->accounts[0].poll_ms, cases[i].ms);
        config_free(c);
    }
}

static void a_quiet_account_may_be_polled_less_often(void **state)
{
    const struct config_files *f = *state;
    struct config *c = files_load_text(f, ARCHIVE SERVER ACCOUNT "");
    assert_int_equal(c->accounts[0].poll_quiet_ms, 0);
    config_free(c);
    c = files_load_text(f, ARCHIVE SERVER "poll-quiet = 6h\n" ACCOUNT "poll = 1h\n");
    assert_int_equal(c->accounts[0].poll_quiet_ms, 360 * MINUTE_MS);
    config_free(c);
    c = files_load_text(f, ARCHIVE SERVER "poll-quiet = 6h\n" ACCOUNT "poll-quiet = 15m\n");
    assert_int_equal(c->accounts[0].poll_quiet_ms, 15 * MINUTE_MS);
    config_free(c);
}

static void fingerprints(void **state)
{
    const struct config_files *f = *state;
    static const char *const forms[] = {
        "sha256:" HEX_32 HEX_32, "SHA256:00112233445566778899AABBCCDDEEFF" HEX_32,
        "sha256:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:"
        "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), ARCHIVE SERVER "fingerprint = %s\n", forms[i]);
        struct config *c = files_load_text(f, text);
        assert_true(c->servers[0].has_fingerprint);
        for (unsigned j = 0; j < CONFIG_FINGERPRINT_SIZE; j++)
            assert_int_equal(c->servers[0].fingerprint[j], j % 16 * 0x11);
        config_free(c);
    }
}

static void hosts(void **state)
{
    const struct config_files *f = *state;
    static const char *const good[] = {
        "h", "pop.acme.example", "192.0.2.1", "2001:db8::1", "::1", "a_b-c.example."};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), ARCHIVE "[server s]\nhost = %s\n", good[i]);
        struct config *c = files_load_text(f, text);
        assert_string_equal(c->servers[0].host, good[i]);
        config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(metrics_are_served_on_loopback_only),
        cmocka_unit_test(durations),
        cmocka_unit_test(a_quiet_account_may_be_polled_less_often),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(hosts),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
