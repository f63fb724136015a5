/* The repacker's thread beside workers, writer and sessions: several threads on one
 * archive, for the thread checker too. */
#include "archive/error.h"
#include "tests/support/pool_world.h"
#include "workers/repacker.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MESSAGES 12
#define ACCOUNTS 4
#define ROUNDS 3
#define LARGE_SIZE ((size_t)1500000)
#define SMALL_SIZE ((size_t)4000)
#define WAIT_MS 20
#define PATIENCE_MS 60000

static const char *const accounts[ACCOUNTS] = {"a@x", "b@x", "c@x", "d@x"};

static void wait_a_little(void)
{
    const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000L};
    nanosleep(&pause, NULL);
}

static struct repacker_state wait_for_end(struct repacker *r)
{
    struct repacker_state s;
    for (int i = 0; i < PATIENCE_MS / WAIT_MS; i++) {
        repacker_look(r, &s);
        if (!s.running)
            return s;
        wait_a_little();
    }
    fail_msg("run %u does not end", (unsigned)s.run);
    return s;
}

static void fill(struct mail_message messages[MESSAGES])
{
    static const char *const uidls[MESSAGES] = {"u0", "u1", "u2", "u3", "u4",  "u5",
                                                "u6", "u7", "u8", "u9", "u10", "u11"};
    for (unsigned i = 0; i < MESSAGES; i++)
        messages[i] = world_message(uidls[i], i, i % 6 == 5 ? LARGE_SIZE : SMALL_SIZE);
}

/* Void of what the test does not need to see. */
static void assert_all_there(struct world *w, const struct mail_message *messages)
{
    for (unsigned a = 0; a < ACCOUNTS; a++) {
        assert_int_equal(world_messages(w, accounts[a]), MESSAGES);
        for (unsigned i = 0; i < MESSAGES; i++)
            world_assert_message(w, accounts[a], i + 1, &messages[i]);
    }
}

static void repacks_while_sessions_fetch(void **state)
{
    struct world *w = *state;
    struct mail_message messages[MESSAGES];
    struct mail_server_options options = {.messages = messages, .count = MESSAGES / ROUNDS};
    unsigned places[ACCOUNTS];
    fill(messages);
    world_begin(w, &options);
    struct repacker *r = pool_repacker(w->pool);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        options.count = MESSAGES * round / ROUNDS;
        world_serve(w, &options);
        for (unsigned a = 0; a < ACCOUNTS; a++) {
            const struct pool_job job = world_job(w, accounts[a], &options);
            places[a] = world_submit(w, &job);
            (void)repacker_begin(r, true, true); /* perhaps one is under way */
        }
        for (unsigned a = 0; a < ACCOUNTS; a++)
            assert_int_equal(world_wait(w, places[a])->outcome.scope, SCOPE_NONE);
        assert_int_equal(wait_for_end(r).err, 0);
    }
    assert_int_equal(repacker_begin(r, true, true), 0);
    struct repacker_state s = wait_for_end(r);
    assert_int_equal(s.err, 0);
    assert_true(s.summary.segments_read > 0);
    assert_all_there(w, messages);
    for (unsigned i = 0; i < MESSAGES; i++)
        free((void *)(uintptr_t)messages[i].data);
}

static void stops_when_it_is_told_to(void **state)
{
    struct world *w = *state;
    struct mail_message messages[MESSAGES];
    struct mail_server_options options = {.messages = messages, .count = MESSAGES};
    fill(messages);
    world_begin(w, &options);
    struct repacker *r = pool_repacker(w->pool);
    const struct pool_job job = world_job(w, accounts[0], &options);
    assert_int_equal(world_run(w, &job)->outcome.scope, SCOPE_NONE);
    assert_int_equal(repacker_begin(r, true, false), 0);
    assert_int_equal(repacker_begin(r, true, false), -EBUSY);
    repacker_stop(r);
    int err = wait_for_end(r).err;
    assert_true(err == ERR_STOPPED || err == 0);
    assert_int_equal(repacker_begin(r, true, true), 0);
    assert_int_equal(wait_for_end(r).err, 0);
    assert_int_equal(repacker_begin(r, true, true), 0);
    pool_stop(w->pool); /* in the middle of it, or nearly */
    assert_null(pool_repacker(w->pool));
    for (unsigned i = 0; i < MESSAGES; i++) {
        world_assert_message(w, accounts[0], i + 1, &messages[i]);
        free((void *)(uintptr_t)messages[i].data);
    }
}

/* One small segment is not worth it. */
static void in_passing_it_finds_nothing_to_do(void **state)
{
    struct world *w = *state;
    struct mail_message messages[MESSAGES];
    struct mail_server_options options = {.messages = messages, .count = 3};
    fill(messages);
    world_begin(w, &options);
    struct repacker *r = pool_repacker(w->pool);
    const struct pool_job job = world_job(w, accounts[0], &options);
    assert_int_equal(world_run(w, &job)->outcome.scope, SCOPE_NONE);
    assert_int_equal(repacker_begin(r, false, false), 0);
    struct repacker_state s = wait_for_end(r);
    assert_int_equal(s.err, 0);
    assert_int_equal(s.segments, 0);
    assert_int_equal(s.summary.segments_read, 0);
    for (unsigned i = 0; i < MESSAGES; i++)
        free((void *)(uintptr_t)messages[i].data);
}

static int setup(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(repacks_while_sessions_fetch),
        TEST(stops_when_it_is_told_to),
        TEST(in_passing_it_finds_nothing_to_do),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
