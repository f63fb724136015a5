/* TLS sessions resumed from one session with a maildrop to the next, by a whole pool. */
#include "tests/support/pool_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

static const struct mail_message one[] = {
    {.uidl = "u1", .data = "Subject: one\r\n\r\nfirst\r\n", .size = 23},
};

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* A poll, as the mailbox's next. */
static const struct world_result *poll_mailbox(struct world *w, struct pool_job *job)
{
    const struct world_result *r = world_run(w, job);
    job->marks = r->marks;
    return r;
}

static bool resumes(struct world *w, struct pool_job *job)
{
    const struct world_result *r = poll_mailbox(w, job);
    assert_string_equal(r->outcome.text, "");
    assert_int_equal(r->outcome.scope, SCOPE_NONE);
    assert_int_equal(r->counts.listed, 1);
    return strstr(r->tls, " (resumed)") != NULL;
}

static struct pool_job begin(struct world *w, struct mail_server_options *options)
{
    options->messages = one;
    options->count = 1;
    if (w->pool == NULL)
        world_begin(w, options);
    else
        world_serve(w, options);
    options->port = mail_server_port(w->server);
    return world_job(w, "alice", options);
}

static void the_next_poll_resumes(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct mail_server_options options = {.tls_version = versions[v]};
        struct pool_job job = begin(w, &options);
        assert_false(resumes(w, &job));
        for (int i = 0; i < 5; i++)
            assert_true(resumes(w, &job));
        assert_int_equal(mail_server_handshakes(w->server), 6);
        assert_int_equal(mail_server_resumed(w->server), 5);
    }
}

static void another_account_of_the_server_resumes(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    struct pool_job job = begin(w, &options), other = job;
    assert_false(resumes(w, &job));
    other.account = other.login = "bob";
    assert_true(resumes(w, &other));
}

static void polls_behind_stls_resume(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.stls = true};
    struct pool_job job = begin(w, &options);
    assert_false(resumes(w, &job));
    assert_true(resumes(w, &job));
    assert_true(resumes(w, &job));
}

/* Its ticket keys went with it. */
static void a_server_that_was_restarted_gets_a_full_handshake(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct mail_server_options options = {.tls_version = versions[v]};
        struct pool_job job = begin(w, &options);
        assert_false(resumes(w, &job));
        world_serve(w, &options);
        assert_false(resumes(w, &job));
        assert_true(resumes(w, &job));
        assert_int_equal(mail_server_sessions(w->server), 2);
    }
}

static void a_server_that_aborts_is_asked_again_without(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct mail_server_options options = {.tls_version = versions[v]};
        struct pool_job job = begin(w, &options);
        assert_false(resumes(w, &job));
        options.abort_resumption = true;
        world_serve(w, &options);
        assert_false(resumes(w, &job));
        assert_int_equal(mail_server_sessions(w->server), 2);
        assert_int_equal(mail_server_handshakes(w->server), 1);
        /* And not offered one by the next poll. */
        assert_false(resumes(w, &job));
        assert_int_equal(mail_server_sessions(w->server), 3);
    }
}

static void behind_stls_the_next_session_is_without(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.stls = true};
    struct pool_job job = begin(w, &options);
    assert_false(resumes(w, &job));
    options.abort_resumption = true;
    world_serve(w, &options);
    const struct world_result *r = poll_mailbox(w, &job);
    assert_non_null(strstr(r->outcome.text, "a full handshake follows"));
    assert_int_equal(r->outcome.scope, SCOPE_SERVER);
    assert_int_equal(r->outcome.retry, RETRY_NOW);
    assert_false(resumes(w, &job));
}

static void a_ca_file_that_was_replaced_verifies_anew(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    struct pool_job job = begin(w, &options);
    assert_false(resumes(w, &job));
    assert_true(resumes(w, &job));
    struct certificate *stranger = certificate_create(
        &(struct certificate_spec){.common_name = "stranger", .authority = true});
    certificate_write(stranger, w->ca_file);
    certificate_destroy(stranger);
    const struct world_result *r = poll_mailbox(w, &job);
    assert_int_equal(r->outcome.scope, SCOPE_SERVER);
    assert_non_null(strstr(r->outcome.text, "which is not among the CAs"));
    assert_int_equal(mail_server_resumed(w->server), 1);
}

static void a_pin_that_was_changed_verifies_anew(void **state)
{
    struct world *w = *state;
    uint8_t pin[TLS_FINGERPRINT_SIZE];
    struct mail_server_options options = {.count = 0};
    struct pool_job job = begin(w, &options);
    certificate_fingerprint(w->certificate, pin);
    job.fingerprint = pin;
    assert_false(resumes(w, &job));
    assert_true(resumes(w, &job));
    pin[0] ^= 1;
    const struct world_result *r = poll_mailbox(w, &job);
    assert_non_null(strstr(r->outcome.text, "is pinned"));
    assert_int_equal(mail_server_resumed(w->server), 1);
}

/* Two workers, of which one is busy and has the tickets. */
static void a_quiet_mailbox_prefers_the_worker_with_the_tickets(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    struct pool_job alice = begin(w, &options);
    assert_false(resumes(w, &alice));
    options.hold = 1;
    world_serve(w, &options);
    assert_false(resumes(w, &alice)); /* she has the message: nothing is held */
    struct pool_job busy = world_job(w, "bob", &options);
    (void)world_submit(w, &busy);
    while (mail_server_held(w->server) == 0)
        usleep(1000);
    assert_true(resumes(w, &alice));
    alice.marks = (struct pool_marks){.trouble = 0}; /* not known to be quiet */
    assert_false(resumes(w, &alice));
    assert_true(resumes(w, &alice)); /* is by now */
}

/* More at once than a worker keeps of one server, on both workers. */
static void many_at_once(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < VERSIONS; v++) {
        struct mail_server_options options = {.tls_version = versions[v]};
        struct pool_job job = begin(w, &options);
        for (int round = 0; round < 3; round++) {
            unsigned places[30];
            char names[30][16];
            for (unsigned i = 0; i < 30; i++) {
                snprintf(names[i], sizeof(names[i]), "user%u", i);
                job.account = job.login = names[i];
                places[i] = world_submit(w, &job);
            }
            for (unsigned i = 0; i < 30; i++)
                assert_string_equal(world_wait(w, places[i])->outcome.text, "");
        }
        assert_int_equal(mail_server_handshakes(w->server), 90);
        /* Each worker has tickets once the first of its sessions are over. */
        assert_in_range(mail_server_resumed(w->server), 50, 89);
    }
}

static int setup_epoll(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

static int setup_uring(void **state)
{
    return world_setup(state, LOOP_URING);
}

#define TEST(f, setup) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
#define TESTS(setup)                                                      \
    TEST(the_next_poll_resumes, setup),                                   \
        TEST(another_account_of_the_server_resumes, setup),               \
        TEST(polls_behind_stls_resume, setup),                            \
                                                                          \
        TEST(a_server_that_was_restarted_gets_a_full_handshake, setup),   \
        TEST(a_server_that_aborts_is_asked_again_without, setup),         \
        TEST(behind_stls_the_next_session_is_without, setup),             \
        TEST(a_ca_file_that_was_replaced_verifies_anew, setup),           \
        TEST(a_pin_that_was_changed_verifies_anew, setup),                \
        TEST(a_quiet_mailbox_prefers_the_worker_with_the_tickets, setup), \
        TEST(many_at_once, setup)

int main(void)
{
    const struct CMUnitTest on_epoll[] = {TESTS(setup_epoll)};
    const struct CMUnitTest on_both[] = {TESTS(setup_epoll), TESTS(setup_uring)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (!world_backend_works(LOOP_URING))
        return cmocka_run_group_tests_name("resume, without io_uring", on_epoll, NULL,
                                           NULL);
    return cmocka_run_group_tests_name("resume", on_both, NULL, NULL);
}
