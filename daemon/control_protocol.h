/* What mailcask asks of a running service, and how. The service listens on a Unix socket in
 * its archive's folder; the archive's owner and root may connect. One request, one answer,
 * then the service closes.
 *
 * A request is a line of up to CONTROL_REQUEST_MAX bytes with its newline: a word and, for
 * some, a space and what it is about, to the end of the line.
 *
 *   status    objects `service` and `repack`, then a `server` for each server, then an
 *             `account` for each account, both by name. Not all of one moment: the service
 *             goes on meanwhile.
 *   poll NAME the turn of this account comes now, suspended or not. Objects `service` and
 *             `account`, as of then.
 *   pause WHAT, resume WHAT
 *             no session begins in between, whatever restarts meanwhile; one under way ends
 *             as ever. WHAT is `account NAME`, `server NAME` or `all`, each on its own, but
 *             `resume all` lifts every pause. Object `pause`, with saved=: 0 if it will be
 *             forgotten with the process; then `service`, and `server` or `account`, as of
 *             then.
 *   repack, repack remove-now
 *             begin to repack the archive, which goes on when the client has gone. Object
 *             `repack-begun` with the run's number, run=.
 *   repack look, repack stop
 *             object `repack` as of now; the run under way ends soon.
 *   access COMMAND, ACCOUNT, COUNT, FIRST, LAST, USER, DETAIL, REASON
 *             with a tab for each comma and blank: someone is about to be given messages,
 *             COMMAND `show` or `restore`, so many, of these numbers. The account's ledger
 *             tells of it, on disk a moment after the answer: object `access`, without
 *             fields. Refused where a REASON is demanded and none is there.
 *
 * An answer is a series of objects: a line with its kind, a line for each field, an empty
 * line. A field is a name of [a-z_]+, a mark for its type, and its value:
 *
 *   NAME:TEXT     UTF-8 without control characters; empty: there is none
 *   NAME=NUMBER   decimal, up to 2^64 - 1; empty: not known
 *   NAME@TIME     seconds since 1970 UTC; empty: never, or not known
 *
 * Who reads skips the kinds and fields it does not know. A request that is refused is
 * answered by an object `error` with a `text`, one sentence, and its `cause`: "unknown"
 * (the request), "not-found" (what it is about), "archive" (it cannot be written now) or
 * "refused". The last line is "end"; without it the answer broke off. */
#ifndef MAILCASK_DAEMON_CONTROL_PROTOCOL_H
#define MAILCASK_DAEMON_CONTROL_PROTOCOL_H

#include <sys/socket.h>
#include <sys/un.h>

#define CONTROL_FILE "control.sock"
#define CONTROL_REQUEST_MAX 1024
#define CONTROL_END "end\n"

/* The socket's address, to bind or connect to. A folder whose path is too long for it is
 * open meanwhile. */
struct control_address {
    struct sockaddr_un name;
    int folder; /* -1: it is not needed */
};

/* archive: the path of the archive's folder, of any length. 0, and control_address_close()
 * it; or -errno. */
int control_address_open(const char *archive, struct control_address *out);
void control_address_close(struct control_address *a);

#endif
