/* Which reply belongs to which RETR, with several under way: workers/pop3_sync.c. */
#include "tests/support/pop3_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Three messages, of 7, 20 and 7 bytes as listed. */
#define THREE                                                                         \
    STEP("STAT", "+OK 3 34\r\n"), STEP("LIST", "+OK\r\n1 7\r\n2 20\r\n3 7\r\n.\r\n"), \
        STEP("UIDL", "+OK\r\n1 aa\r\n2 bb\r\n3 cc\r\n.\r\n")
#define SEVEN "abcde\r\n.\r\n"
#define TWENTY "abcdefghijklmnopqr\r\n.\r\n"
#define SHORT "a\r\n.\r\n"
#define CUT "abc\r\n.\r\n"

static const struct play *retrieve(const char *first, const char *second, const char *third)
{
    const struct script script = {
        .steps = {PIPELINED_START, THREE, STEP("RETR 1", first), STEP("RETR 2", second),
                  STEP("RETR 3", third), NOOP, BYE},
    };
    return perform(&script);
}

static void assert_ended(const struct play *y, const char *text, const char *suspect)
{
    assert_int_equal(y->outcome.scope, SCOPE_MAILBOX);
    assert_int_equal(y->outcome.retry, RETRY_BACKOFF);
    assert_non_null(strstr(y->outcome.text, text));
    assert_non_null(strstr(y->log.data, suspect));
}

static void q21_sizes_that_were_exact_tell_of_an_early_end(void **state)
{
    (void)state;
    const struct play *y = retrieve("+OK\r\n" SEVEN, "+OK\r\n" CUT, "+OK\r\n" SEVEN);
    assert_ended(y, "another size", "discard 2 suspect");
    assert_non_null(strstr(y->log.data, "end 1"));
    assert_false(y->memory.window_one); /* the next session is careful for its sake */
}

static void q21_the_window_opens_only_where_replies_can_be_told_apart(void **state)
{
    (void)state;
    static struct generated g;
    static const struct {
        const char *reply;
        bool opens;
    } cases[] = {{"+OK\r\nx\r\n.\r\n", true},
                 {"+OK\r\nsomewhat longer\r\n.\r\n", false},
                 {"+OK 9 octets\r\nsomewhat longer\r\n.\r\n", false},
                 {"+OK 3 octets\r\nsomewhat longer\r\n.\r\n", true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        generate(&g, 5, 5, cases[i].reply);
        const struct play *y = perform(&g.script);
        assert_success(y);
        assert_int_equal(y->stats.window, cases[i].opens ? 4 : 0);
    }
}

static void q53_a_surplus_status_line_is_noticed_in_a_window(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START, THREE, STEP("RETR 1", "+OK\r\n" SEVEN),
                  STEP("RETR 2", "+OK\r\n" TWENTY "+OK 5 messages\r\n"),
                  STEP("RETR 3", "+OK\r\n" SEVEN), NOOP},
    };
    const size_t cuts[] = {1, SIZE_MAX};
    for (size_t i = 0; i < 2; i++) {
        static struct play y;
        play(&y, &script, cuts[i], 0);
        assert_ended(&y, "no reply", "discard 3 suspect");
        assert_true(y.memory.window_one);
        assert_non_null(strstr(y.log.data, "end 2"));
        assert_null(strstr(y.log.data, "end 3"));
    }
    /* Alone it can only be the message's own. */
    assert_success(retrieve("+OK\r\n+OK 5\r\n.\r\n", "+OK\r\n" TWENTY, "+OK\r\n" SEVEN));
}

static void q21_a_forged_reply_makes_the_message_before_it_suspect(void **state)
{
    (void)state;
    const struct play *y = retrieve("+OK 7 octets\r\n" SEVEN, "+OK forged\r\n" TWENTY,
                                    "+OK 7 octets\r\n" SEVEN);
    assert_ended(y, "no reply", "discard 1 suspect");
    assert_true(y->memory.window_one);
    assert_null(strstr(y->log.data, "end 1"));
    y = retrieve("+OK 7 octets\r\n" SEVEN, "+OK 7 octets\r\n" SEVEN,
                 "+OK 20 octets\r\n" TWENTY);
    assert_ended(y, "no reply", "discard 1 suspect");
}

static void q16_servers_that_are_not_exact_are_believed(void **state)
{
    (void)state;
    assert_success(retrieve("+OK\r\n" SHORT, "+OK\r\n" CUT, "+OK\r\n" SEVEN));
    assert_success(
        retrieve("+OK 9 octets\r\n" TWENTY, "+OK some octets\r\n" CUT, "+OK\r\n" CUT));
    assert_success(retrieve("+OK 5 octets\r\n" CUT, "+OK 20 octets\r\n" TWENTY,
                            "+OK 5 octets\r\n" CUT));
    /* Courier: two short without a final newline. */
    assert_success(retrieve("+OK\r\n" SEVEN, "+OK\r\nabcdefghijklmnop\r\n.\r\n",
                            "+OK\r\nabcdefg\r\n.\r\n"));
}

static void one_at_a_time_the_end_is_the_end(void **state)
{
    (void)state;
    const struct script careful = {
        .steps = {GREETING, NO_CAPA, LOGIN, THREE, STEP("RETR 1", "+OK 7 octets\r\n" SEVEN),
                  STEP("RETR 2", "+OK 20 octets\r\n" CUT), STEP("RETR 3", "+OK\r\n" SEVEN),
                  NOOP, BYE},
    };
    const struct play *y = perform(&careful);
    assert_success(y);
    assert_int_equal(y->stats.messages, 3);
}

static void a_message_without_an_id_is_remembered_by_its_server(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("PIPELINING\r\n"), LOGIN, CAPA("PIPELINING\r\n"),
                  STEP("STAT", "+OK 2 27\r\n"), STEP("LIST", "+OK\r\n1 7\r\n2 20\r\n.\r\n"),
                  STEP("UIDL", "-ERR what?\r\n"), STEP("RETR 1", "+OK\r\n" SEVEN),
                  STEP("RETR 2", "+OK\r\n" CUT), NOOP},
    };
    const struct play *y = perform(&script);
    assert_ended(y, "another size", "discard 2 suspect");
    assert_true(y->memory.window_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q21_sizes_that_were_exact_tell_of_an_early_end),
        cmocka_unit_test(q21_the_window_opens_only_where_replies_can_be_told_apart),
        cmocka_unit_test(q53_a_surplus_status_line_is_noticed_in_a_window),
        cmocka_unit_test(q21_a_forged_reply_makes_the_message_before_it_suspect),
        cmocka_unit_test(q16_servers_that_are_not_exact_are_believed),
        cmocka_unit_test(one_at_a_time_the_end_is_the_end),
        cmocka_unit_test(a_message_without_an_id_is_remembered_by_its_server),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
