/* What was fetched from a mailbox within the last 24 hours, for providers that allow so
 * much a day (Q45). Counted in quarters of a day of which five count: never more than the
 * limit within any 24 hours, and what was fetched is forgotten within 30. Pure numbers. */
#ifndef MAILCASK_DAEMON_DAY_BYTES_H
#define MAILCASK_DAEMON_DAY_BYTES_H

#include <stdint.h>

#define DAY_BYTES_QUARTERS 5
#define DAY_BYTES_QUARTER_S ((int64_t)6 * 3600)

/* Zeroed: nothing. */
struct day_bytes {
    uint32_t quarter;                 /* the newest, of those since 1970 */
    uint32_t kib[DAY_BYTES_QUARTERS]; /* the newest first; rounded up */
};

/* now_s: of CLOCK_REALTIME, also below. A clock that went back counts as one that stands;
 * one that went back by more than a day was wrong before, and nothing is known. */
void day_bytes_spend(struct day_bytes *d, int64_t now_s, uint64_t bytes);

/* How much of the limit is left. */
uint64_t day_bytes_left(const struct day_bytes *d, int64_t now_s, uint64_t limit);

/* In how many seconds, one at least, there will be more left: of what was fetched before,
 * or of what will be now. */
uint32_t day_bytes_wait_s(const struct day_bytes *d, int64_t now_s);

#endif
