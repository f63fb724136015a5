/* `status --watch`: look at the running service every other second until somebody ends it.
 */
#ifndef MAILCASK_TOOLS_WATCH_H
#define MAILCASK_TOOLS_WATCH_H

#include "tools/options.h"
#include "tools/output.h"

#define WATCH_INTERVAL_MS 2000

/* A full-screen view; standard output must be a terminal. A service that stops, and one
 * that comes back, is told. Returns an exit status. */
int watch_screen(const struct options *o, struct output *out);

/* Calls print() with each answer, or with an empty one and why there is none, until the
 * output fails or a signal ends the process. Returns an exit status. */
int watch_lines(const struct options *o, struct output *out,
                void (*print)(struct output *out, struct span answer, const char *trouble));

#endif
