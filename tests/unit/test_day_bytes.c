#include "daemon/day_bytes.h"
#include "daemon/providers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define LIMIT (100 * MIB)
#define DAY_S ((int64_t)86400)
#define NOW_S \
    (1800000000 / DAY_BYTES_QUARTER_S * DAY_BYTES_QUARTER_S) /* a quarter begins */

static void what_was_spent_is_missing(void **state)
{
    (void)state;
    struct day_bytes d = {0};
    assert_int_equal(day_bytes_left(&d, NOW_S, LIMIT), LIMIT);
    day_bytes_spend(&d, NOW_S, 30 * MIB);
    assert_int_equal(day_bytes_left(&d, NOW_S, LIMIT), 70 * MIB);
    day_bytes_spend(&d, NOW_S + 3600, 1);
    assert_int_equal(day_bytes_left(&d, NOW_S, LIMIT), 70 * MIB - 1024);
    day_bytes_spend(&d, NOW_S + DAY_BYTES_QUARTER_S, 90 * MIB);
    assert_int_equal(day_bytes_left(&d, NOW_S + DAY_BYTES_QUARTER_S, LIMIT), 0);
    day_bytes_spend(&d, NOW_S + DAY_BYTES_QUARTER_S, UINT64_MAX);
    assert_int_equal(day_bytes_left(&d, NOW_S + DAY_BYTES_QUARTER_S, LIMIT), 0);
}

static void it_comes_back_after_a_day_and_within_thirty_hours(void **state)
{
    (void)state;
    for (int64_t late_s = 0; late_s < DAY_BYTES_QUARTER_S; late_s += 599) {
        struct day_bytes d = {0};
        int64_t spent_s = NOW_S + late_s;
        day_bytes_spend(&d, spent_s, LIMIT);
        uint32_t wait_s = day_bytes_wait_s(&d, spent_s);
        assert_in_range(wait_s, DAY_S, DAY_S + DAY_BYTES_QUARTER_S);
        assert_int_equal(day_bytes_left(&d, spent_s + wait_s - 1, LIMIT), 0);
        assert_int_equal(day_bytes_left(&d, spent_s + wait_s, LIMIT), LIMIT);
    }
}

/* The heart of it: a mailbox that takes what it gets, whenever it gets it. */
static void no_24_hours_see_more_than_the_limit(void **state)
{
    (void)state;
    enum { STEPS = 2000, STEP_S = 1237 };
    static uint64_t taken[STEPS];
    struct day_bytes d = {0};
    uint64_t all = 0;
    for (int i = 0; i < STEPS; i++) {
        int64_t now_s = NOW_S + (int64_t)i * STEP_S;
        uint64_t piece = (uint64_t)(1 + i * 7919 % 13) * MIB;
        uint64_t left = day_bytes_left(&d, now_s, LIMIT);
        taken[i] = piece < left ? piece : left;
        day_bytes_spend(&d, now_s, taken[i]);
        all += taken[i];
        uint64_t within = 0;
        for (int j = i; j >= 0 && (int64_t)(i - j) * STEP_S < DAY_S; j--)
            within += taken[j];
        assert_true(within <= LIMIT);
    }
    /* And it makes use of the limit: 28 days of at least four fifths of it. */
    assert_true(all >= 28 * LIMIT * 4 / 5 * 24 / 30);
}

static void waiting_helps(void **state)
{
    (void)state;
    struct day_bytes d = {0};
    day_bytes_spend(&d, NOW_S, 60 * MIB);
    day_bytes_spend(&d, NOW_S + 2 * DAY_BYTES_QUARTER_S, 40 * MIB);
    int64_t now_s = NOW_S + 3 * DAY_BYTES_QUARTER_S;
    assert_int_equal(day_bytes_left(&d, now_s, LIMIT), 0);
    assert_int_equal(day_bytes_wait_s(&d, now_s), 2 * DAY_BYTES_QUARTER_S);
    now_s += 2 * DAY_BYTES_QUARTER_S;
    assert_int_equal(day_bytes_left(&d, now_s, LIMIT), 60 * MIB);
    assert_int_equal(day_bytes_wait_s(&d, now_s), 2 * DAY_BYTES_QUARTER_S);
}

static void a_clock_that_goes_back_forgets_nothing(void **state)
{
    (void)state;
    struct day_bytes d = {0};
    day_bytes_spend(&d, NOW_S, LIMIT);
    assert_int_equal(day_bytes_left(&d, NOW_S - DAY_S / 2, LIMIT), 0);
    assert_true(day_bytes_wait_s(&d, NOW_S - DAY_S / 2) > DAY_S);
    day_bytes_spend(&d, NOW_S - DAY_S / 2, MIB);
    assert_int_equal(day_bytes_left(&d, NOW_S, 2 * LIMIT), LIMIT - MIB);
    assert_int_equal(day_bytes_left(&d, NOW_S + 2 * DAY_S, LIMIT), LIMIT);
}

static void a_clock_that_was_years_ahead_blocks_nothing(void **state)
{
    (void)state;
    struct day_bytes d = {0};
    day_bytes_spend(&d, NOW_S + 3650 * DAY_S, LIMIT);
    assert_int_equal(day_bytes_left(&d, NOW_S, LIMIT), LIMIT);
    assert_in_range(day_bytes_wait_s(&d, NOW_S), DAY_S, DAY_S + DAY_BYTES_QUARTER_S);
    day_bytes_spend(&d, NOW_S, MIB);
    assert_int_equal(day_bytes_left(&d, NOW_S, LIMIT), LIMIT - MIB);
}

static void q45_gmail_is_known(void **state)
{
    (void)state;
    assert_int_equal(provider_daily_bytes("pop.gmail.com"), 1250000000);
    assert_int_equal(provider_daily_bytes("POP.Gmail.com"), 1250000000);
    assert_int_equal(provider_daily_bytes("pop.gmail.com.example"), 0);
    assert_int_equal(provider_daily_bytes("pop.acme.example"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_spent_is_missing),
        cmocka_unit_test(it_comes_back_after_a_day_and_within_thirty_hours),
        cmocka_unit_test(no_24_hours_see_more_than_the_limit),
        cmocka_unit_test(waiting_helps),
        cmocka_unit_test(a_clock_that_goes_back_forgets_nothing),
        cmocka_unit_test(a_clock_that_was_years_ahead_blocks_nothing),
        cmocka_unit_test(q45_gmail_is_known),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
