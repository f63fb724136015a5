/* One limit for the memory that grows with what servers send: listings, open blocks,
 * records on their way to the disk. What every open session takes alike is not in it: their
 * number bounds that (POOL_SESSION_MEMORY). Any thread.
 *
 * Memory is claimed before it is used. A claim that does not fit waits and is granted
 * later:
 * - BUDGET_SESSION: the least listing of a connection, up to half of the limit;
 * - BUDGET_WORK: a session's working memory, before its first RETR, up to three quarters;
 * - BUDGET_AGAIN: the working memory that went to the writer with a record, up to all.
 *
 * In each class first come, first served, but AGAIN before WORK before SESSION.
 * BUDGET_LISTING is for budget_resize(), which does not wait: a listing that grows, up to
 * five eighths; that of a session with working memory as AGAIN.
 *
 * 1. used <= limit, but for (3) and budget_pass() beyond a claim.
 * 2. A working claim is granted whole or not at all: its session can always finish a piece
 * and hand it to the writer, who gives the memory back.
 * 3. While no session holds a whole working claim and nothing is with the writer, the first
 * that waits is granted although it does not fit: nobody waits for ever.
 * 4. Listings leave an eighth to working claims, and these a quarter to the listings of
 * their sessions: what waits for a listing's sake waits for a working claim. */
#ifndef MAILCASK_WORKERS_BUDGET_H
#define MAILCASK_WORKERS_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* A smaller limit is taken as this one. */
#define BUDGET_LIMIT_MIN ((uint64_t)8 * 1024 * 1024)

struct budget;

enum budget_class {
    BUDGET_AGAIN,
    BUDGET_WORK,
    BUDGET_LISTING,
    BUDGET_SESSION,
    BUDGET_CLASSES,
};

/* What one owner holds. Zero it, fill in granted and arg; the rest is the budget's. While
 * it waits, only budget_cancel() and budget_pass() may be called for it. */
struct budget_claim {
    /* Called once for a claim that waited, from any thread, with the budget locked: it may
     * not call the budget. */
    void (*granted)(void *arg);
    void *arg;
    uint64_t held;
    uint64_t wanted;
    bool working; /* held whole in WORK or AGAIN */
    enum budget_class queue;
    bool waiting;
    TAILQ_ENTRY(budget_claim) link;
};

/* limit in bytes. 0 or -ENOMEM. */
int budget_create(uint64_t limit, struct budget **out_budget);
/* Everything has been given back. NULL is allowed. */
void budget_destroy(struct budget *b);

/* Bring the claim up to `whole` bytes; not in BUDGET_LISTING. True: it holds them. False:
 * it waits. */
bool budget_take(struct budget *b, struct budget_claim *claim, enum budget_class queue,
                 uint64_t whole);
/* Bring the claim to `whole` bytes, up or down, if that fits its class; does not wait. Down
 * always fits. */
bool budget_resize(struct budget *b, struct budget_claim *claim, enum budget_class queue,
                   uint64_t whole);
/* Give back all that is held. */
void budget_drop(struct budget *b, struct budget_claim *claim);
/* Wait no longer. False if it was granted meanwhile: granted() was or is being called. */
bool budget_cancel(struct budget *b, struct budget_claim *claim);

/* size bytes of the claim are the writer's now. Where it holds less, the rest is counted on
 * top. */
void budget_pass(struct budget *b, struct budget_claim *claim, uint64_t size);
/* The writer has freed them. */
void budget_return(struct budget *b, uint64_t size);

uint64_t budget_used(const struct budget *b);
uint64_t budget_peak(const struct budget *b);
uint64_t budget_limit(const struct budget *b);

#endif
