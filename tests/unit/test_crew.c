/* Threads that share their work. */
#include "tools/crew.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define TASKS 20000

struct tasks {
    pthread_mutex_t mutex;
    unsigned next;             /* guarded by the mutex, */
    unsigned char done[TASKS]; /* each by whoever took it */
    bool lanes[CREW_LANES_MAX];
    pthread_t first; /* of lane 0 */
};

static void work(void *arg, unsigned lane)
{
    struct tasks *t = arg;
    if (lane == 0)
        t->first = pthread_self();
    t->lanes[lane] = true;
    for (;;) {
        (void)pthread_mutex_lock(&t->mutex);
        unsigned task = t->next < TASKS ? t->next++ : TASKS;
        (void)pthread_mutex_unlock(&t->mutex);
        if (task == TASKS)
            return;
        t->done[task]++;
    }
}

static void every_task_is_done_once_whatever_the_lanes(void **state)
{
    static const unsigned sizes[] = {1, 2, 3, 8, CREW_LANES_MAX};
    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct tasks *t = calloc(1, sizeof(*t));
        assert_non_null(t);
        assert_int_equal(pthread_mutex_init(&t->mutex, NULL), 0);
        crew_run(sizes[s], work, t);
        for (unsigned i = 0; i < TASKS; i++)
            assert_int_equal(t->done[i], 1);
        for (unsigned i = 0; i < CREW_LANES_MAX; i++)
            assert_int_equal(t->lanes[i], i < sizes[s]);
        assert_true(pthread_equal(t->first, pthread_self()));
        (void)pthread_mutex_destroy(&t->mutex);
        free(t);
    }
}

static void a_crew_is_no_larger_than_allowed(void **state)
{
    (void)state;
    assert_int_equal(crew_size(1), 1);
    unsigned size = crew_size(CREW_LANES_MAX);
    assert_in_range(size, 1, CREW_LANES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_is_done_once_whatever_the_lanes),
        cmocka_unit_test(a_crew_is_no_larger_than_allowed),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
