/* --since and --until, and by which time a message is taken. */
#ifndef MAILCASK_TOOLS_PERIOD_H
#define MAILCASK_TOOLS_PERIOD_H

#include "archive/meta.h"
#include "tools/dates.h"
#include "tools/display.h"
#include "tools/options.h"

/* The period of a command line: EXIT_DONE, or EXIT_USAGE after saying what is wrong. */
int period_of_options(const struct options *o, struct period *out);

/* A message's time: its Date header's, else that of fetching. `undated` counts the latter.
 */
struct message_times {
    struct display *display; /* borrowed */
    uint64_t undated;
};

/* True if the Date header could be read. */
bool message_time(struct message_times *t, const struct message_meta *m, int64_t *out_s);

/* Once, at the end: how many were taken by the time of fetching; nothing if none was. */
void say_undated(const struct message_times *t);

#endif
