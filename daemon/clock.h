/* Milliseconds of CLOCK_MONOTONIC: never go back, mean nothing outside this boot.
 * Microseconds of CLOCK_REALTIME: since 1970 UTC. */
#ifndef MAILCASK_DAEMON_CLOCK_H
#define MAILCASK_DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline int64_t clock_wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Seconds that the wall clock is ahead of the one that nobody sets. */
static inline int64_t clock_offset_s(void)
{
    struct timespec wall, boot;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    return (int64_t)(wall.tv_sec - boot.tv_sec);
}

#endif
