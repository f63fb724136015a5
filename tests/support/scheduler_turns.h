/* A scheduler's turns where it does not matter to a test where its servers are. */
#ifndef MAILCASK_SUPPORT_SCHEDULER_TURNS_H
#define MAILCASK_SUPPORT_SCHEDULER_TURNS_H

#include "daemon/scheduler.h"

/* scheduler_next(), with every look-up that it wants answered by an address of the server's
 * own. */
bool turns_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_account);

#endif
