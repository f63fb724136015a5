#include "workers/pool.h"

#include "archive/digest.h"
#include "archive/error.h"
#include "workers/repacker.h"
#include "workers/session.h"
#include "workers/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All workers' receive buffers together take at most this part of max_memory, on top. */
#define RECEIVE_SHARE 8u
#define RECEIVE_BUFFERS_MIN 16u

/* All workers' TLS sessions likewise, and one worker's at most TLS_SESSIONS_BYTES_MAX. */
#define TLS_SESSIONS_SHARE 32u
#define TLS_SESSIONS_BYTES_MAX ((uint64_t)8 * 1024 * 1024)

/* A mailbox that is expected to be quiet goes to the worker that has its server's TLS
 * sessions as long as that has at most so many sessions more than the least busy one. */
#define PREFERENCE_SLACK 8u

/* The mutex guards stopping and stopped. */
struct pool {
    struct worker_shared shared;
    struct repacker *repacker;
    unsigned worker_sessions_max; /* of each worker */
    unsigned count;
    struct worker **workers;
    pthread_mutex_t mutex;
    bool stopping;
    bool stopped;
};

static unsigned cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count;
}

static unsigned receive_buffers(uint64_t max_memory, unsigned workers)
{
    uint64_t share =
        max_memory / RECEIVE_SHARE / workers / LOOP_RECEIVE_BUFFER_SIZE_DEFAULT;
    unsigned buffers = LOOP_RECEIVE_BUFFERS_DEFAULT;
    while (buffers > RECEIVE_BUFFERS_MIN && buffers > share)
        buffers /= 2;
    return buffers;
}

static size_t tls_sessions_share(uint64_t max_memory, unsigned workers)
{
    uint64_t share = max_memory / TLS_SESSIONS_SHARE / workers;
    return (size_t)(share < TLS_SESSIONS_BYTES_MAX ? share : TLS_SESSIONS_BYTES_MAX);
}

static int start_shared(struct pool *pool, const struct pool_config *config)
{
    struct worker_shared *shared = &pool->shared;
    shared->archive = config->archive;
    shared->store_once_off = config->store_once_off;
    shared->done = config->done;
    shared->wire = config->wire;
    shared->arg = config->arg;
    int err = budget_create(config->max_memory, &shared->budget);
    if (err == 0)
        err = resolver_create(NULL, &shared->resolver);
    if (err == 0)
        err = writer_create(shared->archive, shared->budget, &shared->writer);
    if (err == 0)
        err = prover_create(shared->archive, &shared->prover);
    const struct repacker_config repacking = {.archive = shared->archive,
                                              .writer = shared->writer,
                                              .room = config->repack_room,
                                              .changed = config->repack_changed,
                                              .arg = config->arg};
    if (err == 0)
        err = repacker_create(&repacking, &pool->repacker);
    return err;
}

static int start_workers(struct pool *pool, const struct pool_config *config)
{
    unsigned wanted = config->workers != 0 ? config->workers : cores();
    if (wanted > POOL_WORKERS_MAX)
        wanted = POOL_WORKERS_MAX;
    /* Work goes where there is least: when one is full, all are. */
    unsigned sessions =
        config->sessions_max != 0 ? config->sessions_max : POOL_SESSIONS_DEFAULT;
    pool->worker_sessions_max = (sessions + wanted - 1) / wanted;
    const struct loop_config loop = {
        .backend = config->backend,
        .max_sockets = pool->worker_sessions_max,
        .receive_buffers = receive_buffers(config->max_memory, wanted),
    };
    pool->shared.tls_sessions_bytes = tls_sessions_share(config->max_memory, wanted);
    pool->workers = calloc(wanted, sizeof(struct worker *));
    if (pool->workers == NULL)
        return -ENOMEM;
    while (pool->count < wanted) {
        int err = worker_create(&pool->shared, &loop, &pool->workers[pool->count]);
        if (err != 0)
            return err;
        pool->count++;
    }
    return 0;
}

int pool_create(const struct pool_config *config, struct pool **out_pool)
{
    if (config->sessions_max > LOOP_SOCKETS_MAX)
        return -EINVAL;
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return -ENOMEM;
    pthread_mutex_init(&pool->mutex, NULL);
    int err = start_shared(pool, config);
    if (err == 0)
        err = start_workers(pool, config);
    if (err != 0) {
        pool_destroy(pool);
        return err;
    }
    *out_pool = pool;
    return 0;
}

static unsigned sessions_of(const struct worker *w)
{
    return atomic_load(&w->sessions);
}

/* One whose loop has failed is always the least busy: it comes behind all others. */
static bool has_less(const struct worker *a, const struct worker *b)
{
    bool a_failed = atomic_load(&a->loop_failed), b_failed = atomic_load(&b->loop_failed);
    return a_failed != b_failed ? b_failed : sessions_of(a) < sessions_of(b);
}

/* The same for all accounts of a server, without a word between the workers. */
static struct worker *preferred(const struct pool *pool, const struct pool_job *job)
{
    return pool->workers[checksum64(job->host, strlen(job->host), job->port) % pool->count];
}

/* NULL: all are full. Work, which is what a mailbox has that is not known to be quiet, goes
 * where there is least of it; among equals, and for a quiet one, the preferred worker. */
static struct worker *choose(const struct pool *pool, const struct pool_job *job)
{
    struct worker *best = preferred(pool, job), *least = best;
    for (unsigned i = 0; i < pool->count; i++)
        if (has_less(pool->workers[i], least))
            least = pool->workers[i];
    unsigned limit = sessions_of(least) + PREFERENCE_SLACK;
    bool quiet = job->kind == POOL_FETCH && job->marks.run.begun;
    if (!quiet || sessions_of(best) > limit || atomic_load(&best->loop_failed) ||
        sessions_of(best) >= pool->worker_sessions_max)
        best = least;
    return sessions_of(best) < pool->worker_sessions_max ? best : NULL;
}

int pool_submit(struct pool *pool, const struct pool_job *job)
{
    struct session *s;
    int err = session_create(job, &s);
    if (err != 0)
        return err;
    /* Posted under the mutex, so that it comes before the worker is told to stop. */
    pthread_mutex_lock(&pool->mutex);
    struct worker *w = choose(pool, job);
    if (pool->stopping)
        err = ERR_STOPPED;
    else if (w == NULL)
        err = -EAGAIN;
    if (err == 0) {
        atomic_fetch_add(&w->sessions, 1);
        session_post(s, w);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (err != 0)
        session_discard(s);
    return err;
}

static void record_written(void *arg)
{
    free(arg);
}

/* A record without a body, for which nobody waits; r is taken. 0 or -ENOMEM. */
static int write_record(struct pool *pool, struct record *r)
{
    struct writer_item *item = calloc(1, sizeof(*item));
    int err = item == NULL ? -ENOMEM : record_prepare(r, NULL);
    if (err != 0) {
        record_destroy(r);
        free(item);
        return err;
    }
    *item = (struct writer_item){
        .kind = WRITER_RECORD, .record = r, .done = record_written, .arg = item};
    writer_submit(pool->shared.writer, item);
    return 0;
}

struct session_run_meta pool_run_meta(const struct pool_run *run,
                                      const struct pool_polls *polls)
{
    struct session_run_meta meta = {
        .source = run->source,
        .polls = polls->count,
        .first_us = polls->first_us,
        .last_us = polls->last_us,
        .listed = run->listed,
        .listed_bytes = run->listed_bytes,
    };
    memcpy(meta.digest, run->digest, sizeof(meta.digest));
    return meta;
}

static int write_polls(struct pool *pool, const struct pool_run *run, enum record_type type,
                       const struct pool_polls *polls)
{
    if (polls->count == 0)
        return 0;
    const struct session_run_meta meta = pool_run_meta(run, polls);
    struct record *r = record_create(type, run->account, polls->last_us);
    if (r == NULL)
        return -ENOMEM;
    session_run_meta_encode(&r->meta, &meta);
    return write_record(pool, r);
}

int pool_write_run(struct pool *pool, const struct pool_run *run)
{
    int err = write_polls(pool, run, RECORD_SESSION_RUN, &run->complete);
    return err != 0 ? err : write_polls(pool, run, RECORD_UNLISTED_RUN, &run->unlisted);
}

int pool_write_access(struct pool *pool, uint32_t account, int64_t time_us,
                      const struct access_meta *meta)
{
    struct record *r = record_create(RECORD_ACCESS, account, time_us);
    if (r == NULL)
        return -ENOMEM;
    access_meta_encode(&r->meta, meta);
    return write_record(pool, r);
}

struct repacker *pool_repacker(const struct pool *pool)
{
    return pool->repacker;
}

void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->mutex);
    if (pool->stopped)
        return;
    pool->stopped = true;
    prover_stop(pool->shared.prover);
    repacker_end(pool->repacker);
    for (unsigned i = 0; i < pool->count; i++)
        worker_stop(pool->workers[i]);
    for (unsigned i = 0; i < pool->count; i++)
        worker_join(pool->workers[i]);
    repacker_destroy(pool->repacker);
    pool->repacker = NULL;
    if (pool->shared.writer != NULL)
        writer_wait(pool->shared.writer); /* for runs, which no session waits for */
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    pool_stop(pool);
    resolver_destroy(pool->shared.resolver);
    prover_destroy(pool->shared.prover);
    writer_destroy(pool->shared.writer);
    for (unsigned i = 0; i < pool->count; i++)
        worker_destroy(pool->workers[i]);
    budget_destroy(pool->shared.budget);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

int pool_failure(const struct pool *pool, char out_text[POOL_TEXT_SIZE])
{
    int err = writer_failure(pool->shared.writer);
    out_text[0] = '\0';
    if (err != 0)
        (void)snprintf(out_text, POOL_TEXT_SIZE,
                       "The archive %s cannot be written: %s; fetching has stopped, and "
                       "nothing that was not on disk counts as archived.",
                       archive_path(pool->shared.archive), error_text(err));
    return err;
}

void pool_progress(const struct pool *pool, struct pool_progress *out_progress)
{
    const struct worker_shared *shared = &pool->shared;
    *out_progress = (struct pool_progress){
        .messages = atomic_load(&shared->messages),
        .received_bytes = atomic_load(&shared->received_bytes),
        .stored_bytes = writer_stored_bytes(shared->writer),
        .commits = writer_commits(shared->writer),
        .memory = budget_used(shared->budget),
        .memory_peak = budget_peak(shared->budget),
        .commit_queue = writer_waiting(shared->writer),
        .commit_latency = writer_commit_latency(shared->writer),
    };
    for (unsigned i = 0; i < pool->count; i++)
        out_progress->sessions += sessions_of(pool->workers[i]);
}

const char *pool_describe(const struct pool *pool)
{
    return pool->workers[0]->description;
}
