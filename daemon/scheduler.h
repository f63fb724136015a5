/* Which account's turn it is. A data structure without clock, thread or socket: the caller
 * gives the time (monotonic, in ms, never going back) and says how each session ended. One
 * thread.
 *
 * - No account runs twice at once, and of the accounts that are one mailbox (host, port and
 * user equal) only one runs: Q47. No server has more than its max-connections running, and
 * servers that are found at one address share the lowest of theirs: Q46, sites.h. So each
 * is looked up, see scheduler_lookup(), before a session of its begins.
 * - A service's logins at one address keep a pace, sites.h.
 * - Servers that have accounts waiting take turns, those that wait for room at one address
 * as well; within a server first come, first served.
 * - A session that went well comes back after `poll`, give or take a tenth; at once if
 * there is more to fetch. Behind 8 in a row that brought nothing the time doubles with
 * each, up to `poll-quiet` and never beyond, until one brings something; from a start it
 * is counted anew. RETRY_BACKOFF: 60 s, doubling to 1 h, for SCOPE_MAILBOX (in use,
 * Q38) to 15 min. RETRY_NOW: at once, three times in a row at most, then as RETRY_BACKOFF.
 * RETRY_NEVER: not again, until a reload, scheduler_resume() or scheduler_hurry().
 * outcome.delay_s is kept to, up to a day.
 * - SCOPE_SERVER stops all of a server's accounts for as long as a back-off lasts; then one
 * of them tries, and with its success the rest follow. With RETRY_NEVER the longest
 * back-off: what is wrong is the server's, and no reload of ours mends it.
 * - A service's first sessions are spread over 60 s; over more where that would be more
 * than a hundred a second, or than one a second for each connection that a server allows;
 * but over no more than `poll`.
 * - A service's sessions come due in step, each 50 ms.
 * - SCHEDULER_ONCE: each account at once and once, whatever the state of its server (Q53),
 * and on while there is more to fetch.
 *
 * An account is its index in config->accounts. Every call is O(log n) or amortised so. */
#ifndef MAILCASK_DAEMON_SCHEDULER_H
#define MAILCASK_DAEMON_SCHEDULER_H

#include "daemon/config.h"
#include "daemon/sites.h"
#include "workers/outcome.h"
#include "workers/resolver.h"

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULER_FOREVER UINT64_MAX

struct scheduler;

enum scheduler_mode { SCHEDULER_SERVICE, SCHEDULER_ONCE };

enum scheduler_state {
    SCHEDULER_WAITING, /* for its time */
    SCHEDULER_READY,   /* its time has come; waits for room on its server */
    SCHEDULER_PARKED,  /* as READY; another account has its mailbox */
    SCHEDULER_RUNNING,
    SCHEDULER_SUSPENDED, /* RETRY_NEVER */
    SCHEDULER_PAUSED,    /* its time has come, and scheduler_pause() holds it back */
    SCHEDULER_FINISHED,  /* in SCHEDULER_ONCE, or not selected */
};

/* What a READY account waits for, as far as its server goes. */
enum scheduler_wait {
    SCHEDULER_WAITS_FOR_NOTHING,    /* it is not READY */
    SCHEDULER_WAITS_FOR_TURN,       /* it comes with the next sessions to begin */
    SCHEDULER_WAITS_FOR_LOOKUP,     /* of its server */
    SCHEDULER_WAITS_FOR_SERVER,     /* which is held back */
    SCHEDULER_WAITS_FOR_CONNECTION, /* max-connections of its server are in use */
    SCHEDULER_WAITS_FOR_ADDRESS,    /* max-connections at its server's address are */
    SCHEDULER_WAITS_FOR_PACE,       /* of logins there */
};

/* config: borrowed for the scheduler's life. selected: one for each account, NULL for all;
 * borrowed until return. seed: any number; equal seeds give equal schedules. 0 or -ENOMEM.
 */
int scheduler_new(const struct config *config, const bool *selected,
                  enum scheduler_mode mode, uint64_t seed, uint64_t now_ms,
                  struct scheduler **out);
void scheduler_free(struct scheduler *s);

/* After a reload: take over from the scheduler of the configuration before. Accounts of the
 * same name keep their time and their back-off; those suspended start anew; those running
 * are running here, and scheduler_done() is to be called here. A running account that is
 * gone from the new configuration is nobody's: scheduler_leave(). Look-ups under way are
 * asked for again. s: new and unused; old: only to be freed. 0, or -ENOMEM and nothing has
 * changed. */
int scheduler_adopt(struct scheduler *s, struct scheduler *old, uint64_t now_ms);

/* A server to be looked up: at first each that has accounts, so that it is known who shares
 * an address; then when an account is due and its server's addresses were learnt five
 * minutes ago, or before it failed. scheduler_located() is to be called with the answer,
 * which may be an error: its next session, which is then given that, is to report it.
 * Whoever asks here asks after scheduler_next(). */
bool scheduler_lookup(struct scheduler *s, uint32_t *out_server);
void scheduler_located(struct scheduler *s, uint32_t server,
                       const struct resolver_answer *answer, uint64_t now_ms);

/* The next account whose turn it is; it is running from now on. false: none, see
 * scheduler_wait_ms(). */
bool scheduler_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_account);

/* Where a running account's session may connect to, and nowhere else; or why it cannot.
 * Returns what is for scheduler_leave(). */
uint32_t scheduler_place(const struct scheduler *s, uint32_t account,
                         struct resolver_answer *out);

/* The session of an account that a reload has removed has ended. place: as
 * scheduler_place() returned it when that session began. */
void scheduler_leave(struct scheduler *s, uint32_t place, uint64_t now_ms);

/* Before scheduler_done(): its session has archived something, or has gone well and there
 * was nothing. Of any other session nothing is to be told. */
void scheduler_found(struct scheduler *s, uint32_t account, bool something);

/* The session of a running account has ended, its last message acknowledged. */
void scheduler_done(struct scheduler *s, uint32_t account, const struct outcome *outcome,
                    uint64_t now_ms);

/* Someone asks for this account now: its turn comes at once, suspended or not, its server's
 * back-off notwithstanding. Nothing if it is running, paused or finished. */
void scheduler_hurry(struct scheduler *s, uint32_t account, uint64_t now_ms);

/* What suspended this account has changed: its turn comes, its server's back-off kept.
 * Nothing if it is not suspended. */
void scheduler_resume(struct scheduler *s, uint32_t account, uint64_t now_ms);

/* A paused account does not run: a session under way ends as ever, and when its next time
 * has come it is PAUSED, until it is not paused any more; then its turn comes at once. Not
 * of SCHEDULER_ONCE. Not taken over by scheduler_adopt(). */
void scheduler_pause(struct scheduler *s, uint32_t account, bool paused);

/* How long scheduler_next() has nothing to say unless a session ends or a look-up is
 * answered first: 0 if it has something, SCHEDULER_FOREVER if only these can change that.
 */
uint64_t scheduler_wait_ms(const struct scheduler *s, uint64_t now_ms);

/* SCHEDULER_ONCE: every account is done. Never true of a service. */
bool scheduler_finished(const struct scheduler *s);

/* For the status: an account's state, when it is due (SCHEDULER_FOREVER unless WAITING),
 * and how many times in a row it failed. */
enum scheduler_state scheduler_status(const struct scheduler *s, uint32_t account,
                                      uint64_t *out_due_ms, uint32_t *out_failures);

enum scheduler_wait scheduler_waits_for(const struct scheduler *s, uint32_t account);

/* How many sessions a server has now. server: index in config->servers. */
uint32_t scheduler_server_running(const struct scheduler *s, uint32_t server);

/* Until when a server's accounts are held back; 0: they are not. */
uint64_t scheduler_server_blocked_ms(const struct scheduler *s, uint32_t server);

/* Of a server's addresses the one with the least room; false if none is known. */
bool scheduler_server_site(const struct scheduler *s, uint32_t server,
                           struct site_use *out);

#endif
