/* The session from greeting to QUIT: order, pipelining, pauses, time. */
#include "archive/error.h"
#include "tests/support/pop3_script.h"
#include "workers/pop3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The session. */

static void a_mailbox_is_fetched_message_by_message(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "+OK 7 octets\r\n..one\r\n.\r\n"),
                  STEP("RETR 2", "+OK\r\ntwo\r\n\r\n.\r\n"), NOOP, BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_string_equal(y->log.data, "listing 2/2 wanted, trusted\n"
                                     "begin 1 octets 7 [.one\r\n] end 1 flags 0\n"
                                     "begin 2 octets -1 [two\r\n\r\n] end 2 flags 0\n"
                                     "all\n");
    assert_int_equal(y->stats.messages, 2);
    assert_int_equal(y->stats.body_bytes, 13);
    assert_int_equal(y->stats.dots_removed, 1);
    assert_int_equal(y->stats.window, 0);
    assert_true(y->stats.quit_answered);
    assert_false(y->outcome.more);
}

static void what_is_archived_is_not_fetched(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 2", "+OK\r\ntwo\r\n.\r\n"), NOOP, BYE},
        .known = "aa",
    };
    assert_success(perform(&script));
}

static void an_empty_mailbox_is_left_at_once(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 0 0\r\n"), STEP("LIST", "+OK\r\n.\r\n"),
                  STEP("UIDL", "+OK\r\n.\r\n"), BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_string_equal(y->log.data, "listing 0/0 wanted, trusted\nall\n");
}

static void pipelining_saves_round_trips(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 5, "+OK\r\nx\r\n.\r\n");
    const struct play *y = perform(&g.script);
    assert_success(y);
    /* CAPA, USER, PASS, CAPA and the listing, a message, the others with the NOOP, QUIT. */
    assert_int_equal(y->stats.round_trips, 7);
    assert_int_equal(y->stats.commands, 14);
    assert_int_equal(y->stats.window, 4);

    g.script.memory.window_one = true;
    y = perform(&g.script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, 14);
    assert_int_equal(y->stats.window, 0);
}

static void pipelining_counts_only_where_it_is_announced(void **state)
{
    (void)state;
    struct script script = {
        .steps = {GREETING, CAPA("UIDL\r\n"), LOGIN, PIPELINING, TWO,
                  STEP("RETR 1", "+OK\r\none\r\n.\r\n"),
                  STEP("RETR 2", "+OK\r\ntwo\r\n.\r\n"), NOOP, BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, y->stats.commands - 3); /* listing, end */
    script.steps[1] = PIPELINING;
    script.steps[4] = CAPA("UIDL\r\n");
    y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, y->stats.commands - 3); /* with CAPA */
    assert_int_equal(y->stats.window, 0);
    assert_false(y->memory.window_one);
}

/* RFC 2449, 6.6: it is announced in both states or in neither. */
static void a_server_that_takes_pipelining_back_and_is_stuck_is_marked(void **state)
{
    (void)state;
    const struct step ends[] = {
        {"STAT", "", HANG}, {"STAT", "", CLOSE}, {"LIST", "", HANG}};
    for (size_t i = 0; i < 3; i++) {
        struct script script = {.steps = {GREETING, PIPELINING, LOGIN, CAPA("UIDL\r\n")}};
        if (i == 2)
            script.steps[5] = STEP("STAT", "+OK 1 7\r\n");
        script.steps[i == 2 ? 6 : 5] = ends[i];
        const struct play *y = perform(&script);
        assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "listing");
        assert_true(y->memory.window_one);
        script.steps[4] = PIPELINING;
        assert_false(perform(&script)->memory.window_one);
    }
}

static void narrow_start(struct pop3_limits *l)
{
    l->window_start = 4;
}

static void the_window_opens_wide_and_grows(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 44, 44, "+OK\r\nx\r\n.\r\n");
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.messages, 44);
    assert_int_equal(y.stats.window, 32);
    assert_true(y.stats.round_trips < 12);
    g.script.limit = narrow_start;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 16);
}

static void eight_bytes(struct pop3_limits *l)
{
    l->window_bytes = 8;
}

static void twenty_bytes(struct pop3_limits *l)
{
    l->window_bytes = 20;
}

/* Of messages of 3 bytes. */
static void the_window_is_narrow_for_large_messages(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 44, 44, "+OK\r\nx\r\n.\r\n");
    g.script.limit = twenty_bytes;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 7);
    g.script.limit = eight_bytes; /* of which a message takes a quarter at most */
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 4);
    /* Refused ones do not count on. */
    generate(&g, 14, 14, "-ERR [SYS/PERM] gone\r\n");
    g.script.steps[8].reply = "+OK\r\nx\r\n.\r\n";
    g.script.limit = twenty_bytes;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 7);
}

static void narrow_window(struct pop3_limits *l)
{
    l->window_max = 2;
}

static void few_unanswered(struct pop3_limits *l)
{
    l->unanswered_max = 40;
}

static void the_window_keeps_its_maximum_and_its_bytes(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 20, 20, "+OK\r\nx\r\n.\r\n");
    g.script.limit = narrow_window;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 2);
    g.script.limit = few_unanswered;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 3);
}

static void three_messages(struct pop3_limits *l)
{
    l->messages_max = 3;
}

static void a_session_ends_after_its_share_of_messages(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 3, "+OK\r\nx\r\n.\r\n");
    g.script.limit = three_messages;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_true(y->outcome.more);
}

/* Or a maildrop of 500,000 would be listed 1,000 times until all of it is there. */
static void of_a_deep_maildrop_a_session_takes_an_eighth(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 47, 5, "+OK\r\nx\r\n.\r\n");
    g.script.limit = three_messages;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_true(y->outcome.more);
}

static void a_refused_message_makes_room_for_another(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 4, "+OK\r\nx\r\n.\r\n");
    struct step *s = g.script.steps;
    while (strcmp(s->command, "RETR 1") != 0)
        s++;
    s[1].reply = "-ERR gone\r\n";
    s[4] = s[3]; /* RETR 4 goes out behind the NOOP, which then must be sent again */
    s[3] = NOOP;
    s[5] = NOOP;
    s[6] = BYE;
    g.script.limit = three_messages;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_int_equal(y->stats.messages, 3);
}

static void no_time(struct pop3_limits *l)
{
    l->fetch_ms = 0;
}

static void a_session_ends_after_its_share_of_time(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 1, "+OK\r\nx\r\n.\r\n");
    g.script.limit = no_time;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_int_equal(y->stats.messages, 1);
    assert_true(y->outcome.more);
}

/* Its listing alone took longer than that: without a message it would come back at once, to
 * list again, for ever. */
static void a_slow_listing_takes_no_time_from_the_messages(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "+OK\r\none\r\n.\r\n"),
                  STEP("RETR 2", "+OK\r\ntwo\r\n.\r\n"), NOOP, BYE},
    };
    play_open(&y, &script);
    while (play_feed(&y, 1, 0))
        if (pop3_state(y.pop3) == POP3_LISTING)
            y.now += POP3_FETCH_MS / 20;
    play_close(&y);
    assert_success(&y);
    assert_int_equal(y.stats.messages, 2);
    assert_false(y.outcome.more);
}

/* Pauses and time. */

static void a_pause_loses_nothing(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START, TWO, STEP("RETR 1", "+OK\r\none\r\n.\r\n"),
                  STEP("RETR 2", "+OK\r\ntwo\r\n.\r\n"), NOOP, BYE},
        .pause_at_begin = true,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.messages, 2);
}

static void while_paused_no_reply_is_read_and_a_noop_may_go(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "+OK\r\none\r\n.\r\n")},
    };
    static struct play y;
    play_open(&y, &script);
    while (pop3_state(y.pop3) != POP3_FETCH)
        assert_true(play_feed(&y, SIZE_MAX, 0));
    play_serve(&y);
    assert_false(pop3_keepalive(y.pop3, y.now));
    pop3_pause(y.pop3);
    assert_int_equal(pop3_input(y.pop3, y.now, "+OK\r\n", 5), 0);
    assert_int_equal(pop3_deadline(y.pop3), POP3_NO_DEADLINE);
    assert_false(pop3_keepalive(y.pop3, y.now)); /* a reply is due */
    pop3_resume(y.pop3, y.now + 1000000);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 1000000 + POP3_REPLY_MS);
    pop3_abandon(y.pop3, "over");
    play_close(&y);
}

static void the_wait_for_the_disk_is_kept_alive(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, NOOP, BYE},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_keepalive(y.pop3, y.now));
    assert_false(pop3_keepalive(y.pop3, y.now));
    pop3_durable(y.pop3, y.now); /* QUIT goes alone: after the NOOP's reply */
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
}

static void finish_leaves_in_order(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
    };
    static struct play y;
    play_open(&y, &script);
    while (pop3_state(y.pop3) != POP3_FETCH)
        assert_true(play_feed(&y, SIZE_MAX, 0));
    pop3_finish(y.pop3);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
    assert_true(y.outcome.more);
}

static void open_fetch(struct play *y)
{
    static struct script script;
    script = (struct script){
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nabc\r\n")},
    };
    play_open(y, &script);
    while (play_feed(y, SIZE_MAX, 0))
        ;
    assert_int_equal(pop3_state(y->pop3), POP3_FETCH);
}

static void silence_ends_a_session_after_60_s(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 60000);
    pop3_timeout(y.pop3, y.now + 59999);
    assert_false(pop3_done(y.pop3));
    pop3_timeout(y.pop3, y.now + 60000);
    assert_true(pop3_done(y.pop3));
    play_close(&y);
}

static void a_slow_drip_ends_a_session(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    uint64_t start = y.now;
    while (!pop3_done(y.pop3) && y.now < start + 200000) {
        y.now += 10000;
        if (pop3_deadline(y.pop3) <= y.now)
            pop3_timeout(y.pop3, y.now);
        else
            pop3_input(y.pop3, y.now, "x", 1);
    }
    assert_int_equal(y.now, start + 60000);
    play_close(&y);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "slowly");
}

static void a_steady_flow_ends_after_2_h_only(void **state)
{
    (void)state;
    static struct play y;
    static const char line[] =
        "0123456789012345678901234567890123456789012345678901234567890\r\n";
    char chunk[2048];
    for (size_t i = 0; i < sizeof(chunk); i++)
        chunk[i] = line[i % (sizeof(line) - 1)];
    open_fetch(&y);
    uint64_t start = y.now;
    while (!pop3_done(y.pop3)) {
        y.log.size = 0;
        y.now += 30000;
        if (pop3_deadline(y.pop3) <= y.now)
            pop3_timeout(y.pop3, y.now);
        if (!pop3_done(y.pop3))
            pop3_input(y.pop3, y.now, chunk, sizeof(chunk));
    }
    assert_int_equal(y.now, start + 2 * 60 * 60 * 1000);
    play_close(&y);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "longer than allowed");
}

static void limits_stand_still_while_nobody_listens(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    pop3_idle(y.pop3, y.now + 10000);
    assert_int_equal(pop3_deadline(y.pop3), POP3_NO_DEADLINE);
    pop3_timeout(y.pop3, y.now + 500000);
    assert_false(pop3_done(y.pop3));
    pop3_active(y.pop3, y.now + 510000);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 500000 + 60000);
    pop3_abandon(y.pop3, "over");
    play_close(&y);
    assert_non_null(strstr(y.log.data, "discard 1 abandoned"));
}

static void output_is_taken_in_pieces_and_wiped(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {.steps = {GREETING}};
    play_open(&y, &script);
    pop3_input(y.pop3, y.now, "+OK\r\n", 5);
    const char *data;
    assert_int_equal(pop3_output(y.pop3, &data), 6);
    assert_memory_equal(data, "CAPA\r\n", 6);
    pop3_output_consume(y.pop3, 4);
    assert_int_equal(pop3_output(y.pop3, &data), 2);
    assert_memory_equal(data, "\r\n", 2);
    pop3_input(y.pop3, y.now, "+", 1); /* the command has not left yet */
    assert_true(pop3_done(y.pop3));
    assert_int_equal(pop3_output(y.pop3, &data), 0);
    play_close(&y);
}

static void slow_but_complete_replies_are_no_drip(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {.steps = {PLAIN_START, ONE, STEP("RETR 1", "")}};
    play_open(&y, &script);
    while (play_feed(&y, SIZE_MAX, 0)) {
        y.now += 40000;
        pop3_timeout(y.pop3, y.now);
    }
    assert_int_equal(pop3_state(y.pop3), POP3_FETCH);
    play_close(&y);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mailbox_is_fetched_message_by_message),
        cmocka_unit_test(what_is_archived_is_not_fetched),
        cmocka_unit_test(an_empty_mailbox_is_left_at_once),
        cmocka_unit_test(pipelining_saves_round_trips),
        cmocka_unit_test(pipelining_counts_only_where_it_is_announced),
        cmocka_unit_test(a_server_that_takes_pipelining_back_and_is_stuck_is_marked),
        cmocka_unit_test(the_window_opens_wide_and_grows),
        cmocka_unit_test(the_window_is_narrow_for_large_messages),
        cmocka_unit_test(the_window_keeps_its_maximum_and_its_bytes),
        cmocka_unit_test(a_session_ends_after_its_share_of_messages),
        cmocka_unit_test(of_a_deep_maildrop_a_session_takes_an_eighth),
        cmocka_unit_test(a_refused_message_makes_room_for_another),
        cmocka_unit_test(a_session_ends_after_its_share_of_time),
        cmocka_unit_test(a_slow_listing_takes_no_time_from_the_messages),
        cmocka_unit_test(a_pause_loses_nothing),
        cmocka_unit_test(while_paused_no_reply_is_read_and_a_noop_may_go),
        cmocka_unit_test(the_wait_for_the_disk_is_kept_alive),
        cmocka_unit_test(finish_leaves_in_order),
        cmocka_unit_test(silence_ends_a_session_after_60_s),
        cmocka_unit_test(a_slow_drip_ends_a_session),
        cmocka_unit_test(a_steady_flow_ends_after_2_h_only),
        cmocka_unit_test(limits_stand_still_while_nobody_listens),
        cmocka_unit_test(output_is_taken_in_pieces_and_wiped),
        cmocka_unit_test(slow_but_complete_replies_are_no_drip),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
