/* The answer to `status` for a person: the service, then servers and accounts that have a
 * problem or are paused, or all of them. */
#ifndef MAILCASK_TOOLS_STATUS_TEXT_H
#define MAILCASK_TOOLS_STATUS_TEXT_H

#include "tools/control_client.h"
#include "tools/output.h"

/* Of servers, and of accounts, with a problem or paused, that are printed without `all`. */
#define STATUS_LINES_MAX 20

/* answer: whole. */
void status_text(struct output *out, struct span answer, bool all);

#endif
