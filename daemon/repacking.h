/* When the service repacks its archive: when it is asked to, and in passing, in idle time.
 * What is repacked says archive/repack.h, how workers/repacker.h. One thread. */
#ifndef MAILCASK_DAEMON_REPACKING_H
#define MAILCASK_DAEMON_REPACKING_H

#include "daemon/control.h"
#include "daemon/log.h"
#include "workers/repacker.h"

#include <stdbool.h>
#include <stdint.h>

/* By itself it is looked whether it is worth it so long after the archive was opened, and
 * so long after a run; longer after one that failed or left damage. */
#define REPACKING_FIRST_MS ((uint64_t)10 * 60 * 1000)
#define REPACKING_AGAIN_MS ((uint64_t)60 * 60 * 1000)
#define REPACKING_FAILED_MS ((uint64_t)24 * 60 * 60 * 1000)

/* Zeroed but for log at first. */
struct repacking {
    struct log *log;
    const struct repacker *repacker; /* the one that next_ms and told are about */
    uint64_t next_ms;
    uint64_t told_begin, told_end; /* runs of which it was logged */
    bool wanted, remove_now;       /* asked for, and not begun */
};

/* Log what is new, begin what is due. repacker: NULL while the archive is closed. */
void repacking_turn(struct repacking *r, struct repacker *repacker, uint64_t now_ms);
/* When to call it again although nothing has changed; UINT64_MAX: never. */
uint64_t repacking_wait_ms(const struct repacking *r, uint64_t now_ms);

/* Begin a run, which takes the place of one in passing: its number; 0: one that was asked
 * for is under way. */
uint64_t repacking_ask(struct repacking *r, struct repacker *repacker, bool remove_now,
                       uint64_t now_ms);

/* Object `repack`, see daemon/status.h. */
void repacking_put(struct buffer *out, const struct repacking *r,
                   struct repacker *repacker);

/* How long after this run the next look is due. */
uint64_t repacking_pause_ms(const struct repacker_state *ended);

#endif
