#include "archive/error.h"
#include "tests/support/pool_world.h"
#include "workers/session.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KIB ((size_t)1024)

/* For a server that does not answer; one that does may be slow. */
#define SHORT_REPLY_MS 200

#define TEST_MESSAGE(id, text)                                  \
    {                                                           \
        .uidl = (id), .data = (text), .size = sizeof(text) - 1, \
    }

static const struct mail_message three[] = {
    TEST_MESSAGE("u1", "Subject: one\r\n\r\nfirst\r\n"),
    TEST_MESSAGE("u2", "Subject: two\r\n\r\n.second\r\n..\r\n"),
    TEST_MESSAGE("u3", "Subject: three\r\n\r\nbare\nlf and \r cr\r\n"),
};

static void assert_fine(const struct world_result *r)
{
    assert_string_equal(r->outcome.text, "");
    assert_int_equal(r->outcome.scope, SCOPE_NONE);
}

static void assert_failed(const struct world_result *r, enum scope scope, const char *words)
{
    if (strstr(r->outcome.text, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, r->outcome.text);
    assert_int_equal(r->outcome.scope, scope);
    assert_null(strstr(r->outcome.text, "secret"));
}

static void archives_a_mailbox_and_leaves(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.listed, 3);
    assert_int_equal(r->counts.fetched, 3);
    assert_int_equal(r->counts.known, 0);
    assert_int_equal(r->counts.bytes, three[0].size + three[1].size + three[2].size);
    assert_int_equal(strncmp(r->address, "127.0.0.1:", 10), 0);
    assert_int_equal(strncmp(r->tls, "TLSv1.3 ", 8), 0);
    assert_int_equal(mail_server_quits(w->server), 1);
    for (unsigned i = 0; i < 3; i++)
        world_assert_message(w, "alice", i + 1, &three[i]);
}

static void fetches_nothing_twice(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 2};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    assert_fine(world_run(w, &job));
    options.count = 3;
    world_serve(w, &options);
    job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.known, 2);
    assert_int_equal(r->counts.fetched, 1);
    assert_int_equal(mail_server_retrs(w->server), 1);
    r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.known, 3);
    assert_int_equal(r->counts.fetched, 0);
    assert_int_equal(mail_server_retrs(w->server), 1);
    assert_int_equal(world_messages(w, "alice"), 3);
}

static void keeps_two_equal_messages(void **state)
{
    struct world *w = *state;
    const struct mail_message twins[] = {
        {.uidl = "a", .data = three[0].data, .size = three[0].size},
        {.uidl = "b", .data = three[0].data, .size = three[0].size},
    };
    struct mail_server_options options = {.messages = twins, .count = 2};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.fetched, 2);
    world_assert_message(w, "alice", 1, &twins[0]);
    world_assert_message(w, "alice", 2, &twins[1]);
}

static void keeps_what_was_whole_when_the_line_is_cut(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .cut = 3};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_failed(r, SCOPE_MAILBOX, "closed the connection");
    assert_failed(r, SCOPE_MAILBOX, "127.0.0.1:");
    assert_int_equal(r->outcome.retry, RETRY_BACKOFF);
    assert_int_equal(world_messages(w, "alice"), 2);
    world_assert_message(w, "alice", 2, &three[1]);
    options.cut = 0;
    world_serve(w, &options);
    job = world_job(w, "alice", &options);
    assert_fine(world_run(w, &job));
    assert_int_equal(mail_server_retrs(w->server), 1);
    world_assert_message(w, "alice", 3, &three[2]);
}

static void says_that_a_close_after_pass_is_uncertain(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {
        .messages = three, .count = 3, .close_after_pass = true};
    struct account_info info;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    assert_failed(world_run(w, &job), SCOPE_ACCOUNT, "not known whether it accepts");
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_int_equal(info.session_state, SESSION_FAILED);
    assert_non_null(strstr(info.session_text, "not known whether it accepts"));
}

static void shows_a_refused_login_in_the_ledger(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.refuse_login = true};
    struct account_info info;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_failed(r, SCOPE_ACCOUNT, "user or password is wrong");
    assert_int_equal(r->outcome.retry, RETRY_NEVER);
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_non_null(strstr(info.session_text, "user or password is wrong"));
}

static void switches_to_tls_with_stls(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .stls = true};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(strncmp(r->tls, "TLSv1.3 ", 8), 0);
    assert_int_equal(r->counts.fetched, 3);
    assert_int_equal(mail_server_quits(w->server), 1);
}

static void refuses_a_server_of_another_authority(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    char path[160];
    world_begin(w, &options);
    struct certificate *other = certificate_create(
        &(struct certificate_spec){.common_name = "another", .authority = true});
    snprintf(path, sizeof(path), "%s/other.pem", w->fixture.root);
    certificate_write(other, path);
    certificate_destroy(other);
    struct pool_job job = world_job(w, "alice", &options);
    job.ca_file = path;
    assert_failed(world_run(w, &job), SCOPE_SERVER, "127.0.0.1:");
    assert_int_equal(mail_server_retrs(w->server), 0);
    job.ca_file = "/nonexistent/ca.pem";
    assert_failed(world_run(w, &job), SCOPE_PROCESS, "/nonexistent/ca.pem");
}

static void sees_that_a_ca_file_was_replaced(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 1};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    assert_fine(world_run(w, &job));
    struct certificate *other = certificate_create(
        &(struct certificate_spec){.common_name = "another", .authority = true});
    certificate_write(other, w->ca_file);
    certificate_destroy(other);
    assert_failed(world_run(w, &job), SCOPE_SERVER, "127.0.0.1:");
    certificate_write(w->authority, w->ca_file);
    assert_fine(world_run(w, &job));
}

static void accepts_a_pinned_certificate(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 1};
    uint8_t pin[32];
    world_begin(w, &options);
    certificate_fingerprint(w->certificate, pin);
    struct pool_job job = world_job(w, "alice", &options);
    job.ca_file = NULL;
    job.fingerprint = pin;
    assert_fine(world_run(w, &job));
    pin[0] ^= 1;
    assert_failed(world_run(w, &job), SCOPE_SERVER, "fingerprint");
}

static void says_that_a_connection_was_refused(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    struct account_info info;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    mail_server_stop(w->server);
    w->server = NULL;
    const struct world_result *r = world_run(w, &job);
    assert_failed(r, SCOPE_SERVER, "was refused: is the port right");
    assert_string_equal(r->address, "");
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_non_null(strstr(info.session_text, "was refused"));
}

static void archives_an_empty_mailbox(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    struct account_info info;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.listed, 0);
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_int_equal(info.session_state, SESSION_COMPLETE);
}

static void goes_on_behind_a_refused_message(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .refuse = 2};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.refused, 1);
    assert_int_equal(r->counts.fetched, 2);
}

/* Q29 */
static void q29_a_message_that_breaks_three_sessions_is_quarantined(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .no_answer = 2};
    w->limits.reply_ms = SHORT_REPLY_MS;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    for (unsigned i = 0; i < POOL_TROUBLE_MAX; i++) {
        const struct world_result *r = world_run(w, &job);
        assert_failed(r, SCOPE_MAILBOX, "did not answer in time");
        /* Message 1 ended the first time, too, but nothing that followed proved it. */
        assert_int_equal(r->counts.fetched, i == 1);
        assert_int_equal(r->counts.quarantined, i + 1 == POOL_TROUBLE_MAX);
        assert_int_equal(r->counts.aside, 0);
        assert_string_equal(r->aside, i + 1 < POOL_TROUBLE_MAX
                                          ? ""
                                          : "Message with UIDL \"u2\" put aside: RETR "
                                            "broke the session 3 times in a row (the last "
                                            "time: the server did not answer).");
        job.marks = r->marks;
    }
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.fetched, 1);
    assert_int_equal(r->counts.aside, 1);
    assert_string_equal(r->aside, "");
    assert_int_equal(world_messages(w, "alice"), 2);
}

/* Q23 */
static void q23_q30_a_message_without_an_end_is_quarantined(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .hold = 2};
    w->limits.reply_ms = SHORT_REPLY_MS;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    for (unsigned i = 0; i < POOL_TROUBLE_MAX; i++) {
        const struct world_result *r = world_run(w, &job);
        assert_failed(r, SCOPE_MAILBOX, "did not answer in time");
        assert_int_equal(r->counts.fetched, i == 0); /* its answer proves message 1 */
        assert_int_equal(r->counts.quarantined, i + 1 == POOL_TROUBLE_MAX);
        job.marks = r->marks;
    }
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.fetched, 1);
    assert_int_equal(r->counts.aside, 1);
    assert_int_equal(world_messages(w, "alice"), 2);
}

static void quarantines_an_oversized_message(void **state)
{
    struct world *w = *state;
    const struct mail_message messages[] = {world_message("big", 1, 200 * KIB), three[0]};
    struct mail_server_options options = {.messages = messages, .count = 2};
    w->limits.message_max = 100 * KIB;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_failed(r, SCOPE_MESSAGE, "longer than");
    assert_int_equal(r->counts.quarantined, 1);
    assert_true(r->outcome.more);
    r = world_run(w, &job);
    assert_fine(r);
    assert_int_equal(r->counts.fetched, 1);
    free((void *)(uintptr_t)messages[0].data);
}

static void leaves_at_the_session_limit_and_says_so(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    w->limits.messages_max = 2;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    const struct world_result *r = world_run(w, &job);
    assert_fine(r);
    assert_true(r->outcome.more);
    assert_int_equal(r->counts.fetched, 2);
    r = world_run(w, &job);
    assert_false(r->outcome.more);
    assert_int_equal(r->counts.fetched, 1);
}

/* A full disk. */

static int pwrite_until_full(void *ctx, int fd, const void *data, size_t size,
                             uint64_t offset, size_t *out_written)
{
    const atomic_bool *full = ctx;
    return atomic_load(full)
               ? -ENOSPC
               : system_files.pwrite(NULL, fd, data, size, offset, out_written);
}

static void leaves_without_quit_when_the_disk_is_full(void **state)
{
    struct world *w = *state;
    atomic_bool full = false;
    struct file_ops ops = system_files;
    struct mail_server_options options = {.messages = three, .count = 3};
    char text[POOL_TEXT_SIZE];
    ops.pwrite = pwrite_until_full;
    ops.ctx = &full;
    w->ops = &ops;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    struct pool_job other = world_job(w, "bob", &options);
    w->limits.messages_max = 1;
    assert_fine(world_run(w, &job));
    assert_int_equal(mail_server_quits(w->server), 1);
    assert_int_equal(pool_failure(w->pool, text), 0);
    atomic_store(&full, true);
    const struct world_result *r = world_run(w, &job);
    assert_failed(r, SCOPE_PROCESS, "No space left on device");
    assert_failed(world_run(w, &other), SCOPE_PROCESS, "No space left on device");
    assert_int_equal(mail_server_sessions(w->server), 2); /* not even tried */
    assert_int_equal(mail_server_quits(w->server), 1);
    assert_int_equal(pool_failure(w->pool, text), -ENOSPC);
    assert_non_null(strstr(text, "No space left on device"));
    world_end(w);
    w->ops = NULL;
    fixture_open(&w->fixture, ARCHIVE_WRITE);
    assert_int_equal(world_messages(w, "alice"), 1);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void stops_in_the_middle_with_all_that_is_whole(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3, .hold = 3};
    struct account_info info;
    struct pool_progress progress;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    unsigned place = world_submit(w, &job);
    do {
        usleep(1000);
        pool_progress(w->pool, &progress);
    } while (mail_server_held(w->server) == 0 || progress.messages < 2);
    usleep(20000); /* until the half message has come */
    uint64_t began = now_ms();
    pool_stop(w->pool);
    assert_in_range(now_ms() - began, 0, 20000);
    const struct world_result *r = &w->results[place];
    assert_true(r->there);
    assert_true(r->stopped);
    assert_failed(r, SCOPE_PROCESS, "Stopped");
    assert_int_equal(r->outcome.retry, RETRY_NOW);
    assert_int_equal(mail_server_quits(w->server), 0);
    assert_int_equal(world_messages(w, "alice"), 2);
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_int_equal(info.session_state, SESSION_PARTIAL);
    assert_int_equal(pool_submit(w->pool, &job), ERR_STOPPED);
}

static void stops_before_anything_began(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    for (unsigned i = 0; i < 8; i++) {
        char account[16];
        snprintf(account, sizeof(account), "user%u", i);
        job.account = job.login = account;
        world_submit(w, &job);
    }
    pool_stop(w->pool);
    for (unsigned i = 0; i < 8; i++)
        assert_true(w->results[i].there);
}

/* The descriptor that epoll_wait() of some worker is called with is another one now. False:
 * there is none. */
static bool break_a_loop(void)
{
    char path[32], target[32];
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path, target, sizeof(target) - 1);
        target[size > 0 ? size : 0] = '\0';
        if (strcmp(target, "anon_inode:[eventpoll]") != 0)
            continue;
        int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(dup2(other, fd), fd);
        close(other);
        return true;
    }
    return false;
}

/* It has the fewest sessions, as each ends at once, and would be given all that come. */
static void a_worker_without_a_loop_gets_no_more_sessions(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    unsigned failed = 0;
    world_begin(w, &options);
    assert_true(break_a_loop());
    for (unsigned i = 0; i < 16; i++) {
        char account[16];
        snprintf(account, sizeof(account), "user%u", i);
        struct pool_job job = world_job(w, account, &options);
        const struct world_result *r = world_run(w, &job);
        if (r->outcome.scope == SCOPE_NONE)
            continue;
        assert_failed(r, SCOPE_PROCESS, "event loop failed");
        assert_int_equal(r->outcome.retry, RETRY_BACKOFF);
        failed++;
    }
    assert_in_range(failed, 0, 1);
}

static void refuses_jobs_that_cannot_be(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.count = 0};
    char long_name[NAME_SIZE_MAX + 2];
    world_begin(w, &options);
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    struct pool_job job = world_job(w, "", &options);
    assert_int_equal(pool_submit(w->pool, &job), -EINVAL);
    job.account = long_name;
    assert_int_equal(pool_submit(w->pool, &job), ERR_TOO_LARGE);
    job.account = "alice";
    job.login = "alice";
    job.password = "two\r\nlines";
    assert_int_equal(pool_submit(w->pool, &job), ERR_SYNTAX);
}

static int setup_uring(void **state)
{
    return world_setup(state, LOOP_URING);
}

static int setup_epoll(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, world_teardown)
#define TESTS(setup)                                                                \
    TEST(archives_a_mailbox_and_leaves, setup), TEST(fetches_nothing_twice, setup), \
        TEST(keeps_two_equal_messages, setup),                                      \
        TEST(keeps_what_was_whole_when_the_line_is_cut, setup),                     \
        TEST(says_that_a_close_after_pass_is_uncertain, setup),                     \
        TEST(shows_a_refused_login_in_the_ledger, setup),                           \
        TEST(switches_to_tls_with_stls, setup),                                     \
        TEST(refuses_a_server_of_another_authority, setup),                         \
        TEST(sees_that_a_ca_file_was_replaced, setup),                              \
        TEST(accepts_a_pinned_certificate, setup),                                  \
        TEST(says_that_a_connection_was_refused, setup),                            \
        TEST(archives_an_empty_mailbox, setup),                                     \
        TEST(goes_on_behind_a_refused_message, setup),                              \
        TEST(q29_a_message_that_breaks_three_sessions_is_quarantined, setup),       \
        TEST(q23_q30_a_message_without_an_end_is_quarantined, setup),               \
        TEST(quarantines_an_oversized_message, setup),                              \
        TEST(leaves_at_the_session_limit_and_says_so, setup),                       \
        TEST(leaves_without_quit_when_the_disk_is_full, setup),                     \
        TEST(stops_in_the_middle_with_all_that_is_whole, setup),                    \
        TEST(stops_before_anything_began, setup), TEST(refuses_jobs_that_cannot_be, setup)

#define EPOLLS TEST(a_worker_without_a_loop_gets_no_more_sessions, setup_epoll)

int main(void)
{
    const struct CMUnitTest on_epoll[] = {TESTS(setup_epoll), EPOLLS};
    const struct CMUnitTest on_both[] = {TESTS(setup_epoll), EPOLLS, TESTS(setup_uring)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (!world_backend_works(LOOP_URING))
        return cmocka_run_group_tests_name("session, without io_uring", on_epoll, NULL,
                                           NULL);
    return cmocka_run_group_tests_name("session", on_both, NULL, NULL);
}
