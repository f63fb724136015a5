/* A hierarchical timer wheel: any number of timers, set and cancelled in constant time,
 * each embedded in what it belongs to. It has no clock and no thread of its own: its owner
 * says what time it is. Times are milliseconds on one clock that never goes back
 * (loop_now_ms()). Single owner: one thread calls all of these. */
#ifndef MAILCASK_WORKERS_TIMERS_H
#define MAILCASK_WORKERS_TIMERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* Zero it, fill in fire and arg; the rest is the wheel's. It must stay where it is while
 * set, and may be freed once it is not: in fire() of its own at the earliest. */
struct timer {
    void (*fire)(void *arg);
    void *arg;
    uint64_t deadline_ms;
    TAILQ_ENTRY(timer) link;
    uint16_t place;
    bool set;
};

struct timers;

/* now_ms: where the clock stands. Returns 0 or -ENOMEM. */
int timers_create(uint64_t now_ms, struct timers **out_timers);

/* Timers still set are forgotten; they do not fire. NULL is allowed. */
void timers_destroy(struct timers *timers);

/* Fire once, at the first timers_advance() at or after deadline_ms. A timer that is set
 * already is moved. A deadline in the past is allowed: it fires at the next
 * timers_advance(), also when it was set from inside fire(). */
void timers_set(struct timers *timers, struct timer *timer, uint64_t deadline_ms);

/* Also for a timer that is not set. */
void timers_cancel(struct timers *timers, struct timer *timer);

/* Milliseconds from now_ms to the moment when timers_advance() has something to do: 0 if
 * that is due, -1 if no timer is set. Never later than the earliest deadline; earlier, a
 * few times, on the way to a deadline over 64 ms away. */
int timers_next(const struct timers *timers, uint64_t now_ms);

/* Fire what is due at now_ms, in the order of the deadlines, after those that were due when
 * they were set. A timer is no longer set when it fires; fire() may set and cancel any
 * timer. */
void timers_advance(struct timers *timers, uint64_t now_ms);

#endif
