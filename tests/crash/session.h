/* A session with the server of one account of the mail, in an archive that is open to
 * write: it fetches or deletes, as a whole or step by step beside other work of the same
 * thread. */
#ifndef MAILCASK_TESTS_CRASH_SESSION_H
#define MAILCASK_TESTS_CRASH_SESSION_H

#include "archive/archive.h"
#include "tests/crash/event_log.h"
#include "tests/crash/mail.h"

#include <stdbool.h>
#include <stdint.h>

/* A fetch session takes in at most `most` of the messages that are wanted, committing
 * behind each `batch`; a delete session deletes at most `most`. told is called for each
 * message that is durable, or that DELE is sent for, with its number. */
struct session_plan {
    unsigned account;
    unsigned most, batch;
    bool deletes;
    const bool *gone; /* MAIL_EACH: what the server has no longer; borrowed */
    void (*told)(void *arg, enum mark_type what, unsigned account, unsigned message,
                 uint64_t n);
    void *arg;
};

struct session;

/* Log in and judge what is listed. 0 or what failed. The archive and mail are borrowed. */
int session_begin(struct archive *a, const struct mail *mail,
                  const struct session_plan *plan, struct session **out);
/* The next message; behind the last one what ends the session, then out_over is true. 0 or
 * what failed, and only session_end() is legal. */
int session_step(struct session *s, bool *out_over);
/* In the middle, too: what was not committed is let go. Before the archive is closed. NULL
 * is allowed. */
void session_end(struct session *s);

/* All of it. 0 or what failed first. */
int session_run(struct archive *a, const struct mail *mail,
                const struct session_plan *plan);

#endif
