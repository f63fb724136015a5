/* What `status --watch` makes of answers: rates, and the newest problems first. */
#include "tools/rates.h"
#include "tools/watch_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_MAX 65536
#define SERVICE                                                                      \
    "service\nversion:1\npid=%u\nsince@%u\narchive:/a\nstate:running\nmessages=%u\n" \
    "received_bytes=%u\nstored_bytes=%u\ncommits=%u\nmemory_bytes=1\nsessions=3\n\n"

static struct answer_object service(unsigned pid, unsigned since, unsigned value)
{
    static char text[1024];
    struct answer_object o;
    (void)snprintf(text, sizeof(text), SERVICE, pid, since, value, value * 10, value * 2,
                   value);
    struct span rest = span_text(text);
    assert_true(answer_next(&rest, &o));
    return o;
}

static void assert_rate(const struct rates *r, enum rate which, bool minute, double want)
{
    double rate = -1;
    assert_true(rates_get(r, which, minute, &rate));
    assert_true(rate > want - 0.001 && rate < want + 0.001);
}

static void look(struct rates *r, unsigned value, int64_t at_ms)
{
    struct answer_object o = service(7, 100, value);
    rates_look(r, &o, at_ms);
}

static void rates_are_of_two_looks(void **state)
{
    (void)state;
    struct rates r = {0};
    double rate;
    assert_false(rates_get(&r, RATE_MESSAGES, false, &rate));
    look(&r, 100, 5000);
    assert_false(rates_get(&r, RATE_MESSAGES, true, &rate));
    look(&r, 300, 7000);
    assert_rate(&r, RATE_MESSAGES, false, 100);
    assert_rate(&r, RATE_RECEIVED, false, 1000);
    assert_rate(&r, RATE_STORED, false, 200);
    assert_rate(&r, RATE_COMMITS, false, 100);
    look(&r, 300, 9000);
    assert_rate(&r, RATE_MESSAGES, false, 0);
    assert_rate(&r, RATE_MESSAGES, true, 50);
}

static void a_minute_is_not_more(void **state)
{
    (void)state;
    struct rates r = {0};
    look(&r, 0, 0);
    for (unsigned i = 1; i <= 100; i++)
        look(&r, 1000 + i, i * 2000);
    assert_int_equal(r.count, RATES_LOOKS_MAX);
    assert_rate(&r, RATE_MESSAGES, true, 0.5);
}

static void another_service_begins_anew(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rates r = {0};
        look(&r, 100, 1000);
        look(&r, 200, 2000);
        /* another process, one that began later, and one that counts anew */
        struct answer_object o = i == 0   ? service(8, 100, 900)
                                 : i == 1 ? service(7, 101, 900)
                                          : service(7, 100, 150);
        rates_look(&r, &o, 3000);
        assert_int_equal(r.count, 1);
    }
}

/* The frame; good until the next. */
static const char *frame(const char *answer, const char *trouble)
{
    static char text[ANSWER_MAX];
    struct rates rates = {0};
    struct output out = {.file = fmemopen(text, sizeof(text), "w")};
    look(&rates, 0, 1000);
    look(&rates, 4, 3000);
    watch_text(&out, span_text(answer), &rates, 1000, trouble);
    assert_int_equal(out.error, 0);
    (void)fclose(out.file);
    return text;
}

static void assert_shown(const char *text, const char *want)
{
    if (strstr(text, want) == NULL)
        fail_msg("'%s' is not in:\n%s", want, text);
}

static void newest_problems_come_first(void **state)
{
    (void)state;
    char *answer = malloc(ANSWER_MAX);
    int size = snprintf(answer, ANSWER_MAX, SERVICE, 7u, 100u, 4u, 5u, 6u, 7u);
    for (int i = 0; i < 8; i++)
        size += snprintf(answer + size, ANSWER_MAX - (size_t)size,
                         "server\nserver:s%d\nerror:%s\nerror_since@%d\n\n", i,
                         i == 7 ? "" : "down", 1000 + i * 37 % 8);
    for (int i = 0; i < 80; i++)
        size += snprintf(answer + size, ANSWER_MAX - (size_t)size,
                         "account\naccount:a%02d\nstate:waiting\nerror:e\nerror_since@%d\n"
                         "\n",
                         i, 1000 + i * 37 % 80);
    (void)snprintf(answer + size, ANSWER_MAX - (size_t)size, "end\n");
    const char *text = frame(answer, "");
    assert_shown(text, "messages           2.0/s         2.0/s             4\n");
    assert_shown(text, "\naccounts    80, 80 waiting; 80 with a problem");
    const char *at = strstr(text, "accounts with a problem");
    assert_non_null(at);
    assert_shown(text, "\nservers with a problem, the newest first\n  s3  ");
    assert_shown(text, "  and 2 more\n\naccounts with a problem");
    for (int want = 79; want >= 80 - WATCH_ACCOUNTS_MAX; want--) {
        char name[16];
        (void)snprintf(name, sizeof(name), "\n  a%02d  ", want * 13 % 80);
        at = strstr(at, name);
        if (at == NULL)
            fail_msg("not in order: %s in\n%s", name, text);
    }
    assert_shown(at, "\n  and 30 more\n");
    free(answer);
}

static void nothing_steers_the_terminal(void **state)
{
    (void)state;
    const char *text = frame("service\nstate:x\033[2Jy\n\naccount\naccount:a\033c\n"
                             "error:\033]0;title\007\nerror_since@1\n\nend\n",
                             "");
    assert_null(strchr(text, '\033'));
    assert_null(strchr(text, '\007'));
    assert_null(strchr(frame("", "gone\033[2J"), '\033'));
    assert_shown(frame("", "gone"), "\nservice     gone\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_two_looks),
        cmocka_unit_test(a_minute_is_not_more),
        cmocka_unit_test(another_service_begins_anew),
        cmocka_unit_test(newest_problems_come_first),
        cmocka_unit_test(nothing_steers_the_terminal),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
