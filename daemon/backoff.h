/* How long to wait after a failure, and a little chance, so that what failed together is
 * not tried again together. */
#ifndef MAILCASK_DAEMON_BACKOFF_H
#define MAILCASK_DAEMON_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS ((uint64_t)60 * 1000) /* doubles to: */
#define BACKOFF_MAX_MS ((uint64_t)3600 * 1000)
#define BACKOFF_IN_USE_MAX_MS ((uint64_t)900 * 1000) /* Q38 */
#define BACKOFF_JITTER 10                            /* give or take a tenth */

/* Where chance comes from: any number at first; equal ones go on equally. Each call moves
 * it on. */
struct chance {
    uint64_t state;
};

/* From 0 to range. */
uint64_t chance_up_to(struct chance *chance, uint64_t range);

/* delay_ms, give or take a tenth. */
uint64_t backoff_jittered(struct chance *chance, uint64_t delay_ms);

/* After so many failures in a row: from BACKOFF_FIRST_MS, doubling, to max_ms; jittered. */
uint64_t backoff_ms(struct chance *chance, uint32_t failures, uint64_t max_ms);

#endif
