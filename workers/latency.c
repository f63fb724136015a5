#include "workers/latency.h"

const uint64_t latency_bounds_us[LATENCY_BOUNDS] = {
    1000,   2500,   5000,    10000,   25000,   50000,   100000,
    250000, 500000, 1000000, 2500000, 5000000, 10000000};

static size_t class_of(uint64_t us)
{
    size_t i = 0;
    while (i < LATENCY_BOUNDS && us > latency_bounds_us[i])
        i++;
    return i;
}

void latency_count(struct latency_counter *counter, uint64_t us)
{
    atomic_fetch_add_explicit(&counter->counts[class_of(us)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counter->sum_us, us, memory_order_relaxed);
}

struct latency latency_read(const struct latency_counter *counter)
{
    struct latency out;
    for (size_t i = 0; i < LATENCY_CLASSES; i++)
        out.counts[i] = atomic_load_explicit(&counter->counts[i], memory_order_relaxed);
    out.sum_us = atomic_load_explicit(&counter->sum_us, memory_order_relaxed);
    return out;
}

void latency_add(struct latency *to, const struct latency *more)
{
    for (size_t i = 0; i < LATENCY_CLASSES; i++)
        to->counts[i] += more->counts[i];
    to->sum_us += more->sum_us;
}
