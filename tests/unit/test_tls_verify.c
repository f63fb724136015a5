/* Which servers the TLS engine accepts, and what it tells the administrator about the
 * others. */
#include "archive/error.h"
#include "tests/support/tls_link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST "pop.acme.example"
#define PATH_SIZE 64

struct authorities {
    struct certificate *ours;
    struct certificate *other;
    char folder[32];
    char ca_file[PATH_SIZE];
    struct tls_context *client; /* trusts ours */
};

static int set_up(void **state)
{
    struct authorities *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    strcpy(a->folder, "/tmp/mailcask-tls.XXXXXX");
    assert_non_null(mkdtemp(a->folder));
    snprintf(a->ca_file, sizeof(a->ca_file), "%s/ca.pem", a->folder);
    a->ours = certificate_create(
        &(struct certificate_spec){.common_name = "Acme Root", .authority = true});
    a->other = certificate_create(
        &(struct certificate_spec){.common_name = "Other Root", .authority = true});
    certificate_write(a->ours, a->ca_file);
    char text[TLS_TEXT_SIZE];
    const struct tls_policy policy = {.ca_file = a->ca_file};
    assert_int_equal(tls_context_create(&policy, &a->client, text), 0);
    *state = a;
    return 0;
}

static int tear_down(void **state)
{
    struct authorities *a = *state;
    tls_context_destroy(a->client);
    certificate_destroy(a->ours);
    certificate_destroy(a->other);
    unlink(a->ca_file);
    rmdir(a->folder);
    free(a);
    return 0;
}

/* Connect to a server with this certificate; 0 if it was accepted. out_error, if not NULL,
 * is the sentence. */
static int connect_to(struct tls_context *client, const struct certificate *certificate,
                      int version, const char *host, char out_error[TLS_TEXT_SIZE])
{
    SSL_CTX *server = tls_server_context(certificate, version);
    struct tls_link *link = tls_link_create(client, server, host);
    int rc = tls_link_run(link);
    if (out_error != NULL)
        snprintf(out_error, TLS_TEXT_SIZE, "%s", tls_error(link->client));
    tls_link_destroy(link);
    SSL_CTX_free(server);
    return rc == TLS_WANT ? 0 : rc;
}

static void assert_says(const char *sentence, const char *fragment)
{
    if (strstr(sentence, fragment) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", sentence, fragment);
}

static void assert_accepted(struct tls_context *client, const struct certificate_spec *spec,
                            const char *host)
{
    struct certificate *certificate = certificate_create(spec);
    char error[TLS_TEXT_SIZE];
    if (connect_to(client, certificate, TLS1_2_VERSION, host, error) != 0 ||
        connect_to(client, certificate, TLS1_3_VERSION, host, error) != 0)
        fail_msg("%s: %s", host, error);
    certificate_destroy(certificate);
}

/* out_error: the sentence, for more questions. */
static void assert_refused(struct tls_context *client, const struct certificate_spec *spec,
                           const char *host, const char *fragment,
                           char out_error[TLS_TEXT_SIZE])
{
    struct certificate *certificate = certificate_create(spec);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_int_equal(connect_to(client, certificate, version, host, out_error),
                         ERR_TLS);
        assert_says(out_error, fragment);
    }
    certificate_destroy(certificate);
}

/* The text of a certificate's fingerprint, as the configuration takes it. */
static void fingerprint_text(const struct certificate *certificate, char out_text[72])
{
    uint8_t digest[TLS_FINGERPRINT_SIZE];
    certificate_fingerprint(certificate, digest);
    strcpy(out_text, "sha256:");
    for (size_t i = 0; i < sizeof(digest); i++)
        sprintf(out_text + 7 + 2 * i, "%02x", digest[i]);
}

static void valid_certificate_is_accepted(void **state)
{
    struct authorities *a = *state;
    const struct certificate_spec spec = {
        .common_name = "unused", .names = "DNS:" HOST, .issuer = a->ours};
    assert_accepted(a->client, &spec, HOST);
    assert_accepted(a->client, &spec, HOST ".");
    assert_accepted(a->client, &spec, "POP.Acme.Example");
}

static void common_name_counts_only_without_alternatives(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    struct certificate_spec spec = {.common_name = HOST, .issuer = a->ours};
    assert_accepted(a->client, &spec, HOST);
    spec.names = "DNS:imap.acme.example";
    assert_refused(a->client, &spec, HOST, "is for imap.acme.example, not", error);
}

static void wildcard_stands_for_a_whole_label(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    struct certificate_spec spec = {
        .common_name = "unused", .names = "DNS:*.acme.example", .issuer = a->ours};
    assert_accepted(a->client, &spec, HOST);
    assert_refused(a->client, &spec, "a.pop.acme.example", "is for *.acme.example,", error);
    spec.names = "DNS:po*.acme.example";
    assert_refused(a->client, &spec, HOST, "is for po*.acme.example,", error);
}

static void address_is_compared_with_addresses(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    struct certificate_spec spec = {
        .common_name = "unused", .names = "IP:127.0.0.1,IP:::1", .issuer = a->ours};
    assert_accepted(a->client, &spec, "127.0.0.1");
    assert_accepted(a->client, &spec, "::1");
    assert_accepted(a->client, &spec, "0:0:0:0:0:0:0:1");
    assert_refused(a->client, &spec, "127.0.0.2", "for 127.0.0.1, ::1, not for 127.0.0.2",
                   error);
    spec.names = "DNS:127.0.0.1";
    assert_refused(a->client, &spec, "127.0.0.1", "not for 127.0.0.1", error);
}

static int remember_server_name(SSL *ssl, int *alert, void *argument)
{
    (void)alert;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(argument, PATH_SIZE, "%s", name != NULL ? name : "none");
    return SSL_TLSEXT_ERR_OK;
}

static void server_name_is_sent_but_not_an_address(void **state)
{
    struct authorities *a = *state;
    static const char *const cases[][2] = {
        {HOST, HOST}, {HOST ".", HOST}, {"127.0.0.1", "none"}, {"::1", "none"}};
    struct certificate *certificate = certificate_create(&(struct certificate_spec){
        .common_name = "unused", .names = "DNS:" HOST, .issuer = a->ours});
    SSL_CTX *server = tls_server_context(certificate, TLS1_3_VERSION);
    char seen[PATH_SIZE];
    SSL_CTX_set_tlsext_servername_callback(server, remember_server_name);
    SSL_CTX_set_tlsext_servername_arg(server, seen);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_link *link = tls_link_create(a->client, server, cases[i][0]);
        tls_link_run(link);
        assert_string_equal(seen, cases[i][1]);
        tls_link_destroy(link);
    }
    SSL_CTX_free(server);
    certificate_destroy(certificate);
}

static void expired_certificate_is_named_with_its_date(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE], date[32];
    const struct certificate_spec spec = {.common_name = HOST,
                                          .issuer = a->ours,
                                          .not_before_s = -20 * CERTIFICATE_DAY_S,
                                          .not_after_s = -10 * CERTIFICATE_DAY_S};
    time_t end = time(NULL) - 10 * CERTIFICATE_DAY_S;
    struct tm tm;
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&end, &tm));
    assert_refused(a->client, &spec, HOST, "the server's certificate expired on ", error);
    assert_says(error, date);
    assert_says(error, "the server needs a new certificate");
}

static void certificate_of_the_future_is_named_with_its_date(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE], date[32];
    const struct certificate_spec spec = {.common_name = HOST,
                                          .issuer = a->ours,
                                          .not_before_s = 10 * CERTIFICATE_DAY_S,
                                          .not_after_s = 20 * CERTIFICATE_DAY_S};
    time_t begin = time(NULL) + 10 * CERTIFICATE_DAY_S;
    struct tm tm;
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&begin, &tm));
    assert_refused(a->client, &spec, HOST, "is not valid before ", error);
    assert_says(error, date);
    assert_says(error, "check this machine's clock");
}

static void expired_authority_is_named(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE], path[PATH_SIZE];
    struct certificate *old = certificate_create(
        &(struct certificate_spec){.common_name = "Old Root",
                                   .authority = true,
                                   .not_before_s = -2 * CERTIFICATE_DAY_S,
                                   .not_after_s = -CERTIFICATE_DAY_S});
    snprintf(path, sizeof(path), "%s/old.pem", a->folder);
    certificate_write(old, path);
    struct tls_context *client = NULL;
    const struct tls_policy policy = {.ca_file = path};
    assert_int_equal(tls_context_create(&policy, &client, error), 0);
    unlink(path);
    const struct certificate_spec spec = {.common_name = HOST, .issuer = old};
    assert_refused(client, &spec, HOST,
                   "the certificate of the CA \"Old Root\" expired on ", error);
    tls_context_destroy(client);
    certificate_destroy(old);
}

static void system_authorities_are_the_default(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0)
        skip();
    struct tls_context *client = NULL;
    const struct tls_policy policy = {.ca_file = NULL};
    assert_int_equal(tls_context_create(&policy, &client, error), 0);
    const struct certificate_spec spec = {.common_name = HOST, .issuer = a->ours};
    assert_refused(client, &spec, HOST, "not among the CAs of this system", error);
    tls_context_destroy(client);
}

static void wrong_name_lists_the_right_ones(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    struct certificate_spec spec = {
        .common_name = "unused",
        .names = "DNS:a.example,email:x@a.example,DNS:b.example,IP:192.0.2.1",
        .issuer = a->ours};
    assert_refused(a->client, &spec, HOST,
                   "is for a.example, b.example, 192.0.2.1, not for " HOST, error);
    spec.names = "DNS:a,DNS:b,DNS:c,DNS:d,DNS:e,DNS:f,DNS:g";
    assert_refused(a->client, &spec, HOST, "is for a, b, c, d, e and others, not for",
                   error);
}

static void unknown_issuer_is_named(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    const struct certificate_spec spec = {.common_name = HOST, .issuer = a->other};
    assert_refused(a->client, &spec, HOST, "was issued by \"Other Root\"", error);
    assert_says(error, a->ca_file);
    assert_says(error, "set ca-file");
}

static void self_signed_certificate_shows_how_to_pin_it(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE], text[72];
    struct certificate *certificate =
        certificate_create(&(struct certificate_spec){.common_name = HOST});
    fingerprint_text(certificate, text);
    assert_int_equal(connect_to(a->client, certificate, TLS1_3_VERSION, HOST, error),
                     ERR_TLS);
    assert_says(error, "is self-signed");
    assert_says(error, text);
    certificate_destroy(certificate);
}

static void certificate_cannot_write_to_the_terminal(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE];
    const struct certificate_spec spec = {.common_name = "\033[2J\nmail\xc3\xa9",
                                          .issuer = a->ours};
    assert_refused(a->client, &spec, HOST, "is for \"?[2J?mail", error);
    for (const char *c = error; *c != '\0'; c++)
        assert_in_range(*c, ' ', '~');
}

static void pin_decides_alone(void **state)
{
    struct authorities *a = *state;
    char error[TLS_TEXT_SIZE], text[72];
    struct certificate *certificate = certificate_create(
        &(struct certificate_spec){.common_name = "wrong.example",
                                   .not_before_s = -2 * CERTIFICATE_DAY_S,
                                   .not_after_s = -CERTIFICATE_DAY_S});
    struct certificate *valid = certificate_create(
        &(struct certificate_spec){.common_name = HOST, .issuer = a->ours});
    uint8_t pin[TLS_FINGERPRINT_SIZE];
    certificate_fingerprint(certificate, pin);
    struct tls_context *client = NULL;
    const struct tls_policy policy = {.ca_file = a->ca_file, .fingerprint = pin};
    assert_int_equal(tls_context_create(&policy, &client, error), 0);
    memset(pin, 0, sizeof(pin));
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_int_equal(connect_to(client, certificate, version, HOST, error), 0);
        assert_int_equal(connect_to(client, valid, version, HOST, error), ERR_TLS);
        fingerprint_text(valid, text);
        assert_says(error, text);
        fingerprint_text(certificate, text);
        assert_says(error, text);
    }
    tls_context_destroy(client);
    certificate_destroy(valid);
    certificate_destroy(certificate);
}

static void server_is_told_why_it_was_refused(void **state)
{
    struct authorities *a = *state;
    struct certificate *certificate = certificate_create(
        &(struct certificate_spec){.common_name = HOST, .issuer = a->other});
    SSL_CTX *server = tls_server_context(certificate, TLS1_2_VERSION);
    struct tls_link *link = tls_link_create(a->client, server, HOST);
    SSL *ssl = link->server;
    assert_int_equal(tls_link_advance(link), TLS_WANT);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    char *data = NULL;
    long size = BIO_get_mem_data(SSL_get_wbio(ssl), &data);
    tls_link_deliver(link, (const uint8_t *)data, (size_t)size);
    assert_int_equal(link->result, ERR_TLS);
    /* Alert, TLS 1.2, 2 bytes: fatal, unknown_ca. */
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 48};
    size = BIO_get_mem_data(SSL_get_rbio(ssl), &data);
    assert_int_equal(size, sizeof(alert));
    assert_memory_equal(data, alert, sizeof(alert));
    tls_link_destroy(link);
    SSL_CTX_free(server);
    certificate_destroy(certificate);
}

static void unusable_ca_file_is_named(void **state)
{
    struct authorities *a = *state;
    char text[TLS_TEXT_SIZE], path[PATH_SIZE];
    struct tls_context *client = NULL;
    snprintf(path, sizeof(path), "%s/none.pem", a->folder);
    const struct tls_policy policy = {.ca_file = path};
    assert_int_equal(tls_context_create(&policy, &client, text), ERR_NOT_FOUND);
    assert_says(text, path);
    assert_says(text, "No such file");

    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("not a certificate\n", file);
    fclose(file);
    assert_int_equal(tls_context_create(&policy, &client, text), ERR_NOT_FOUND);
    assert_says(text, "no certificate");
    unlink(path);
    assert_null(client);
}

static void impossible_host_is_refused(void **state)
{
    struct authorities *a = *state;
    char host[256];
    struct tls *tls = NULL;
    assert_int_equal(tls_create(a->client, "", &tls), -EINVAL);
    assert_int_equal(tls_create(a->client, ".", &tls), -EINVAL);
    memset(host, 'a', sizeof(host));
    host[254] = '\0';
    assert_int_equal(tls_create(a->client, host, &tls), -EINVAL);
    host[253] = '\0';
    assert_int_equal(tls_create(a->client, host, &tls), 0);
    tls_destroy(tls);
    tls_destroy(NULL);
    tls_context_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_certificate_is_accepted),
        cmocka_unit_test(common_name_counts_only_without_alternatives),
        cmocka_unit_test(wildcard_stands_for_a_whole_label),
        cmocka_unit_test(address_is_compared_with_addresses),
        cmocka_unit_test(server_name_is_sent_but_not_an_address),
        cmocka_unit_test(expired_certificate_is_named_with_its_date),
        cmocka_unit_test(certificate_of_the_future_is_named_with_its_date),
        cmocka_unit_test(expired_authority_is_named),
        cmocka_unit_test(system_authorities_are_the_default),
        cmocka_unit_test(wrong_name_lists_the_right_ones),
        cmocka_unit_test(unknown_issuer_is_named),
        cmocka_unit_test(self_signed_certificate_shows_how_to_pin_it),
        cmocka_unit_test(certificate_cannot_write_to_the_terminal),
        cmocka_unit_test(pin_decides_alone),
        cmocka_unit_test(server_is_told_why_it_was_refused),
        cmocka_unit_test(unusable_ca_file_is_named),
        cmocka_unit_test(impossible_host_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
