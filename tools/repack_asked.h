/* `mailcask repack` where the service runs, which then does it. */
#ifndef MAILCASK_TOOLS_REPACK_ASKED_H
#define MAILCASK_TOOLS_REPACK_ASKED_H

#include "archive/repack.h"
#include "tools/options.h"

#include <stdbool.h>

/* What came of it. */
struct repack_asked {
    bool none; /* no service runs: it was not asked */
    int rc;    /* 0; ERR_STOPPED; ERR_DAMAGED; ERR_FAILED: another, which was said */
    struct repack_summary summary;
};

/* Ask for it and wait for its end, with progress; Ctrl-C stops it there. EXIT_DONE with
 * *out; else what is wrong was said, and an exit status. */
int repack_by_service(const struct options *o, struct repack_asked *out);

#endif
