#include "daemon/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START ((uint64_t)1000000)
#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define POLL (15 * MINUTE)
#define SERVERS_MAX 4
#define ACCOUNTS_MAX 64
#define MANY 100000u

/* A configuration made by hand. */
struct world {
    struct config config;
    struct config_server servers[SERVERS_MAX];
    struct config_account accounts[ACCOUNTS_MAX];
    char names[ACCOUNTS_MAX][16];
    struct scheduler *s;
};

static const struct outcome good = {.scope = SCOPE_NONE, .retry = RETRY_NONE};
static const struct outcome more = {.scope = SCOPE_NONE, .retry = RETRY_NONE, .more = true};
static const struct outcome busy = {.scope = SCOPE_MAILBOX, .retry = RETRY_BACKOFF};
static const struct outcome failed = {.scope = SCOPE_ACCOUNT, .retry = RETRY_BACKOFF};
static const struct outcome denied = {.scope = SCOPE_ACCOUNT, .retry = RETRY_NEVER};
static const struct outcome stale = {.scope = SCOPE_MAILBOX, .retry = RETRY_NOW};
static const struct outcome down = {.scope = SCOPE_SERVER, .retry = RETRY_BACKOFF};
static const struct outcome distrusted = {.scope = SCOPE_SERVER, .retry = RETRY_NEVER};

/* accounts spread over servers in turn: account i is on server i % servers. */
static void make_world(struct world *w, uint32_t servers, uint32_t accounts, uint32_t limit)
{
    static const char *const hosts[SERVERS_MAX] = {"a", "b", "c", "d"};
    *w = (struct world){0};
    for (uint32_t i = 0; i < servers; i++)
        w->servers[i] = (struct config_server){
            .name = hosts[i], .host = hosts[i], .port = 995, .max_connections = limit};
    for (uint32_t i = 0; i < accounts; i++) {
        snprintf(w->names[i], sizeof(w->names[i]), "account%03u", (unsigned)i);
        w->accounts[i] = (struct config_account){.name = w->names[i],
                                                 .user = w->names[i],
                                                 .server = &w->servers[i % servers],
                                                 .poll_ms = POLL};
    }
    w->config = (struct config){.servers = w->servers,
                                .server_count = servers,
                                .accounts = w->accounts,
                                .account_count = accounts};
}

static void start(struct world *w, enum scheduler_mode mode)
{
    assert_int_equal(scheduler_new(&w->config, NULL, mode, 1, START, &w->s), 0);
}

static uint32_t take(struct world *w, uint64_t now)
{
    uint32_t account = UINT32_MAX;
    assert_true(scheduler_next(w->s, now, &account));
    assert_true(account < w->config.account_count);
    return account;
}

static void take_nothing(struct world *w, uint64_t now)
{
    uint32_t account = UINT32_MAX;
    assert_false(scheduler_next(w->s, now, &account));
}

static uint64_t due_of(const struct world *w, uint32_t account)
{
    uint64_t due = 0;
    uint32_t failures = 0;
    scheduler_status(w->s, account, &due, &failures);
    return due;
}

static enum scheduler_state state_of(const struct world *w, uint32_t account)
{
    uint64_t due = 0;
    uint32_t failures = 0;
    return scheduler_status(w->s, account, &due, &failures);
}

/* Let the service's first time come for everyone. */
static uint64_t after_spread(void)
{
    return START + MINUTE;
}

static void first_sessions_are_spread_over_a_minute(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, ACCOUNTS_MAX, ACCOUNTS_MAX);
    start(&w, SCHEDULER_SERVICE);
    uint64_t lowest = UINT64_MAX, highest = 0;
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++) {
        uint64_t due = due_of(&w, i);
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
    make_world(&w, 1, ACCOUNTS_MAX, 1);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        w.accounts[i].poll_ms = 2 * SECOND;
    start(&w, SCHEDULER_SERVICE);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        assert_in_range(due_of(&w, i), START, START + 2 * SECOND);
    scheduler_free(w.s);
}

static void accounts_come_in_the_order_of_their_time(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, ACCOUNTS_MAX, ACCOUNTS_MAX);
    start(&w, SCHEDULER_SERVICE);
    uint64_t due[ACCOUNTS_MAX], last = 0;
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        due[i] = due_of(&w, i);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++) {
        uint32_t account = take(&w, after_spread());
        assert_true(due[account] >= last);
        last = due[account];
    }
    take_nothing(&w, after_spread());
    scheduler_free(w.s);
}

static void nobody_comes_before_their_time(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t due = due_of(&w, 0);
    assert_true(due > START);
    take_nothing(&w, due - 1);
    assert_int_equal(scheduler_wait_ms(w.s, due - 1), 1);
    assert_int_equal(scheduler_wait_ms(w.s, due), 0);
    assert_int_equal(take(&w, due), 0);
    assert_true(scheduler_wait_ms(w.s, due) == SCHEDULER_FOREVER);
    scheduler_free(w.s);
}

static void success_comes_back_after_poll_give_or_take_a_tenth(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread(), shortest = UINT64_MAX, longest = 0;
    for (int i = 0; i < 100; i++) {
        take(&w, now);
        scheduler_done(w.s, 0, &good, now);
        uint64_t wait = due_of(&w, 0) - now;
        assert_int_equal(wait, scheduler_wait_ms(w.s, now));
        shortest = wait < shortest ? wait : shortest;
        longest = wait > longest ? wait : longest;
        now += wait;
    }
    assert_in_range(shortest, POLL * 9 / 10, POLL * 95 / 100);
    assert_in_range(longest, POLL * 105 / 100, POLL * 11 / 10);
    scheduler_free(w.s);
}

static void more_to_fetch_comes_back_at_once_behind_those_who_wait(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 2, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    uint32_t first = take(&w, now);
    scheduler_done(w.s, first, &more, now);
    uint32_t second = take(&w, now);
    assert_int_not_equal(first, second);
    scheduler_done(w.s, second, &good, now);
    assert_int_equal(take(&w, now), first);
    scheduler_free(w.s);
}

static void a_server_has_no_more_than_max_connections(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 10, 3);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    uint32_t running[3];
    for (int i = 0; i < 3; i++)
        running[i] = take(&w, now);
    take_nothing(&w, now);
    assert_true(scheduler_wait_ms(w.s, now) == SCHEDULER_FOREVER);
    scheduler_done(w.s, running[1], &good, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    take(&w, now);
    take_nothing(&w, now);
    scheduler_free(w.s);
}

static void servers_take_turns(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 2, 20, 10);
    /* Nine in ten on the first. */
    for (uint32_t i = 0; i < 20; i++)
        w.accounts[i].server = &w.servers[i < 18 ? 0 : 1];
    start(&w, SCHEDULER_ONCE);
    int second = 0;
    for (int i = 0; i < 4; i++)
        second += take(&w, START) >= 18;
    assert_int_equal(second, 2);
    for (int i = 0; i < 8; i++)
        assert_true(take(&w, START) < 18);
    take_nothing(&w, START);
    scheduler_free(w.s);
}

static void a_full_server_does_not_hold_up_another(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 2, 8, 4);
    w.servers[0].max_connections = 1;
    start(&w, SCHEDULER_ONCE);
    int second = 0;
    for (int i = 0; i < 5; i++)
        second += take(&w, START) % 2 == 1;
    assert_int_equal(second, 4);
    take_nothing(&w, START);
    scheduler_free(w.s);
}

static void failures_back_off_from_a_minute_to_an_hour(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread(), expected = MINUTE;
    for (int i = 0; i < 40; i++) {
        take(&w, now);
        scheduler_done(w.s, 0, &failed, now);
        uint64_t wait = due_of(&w, 0) - now;
        assert_in_range(wait, expected * 9 / 10, expected * 11 / 10);
        expected = expected * 2 < HOUR ? expected * 2 : HOUR;
        now += wait;
    }
    take(&w, now);
    scheduler_done(w.s, 0, &good, now);
    now = due_of(&w, 0);
    take(&w, now);
    scheduler_done(w.s, 0, &failed, now);
    assert_in_range(due_of(&w, 0) - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void more_to_fetch_ends_a_back_off(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    for (int i = 0; i < 3; i++) {
        take(&w, now);
        scheduler_done(w.s, 0, &failed, now);
        now = due_of(&w, 0);
    }
    take(&w, now);
    scheduler_done(w.s, 0, &more, now);
    take(&w, now);
    scheduler_done(w.s, 0, &failed, now);
    assert_in_range(due_of(&w, 0) - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void a_mailbox_in_use_backs_off_to_a_quarter_of_an_hour(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread(), wait = 0;
    for (int i = 0; i < 10; i++) {
        take(&w, now);
        scheduler_done(w.s, 0, &busy, now);
        wait = due_of(&w, 0) - now;
        now += wait;
    }
    assert_in_range(wait, 15 * MINUTE * 9 / 10, 15 * MINUTE * 11 / 10);
    scheduler_free(w.s);
}

static void retry_now_is_at_once_but_not_for_ever(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    for (int i = 0; i < 3; i++) {
        take(&w, now);
        scheduler_done(w.s, 0, &stale, now);
        assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    }
    take(&w, now);
    scheduler_done(w.s, 0, &stale, now);
    assert_in_range(scheduler_wait_ms(w.s, now), MINUTE * 9 / 10, MINUTE * 11 / 10);
    /* The count starts again. */
    now += scheduler_wait_ms(w.s, now);
    take(&w, now);
    scheduler_done(w.s, 0, &stale, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    scheduler_free(w.s);
}

static void retry_never_suspends_until_someone_asks(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    take(&w, now);
    scheduler_done(w.s, 0, &denied, now);
    assert_int_equal(state_of(&w, 0), SCHEDULER_SUSPENDED);
    assert_true(scheduler_wait_ms(w.s, now) == SCHEDULER_FOREVER);
    take_nothing(&w, now + 1000 * HOUR);
    scheduler_hurry(w.s, 0, now + 1000 * HOUR);
    assert_int_equal(take(&w, now + 1000 * HOUR), 0);
    scheduler_free(w.s);
}

static void hurry_brings_a_waiting_account_at_once(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    take(&w, now);
    scheduler_hurry(w.s, 0, now);
    take_nothing(&w, now);
    scheduler_done(w.s, 0, &good, now);
    take_nothing(&w, now);
    scheduler_hurry(w.s, 0, now);
    assert_int_equal(take(&w, now), 0);
    scheduler_free(w.s);
}

static void a_pause_the_server_asks_for_is_kept_up_to_a_day(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    struct outcome asked = more;
    asked.delay_s = 900;
    take(&w, now);
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 900 * SECOND);
    now += 900 * SECOND;
    take(&w, now);
    asked = failed;
    asked.delay_s = 900;
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 900 * SECOND);
    now += 900 * SECOND;
    take(&w, now);
    asked.delay_s = UINT32_MAX;
    scheduler_done(w.s, 0, &asked, now);
    assert_int_equal(scheduler_wait_ms(w.s, now), 24 * HOUR);
    scheduler_free(w.s);
}

static void two_accounts_of_one_mailbox_run_one_after_the_other(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 2, 3, 16);
    /* One mailbox under two names, in two sections for the same server; and another user.
     */
    w.servers[1].host = "A";
    w.accounts[0].user = w.accounts[1].user = "shared";
    start(&w, SCHEDULER_ONCE);
    assert_int_equal(take(&w, START), 0);
    assert_int_equal(take(&w, START), 2);
    take_nothing(&w, START);
    assert_int_equal(state_of(&w, 1), SCHEDULER_PARKED);
    assert_true(scheduler_wait_ms(w.s, START) == SCHEDULER_FOREVER);
    scheduler_done(w.s, 2, &good, START);
    take_nothing(&w, START);
    scheduler_done(w.s, 0, &good, START);
    assert_int_equal(take(&w, START), 1);
    scheduler_done(w.s, 1, &good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void same_user_elsewhere_is_another_mailbox(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 3, 3, 16);
    for (int i = 0; i < 3; i++)
        w.accounts[i].user = "info";
    w.servers[2].host = "b";
    w.servers[2].port = 1995;
    start(&w, SCHEDULER_ONCE);
    for (int i = 0; i < 3; i++)
        take(&w, START);
    scheduler_free(w.s);
}

static void a_dead_server_stops_all_its_accounts_and_no_others(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 2, 40, 4);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    uint32_t running[8];
    for (int i = 0; i < 8; i++)
        running[i] = take(&w, now);
    take_nothing(&w, now);
    /* All four fail together: one failure. */
    for (int i = 0; i < 8; i++)
        scheduler_done(w.s, running[i], running[i] % 2 == 0 ? &down : &good, now);
    uint64_t until = scheduler_server_blocked_ms(w.s, 0);
    assert_in_range(until - now, MINUTE * 9 / 10, MINUTE * 11 / 10);
    assert_int_equal(scheduler_server_blocked_ms(w.s, 1), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(take(&w, now) % 2, 1);
    take_nothing(&w, until - 1);
    scheduler_free(w.s);
}

static void after_the_pause_one_account_tries_then_all(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 8, 4);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    scheduler_done(w.s, take(&w, now), &down, now);
    take_nothing(&w, now);
    now = scheduler_server_blocked_ms(w.s, 0);
    uint32_t probe = take(&w, now);
    take_nothing(&w, now);
    scheduler_done(w.s, probe, &down, now);
    uint64_t until = scheduler_server_blocked_ms(w.s, 0);
    assert_in_range(until - now, 2 * MINUTE * 9 / 10, 2 * MINUTE * 11 / 10);
    now = until;
    scheduler_done(w.s, take(&w, now), &good, now);
    for (int i = 0; i < 4; i++)
        take(&w, now);
    take_nothing(&w, now);
    scheduler_free(w.s);
}

static void one_success_opens_a_blocked_server(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 8, 2);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    uint32_t first = take(&w, now), second = take(&w, now);
    scheduler_done(w.s, first, &down, now);
    take_nothing(&w, now);
    scheduler_done(w.s, second, &good, now);
    assert_int_equal(scheduler_server_blocked_ms(w.s, 0), 0);
    take(&w, now);
    take(&w, now);
    take_nothing(&w, now);
    scheduler_free(w.s);
}

static void a_server_not_to_be_trusted_waits_an_hour(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 2, 2);
    start(&w, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    uint32_t account = take(&w, now);
    scheduler_done(w.s, account, &distrusted, now);
    assert_in_range(scheduler_server_blocked_ms(w.s, 0) - now, HOUR * 9 / 10,
                    HOUR * 11 / 10);
    take_nothing(&w, now);
    scheduler_hurry(w.s, account, now);
    take(&w, now);
    take_nothing(&w, now);
    scheduler_free(w.s);
}

static void once_runs_each_account_once_and_ends(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 2, 10, 2);
    start(&w, SCHEDULER_ONCE);
    static const struct outcome *const ends[] = {&good, &failed, &denied,
                                                 &down, &busy,   &distrusted};
    bool seen[10] = {false};
    for (size_t i = 0; i < 10; i++) {
        assert_false(scheduler_finished(w.s));
        uint32_t account = take(&w, START);
        assert_false(seen[account]);
        seen[account] = true;
        scheduler_done(w.s, account, ends[i % 6], START);
    }
    take_nothing(&w, START + 1000 * HOUR);
    assert_true(scheduler_finished(w.s));
    assert_true(scheduler_wait_ms(w.s, START) == SCHEDULER_FOREVER);
    scheduler_free(w.s);
}

static void once_goes_on_while_there_is_more(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 1, 1);
    start(&w, SCHEDULER_ONCE);
    for (int i = 0; i < 5; i++) {
        take(&w, START);
        scheduler_done(w.s, 0, &more, START);
        assert_false(scheduler_finished(w.s));
    }
    take(&w, START);
    scheduler_done(w.s, 0, &good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void once_runs_only_the_selected(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 1, 3, 3);
    const bool selected[3] = {false, true, false};
    assert_int_equal(scheduler_new(&w.config, selected, SCHEDULER_ONCE, 1, START, &w.s), 0);
    assert_int_equal(take(&w, START), 1);
    take_nothing(&w, START);
    scheduler_hurry(w.s, 0, START);
    take_nothing(&w, START);
    scheduler_done(w.s, 1, &good, START);
    assert_true(scheduler_finished(w.s));
    scheduler_free(w.s);
}

static void without_accounts_once_has_finished(void **state)
{
    (void)state;
    struct world w;
    make_world(&w, 0, 0, 0);
    start(&w, SCHEDULER_ONCE);
    assert_true(scheduler_finished(w.s));
    take_nothing(&w, START);
    scheduler_free(w.s);
}

/* Five accounts; 0 waits, 1 failed, 2 is suspended, 3 runs, 4 is gone from the new
 * configuration. */
static void a_reload_keeps_times_and_running_sessions(void **state)
{
    (void)state;
    struct world before, after;
    make_world(&before, 1, 5, 5);
    start(&before, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    for (int i = 0; i < 5; i++)
        take(&before, now);
    scheduler_done(before.s, 0, &good, now);
    scheduler_done(before.s, 1, &failed, now);
    scheduler_done(before.s, 2, &denied, now);

    make_world(&after, 1, 4, 1);
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    scheduler_adopt(after.s, before.s, now);
    assert_int_equal(due_of(&after, 0), due_of(&before, 0));
    assert_int_equal(due_of(&after, 1), due_of(&before, 1));
    assert_in_range(due_of(&after, 2), now, now + MINUTE);
    assert_int_equal(state_of(&after, 3), SCHEDULER_RUNNING);
    scheduler_free(before.s);
    /* The running one fills the server, whose limit is 1 now. */
    take_nothing(&after, now + MINUTE);
    scheduler_done(after.s, 3, &good, now + MINUTE);
    take(&after, now + MINUTE);
    scheduler_free(after.s);
}

static void a_shorter_poll_counts_from_the_reload(void **state)
{
    (void)state;
    struct world before, after;
    make_world(&before, 1, 1, 1);
    start(&before, SCHEDULER_SERVICE);
    uint64_t now = after_spread();
    take(&before, now);
    scheduler_done(before.s, 0, &good, now);
    make_world(&after, 1, 1, 1);
    after.accounts[0].poll_ms = 10 * SECOND;
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    scheduler_adopt(after.s, before.s, now);
    assert_in_range(due_of(&after, 0), now + 9 * SECOND, now + 11 * SECOND);
    scheduler_free(before.s);
    scheduler_free(after.s);
}

static void equal_seeds_give_equal_schedules(void **state)
{
    (void)state;
    struct world a, b;
    make_world(&a, 1, 8, 1);
    make_world(&b, 1, 8, 1);
    start(&a, SCHEDULER_SERVICE);
    start(&b, SCHEDULER_SERVICE);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(due_of(&a, i), due_of(&b, i));
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
        uint32_t batch[16], count = 0;
        while (count < 16 && scheduler_next(s, now, &batch[count]))
            count++;
        for (uint32_t i = 0; i < count; i++, done++) {
            runs[batch[i]]++;
            scheduler_done(s, batch[i], &good, now);
        }
        now += scheduler_wait_ms(s, now);
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
        cmocka_unit_test(more_to_fetch_comes_back_at_once_behind_those_who_wait),
        cmocka_unit_test(a_server_has_no_more_than_max_connections),
        cmocka_unit_test(servers_take_turns),
        cmocka_unit_test(a_full_server_does_not_hold_up_another),
        cmocka_unit_test(failures_back_off_from_a_minute_to_an_hour),
        cmocka_unit_test(more_to_fetch_ends_a_back_off),
        cmocka_unit_test(a_mailbox_in_use_backs_off_to_a_quarter_of_an_hour),
        cmocka_unit_test(retry_now_is_at_once_but_not_for_ever),
        cmocka_unit_test(retry_never_suspends_until_someone_asks),
        cmocka_unit_test(hurry_brings_a_waiting_account_at_once),
        cmocka_unit_test(a_pause_the_server_asks_for_is_kept_up_to_a_day),
        cmocka_unit_test(two_accounts_of_one_mailbox_run_one_after_the_other),
        cmocka_unit_test(same_user_elsewhere_is_another_mailbox),
        cmocka_unit_test(a_dead_server_stops_all_its_accounts_and_no_others),
        cmocka_unit_test(after_the_pause_one_account_tries_then_all),
        cmocka_unit_test(one_success_opens_a_blocked_server),
        cmocka_unit_test(a_server_not_to_be_trusted_waits_an_hour),
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
