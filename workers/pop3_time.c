#include "workers/pop3_internal.h"

#include <assert.h>

void pop3_time_progress(struct pop3 *p, uint64_t now, size_t bytes)
{
    p->now = now;
    if (bytes == 0 || p->standing)
        return;
    p->progress_ms = now;
    if (!p->rate_running) {
        p->rate_running = true;
        p->rate_ms = now;
        p->rate_bytes = 0;
    }
    p->rate_bytes += bytes;
}

/* The lowest rate is one within a reply: short replies with pauses between them are no
 * drip. */
void pop3_time_reply_done(struct pop3 *p)
{
    p->progress_ms = p->now;
    p->rate_running = false;
}

/* The server's clocks stand still while nobody listens to it. */
void pop3_time_standing(struct pop3 *p, uint64_t now)
{
    bool standing = p->idle || p->paused;
    p->now = now;
    if (standing == p->standing)
        return;
    p->standing = standing;
    if (standing) {
        p->standing_ms = now;
        return;
    }
    uint64_t stood = now - p->standing_ms;
    p->session_ms += stood;
    p->progress_ms += stood;
    p->rate_ms += stood;
}

void pop3_idle(struct pop3 *p, uint64_t now)
{
    assert(!p->idle);
    p->idle = true;
    pop3_time_standing(p, now);
}

void pop3_active(struct pop3 *p, uint64_t now)
{
    assert(p->idle);
    p->idle = false;
    pop3_time_standing(p, now);
}

static bool reply_due(const struct pop3 *p)
{
    return p->queue_count > 0 || p->state == POP3_TLS;
}

static uint64_t step_limit(const struct pop3 *p)
{
    if (p->state == POP3_GREETING)
        return p->config.limits.greeting_ms;
    return p->state == POP3_QUIT ? p->config.limits.quit_ms : p->config.limits.reply_ms;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t pop3_deadline(const struct pop3 *p)
{
    if (p->state == POP3_CONNECTING || p->state == POP3_DONE || p->standing)
        return POP3_NO_DEADLINE;
    uint64_t deadline = p->session_ms + p->config.limits.session_ms;
    if (reply_due(p))
        deadline = earlier(deadline, p->progress_ms + step_limit(p));
    if (p->rate_running)
        deadline = earlier(deadline, p->rate_ms + p->config.limits.rate_ms);
    return deadline;
}

/* Q50. Without CAPA Courier hides mail (Q22), and the mark stays: a connection that is lost
 * just here is no reason for it where the mailbox's last session was answered. */
static void lost_at_capa(struct pop3 *p, const char *how)
{
    bool again = p->config.memory.announced.known;
    p->memory.no_capa |= !again;
    pop3_fail(p, SCOPE_SERVER, RETRY_NOW, "The server %s while %s; %s.", how,
              pop3_state_step(p->state),
              again ? "it will be asked once more"
                    : "from now on it is not asked for them");
}

/* The connection is of no use any more, by time-out or close: what that means depends on
 * the step. */
static void lost(struct pop3 *p, const char *how)
{
    enum pop3_state state = p->state;
    const char *step = pop3_state_step(state);
    switch (state) {
    case POP3_CAPA_PLAIN:
    case POP3_CAPA:
    case POP3_CAPA_AGAIN:
        lost_at_capa(p, how);
        break;
    case POP3_USER:
    case POP3_PASS:
    case POP3_AUTH:
    case POP3_AUTH_RESPONSE:
        pop3_fail(
            p, SCOPE_ACCOUNT, RETRY_BACKOFF,
            "The server %s while %s, so it is not known whether it accepts the password; "
            "check user and password if this stays.",
            how, step);
        break;
    case POP3_GLANCE:
    case POP3_LISTING:
    case POP3_FETCH:
    case POP3_DURABLE:
        pop3_fail(p, SCOPE_MAILBOX, RETRY_BACKOFF,
                  "The server %s while %s; what is not complete is fetched again later.",
                  how, step);
        break;
    case POP3_DELETE:
        pop3_fail(p, SCOPE_MAILBOX, RETRY_BACKOFF, "The server %s while %s.", how, step);
        break;
    case POP3_QUIT:
        /* If nothing was deleted, the reply does not matter: everything is durable (Q58).
         */
        if (pop3_deletes_sent(p) > 0)
            pop3_fail(p, SCOPE_MAILBOX, RETRY_BACKOFF, "The server %s while %s.", how,
                      step);
        else
            pop3_enter(p, POP3_DONE);
        break;
    case POP3_CONNECTING:
    case POP3_GREETING:
    case POP3_STLS:
    case POP3_TLS:
    case POP3_UTF8:
    case POP3_DONE:
        pop3_fail(p, SCOPE_SERVER, RETRY_BACKOFF,
                  "The server %s while %s; check host, port and tls if this stays.", how,
                  step);
        break;
    }
}

void pop3_eof(struct pop3 *p, uint64_t now, bool clean)
{
    if (p->state == POP3_DONE)
        return;
    p->now = now;
    if (p->held == POP3_HELD_REFUSED) {
        /* The last -ERR announced the close, it was not about the message (Q41). */
        pop3_fetch_drop(p, POP3_DISCARD_CUT, POP3_DISCARD_UNPROVEN, false);
        pop3_fail(
            p, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The server closed the connection with \"%s\"; it will be tried again later.",
            p->held_text);
        return;
    }
    pop3_fetch_drop(p, POP3_DISCARD_CUT, POP3_DISCARD_UNPROVEN, true);
    lost(p, clean ? "closed the connection" : "dropped the connection");
}

void pop3_timeout(struct pop3 *p, uint64_t now)
{
    p->now = now;
    if (pop3_deadline(p) > now)
        return;
    const struct pop3_limits *limits = &p->config.limits;
    bool session_over = now >= p->session_ms + limits->session_ms;
    bool silent = reply_due(p) && now >= p->progress_ms + step_limit(p);
    if (!session_over && !silent && p->rate_bytes >= limits->rate_bytes) {
        p->rate_ms = now;
        p->rate_bytes = 0;
        return;
    }
    pop3_fetch_drop(p, POP3_DISCARD_TIMEOUT, POP3_DISCARD_UNPROVEN, silent);
    if (session_over)
        lost(p, "kept the session longer than allowed");
    else
        lost(p, silent ? "did not answer in time" : "sent too slowly");
}
