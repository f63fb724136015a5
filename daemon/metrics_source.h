/* Where the service's metrics come from: looks at the service as it is. One thread, the
 * service's own. */
#ifndef MAILCASK_DAEMON_METRICS_SOURCE_H
#define MAILCASK_DAEMON_METRICS_SOURCE_H

#include "daemon/metrics.h"
#include "daemon/status.h"

/* What is read from the archive's index and files is kept for so long. */
#define METRICS_ARCHIVE_MS 15000u

/* Zero it, but for status, which is borrowed. */
struct metrics_source {
    const struct status *status;
    struct metrics_counts counts; /* see metrics_count() */
    /* The rest is its own. */
    const struct archive *archive; /* that was looked at */
    uint64_t looked_ms;
    bool known;
    struct archive_stats stats;
    struct damage_count damage;
};

/* Append the text. O(accounts + servers), without a system call but for the archive's
 * numbers and the free space. arg: a struct metrics_source. */
void metrics_source_text(void *arg, struct buffer *out);

#endif
