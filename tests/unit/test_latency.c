#include "workers/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_bound_belongs_to_the_class_below_it(void **state)
{
    (void)state;
    struct latency_counter counter = {0};
    latency_count(&counter, 0);
    latency_count(&counter, 1000);
    latency_count(&counter, 1001);
    latency_count(&counter, 10000000);
    latency_count(&counter, 10000001);
    latency_count(&counter, UINT64_C(1) << 40);
    struct latency l = latency_read(&counter);
    assert_int_equal(l.counts[0], 2);
    assert_int_equal(l.counts[1], 1);
    assert_int_equal(l.counts[LATENCY_BOUNDS - 1], 1);
    assert_int_equal(l.counts[LATENCY_BOUNDS], 2);
    assert_int_equal(l.sum_us, 2001 + 20000001 + (UINT64_C(1) << 40));
}

static void bounds_rise(void **state)
{
    (void)state;
    for (size_t i = 1; i < LATENCY_BOUNDS; i++)
        assert_true(latency_bounds_us[i] > latency_bounds_us[i - 1]);
}

static void two_add_up(void **state)
{
    (void)state;
    struct latency one = {.counts = {1, 2}, .sum_us = 5000};
    const struct latency two = {.counts = {3, [LATENCY_BOUNDS] = 1}, .sum_us = 20000000};
    latency_add(&one, &two);
    assert_int_equal(one.counts[0], 4);
    assert_int_equal(one.counts[1], 2);
    assert_int_equal(one.counts[LATENCY_BOUNDS], 1);
    assert_int_equal(one.sum_us, 20005000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bound_belongs_to_the_class_below_it),
        cmocka_unit_test(bounds_rise),
        cmocka_unit_test(two_add_up),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
