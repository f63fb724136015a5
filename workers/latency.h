/* How long something took, counted by classes: a histogram of Prometheus, of which nothing
 * is lost when two are added. */
#ifndef MAILCASK_WORKERS_LATENCY_H
#define MAILCASK_WORKERS_LATENCY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LATENCY_BOUNDS 13
#define LATENCY_CLASSES (LATENCY_BOUNDS + 1)

/* Class i holds what took up to latency_bounds_us[i] and longer than the class before it;
 * the last one all that took longer. Microseconds, from a flash disk's sync to a hung one.
 */
extern const uint64_t latency_bounds_us[LATENCY_BOUNDS];

struct latency {
    uint64_t counts[LATENCY_CLASSES]; /* of each class alone */
    uint64_t sum_us;
};

/* One thread counts, any may read. Zeroed: nothing was counted. */
struct latency_counter {
    _Atomic uint64_t counts[LATENCY_CLASSES];
    _Atomic uint64_t sum_us;
};

void latency_count(struct latency_counter *counter, uint64_t us);
/* What is being counted meanwhile may be in one number and not yet in the other. */
struct latency latency_read(const struct latency_counter *counter);

void latency_add(struct latency *to, const struct latency *more);

#endif
