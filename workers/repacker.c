#include "workers/repacker.h"

#include "archive/error.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How often it is looked whether there is room, and whether others are busy. */
#define LOOK_MS 1000
/* Not the lowest of all: what it holds, the heap or the index for a moment, others wait
 * for. */
#define PASSING_NICE 10
/* ioprio_set(2), which has no header of the C library's. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_IDLE_VALUE (3 << 13)

/* The mutex guards all but config; `throttle` is the run's thread's alone. */
struct repacker {
    struct repacker_config config;
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* it is to stop */
    bool joinable;       /* the thread of the last run */
    bool stopping;       /* the run under way */
    bool ended;
    pthread_t thread;
    struct repacker_state state;

    struct throttle {
        uint64_t began_ms;  /* and as much later as it waited for others */
        uint64_t looked_ms; /* last */
        uint64_t stored;    /* by the writer for others, then */
        bool passing;
        int err; /* why it is to end, if not told to */
    } throttle;
};

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t repacker_pause_ms(uint64_t done_bytes, uint64_t elapsed_ms, uint64_t rate)
{
    uint64_t due_ms = done_bytes / rate * 1000 + done_bytes % rate * 1000 / rate;
    return due_ms > elapsed_ms ? due_ms - elapsed_ms : 0;
}

/* False: it is to stop. */
static bool sleep_for(struct repacker *r, uint64_t ms)
{
    uint64_t at = clock_ms() + ms;
    const struct timespec until = {.tv_sec = (time_t)(at / 1000),
                                   .tv_nsec = (long)(at % 1000) * 1000000};
    pthread_mutex_lock(&r->mutex);
    int rc = ms == 0 ? ETIMEDOUT : 0;
    while (!r->stopping && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&r->wake, &r->mutex, &until);
    bool go_on = !r->stopping;
    pthread_mutex_unlock(&r->mutex);
    return go_on;
}

static void set_waiting(struct repacker *r, bool waiting)
{
    pthread_mutex_lock(&r->mutex);
    r->state.waiting = waiting;
    pthread_mutex_unlock(&r->mutex);
}

/* Was more archived since the last look, LOOK_MS ago or longer, than a quiet service does?
 */
static bool others_are_busy(struct repacker *r, uint64_t now_ms)
{
    struct throttle *t = &r->throttle;
    uint64_t stored = writer_stored_bytes(r->config.writer);
    uint64_t rate = (stored - t->stored) * 1000 / (now_ms - t->looked_ms);
    t->stored = stored;
    t->looked_ms = now_ms;
    return rate > REPACKER_BUSY_RATE;
}

static bool has_room(struct repacker *r, uint64_t bytes)
{
    const struct repacker_config *c = &r->config;
    if (c->room == NULL || c->room(c->arg, bytes))
        return true;
    r->throttle.err = -ENOSPC;
    return false;
}

/* Each LOOK_MS: end without room, wait while others are busy. False: it is to end. */
static bool look_around(struct repacker *r, uint64_t left_bytes)
{
    struct throttle *t = &r->throttle;
    bool waited = false;
    if (clock_ms() < t->looked_ms + LOOK_MS)
        return true;
    if (!has_room(r, left_bytes))
        return false;
    while (others_are_busy(r, clock_ms()) && t->passing) {
        if (!waited)
            set_waiting(r, true);
        waited = true;
        t->began_ms += LOOK_MS;
        if (!sleep_for(r, LOOK_MS))
            return false;
    }
    if (waited)
        set_waiting(r, false);
    return true;
}

static void began(void *arg, uint64_t segments, uint64_t bytes)
{
    struct repacker *r = arg;
    pthread_mutex_lock(&r->mutex);
    r->state.segments = segments;
    r->state.bytes = bytes;
    pthread_mutex_unlock(&r->mutex);
    if (has_room(r, bytes) && r->config.changed != NULL)
        r->config.changed(r->config.arg);
}

static int progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct repacker *r = arg;
    const struct throttle *t = &r->throttle;
    pthread_mutex_lock(&r->mutex);
    r->state.done_bytes = done_bytes;
    r->state.total_bytes = total_bytes;
    uint64_t bytes = r->state.bytes;
    pthread_mutex_unlock(&r->mutex);
    uint64_t left_bytes = bytes - bytes * done_bytes / (total_bytes + 1);
    if (t->err != 0 || !look_around(r, left_bytes))
        return ERR_STOPPED;
    uint64_t rate = t->passing ? REPACKER_PASSING_RATE : REPACKER_ASKED_RATE;
    uint64_t ms = repacker_pause_ms(done_bytes, clock_ms() - t->began_ms, rate);
    return sleep_for(r, ms) ? 0 : ERR_STOPPED;
}

static int in_store(void *arg, int (*work)(void *work_arg), void *work_arg)
{
    const struct repacker *r = arg;
    return writer_call(r->config.writer, work, work_arg);
}

/* Of this thread alone; where it is not allowed, it does without. */
static void step_back(void)
{
    pid_t thread = (pid_t)syscall(SYS_gettid);
    (void)setpriority(PRIO_PROCESS, (id_t)thread, PASSING_NICE);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, IOPRIO_CLASS_IDLE_VALUE);
}

static void *run(void *arg)
{
    struct repacker *r = arg;
    struct throttle *t = &r->throttle;
    struct repack_summary summary;
    const struct repack_options options = {
        .remove_now = r->state.remove_now, /* nobody changes it while it runs */
        .in_passing = !r->state.asked,
        .in_store = in_store,
        .begin = began,
        .progress = progress,
        .arg = r,
    };
    *t = (struct throttle){.passing = !r->state.asked,
                           .began_ms = clock_ms(),
                           .looked_ms = clock_ms(),
                           .stored = writer_stored_bytes(r->config.writer)};
    if (t->passing)
        step_back();
    int err = archive_repack(r->config.archive, &options, &summary);
    /* The C library would keep what a run has freed, each time perhaps in another arena. */
    (void)malloc_trim(0);
    pthread_mutex_lock(&r->mutex);
    r->state.err = err == ERR_STOPPED && t->err != 0 ? t->err : err;
    r->state.summary = summary;
    r->state.running = false;
    r->state.waiting = false;
    pthread_mutex_unlock(&r->mutex);
    if (r->config.changed != NULL)
        r->config.changed(r->config.arg);
    return NULL;
}

int repacker_create(const struct repacker_config *config, struct repacker **out)
{
    pthread_condattr_t attributes;
    struct repacker *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    r->config = *config;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&r->mutex, NULL);
    *out = r;
    return 0;
}

/* Without signals: they are for the threads that expect them. */
static int start_thread(struct repacker *r)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

/* With the mutex held, and no run under way. */
static int begin(struct repacker *r, bool asked, bool remove_now)
{
    if (r->joinable)
        pthread_join(r->thread, NULL); /* it has nothing left to do */
    r->joinable = false;
    r->stopping = false;
    r->state = (struct repacker_state){
        .run = r->state.run + 1, .running = true, .asked = asked, .remove_now = remove_now};
    int err = start_thread(r);
    r->joinable = err == 0;
    r->state.running = err == 0;
    r->state.err = err;
    return err;
}

int repacker_begin(struct repacker *r, bool asked, bool remove_now)
{
    int err;
    pthread_mutex_lock(&r->mutex);
    if (r->ended)
        err = ERR_STOPPED;
    else if (r->state.running)
        err = -EBUSY;
    else
        err = begin(r, asked, remove_now);
    pthread_mutex_unlock(&r->mutex);
    return err;
}

static void stop(struct repacker *r, bool for_good)
{
    pthread_mutex_lock(&r->mutex);
    r->stopping = true;
    r->ended |= for_good;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->mutex);
}

void repacker_stop(struct repacker *r)
{
    stop(r, false);
}

void repacker_end(struct repacker *r)
{
    if (r != NULL)
        stop(r, true);
}

void repacker_look(struct repacker *r, struct repacker_state *out)
{
    pthread_mutex_lock(&r->mutex);
    *out = r->state;
    pthread_mutex_unlock(&r->mutex);
}

void repacker_destroy(struct repacker *r)
{
    if (r == NULL)
        return;
    repacker_end(r);
    if (r->joinable)
        pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}
