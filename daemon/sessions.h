/* The sessions under way: each reads its account's password, is held by the pool of
 * workers, and comes back here with its end. Outlives the pool, which is opened for an
 * archive and closed when that fails. One thread. */
#ifndef MAILCASK_DAEMON_SESSIONS_H
#define MAILCASK_DAEMON_SESSIONS_H

#include "archive/archive.h"
#include "daemon/config.h"
#include "daemon/log.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSIONS_NOBODY UINT32_MAX

struct sessions;

/* How one ended. */
struct session_end {
    uint32_t account; /* index in the configuration, or SESSIONS_NOBODY, see
                         sessions_renumber() */
    uint64_t number;  /* sessions are counted from 1 as they begin, in this process */
    uint32_t place;   /* as in its struct session_plan */
    struct outcome outcome;
    bool stopped; /* by sessions_close() */
    bool held;    /* the pool had it: marks are to be kept */
    bool broken;  /* by one of its messages, which counts against that message */
    enum pool_kind kind;
    bool unlisted, renumbered, clock_behind; /* as in struct pool_result */
    bool connected;
    uint64_t stamp; /* of its password, see struct secret */
    struct pool_counts counts;
    struct pool_marks marks;
    char aside[POOL_ASIDE_SIZE];   /* as in struct pool_result */
    char notice[POOL_NOTICE_SIZE]; /* the same */
};

/* 0, -ENOMEM or -errno. */
int sessions_create(struct sessions **out);

/* What sessions with plan.trace say and hear goes to this log; NULL, as at
 * first: nowhere. Before sessions_open(). */
void sessions_trace(struct sessions *s, struct log *log);

/* Waits a little for passwords being read. If a command does not end, the memory stays
 * until the process ends, which does not wait for it. The pool must be closed. NULL is
 * allowed. */
void sessions_destroy(struct sessions *s);

/* Make the pool. archive must stay open until sessions_close(). Errors: pool_create()'s. */
int sessions_open(struct sessions *s, struct archive *archive, uint64_t max_memory,
                  enum loop_backend backend);
/* Ends the pool with all its sessions. Their ends are there to be taken when it returns;
 * sessions that are still reading a password come later. Returns what sessions_failure()
 * says after the last of them. Does nothing if there is no pool. */
int sessions_close(struct sessions *s);

/* What kind of session it is to be. */
struct session_plan {
    enum pool_kind kind;
    int64_t delete_before_us; /* as struct pool_job's */
    const struct pool_marks *marks;
    struct pop3_day day;
    bool trace;                           /* see sessions_trace() */
    const struct resolver_answer *answer; /* likewise */
    uint32_t place;                       /* comes back with its end */
};

/* Hold a session with the account of this index. config and plan are not needed after
 * return. 0; -EBUSY: a session that began before a reload has not ended, with this maildrop
 * or of an account of this name, and is another account's now, or nobody's; -ENOMEM,
 * -EAGAIN. */
int sessions_begin(struct sessions *s, const struct config *config, uint32_t account,
                   const struct session_plan *plan);

/* One that has ended; false if there is none now. */
bool sessions_take(struct sessions *s, struct session_end *out);

/* Readable when sessions_take() is worth calling; do not read it. */
int sessions_fd(const struct sessions *s);

/* Begun and not taken. */
uint32_t sessions_count(const struct sessions *s);

/* After a reload: sessions under way belong to the accounts of the same names in the new
 * configuration, or to nobody. One that is with another maildrop than its account has by
 * now (config_same_mailbox()) ends as one that was not held, after which there is more to
 * fetch; and a refusal for good, as it may be what the reload mends, as one of this process
 * that is to be tried again now. */
void sessions_renumber(struct sessions *s, const struct config *before,
                       const struct config *now);

/* pool_write_run() and pool_write_access(), unless the pool is closed: ERR_STOPPED. */
int sessions_write_run(struct sessions *s, const struct pool_run *run);
int sessions_write_access(struct sessions *s, uint32_t account, int64_t time_us,
                          const struct access_meta *meta);

/* pool_progress() of all pools so far together; what is of a moment, of the one that is
 * open. */
void sessions_progress(const struct sessions *s, struct pool_progress *out);

/* pool_repacker(); NULL: the pool is closed. When what it tells has changed, sessions_fd()
 * is readable for a moment. */
struct repacker *sessions_repacker(const struct sessions *s);

/* pool_failure() and pool_describe() of the pool that is open; 0 and "" if none is. */
int sessions_failure(const struct sessions *s);
const char *sessions_describe(const struct sessions *s);

#endif
