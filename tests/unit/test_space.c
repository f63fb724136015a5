#include "daemon/space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static bool low(uint64_t free_bytes, uint64_t total_bytes)
{
    struct space s = {.low = false};
    space_judge(&s, free_bytes, total_bytes);
    return s.low;
}

static void the_mark_is_a_hundredth_within_limits(void **state)
{
    (void)state;
    assert_true(low(10 * MIB - 1, 1000 * MIB));
    assert_false(low(10 * MIB, 1000 * MIB));
    assert_true(low(SPACE_MARK_MAX - 1, 1000000 * MIB));
    assert_false(low(SPACE_MARK_MAX, 1000000 * MIB));
    assert_true(low(MIB - 1, 6 * MIB));
    assert_false(low(MIB, 6 * MIB));
    assert_true(low(0, 1));
}

static void there_is_room_again_when_there_is_plenty(void **state)
{
    (void)state;
    struct space s = {.low = false};
    space_judge(&s, 9 * MIB, 1000 * MIB);
    assert_true(s.low);
    space_judge(&s, 20 * MIB - 1, 1000 * MIB);
    assert_true(s.low);
    space_judge(&s, 20 * MIB, 1000 * MIB);
    assert_false(s.low);
    space_judge(&s, 10 * MIB, 1000 * MIB);
    assert_false(s.low);
}

static void a_size_that_is_not_known_is_room(void **state)
{
    (void)state;
    struct space s = {.low = true};
    space_judge(&s, 0, 0);
    assert_false(s.low);
    s.low = true;
    space_look(&s, "/nowhere/at/all");
    assert_false(s.low);
}

static void the_sentence_says_how_much_is_needed(void **state)
{
    (void)state;
    char text[256];
    struct space s = {.low = false};
    space_judge(&s, 0, 100000000000);
    space_problem(&s, "/a", text, sizeof(text));
    assert_string_equal(text, "archive /a: less than 67.1 MB of space is free on its disk; "
                              "free some, it needs 134 MB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mark_is_a_hundredth_within_limits),
        cmocka_unit_test(there_is_room_again_when_there_is_plenty),
        cmocka_unit_test(a_size_that_is_not_known_is_room),
        cmocka_unit_test(the_sentence_says_how_much_is_needed),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
