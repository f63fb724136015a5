#include "archive/error.h"
#include "tools/dates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void set_zone(const char *zone)
{
    assert_int_equal(setenv("TZ", zone, 1), 0);
    tzset();
}

static void only_days_that_exist_are_days(void **state)
{
    (void)state;
    static const char *const good[] = {"2026-01-31", "2024-02-29", "2000-02-29",
                                       "0001-01-01"};
    static const char *const bad[] = {
        "",           "2026-1-31",  "2026-01-32", "2026-02-29",  "1900-02-29",
        "2026-13-01", "2026-00-10", "2026-01-00", "2026-01-31x", "2026/01/31",
        "20260131",   "+026-01-31", " 026-01-31", "0000-01-01",  "26-01-31",
    };
    day_number day;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(day_parse(good[i], &day), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(day_parse(bad[i], &day), ERR_SYNTAX);
    assert_int_equal(day_parse("2026-11-22", &day), 0);
    assert_int_equal(day, 20261122);
}

static void both_ends_are_included_in_local_time(void **state)
{
    (void)state;
    struct period p;
    assert_int_equal(day_parse("2026-03-10", &p.since), 0);
    assert_int_equal(day_parse("2026-03-11", &p.until), 0);
    set_zone("XXX-5");          /* five hours ahead of UTC */
    int64_t start = 1773082800; /* 2026-03-10 00:00:00 there */
    assert_false(period_holds(&p, start - 1));
    assert_true(period_holds(&p, start));
    assert_true(period_holds(&p, start + 2 * 86400 - 1));
    assert_false(period_holds(&p, start + 2 * 86400));
    set_zone("UTC");
    assert_false(period_holds(&p, start));
}

static void a_day_with_a_clock_change_is_whole(void **state)
{
    (void)state;
    /* Summer time begins on 2026-03-29: the day has 23 hours. */
    set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    struct period p = {.since = 20260329, .until = 20260329};
    int64_t start = 1774738800;
    assert_false(period_holds(&p, start - 1));
    assert_true(period_holds(&p, start));
    assert_true(period_holds(&p, start + 23 * 3600 - 1));
    assert_false(period_holds(&p, start + 23 * 3600));
}

static void the_period_of_all_holds_any_time(void **state)
{
    (void)state;
    struct period all = PERIOD_ALL;
    assert_true(period_holds(&all, 0));
    assert_true(period_holds(&all, INT64_MIN));
    assert_true(period_holds(&all, INT64_MAX));
}

static void times_are_written_in_both_zones(void **state)
{
    (void)state;
    char text[TIME_TEXT_MAX];
    set_zone("XXX-1");
    time_text_local(1795308432, text);
    assert_string_equal(text, "2026-11-22 01:47:12");
    assert_true(time_text_utc(1795308432, text));
    assert_string_equal(text, "2026-11-22T00:47:12Z");
    assert_true(time_text_utc(-1, text));
    assert_string_equal(text, "1969-12-31T23:59:59Z");
    assert_false(time_text_utc(INT64_MAX, text));
    assert_false(time_text_utc(INT64_MIN, text));
    assert_false(time_text_utc(253402300800, text)); /* the year 10000 */
    time_text_local(INT64_MAX, text);
    assert_string_equal(text, "-");
}

static void the_date_of_a_from_line_is_as_asctime_writes_it(void **state)
{
    (void)state;
    char text[TIME_TEXT_MAX];
    set_zone("XXX-9");
    time_t t = 1780272001; /* a day of one digit */
    struct tm tm;
    char expected[64];
    assert_non_null(gmtime_r(&t, &tm));
    assert_int_not_equal(strftime(expected, sizeof(expected), "%a %b %e %H:%M:%S %Y", &tm),
                         0);
    assert_true(time_text_mbox(t, text));
    assert_string_equal(text, expected);
    assert_string_equal(text, "Mon Jun  1 00:00:01 2026");
    assert_false(time_text_mbox(INT64_MAX, text));
}

static void seconds_are_rounded_down(void **state)
{
    (void)state;
    assert_int_equal(seconds_of(1999999), 1);
    assert_int_equal(seconds_of(0), 0);
    assert_int_equal(seconds_of(-1), -1);
    assert_int_equal(seconds_of(-1000000), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_days_that_exist_are_days),
        cmocka_unit_test(both_ends_are_included_in_local_time),
        cmocka_unit_test(a_day_with_a_clock_change_is_whole),
        cmocka_unit_test(the_period_of_all_holds_any_time),
        cmocka_unit_test(times_are_written_in_both_zones),
        cmocka_unit_test(the_date_of_a_from_line_is_as_asctime_writes_it),
        cmocka_unit_test(seconds_are_rounded_down),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
