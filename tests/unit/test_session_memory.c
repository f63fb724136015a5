/* What sessions take: max-memory holds, whatever the mail, the disk and the number of
 * sessions. */
#include "archive/error.h"
#include "tests/support/pool_world.h"
#include "workers/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define KIB ((size_t)1024)
#define MIB (KIB * 1024)

static void assert_fine(const struct world_result *r)
{
    assert_string_equal(r->outcome.text, "");
    assert_int_equal(r->outcome.scope, SCOPE_NONE);
}

/* Sessions of user0, user1, ... at once. */
static void all_fine(struct world *w, const struct mail_server_options *options,
                     unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char account[16];
        snprintf(account, sizeof(account), "user%u", i);
        struct pool_job job = world_job(w, account, options);
        world_submit(w, &job);
    }
    for (unsigned i = 0; i < count; i++)
        assert_fine(world_wait(w, i));
}

static void streams_large_messages_in_bounded_memory(void **state)
{
    struct world *w = *state;
    const struct mail_message large[] = {
        world_message("small", 1, 300 * KIB),
        world_message("medium", 2, 3 * MIB / 2),
        world_message("large", 3, 20 * MIB),
    };
    struct mail_server_options options = {.messages = large, .count = 3};
    struct pool_progress progress;
    w->max_memory = 8 * MIB;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    assert_fine(world_run(w, &job));
    pool_progress(w->pool, &progress);
    assert_in_range(progress.memory_peak, 1, 8 * MIB);
    assert_int_equal(progress.memory, 0);
    assert_int_equal(progress.messages, 3);
    for (unsigned i = 0; i < 3; i++) {
        world_assert_message(w, "alice", i + 1, &large[i]);
        free((void *)(uintptr_t)large[i].data);
    }
}

static void a_hundred_sessions_share_a_small_budget(void **state)
{
    enum { SESSIONS = 100, MESSAGES = 3 };
    struct world *w = *state;
    struct mail_message messages[MESSAGES] = {
        world_message("m1", 1, 300 * KIB),
        world_message("m2", 2, 300 * KIB),
        world_message("m3", 3, 300 * KIB),
    };
    struct mail_server_options options = {.messages = messages, .count = MESSAGES};
    struct pool_progress progress;
    w->max_memory = BUDGET_LIMIT_MIN;
    world_begin(w, &options);
    for (unsigned i = 0; i < SESSIONS; i++) {
        char account[16];
        snprintf(account, sizeof(account), "user%u", i);
        struct pool_job job = world_job(w, account, &options);
        world_submit(w, &job);
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        const struct world_result *r = world_wait(w, i);
        assert_fine(r);
        assert_int_equal(r->counts.fetched, MESSAGES);
    }
    pool_progress(w->pool, &progress);
    assert_in_range(progress.memory_peak, SESSION_WORK_MEMORY,
                    BUDGET_LIMIT_MIN + SESSION_WORK_MEMORY);
    assert_int_equal(progress.memory, 0);
    assert_int_equal(progress.sessions, 0);
    assert_int_equal(mail_server_quits(w->server), SESSIONS);
    world_assert_message(w, "user99", 3, &messages[2]);
    for (unsigned i = 0; i < MESSAGES; i++)
        free((void *)(uintptr_t)messages[i].data);
}

/* Of each session a good deal more than its share, all at once: those that do not fit wait
 * until others have fetched theirs. */
static void listings_that_do_not_fit_wait(void **state)
{
    enum { SESSIONS = 100, MESSAGES = 150, UIDL = 400 };
    struct world *w = *state;
    static char uidls[MESSAGES][UIDL + 1];
    struct mail_message messages[MESSAGES];
    for (unsigned i = 0; i < MESSAGES; i++) {
        memset(uidls[i], 'u', UIDL);
        snprintf(uidls[i] + UIDL - 8, 9, "%08u", i);
        messages[i] = (struct mail_message){uidls[i], "Subject: x\r\n\r\ny\r\n", 17};
    }
    struct mail_server_options options = {.messages = messages, .count = MESSAGES};
    struct pool_progress progress;
    w->max_memory = BUDGET_LIMIT_MIN;
    world_begin(w, &options);
    all_fine(w, &options, SESSIONS);
    pool_progress(w->pool, &progress);
    assert_in_range(progress.memory_peak, SESSION_WORK_MEMORY,
                    BUDGET_LIMIT_MIN + SESSION_WORK_MEMORY);
    assert_int_equal(progress.memory, 0);
    assert_int_equal(world_messages(w, "user99"), MESSAGES);
}

/* Each piece takes memory with it to the writer, and more is needed for the next. */
static void large_messages_share_a_small_budget(void **state)
{
    enum { SESSIONS = 8 };
    struct world *w = *state;
    struct mail_message large = world_message("large", 1, 3 * MIB);
    struct mail_server_options options = {.messages = &large, .count = 1};
    struct pool_progress progress;
    w->max_memory = 10 * MIB;
    world_begin(w, &options);
    all_fine(w, &options, SESSIONS);
    pool_progress(w->pool, &progress);
    assert_in_range(progress.memory_peak, SESSION_WORK_MEMORY,
                    10 * MIB + SESSION_WORK_MEMORY);
    assert_int_equal(progress.memory, 0);
    world_assert_message(w, "user7", 1, &large);
    free((void *)(uintptr_t)large.data);
}

static int slow_fdatasync(void *ctx, int fd)
{
    const struct timespec pause = {.tv_nsec = 400 * 1000 * 1000};
    (void)ctx;
    nanosleep(&pause, NULL);
    return system_files.fdatasync(NULL, fd);
}

/* The budget has room for all of it, but one session does not take it: the server waits for
 * the disk. */
static void a_slow_disk_holds_the_server_back(void **state)
{
    struct world *w = *state;
    struct mail_message large = world_message("large", 1, 60 * MIB);
    struct mail_server_options options = {.messages = &large, .count = 1};
    struct file_ops ops = system_files;
    struct pool_progress progress;
    ops.fdatasync = slow_fdatasync;
    w->ops = &ops;
    w->max_memory = 256 * MIB;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    assert_fine(world_run(w, &job));
    pool_progress(w->pool, &progress);
    assert_in_range(progress.memory_peak, 1, 32 * MIB);
    world_assert_message(w, "alice", 1, &large);
    free((void *)(uintptr_t)large.data);
    world_end(w);
    w->ops = NULL;
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
#define TESTS(setup)                                          \
    TEST(streams_large_messages_in_bounded_memory, setup),    \
        TEST(a_hundred_sessions_share_a_small_budget, setup), \
        TEST(listings_that_do_not_fit_wait, setup),           \
        TEST(large_messages_share_a_small_budget, setup),     \
        TEST(a_slow_disk_holds_the_server_back, setup)

int main(void)
{
    const struct CMUnitTest on_epoll[] = {TESTS(setup_epoll)};
    const struct CMUnitTest on_both[] = {TESTS(setup_epoll), TESTS(setup_uring)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (!world_backend_works(LOOP_URING))
        return cmocka_run_group_tests_name("memory, without io_uring", on_epoll, NULL,
                                           NULL);
    return cmocka_run_group_tests_name("memory", on_both, NULL, NULL);
}
