#include "daemon/cause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REFUSED "The server says that user or password is wrong: "

static void same(const char *one, const char *other)
{
    assert_int_equal(cause_of(one, "alice"), cause_of(other, "bob"));
}

static void different(const char *one, const char *other)
{
    assert_int_not_equal(cause_of(one, "alice"), cause_of(other, "alice"));
}

static void numbers_addresses_and_names_are_no_part_of_it(void **state)
{
    (void)state;
    same(REFUSED "\"-ERR [AUTH] denied\"", REFUSED "\"-ERR [AUTH] denied\"");
    same(REFUSED "\"-ERR denied (session 4f1)\"", REFUSED "\"-ERR denied (session 8a2)\"");
    same(REFUSED "\"-ERR no mailbox a@x.example\"",
         REFUSED "\"-ERR no mailbox b@y.example\"");
    same(REFUSED "\"-ERR alice: denied\"", REFUSED "\"-ERR bob: denied\"");
    assert_int_equal(cause_of("secrets/alice: no such file", "alice@x.example"),
                     cause_of("secrets/bob: no such file", "bob@x.example"));
    same("192.0.2.1:995: timed out.", "192.0.2.2:995:  timed out. ");
}

static void what_is_said_is(void **state)
{
    (void)state;
    different(REFUSED "\"-ERR denied\"", "The mailbox is in use by another program");
    different(REFUSED "\"-ERR denied\"", REFUSED "\"-ERR locked\"");
    different("a b", "ab");
    different("alice b", "alicia b");
    assert_int_not_equal(cause_of("an end", "a"), cause_of("no end", "a"));
    different("", "1");
    assert_int_equal(cause_of("", NULL), 0);
    assert_int_not_equal(cause_of("17", NULL), 0);
}

static void a_cause_is_another_elsewhere(void **state)
{
    (void)state;
    uint64_t cause = cause_of("timed out", NULL);
    assert_int_equal(cause_within(cause, "one"), cause_within(cause, "one"));
    assert_int_not_equal(cause_within(cause, "one"), cause_within(cause, "two"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_addresses_and_names_are_no_part_of_it),
        cmocka_unit_test(what_is_said_is),
        cmocka_unit_test(a_cause_is_another_elsewhere),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
