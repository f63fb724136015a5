/* Telling who is given which messages, and why, before they are: to the system's log, and
 * to the account's ledger where a service runs. */
#ifndef MAILCASK_TOOLS_ACCESS_H
#define MAILCASK_TOOLS_ACCESS_H

#include "archive/archive.h"
#include "tools/options.h"

#define ACCESS_REASON_MAX 256 /* bytes */

struct access {
    enum access_command command;
    const char *account;
    uint64_t count; /* messages that are asked for */
    uint64_t first; /* the lowest N and the highest of these */
    uint64_t last;
    const char *detail; /* where to, of which days; "" */
};

/* Before anything is done: is --reason there if the configuration at hand demands it, and
 * can it go on record? EXIT_DONE; EXIT_USAGE, said. */
int access_check(const struct options *o);

/* EXIT_DONE: told, to the system's log at least; if a service runs and its ledger could not
 * be told, that is said. EXIT_USAGE: the service demands a reason; that was said. */
int access_tell(const struct options *o, const struct archive *a,
                const struct access *what);

#endif
