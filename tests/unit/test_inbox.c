/* What was put in comes out in its order, from several threads too, and the descriptor is
 * readable exactly as long as the owner has something to hear. */
#include "daemon/inbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PATIENCE_MS 10000 /* for what comes by itself */
#define PRODUCERS 4u
#define LETTERS 2000u /* of each */

struct letter {
    struct inbox_item item;
    unsigned producer, number;
};

static int setup(void **state)
{
    struct inbox *inbox = NULL;
    int err = inbox_create(&inbox);
    *state = inbox;
    return err;
}

static int teardown(void **state)
{
    inbox_destroy(*state);
    return 0;
}

static bool readable(const struct inbox *inbox, int timeout_ms)
{
    struct pollfd fd = {.fd = inbox_fd(inbox), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

static void put(struct inbox *inbox, struct letter *letter)
{
    inbox_put(inbox, &letter->item, letter);
}

static void what_was_put_in_first_comes_out_first(void **state)
{
    struct inbox *inbox = *state;
    struct letter one, other, third;
    put(inbox, &one);
    put(inbox, &other);
    assert_ptr_equal(inbox_take(inbox), &one);
    put(inbox, &third);
    assert_ptr_equal(inbox_take(inbox), &other);
    assert_ptr_equal(inbox_take(inbox), &third);
    assert_null(inbox_take(inbox));
}

static void it_is_readable_until_it_was_found_empty(void **state)
{
    struct inbox *inbox = *state;
    struct letter one, other;
    assert_false(readable(inbox, 0));
    assert_null(inbox_take(inbox));
    for (int round = 0; round < 3; round++) {
        put(inbox, &one);
        put(inbox, &other);
        assert_true(readable(inbox, 0));
        assert_non_null(inbox_take(inbox));
        assert_true(readable(inbox, 0));
        assert_non_null(inbox_take(inbox));
        assert_null(inbox_take(inbox));
        assert_false(readable(inbox, 0));
    }
}

static void ringing_wakes_with_nothing_to_take(void **state)
{
    struct inbox *inbox = *state;
    struct letter letter;
    inbox_ring(inbox);
    inbox_ring(inbox);
    assert_true(readable(inbox, 0));
    assert_null(inbox_take(inbox));
    assert_false(readable(inbox, 0));
    inbox_ring(inbox);
    put(inbox, &letter);
    assert_ptr_equal(inbox_take(inbox), &letter);
    assert_null(inbox_take(inbox));
    assert_false(readable(inbox, 0));
}

static void what_was_not_taken_stays_whose_it_is(void **state)
{
    struct inbox *inbox = NULL;
    struct letter letter = {.number = 7};
    (void)state;
    assert_int_equal(inbox_create(&inbox), 0);
    put(inbox, &letter);
    inbox_destroy(inbox);
    assert_int_equal(letter.number, 7);
    inbox_destroy(NULL);
}

struct producer {
    pthread_t thread;
    struct inbox *inbox;
    struct letter letters[LETTERS];
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (unsigned i = 0; i < LETTERS; i++) {
        put(p->inbox, &p->letters[i]);
        if (i % 16 == 0)
            inbox_ring(p->inbox);
    }
    return NULL;
}

static void start(struct producer *p, unsigned number, struct inbox *inbox)
{
    p->inbox = inbox;
    for (unsigned i = 0; i < LETTERS; i++)
        p->letters[i] = (struct letter){.producer = number, .number = i};
    assert_int_equal(pthread_create(&p->thread, NULL, produce, p), 0);
}

static void nothing_is_lost_when_several_threads_put(void **state)
{
    static struct producer producers[PRODUCERS];
    struct inbox *inbox = *state;
    unsigned next[PRODUCERS] = {0}, count = 0;
    for (unsigned i = 0; i < PRODUCERS; i++)
        start(&producers[i], i, inbox);
    while (count < PRODUCERS * LETTERS) {
        struct letter *letter;
        assert_true(readable(inbox, PATIENCE_MS));
        while ((letter = inbox_take(inbox)) != NULL) {
            assert_int_equal(letter->number, next[letter->producer]++);
            count++;
        }
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_join(producers[i].thread, NULL), 0);
    assert_null(inbox_take(inbox));
    assert_false(readable(inbox, 0));
}

#define INBOX(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        INBOX(what_was_put_in_first_comes_out_first),
        INBOX(it_is_readable_until_it_was_found_empty),
        INBOX(ringing_wakes_with_nothing_to_take),
        cmocka_unit_test(what_was_not_taken_stays_whose_it_is),
        INBOX(nothing_is_lost_when_several_threads_put),
    };
    return cmocka_run_group_tests_name("inbox", tests, NULL, NULL);
}
