#include "archive/size_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void size_is(uint64_t size_bytes, const char *text)
{
    char out[SIZE_TEXT_MAX];
    size_text(size_bytes, out);
    assert_string_equal(out, text);
}

static void bytes_are_whole(void **state)
{
    (void)state;
    size_is(0, "0 B");
    size_is(999, "999 B");
}

static void units_are_powers_of_1000(void **state)
{
    (void)state;
    size_is(1000, "1.0 kB");
    size_is(1024, "1.0 kB");
    size_is(56700000, "56.7 MB");
    size_is(3000000000, "3.0 GB");
    size_is(UINT64_MAX, "18.4 EB");
}

static void sizes_are_rounded_to_nearest(void **state)
{
    (void)state;
    size_is(1949, "1.9 kB");
    size_is(1950, "2.0 kB");
    size_is(99949, "99.9 kB");
    size_is(99950, "100 kB");
    size_is(100499, "100 kB");
    size_is(100500, "101 kB");
}

static void a_thousand_is_one_of_the_next_unit(void **state)
{
    (void)state;
    size_is(999499, "999 kB");
    size_is(999500, "1.0 MB");
    size_is(999499999, "999 MB");
    size_is(999500000, "1.0 GB");
    size_is(999499999999999999, "999 PB");
    size_is(999500000000000000, "1.0 EB");
}

static void durations_have_two_units_at_most(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        const char *text;
    } durations[] = {{0, "0 s"},
                     {59, "59 s"},
                     {65, "1 min 5 s"},
                     {3599, "59 min 59 s"},
                     {11520, "3 h 12 min"}};
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        char text[DURATION_TEXT_MAX];
        duration_text(durations[i].seconds, text);
        assert_string_equal(text, durations[i].text);
    }
    char longest[DURATION_TEXT_MAX];
    duration_text(UINT64_MAX, longest);
    assert_string_equal(longest, "5124095576030431 h 0 min");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_whole),
        cmocka_unit_test(units_are_powers_of_1000),
        cmocka_unit_test(sizes_are_rounded_to_nearest),
        cmocka_unit_test(a_thousand_is_one_of_the_next_unit),
        cmocka_unit_test(durations_have_two_units_at_most),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
