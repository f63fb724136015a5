#include "archive/error.h"
#include "workers/session_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void tls_failed(struct session *s, int err)
{
    enum scope scope = err == -ENOMEM ? SCOPE_PROCESS : SCOPE_SERVER;
    session_settle(s, scope, RETRY_BACKOFF, "%s:%u: %s.", s->host, s->port,
                   tls_error(s->tls));
    session_end(s);
}

/* A server may break the handshake off because it does not like the session it was offered:
 * then it is tried once more, without. False: that is not it. */
static bool try_without_session(struct session *s)
{
    if (!tls_blame_session(s->tls))
        return false;
    if (s->implicit_tls) {
        session_connect_again(s);
        return true;
    }
    session_settle(s, SCOPE_SERVER, RETRY_NOW,
                   "%s:%u broke off the TLS handshake when an earlier session was to be "
                   "resumed; a full handshake follows.",
                   s->host, s->port);
    session_end(s);
    return true;
}

static const char *bare_host(const struct session *s, char bare[NAME_SIZE_MAX + 1])
{
    size_t size = strlen(s->host);
    if (size < 2 || s->host[0] != '[' || s->host[size - 1] != ']')
        return s->host;
    memcpy(bare, s->host + 1, size - 2);
    bare[size - 2] = '\0';
    return bare;
}

void session_tls_start(struct session *s)
{
    const struct tls_policy policy = {.ca_file = s->ca_file,
                                      .fingerprint = s->pinned ? s->fingerprint : NULL,
                                      .oldest = s->tls_oldest};
    char text[TLS_TEXT_SIZE], bare[NAME_SIZE_MAX + 1];
    int err = worker_context_take(s->worker, &policy, &s->context, text);
    if (err != 0) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "%s:%u: %s.", s->host, s->port,
                       text);
        session_end(s);
        return;
    }
    err = tls_create(s->context->tls, bare_host(s, bare), &s->tls);
    if (err != 0) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "%s:%u: TLS could not start: %s.",
                       s->host, s->port, error_text(err));
        session_end(s);
        return;
    }
    tls_resume(s->tls, s->port);
    s->step = SESSION_HANDSHAKE;
    s->step_deadline_ms = session_now(s) + SESSION_HANDSHAKE_MS;
}

void session_tls_drop(struct session *s)
{
    session_gate_leave(s);
    tls_destroy(s->tls);
    s->tls = NULL;
    s->sending_tls = 0;
    if (s->context != NULL)
        worker_context_give_back(s->worker, s->context);
    s->context = NULL;
}

static void tell_tls(struct session *s)
{
    char text[sizeof(s->tls_text) + 16];
    (void)snprintf(text, sizeof(text), "* %s", s->tls_text);
    session_wire(s, text);
}

static void established(struct session *s)
{
    s->step = SESSION_TALK;
    session_gate_leave(s);
    session_forget_addresses(s);
    tls_describe(s->tls, s->tls_text, sizeof(s->tls_text));
    tell_tls(s);
    if (s->implicit_tls)
        pop3_connected(s->pop3, session_now(s));
    else
        pop3_tls_started(s->pop3, session_now(s));
    session_follow(s);
}

/* Received bytes, through TLS, to POP3 */

static void handshake(struct session *s)
{
    int step = tls_handshake(s->tls);
    if (step == 0)
        established(s);
    else if (step == TLS_WANT)
        s->hungry = true;
    else if (step < 0 && !try_without_session(s))
        tls_failed(s, step);
}

static void stream_over(struct session *s, bool clean)
{
    s->ended = true;
    pop3_eof(s->pop3, session_now(s), clean);
    session_follow(s);
}

/* Within a session that stands, TLS's own failures are the server's, but for memory. */
static void read_failed(struct session *s, int step)
{
    if (step == TLS_CLOSED || step == ERR_CLOSED)
        stream_over(s, step == TLS_CLOSED);
    else
        tls_failed(s, step);
}

/* Returns false if there is nothing to read now. */
static bool read_some(struct session *s)
{
    size_t size = 0;
    int step = tls_read(s->tls, s->worker->plain, WORKER_PLAIN_SIZE, &size);
    if (step == TLS_WANT)
        s->hungry = true;
    else if (step != 0 && step != TLS_BLOCKED)
        read_failed(s, step);
    if (step != 0)
        return false;
    size_t used = pop3_input(s->pop3, session_now(s), s->worker->plain, size);
    assert(used == size || pop3_done(s->pop3)); /* it is never paused between replies */
    session_follow(s);
    return true;
}

static void pull(struct session *s)
{
    if (s->step == SESSION_HANDSHAKE && !s->hungry)
        handshake(s);
    while (s->step == SESSION_TALK && !s->hungry && !s->ended && read_some(s))
        continue;
}

/* POP3's commands, through TLS, to the socket */

static void push(struct session *s)
{
    const char *data;
    size_t size;
    while (s->step == SESSION_TALK && (size = pop3_output(s->pop3, &data)) > 0) {
        size_t written = 0;
        int step = tls_write(s->tls, data, size, &written);
        if (step < 0)
            tls_failed(s, step);
        if (step != 0)
            return;
        pop3_output_consume(s->pop3, written);
    }
}

static void send_plain(struct session *s)
{
    const char *data;
    size_t size = pop3_output(s->pop3, &data);
    if (size == 0)
        return;
    if (size > sizeof(s->plain_out))
        size = sizeof(s->plain_out);
    memcpy(s->plain_out, data, size);
    pop3_output_consume(s->pop3, size);
    s->sending = true;
    loop_send(s->socket, s->plain_out, size);
}

static void send_some(struct session *s)
{
    const uint8_t *data;
    if (s->sending || s->socket == NULL || s->step > SESSION_LEAVE)
        return;
    if (s->step == SESSION_PLAIN)
        send_plain(s);
    if (s->sending || s->tls == NULL)
        return;
    s->sending_tls = tls_output(s->tls, &data);
    if (s->sending_tls > 0) {
        s->sending = true;
        loop_send(s->socket, data, s->sending_tls);
    }
}

void session_say_goodbye(struct session *s)
{
    if (pop3_stats(s->pop3)->quit_answered)
        (void)tls_close_notify(s->tls); /* what it did not take is lost: no matter */
}

static void leave(struct session *s)
{
    const uint8_t *data;
    if (!s->sending && (s->tls == NULL || tls_output(s->tls, &data) == 0))
        session_close(s);
}

/* Receiving and time */

/* One session may have this much with the writer before it reads on: a disk that is slower
 * than the server would else fill the whole budget with one message. */
#define SESSION_UNACKNOWLEDGED_MAX (16u << 20)

static bool short_of_memory(const struct session *s)
{
    return (s->work_due || s->unacknowledged_bytes > SESSION_UNACKNOWLEDGED_MAX) &&
           !pop3_paused(s->pop3);
}

/* The server's clocks run while it is listened to, or should be listening itself. */
static void arm(struct session *s)
{
    bool deaf = session_talks(s) && short_of_memory(s);
    if (deaf != s->idle && session_talks(s)) {
        s->idle = deaf;
        if (deaf)
            pop3_idle(s->pop3, session_now(s));
        else
            pop3_active(s->pop3, session_now(s));
    }
    if (s->receiving || s->ended || !s->hungry || deaf)
        return;
    s->receiving = true;
    loop_receive(s->socket);
}

static void move_bytes(struct session *s)
{
    pull(s);
    if (s->step == SESSION_CONNECTS) { /* again: this socket is being closed */
        s->lent = false;
        return;
    }
    push(s);
    send_some(s);
    if (s->lent && s->tls != NULL && tls_keep_input(s->tls) != 0) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "Out of memory during a session.");
        session_end(s);
    }
    s->lent = false;
    if (s->step < SESSION_LEAVE)
        arm(s);
}

static uint64_t deadline(const struct session *s)
{
    uint64_t at = UINT64_MAX;
    switch (s->step) {
    case SESSION_CONNECTS:
    case SESSION_WAITS_FOR_TURN:
    case SESSION_HANDSHAKE:
    case SESSION_LEAVE:
        return s->step_deadline_ms;
    case SESSION_PLAIN:
    case SESSION_TALK:
        at = pop3_deadline(s->pop3);
        if (s->waiting_since_ms != 0 && s->keepalive_ms < at)
            at = s->keepalive_ms;
        return at;
    case SESSION_NEW:
    case SESSION_WAITS_FOR_MEMORY:
    case SESSION_WAITS_FOR_ORIGIN:
    case SESSION_RESOLVES:
    case SESSION_OVER:
        break;
    }
    return at;
}

static void set_timer(struct session *s)
{
    if (s->worker->loop == NULL)
        return; /* its timers went with it */
    struct timers *timers = loop_timers(s->worker->loop);
    uint64_t at = deadline(s);
    if (at == UINT64_MAX)
        timers_cancel(timers, &s->timer);
    else if (!s->timer.set || s->timer.deadline_ms != at)
        timers_set(timers, &s->timer, at);
}

static bool something_due(const struct session *s)
{
    return s->origin_due || s->base_due || s->work_due || s->turn_due || s->proofs_due ||
           s->resolution != NULL || s->unacknowledged > 0;
}

void session_turn(struct session *s)
{
    if (s->step >= SESSION_PLAIN && s->step <= SESSION_TALK)
        move_bytes(s);
    if (s->step == SESSION_LEAVE) {
        send_some(s);
        leave(s);
    }
    set_timer(s);
    if (s->step < SESSION_LEAVE || something_due(s))
        return;
    if (!s->recorded) {
        s->recorded = true;
        session_write_record(s);
    }
    if (s->step == SESSION_OVER && s->socket == NULL && !something_due(s))
        session_deliver(s);
}

/* What happens */

static void on_connected(void *arg, int err)
{
    struct session *s = arg;
    session_connected(s, err);
    session_turn(s);
}

/* Before TLS what comes goes straight to POP3. */
static void receive_plain(struct session *s, const uint8_t *data, size_t size)
{
    (void)pop3_input(s->pop3, session_now(s), data, size);
    session_follow(s);
    if (s->step == SESSION_PLAIN)
        s->hungry = true;
}

static void receive_end(struct session *s, int err)
{
    if (s->tls != NULL)
        tls_end_of_input(s->tls);
    else
        stream_over(s, err == 0);
}

static void on_received(void *arg, const uint8_t *data, size_t size, int err)
{
    struct session *s = arg;
    s->receiving = false;
    atomic_fetch_add(&s->worker->shared->received_bytes, size);
    if (s->step < SESSION_LEAVE) {
        s->hungry = false;
        if (size == 0) {
            receive_end(s, err);
        } else if (s->tls == NULL) {
            receive_plain(s, data, size);
        } else {
            s->lent = true;
            tls_feed(s->tls, data, size);
        }
    }
    session_turn(s);
}

static void on_sent(void *arg, int err)
{
    struct session *s = arg;
    s->sending = false;
    if (s->sending_tls > 0)
        tls_output_consume(s->tls, s->sending_tls);
    s->sending_tls = 0;
    if (err != 0 && s->step == SESSION_HANDSHAKE && !try_without_session(s)) {
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "%s:%u closed the connection during the TLS handshake (%s).",
                       s->host, s->port, error_text(err));
        session_end(s);
    } else if (err != 0 && session_talks(s)) {
        stream_over(s, false);
    }
    bool socket_goes_on = s->step == SESSION_CONNECTS || s->step == SESSION_WAITS_FOR_TURN;
    if (err != 0 && !socket_goes_on)
        session_close(s);
    session_turn(s);
}

static void on_closed(void *arg)
{
    struct session *s = arg;
    s->socket = NULL;
    s->sending = false;
    s->receiving = false;
    if (s->step == SESSION_CONNECTS) {
        session_tls_drop(s);
        session_connect_next(s);
    } else {
        s->step = SESSION_OVER;
    }
    session_turn(s);
}

const struct loop_handlers session_handlers = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .closed = on_closed,
};

void session_timer_fired(void *arg)
{
    struct session *s = arg;
    uint64_t now = session_now(s);
    if (s->step == SESSION_CONNECTS) {
        s->connect_err = -ETIMEDOUT;
        s->step_deadline_ms = UINT64_MAX;
        loop_close(s->socket);
    } else if (s->step == SESSION_WAITS_FOR_TURN) {
        session_gate_waited(s);
    } else if (s->step == SESSION_HANDSHAKE && !try_without_session(s)) {
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "%s:%u did not finish the TLS handshake within %u s; is it a TLS "
                       "port?",
                       s->host, s->port, (unsigned)(SESSION_HANDSHAKE_MS / 1000));
        session_end(s);
    } else if (session_talks(s)) {
        if (s->waiting_since_ms != 0 && now >= s->keepalive_ms)
            session_waited(s);
        if (!pop3_done(s->pop3))
            pop3_timeout(s->pop3, now);
        session_follow(s);
    } else if (s->step == SESSION_LEAVE) {
        session_close(s);
    }
    session_turn(s);
}
