/* Ctrl-C and SIGTERM as something to ask for between two pieces of work: a command that
 * writes files ends in an orderly way. The signals stay blocked, so there is no handler and
 * no shared state. */
#ifndef MAILCASK_TOOLS_INTERRUPT_H
#define MAILCASK_TOOLS_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT, SIGTERM and SIGHUP wait. */
void interrupt_hold(void);
/* True once one of them waits. */
bool interrupt_wanted(void);

#endif
