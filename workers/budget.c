#include "workers/budget.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

TAILQ_HEAD(claims, budget_claim);

/* used and peak are written under the mutex and read without it. */
struct budget {
    pthread_mutex_t mutex;
    uint64_t limit;
    _Atomic uint64_t used;
    _Atomic uint64_t peak;
    uint64_t with_writer; /* bytes of used */
    unsigned working;     /* claims held whole */
    struct claims waiting[BUDGET_CLASSES];
};

int budget_create(uint64_t limit, struct budget **out_budget)
{
    struct budget *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return -ENOMEM;
    pthread_mutex_init(&b->mutex, NULL);
    b->limit = limit < BUDGET_LIMIT_MIN ? BUDGET_LIMIT_MIN : limit;
    for (unsigned i = 0; i < BUDGET_CLASSES; i++)
        TAILQ_INIT(&b->waiting[i]);
    *out_budget = b;
    return 0;
}

void budget_destroy(struct budget *b)
{
    if (b == NULL)
        return;
    assert(atomic_load(&b->used) == 0);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

static void use(struct budget *b, uint64_t size)
{
    uint64_t used = atomic_load(&b->used) + size;
    atomic_store(&b->used, used);
    if (used > atomic_load(&b->peak))
        atomic_store(&b->peak, used);
}

static void unuse(struct budget *b, uint64_t size)
{
    uint64_t used = atomic_load(&b->used);
    assert(size <= used);
    atomic_store(&b->used, used - size);
}

static uint64_t ceiling(const struct budget *b, enum budget_class queue)
{
    switch (queue) {
    case BUDGET_SESSION:
        return b->limit / 2;
    case BUDGET_LISTING:
        return b->limit / 8 * 5;
    case BUDGET_WORK:
        return b->limit / 4 * 3;
    case BUDGET_AGAIN:
    case BUDGET_CLASSES:
        break;
    }
    return b->limit;
}

static bool fits(const struct budget *b, enum budget_class queue, uint64_t more)
{
    uint64_t top = ceiling(b, queue), used = atomic_load(&b->used);
    return used <= top && more <= top - used;
}

static void grant(struct budget *b, struct budget_claim *claim, enum budget_class queue,
                  uint64_t whole)
{
    if (whole > claim->held) {
        use(b, whole - claim->held);
        claim->held = whole;
    }
    if (queue != BUDGET_SESSION && !claim->working) {
        claim->working = true;
        b->working++;
    }
}

static void stop_waiting(struct budget *b, struct budget_claim *claim)
{
    TAILQ_REMOVE(&b->waiting[claim->queue], claim, link);
    claim->waiting = false;
}

static void grant_waiting(struct budget *b, struct budget_claim *claim)
{
    stop_waiting(b, claim);
    grant(b, claim, claim->queue, claim->wanted);
    claim->granted(claim->arg);
}

/* Of those that already hold a part, the first that fits: the last of them to become
 * incomplete always does, once the writer is done, if nobody else took its share. */
static void grant_again(struct budget *b)
{
    struct budget_claim *claim = TAILQ_FIRST(&b->waiting[BUDGET_AGAIN]);
    while (claim != NULL) {
        struct budget_claim *next = TAILQ_NEXT(claim, link);
        if (fits(b, BUDGET_AGAIN, claim->wanted - claim->held))
            grant_waiting(b, claim);
        claim = next;
    }
}

static bool stuck(const struct budget *b)
{
    return b->working == 0 && b->with_writer == 0;
}

static void grant_in_order(struct budget *b, enum budget_class queue)
{
    struct budget_claim *claim;
    while ((claim = TAILQ_FIRST(&b->waiting[queue])) != NULL &&
           fits(b, queue, claim->wanted - claim->held))
        grant_waiting(b, claim);
}

/* Memory was given back, or one more waits. */
static void serve(struct budget *b)
{
    grant_again(b);
    if (TAILQ_EMPTY(&b->waiting[BUDGET_AGAIN]))
        grant_in_order(b, BUDGET_WORK);
    for (unsigned i = BUDGET_AGAIN; i <= BUDGET_WORK && stuck(b); i++)
        if (!TAILQ_EMPTY(&b->waiting[i])) {
            grant_waiting(b, TAILQ_FIRST(&b->waiting[i]));
            break;
        }
    if (TAILQ_EMPTY(&b->waiting[BUDGET_AGAIN]) && TAILQ_EMPTY(&b->waiting[BUDGET_WORK]))
        grant_in_order(b, BUDGET_SESSION);
}

static bool none_before(const struct budget *b, enum budget_class queue)
{
    for (unsigned i = BUDGET_AGAIN; i <= (unsigned)queue; i++)
        if (!TAILQ_EMPTY(&b->waiting[i]))
            return false;
    return true;
}

bool budget_take(struct budget *b, struct budget_claim *claim, enum budget_class queue,
                 uint64_t whole)
{
    assert(!claim->waiting && queue != BUDGET_LISTING);
    pthread_mutex_lock(&b->mutex);
    uint64_t more = whole > claim->held ? whole - claim->held : 0;
    bool now = (queue == BUDGET_AGAIN || none_before(b, queue)) && fits(b, queue, more);
    if (!now && queue != BUDGET_SESSION && stuck(b))
        now = none_before(b, BUDGET_WORK);
    if (now) {
        grant(b, claim, queue, whole);
    } else {
        claim->wanted = whole > claim->held ? whole : claim->held;
        claim->queue = queue;
        claim->waiting = true;
        TAILQ_INSERT_TAIL(&b->waiting[queue], claim, link);
    }
    pthread_mutex_unlock(&b->mutex);
    return now;
}

bool budget_resize(struct budget *b, struct budget_claim *claim, enum budget_class queue,
                   uint64_t whole)
{
    assert(!claim->waiting);
    pthread_mutex_lock(&b->mutex);
    bool down = whole <= claim->held;
    bool done = down || fits(b, queue, whole - claim->held);
    if (down)
        unuse(b, claim->held - whole);
    else if (done)
        use(b, whole - claim->held);
    if (done)
        claim->held = whole;
    if (down)
        serve(b);
    pthread_mutex_unlock(&b->mutex);
    return done;
}

static void not_working(struct budget *b, struct budget_claim *claim)
{
    if (claim->working)
        b->working--;
    claim->working = false;
}

void budget_drop(struct budget *b, struct budget_claim *claim)
{
    assert(!claim->waiting);
    pthread_mutex_lock(&b->mutex);
    not_working(b, claim);
    unuse(b, claim->held);
    claim->held = 0;
    serve(b);
    pthread_mutex_unlock(&b->mutex);
}

bool budget_cancel(struct budget *b, struct budget_claim *claim)
{
    pthread_mutex_lock(&b->mutex);
    bool waited = claim->waiting;
    if (waited) {
        stop_waiting(b, claim);
        serve(b); /* it may have been in the way of others */
    }
    pthread_mutex_unlock(&b->mutex);
    return waited;
}

void budget_pass(struct budget *b, struct budget_claim *claim, uint64_t size)
{
    pthread_mutex_lock(&b->mutex);
    uint64_t from_claim = size < claim->held ? size : claim->held;
    claim->held -= from_claim;
    use(b, size - from_claim);
    b->with_writer += size;
    if (from_claim > 0)
        not_working(b, claim);
    pthread_mutex_unlock(&b->mutex);
}

void budget_return(struct budget *b, uint64_t size)
{
    pthread_mutex_lock(&b->mutex);
    assert(size <= b->with_writer);
    b->with_writer -= size;
    unuse(b, size);
    serve(b);
    pthread_mutex_unlock(&b->mutex);
}

uint64_t budget_used(const struct budget *b)
{
    return atomic_load(&b->used);
}

uint64_t budget_peak(const struct budget *b)
{
    return atomic_load(&b->peak);
}

uint64_t budget_limit(const struct budget *b)
{
    return b->limit;
}
