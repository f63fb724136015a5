/* Limits of a server, mailboxes that accounts share, servers that fail. */
#include "tests/support/scheduler_world.h"

static void a_server_has_no_more_than_max_connections(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 10, 3);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t running[3];
    for (int i = 0; i < 3; i++)
        running[i] = world_take(&w, now);
    world_take_nothing(&w, now);
    assert_true(scheduler_wait_ms(w.s, now) == SCHEDULER_FOREVER);
    scheduler_done(w.s, running[1], &ended_good, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_free(w.s);
}

static void servers_take_turns(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 20, 10);
    /* Nine in ten on the first. */
    for (uint32_t i = 0; i < 20; i++)
        w.accounts[i].server = &w.servers[i < 18 ? 0 : 1];
    world_start(&w, SCHEDULER_ONCE);
    int second = 0;
    for (int i = 0; i < 4; i++)
        second += world_take(&w, START) >= 18;
    assert_int_equal(second, 2);
    for (int i = 0; i < 8; i++)
        assert_true(world_take(&w, START) < 18);
    world_take_nothing(&w, START);
    scheduler_free(w.s);
}

static void a_full_server_does_not_hold_up_another(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 8, 4);
    w.servers[0].max_connections = 1;
    world_start(&w, SCHEDULER_ONCE);
    int second = 0;
    for (int i = 0; i < 5; i++)
        second += world_take(&w, START) % 2 == 1;
    assert_int_equal(second, 4);
    world_take_nothing(&w, START);
    scheduler_free(w.s);
}

static void two_accounts_of_one_mailbox_run_one_after_the_other(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 3, 16);
    /* One mailbox under two names, in two sections for the same server; and another user.
     */
    w.servers[1].host = "A";
    w.accounts[0].user = w.accounts[1].user = "shared";
    world_start(&w, SCHEDULER_ONCE);
    assert_int_equal(world_take(&w, START), 0);
    assert_int_equal(world_take(&w, START), 2);
    world_take_nothing(&w, START);
    assert_int_equal(world_state(&w, 1), SCHEDULER_PARKED);
    assert_true(scheduler_wait_ms(w.s, START) == SCHEDULER_FOREVER);
    scheduler_done(w.s, 2, &ended_good, START);
    world_take_nothing(&w, START);
    scheduler_done(w.s, 0, &ended_good, START);
    assert_int_equal(world_take(&w, START), 1);
    scheduler_done(w.s, 1, &ended_good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void same_user_elsewhere_is_another_mailbox(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 3, 16);
    for (int i = 0; i < 3; i++)
        w.accounts[i].user = "info";
    w.servers[2].host = "b";
    w.servers[2].port = 1995;
    world_start(&w, SCHEDULER_ONCE);
    for (int i = 0; i < 3; i++)
        world_take(&w, START);
    scheduler_free(w.s);
}

static void a_dead_server_stops_all_its_accounts_and_no_others(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 40, 4);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t running[8];
    for (int i = 0; i < 8; i++)
        running[i] = world_take(&w, now);
    world_take_nothing(&w, now);
    /* All four fail together: one failure. */
    for (int i = 0; i < 8; i++)
        scheduler_done(w.s, running[i], running[i] % 2 == 0 ? &ended_down : &ended_good,
                       now);
    uint64_t until = scheduler_server_blocked_ms(w.s, 0);
    assert_in_range(until - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    assert_int_equal(scheduler_server_blocked_ms(w.s, 1), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world_take(&w, now) % 2, 1);
    world_take_nothing(&w, until - 1);
    scheduler_free(w.s);
}

static void after_the_pause_one_account_tries_then_all(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 8, 4);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    scheduler_done(w.s, world_take(&w, now), &ended_down, now);
    world_take_nothing(&w, now);
    now = scheduler_server_blocked_ms(w.s, 0);
    uint32_t probe = world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_done(w.s, probe, &ended_down, now);
    uint64_t until = scheduler_server_blocked_ms(w.s, 0);
    assert_in_range(until - now, 2 * MINUTE * 9 / 10, 2 * MINUTE * 11 / 10);
    now = until;
    scheduler_done(w.s, world_take(&w, now), &ended_good, now);
    for (int i = 0; i < 4; i++)
        world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_free(w.s);
}

static void one_success_opens_a_blocked_server(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 8, 2);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t first = world_take(&w, now), second = world_take(&w, now);
    scheduler_done(w.s, first, &ended_down, now);
    world_take_nothing(&w, now);
    scheduler_done(w.s, second, &ended_good, now);
    assert_int_equal(scheduler_server_blocked_ms(w.s, 0), 0);
    world_take(&w, now);
    world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_free(w.s);
}

static void a_server_not_to_be_trusted_waits_an_hour(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 2, 2);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t account = world_take(&w, now);
    scheduler_done(w.s, account, &ended_distrusted, now);
    assert_in_range(scheduler_server_blocked_ms(w.s, 0) - now, HOUR * 9 / 10,
                    HOUR * 11 / 10);
    world_take_nothing(&w, now);
    scheduler_hurry(w.s, account, now);
    world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_free(w.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_has_no_more_than_max_connections),
        cmocka_unit_test(servers_take_turns),
        cmocka_unit_test(a_full_server_does_not_hold_up_another),
        cmocka_unit_test(two_accounts_of_one_mailbox_run_one_after_the_other),
        cmocka_unit_test(same_user_elsewhere_is_another_mailbox),
        cmocka_unit_test(a_dead_server_stops_all_its_accounts_and_no_others),
        cmocka_unit_test(after_the_pause_one_account_tries_then_all),
        cmocka_unit_test(one_success_opens_a_blocked_server),
        cmocka_unit_test(a_server_not_to_be_trusted_waits_an_hour),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
