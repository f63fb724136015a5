/* Q46, a cap an address: servers that are found at one place share it, however they are
 * found, and nobody who waits there is forgotten. */
#include "tests/support/scheduler_world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void at(struct world *w, uint32_t server, const char *a, const char *b)
{
    snprintf(w->addresses[server][0], sizeof(w->addresses[server][0]), "%s", a);
    snprintf(w->addresses[server][1], sizeof(w->addresses[server][1]), "%s", b);
}

/* How many begin until nobody can. */
static uint32_t begin_all(struct world *w, uint64_t now, uint32_t running[ACCOUNTS_MAX])
{
    uint32_t count = 0;
    while (world_next(w, now, &running[count]))
        count++;
    return count;
}

static uint32_t count_that_begin(struct world *w)
{
    uint32_t running[ACCOUNTS_MAX];
    world_start(w, SCHEDULER_ONCE);
    uint32_t count = begin_all(w, START, running);
    scheduler_free(w->s);
    return count;
}

static void q46_servers_at_one_address_share_the_lowest_cap(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 30, 4);
    w.servers[1].max_connections = 3;
    at(&w, 1, "192.0.2.1", "");
    at(&w, 2, "192.0.2.1", "");
    assert_int_equal(count_that_begin(&w), 3);
}

static void q46_other_addresses_share_nothing(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 30, 4);
    assert_int_equal(count_that_begin(&w), 12);
}

/* Nobody knows to which of them a session will be connected. */
static void q46_one_address_of_several_is_enough(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 30, 4);
    at(&w, 0, "2001:db8::1", "192.0.2.7");
    at(&w, 1, "192.0.2.7", "");
    at(&w, 2, "2001:db8::1", "");
    world_start(&w, SCHEDULER_ONCE);
    uint32_t running[ACCOUNTS_MAX], count = begin_all(&w, START, running), on[3] = {0};
    for (uint32_t i = 0; i < count; i++)
        on[running[i] % 3]++;
    assert_in_range(on[0] + on[1], 1, 4);
    assert_in_range(on[0] + on[2], 1, 4);
    scheduler_free(w.s);
}

static void q46_an_ipv4_address_in_ipv6_is_the_same(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 20, 4);
    at(&w, 1, "::ffff:192.0.2.1", "");
    assert_int_equal(count_that_begin(&w), 4);
}

static void q46_ports_110_and_995_are_one_server_and_others_are_not(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 20, 4);
    at(&w, 1, "192.0.2.1", "");
    w.servers[1].port = 110;
    assert_int_equal(count_that_begin(&w), 4);
    w.servers[1].port = 1995;
    assert_int_equal(count_that_begin(&w), 8);
}

/* Before anything is known of the second section, which sorts behind it. */
static void q46_equal_hosts_share_the_lowest_cap_from_the_first_session_on(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 2, 20, 4);
    w.servers[1].host = "A";
    w.servers[1].max_connections = 2;
    world_start(&w, SCHEDULER_ONCE);
    uint32_t server = 0, count = 0, account = 0;
    assert_true(scheduler_lookup(w.s, &server));
    struct resolver_answer answer = world_answer("192.0.2.1", "");
    scheduler_located(w.s, 0, &answer, START);
    while (scheduler_next(w.s, START, &account))
        count++;
    assert_int_equal(server, 0);
    assert_int_equal(count, 2);
    scheduler_free(w.s);
}

static void q46_no_session_before_its_server_is_found(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 4, 4);
    world_start(&w, SCHEDULER_ONCE);
    uint32_t account = 0, server = 0;
    assert_false(scheduler_next(w.s, START, &account));
    assert_true(scheduler_lookup(w.s, &server));
    assert_false(scheduler_lookup(w.s, &server));
    assert_false(scheduler_next(w.s, START, &account));
    assert_true(scheduler_wait_ms(w.s, START) == SCHEDULER_FOREVER);
    assert_int_equal(scheduler_waits_for(w.s, 0), SCHEDULER_WAITS_FOR_LOOKUP);
    struct resolver_answer answer = world_answer("192.0.2.1", "2001:db8::1"), got;
    scheduler_located(w.s, server, &answer, START);
    assert_true(scheduler_next(w.s, START, &account));
    (void)scheduler_place(w.s, account, &got);
    assert_int_equal(got.count, 2);
    struct sockaddr_in in;
    memcpy(&in, &got.addresses[0].address, sizeof(in));
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(ntohs(in.sin_port), 995);
    assert_int_equal(ntohl(in.sin_addr.s_addr), 0xc0000201);
    assert_int_equal(got.addresses[1].address.ss_family, AF_INET6);
    scheduler_free(w.s);
}

static void q46_a_host_not_found_is_its_sessions_to_report(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 4, 4);
    at(&w, 0, "", "");
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t account = world_take(&w, now);
    struct resolver_answer got;
    (void)scheduler_place(w.s, account, &got);
    assert_int_not_equal(got.err, 0);
    assert_string_equal(got.text, "as the test has it");
    scheduler_done(w.s, account, &ended_down, now);
    at(&w, 0, "192.0.2.1", "");
    account = world_take(&w, now + HOUR);
    (void)scheduler_place(w.s, account, &got);
    assert_int_equal(got.err, 0);
    scheduler_free(w.s);
}

/* What was begun at the old address counts there, and only there. */
static void q46_a_server_that_moves_leaves_its_sessions_behind(void **state)
{
    (void)state;
    struct world w;
    uint32_t running[ACCOUNTS_MAX];
    world_make(&w, 2, 40, 4);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    assert_int_equal(begin_all(&w, now, running), 8);
    at(&w, 0, "192.0.2.2", "");
    now += HOUR;
    for (uint32_t i = 0; i < 8; i++)
        if (running[i] % 2 == 0)
            scheduler_done(w.s, running[i], &ended_good, now);
    /* Looked up again, the first is where the second has all four. */
    world_take_nothing(&w, now);
    struct site_use use;
    assert_true(scheduler_server_site(w.s, 0, &use));
    assert_int_equal(use.running, 4);
    assert_int_equal(use.servers, 2);
    for (uint32_t i = 0; i < 8; i++)
        if (running[i] % 2 == 1)
            scheduler_done(w.s, running[i], &ended_good, now);
    assert_int_equal(begin_all(&w, now, running), 4);
    scheduler_free(w.s);
}

static void q46_a_low_cap_goes_with_the_server_that_had_it(void **state)
{
    (void)state;
    struct world w;
    uint32_t running[ACCOUNTS_MAX];
    world_make(&w, 2, 40, 4);
    w.servers[1].max_connections = 1;
    at(&w, 1, "192.0.2.1", "");
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    assert_int_equal(begin_all(&w, now, running), 1);
    at(&w, 1, "192.0.2.2", "");
    now += HOUR;
    scheduler_done(w.s, running[0], &ended_good, now);
    assert_int_equal(begin_all(&w, now, running), 5);
    scheduler_free(w.s);
}

/* What it allowed was for its accounts, and there are none: the others are not held back by
 * it, whatever it allows. */
static void q46_a_server_that_a_reload_leaves_without_accounts_is_at_no_address(
    void **state)
{
    (void)state;
    struct world before, after;
    uint32_t running[ACCOUNTS_MAX];
    world_make(&before, 2, 8, 3);
    at(&before, 1, "192.0.2.1", "");
    before.servers[1].max_connections = 1;
    world_start(&before, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    assert_int_equal(begin_all(&before, now, running), 1);
    scheduler_done(before.s, running[0], &ended_good, now);

    world_make(&after, 2, 8, 3);
    at(&after, 1, "192.0.2.1", "");
    after.servers[1].max_connections = 1;
    for (uint32_t i = 0; i < 8; i++)
        after.accounts[i].server = &after.servers[0];
    assert_int_equal(
        scheduler_new(&after.config, NULL, SCHEDULER_SERVICE, 2, now, &after.s), 0);
    assert_int_equal(scheduler_adopt(after.s, before.s, now), 0);
    scheduler_free(before.s);
    assert_int_equal(begin_all(&after, now + MINUTE, running), 3);
    scheduler_free(after.s);
}

static void q46_waiting_servers_take_turns(void **state)
{
    (void)state;
    struct world w;
    uint32_t on[SERVERS_MAX] = {0}, waited = 0;
    world_make(&w, 4, 60, 1);
    for (uint32_t i = 0; i < 4; i++)
        at(&w, i, "192.0.2.1", "");
    /* Four in five on the first. */
    for (uint32_t i = 0; i < 60; i++)
        w.accounts[i].server = &w.servers[i < 48 ? 0 : 1 + i % 3];
    world_start(&w, SCHEDULER_ONCE);
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t account = world_take(&w, START);
        on[w.accounts[account].server - w.servers]++;
        world_take_nothing(&w, START);
        for (uint32_t k = 0; k < 60; k++)
            waited += scheduler_waits_for(w.s, k) == SCHEDULER_WAITS_FOR_ADDRESS;
        scheduler_done(w.s, account, &ended_good, START);
    }
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(on[i], 4);
    assert_true(waited > 0);
    scheduler_free(w.s);
}

/* The first who waits there does not want it any more: it is for the next. */
static void q46_room_is_passed_on_by_who_cannot_use_it(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 3, 1);
    for (uint32_t i = 0; i < 3; i++)
        at(&w, i, "192.0.2.1", "");
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t first = world_take(&w, now);
    world_take_nothing(&w, now);
    scheduler_pause(w.s, (first + 1) % 3, true);
    scheduler_done(w.s, first, &ended_good, now);
    assert_int_equal(world_take(&w, now), (first + 2) % 3);
    scheduler_free(w.s);
}

/* The first who waits there was held back meanwhile. */
static void q46_room_is_not_kept_for_a_server_held_back(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 12, 2);
    for (uint32_t i = 0; i < 3; i++)
        at(&w, i, "192.0.2.1", "");
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t first = world_take(&w, now), second = world_take(&w, now);
    world_take_nothing(&w, now);
    assert_true(first % 3 != second % 3);
    /* The third's turn comes, and the first stands at the head of the row. */
    scheduler_done(w.s, first, &ended_down, now);
    uint32_t third = world_take(&w, now);
    assert_int_equal(third % 3, 3 - first % 3 - second % 3);
    world_take_nothing(&w, now);
    scheduler_done(w.s, second, &ended_good, now);
    assert_int_equal(world_take(&w, now) % 3, second % 3);
    scheduler_free(w.s);
}

/* Three at once, and then the first again and again: so many logins a minute, not more. */
static void q46_logins_at_one_address_keep_a_pace(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3, 3, 1);
    for (uint32_t i = 0; i < 3; i++)
        at(&w, i, "192.0.2.1", "");
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread(), end = now + 10 * MINUTE;
    uint32_t logins = 0, account = 0;
    while (now < end) {
        for (; world_next(&w, now, &account); logins++)
            scheduler_done(w.s, account, &ended_more, now);
        uint64_t wait = scheduler_wait_ms(w.s, now);
        assert_true(wait > 0 && wait <= MINUTE);
        now += wait;
    }
    assert_in_range(logins, 9 * SITES_LOGINS_A_MINUTE,
                    10 * SITES_LOGINS_A_MINUTE + SITES_LOGINS_BURST);
    scheduler_free(w.s);
}

static void q46_poll_is_kept_to_however_many_logins_that_makes(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, ACCOUNTS_MAX, 1);
    for (uint32_t i = 0; i < ACCOUNTS_MAX; i++)
        w.accounts[i].poll_ms = 5 * SECOND;
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = START, end = START + 10 * MINUTE;
    uint32_t logins = 0, account = 0;
    while (now < end) {
        for (; world_next(&w, now, &account); logins++)
            scheduler_done(w.s, account, &ended_good, now);
        now += scheduler_wait_ms(w.s, now);
    }
    assert_in_range(logins, 10 * 12 * ACCOUNTS_MAX * 95 / 100,
                    10 * 12 * ACCOUNTS_MAX * 105 / 100);
    scheduler_free(w.s);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q46_servers_at_one_address_share_the_lowest_cap),
        cmocka_unit_test(q46_other_addresses_share_nothing),
        cmocka_unit_test(q46_one_address_of_several_is_enough),
        cmocka_unit_test(q46_an_ipv4_address_in_ipv6_is_the_same),
        cmocka_unit_test(q46_ports_110_and_995_are_one_server_and_others_are_not),
        cmocka_unit_test(q46_equal_hosts_share_the_lowest_cap_from_the_first_session_on),
        cmocka_unit_test(q46_no_session_before_its_server_is_found),
        cmocka_unit_test(q46_a_host_not_found_is_its_sessions_to_report),
        cmocka_unit_test(q46_a_server_that_moves_leaves_its_sessions_behind),
        cmocka_unit_test(q46_a_low_cap_goes_with_the_server_that_had_it),
        cmocka_unit_test(
            q46_a_server_that_a_reload_leaves_without_accounts_is_at_no_address),
        cmocka_unit_test(q46_waiting_servers_take_turns),
        cmocka_unit_test(q46_room_is_passed_on_by_who_cannot_use_it),
        cmocka_unit_test(q46_room_is_not_kept_for_a_server_held_back),
        cmocka_unit_test(q46_logins_at_one_address_keep_a_pace),
        cmocka_unit_test(q46_poll_is_kept_to_however_many_logins_that_makes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
