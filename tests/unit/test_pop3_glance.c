/* Is the maildrop as it was? workers/pop3_glance.c. */
#include "tests/support/pop3_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define STAT_TWO STEP("STAT", "+OK 2 14\r\n")
#define LAST STEP("UIDL 2", "+OK 2 bb\r\n")
#define LISTED                                                                   \
    STEP("LIST", "+OK\r\n1 7\r\n2 7\r\n.\r\n"), STEP("UIDL", "+OK\r\n1 aa\r\n2 " \
                                                             "bb\r\n.\r\n")
#define DROPPED "the session was dropped"

/* A maildrop of two messages, both known, as it was listed. */
static struct pop3_glance two(void)
{
    return (struct pop3_glance){
        .count = 2, .bytes = 14, .last_uidl = pop3_uidl_sum("bb", 2)};
}

static bool said(const struct play *y, const char *word)
{
    return strstr(y->log.data, word) != NULL;
}

static const struct play *look(struct script script)
{
    const struct pop3_glance glance = two();
    script.glance = &glance;
    script.known = "*";
    return perform(&script);
}

static void assert_unchanged(const struct play *y)
{
    assert_success(y);
    assert_true(said(y, "unchanged"));
    assert_false(said(y, "listing"));
    assert_true(y->stats.quit_accepted);
    assert_false(y->memory.no_glance);
}

static void assert_listed(const struct play *y, const char *listing)
{
    assert_success(y);
    assert_false(said(y, "unchanged"));
    assert_true(said(y, listing));
}

static void an_unchanged_maildrop_is_left_at_once(void **state)
{
    (void)state;
    const struct play *y =
        look((struct script){.steps = {PIPELINED_START, STAT_TWO, LAST, BYE}});
    assert_unchanged(y);
    uint64_t round_trips = y->stats.round_trips;
    assert_unchanged(look((struct script){.steps = {PLAIN_START, STAT_TWO, LAST, BYE}}));
    const struct pop3_glance glance = two();
    const struct script full = {.steps = {PIPELINED_START, TWO, BYE}, .known = "*"};
    assert_int_equal(perform(&full)->stats.round_trips, round_trips);
    const struct script nothing = {.steps = {PIPELINED_START, TWO, BYE},
                                   .known = "*",
                                   .glance = &glance,
                                   .memory = {.no_glance = true}};
    assert_listed(perform(&nothing), "listing 0/2");
}

static const struct pop3_announced pipelining = {
    .known = true, .pipelining = true, .uidl = true};

static void what_was_announced_is_remembered(void **state)
{
    (void)state;
    const struct play *y = look((struct script){
        .steps = {GREETING, CAPA("SASL PLAIN\r\nUTF8\r\n"), STEP("UTF8", "+OK\r\n"),
                  STEP("AUTH PLAIN", "+\r\n"), STEP("AHUAcHc5", "+OK\r\n"), PIPELINING,
                  STAT_TWO, LAST, BYE}});
    assert_unchanged(y);
    const struct pop3_announced all = {true, true, true, true, true};
    assert_memory_equal(&y->memory.announced, &all, sizeof(all));
    y = look((struct script){.steps = {PLAIN_START, STAT_TWO, LAST, BYE}});
    assert_false(y->memory.announced.known);
    y = look((struct script){
        .steps = {GREETING, PIPELINING, LOGIN, NO_CAPA, STAT_TWO, LAST, BYE}});
    assert_false(y->memory.announced.known);
}

static void a_glance_goes_by_what_was_announced_last(void **state)
{
    (void)state;
    const struct play *y =
        look((struct script){.steps = {GREETING, LOGIN, STAT_TWO, LAST, BYE},
                             .memory = {.announced = pipelining, .login_delay_s = 5}});
    assert_unchanged(y);
    assert_int_equal(y->stats.round_trips, 4);
    assert_true(y->memory.announced.known);
    assert_int_equal(y->memory.login_delay_s, 5);
    y = look((struct script){
        .steps = {GREETING, STEP("UTF8", "+OK\r\n"), STEP("AUTH PLAIN", "+\r\n"),
                  STEP("AHUAcHc5", "+OK\r\n"), STEP("STAT", "+OK 3 14\r\n"), LISTED, BYE},
        .memory = {.announced = {.known = true, .sasl_plain = true, .utf8 = true}}});
    assert_listed(y, "listing 0/3");
    y = look((struct script){.steps = {GREETING, CAPA("STLS\r\n"), STEP("STLS", "+OK\r\n"),
                                       LOGIN, STAT_TWO, LAST, BYE},
                             .stls = true,
                             .memory = {.announced = pipelining}});
    assert_success(y);
    assert_true(said(y, "unchanged"));
}

static void a_session_that_lists_asks_again(void **state)
{
    (void)state;
    struct script script = {.steps = {PIPELINED_START, TWO, BYE},
                            .known = "*",
                            .memory = {.announced = {.known = true, .sasl_plain = true}}};
    const struct play *y = perform(&script);
    assert_success(y);
    assert_memory_equal(&y->memory.announced, &pipelining, sizeof(pipelining));
    const struct pop3_glance glance = two();
    script.glance = &glance;
    script.memory.no_glance = true;
    assert_success(perform(&script));
}

static void a_session_that_fails_forgets_what_was_announced(void **state)
{
    (void)state;
    const struct step ends[] = {{"PASS pw9", "-ERR [IN-USE] later\r\n", GO_ON},
                                {"PASS pw9", "", CLOSE}};
    for (size_t i = 0; i < 2; i++) {
        const struct play *y =
            look((struct script){.steps = {GREETING, STEP("USER u", "+OK\r\n"), ends[i]},
                                 .memory = {.announced = pipelining}});
        assert_true(y->outcome.scope != SCOPE_NONE);
        assert_false(y->memory.announced.known);
    }
}

static void the_answer_is_read_as_a_line_of_the_listing(void **state)
{
    (void)state;
    assert_unchanged(look((struct script){
        .steps = {PIPELINED_START, STAT_TWO, STEP("UIDL 2", "+ok  2 \t bb \r\n"), BYE}}));
}

static void an_empty_maildrop_has_no_last_message(void **state)
{
    (void)state;
    const struct pop3_glance glance = {.count = 0};
    const struct script script = {
        .steps = {PIPELINED_START, STEP("STAT", "+OK 0 0\r\n"), BYE}, .glance = &glance};
    assert_unchanged(perform(&script));
}

static void what_has_changed_is_listed_in_the_same_session(void **state)
{
    (void)state;
    static const char *const stats[] = {"+OK 3 14\r\n", "+OK 2 15\r\n", "+OK 2\r\n",
                                        "-ERR not now\r\n", "+OK\r\n"};
    for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
        assert_listed(
            look((struct script){
                .steps = {PIPELINED_START, STEP("STAT", stats[i]), LAST, LISTED, BYE}}),
            "listing 0/");
        assert_listed(look((struct script){
                          .steps = {PLAIN_START, STEP("STAT", stats[i]), LISTED, BYE}}),
                      "listing 0/");
    }
    const struct play *y = look((struct script){
        .steps = {PIPELINED_START, STAT_TWO, STEP("UIDL 2", "+OK 2 cc\r\n"), LISTED, BYE}});
    assert_listed(y, "listing 0/2 wanted, trusted");
    assert_false(y->memory.no_glance); /* whether it was a lie is not known here */
}

static void fewer_messages_are_no_fault_of_the_server(void **state)
{
    (void)state;
    const struct play *y =
        look((struct script){.steps = {PIPELINED_START, STEP("STAT", "+OK 1 7\r\n"),
                                       STEP("UIDL 2", "-ERR no such message\r\n"),
                                       STEP("LIST", "+OK\r\n1 7\r\n.\r\n"),
                                       STEP("UIDL", "+OK\r\n1 aa\r\n.\r\n"), BYE}});
    assert_listed(y, "listing 0/1 wanted, trusted");
    assert_false(y->memory.no_glance);
}

static void q12_a_refusal_is_not_asked_for_again(void **state)
{
    (void)state;
    const struct play *y =
        look((struct script){.steps = {PIPELINED_START, STAT_TWO,
                                       STEP("UIDL 2", "-ERR what?\r\n"), LISTED, BYE}});
    assert_listed(y, "listing 0/2 wanted, trusted");
    assert_true(y->memory.no_glance);
}

static void q12_an_answer_that_is_none_ends_the_session_and_glances(void **state)
{
    (void)state;
    static const char *const answers[] = {"+OK\r\n",
                                          "+OK bb\r\n",
                                          "+OK 1 aa\r\n",
                                          "+OK 2\r\n",
                                          "+OK 2 \r\n",
                                          "+OK 2bb\r\n",
                                          "+OK 99999999999999999999999 bb\r\n"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const struct play *y = look((struct script){
            .steps = {PIPELINED_START, STAT_TWO, STEP("UIDL 2", answers[i])}});
        assert_outcome(y, SCOPE_MAILBOX, RETRY_NOW,
                       "otherwise than with that message's ID");
        assert_true(y->memory.no_glance);
        assert_false(said(y, "unchanged"));
    }
}

static void q12_what_is_left_of_an_answer_is_not_held_against_pipelining(void **state)
{
    (void)state;
    static const char *const answers[] = {"+OK 2 bb\r\n.\r\n", "+OK 2 cc\r\n.\r\n",
                                          "2 bb\r\n"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        static struct play y;
        const struct pop3_glance glance = two();
        const struct script script = {
            .steps = {PIPELINED_START, STAT_TWO, STEP("UIDL 2", answers[i])},
            .glance = &glance,
            .known = "*"};
        play(&y, &script, SIZE_MAX, 0);
        assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, DROPPED);
        assert_true(y.memory.no_glance);
        assert_false(y.memory.window_one);
    }
}

static void a_server_that_closes_or_hangs_is_not_asked_again(void **state)
{
    (void)state;
    const struct step ends[] = {{"UIDL 2", "", CLOSE}, {"UIDL 2", "", HANG}};
    for (size_t i = 0; i < 2; i++) {
        const struct play *y =
            look((struct script){.steps = {PIPELINED_START, STAT_TWO, ends[i]}});
        assert_int_equal(y->outcome.scope, SCOPE_MAILBOX);
        assert_int_equal(y->outcome.retry, RETRY_BACKOFF);
        assert_true(y->memory.no_glance);
        assert_false(y->memory.window_one);
    }
}

/* Later in the session it has nothing to do with the glance. */
static void a_message_that_breaks_its_session_does_not_count_against_it(void **state)
{
    (void)state;
    const struct pop3_glance glance = two();
    const struct script script = {.steps = {PIPELINED_START,
                                            STEP("STAT", "+OK 2 15\r\n"),
                                            LAST,
                                            LISTED,
                                            {"RETR 1", "", CLOSE}},
                                  .glance = &glance};
    const struct play *y = perform(&script);
    assert_int_equal(y->outcome.scope, SCOPE_MAILBOX);
    assert_false(y->memory.no_glance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_maildrop_is_left_at_once),
        cmocka_unit_test(what_was_announced_is_remembered),
        cmocka_unit_test(a_glance_goes_by_what_was_announced_last),
        cmocka_unit_test(a_session_that_lists_asks_again),
        cmocka_unit_test(a_session_that_fails_forgets_what_was_announced),
        cmocka_unit_test(the_answer_is_read_as_a_line_of_the_listing),
        cmocka_unit_test(an_empty_maildrop_has_no_last_message),
        cmocka_unit_test(what_has_changed_is_listed_in_the_same_session),
        cmocka_unit_test(fewer_messages_are_no_fault_of_the_server),
        cmocka_unit_test(q12_a_refusal_is_not_asked_for_again),
        cmocka_unit_test(q12_an_answer_that_is_none_ends_the_session_and_glances),
        cmocka_unit_test(q12_what_is_left_of_an_answer_is_not_held_against_pipelining),
        cmocka_unit_test(a_server_that_closes_or_hangs_is_not_asked_again),
        cmocka_unit_test(a_message_that_breaks_its_session_does_not_count_against_it),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
