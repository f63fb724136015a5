#include "archive/error.h"
#include "daemon/accesses.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static int parse(const char *line, struct access_request *out)
{
    static char copy[CONTROL_REQUEST_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", line);
    return access_request_parse(copy, out);
}

static void a_request_is_taken_apart(void **state)
{
    (void)state;
    struct access_request r;
    assert_int_equal(
        parse("restore\ta b@c\t12\t3\t40\tcarol\tmaildir:/x since 2026-01-01\tticket 7",
              &r),
        0);
    assert_string_equal(r.account, "a b@c");
    assert_int_equal(r.meta.command, ACCESS_RESTORE);
    assert_int_equal(r.meta.count, 12);
    assert_int_equal(r.meta.first, 3);
    assert_int_equal(r.meta.last, 40);
    assert_true(span_equal(r.meta.user, span_text("carol")));
    assert_true(span_equal(r.meta.detail, span_text("maildir:/x since 2026-01-01")));
    assert_true(span_equal(r.meta.reason, span_text("ticket 7")));
    assert_int_equal(parse("show\ta\t1\t1\t1\tu\t\t", &r), 0);
    assert_int_equal(r.meta.command, ACCESS_SHOW);
    assert_int_equal(r.meta.reason.size, 0);
}

static void what_is_no_request_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "show",
        "show\ta\t1\t1\t1\tu\t",                      /* a field short */
        "show\ta\t1\t1\t1\tu\t\t\t",                  /* one too many */
        "read\ta\t1\t1\t1\tu\t\t",                    /* no such command */
        "show\ta\t\t1\t1\tu\t\t",                     /* no number */
        "show\ta\t-1\t1\t1\tu\t\t",                   /* a sign */
        "show\ta\t1x\t1\t1\tu\t\t",                   /* more than a number */
        "show\ta\t1\t18446744073709551616\t1\tu\t\t", /* too large */
        "show\ta\t1\t2\t1\tu\t\t",                    /* the range upside down */
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct access_request r;
        assert_int_equal(parse(lines[i], &r), ERR_SYNTAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(what_is_no_request_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
