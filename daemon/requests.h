/* What a service does for those who ask at its control socket; control_protocol.h lists the
 * requests, status.h says what they are told. */
#ifndef MAILCASK_DAEMON_REQUESTS_H
#define MAILCASK_DAEMON_REQUESTS_H

#include "daemon/status.h"

/* A control_answer. arg: a struct status. */
bool requests_answer(void *arg, struct control_request *request, struct buffer *out);

#endif
