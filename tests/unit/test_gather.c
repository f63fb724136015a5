#include "daemon/gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define START_MS 5000
#define END_MS (START_MS + GATHER_WINDOW_MS)

static struct gather *new_gather(bool each_name)
{
    struct gather *g = NULL;
    assert_int_equal(gather_new(each_name, &g), 0);
    return g;
}

static bool add(struct gather *g, uint64_t key, const char *name, uint64_t now_ms)
{
    const struct gather_event event = {.heading = 1,
                                       .key = key,
                                       .alone_max = 2,
                                       .server = "acme",
                                       .name = name,
                                       .text = "denied",
                                       .messages = 3,
                                       .bytes = 100};
    return gather_event(g, &event, now_ms);
}

static void a_few_are_told_alone_and_the_rest_together(void **state)
{
    (void)state;
    struct gathered out;
    struct gather *g = new_gather(false);
    assert_true(add(g, 7, "a", START_MS));
    assert_true(add(g, 7, "b", START_MS + 1));
    assert_int_equal(gather_wait_ms(g, START_MS + 1), GATHER_FOREVER);
    assert_false(add(g, 7, "c", START_MS + 2));
    assert_true(add(g, 8, "x", START_MS + 3)); /* of another kind */
    assert_false(add(g, 7, "d", START_MS + 4));
    assert_int_equal(gather_wait_ms(g, START_MS + 4), GATHER_WINDOW_MS - 4);
    assert_false(gather_take(g, END_MS - 1, false, &out));
    assert_int_equal(gather_wait_ms(g, END_MS), 0);
    assert_true(gather_take(g, END_MS, false, &out));
    assert_int_equal(out.heading, 1);
    assert_int_equal(out.count, 2);
    assert_int_equal(out.named, 2);
    assert_int_equal(out.messages, 6);
    assert_int_equal(out.bytes, 200);
    assert_string_equal(out.names, "c, d");
    assert_string_equal(out.server, "acme");
    assert_string_equal(out.text, "denied");
    assert_false(gather_take(g, END_MS, false, &out));
    assert_int_equal(gather_wait_ms(g, END_MS), GATHER_FOREVER);
    gather_free(g);
}

static void a_crowd_stays_one_until_a_window_without(void **state)
{
    (void)state;
    struct gathered out;
    struct gather *g = new_gather(false);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(add(g, 7, "a", START_MS), i < 2);
    assert_true(gather_take(g, END_MS, false, &out));
    assert_false(add(g, 7, "b", END_MS + 1));
    assert_true(gather_take(g, END_MS + GATHER_WINDOW_MS, false, &out));
    assert_string_equal(out.names, "b");
    assert_true(add(g, 7, "c", END_MS + 2 * GATHER_WINDOW_MS));
    gather_free(g);
}

static void at_the_end_all_is_told(void **state)
{
    (void)state;
    struct gathered out;
    struct gather *g = new_gather(false);
    for (uint64_t key = 1; key <= 2; key++)
        for (unsigned i = 0; i < 3; i++)
            (void)add(g, key, "a", START_MS);
    assert_false(gather_take(g, START_MS, false, &out));
    assert_true(gather_take(g, START_MS, true, &out));
    assert_true(gather_take(g, START_MS, true, &out));
    assert_false(gather_take(g, START_MS, true, &out));
    gather_free(g);
}

static uint64_t commas(const char *text)
{
    uint64_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == ',';
    return count;
}

/* Names of 1000 accounts, each 200 bytes. */
static void names_beyond_their_room(bool each_name)
{
    struct gathered out;
    struct gather *g = new_gather(each_name);
    uint64_t named = 0, told = 0, lines = 0;
    for (int i = 0; i < 1002; i++) {
        char name[256];
        (void)snprintf(name, sizeof(name), "%0200d", i);
        if (add(g, 7, name, START_MS))
            continue;
        while (gather_take(g, START_MS, i == 1001, &out)) {
            assert_int_equal(commas(out.names) + 1, out.named);
            named += out.named;
            told += out.count;
            lines++;
        }
    }
    assert_int_equal(told, 1000);
    assert_int_equal(named, each_name ? 1000 : 12);
    assert_int_equal(lines, each_name ? 84 : 1);
    gather_free(g);
}

static void more_names_than_there_is_room_for_are_counted(void **state)
{
    (void)state;
    names_beyond_their_room(false);
}

static void each_name_is_told_where_that_is_asked_for(void **state)
{
    (void)state;
    names_beyond_their_room(true);
}

static void nothing_is_named_without_names(void **state)
{
    (void)state;
    struct gathered out;
    struct gather *g = new_gather(true);
    for (unsigned i = 0; i < 3; i++)
        (void)add(g, 7, NULL, START_MS);
    assert_true(gather_take(g, START_MS, true, &out));
    assert_string_equal(out.names, "");
    assert_int_equal(out.named, 0);
    gather_free(g);
}

static void more_kinds_than_there_is_room_for_are_told_under_their_heading(void **state)
{
    (void)state;
    struct gathered out;
    struct gather *g = new_gather(false);
    uint64_t alone = 0, lines = 0, together = 0;
    for (uint64_t key = 1; key <= 10000; key++)
        alone += add(g, key, "a", START_MS);
    assert_int_equal(alone, GATHER_KINDS_MAX);
    while (gather_take(g, END_MS, false, &out)) {
        assert_string_equal(out.server, "");
        together += out.count;
        lines++;
    }
    assert_int_equal(together, 10000 - GATHER_KINDS_MAX);
    assert_int_equal(lines, 1);
    /* There is room again when windows have passed. */
    assert_true(add(g, 20000, "a", END_MS));
    gather_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_are_told_alone_and_the_rest_together),
        cmocka_unit_test(a_crowd_stays_one_until_a_window_without),
        cmocka_unit_test(at_the_end_all_is_told),
        cmocka_unit_test(more_names_than_there_is_room_for_are_counted),
        cmocka_unit_test(each_name_is_told_where_that_is_asked_for),
        cmocka_unit_test(nothing_is_named_without_names),
        cmocka_unit_test(more_kinds_than_there_is_room_for_are_told_under_their_heading),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
