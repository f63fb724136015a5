#include "workers/prover.h"

#include "archive/error.h"
#include "archive/proof.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

STAILQ_HEAD(items, prover_item);

/* The mutex guards queue; proof is the thread's alone. Invariant: an item is in queue,
 * under way in the thread, or its owner's. */
struct prover {
    struct proof *proof;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct items queue;

    atomic_bool stopping; /* written under the mutex; so is ending */
    bool ending;
    _Atomic uint64_t bytes_read;
    _Atomic uint64_t claims;
};

struct work {
    struct prover *prover;
    struct prover_item *item;
};

static bool is_over(const struct work *w)
{
    return atomic_load(&w->prover->stopping) || atomic_load(&w->item->unwanted);
}

/* Between the pieces of a long message. */
static int go_on(void *arg, const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    return is_over(arg) ? ERR_STOPPED : 0;
}

static void prove(struct prover *p, struct prover_item *item)
{
    struct work work = {.prover = p, .item = item};
    for (size_t i = 0; i < item->count; i++) {
        struct prover_claim *c = &item->claims[i];
        c->err = is_over(&work) ? ERR_STOPPED
                                : proof_message(p->proof, item->account, c->n, c->sha256,
                                                go_on, &work);
        if (c->err != ERR_STOPPED)
            atomic_fetch_add(&p->claims, 1);
    }
    proof_begin(p->proof);
    atomic_store(&p->bytes_read, proof_bytes_read(p->proof));
}

static void *run(void *arg)
{
    struct prover *p = arg;
    struct prover_item *item;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while ((item = STAILQ_FIRST(&p->queue)) == NULL && !p->ending)
            pthread_cond_wait(&p->work, &p->mutex);
        if (item == NULL)
            break;
        STAILQ_REMOVE_HEAD(&p->queue, link);
        pthread_mutex_unlock(&p->mutex);
        prove(p, item);
        item->done(item->arg);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* Without signals: they are for the threads that expect them. */
static int start_thread(struct prover *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static void release(struct prover *p)
{
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mutex);
    proof_destroy(p->proof);
    free(p);
}

int prover_create(struct archive *archive, struct prover **out_prover)
{
    struct prover *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    STAILQ_INIT(&p->queue);
    /* With default attributes neither of these fails. */
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    int err = proof_create(archive, &p->proof);
    if (err == 0)
        err = start_thread(p);
    if (err != 0) {
        release(p);
        return err;
    }
    *out_prover = p;
    return 0;
}

void prover_stop(struct prover *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stopping, true);
    pthread_mutex_unlock(&p->mutex);
}

void prover_destroy(struct prover *p)
{
    if (p == NULL)
        return;
    prover_stop(p);
    pthread_mutex_lock(&p->mutex);
    p->ending = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->thread, NULL);
    release(p);
}

void prover_submit(struct prover *p, struct prover_item *item)
{
    pthread_mutex_lock(&p->mutex);
    assert(!p->ending);
    STAILQ_INSERT_TAIL(&p->queue, item, link);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

uint64_t prover_bytes_read(const struct prover *p)
{
    return atomic_load(&p->bytes_read);
}

uint64_t prover_claims(const struct prover *p)
{
    return atomic_load(&p->claims);
}
