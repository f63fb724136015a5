/* The signals of a daemon, taken one by one where it suits, instead of at any instruction:
 * SIGTERM and SIGINT ask it to stop, SIGHUP to read its configuration again. */
#ifndef MAILCASK_DAEMON_SIGNALS_H
#define MAILCASK_DAEMON_SIGNALS_H

#include <stdbool.h>

struct signals {
    int fd; /* readable when wanted() has news; do not read it */
    bool stop, reload;
};

/* Blocks these signals in the calling thread and in every thread it makes from now on: call
 * it before any. 0 or -errno. */
int signals_open(struct signals *s);
void signals_close(struct signals *s);

/* Take what has arrived: sets stop and reload, and never clears them. */
void signals_take(struct signals *s);

#endif
