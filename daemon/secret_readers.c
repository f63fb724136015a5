#include "daemon/secret_readers.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK_SIZE ((size_t)256 * 1024)

struct request {
    struct request *next;
    enum config_password kind;
    char *password; /* the path, the command or the password itself: wiped */
    secret_readers_fn *done;
    void *arg;
};

/* Requests of one kind and the threads that serve them. */
struct lane {
    struct secret_readers *readers;
    struct request *head, **tail;
    pthread_cond_t arrived;
    unsigned threads, threads_max, idle;
};

enum { LANE_FILES, LANE_COMMANDS, LANE_COUNT };

/* All of it is guarded by the lock. */
struct secret_readers {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a thread has ended */
    bool stopping;
    struct lane lanes[LANE_COUNT];
};

static void request_free(struct request *q)
{
    OPENSSL_cleanse(q->password, strlen(q->password));
    free(q->password);
    free(q);
}

static struct request *request_new(const struct config_account *account,
                                   secret_readers_fn *done, void *arg)
{
    struct request *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    q->kind = account->password_kind;
    q->password = strdup(account->password);
    q->done = done;
    q->arg = arg;
    if (q->password == NULL) {
        free(q);
        return NULL;
    }
    return q;
}

static void read_one(const struct config_account *account, secret_readers_fn *done,
                     void *arg)
{
    struct secret secret;
    struct secret_error error = {.text = ""};
    int err = secret_read(account, &secret, &error);
    done(arg, &secret, err, &error);
}

static void serve(struct request *q)
{
    const struct config_account account = {.password_kind = q->kind,
                                           .password = q->password};
    read_one(&account, q->done, q->arg);
    request_free(q);
}

/* The next request, NULL at the end. */
static struct request *take(struct lane *lane)
{
    struct secret_readers *r = lane->readers;
    while (lane->head == NULL && !r->stopping) {
        lane->idle++;
        (void)pthread_cond_wait(&lane->arrived, &r->lock);
        lane->idle--;
    }
    struct request *q = r->stopping ? NULL : lane->head;
    if (q == NULL)
        return NULL;
    lane->head = q->next;
    if (lane->head == NULL)
        lane->tail = &lane->head;
    return q;
}

static void *read_requests(void *arg)
{
    struct lane *lane = arg;
    struct secret_readers *r = lane->readers;
    (void)pthread_mutex_lock(&r->lock);
    for (struct request *q = take(lane); q != NULL; q = take(lane)) {
        (void)pthread_mutex_unlock(&r->lock);
        serve(q);
        (void)pthread_mutex_lock(&r->lock);
    }
    lane->threads--;
    (void)pthread_cond_signal(&r->left);
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Detached: a thread in a slow command is not waited for for ever. */
static int start_thread(struct lane *lane)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int err = pthread_attr_init(&attributes);
    if (err != 0)
        return -err;
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&thread, &attributes, read_requests, lane);
    (void)pthread_attr_destroy(&attributes);
    if (err == 0)
        lane->threads++;
    return -err;
}

int secret_readers_create(struct secret_readers **out)
{
    static const unsigned threads_max[LANE_COUNT] = {SECRET_READERS_FILES,
                                                     SECRET_READERS_COMMANDS};
    struct secret_readers *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    (void)pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->left, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    for (int i = 0; i < LANE_COUNT; i++) {
        struct lane *lane = &r->lanes[i];
        *lane = (struct lane){.readers = r, .threads_max = threads_max[i]};
        lane->tail = &lane->head;
        (void)pthread_cond_init(&lane->arrived, NULL);
    }
    *out = r;
    return 0;
}

int secret_readers_ask(struct secret_readers *r, const struct config_account *account,
                       secret_readers_fn *done, void *arg)
{
    if (account->password_kind == CONFIG_PASSWORD_TEXT) { /* nothing to wait for */
        read_one(account, done, arg);
        return 0;
    }
    struct request *q = request_new(account, done, arg);
    if (q == NULL)
        return -ENOMEM;
    bool command = account->password_kind == CONFIG_PASSWORD_COMMAND;
    struct lane *lane = &r->lanes[command ? LANE_COMMANDS : LANE_FILES];
    (void)pthread_mutex_lock(&r->lock);
    assert(!r->stopping);
    /* An idle thread that was signalled but has not run yet counts as idle: with something
     * queued already one more thread is worth having. */
    bool busy = lane->idle == 0 || lane->head != NULL;
    int err = 0;
    if (busy && lane->threads < lane->threads_max)
        err = start_thread(lane);
    if (lane->threads > 0)
        err = 0;
    if (err == 0) {
        *lane->tail = q;
        lane->tail = &q->next;
        (void)pthread_cond_signal(&lane->arrived);
    }
    (void)pthread_mutex_unlock(&r->lock);
    if (err != 0)
        request_free(q);
    return err;
}

static struct timespec in_ms(unsigned ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static unsigned threads(const struct secret_readers *r)
{
    return r->lanes[LANE_FILES].threads + r->lanes[LANE_COMMANDS].threads;
}

static void drop_queue(struct lane *lane)
{
    while (lane->head != NULL) {
        struct request *q = lane->head;
        lane->head = q->next;
        request_free(q);
    }
    lane->tail = &lane->head;
}

bool secret_readers_destroy(struct secret_readers *r, unsigned patience_ms)
{
    if (r == NULL)
        return true;
    struct timespec until = in_ms(patience_ms);
    (void)pthread_mutex_lock(&r->lock);
    r->stopping = true;
    for (int i = 0; i < LANE_COUNT; i++) {
        drop_queue(&r->lanes[i]);
        (void)pthread_cond_broadcast(&r->lanes[i].arrived);
    }
    int err = 0;
    while (threads(r) > 0 && err == 0)
        err = pthread_cond_timedwait(&r->left, &r->lock, &until);
    bool ended = threads(r) == 0;
    (void)pthread_mutex_unlock(&r->lock);
    if (!ended)
        return false;
    for (int i = 0; i < LANE_COUNT; i++)
        (void)pthread_cond_destroy(&r->lanes[i].arrived);
    (void)pthread_cond_destroy(&r->left);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    return true;
}
