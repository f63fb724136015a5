/* One worker thread: a loop, the sessions that live in it, and what they share. Other
 * threads reach it by parcels only, which it opens in its own thread. */
#ifndef MAILCASK_WORKERS_WORKER_H
#define MAILCASK_WORKERS_WORKER_H

#include "archive/codec.h"
#include "archive/intake.h"
#include "workers/budget.h"
#include "workers/loop.h"
#include "workers/pool.h"
#include "workers/prover.h"
#include "workers/resolver.h"
#include "workers/tls.h"
#include "workers/tls_sessions.h"
#include "workers/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

/* Bytes of plaintext that are read at once: one TLS record. */
#define WORKER_PLAIN_SIZE ((size_t)16 * 1024)
/* TLS contexts kept; one that no session uses makes room for another. */
#define WORKER_CONTEXTS_MAX 64u

/* TLS handshakes under way at once. Enough for 800 a second at 150 ms for each round trip,
 * which is what a core can do. */
#define WORKER_HANDSHAKES_MAX 256u

struct session;

/* Something for a worker to do. Embedded in what it is about; at most once under way. */
struct parcel {
    void (*open)(void *arg); /* in the worker's thread, inside loop_run() */
    void *arg;
    STAILQ_ENTRY(parcel) link;
};

/* What all workers of a pool use. */
struct worker_shared {
    struct archive *archive;
    struct budget *budget;
    struct writer *writer;
    struct resolver *resolver;
    struct prover *prover;
    bool store_once_off;       /* see struct intake_config */
    size_t tls_sessions_bytes; /* of each worker's cache of TLS sessions */
    void (*done)(void *arg, const struct pool_result *result);
    void (*wire)(void *arg, void *tag, uint64_t at_ms, const char *text); /* or NULL */
    void *arg;                                                            /* of both */
    _Atomic uint64_t messages;
    _Atomic uint64_t received_bytes;
};

/* One verification policy's TLS context. */
struct worker_context {
    struct tls_context *tls;
    char *ca_file;  /* NULL: the system's */
    uint64_t stamp; /* of that file, to see that it was replaced */
    bool pinned;
    uint8_t fingerprint[TLS_FINGERPRINT_SIZE];
    enum tls_oldest oldest;
    unsigned users;
    TAILQ_ENTRY(worker_context) link; /* last used last */
};

/* The first part is for sessions, in the worker's thread; the mutex guards what follows it;
 * sessions is read by the pool. */
struct worker {
    struct worker_shared *shared;
    struct loop *loop; /* NULL: it is gone; see loop_error */
    struct lookup *lookup;
    struct codec *codec;
    uint8_t plain[WORKER_PLAIN_SIZE];
    TAILQ_HEAD(, session) list;
    bool stopping;
    int loop_error;

    unsigned handshakes;
    TAILQ_HEAD(, session) queue; /* those that wait for a handshake */

    struct tls_sessions *tls_sessions; /* of all contexts */
    TAILQ_HEAD(, worker_context) contexts;
    unsigned context_count;

    struct loop_config loop_config;
    char description[128];     /* the loop's */
    _Atomic unsigned sessions; /* submitted, not ended */
    _Atomic bool loop_failed;  /* each session that still comes fails */

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct loop *wakeable; /* loop, as long as it may be woken */
    STAILQ_HEAD(, parcel) mailbox;
    bool started;
    int start_error;
    struct parcel stop;
};

/* Starts the thread and waits until it can take sessions. shared outlives it; loop: copied.
 * Returns 0, -ENOMEM, -EAGAIN, ERR_INDEX, an error of loop_create(). */
int worker_create(struct worker_shared *shared, const struct loop_config *loop,
                  struct worker **out_worker);

/* End all sessions, then the thread: two steps, so that all workers end at once. No session
 * may be posted any more. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
void worker_destroy(struct worker *w);

/* From any thread. */
void worker_post(struct worker *w, struct parcel *parcel);

/* In the worker's thread: the context for a policy, to be given back. Errors and out_text
 * as tls_context_create(). */
int worker_context_take(struct worker *w, const struct tls_policy *policy,
                        struct worker_context **out_context, char out_text[TLS_TEXT_SIZE]);
void worker_context_give_back(struct worker *w, struct worker_context *context);

#endif
