/* An archive's life in a minute: made, filled by sessions of several accounts in batches,
 * its segments sealed, closed, left as by a kill, repacked alone and beside fetching; every
 * promise that it gives away is marked in the log. When a call fails the archive is opened
 * again, which recovers, and life goes on. */
#ifndef MAILCASK_TESTS_CRASH_WORKLOAD_H
#define MAILCASK_TESTS_CRASH_WORKLOAD_H

#include "tests/crash/mail.h"
#include "tests/crash/recorder.h"

#include <stdbool.h>
#include <stdint.h>

struct workload_options {
    const struct mail *mail;
    const char *folder; /* the archive is made at folder/archive */
    unsigned sessions;
    struct event_log *log;
    struct call_fault *fault; /* may be NULL */
};

struct workload_result {
    unsigned acknowledged, deleted; /* messages */
    uint64_t moved_beside;          /* segments repacked while something was fetched */
    unsigned failures;              /* calls of the archive that failed */
    bool wrong;                     /* it broke its contract: */
    char why[256];
};

void workload_run(const struct workload_options *options, struct workload_result *out);

#endif
