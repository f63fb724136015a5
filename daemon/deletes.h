/* Whether an account's next session fetches or deletes. A pass over a maildrop fetches
 * until nothing is new; if the account's rule lets something go, a delete session follows
 * at once, or several, as each deletes a bounded number. No clock, no socket; one thread.
 */
#ifndef MAILCASK_DAEMON_DELETES_H
#define MAILCASK_DAEMON_DELETES_H

#include "daemon/config.h"
#include "daemon/sessions.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stdint.h>

/* A delete session that could not delete anything is not held again for the same messages
 * before so long. */
#define DELETES_AGAIN_MS ((uint64_t)24 * 3600 * 1000)
/* Delete sessions in a row that the server does not let in for LOGIN-DELAY (Q39): each is
 * held again after that delay; then it counts as one that failed. */
#define DELETES_NOT_LET_IN_MAX 3u
/* Before the next one after one that failed; doubles to DELETES_AGAIN_MS. */
#define DELETES_BACKOFF_MS ((uint64_t)15 * 60 * 1000)
/* The wall clock's going astray, against the one that never jumps, beyond which nothing is
 * deleted any more. */
#define DELETES_CLOCK_JUMP_S ((int64_t)24 * 3600)

struct deletes;

/* Nothing known yet. Accounts are their indices in config, which is borrowed for life.
 * offset_s: of CLOCK_REALTIME from CLOCK_BOOTTIME, now. 0 or -ENOMEM. */
int deletes_new(const struct config *config, int64_t offset_s, struct deletes **out);
void deletes_free(struct deletes *d);

/* After a reload: what was known of accounts of the same name. */
void deletes_adopt(struct deletes *d, const struct deletes *old);

/* False once the clock has jumped; *out_news then when it is found out. Until a reload or a
 * restart confirms that the clock is right. */
bool deletes_clock_right(struct deletes *d, int64_t offset_s, bool *out_news);

/* Whether this session is the first to find the clock behind what was archived. */
bool deletes_clock_behind_news(struct deletes *d, const struct session_end *end);

/* Whether deletion is switched on, in the configuration and, read anew, in its file: so off
 * holds at once, and on only with a reload, together with the rules that belong to it.
 * False too if the file cannot be read. Costs a stat() while it is the same. */
bool deletes_on(struct deletes *d);

/* For the administrator: "off", "on", or "suspended" while the clock is not right. Costs as
 * deletes_on(). */
const char *deletes_word(struct deletes *d);

/* For a session that begins now. kind: POOL_DELETE only if deletes_on() and the clock is
 * right. before_us: as struct pool_job. */
enum pool_kind deletes_kind(struct deletes *d, uint32_t account);
int64_t deletes_before_us(const struct deletes *d, uint32_t account, int64_t now_us);

/* A session has ended: what comes next. True: a delete session, at once. */
bool deletes_ended(struct deletes *d, const struct session_end *end, uint64_t now_ms);

/* Whether the administrator has been told that this account's UIDLs have changed, and
 * remember that from now on. */
bool deletes_renumbered_news(struct deletes *d, const struct session_end *end);

#endif
