#include "workers/session.h"

#include "archive/error.h"
#include "workers/session_internal.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Creation */

static char *copy_string(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = *at;
    memcpy(copy, text, size);
    *at += size;
    return copy;
}

static int copy_strings(struct session *s, const struct pool_job *job)
{
    const char *ca_file = job->ca_file != NULL ? job->ca_file : "";
    size_t size = strlen(job->account) + strlen(job->host) + strlen(job->login) +
                  strlen(job->password) + strlen(ca_file) + 5;
    char *at = s->strings = malloc(size);
    if (at == NULL)
        return -ENOMEM;
    s->account = copy_string(&at, job->account);
    s->host = copy_string(&at, job->host);
    s->login = copy_string(&at, job->login);
    s->password = copy_string(&at, job->password);
    s->ca_file = copy_string(&at, ca_file);
    if (job->ca_file == NULL)
        s->ca_file = NULL;
    return 0;
}

static int check_name(const char *name)
{
    if (name[0] == '\0')
        return -EINVAL;
    return strlen(name) > NAME_SIZE_MAX ? ERR_TOO_LARGE : 0;
}

static int check(const struct pool_job *job)
{
    int err = check_name(job->account);
    if (err == 0)
        err = check_name(job->host);
    return err != 0 ? err : check_name(job->login);
}

static int copy_answer(struct session *s, const struct pool_job *job)
{
    if (job->answer == NULL)
        return 0;
    s->answer = malloc(sizeof(*s->answer));
    if (s->answer == NULL)
        return -ENOMEM;
    *s->answer = *job->answer;
    return 0;
}

static int make_pop3(struct session *s, const struct pool_job *job)
{
    const struct pop3_config config = {
        .user = s->login,
        .password = s->password,
        .implicit_tls = s->implicit_tls,
        .careful = s->careful,
        .avoid = job->avoid,
        .day = job->day,
        .memory = s->marks.pop3,
        .wire = job->wire,
        .limits = job->limits != NULL ? *job->limits : pop3_limits_default,
    };
    return pop3_create(&config, &session_callbacks, s, &s->pop3);
}

/* The worker may not be known yet when the claim is made ready. */
static void post_base_granted(void *arg)
{
    struct session *s = arg;
    worker_post(s->worker, &s->base_granted);
}

static void open_arrival(void *arg);

int session_create(const struct pool_job *job, struct session **out_session)
{
    int err = check(job);
    if (err != 0)
        return err;
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->port = job->port;
    s->implicit_tls = job->implicit_tls;
    s->kind = job->kind;
    s->delete_before_us = job->delete_before_us;
    s->tls_oldest = job->tls_oldest;
    s->day_limited = job->day.whole != 0;
    s->marks = job->marks;
    s->careful = job->marks.trouble != 0;
    s->tag = job->tag;
    s->wired = job->wire;
    s->counts.listed = SIZE_UNKNOWN;
    s->arrival = (struct parcel){.open = open_arrival, .arg = s};
    s->timer.fire = session_timer_fired;
    s->timer.arg = s;
    s->base.granted = post_base_granted;
    s->base.arg = s;
    if (job->fingerprint != NULL) {
        s->pinned = true;
        memcpy(s->fingerprint, job->fingerprint, sizeof(s->fingerprint));
    }
    err = copy_strings(s, job);
    if (err == 0)
        err = copy_answer(s, job);
    if (err == 0)
        err = make_pop3(s, job);
    if (err != 0) {
        session_discard(s);
        return err;
    }
    *out_session = s;
    return 0;
}

void session_discard(struct session *s)
{
    pop3_free(s->pop3);
    if (s->password != NULL)
        OPENSSL_cleanse(s->password, strlen(s->password));
    free(s->strings);
    free(s->answer);
    free(s->claims);
    free(s->numbers);
    free(s);
}

void session_post(struct session *s, struct worker *w)
{
    s->worker = w;
    worker_post(w, &s->arrival);
}

struct session *session_next(const struct session *s)
{
    return TAILQ_NEXT(s, link);
}

uint64_t session_now(const struct session *s)
{
    return s->worker->loop != NULL ? loop_now_ms(s->worker->loop) : 0;
}

bool session_talks(const struct session *s)
{
    return s->step == SESSION_PLAIN || s->step == SESSION_TALK;
}

/* The way to the server */

static void open_intake(struct session *s)
{
    int err = session_intake_open(s);
    if (err != 0) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                       "The archive's index could not be read: %s.", error_text(err));
        session_end(s);
        return;
    }
    session_glance_prepare(s);
    s->step = SESSION_RESOLVES;
    session_resolve(s);
}

static void open_origin_known(void *arg)
{
    struct session *s = arg;
    s->origin_due = false;
    if (s->origin.err != 0 && s->origin.err != ERR_TOO_LARGE)
        s->storage_err = s->origin.err;
    if (s->step == SESSION_WAITS_FOR_ORIGIN && s->origin.err == 0) {
        s->account_number = s->origin.account;
        s->source = s->origin.source;
        open_intake(s);
    } else if (s->step == SESSION_WAITS_FOR_ORIGIN) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                       "The account could not be entered into the archive: %s.",
                       error_text(s->origin.err));
        session_end(s);
    }
    session_turn(s);
}

static void origin_done(void *arg)
{
    struct session *s = arg;
    worker_post(s->worker, &s->origin_known);
}

static void find_origin(struct session *s)
{
    struct span name = span_text(s->account), host = span_text(s->host),
                login = span_text(s->login);
    s->storage_err = writer_failure(s->worker->shared->writer);
    if (s->storage_err != 0) { /* what came could not be kept, and may go on RETR (Q35) */
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "The archive cannot be written.");
        session_end(s);
        return;
    }
    int err =
        lookup_origin(s->worker->lookup, name, host, login, &s->account_number, &s->source);
    if (err == 0) {
        open_intake(s);
        return;
    }
    /* An index that cannot be read is found out by the writer too. */
    s->account_number = 0;
    s->step = SESSION_WAITS_FOR_ORIGIN;
    s->origin_due = true;
    s->origin_known = (struct parcel){.open = open_origin_known, .arg = s};
    s->origin = (struct writer_item){.kind = WRITER_ORIGIN,
                                     .urgent = true,
                                     .name = name,
                                     .host = host,
                                     .login = login,
                                     .done = origin_done,
                                     .arg = s};
    writer_submit(s->worker->shared->writer, &s->origin);
}

static void open_base_granted(void *arg)
{
    struct session *s = arg;
    s->base_due = false;
    if (s->step == SESSION_WAITS_FOR_MEMORY)
        find_origin(s);
    session_turn(s);
}

static void open_arrival(void *arg)
{
    struct session *s = arg;
    struct worker *w = s->worker;
    TAILQ_INSERT_TAIL(&w->list, s, link);
    s->began_us = session_clock_us();
    s->base_granted = (struct parcel){.open = open_base_granted, .arg = s};
    s->step = SESSION_WAITS_FOR_MEMORY;
    if (w->loop_error != 0) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "The event loop failed: %s.",
                       error_text(w->loop_error));
        session_end(s);
    } else {
        s->base_due = true; /* before it is asked for: the answer may be quicker */
        if (budget_take(w->shared->budget, &s->base, BUDGET_SESSION,
                        SESSION_LISTING_MEMORY)) {
            s->base_due = false;
            find_origin(s);
        }
    }
    session_turn(s);
}

/* The end */

void session_settle(struct session *s, enum scope scope, enum retry retry,
                    const char *format, ...)
{
    char text[OUTCOME_TEXT_SIZE];
    va_list args;
    if (s->settled)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    s->settled = true;
    outcome_set(&s->outcome, scope, retry, "%s", text);
}

void session_close(struct session *s)
{
    s->step = SESSION_OVER;
    if (s->socket != NULL)
        loop_close(s->socket);
}

void session_wire(struct session *s, const char *text)
{
    const struct worker_shared *shared = s->worker->shared;
    if (!s->wired || shared->wire == NULL)
        return;
    int64_t elapsed_us = session_clock_us() - s->began_us;
    shared->wire(shared->arg, s->tag, elapsed_us > 0 ? (uint64_t)elapsed_us / 1000 : 0,
                 text);
}

static void cancel_waits(struct session *s)
{
    struct budget *budget = s->worker->shared->budget;
    if (s->base_due && budget_cancel(budget, &s->base))
        s->base_due = false;
    if (s->proofs_due)
        atomic_store(&s->proofs.unwanted, true);
    if (s->resolution != NULL && session_resolve_cancel(s))
        s->resolution = NULL;
}

void session_end(struct session *s)
{
    if (s->step >= SESSION_LEAVE)
        return;
    bool secured = s->step == SESSION_HANDSHAKE || s->step == SESSION_TALK;
    s->step = SESSION_LEAVE;
    s->step_deadline_ms = session_now(s) + SESSION_LEAVE_MS;
    if (!pop3_done(s->pop3))
        pop3_abandon(s->pop3, "ended");
    session_adopt_outcome(s);
    cancel_waits(s);
    session_gate_leave(s);
    session_intake_finish(s);
    if (secured && s->tls != NULL && s->socket != NULL)
        session_say_goodbye(s);
    else
        session_close(s);
}

void session_stop(struct session *s)
{
    bool leaving = s->step >= SESSION_LEAVE;
    bool all_durable = session_talks(s) && pop3_state(s->pop3) == POP3_QUIT &&
                       pop3_deletes_sent(s->pop3) == 0;
    if (!leaving && !all_durable) {
        s->stopped = !s->settled && s->worker->stopping;
        if (s->worker->loop_error != 0)
            session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "The event loop failed: %s.",
                           error_text(s->worker->loop_error));
        else
            session_settle(
                s, SCOPE_PROCESS, RETRY_NOW,
                "Stopped with the service; messages that had come whole are archived, the "
                "rest follows.");
    } else if (!leaving) {
        s->outcome = *pop3_outcome(s->pop3);
        s->settled = true;
    }
    session_end(s);
    session_turn(s);
}
