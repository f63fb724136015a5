/* When accounts come and come back. See also test_scheduler_servers.c. */
#include "tests/support/scheduler_world.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 100000u

static void first_sessions_are_spread_over_a_minute(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, ACCOUNTS_MAX, ACCOUNTS_MAX);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t lowest = UINT64_MAX, highest = 0;
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++) {
        uint64_t due = world_due(&w, i);
        lowest = due < lowest ? due : lowest;
        highest = due > highest ? due : highest;
    }
    assert_in_range(lowest, START, START + 15 * SECOND);
    assert_in_range(highest, START + 45 * SECOND, START + MINUTE);
    scheduler_free(w.s);
}

static void first_sessions_of_a_short_poll_come_within_it(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, ACCOUNTS_MAX, 1);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        w.accounts[i].poll_ms = 2 * SECOND;
    world_start(&w, SCHEDULER_SERVICE);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        assert_in_range(world_due(&w, i), START, START + 2 * SECOND);
    scheduler_free(w.s);
}

static void accounts_come_in_the_order_of_their_time(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, ACCOUNTS_MAX, ACCOUNTS_MAX);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t due[ACCOUNTS_MAX], last = 0;
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        due[i] = world_due(&w, i);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++) {
        uint32_t account = world_take(&w, world_after_spread());
        assert_true(due[account] >= last);
        last = due[account];
    }
    world_take_nothing(&w, world_after_spread());
    scheduler_free(w.s);
}

static void nobody_comes_before_their_time(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t due = world_due(&w, 0);
    assert_true(due > START);
    world_take_nothing(&w, due - 1);
    assert_int_equal(scheduler_wait_ms(w.s, due - 1), 1);
    assert_int_equal(scheduler_wait_ms(w.s, due), 0);
    assert_int_equal(world_take(&w, due), 0);
    assert_true(scheduler_wait_ms(w.s, due) == SCHEDULER_FOREVER);
    scheduler_free(w.s);
}

static void success_comes_back_after_poll_give_or_take_a_tenth(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread(), shortest = UINT64_MAX, longest = 0;
    for (int i = 0; i < 100; i++) {
        world_take(&w, now);
        scheduler_done(w.s, 0, &ended_good, now);
        uint64_t wait = world_due(&w, 0) - now;
        assert_int_equal(wait, scheduler_wait_ms(w.s, now));
        shortest = wait < shortest ? wait : shortest;
        longest = wait > longest ? wait : longest;
        now += wait;
    }
    assert_in_range(shortest, POLL * 9 / 10, POLL * 95 / 100);
    assert_in_range(longest, POLL * 105 / 100, POLL * 11 / 10);
    scheduler_free(w.s);
}

static uint64_t wait_behind(struct world *w, uint64_t *now, bool something)
{
    world_take(w, *now);
    scheduler_found(w->s, 0, something);
    scheduler_done(w->s, 0, &ended_good, *now);
    uint64_t wait = world_due(w, 0) - *now;
    *now += wait;
    return wait;
}

/* A service with one account; poll_quiet_ms 0: not set. When its first poll is due. */
static uint64_t start_one(struct world *w, uint64_t poll_quiet_ms)
{
    world_make(w, 1, 1, 1);
    w->accounts[0].poll_quiet_ms = poll_quiet_ms;
    world_start(w, SCHEDULER_SERVICE);
    return world_after_spread();
}

static void a_quiet_account_is_polled_less_often_up_to_its_bound(void **state)
{
    (void)state;
    struct world w;
    uint64_t now = start_one(&w, 5 * POLL);
    static const uint64_t factors[] = {2, 4, 5, 5, 5};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 7; i++)
            assert_in_range(wait_behind(&w, &now, false), POLL * 9 / 10,
                            POLL * 11 / 10 + 50);
        for (int i = 0; i < 5; i++) {
            uint64_t most = factors[i] * POLL;
            assert_in_range(wait_behind(&w, &now, false), most * 9 / 10, most + 50);
        }
        assert_in_range(wait_behind(&w, &now, true), POLL * 9 / 10, POLL * 11 / 10 + 50);
    }
    scheduler_free(w.s);
}

static void without_a_bound_it_is_polled_as_ever(void **state)
{
    (void)state;
    struct world w;
    uint64_t now = start_one(&w, 0);
    for (int i = 0; i < 100; i++)
        assert_in_range(wait_behind(&w, &now, false), POLL * 9 / 10, POLL * 11 / 10 + 50);
    scheduler_free(w.s);
}

static void a_quiet_account_comes_at_once_when_asked_for(void **state)
{
    (void)state;
    struct world w;
    uint64_t now = start_one(&w, 5 * POLL);
    for (int i = 0; i < 12; i++)
        (void)wait_behind(&w, &now, false);
    assert_true(wait_behind(&w, &now, false) > 4 * POLL);
    uint64_t asked = now - 3 * POLL;
    scheduler_hurry(w.s, 0, asked);
    assert_int_equal(world_take(&w, asked), 0);
    scheduler_found(w.s, 0, true);
    scheduler_done(w.s, 0, &ended_good, asked);
    assert_in_range(world_due(&w, 0) - asked, POLL * 9 / 10, POLL * 11 / 10 + 50);
    scheduler_free(w.s);
}

/* An account that was quiet until its bound, 5 * POLL; its next poll behind a reload. */
static uint64_t due_behind_reload(uint64_t new_bound, uint64_t *out_due, uint64_t *out_now)
{
    struct world before, after;
    uint64_t now = start_one(&before, 5 * POLL);
    for (int i = 0; i < 12; i++)
        (void)wait_behind(&before, &now, false);
    *out_due = world_due(&before, 0);
    *out_now = now = *out_due - 4 * POLL;
    world_make(&after, 1, 1, 1);
    after.accounts[0].poll_quiet_ms = new_bound;
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    assert_int_equal(scheduler_adopt(after.s, before.s, now), 0);
    uint64_t due = world_due(&after, 0);
    scheduler_free(before.s);
    scheduler_free(after.s);
    return due;
}

static void a_reload_keeps_how_quiet_an_account_is(void **state)
{
    (void)state;
    uint64_t due = 0, now = 0;
    uint64_t kept = due_behind_reload(5 * POLL, &due, &now);
    assert_int_equal(kept, due);
    uint64_t soon = due_behind_reload(0, &due, &now);
    assert_in_range(soon, now, now + POLL * 11 / 10);
}

static void more_to_fetch_comes_back_at_once_behind_those_who_wait(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 2, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t first = world_take(&w, now);
    scheduler_done(w.s, first, &ended_more, now);
    uint32_t second = world_take(&w, now);
    assert_int_not_equal(first, second);
    scheduler_done(w.s, second, &ended_good, now);
    assert_int_equal(world_take(&w, now), first);
    scheduler_free(w.s);
}

static void failures_back_off_from_a_minute_to_an_hour(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread(), expected = MINUTE;
    for (int i = 0; i < 40; i++) {
        world_take(&w, now);
        scheduler_done(w.s, 0, &ended_failed, now);
        uint64_t wait = world_due(&w, 0) - now;
        assert_in_range(wait, expected * 9 / 10, expected * 11 / 10);
        expected = expected * 2 < HOUR ? expected * 2 : HOUR;
        now += wait;
    }
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_good, now);
    now = world_due(&w, 0);
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_failed, now);
    assert_in_range(world_due(&w, 0) - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void more_to_fetch_ends_a_back_off(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    for (int i = 0; i < 3; i++) {
        world_take(&w, now);
        scheduler_done(w.s, 0, &ended_failed, now);
        now = world_due(&w, 0);
    }
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_more, now);
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_failed, now);
    assert_in_range(world_due(&w, 0) - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void a_mailbox_in_use_backs_off_to_a_quarter_of_an_hour(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread(), wait = 0;
    for (int i = 0; i < 10; i++) {
        world_take(&w, now);
        scheduler_done(w.s, 0, &ended_busy, now);
        wait = world_due(&w, 0) - now;
        now += wait;
    }
    assert_in_range(wait, 15 * MINUTE * 9 / 10, 15 * MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void retry_now_is_at_once_but_not_for_ever(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    for (int i = 0; i < 3; i++) {
        world_take(&w, now);
        scheduler_done(w.s, 0, &ended_stale, now);
        assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    }
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_stale, now);
    assert_in_range(scheduler_wait_ms(w.s, now), MINUTE * 9 / 10, MINUTE * 11 / 10);
    /* The count starts again. */
    now += scheduler_wait_ms(w.s, now);
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_stale, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    scheduler_free(w.s);
}

static void retry_never_suspends_until_someone_asks(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    world_take(&w, now);
    scheduler_done(w.s, 0, &ended_denied, now);
    assert_int_equal(world_state(&w, 0), SCHEDULER_SUSPENDED);
    assert_true(scheduler_wait_ms(w.s, now) == SCHEDULER_FOREVER);
    world_take_nothing(&w, now + 1000 * HOUR);
    scheduler_hurry(w.s, 0, now + 1000 * HOUR);
    assert_int_equal(world_take(&w, now + 1000 * HOUR), 0);
    scheduler_free(w.s);
}

static void a_suspended_account_is_resumed_and_only_that(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    world_take(&w, now);
    scheduler_resume(w.s, 0, now);
    assert_int_equal(world_state(&w, 0), SCHEDULER_RUNNING);
    scheduler_done(w.s, 0, &ended_denied, now);
    scheduler_resume(w.s, 0, now);
    assert_int_equal(world_take(&w, now), 0);
    scheduler_done(w.s, 0, &ended_good, now);
    scheduler_resume(w.s, 0, now);
    world_take_nothing(&w, now);
    scheduler_free(w.s);
}

static void hurry_brings_a_waiting_account_at_once(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    world_take(&w, now);
    scheduler_hurry(w.s, 0, now);
    world_take_nothing(&w, now);
    scheduler_done(w.s, 0, &ended_good, now);
    world_take_nothing(&w, now);
    scheduler_hurry(w.s, 0, now);
    assert_int_equal(world_take(&w, now), 0);
    scheduler_free(w.s);
}

static void a_pause_the_server_asks_for_is_kept_up_to_a_day(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    struct outcome asked = ended_more;
    asked.delay_s = 900;
    world_take(&w, now);
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 900 * SECOND);
    now += 900 * SECOND;
    world_take(&w, now);
    asked = ended_failed;
    asked.delay_s = 900;
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 900 * SECOND);
    now += 900 * SECOND;
    world_take(&w, now);
    asked.delay_s = UINT32_MAX;
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 24 * HOUR);
    scheduler_free(w.s);
}

static void once_runs_each_account_once_and_ends(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 10, 2);
    world_start(&w, SCHEDULER_ONCE);
    static const struct outcome *const ends[] = {&ended_good,   &ended_failed,
                                                 &ended_denied, &ended_down,
                                                 &ended_busy,   &ended_distrusted};
    bool seen[10] = {false};
    for (size_t i = 0; i < 10; i++) {
        assert_false(scheduler_finished(w.s));
        uint32_t account = world_take(&w, START);
        assert_false(seen[account]);
        seen[account] = true;
        scheduler_done(w.s, account, ends[i % 6], START);
    }
    world_take_nothing(&w, START + 1000 * HOUR);
    assert_true(scheduler_finished(w.s));
    assert_true(scheduler_wait_ms(w.s, START) == SCHEDULER_FOREVER);
    scheduler_free(w.s);
}

static void once_goes_on_while_there_is_more(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_ONCE);
    for (int i = 0; i < 5; i++) {
        world_take(&w, START);
        scheduler_done(w.s, 0, &ended_more, START);
        assert_false(scheduler_finished(w.s));
    }
    world_take(&w, START);
    scheduler_done(w.s, 0, &ended_good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void once_runs_only_the_selected(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 3, 3);
    const bool selected[3] = {false, true, false};
    assert_int_equal(scheduler_new(&w.config, selected, SCHEDULER_ONCE, 1, START, &w.s), 0);
    assert_int_equal(world_take(&w, START), 1);
    world_take_nothing(&w, START);
    scheduler_hurry(w.s, 0, START);
    world_take_nothing(&w, START);
    scheduler_done(w.s, 1, &ended_good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void without_accounts_once_has_finished(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 0, 0, 0);
    world_start(&w, SCHEDULER_ONCE);
    assert_true(scheduler_finished(w.s));
    world_take_nothing(&w, START);
    scheduler_free(w.s);
}

/* Five accounts; 0 waits, 1 failed, 2 is suspended, 3 runs, 4 is gone from the new
 * configuration. */
static void a_reload_keeps_times_and_running_sessions(void **state)
{
    (void)state;
    struct world before, after;
    world_make(&before, 1, 5, 5);
    world_start(&before, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    for (int i = 0; i < 5; i++)
        world_take(&before, now);
    scheduler_done(before.s, 0, &ended_good, now);
    scheduler_done(before.s, 1, &ended_failed, now);
    scheduler_done(before.s, 2, &ended_denied, now);
    struct resolver_answer answer;
    uint32_t place = scheduler_place(before.s, 4, &answer);

    world_make(&after, 1, 4, 1);
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    assert_int_equal(scheduler_adopt(after.s, before.s, now), 0);
    assert_int_equal(world_due(&after, 0), world_due(&before, 0));
    assert_int_equal(world_due(&after, 1), world_due(&before, 1));
    assert_in_range(world_due(&after, 2), now, now + MINUTE);
    assert_int_equal(world_state(&after, 3), SCHEDULER_RUNNING);
    scheduler_free(before.s);
    /* The limit is 1 now; the one that runs counts, and so does the one that is gone. */
    world_take_nothing(&after, now + MINUTE);
    scheduler_done(after.s, 3, &ended_good, now + MINUTE);
    world_take_nothing(&after, now + MINUTE);
    scheduler_leave(after.s, place, now + MINUTE);
    world_take(&after, now + MINUTE);
    scheduler_free(after.s);
}

static void a_shorter_poll_counts_from_the_reload(void **state)
{
    (void)state;
    struct world before, after;
    world_make(&before, 1, 1, 1);
    world_start(&before, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    world_take(&before, now);
    scheduler_done(before.s, 0, &ended_good, now);
    world_make(&after, 1, 1, 1);
    after.accounts[0].poll_ms = 10 * SECOND;
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    assert_int_equal(scheduler_adopt(after.s, before.s, now), 0);
    assert_in_range(world_due(&after, 0), now + 9 * SECOND, now + 11 * SECOND);
    scheduler_free(before.s);
    scheduler_free(after.s);
}

static void equal_seeds_give_equal_schedules(void **state)
{
    (void)state;
    struct world a, b;
    world_make(&a, 1, 8, 1);
    world_make(&b, 1, 8, 1);
    world_start(&a, SCHEDULER_SERVICE);
    world_start(&b, SCHEDULER_SERVICE);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(world_due(&a, i), world_due(&b, i));
    scheduler_free(a.s);
    scheduler_free(b.s);
}

/* Each account three times, on one server with 16 connections: millions of steps if any
 * call looked at all of them. */
static void a_hundred_thousand_accounts_take_bounded_work(void **state)
{
    (void)state;
    struct config_server server = {
        .name = "a", .host = "a", .port = 995, .max_connections = 16};
    struct config_account *accounts = calloc(MANY, sizeof(*accounts));
    char(*names)[16] = calloc(MANY, sizeof(*names));
    unsigned char *runs = calloc(MANY, 1);
    assert_true(accounts != NULL && names != NULL && runs != NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "a%06u", (unsigned)i);
        accounts[i] = (struct config_account){
            .name = names[i], .user = names[i], .server = &server, .poll_ms = HOUR};
    }
    struct config config = {
        .servers = &server, .server_count = 1, .accounts = accounts, .account_count = MANY};
    struct scheduler *s = NULL;
    assert_int_equal(scheduler_new(&config, NULL, SCHEDULER_SERVICE, 7, START, &s), 0);
    uint64_t now = START;
    for (uint32_t done = 0; done < 3 * MANY;) {
        uint32_t batch[16], count = 0, wanted = 0;
        struct resolver_answer answer = world_answer("192.0.2.1", "");
        while (scheduler_lookup(s, &wanted))
            scheduler_located(s, wanted, &answer, now);
        while (count < 16 && scheduler_next(s, now, &batch[count]))
            count++;
        for (uint32_t i = 0; i < count; i++, done++) {
            runs[batch[i]]++;
            scheduler_done(s, batch[i], &ended_good, now);
        }
        uint64_t wait = scheduler_wait_ms(s, now);
        now += wait != SCHEDULER_FOREVER ? wait : 0;
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_in_range(runs[i], 2, 4);
    scheduler_free(s);
    free(accounts);
    free(names);
    free(runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_sessions_are_spread_over_a_minute),
        cmocka_unit_test(first_sessions_of_a_short_poll_come_within_it),
        cmocka_unit_test(accounts_come_in_the_order_of_their_time),
        cmocka_unit_test(nobody_comes_before_their_time),
        cmocka_unit_test(success_comes_back_after_poll_give_or_take_a_tenth),
        cmocka_unit_test(a_quiet_account_is_polled_less_often_up_to_its_bound),
        cmocka_unit_test(without_a_bound_it_is_polled_as_ever),
        cmocka_unit_test(a_quiet_account_comes_at_once_when_asked_for),
        cmocka_unit_test(a_reload_keeps_how_quiet_an_account_is),
        cmocka_unit_test(more_to_fetch_comes_back_at_once_behind_those_who_wait),
        cmocka_unit_test(failures_back_off_from_a_minute_to_an_hour),
        cmocka_unit_test(more_to_fetch_ends_a_back_off),
        cmocka_unit_test(a_mailbox_in_use_backs_off_to_a_quarter_of_an_hour),
        cmocka_unit_test(retry_now_is_at_once_but_not_for_ever),
        cmocka_unit_test(retry_never_suspends_until_someone_asks),
        cmocka_unit_test(a_suspended_account_is_resumed_and_only_that),
        cmocka_unit_test(hurry_brings_a_waiting_account_at_once),
        cmocka_unit_test(a_pause_the_server_asks_for_is_kept_up_to_a_day),
        cmocka_unit_test(once_runs_each_account_once_and_ends),
        cmocka_unit_test(once_goes_on_while_there_is_more),
        cmocka_unit_test(once_runs_only_the_selected),
        cmocka_unit_test(without_accounts_once_has_finished),
        cmocka_unit_test(a_reload_keeps_times_and_running_sessions),
        cmocka_unit_test(a_shorter_poll_counts_from_the_reload),
        cmocka_unit_test(equal_seeds_give_equal_schedules),
        cmocka_unit_test(a_hundred_thousand_accounts_take_bounded_work),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
