/* All that is behind a fetch: worker threads with their sessions, the archive writer's
 * thread, the resolver's threads, and one memory budget. The daemon submits a job for a
 * maildrop and is told how its session ended. */
#ifndef MAILCASK_WORKERS_POOL_H
#define MAILCASK_WORKERS_POOL_H

#include "archive/archive.h"
#include "workers/latency.h"
#include "workers/loop.h"
#include "workers/outcome.h"
#include "workers/pop3.h"
#include "workers/resolver.h"
#include "workers/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_WORKERS_MAX 256u
#define POOL_SESSIONS_DEFAULT 10240u
/* What an open session takes at most while it has nothing to list and to fetch: its
 * connection, TLS with the server's certificates, POP3, the mailbox's view of the archive.
 * On top of max_memory. */
#define POOL_SESSION_MEMORY ((uint64_t)32 * 1024)
#define POOL_TEXT_SIZE 1024
#define POOL_ADDRESS_SIZE 64
#define POOL_ASIDE_SIZE 512
#define POOL_NOTICE_SIZE 512

struct pool;

/* A full listing that later polls may be compared with: those that find the maildrop as it
 * was do not list (POP3.md, S5). Of this process only. Zeroed: there is none. */
struct pool_glance {
    uint64_t lsn;       /* intake_comparable()'s; 0: there is none */
    uint64_t last_uidl; /* pop3_uidl_sum() */
    int64_t listed_us;  /* CLOCK_REALTIME */
    uint32_t polls;     /* since then, that did not list */
};

/* Then a poll lists again: what a glance misses it misses for so many polls, and a listing
 * each 17 costs little. And for so many hours, so that each working day sees one, and
 * `status --max-age 24h`, which counts only polls that list, keeps its meaning where polls
 * are hours apart. */
#define POOL_GLANCES_MAX 16u
#define POOL_GLANCES_US ((int64_t)6 * 3600 * 1000000)

/* Polls that are not on record: how many, and the ends of the first and the last. */
struct pool_polls {
    uint64_t count;
    int64_t first_us, last_us;
};

/* Polls of a maildrop that found nothing new, behind one that is on record and listed the
 * same: they are written down together (POOL_RUN_US), not each. Zeroed: there is none. */
struct pool_run {
    bool begun;       /* a session with this listing is on record */
    uint32_t account; /* its number in the archive */
    uint32_t source;
    uint64_t listed, listed_bytes; /* STAT's */
    uint8_t digest[SHA256_SIZE];
    struct pool_polls complete; /* listed the same */
    struct pool_polls unlisted; /* did not list */
    struct pool_glance glance;  /* at this listing */
};

/* As the meta of a record. */
struct session_run_meta pool_run_meta(const struct pool_run *run,
                                      const struct pool_polls *polls);

/* At least so often. */
#define POOL_RUN_US ((int64_t)3600 * 1000000)

/* What one session with a maildrop learns for the next. Zeroed: nothing. */
struct pool_marks {
    struct pop3_memory pop3; /* no_capa and window_one are the server's, the rest the
                                mailbox's */
    /* A message that broke its session (Q21, Q23, Q29), and how many times in a row: after
     * POOL_TROUBLE_MAX it is quarantined. 0: none. */
    uint64_t trouble; /* checksum of its UIDL and listed size */
    unsigned trouble_count;
    struct pool_run run;
    uint64_t delete_from; /* N up to which delete sessions of this pass have looked */
    /* Of several addresses of the host the one to begin with (Q57), as a checksum: where
     * the mailbox was listed last, or the one behind that which failed. 0: any. */
    uint64_t address;
};

#define POOL_TROUBLE_MAX 3u

/* A fetch session brings what is new; a delete session deletes, from what was archived
 * before it began, as much as one session may (archive/deletion.h). */
enum pool_kind { POOL_FETCH, POOL_DELETE };

/* One session to be held. Everything is copied; the password is wiped once it is used. */
struct pool_job {
    const char *account; /* its name in the archive, 1..NAME_SIZE_MAX bytes */
    const char *host;    /* name or address, 1..NAME_SIZE_MAX bytes */
    uint16_t port;
    /* Where host was found, with the port: the session connects nowhere else. NULL: it is
     * looked up. */
    const struct resolver_answer *answer;
    bool implicit_tls;          /* false: STLS, which is then required */
    const char *ca_file;        /* NULL: the system's; see struct tls_policy */
    const uint8_t *fingerprint; /* NULL, or 32 bytes */
    enum tls_oldest tls_oldest; /* zeroed: TLS 1.2 */
    unsigned avoid;             /* pop3_config's */
    struct pop3_day day;        /* likewise */
    const char *login;          /* 1..NAME_SIZE_MAX bytes */
    const char *password;
    enum pool_kind kind;
    /* What was archived before this time may be deleted: in a POOL_DELETE, or to be counted
     * in a POOL_FETCH. INT64_MAX: all; 0: nothing. Microseconds since the epoch. */
    int64_t delete_before_us;
    struct pool_marks marks;
    bool wire;                        /* pool_config's wire is called */
    const struct pop3_limits *limits; /* NULL: pop3_limits_default */
    void *tag;                        /* the caller's, comes back with the result */
};

struct pool_counts {
    uint64_t listed; /* messages, by STAT; SIZE_UNKNOWN: it never got that far */
    uint64_t listed_bytes;
    uint64_t known;        /* archived before */
    uint64_t fetched;      /* archived now */
    uint64_t deduplicated; /* known by content: only its UIDL is new */
    uint64_t healed;       /* damaged copies replaced */
    uint64_t refused;      /* -ERR to RETR */
    uint64_t quarantined;  /* put aside now */
    uint64_t aside;        /* put aside by an earlier session, not asked for */
    uint64_t bytes;        /* of the bodies received */
    uint64_t deletable; /* messages that a delete session may try to delete next; behind a
                           delete session, so many that it did not come to */
    uint64_t deleted;   /* DELE and QUIT were answered +OK; not confirmed by that */
    uint64_t kept;      /* DELE was refused, or not known to have come to its end */
};

/* Borrowed during the call of done(). */
struct pool_result {
    void *tag;
    const struct outcome *outcome; /* `more` included */
    bool stopped;                  /* ended by pool_stop() */
    struct pool_counts counts;
    struct pool_marks marks; /* to go into the mailbox's next job */
    const char *address;     /* "192.0.2.1:995"; "": never connected */
    const char *tls;         /* "TLSv1.3 TLS_AES_128_GCM_SHA256"; "": no TLS */
    const char *aside;  /* the message that was put aside, one sentence; "": none. It ends
                           its session, so there is one at most */
    const char *notice; /* what an administrator should know of the maildrop, one sentence
                           (Q7, Q13); "": nothing */
    bool unlisted;      /* it was found as it was, and not listed: no complete poll */
    bool renumbered;    /* its UIDLs have changed (Q7): nothing is deleted for a while */
    bool clock_behind;  /* the archive has later times: nothing is deleted */
    uint64_t round_trips;
};

struct pool_config {
    /* Opened with ARCHIVE_WRITE; must outlive the pool. Nobody else may append to it. */
    struct archive *archive;
    unsigned workers;      /* 0: one a core */
    unsigned sessions_max; /* at once; 0: POOL_SESSIONS_DEFAULT */
    enum loop_backend backend;
    uint64_t max_memory; /* bytes; see workers/budget.h */
    bool store_once_off; /* see struct intake_config */
    /* A session has ended: everything it fetched is on disk, or lost with its outcome
     * saying so. Called from a worker's thread; must not block, and may call
     * pool_submit(). */
    void (*done)(void *arg, const struct pool_result *result);
    /* What a session says and hears that asked for it: pop3_callbacks's wire, and "* ..."
     * for where it is connected to, and how. at_ms: since it began. From a worker's thread.
     * May be NULL. */
    void (*wire)(void *arg, void *tag, uint64_t at_ms, const char *text);
    /* See struct repacker_config. */
    bool (*repack_room)(void *arg, uint64_t bytes);
    void (*repack_changed)(void *arg);
    void *arg;
};

/* Returns 0; -EINVAL; -ENOMEM; what the system says about threads and loops; ERR_INDEX. */
int pool_create(const struct pool_config *config, struct pool **out_pool);

/* From any thread. The caller sees to it that an account has one job at a time. Returns 0,
 * and done() will be called once; or -EINVAL (a name is empty), ERR_TOO_LARGE, ERR_SYNTAX
 * (CR or LF in a credential), -ENOMEM, -EAGAIN (all workers are full), ERR_STOPPED: then it
 * is not called. */
int pool_submit(struct pool *pool, const struct pool_job *job);

/* From any thread, before pool_stop(): write down the polls of a run. They are durable
 * when pool_stop() has returned, unless the writer failed. 0 or -ENOMEM: perhaps only those
 * that listed are. */
int pool_write_run(struct pool *pool, const struct pool_run *run);

/* The same: that someone is given messages of an account (its number in the archive). */
int pool_write_access(struct pool *pool, uint32_t account, int64_t time_us,
                      const struct access_meta *meta);

/* To repack the archive while the pool fetches. NULL after pool_stop(). */
struct repacker *pool_repacker(const struct pool *pool);

/* End every session, and repacking: nothing further is fetched, messages that are whole are
 * flushed and committed, connections dropped without QUIT. All results have been delivered
 * and all threads but the resolver's have ended when it returns. Takes as long as the disk
 * needs. Not from done(). */
void pool_stop(struct pool *pool);

/* Stops it first. May wait for name look-ups that are under way. NULL is allowed. */
void pool_destroy(struct pool *pool);

/* The failure that stopped the archive's writer, 0 if none; out_text: one sentence. Nothing
 * more can be archived until the pool is destroyed and the archive opened anew. */
int pool_failure(const struct pool *pool, char out_text[POOL_TEXT_SIZE]);

struct pool_progress {
    uint64_t messages;       /* taken in whole */
    uint64_t received_bytes; /* from servers, TLS included */
    uint64_t stored_bytes;   /* made durable in segments */
    uint64_t commits;        /* one data sync each */
    unsigned sessions;       /* submitted, not ended */
    uint64_t memory;         /* of the budget in use */
    uint64_t memory_peak;
    uint64_t commit_queue;         /* records and others that wait to be durable */
    struct latency commit_latency; /* see writer_commit_latency() */
};

/* From any thread, at any time; the numbers are each right, not all of one moment. */
void pool_progress(const struct pool *pool, struct pool_progress *out_progress);

/* "io_uring", as loop_describe(); valid as long as the pool. */
const char *pool_describe(const struct pool *pool);

#endif
