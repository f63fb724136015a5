#include "workers/writer.h"

#include "archive/error.h"
#include "archive/store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* How often the age of the open segment is looked at while nothing else happens. */
#define AGE_CHECK_MS 60000

STAILQ_HEAD(items, writer_item);

/* The mutex guards what is up to `stopping`; what follows is the thread's alone, but for
 * the atomics. 1. An item is in queue, in group, or its owner's. 2. While the thread waits
 * the group is empty. */
struct writer {
    struct archive *archive;
    struct budget *budget;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct items queue;
    uint64_t queue_began_ms;
    uint64_t queue_bytes;
    bool queue_urgent;
    bool stopping;

    struct items group; /* appended, not yet committed */
    uint64_t group_bytes;
    uint64_t age_checked_ms;

    _Atomic int failure;
    _Atomic uint64_t commits;
    _Atomic uint64_t stored_bytes;
    _Atomic uint64_t waiting; /* in queue and group */
    struct latency_counter commit_latency;
};

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}

static void fail(struct writer *w, int err)
{
    int failure = store_failure(w->archive);
    if (atomic_load(&w->failure) == 0)
        atomic_store(&w->failure, failure != 0 ? failure : err);
}

static void finish(struct writer *w, struct writer_item *item)
{
    if (item->err == 0)
        item->err = atomic_load(&w->failure);
    if (item->memory > 0)
        budget_return(w->budget, item->memory);
    atomic_fetch_sub(&w->waiting, 1);
    item->done(item->arg);
}

/* A group of barriers alone has nothing to write: that is no commit. */
static void commit_store(struct writer *w)
{
    uint64_t commits = store_commits(w->archive), began_us = clock_us();
    int err = store_commit(w->archive);
    if (err != 0)
        fail(w, err);
    else
        atomic_fetch_add(&w->stored_bytes, w->group_bytes);
    if (err != 0 || store_commits(w->archive) != commits)
        latency_count(&w->commit_latency, clock_us() - began_us);
}

/* Everything in the group becomes durable, or is refused. */
static void commit(struct writer *w)
{
    struct items group = STAILQ_HEAD_INITIALIZER(group);
    struct writer_item *item;
    if (STAILQ_EMPTY(&w->group))
        return;
    if (atomic_load(&w->failure) == 0)
        commit_store(w);
    atomic_store(&w->commits, store_commits(w->archive));
    w->group_bytes = 0;
    STAILQ_CONCAT(&group, &w->group);
    while ((item = STAILQ_FIRST(&group)) != NULL) {
        STAILQ_REMOVE_HEAD(&group, link);
        finish(w, item);
    }
}

static void append_record(struct writer *w, struct writer_item *item)
{
    struct record *record = item->record;
    item->record = NULL;
    uint64_t size = record_size(&record->header);
    int err = store_append(w->archive, record);
    if (err != 0)
        fail(w, err);
    else
        w->group_bytes += size;
}

static void find_origin(struct writer *w, struct writer_item *item)
{
    int err = store_origin(w->archive, item->name, item->host, item->login, &item->account,
                           &item->source);
    if (err == ERR_TOO_LARGE)
        item->err = err; /* the name's fault, not the store's */
    else if (err != 0)
        fail(w, err);
}

static void run_call(struct writer *w, struct writer_item *item)
{
    item->err = item->call(item->call_arg);
    if (store_failure(w->archive) != 0)
        fail(w, item->err);
}

static void refuse(struct writer_item *item)
{
    record_destroy(item->record);
    item->record = NULL;
}

static void take_in(struct writer *w, struct writer_item *item)
{
    item->err = 0;
    STAILQ_INSERT_TAIL(&w->group, item, link);
    if (atomic_load(&w->failure) != 0) {
        refuse(item);
        return;
    }
    switch (item->kind) {
    case WRITER_RECORD:
        append_record(w, item);
        break;
    case WRITER_ORIGIN:
        find_origin(w, item);
        break;
    case WRITER_BARRIER:
        break;
    case WRITER_CALL:
        run_call(w, item);
        break;
    }
}

static void work_off(struct writer *w, struct items *items)
{
    struct writer_item *item;
    while ((item = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, link);
        take_in(w, item);
        if (w->group_bytes >= WRITER_GROUP_BYTES)
            commit(w);
    }
    commit(w);
}

static void seal_if_old(struct writer *w)
{
    int64_t created_us = store_segment_created(w->archive);
    w->age_checked_ms = clock_ms();
    if (created_us == 0 || atomic_load(&w->failure) != 0)
        return;
    int64_t age_s = (int64_t)time(NULL) - created_us / 1000000;
    if (age_s < WRITER_SEGMENT_AGE_S)
        return;
    int err = store_seal(w->archive);
    if (err != 0)
        fail(w, err);
}

static void wait_until(struct writer *w, uint64_t ms)
{
    struct timespec until = {.tv_sec = (time_t)(ms / 1000),
                             .tv_nsec = (long)(ms % 1000) * 1000000};
    pthread_cond_timedwait(&w->work, &w->mutex, &until);
}

/* With the mutex held: there is no reason to wait for more before the queue is committed.
 */
static bool queue_is_full(const struct writer *w)
{
    return w->queue_urgent || w->queue_bytes >= WRITER_GROUP_BYTES ||
           atomic_load(&w->failure) != 0;
}

/* Wait, with the mutex held, until the queue is due, or the segment's age. */
static void wait_for_work(struct writer *w)
{
    while (!w->stopping) {
        bool idle = STAILQ_EMPTY(&w->queue);
        uint64_t until =
            idle ? w->age_checked_ms + AGE_CHECK_MS : w->queue_began_ms + WRITER_GROUP_MS;
        if ((!idle && queue_is_full(w)) || clock_ms() >= until)
            return;
        wait_until(w, until);
    }
}

static void take_queue(struct writer *w, struct items *out)
{
    STAILQ_CONCAT(out, &w->queue);
    w->queue_bytes = 0;
    w->queue_urgent = false;
}

static void *run(void *arg)
{
    struct writer *w = arg;
    bool over = false;
    while (!over) {
        struct items items = STAILQ_HEAD_INITIALIZER(items);
        pthread_mutex_lock(&w->mutex);
        wait_for_work(w);
        over = w->stopping; /* nothing is submitted any more */
        take_queue(w, &items);
        pthread_mutex_unlock(&w->mutex);
        if (STAILQ_EMPTY(&items))
            seal_if_old(w);
        else
            work_off(w, &items);
    }
    return NULL;
}

static int start(struct writer *w)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->work, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&w->mutex, NULL);
    return -pthread_create(&w->thread, NULL, run, w);
}

static void release(struct writer *w)
{
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

int writer_create(struct archive *archive, struct budget *budget,
                  struct writer **out_writer)
{
    struct writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    w->archive = archive;
    w->budget = budget;
    w->age_checked_ms = clock_ms();
    STAILQ_INIT(&w->queue);
    STAILQ_INIT(&w->group);
    int err = start(w);
    if (err != 0) {
        release(w);
        return err;
    }
    *out_writer = w;
    return 0;
}

void writer_destroy(struct writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    release(w);
}

static uint64_t item_bytes(const struct writer_item *item)
{
    return item->kind == WRITER_RECORD ? record_size(&item->record->header) : 0;
}

/* The thread is woken to look at the clock, and when there is enough: not for each item. */
void writer_submit(struct writer *w, struct writer_item *item)
{
    pthread_mutex_lock(&w->mutex);
    assert(!w->stopping);
    atomic_fetch_add(&w->waiting, 1);
    bool first = STAILQ_EMPTY(&w->queue);
    if (first)
        w->queue_began_ms = clock_ms();
    STAILQ_INSERT_TAIL(&w->queue, item, link);
    w->queue_bytes += item_bytes(item);
    w->queue_urgent |= item->urgent;
    if (first || queue_is_full(w))
        pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->mutex);
}

static void post(void *arg)
{
    sem_t *done = arg;
    (void)sem_post(done);
}

static void submit_and_wait(struct writer *w, struct writer_item *item)
{
    sem_t done;
    (void)sem_init(&done, 0, 0);
    item->urgent = true;
    item->done = post;
    item->arg = &done;
    writer_submit(w, item);
    while (sem_wait(&done) != 0) /* EINTR */
        continue;
    (void)sem_destroy(&done);
}

void writer_wait(struct writer *w)
{
    struct writer_item barrier = {.kind = WRITER_BARRIER};
    submit_and_wait(w, &barrier);
}

int writer_call(struct writer *w, int (*call)(void *arg), void *arg)
{
    struct writer_item item = {.kind = WRITER_CALL, .call = call, .call_arg = arg};
    submit_and_wait(w, &item);
    return item.err;
}

int writer_failure(const struct writer *w)
{
    return atomic_load(&w->failure);
}

uint64_t writer_commits(const struct writer *w)
{
    return atomic_load(&w->commits);
}

uint64_t writer_stored_bytes(const struct writer *w)
{
    return atomic_load(&w->stored_bytes);
}

struct latency writer_commit_latency(const struct writer *w)
{
    return latency_read(&w->commit_latency);
}

uint64_t writer_waiting(const struct writer *w)
{
    return atomic_load(&w->waiting);
}
