/* One pass over the accounts. */
#ifndef MAILCASK_DAEMON_ONCE_H
#define MAILCASK_DAEMON_ONCE_H

#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/signals.h"
#include "workers/loop.h"

#include <stddef.h>

struct once_config {
    struct config *config;    /* taken over in any case */
    const char *const *names; /* of the accounts to fetch from */
    size_t name_count;        /* 0: all */
    bool trace;               /* every session */
    enum loop_backend backend;
    struct log *log;
    struct signals *signals; /* open */
};

/* Fetch from each account until it is complete or fails, whatever went before (Q53). The
 * log names each failed account and why, the summary one on standard output. Returns the
 * exit status: 0, 1 (some failed, or a signal ended it), 2 (a name is unknown), 4. */
int once_run(const struct once_config *how);

#endif
