#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "workers/timers.h"

#define START_MS UINT64_C(1000003)
#define MANY 5000

/* A timer that notes when it fired. */
struct probe {
    struct timer timer;
    struct timers *wheel;
    const uint64_t *now_ms;
    uint64_t fired_at_ms;
    unsigned fired;
    struct probe *other;    /* for the callbacks that touch another timer */
    uint64_t rearm_ms;      /* deadline for the callbacks that set one */
    struct probe **journal; /* where the order is noted */
    size_t *journal_length;
};

struct fixture {
    struct timers *wheel;
    uint64_t now_ms;
    struct probe *journal[MANY];
    size_t journal_length;
};

static void note(void *arg)
{
    struct probe *p = arg;

    assert_false(p->timer.set);
    p->fired++;
    p->fired_at_ms = *p->now_ms;
    if (p->journal != NULL)
        p->journal[(*p->journal_length)++] = p;
}

static void note_and_rearm(void *arg)
{
    struct probe *p = arg;

    note(p);
    timers_set(p->wheel, &p->timer, p->rearm_ms);
}

static void note_and_cancel_other(void *arg)
{
    struct probe *p = arg;

    note(p);
    timers_cancel(p->wheel, &p->other->timer);
}

static void note_and_free(void *arg)
{
    struct probe *p = arg;

    note(p);
    free(p);
}

static void init_probe(struct fixture *f, struct probe *p, void (*fire)(void *arg))
{
    *p = (struct probe){.timer = {.fire = fire, .arg = p},
                        .wheel = f->wheel,
                        .now_ms = &f->now_ms,
                        .journal = f->journal,
                        .journal_length = &f->journal_length};
}

static void advance(struct fixture *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    timers_advance(f->wheel, now_ms);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->now_ms = START_MS;
    assert_int_equal(timers_create(START_MS, &f->wheel), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    timers_destroy(f->wheel);
    free(f);
    return 0;
}

static void fires_at_its_deadline_and_not_before(void **state)
{
    static const uint64_t delays_ms[] = {1,
                                         2,
                                         63,
                                         64,
                                         65,
                                         127,
                                         4095,
                                         4096,
                                         4097,
                                         60000,
                                         300000,
                                         86400000,
                                         UINT64_C(1) << 40};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
        uint64_t deadline_ms = f->now_ms + delays_ms[i];
        struct probe p;

        init_probe(f, &p, note);
        timers_set(f->wheel, &p.timer, deadline_ms);
        advance(f, deadline_ms - 1);
        assert_int_equal(p.fired, 0);
        advance(f, deadline_ms);
        assert_int_equal(p.fired, 1);
        advance(f, deadline_ms + 1000);
        assert_int_equal(p.fired, 1);
    }
}

static void the_longest_deadlines_have_their_place(void **state)
{
    struct fixture *f = *state;
    struct probe last, nearly;

    init_probe(f, &last, note);
    init_probe(f, &nearly, note);
    timers_set(f->wheel, &last.timer, UINT64_MAX);
    timers_set(f->wheel, &nearly.timer, UINT64_MAX - 1);
    assert_true(timers_next(f->wheel, f->now_ms) > 0);
    advance(f, UINT64_MAX - 2);
    assert_int_equal(f->journal_length, 0);
    advance(f, UINT64_MAX);
    assert_int_equal(f->journal_length, 2);
    assert_ptr_equal(f->journal[0], &nearly);
}

static void fires_in_the_order_of_deadlines_after_one_long_jump(void **state)
{
    struct fixture *f = *state;
    struct probe *probes = calloc(MANY, sizeof(*probes));
    uint32_t seed = 1;

    for (size_t i = 0; i < MANY; i++) {
        seed = seed * 1664525 + 1013904223;
        init_probe(f, &probes[i], note);
        timers_set(f->wheel, &probes[i].timer, START_MS + 1 + (seed >> 8) % 1000000);
    }
    advance(f, START_MS + 2000000);
    assert_int_equal(f->journal_length, MANY);
    for (size_t i = 1; i < MANY; i++)
        assert_true(f->journal[i - 1]->timer.deadline_ms <=
                    f->journal[i]->timer.deadline_ms);
    free(probes);
}

static void thousands_of_timers_each_fire_on_time_when_next_is_obeyed(void **state)
{
    struct fixture *f = *state;
    struct probe *probes = calloc(MANY, sizeof(*probes));
    uint32_t seed = 7;
    int wait_ms;

    for (size_t i = 0; i < MANY; i++) {
        seed = seed * 1664525 + 1013904223;
        init_probe(f, &probes[i], note);
        timers_set(f->wheel, &probes[i].timer, START_MS + (seed >> 8) % 500000);
    }
    for (size_t i = 0; i < MANY; i += 3)
        timers_cancel(f->wheel, &probes[i].timer);
    while ((wait_ms = timers_next(f->wheel, f->now_ms)) >= 0)
        advance(f, f->now_ms + (uint64_t)wait_ms);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(probes[i].fired, i % 3 == 0 ? 0 : 1);
        if (i % 3 != 0)
            assert_int_equal(probes[i].fired_at_ms, probes[i].timer.deadline_ms);
    }
    free(probes);
}

static void next_is_exact_when_near_and_never_late(void **state)
{
    struct fixture *f = *state;
    struct probe near, far;

    assert_int_equal(timers_next(f->wheel, f->now_ms), -1);
    init_probe(f, &near, note);
    init_probe(f, &far, note);
    timers_set(f->wheel, &far.timer, START_MS + 100000);
    assert_in_range(timers_next(f->wheel, f->now_ms), 1, 100000);
    timers_set(f->wheel, &near.timer, START_MS + 5);
    assert_int_equal(timers_next(f->wheel, f->now_ms), 5);
    assert_int_equal(timers_next(f->wheel, f->now_ms + 2), 3);
    assert_int_equal(timers_next(f->wheel, f->now_ms + 9), 0);
    timers_cancel(f->wheel, &near.timer);
    timers_cancel(f->wheel, &far.timer);
    assert_int_equal(timers_next(f->wheel, f->now_ms), -1);
}

static void next_wakes_few_times_on_the_way_to_a_far_deadline(void **state)
{
    struct fixture *f = *state;
    struct probe p;
    unsigned turns = 0;

    init_probe(f, &p, note);
    timers_set(f->wheel, &p.timer, START_MS + UINT64_C(86400) * 30 * 1000);
    for (; p.fired == 0; turns++)
        advance(f, f->now_ms + (uint64_t)timers_next(f->wheel, f->now_ms));
    assert_in_range(turns, 1, 11);
    assert_int_equal(p.fired_at_ms, START_MS + UINT64_C(86400) * 30 * 1000);
}

static void a_cancelled_timer_does_not_fire(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    init_probe(f, &p, note);
    timers_cancel(f->wheel, &p.timer);
    timers_set(f->wheel, &p.timer, START_MS + 10);
    timers_cancel(f->wheel, &p.timer);
    timers_cancel(f->wheel, &p.timer);
    advance(f, START_MS + 20);
    assert_int_equal(p.fired, 0);
}

static void setting_again_moves_the_timer(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    init_probe(f, &p, note);
    timers_set(f->wheel, &p.timer, START_MS + 10);
    timers_set(f->wheel, &p.timer, START_MS + 5000);
    advance(f, START_MS + 4999);
    assert_int_equal(p.fired, 0);
    timers_set(f->wheel, &p.timer, START_MS + 5001);
    advance(f, START_MS + 5001);
    assert_int_equal(p.fired, 1);
}

static void a_deadline_in_the_past_fires_at_the_next_advance(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    init_probe(f, &p, note);
    timers_set(f->wheel, &p.timer, 3);
    assert_int_equal(timers_next(f->wheel, f->now_ms), 0);
    assert_int_equal(p.fired, 0);
    advance(f, f->now_ms);
    assert_int_equal(p.fired, 1);
}

static void rearming_in_fire_for_now_waits_for_the_next_advance(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    init_probe(f, &p, note_and_rearm);
    p.rearm_ms = START_MS + 10;
    timers_set(f->wheel, &p.timer, START_MS + 10);
    advance(f, START_MS + 10);
    assert_int_equal(p.fired, 1);
    assert_int_equal(timers_next(f->wheel, f->now_ms), 0);
    advance(f, START_MS + 10);
    assert_int_equal(p.fired, 2);
}

static void fire_can_cancel_another_that_is_due(void **state)
{
    struct fixture *f = *state;
    struct probe first, second;

    init_probe(f, &first, note_and_cancel_other);
    init_probe(f, &second, note);
    first.other = &second;
    timers_set(f->wheel, &first.timer, START_MS + 10);
    timers_set(f->wheel, &second.timer, START_MS + 10);
    advance(f, START_MS + 10);
    assert_int_equal(first.fired, 1);
    assert_int_equal(second.fired, 0);
    assert_int_equal(timers_next(f->wheel, f->now_ms), -1);
}

static void fire_can_free_its_timer(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 10; i++) {
        struct probe *p = calloc(1, sizeof(*p));

        init_probe(f, p, note_and_free);
        timers_set(f->wheel, &p->timer, START_MS + i);
    }
    advance(f, START_MS + 100);
    assert_int_equal(f->journal_length, 10);
}

static void a_clock_that_steps_back_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    init_probe(f, &p, note);
    timers_set(f->wheel, &p.timer, START_MS + 10);
    advance(f, START_MS - 500);
    assert_int_equal(p.fired, 0);
    advance(f, START_MS + 10);
    assert_int_equal(p.fired, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fires_at_its_deadline_and_not_before),
        TEST(the_longest_deadlines_have_their_place),
        TEST(fires_in_the_order_of_deadlines_after_one_long_jump),
        TEST(thousands_of_timers_each_fire_on_time_when_next_is_obeyed),
        TEST(next_is_exact_when_near_and_never_late),
        TEST(next_wakes_few_times_on_the_way_to_a_far_deadline),
        TEST(a_cancelled_timer_does_not_fire),
        TEST(setting_again_moves_the_timer),
        TEST(a_deadline_in_the_past_fires_at_the_next_advance),
        TEST(rearming_in_fire_for_now_waits_for_the_next_advance),
        TEST(fire_can_cancel_another_that_is_due),
        TEST(fire_can_free_its_timer),
        TEST(a_clock_that_steps_back_changes_nothing),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
