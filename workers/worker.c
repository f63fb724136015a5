#include "workers/worker.h"

#include "archive/digest.h"
#include "archive/error.h"
#include "workers/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void worker_post(struct worker *w, struct parcel *parcel)
{
    /* Woken under the mutex: whoever finds the mailbox empty afterwards may destroy the
     * loop. */
    pthread_mutex_lock(&w->mutex);
    bool first = STAILQ_EMPTY(&w->mailbox);
    STAILQ_INSERT_TAIL(&w->mailbox, parcel, link);
    if (first && w->wakeable != NULL)
        loop_wake(w->wakeable);
    if (first)
        pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void open_parcels(void *arg)
{
    struct worker *w = arg;
    STAILQ_HEAD(, parcel) parcels = STAILQ_HEAD_INITIALIZER(parcels);
    struct parcel *parcel;
    pthread_mutex_lock(&w->mutex);
    STAILQ_CONCAT(&parcels, &w->mailbox);
    pthread_mutex_unlock(&w->mutex);
    while ((parcel = STAILQ_FIRST(&parcels)) != NULL) {
        STAILQ_REMOVE_HEAD(&parcels, link);
        parcel->open(parcel->arg);
    }
}

static void stop_sessions(struct worker *w)
{
    struct session *s = TAILQ_FIRST(&w->list);
    while (s != NULL) {
        struct session *next = session_next(s);
        session_stop(s);
        s = next;
    }
}

static void open_stop(void *arg)
{
    struct worker *w = arg;
    w->stopping = true;
    stop_sessions(w);
}

/* Contexts */

static void context_destroy(struct worker *w, struct worker_context *context)
{
    TAILQ_REMOVE(&w->contexts, context, link);
    w->context_count--;
    tls_context_destroy(context->tls);
    free(context->ca_file);
    free(context);
}

/* Tells one state of a CA file from another; 0 without one. */
static uint64_t stamp_of(const struct tls_policy *policy)
{
    struct stat st;
    if (policy->fingerprint != NULL || stat(tls_ca_path(policy), &st) != 0)
        return 0;
    const int64_t parts[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, (int64_t)st.st_size,
                             (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
    return checksum64(parts, sizeof(parts), 0);
}

static bool same_policy(const struct worker_context *c, const struct tls_policy *policy)
{
    if (c->oldest != policy->oldest || c->pinned != (policy->fingerprint != NULL))
        return false;
    if (c->pinned)
        return memcmp(c->fingerprint, policy->fingerprint, sizeof(c->fingerprint)) == 0;
    bool same_path = c->ca_file == NULL || policy->ca_file == NULL
                         ? c->ca_file == policy->ca_file
                         : strcmp(c->ca_file, policy->ca_file) == 0;
    return same_path && c->stamp == stamp_of(policy);
}

static void make_room(struct worker *w)
{
    struct worker_context *c = TAILQ_FIRST(&w->contexts);
    while (c != NULL && w->context_count >= WORKER_CONTEXTS_MAX) {
        struct worker_context *next = TAILQ_NEXT(c, link);
        if (c->users == 0)
            context_destroy(w, c);
        c = next;
    }
}

static int context_create(struct worker *w, const struct tls_policy *policy,
                          struct worker_context **out_context, char out_text[TLS_TEXT_SIZE])
{
    struct worker_context *c = calloc(1, sizeof(*c));
    if (c == NULL)
        goto no_memory;
    if (policy->fingerprint != NULL) {
        c->pinned = true;
        memcpy(c->fingerprint, policy->fingerprint, sizeof(c->fingerprint));
    }
    if (policy->ca_file != NULL && (c->ca_file = strdup(policy->ca_file)) == NULL)
        goto no_memory;
    c->oldest = policy->oldest;
    c->stamp = stamp_of(policy);
    int err = tls_context_create(policy, &c->tls, out_text);
    if (err != 0) {
        free(c->ca_file);
        free(c);
        return err;
    }
    tls_context_use_sessions(c->tls, w->tls_sessions);
    TAILQ_INSERT_TAIL(&w->contexts, c, link);
    w->context_count++;
    *out_context = c;
    return 0;

no_memory:
    free(c);
    snprintf(out_text, TLS_TEXT_SIZE, "out of memory");
    return -ENOMEM;
}

int worker_context_take(struct worker *w, const struct tls_policy *policy,
                        struct worker_context **out_context, char out_text[TLS_TEXT_SIZE])
{
    struct worker_context *c;
    int err = 0;
    TAILQ_FOREACH(c, &w->contexts, link)
    {
        if (same_policy(c, policy))
            break;
    }
    if (c == NULL) {
        make_room(w);
        err = context_create(w, policy, &c, out_text);
    } else {
        TAILQ_REMOVE(&w->contexts, c, link);
        TAILQ_INSERT_TAIL(&w->contexts, c, link);
    }
    if (err != 0)
        return err;
    c->users++;
    *out_context = c;
    return 0;
}

void worker_context_give_back(struct worker *w, struct worker_context *context)
{
    (void)w;
    assert(context->users > 0);
    context->users--;
}

/* The thread */

static int open_tools(struct worker *w)
{
    w->codec = codec_create();
    w->tls_sessions = tls_sessions_create(w->shared->tls_sessions_bytes);
    int err = w->codec == NULL || w->tls_sessions == NULL
                  ? -ENOMEM
                  : lookup_create(w->shared->archive, &w->lookup);
    if (err == 0)
        err = loop_create(&w->loop_config, &w->loop);
    if (err != 0)
        return err;
    loop_on_wake(w->loop, open_parcels, w);
    snprintf(w->description, sizeof(w->description), "%s", loop_describe(w->loop));
    pthread_mutex_lock(&w->mutex);
    w->wakeable = w->loop;
    pthread_mutex_unlock(&w->mutex);
    return 0;
}

static void close_loop(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    w->wakeable = NULL;
    pthread_mutex_unlock(&w->mutex);
    loop_destroy(w->loop);
    w->loop = NULL;
}

static void close_tools(struct worker *w)
{
    close_loop(w);
    while (!TAILQ_EMPTY(&w->contexts))
        context_destroy(w, TAILQ_FIRST(&w->contexts));
    tls_sessions_destroy(w->tls_sessions);
    lookup_destroy(w->lookup);
    codec_destroy(w->codec);
}

static void report_start(struct worker *w, int err)
{
    pthread_mutex_lock(&w->mutex);
    w->started = true;
    w->start_error = err;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static bool has_work(const struct worker *w)
{
    return !w->stopping || !TAILQ_EMPTY(&w->list);
}

/* The loop is gone: its sessions end, and so does each that still comes. */
static void go_on_without_loop(struct worker *w, int err)
{
    w->loop_error = err;
    atomic_store(&w->loop_failed, true);
    stop_sessions(w);
    close_loop(w);
    while (has_work(w)) {
        pthread_mutex_lock(&w->mutex);
        while (STAILQ_EMPTY(&w->mailbox))
            pthread_cond_wait(&w->changed, &w->mutex);
        pthread_mutex_unlock(&w->mutex);
        open_parcels(w);
        lookup_rest(w->lookup);
    }
}

static void *run(void *arg)
{
    struct worker *w = arg;
    int err = open_tools(w);
    report_start(w, err);
    while (err == 0 && has_work(w)) {
        lookup_rest(w->lookup);
        err = loop_run(w->loop, -1);
        if (err != 0)
            go_on_without_loop(w, err);
    }
    close_tools(w);
    return NULL;
}

static int start(struct worker *w)
{
    int err = -pthread_create(&w->thread, NULL, run, w);
    if (err != 0)
        return err;
    pthread_mutex_lock(&w->mutex);
    while (!w->started)
        pthread_cond_wait(&w->changed, &w->mutex);
    err = w->start_error;
    pthread_mutex_unlock(&w->mutex);
    if (err != 0)
        pthread_join(w->thread, NULL);
    return err;
}

static void release(struct worker *w)
{
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

int worker_create(struct worker_shared *shared, const struct loop_config *loop,
                  struct worker **out_worker)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    w->shared = shared;
    w->loop_config = *loop;
    w->stop = (struct parcel){.open = open_stop, .arg = w};
    TAILQ_INIT(&w->list);
    TAILQ_INIT(&w->queue);
    TAILQ_INIT(&w->contexts);
    STAILQ_INIT(&w->mailbox);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    int err = start(w);
    if (err != 0) {
        release(w);
        return err;
    }
    *out_worker = w;
    return 0;
}

void worker_stop(struct worker *w)
{
    worker_post(w, &w->stop);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void worker_destroy(struct worker *w)
{
    release(w);
}
