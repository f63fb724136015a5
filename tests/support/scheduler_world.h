/* A configuration made by hand, and a scheduler over it that a test moves through time. */
#ifndef MAILCASK_SUPPORT_SCHEDULER_WORLD_H
#define MAILCASK_SUPPORT_SCHEDULER_WORLD_H

#include "daemon/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define START ((uint64_t)1000000)
#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define POLL (15 * MINUTE)
#define SERVERS_MAX 4
#define ACCOUNTS_MAX 64

struct world {
    struct config config;
    struct config_server servers[SERVERS_MAX];
    struct config_account accounts[ACCOUNTS_MAX];
    char names[ACCOUNTS_MAX][24];
    char addresses[SERVERS_MAX][2]
                  [48]; /* where each server is found; the second may be "" */
    struct scheduler *s;
};

/* How sessions end. */
extern const struct outcome ended_good;
extern const struct outcome ended_more;
extern const struct outcome ended_busy;
extern const struct outcome ended_failed;
extern const struct outcome ended_denied;
extern const struct outcome ended_stale;
extern const struct outcome ended_down;
extern const struct outcome ended_distrusted;

/* accounts spread over servers in turn: account i is on server i % servers, each with at
 * most limit connections, and each at an address of its own. */
void world_make(struct world *w, uint32_t servers, uint32_t accounts, uint32_t limit);

/* An answer with these addresses, as numbers; b may be "". No address at all: no such name.
 */
struct resolver_answer world_answer(const char *a, const char *b);

/* Answer every look-up that is wanted. How many. */
uint32_t world_locate(struct world *w, uint64_t now);

/* scheduler_next(), with the look-ups that it wants. */
bool world_next(struct world *w, uint64_t now, uint32_t *out_account);

/* Make the scheduler; scheduler_free() it. */
void world_start(struct world *w, enum scheduler_mode mode);

/* The next account that is due, which there must be; and that there is none. */
uint32_t world_take(struct world *w, uint64_t now);
void world_take_nothing(struct world *w, uint64_t now);

uint64_t world_due(const struct world *w, uint32_t account);
enum scheduler_state world_state(const struct world *w, uint32_t account);

/* By then the service's first time has come for everyone. */
uint64_t world_after_spread(void);

#endif
