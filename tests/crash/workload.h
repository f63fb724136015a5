/* An archive's life in a minute: made, filled by sessions of several accounts in batches,
 * its segments sealed, closed, left as by a kill, repacked; every promise that it gives
 * away is marked in the log. When a call fails the archive is opened again, which recovers,
 * and life goes on. */
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
    unsigned failures;              /* calls of the archive that failed */
    bool wrong;                     /* it broke its contract: */
    char why[256];
};

void workload_run(const struct workload_options *options, struct workload_result *out);

/* A session with the server of `account`, in an archive that is open to write. A fetch
 * session takes in at most `most` of the messages that are wanted, committing behind each
 * `batch`; a delete session deletes at most `most`. told is called for each message that is
 * durable, or that DELE is sent for, with its number. Returns 0 or what failed first. */
struct archive;
struct session_plan {
    unsigned account;
    unsigned most, batch;
    bool deletes;
    const bool *gone; /* MAIL_EACH: what the server has no longer */
    void (*told)(void *arg, enum mark_type what, unsigned account, unsigned message,
                 uint64_t n);
    void *arg;
};
int workload_session(struct archive *a, const struct mail *mail,
                     const struct session_plan *plan);

#endif
