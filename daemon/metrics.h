/* What the service tells Prometheus: the numbers of one moment, and their text (exposition
 * format 0.0.4). Each is one series but for a few labels with a fixed set of values, and
 * the servers of the configuration. No account is a label, whatever Prometheus would bear:
 * the text has no secret keeper but the machine, and who has a mailbox is for the archive's
 * owner to know. `mailcask status --max-age` names them. */
#ifndef MAILCASK_DAEMON_METRICS_H
#define MAILCASK_DAEMON_METRICS_H

#include "archive/archive.h"
#include "archive/bytes.h"
#include "archive/damage.h"
#include "daemon/scheduler.h"
#include "daemon/sessions.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With more servers none has series of its own. */
#define METRICS_SERVERS_MAX 1000u

#define METRICS_CLASSES (SCOPE_PROCESS + 1)
#define METRICS_STATES (SCHEDULER_FINISHED + 1)

/* What sessions that have ended did, since the start. */
struct metrics_counts {
    uint64_t sessions;
    uint64_t errors[METRICS_CLASSES]; /* by enum scope */
    uint64_t archived, deduplicated, healed, refused, quarantined, deleted, kept;
    uint64_t message_bytes;
};

/* A session that was stopped counts, but not as an error. */
void metrics_count(struct metrics_counts *counts, const struct session_end *end);

struct metrics_of_server {
    const char *name;
    bool up; /* nothing that concerns all of it is wrong */
    uint64_t accounts, sessions;
    int64_t oldest_s; /* as in struct metrics; of its accounts */
};

/* Times are seconds of CLOCK_REALTIME. */
struct metrics {
    uint64_t began_s;
    bool disk_full, archive_failed; /* fetching has stopped for it */
    uint64_t disk_free_bytes, disk_stop_bytes, disk_resume_bytes;
    uint64_t memory_limit_bytes;
    struct pool_progress work;
    uint64_t sessions; /* under way */
    struct metrics_counts counts;

    uint64_t accounts[METRICS_STATES];
    uint64_t accounts_failing;
    /* The last complete poll of the account whose last one is longest ago; the service's
     * start counts for one that never had any. 0: there is no account. */
    int64_t oldest_s;
    uint64_t server_count, servers_failing;
    const struct metrics_of_server *servers; /* borrowed; NULL: none is told */

    bool archive_known; /* it is open, and its numbers could be read */
    struct archive_stats archive;
    struct damage_count damage;
    uint64_t recovery_damage; /* what the last opening of the archive found */
};

/* out->failed if memory runs out. */
void metrics_text(const struct metrics *m, struct buffer *out);

#endif
