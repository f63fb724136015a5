/* Which segments are worth rewriting, when the service looks by itself, and how fast it
 * works. */
#include "archive/error.h"
#include "archive/repack_choice.h"
#include "daemon/repacking.h"
#include "daemon/space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define COUNT 12

static void fill(struct repack_candidate *c, size_t count, uint64_t size, bool packed)
{
    for (size_t i = 0; i < count; i++)
        c[i] = (struct repack_candidate){.id = i + 1, .size = size, .packed = packed};
}

static void asked_for_it_takes_all_that_gains(void **state)
{
    struct repack_candidate c[COUNT];
    (void)state;
    fill(c, COUNT, 200 * MIB, false);
    c[3].packed = true; /* and large: it stays */
    c[4].packed = true;
    c[4].size = REPACK_SMALL_SIZE - 1;
    assert_int_equal(repack_choose(c, COUNT, false), COUNT - 1);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(c[i].chosen, i != 3);
    fill(c, COUNT, MIB, false);
    assert_int_equal(repack_choose(c, 1, false), 1);
    assert_int_equal(repack_choose(c, 0, false), 0);
}

static void one_that_was_packed_gains_nothing(void **state)
{
    struct repack_candidate c[COUNT];
    (void)state;
    fill(c, COUNT, MIB, true);
    assert_int_equal(repack_choose(c, 1, false), 0);
    assert_false(c[0].chosen);
    assert_int_equal(repack_choose(c, 2, false), 2);
}

static void in_passing_a_few_small_ones_are_left(void **state)
{
    struct repack_candidate c[COUNT];
    (void)state;
    fill(c, COUNT, MIB, false);
    assert_int_equal(repack_choose(c, REPACK_SMALL_MIN - 1, true), 0);
    assert_false(c[0].chosen);
    assert_int_equal(repack_choose(c, REPACK_SMALL_MIN, true), REPACK_SMALL_MIN);
    fill(c, COUNT, REPACK_UNPACKED_MIN, false);
    assert_int_equal(repack_choose(c, 1, true), 1);
}

static void in_passing_no_more_is_taken_than_a_day_can_hold(void **state)
{
    struct repack_candidate c[COUNT];
    uint64_t bytes = 0;
    (void)state;
    fill(c, COUNT, SEGMENT_SIZE_MAX - MIB, false);
    assert_int_equal(repack_choose(c, COUNT, true), 2);
    for (size_t i = 0; i < COUNT; i++)
        bytes += c[i].chosen ? c[i].size : 0;
    assert_true(bytes <= REPACK_PASSING_MAX);
    assert_true(c[0].chosen && c[1].chosen); /* the oldest */
}

static void a_failure_waits_longer(void **state)
{
    struct repacker_state s = {.run = 1, .summary = {.segments_read = 3}};
    (void)state;
    assert_int_equal(repacking_pause_ms(&s), REPACKING_AGAIN_MS);
    s.err = ERR_STOPPED;
    assert_int_equal(repacking_pause_ms(&s), REPACKING_AGAIN_MS);
    s.err = -EIO;
    assert_int_equal(repacking_pause_ms(&s), REPACKING_FAILED_MS);
    s = (struct repacker_state){.run = 1, .summary = {.segments_skipped = 1}};
    assert_int_equal(repacking_pause_ms(&s), REPACKING_FAILED_MS);
}

static void it_works_no_faster_than_it_may(void **state)
{
    (void)state;
    assert_int_equal(repacker_pause_ms(0, 0, 1000), 0);
    assert_int_equal(repacker_pause_ms(1000, 0, 1000), 1000);
    assert_int_equal(repacker_pause_ms(1500, 900, 1000), 600);
    assert_int_equal(repacker_pause_ms(1500, 1501, 1000), 0);
    assert_int_equal(repacker_pause_ms(UINT64_MAX, 0, UINT64_MAX / 2) / 1000, 2);
}

static void fetching_keeps_its_room(void **state)
{
    struct space s = {.low = false};
    (void)state;
    space_judge(&s, 10000 * MIB, 100000 * MIB);
    assert_true(space_holds(&s, 10000 * MIB - SPACE_ROOM_TO_SPARE * s.mark_bytes));
    assert_false(space_holds(&s, 10000 * MIB - SPACE_ROOM_TO_SPARE * s.mark_bytes + 1));
    space_judge(&s, 1, 100000 * MIB);
    assert_false(space_holds(&s, 0));
    space_judge(&s, 0, 0);
    assert_true(space_holds(&s, 1)); /* not known */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_for_it_takes_all_that_gains),
        cmocka_unit_test(one_that_was_packed_gains_nothing),
        cmocka_unit_test(in_passing_a_few_small_ones_are_left),
        cmocka_unit_test(in_passing_no_more_is_taken_than_a_day_can_hold),
        cmocka_unit_test(a_failure_waits_longer),
        cmocka_unit_test(it_works_no_faster_than_it_may),
        cmocka_unit_test(fetching_keeps_its_room),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
