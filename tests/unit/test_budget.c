#include "workers/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB ((uint64_t)1024 * 1024)
#define LIMIT (16 * MIB)

static void count(void *arg)
{
    unsigned *granted = arg;
    ++*granted;
}

struct owner {
    struct budget_claim claim;
    unsigned granted;
};

static void own(struct owner *o)
{
    *o = (struct owner){.claim.granted = count};
    o->claim.arg = &o->granted;
}

static int setup(void **state)
{
    struct budget *b;
    assert_int_equal(budget_create(LIMIT, &b), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    budget_destroy(*state);
    return 0;
}

static void counts_what_is_held_and_its_peak(void **state)
{
    struct budget *b = *state;
    struct owner o;
    own(&o);
    assert_true(budget_take(b, &o.claim, BUDGET_WORK, 3 * MIB));
    assert_int_equal(budget_used(b), 3 * MIB);
    assert_true(budget_resize(b, &o.claim, BUDGET_AGAIN, 5 * MIB));
    assert_true(budget_resize(b, &o.claim, BUDGET_AGAIN, MIB));
    assert_int_equal(budget_used(b), MIB);
    budget_drop(b, &o.claim);
    assert_int_equal(budget_used(b), 0);
    assert_int_equal(budget_peak(b), 5 * MIB);
    assert_int_equal(o.granted, 0);
}

static void takes_a_least_limit(void **state)
{
    struct budget *b;
    (void)state;
    assert_int_equal(budget_create(1, &b), 0);
    assert_int_equal(budget_limit(b), BUDGET_LIMIT_MIN);
    budget_destroy(b);
}

static void each_class_has_its_ceiling(void **state)
{
    struct budget *b = *state;
    struct owner session, more_sessions, work, more_work;
    own(&session);
    own(&more_sessions);
    own(&work);
    own(&more_work);
    assert_true(budget_take(b, &session.claim, BUDGET_SESSION, LIMIT / 2));
    assert_false(budget_take(b, &more_sessions.claim, BUDGET_SESSION, 1));
    assert_true(budget_take(b, &work.claim, BUDGET_WORK, LIMIT / 4));
    assert_false(budget_take(b, &more_work.claim, BUDGET_WORK, 1));
    assert_true(budget_take(b, &work.claim, BUDGET_AGAIN, LIMIT / 2));
    assert_int_equal(budget_used(b), LIMIT);
    assert_false(budget_resize(b, &session.claim, BUDGET_AGAIN, LIMIT / 2 + 1));
    budget_drop(b, &work.claim);
    assert_int_equal(more_work.granted, 1);
    assert_int_equal(more_sessions.granted, 0);
    budget_drop(b, &session.claim);
    assert_int_equal(more_sessions.granted, 1);
    budget_drop(b, &more_work.claim);
    budget_drop(b, &more_sessions.claim);
}

static void listings_leave_room_for_work(void **state)
{
    struct budget *b = *state;
    struct owner session, listing, work;
    own(&session);
    own(&listing);
    own(&work);
    assert_true(budget_take(b, &session.claim, BUDGET_SESSION, LIMIT / 2));
    assert_false(budget_resize(b, &listing.claim, BUDGET_LISTING, LIMIT / 8 + 1));
    assert_true(budget_resize(b, &listing.claim, BUDGET_LISTING, LIMIT / 8));
    assert_true(budget_take(b, &work.claim, BUDGET_WORK, LIMIT / 8));
    assert_true(budget_resize(b, &listing.claim, BUDGET_AGAIN, LIMIT / 8 * 3));
    assert_int_equal(budget_used(b), LIMIT);
    budget_drop(b, &work.claim);
    budget_drop(b, &listing.claim);
    budget_drop(b, &session.claim);
}

static void grants_in_the_order_of_asking(void **state)
{
    struct budget *b = *state;
    struct owner first, waiting[3];
    own(&first);
    assert_true(budget_take(b, &first.claim, BUDGET_WORK, 10 * MIB));
    for (unsigned i = 0; i < 3; i++) {
        own(&waiting[i]);
        /* The last would fit, but it is not its turn. */
        assert_false(budget_take(b, &waiting[i].claim, BUDGET_WORK, (7 - 3 * i) * MIB));
    }
    budget_drop(b, &first.claim);
    assert_int_equal(waiting[0].granted, 1);
    assert_int_equal(waiting[1].granted, 1);
    assert_int_equal(waiting[2].granted, 1);
    for (unsigned i = 0; i < 3; i++)
        budget_drop(b, &waiting[i].claim);
}

static void what_the_writer_gives_back_goes_to_who_needs_it_to_go_on(void **state)
{
    struct budget *b = *state;
    struct owner old, other, fresh;
    own(&old);
    own(&other);
    own(&fresh);
    assert_true(budget_take(b, &old.claim, BUDGET_WORK, 4 * MIB));
    assert_true(budget_take(b, &other.claim, BUDGET_WORK, 8 * MIB));
    assert_false(budget_take(b, &fresh.claim, BUDGET_WORK, 4 * MIB));
    assert_true(budget_take(b, &other.claim, BUDGET_AGAIN, 12 * MIB));
    budget_pass(b, &old.claim, 2 * MIB);
    assert_int_equal(old.claim.held, 2 * MIB);
    assert_int_equal(budget_used(b), LIMIT);
    assert_false(budget_take(b, &old.claim, BUDGET_AGAIN, 4 * MIB));
    budget_return(b, 2 * MIB);
    assert_int_equal(old.granted, 1);
    assert_int_equal(old.claim.held, 4 * MIB);
    assert_int_equal(fresh.granted, 0);
    budget_drop(b, &other.claim);
    assert_int_equal(fresh.granted, 1);
    budget_drop(b, &old.claim);
    budget_drop(b, &fresh.claim);
}

static void more_than_is_held_can_go_to_the_writer(void **state)
{
    struct budget *b = *state;
    struct owner o;
    own(&o);
    budget_pass(b, &o.claim, 100);
    assert_int_equal(budget_used(b), 100);
    assert_int_equal(o.claim.held, 0);
    budget_return(b, 100);
    assert_int_equal(budget_used(b), 0);
}

/* Listings fill everything: without an exception nobody would ever go on. */
static void somebody_can_always_go_on(void **state)
{
    struct budget *b = *state;
    struct owner listing, first, second;
    own(&listing);
    own(&first);
    own(&second);
    assert_true(budget_resize(b, &listing.claim, BUDGET_AGAIN, LIMIT));
    assert_true(budget_take(b, &first.claim, BUDGET_WORK, 2 * MIB));
    assert_false(budget_take(b, &second.claim, BUDGET_WORK, 2 * MIB));
    budget_pass(b, &first.claim, MIB);
    assert_false(budget_take(b, &first.claim, BUDGET_AGAIN, 2 * MIB));
    assert_int_equal(second.granted, 0);
    budget_return(b, MIB); /* nothing moves any more: the first is let on */
    assert_int_equal(first.granted, 1);
    assert_int_equal(second.granted, 0);
    assert_int_equal(budget_peak(b), LIMIT + 2 * MIB);
    budget_drop(b, &first.claim);
    assert_int_equal(second.granted, 1);
    budget_drop(b, &second.claim);
    budget_drop(b, &listing.claim);
}

static void a_claim_that_waits_can_be_cancelled_once(void **state)
{
    struct budget *b = *state;
    struct owner holder, waiter, behind;
    own(&holder);
    own(&waiter);
    own(&behind);
    assert_true(budget_take(b, &holder.claim, BUDGET_WORK, 10 * MIB));
    assert_false(budget_take(b, &waiter.claim, BUDGET_WORK, 8 * MIB));
    assert_false(budget_take(b, &behind.claim, BUDGET_WORK, 2 * MIB));
    assert_true(budget_cancel(b, &waiter.claim));
    assert_int_equal(waiter.granted, 0);
    assert_int_equal(behind.granted, 1);
    assert_false(budget_cancel(b, &behind.claim));
    budget_drop(b, &holder.claim);
    budget_drop(b, &behind.claim);
    assert_int_equal(waiter.granted, 0);
}

static void passing_while_waiting_asks_for_more(void **state)
{
    struct budget *b = *state;
    struct owner holder, waiter;
    own(&holder);
    own(&waiter);
    assert_true(budget_take(b, &waiter.claim, BUDGET_WORK, 2 * MIB));
    assert_true(budget_take(b, &holder.claim, BUDGET_WORK, 10 * MIB));
    assert_true(budget_take(b, &holder.claim, BUDGET_AGAIN, 14 * MIB));
    budget_pass(b, &waiter.claim, MIB);
    assert_false(budget_take(b, &waiter.claim, BUDGET_AGAIN, 2 * MIB));
    budget_pass(b, &waiter.claim, MIB);
    budget_return(b, 2 * MIB);
    assert_int_equal(waiter.granted, 1);
    assert_int_equal(waiter.claim.held, 2 * MIB);
    assert_int_equal(budget_used(b), LIMIT);
    budget_drop(b, &holder.claim);
    budget_drop(b, &waiter.claim);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counts_what_is_held_and_its_peak),
        cmocka_unit_test(takes_a_least_limit),
        TEST(each_class_has_its_ceiling),
        TEST(listings_leave_room_for_work),
        TEST(grants_in_the_order_of_asking),
        TEST(what_the_writer_gives_back_goes_to_who_needs_it_to_go_on),
        TEST(more_than_is_held_can_go_to_the_writer),
        TEST(somebody_can_always_go_on),
        TEST(a_claim_that_waits_can_be_cancelled_once),
        TEST(passing_while_waiting_asks_for_more),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
