/* The service: runs until it is told to stop. */
#ifndef MAILCASK_DAEMON_SERVICE_H
#define MAILCASK_DAEMON_SERVICE_H

#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/signals.h"
#include "workers/loop.h"

struct service_config {
    const char *path;      /* of the configuration, for a reload */
    struct config *config; /* what it holds now; taken over in any case */
    enum loop_backend backend;
    struct log *log;
    struct signals *signals; /* open */
};

/* Archive mail by the configuration until signals->stop. signals->reload: read it again;
 * one that is wrong is refused whole. When the archive fails (no space), everything stops,
 * and the archive is opened again after a while, at once with signals->reload, until that
 * goes well. Returns the exit
 * status: 0, or 4 if it could not start, or the last messages could not be written. */
int service_run(const struct service_config *how);

#endif
