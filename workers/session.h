/* One session with one maildrop, from job to result, in its worker's thread: memory, the
 * account's numbers, the host's addresses, connection, TLS, POP3, messages into the
 * archive, QUIT, the SESSION record. It frees itself once the result is delivered. */
#ifndef MAILCASK_WORKERS_SESSION_H
#define MAILCASK_WORKERS_SESSION_H

#include "workers/pool.h"
#include "workers/worker.h"

/* Limits. */
#define SESSION_CONNECT_MS ((uint64_t)30 * 1000) /* for each address */
#define SESSION_TURN_MS ((uint64_t)20 * 1000)    /* for others' handshakes, then at once */
#define SESSION_HANDSHAKE_MS ((uint64_t)60 * 1000)
#define SESSION_LEAVE_MS ((uint64_t)1000) /* to get rid of close_notify or an alert */
#define SESSION_KEEPALIVE_MS ((uint64_t)30 * 1000)
#define SESSION_WAIT_MS ((uint64_t)10 * 60 * 1000) /* for memory, or for the writer */

/* For copies to be read back from the disk: what is not proved by then is left to a later
 * session. */
#define SESSION_PROOF_MS ((uint64_t)5 * 60 * 1000)

/* What the budget counts for a connection: a listing of up to so much (what is beyond is
 * counted apart), little enough for 10,000 of them in the half of 64 MiB; and the working
 * memory of a session that fetches: an open block, the same compressed, the metas. */
#define SESSION_LISTING_MEMORY ((uint64_t)3 * 1024)
#define SESSION_META_MEMORY ((uint64_t)256 * 1024)
#define SESSION_WORK_MEMORY (2 * ((uint64_t)CHUNK_RAW_MAX + SESSION_META_MEMORY))

struct session;

/* From any thread. Errors as pool_submit(). */
int session_create(const struct pool_job *job, struct session **out_session);
/* One that was not posted. */
void session_discard(struct session *s);
/* Give it to a worker, whose `sessions` has counted it. */
void session_post(struct session *s, struct worker *w);

/* In the worker's thread. The next of the worker's list. */
struct session *session_next(const struct session *s);
/* End it; its result comes soon. It may be gone on return. */
void session_stop(struct session *s);

#endif
