/* Asking the service that has the archive a command is about, and saying what is wrong. */
#ifndef MAILCASK_TOOLS_ASK_H
#define MAILCASK_TOOLS_ASK_H

#include "archive/bytes.h"
#include "tools/options.h"

/* request: a line of daemon/control_protocol.h. EXIT_DONE with its whole answer in out;
 * else what is wrong was said, and an exit status: EXIT_PART when what it is about is not
 * there, EXIT_CANNOT when no service runs, does not answer or refuses. out: to be freed in
 * any case. */
int ask_service(const struct options *o, const char *request, struct buffer *out);

#endif
