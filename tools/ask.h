/* Asking the service that has the archive a command is about, and saying what is wrong. */
#ifndef MAILCASK_TOOLS_ASK_H
#define MAILCASK_TOOLS_ASK_H

#include "archive/bytes.h"
#include "tools/options.h"

#include <stdbool.h>

/* request: a line of daemon/control_protocol.h. EXIT_DONE with its whole answer in out;
 * else what is wrong was said, and an exit status: EXIT_PART when what it is about is not
 * there, EXIT_CANNOT when no service runs, does not answer or refuses. out: to be freed in
 * any case. */
int ask_service(const struct options *o, const char *request, struct buffer *out);
/* The same; but that no service listens is not said: EXIT_DONE, and *out_none is set. */
int ask_service_if_any(const struct options *o, const char *request, struct buffer *out,
                       bool *out_none);

#endif
