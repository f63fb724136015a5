/* Listings and messages, and what servers make of them. */
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

/* Listings. */

static void q1_uidl_is_probed_though_not_announced(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("USER\r\n"), LOGIN, CAPA("TOP\r\n"),
                  STEP("STAT", "+OK 1 7\r\n"), STEP("LIST", "+OK\r\n1 7\r\n.\r\n"),
                  STEP("UIDL", "-ERR what?\r\n"), STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP,
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "listing 1/1 wanted, the server has no UIDL"));
}

static void three_messages(struct pop3_limits *l)
{
    l->messages_max = 3;
}

static void q1_a_mailbox_without_uidl_advances_in_slices(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 4 4\r\n"),
                  STEP("LIST", "+OK\r\n1 1\r\n2 1\r\n3 1\r\n4 1\r\n.\r\n"),
                  STEP("UIDL", "-ERR\r\n"), STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  STEP("RETR 2", "+OK\r\nx\r\n.\r\n"), STEP("RETR 3", "+OK\r\nx\r\n.\r\n"),
                  NOOP, BYE},
        .limit = three_messages,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_true(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 4);

    struct script next = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 4 4\r\n"),
                  STEP("LIST", "+OK\r\n1 1\r\n2 1\r\n3 1\r\n4 1\r\n.\r\n"),
                  STEP("UIDL", "-ERR\r\n"), STEP("RETR 4", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .limit = three_messages,
        .memory = {.blank_from = 4},
    };
    y = perform(&next);
    assert_success(y);
    assert_false(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 0);
}

static void q2_uidl_announced_and_refused_is_temporary(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START, STEP("STAT", "+OK 1 7\r\n"),
                  STEP("LIST", "+OK\r\n1 7\r\n.\r\n"), STEP("UIDL", "-ERR later\r\n"), BYE},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "later");
    assert_false(y->surprised);
    assert_string_equal(y->log.data, "");
}

static void q14_a_listing_cut_off_is_discarded(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  STEP("STAT", "+OK 2 7\r\n"),
                  STEP("LIST", "+OK\r\n1 7\r\n2 7\r\n.\r\n"),
                  {"UIDL", "+OK\r\n1 a\r\n", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "listing");
    assert_string_equal(y->log.data, "");
    script.steps[6].after = HANG;
    assert_outcome(perform(&script), SCOPE_MAILBOX, RETRY_BACKOFF, "in time");
}

static void stat_and_list_may_be_refused(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, STEP("STAT", "-ERR\r\n"), STEP("LIST", "-ERR\r\n"),
                  STEP("UIDL", "+OK\r\n1 a\r\n.\r\n"), STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  NOOP, BYE},
    };
    assert_success(perform(&script));
}

static void few_bytes(struct pop3_limits *l)
{
    l->listing.bytes_max = 20;
}

static void a_listing_flood_drops_the_session(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 9 9\r\n"),
                  STEP("LIST", "+OK\r\n1 7\r\n2 7\r\n3 7\r\n4 7\r\n5 7\r\n")},
        .limit = few_bytes,
    };
    assert_outcome(perform(&script), SCOPE_MAILBOX, RETRY_BACKOFF, "20 bytes");
}

/* Messages. */

static void q20_kept_dots_are_reported(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\n.a\r\n..b\r\n.\r\n"), NOOP, BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "[.a\r\n.b\r\n] end 1 flags 2"));
    assert_int_equal(y->stats.dots_kept, 1);
}

static void q21_a_lone_dot_in_a_body_makes_the_message_suspect(void **state)
{
    (void)state;
    const char *cut = "+OK\r\nfirst\r\n.\r\nrest\r\n.\r\n";
    const struct script last = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", cut), STEP("NOOP", "")}};
    static struct play y;
    play(&y, &last, 1, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "no reply");
    assert_non_null(strstr(y.log.data, "[first\r\n] discard 1 suspect"));
    assert_null(strstr(y.log.data, "end 1"));
    play(&y, &last, SIZE_MAX, 0);
    assert_non_null(strstr(y.log.data, "[first\r\n] discard 1 suspect"));

    const struct script piped = {
        .steps = {PIPELINED_START, TWO, STEP("RETR 1", "+OK\r\nabcde\r\n.\r\n"),
                  STEP("RETR 2", cut), NOOP},
    };
    const struct play *z = perform(&piped);
    assert_outcome(z, SCOPE_MAILBOX, RETRY_BACKOFF, "no reply");
    assert_true(z->memory.window_one);
    assert_non_null(strstr(z->log.data, "end 1"));
    assert_non_null(strstr(z->log.data, "discard 2 suspect"));
}

static void q24_a_server_of_bare_lf_is_understood(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {STEP("", "+OK\n"), STEP("CAPA", "-ERR\n"), STEP("USER u", "+OK\n"),
                  STEP("PASS pw9", "+OK\n"), STEP("STAT", "+OK 1 3\n"),
                  STEP("LIST", "+OK\n1 3\n.\n"), STEP("UIDL", "+OK\n1 a\n.\n"),
                  STEP("RETR 1", "+OK\n..x\ny\n.\n"), STEP("NOOP", "+OK\n"),
                  STEP("QUIT", "+OK\n")},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "[.x\ny\n] end 1 flags 0"));
}

static void q23_a_body_without_line_end_before_the_dot_times_out(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nabc.\r\n", HANG}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "in time");
    assert_non_null(strstr(y->log.data, "discard 1 timeout"));
}

static void q28_a_refused_message_is_recorded_and_passed_over(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "-ERR [SYS/PERM] gone\r\n"),
                  STEP("RETR 2", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "refused 1 for good: [SYS/PERM] gone\nbegin 2"));
    assert_int_equal(y->stats.refused, 1);
}

static void q29_no_answer_blames_the_right_message(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START,
                  TWO,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  {"RETR 2", "", HANG}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "RETR");
    assert_non_null(strstr(y->log.data, "discard 1 unproven\n] discard 2 no-answer"));
}

static void q29_a_careful_session_proves_each_message_first(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PIPELINED_START,
                  TWO,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  NOOP,
                  {"RETR 2", "", CLOSE}},
        .careful = true,
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "RETR");
    assert_non_null(strstr(y->log.data, "end 1 "));
    assert_non_null(strstr(y->log.data, "discard 2 no-answer"));
    /* It is the first one that makes the server close. */
    script.steps[9] = (struct step){"NOOP", "", CLOSE};
    y = perform(&script);
    assert_non_null(strstr(y->log.data, "discard 1 unproven"));
    assert_null(strstr(y->log.data, "discard 2"));
    script.steps[9] = NOOP;
    script.steps[10] = STEP("RETR 2", "+OK\r\ny\r\n.\r\n");
    script.steps[11] = NOOP;
    script.steps[12] = BYE;
    y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.messages, 2);
}

static void q30_a_close_within_a_body_discards_it(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nabc\r\n.", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "closed the connection");
    assert_non_null(strstr(y->log.data, "discard 1 cut"));
}

static void q31_far_too_short_is_flagged(void **state)
{
    (void)state;
    const struct script listed = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 1 9000\r\n"),
                  STEP("LIST", "+OK\r\n1 9000\r\n.\r\n"),
                  STEP("UIDL", "+OK\r\n1 a\r\n.\r\n"), STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  NOOP, BYE},
    };
    const struct play *y = perform(&listed);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "end 1 flags 1"));
    assert_int_equal(y->stats.short_messages, 1);
    const struct script octets = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK 9000 octets\r\nx\r\n.\r\n"), NOOP,
                  BYE},
    };
    assert_non_null(strstr(perform(&octets)->log.data, "end 1 flags 1"));
}

static void q16_a_little_too_short_is_not(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, STEP("STAT", "+OK 1 2000\r\n"),
                  STEP("LIST", "+OK\r\n1 2000\r\n.\r\n"),
                  STEP("UIDL", "+OK\r\n1 a\r\n.\r\n"),
                  STEP("RETR 1", "+OK 2000 octets\r\nx\r\n.\r\n"), NOOP, BYE},
    };
    assert_non_null(strstr(perform(&script)->log.data, "end 1 flags 0"));
}

static void q35_quit_waits_until_all_is_durable(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_int_equal(pop3_state(y.pop3), POP3_DURABLE);
    assert_null(strstr(y.sent.data, "QUIT"));
    pop3_durable(y.pop3, y.now);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
}

static void q35_abandoned_leaves_without_quit(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    pop3_abandon(y.pop3, "The disk is full.");
    play_serve(&y);
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_outcome(&y, SCOPE_PROCESS, RETRY_BACKOFF, "disk");
    assert_null(strstr(y.sent.data, "QUIT"));
}

static void q41_an_err_nobody_asked_for_is_a_goodbye(void **state)
{
    (void)state;
    const struct script waiting = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  STEP("NOOP", "+OK\r\n-ERR autologout\r\n")},
        .hold = true,
    };
    static struct play y;
    play(&y, &waiting, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "autologout");
    assert_int_equal(y.stats.messages, 1);
    const struct script retr = {
        .steps = {PLAIN_START,
                  TWO,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  {"RETR 2", "-ERR shutting down\r\n", CLOSE}},
    };
    const struct play *z = perform(&retr);
    assert_outcome(z, SCOPE_MAILBOX, RETRY_BACKOFF, "shutting down");
    assert_null(strstr(z->log.data, "refused"));
    assert_null(strstr(z->log.data, "discard 2"));
    assert_int_equal(z->stats.messages, 1);
}

static void three_refusals(struct pop3_limits *l)
{
    l->refusals_max = 3;
}

static void q43_a_server_that_refuses_all_is_left_alone(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 9, 3, "-ERR download exceeded\r\n");
    g.script.limit = three_refusals;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "download exceeded");
    assert_false(y.surprised);
    assert_true(y.stats.quit_answered);
    assert_true(y.outcome.more);
}

static void q45_the_days_bytes_end_a_session_in_order(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 2, "+OK\r\nx\r\n.\r\n");
    g.script.day = (struct pop3_day){.whole = 10, .left = 7, .wait_s = 7200};
    const struct play *y = perform(&g.script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "daily-bytes");
    assert_int_equal(y->outcome.delay_s, 7200);
    assert_true(y->outcome.more);
    assert_int_equal(y->stats.messages, 2);
    assert_true(y->stats.quit_answered);

    generate(&g, 5, 5, "+OK\r\nx\r\n.\r\n");
    g.script.day = (struct pop3_day){.whole = 15, .left = 15};
    assert_success(perform(&g.script));
}

static void q45_a_message_of_more_than_a_day_takes_a_whole_one(void **state)
{
    (void)state;
    const struct script fresh = {
        .steps = {PLAIN_START, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .day = {.whole = 5, .left = 5},
    };
    assert_success(perform(&fresh));
    const struct script begun = {
        .steps = {PLAIN_START, ONE, BYE},
        .day = {.whole = 5, .left = 4, .wait_s = 1},
    };
    assert_outcome(perform(&begun), SCOPE_MAILBOX, RETRY_BACKOFF, "daily-bytes");
}

static void q45_sizes_that_are_too_small_do_not_help(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("RETR 1", "+OK\r\n34567890123456789\r\n.\r\n"),
                  NOOP, BYE},
        .day = {.whole = 20, .left = 20, .wait_s = 1},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "daily-bytes");
    assert_int_equal(y->stats.messages, 1);
}

static void q55_q58_a_lost_quit_reply_does_no_harm(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  ONE,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"),
                  NOOP,
                  {"QUIT", "", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_false(y->stats.quit_answered);
    script.steps[9].after = HANG;
    assert_success(perform(&script));
}

static void ten_bytes(struct pop3_limits *l)
{
    l->message_max = 10;
}

static void small_floor(struct pop3_limits *l)
{
    l->body_floor = 5;
    l->body_slack = 1;
}

static void an_endless_message_is_stopped_at_its_limit(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\n0123456789abcdefgh\r\n", HANG}},
        .limit = ten_bytes,
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MESSAGE, RETRY_NEVER, "10 bytes");
    assert_non_null(strstr(y->log.data, "[0123456789] discard 1 oversized"));
    assert_true(y->outcome.more);
    script.limit = small_floor; /* 2 x 7 + 1 */
    assert_non_null(
        strstr(perform(&script)->log.data, "[0123456789abcde] discard 1 oversized"));
    script.steps[7].reply = "+OK\r\n01234567\r\n.\r\n";
    script.steps[7].after = GO_ON;
    script.steps[8] = NOOP;
    script.steps[9] = BYE;
    script.limit = ten_bytes;
    assert_success(perform(&script));
}

/* Nobody could tell it the next time. It would be fetched again at once, for ever. */
static void an_endless_message_without_an_id_is_passed_by(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  STEP("STAT", "+OK 2 2\r\n"),
                  STEP("LIST", "+OK\r\n1 1\r\n2 1\r\n.\r\n"),
                  STEP("UIDL", "-ERR\r\n"),
                  {"RETR 1", "+OK\r\n0123456789abcdefgh\r\n", HANG}},
        .limit = ten_bytes,
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MESSAGE, RETRY_NEVER, "10 bytes");
    assert_true(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 2);
    script.memory.blank_from = 2;
    script.steps[7].command = "RETR 2";
    y = perform(&script);
    assert_outcome(y, SCOPE_MESSAGE, RETRY_NEVER, "10 bytes");
    assert_false(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 0);
}

static void an_endless_status_line_drops_the_session(void **state)
{
    (void)state;
    static char line[8300];
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "+OK ", 4);
    const struct script greeting = {.steps = {STEP("", line)}};
    assert_outcome(perform(&greeting), SCOPE_SERVER, RETRY_BACKOFF, "8192 bytes");
    const struct script retr = {.steps = {PLAIN_START, ONE, STEP("RETR 1", line)}};
    assert_outcome(perform(&retr), SCOPE_MAILBOX, RETRY_BACKOFF, "8192 bytes");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(q1_uidl_is_probed_though_not_announced),
        cmocka_unit_test(q1_a_mailbox_without_uidl_advances_in_slices),
        cmocka_unit_test(q2_uidl_announced_and_refused_is_temporary),
        cmocka_unit_test(q14_a_listing_cut_off_is_discarded),
        cmocka_unit_test(stat_and_list_may_be_refused),
        cmocka_unit_test(a_listing_flood_drops_the_session),
        cmocka_unit_test(q20_kept_dots_are_reported),
        cmocka_unit_test(q21_a_lone_dot_in_a_body_makes_the_message_suspect),
        cmocka_unit_test(q24_a_server_of_bare_lf_is_understood),
        cmocka_unit_test(q23_a_body_without_line_end_before_the_dot_times_out),
        cmocka_unit_test(q28_a_refused_message_is_recorded_and_passed_over),
        cmocka_unit_test(q29_no_answer_blames_the_right_message),
        cmocka_unit_test(q29_a_careful_session_proves_each_message_first),
        cmocka_unit_test(q30_a_close_within_a_body_discards_it),
        cmocka_unit_test(q31_far_too_short_is_flagged),
        cmocka_unit_test(q16_a_little_too_short_is_not),
        cmocka_unit_test(q35_quit_waits_until_all_is_durable),
        cmocka_unit_test(q35_abandoned_leaves_without_quit),
        cmocka_unit_test(q41_an_err_nobody_asked_for_is_a_goodbye),
        cmocka_unit_test(q43_a_server_that_refuses_all_is_left_alone),
        cmocka_unit_test(q45_the_days_bytes_end_a_session_in_order),
        cmocka_unit_test(q45_a_message_of_more_than_a_day_takes_a_whole_one),
        cmocka_unit_test(q45_sizes_that_are_too_small_do_not_help),
        cmocka_unit_test(q55_q58_a_lost_quit_reply_does_no_harm),
        cmocka_unit_test(an_endless_message_is_stopped_at_its_limit),
        cmocka_unit_test(an_endless_message_without_an_id_is_passed_by),
        cmocka_unit_test(an_endless_status_line_drops_the_session),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
