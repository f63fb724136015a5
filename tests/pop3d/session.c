#include "tests/pop3d/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/pop3d/protocol.h"
#include "tests/pop3d/tls.h"

#define READ_SIZE 2048
#define LINE_MAX_SIZE (68u * 1024) /* a SASL response may be 64 KiB */
#define STEPS_A_TURN 32            /* then the other sessions get theirs */
#define LINGER_MS 2000
#define THROTTLE_PIECES 20 /* a second */
#define MS_A_SECOND 1000

/* What a step came to. */
enum step { STEP_ON, STEP_WAIT, STEP_END };

static void wait_until(struct session *session, int64_t at_ms)
{
    struct server *server = session->server;
    session->resume_at_ms = at_ms;
    session->wait_previous = NULL;
    session->wait_next = server->waiting;
    if (server->waiting != NULL)
        server->waiting->wait_previous = session;
    server->waiting = session;
}

static void stop_waiting(struct session *session)
{
    if (session->resume_at_ms == 0)
        return;
    if (session->wait_previous != NULL)
        session->wait_previous->wait_next = session->wait_next;
    else
        session->server->waiting = session->wait_next;
    if (session->wait_next != NULL)
        session->wait_next->wait_previous = session->wait_previous;
    session->resume_at_ms = 0;
}

static enum step pause_for(struct session *session, uint64_t ms)
{
    if (ms == 0)
        return STEP_ON;
    wait_until(session, now_ms() + (int64_t)ms);
    session->wanted = 0;
    return STEP_WAIT;
}

/* Only the first reason counts. */
static void note_end(struct session *session, const char *why)
{
    if (session->end == NULL)
        session->end = why;
}

static enum step from_io(struct session *session, enum io io)
{
    switch (io) {
    case IO_OK:
        return STEP_ON;
    case IO_WANTS_READ:
        session->wanted = EPOLLIN;
        return STEP_WAIT;
    case IO_WANTS_WRITE:
        session->wanted = EPOLLOUT;
        return STEP_WAIT;
    case IO_CLOSED:
        note_end(session, "client");
        return STEP_END;
    case IO_FAILED:
        break;
    }
    note_end(session, "tls-failed");
    log_line(&session->server->log, "tls-failed id=%" PRIu64 " reason=%s", session->id,
             tls_reason());
    return STEP_END;
}

static enum step handshake(struct session *session)
{
    if (session->tls == NULL) {
        session->tls = SSL_new(session->server->tls);
        if (session->tls == NULL || SSL_set_fd(session->tls, session->fd) != 1)
            return STEP_END;
    }
    enum step step = from_io(session, tls_accept(session->tls));
    if (step != STEP_ON)
        return step;
    const char *name = SSL_get_servername(session->tls, TLSEXT_NAMETYPE_host_name);
    log_line(&session->server->log, "tls id=%" PRIu64 " version=%s resumed=%s sni=%s",
             session->id, SSL_get_version(session->tls),
             SSL_session_reused(session->tls) ? "yes" : "no", name != NULL ? name : "-");
    session->phase = session->greeted ? PHASE_COMMANDS : PHASE_GREETING;
    return STEP_ON;
}

static size_t write_size(const struct session *session)
{
    const struct action *action = session->reply.action;
    uint64_t size = session->out.size, throttle = session->server->options->throttle;
    if (throttle > 0 && size > throttle / THROTTLE_PIECES + 1)
        size = throttle / THROTTLE_PIECES + 1;
    if (action != NULL && action->drip_bytes > 0 && size > action->drip_bytes)
        size = action->drip_bytes;
    return (size_t)size;
}

static enum step write_out(struct session *session)
{
    const struct action *action = session->reply.action;
    uint64_t throttle = session->server->options->throttle, pause = 0;
    size_t written = 0;
    enum step step = from_io(session, connection_write(session->tls, session->fd,
                                                       buffer_front(&session->out),
                                                       write_size(session), &written));
    if (step != STEP_ON)
        return step;
    buffer_consume(&session->out, written);
    session->bytes_out += written;
    if (throttle > 0)
        pause = written * MS_A_SECOND / throttle;
    if (action != NULL && action->drip_bytes > 0 && action->drip_ms > pause)
        pause = action->drip_ms;
    return pause_for(session, pause);
}

static void log_served(struct session *session, bool whole)
{
    struct log_field user, name;
    if (session->serving == NULL)
        return;
    log_line(&session->server->log,
             "%s %s %s number=%" PRIu64 " octets=%" PRIu64 " id=%" PRIu64
             " session=%" PRIu64,
             whole ? "retr" : "retr-cut", log_name(&user, session->user),
             log_name(&name, session->serving->name), session->serving_number,
             session->serving->octets, session->id, session->login);
    session->serving = NULL;
}

/* Everything the reply consists of is in session->out. */
static void reply_produced(struct session *session)
{
    session->replying = false;
    log_served(session, !session->reply.was_cut);
}

static enum step linger(struct session *session)
{
    char dropped[READ_SIZE];
    ssize_t got;
    while ((got = recv(session->fd, dropped, sizeof dropped, 0)) > 0)
        continue;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        return STEP_END;
    session->wanted = EPOLLIN;
    return STEP_WAIT;
}

static enum step close_gently(struct session *session, const char *why)
{
    note_end(session, why);
    protocol_release(session);
    shutdown(session->fd, SHUT_WR);
    session->phase = PHASE_LINGER;
    wait_until(session, now_ms() + LINGER_MS);
    session->wanted = EPOLLIN;
    return STEP_WAIT;
}

static enum step start_stls(struct session *session)
{
    if (session->in.size > 0)
        log_line(&session->server->log, "stls-discarded bytes=%zu id=%" PRIu64,
                 session->in.size, session->id);
    buffer_free(&session->in);
    session->phase = PHASE_HANDSHAKE;
    return STEP_ON;
}

static enum step finish(struct session *session)
{
    enum finish how = session->finish;
    session->finish = FINISH_NONE;
    switch (how) {
    case FINISH_NONE:
        break;
    case FINISH_STLS:
        return start_stls(session);
    case FINISH_CLOSE:
        return close_gently(session, "script-close");
    case FINISH_SHUTDOWN:
        if (session->tls != NULL && SSL_is_init_finished(session->tls))
            SSL_shutdown(session->tls);
        return close_gently(session, "quit");
    case FINISH_RESET: {
        struct linger abort_at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(session->fd, SOL_SOCKET, SO_LINGER, &abort_at_once,
                   sizeof abort_at_once);
        note_end(session, "script-reset");
        return STEP_END;
    }
    case FINISH_HANG:
        session->phase = PHASE_HANG;
        session->wanted = EPOLLRDHUP;
        return STEP_WAIT;
    }
    return STEP_ON;
}

static enum step read_in(struct session *session)
{
    size_t got = 0;
    char *room = buffer_room(&session->in, READ_SIZE);
    enum step step =
        from_io(session, connection_read(session->tls, session->fd, room, READ_SIZE, &got));
    if (step == STEP_WAIT && !session->idle) {
        session->idle = true;
        session->waits++;
    }
    if (step == STEP_WAIT)
        session->discard_input = false;
    if (step != STEP_ON)
        return step;
    session->in.size += got;
    session->bytes_in += got;
    session->reads++;
    bool first = session->idle;
    session->idle = false;
    return first ? pause_for(session, session->server->options->rtt_ms) : STEP_ON;
}

/* Answer the next line, if one is there. */
static bool take_line(struct session *session)
{
    if (session->discard_input)
        buffer_consume(&session->in, session->in.size);
    char *line = buffer_front(&session->in);
    char *end = session->in.size > 0 ? memchr(line, '\n', session->in.size) : NULL;
    if (end == NULL) {
        if (session->in.size <= LINE_MAX_SIZE)
            return false;
        protocol_line_too_long(session);
        return true;
    }
    size_t size = (size_t)(end - line) + 1;
    *end = '\0';
    if (end > line && end[-1] == '\r')
        end[-1] = '\0';
    protocol_line(session, line);
    /* The reply's own pause comes first. STLS looks at what is left behind the line. */
    buffer_consume(&session->in, size);
    return true;
}

static void reply_begun(struct session *session)
{
    session->paced_delay_ms =
        session->server->options->delay_ms + session->reply.action->delay_ms;
}

static enum step commands(struct session *session)
{
    if (take_line(session)) {
        reply_begun(session);
        return STEP_ON;
    }
    return read_in(session);
}

static enum step greet(struct session *session)
{
    session->greeted = true;
    session->phase = PHASE_COMMANDS;
    protocol_moment(session, EVENT_GREETING);
    reply_begun(session);
    return STEP_ON;
}

static enum step reply_on(struct session *session)
{
    uint64_t delay_ms = session->paced_delay_ms;
    session->paced_delay_ms = 0;
    if (delay_ms > 0)
        return pause_for(session, delay_ms);
    if (!reply_fill(&session->reply, &session->out))
        reply_produced(session);
    return STEP_ON;
}

static enum step next_step(struct session *session)
{
    if (session->phase == PHASE_LINGER)
        return linger(session);
    if (session->phase == PHASE_HANG)
        return STEP_WAIT;
    if (session->out.size > 0)
        return write_out(session);
    if (session->replying)
        return reply_on(session);
    if (session->finish != FINISH_NONE)
        return finish(session);
    if (session->phase == PHASE_HANDSHAKE)
        return handshake(session);
    return session->phase == PHASE_GREETING ? greet(session) : commands(session);
}

static void watch(struct session *session)
{
    if (session->wanted == session->interest)
        return;
    struct epoll_event event = {.events = session->wanted, .data.ptr = session};
    epoll_ctl(session->server->epoll_fd, EPOLL_CTL_MOD, session->fd, &event);
    session->interest = session->wanted;
}

/* Thousands of sessions wait at a time: those with nothing to do hold no buffers. */
static void slim(struct session *session)
{
    if (session->in.size == 0)
        buffer_free(&session->in);
    if (session->out.size == 0)
        buffer_free(&session->out);
    if (!session->replying)
        reply_free(&session->reply);
}

void session_run(struct session *session, uint32_t events)
{
    bool gone = (events & (EPOLLERR | EPOLLHUP)) != 0;
    bool left = session->phase == PHASE_HANG && (events & EPOLLRDHUP) != 0;
    bool overdue = events == 0 && session->phase == PHASE_LINGER;
    if (gone || left || overdue) {
        session_end(session, "client");
        return;
    }
    if (session->resume_at_ms > 0 && session->phase != PHASE_LINGER) {
        if (events != 0)
            return;
        stop_waiting(session);
    }
    enum step step = STEP_ON;
    for (unsigned i = 0; i < STEPS_A_TURN && step == STEP_ON; i++)
        step = next_step(session);
    if (step == STEP_END) {
        session_end(session, "closed");
        return;
    }
    /* A session that could go on comes back as soon as epoll says it may write. */
    if (step == STEP_ON)
        session->wanted = EPOLLOUT;
    else
        slim(session);
    watch(session);
}

void session_start(struct server *server, int fd, const char *peer)
{
    struct session *session = memory_new(sizeof *session);
    session->server = server;
    session->fd = fd;
    session->id = ++server->connections;
    session->phase =
        server->options->tls == TLS_IMPLICIT ? PHASE_HANDSHAKE : PHASE_GREETING;
    session->interest = EPOLLIN;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        free(session);
        return;
    }
    session->next = server->sessions;
    if (session->next != NULL)
        session->next->previous = session;
    server->sessions = session;
    log_line(&server->log, "connect id=%" PRIu64 " from=%s", session->id, peer);
    protocol_moment(session, EVENT_CONNECT);
    session->paced_delay_ms = session->reply.action->delay_ms;
    session_run(session, EPOLLIN);
}

static void log_end(struct session *session)
{
    struct log_field user;
    struct buffer counts = {0};
    for (unsigned i = 0; i < EVENT_COUNT; i++)
        if (session->counts[i] > 0)
            buffer_addf(&counts, " %s=%u", event_name((enum event)i), session->counts[i]);
    buffer_add(&counts, "", 1);
    log_line(&session->server->log,
             "session %s id=%" PRIu64 " session=%" PRIu64 " commands=%" PRIu64
             " reads=%" PRIu64 " waits=%" PRIu64 " in=%" PRIu64 " out=%" PRIu64 " end=%s%s",
             log_name(&user, session->user), session->id, session->login, session->commands,
             session->reads, session->waits, session->bytes_in, session->bytes_out,
             session->end, buffer_front(&counts));
    buffer_free(&counts);
}

static void unlink_session(struct session *session)
{
    stop_waiting(session);
    if (session->previous != NULL)
        session->previous->next = session->next;
    else
        session->server->sessions = session->next;
    if (session->next != NULL)
        session->next->previous = session->previous;
}

void session_end(struct session *session, const char *why)
{
    note_end(session, why);
    log_served(session, session->phase == PHASE_LINGER);
    log_end(session);
    unlink_session(session);
    protocol_release(session);
    reply_free(&session->reply);
    SSL_free(session->tls);
    close(session->fd);
    buffer_free(&session->in);
    buffer_free(&session->out);
    free(session->user);
    free(session);
}
