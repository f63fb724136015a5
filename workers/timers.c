#include "workers/timers.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* Level n has slots of 64^n ms. A timer lies in the level of the highest group of 6 bits in
 * which its deadline differs from now: then a slot of level 0 holds one deadline only, all
 * slots in use lie ahead of now, and the first slot in use of the lowest level in use is
 * the earliest. */
#define LEVEL_BITS 6
#define SLOTS (1u << LEVEL_BITS)
#define LEVELS 11 /* of 6 bits each: every 64-bit deadline has its place */

/* Two more lists stand behind the slots, as if in a level of their own. */
#define PLACE_OVERDUE (LEVELS * SLOTS)
#define PLACE_FIRING (PLACE_OVERDUE + 1)
#define PLACES (PLACE_FIRING + 1)

TAILQ_HEAD(timer_list, timer);

struct timers {
    uint64_t now_ms;
    uint64_t in_use[LEVELS + 1]; /* one bit a list: it has a timer */
    struct timer_list lists[PLACES];
};

int timers_create(uint64_t now_ms, struct timers **out_timers)
{
    struct timers *timers = calloc(1, sizeof(*timers));

    if (timers == NULL)
        return -ENOMEM;
    timers->now_ms = now_ms;
    for (unsigned i = 0; i < PLACES; i++)
        TAILQ_INIT(&timers->lists[i]);
    *out_timers = timers;
    return 0;
}

void timers_destroy(struct timers *timers)
{
    free(timers);
}

static void insert(struct timers *timers, struct timer *timer, unsigned place)
{
    timer->place = (uint16_t)place;
    timer->set = true;
    TAILQ_INSERT_TAIL(&timers->lists[place], timer, link);
    timers->in_use[place / SLOTS] |= UINT64_C(1) << (place % SLOTS);
}

static void take_out(struct timers *timers, struct timer *timer)
{
    struct timer_list *list = &timers->lists[timer->place];

    TAILQ_REMOVE(list, timer, link);
    timer->set = false;
    if (TAILQ_EMPTY(list))
        timers->in_use[timer->place / SLOTS] &= ~(UINT64_C(1) << (timer->place % SLOTS));
}

static unsigned place_of(const struct timers *timers, uint64_t deadline_ms)
{
    if (deadline_ms <= timers->now_ms)
        return PLACE_OVERDUE;

    unsigned highest_bit = 63 - (unsigned)__builtin_clzll(deadline_ms ^ timers->now_ms);
    unsigned level = highest_bit / LEVEL_BITS;
    unsigned slot = (unsigned)(deadline_ms >> (level * LEVEL_BITS)) % SLOTS;

    return level * SLOTS + slot;
}

void timers_set(struct timers *timers, struct timer *timer, uint64_t deadline_ms)
{
    assert(timer->fire != NULL);
    timers_cancel(timers, timer);
    timer->deadline_ms = deadline_ms;
    insert(timers, timer, place_of(timers, deadline_ms));
}

void timers_cancel(struct timers *timers, struct timer *timer)
{
    if (timer->set)
        take_out(timers, timer);
}

/* The earliest slot in use and the time at which it begins. */
static bool earliest_slot(const struct timers *timers, unsigned *out_place,
                          uint64_t *out_start_ms)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        if (timers->in_use[level] == 0)
            continue;

        unsigned slot = (unsigned)__builtin_ctzll(timers->in_use[level]);
        unsigned shift = level * LEVEL_BITS;
        /* In the top level this shifts everything out: nothing is kept of now, as it must
         * be. */
        uint64_t span_ms = (uint64_t)SLOTS << shift;

        *out_place = level * SLOTS + slot;
        *out_start_ms = (timers->now_ms & ~(span_ms - 1)) | ((uint64_t)slot << shift);
        return true;
    }
    return false;
}

int timers_next(const struct timers *timers, uint64_t now_ms)
{
    unsigned place;
    uint64_t start_ms;

    if (timers->in_use[PLACE_OVERDUE / SLOTS] != 0)
        return 0;
    if (!earliest_slot(timers, &place, &start_ms))
        return -1;
    if (start_ms <= now_ms)
        return 0;
    return start_ms - now_ms > INT_MAX ? INT_MAX : (int)(start_ms - now_ms);
}

/* Now has come to the beginning of this slot: what is due there fires, the rest moves to
 * finer slots. */
static void empty_slot(struct timers *timers, unsigned place)
{
    struct timer *timer;

    while ((timer = TAILQ_FIRST(&timers->lists[place])) != NULL) {
        take_out(timers, timer);
        insert(timers, timer,
               timer->deadline_ms <= timers->now_ms ? PLACE_FIRING
                                                    : place_of(timers, timer->deadline_ms));
    }
}

void timers_advance(struct timers *timers, uint64_t now_ms)
{
    struct timer *timer;
    unsigned place;
    uint64_t start_ms;

    empty_slot(timers, PLACE_OVERDUE);
    while (earliest_slot(timers, &place, &start_ms) && start_ms <= now_ms) {
        timers->now_ms = start_ms;
        empty_slot(timers, place);
    }
    if (now_ms > timers->now_ms)
        timers->now_ms = now_ms;

    /* Only now, with the wheel at rest: fire() may do anything to it. */
    while ((timer = TAILQ_FIRST(&timers->lists[PLACE_FIRING])) != NULL) {
        take_out(timers, timer);
        timer->fire(timer->arg);
    }
}
