/* Who is given which messages: a line of the ledger, at the request of a tool that is about
 * to give them out. */
#ifndef MAILCASK_DAEMON_ACCESSES_H
#define MAILCASK_DAEMON_ACCESSES_H

#include "archive/meta.h"
#include "daemon/rounds.h"

/* A request's fields, behind its word: see control_protocol.h. Texts are borrowed from
 * line, which is cut up. */
struct access_request {
    const char *account;
    struct access_meta meta;
};

/* 0 or ERR_SYNTAX. */
int access_request_parse(char *line, struct access_request *out);

/* It is durable a moment later, unless the archive fails: 0; ERR_NOT_FOUND: the archive has
 * no such account; ERR_STOPPED: nothing can be archived now; an error of the index;
 * -ENOMEM. */
int access_write(const struct rounds *r, const struct access_request *access);

#endif
