#include "workers/probe_internal.h"

#include "archive/size_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CAPABILITIES_TEXT_SIZE 256

/* The step that a state belongs to; PROBE_NOWHERE: it is told elsewhere. */
static const enum probe_step steps[] = {
    [POP3_CONNECTING] = PROBE_NOWHERE,  [POP3_GREETING] = PROBE_GREETING,
    [POP3_CAPA_PLAIN] = PROBE_STLS,     [POP3_STLS] = PROBE_STLS,
    [POP3_TLS] = PROBE_NOWHERE,         [POP3_CAPA] = PROBE_CAPABILITIES,
    [POP3_UTF8] = PROBE_LOGIN,          [POP3_AUTH] = PROBE_LOGIN,
    [POP3_AUTH_RESPONSE] = PROBE_LOGIN, [POP3_USER] = PROBE_LOGIN,
    [POP3_PASS] = PROBE_LOGIN,          [POP3_CAPA_AGAIN] = PROBE_CAPABILITIES,
    [POP3_GLANCE] = PROBE_NOWHERE,      [POP3_LISTING] = PROBE_LISTING,
    [POP3_FETCH] = PROBE_LISTING,       [POP3_DURABLE] = PROBE_LISTING,
    [POP3_DELETE] = PROBE_NOWHERE,      [POP3_QUIT] = PROBE_QUIT,
    [POP3_DONE] = PROBE_NOWHERE,
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == POP3_DONE + 1, "a step for every state");

/* What was found */

static void say_line(struct probe *p)
{
    char quote[OUTCOME_QUOTE_SIZE];
    outcome_escape(quote, sizeof(quote), p->line, p->line_size);
    probe_step_done(p, "%s", quote);
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t *used,
                                                      const char *format, ...)
{
    size_t room = CAPABILITIES_TEXT_SIZE - *used;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + *used, room, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < room)
        *used += (size_t)n;
}

static void say_capabilities(struct probe *p, enum pop3_state from)
{
    const struct capabilities *c = pop3_capabilities(p->pop3);
    char text[CAPABILITIES_TEXT_SIZE] = "";
    size_t used = 0;
    if (!c->known) {
        probe_step_done(p, "the server has no CAPA, which is no fault");
        return;
    }
    add(text, &used, "%s", from == POP3_CAPA_AGAIN ? "after login:" : "before login:");
    size_t nothing = used;
    add(text, &used, "%s%s%s%s%s", c->uidl ? " UIDL" : "",
        c->pipelining ? " PIPELINING" : "", c->sasl_plain ? " SASL-PLAIN" : "",
        c->user ? " USER" : "", c->utf8 ? " UTF8" : "");
    if (c->login_delay_s > 0)
        add(text, &used, " LOGIN-DELAY %" PRIu32, c->login_delay_s);
    if (c->expire_days >= 0)
        add(text, &used, " EXPIRE %" PRId32, c->expire_days);
    if (used == nothing)
        add(text, &used, " nothing of use");
    probe_step_done(p, "%s%s", text,
                    c->expire_days == 0 ? "; the server itself deletes what was fetched"
                                        : "");
}

static void say_listing(struct probe *p)
{
    const struct listing_summary *s = listing_summary(pop3_listing(p->pop3));
    uint64_t count = s->uidl_complete ? s->uidl_count : s->list_count;
    char size[SIZE_TEXT_MAX] = "?";
    if (s->stat_known)
        size_text(s->stat_bytes, size);
    if (s->trust == LISTING_TRUSTED)
        probe_step_done(p, "%" PRIu64 " message%s, %s", count, count == 1 ? "" : "s", size);
    else
        probe_step_done(p,
                        "%" PRIu64 " message%s, %s; fetched from, never deleted from: %s",
                        count, count == 1 ? "" : "s", size, listing_trust_text(s->trust));
}

static void say_done(struct probe *p, enum pop3_state from)
{
    bool answered = pop3_stats(p->pop3)->quit_answered;
    switch (steps[from]) {
    case PROBE_GREETING:
        say_line(p);
        break;
    case PROBE_STLS:
        probe_step_done(p, "accepted");
        break;
    case PROBE_CAPABILITIES:
        say_capabilities(p, from);
        break;
    case PROBE_LOGIN:
        probe_step_done(p, "accepted, by %s",
                        from == POP3_PASS ? "USER and PASS" : "AUTH PLAIN");
        break;
    case PROBE_LISTING:
        say_listing(p);
        break;
    case PROBE_QUIT:
        probe_step_done(p, answered ? "answered" : "not answered, which does no harm");
        break;
    case PROBE_NOWHERE:
    case PROBE_PASSWORD:
    case PROBE_RESOLVE:
    case PROBE_CONNECT:
    case PROBE_TLS:
    case PROBE_CERTIFICATE:
    case PROBE_STEP_COUNT:
        break;
    }
}

/* Why it failed */

static struct reply last_reply(const struct probe *p)
{
    const struct line line = {.data = p->line, .size = p->line_size};
    struct reply reply;
    reply_parse(&line, &reply);
    return reply;
}

/* By step, when the connection is lost, and when the server says -ERR. */
static const struct {
    enum probe_cause lost, refused;
} failures[PROBE_STEP_COUNT] = {
    [PROBE_STLS] = {PROBE_CONNECTION_LOST, PROBE_PLAINTEXT_ONLY},
    [PROBE_GREETING] = {PROBE_NO_GREETING, PROBE_GREETING_REFUSED},
    [PROBE_CAPABILITIES] = {PROBE_NO_CAPA, PROBE_PROTOCOL},
    [PROBE_LOGIN] = {PROBE_LOGIN_UNCERTAIN, PROBE_LOGIN_REFUSED},
    [PROBE_LISTING] = {PROBE_CONNECTION_LOST, PROBE_LISTING_REFUSED},
    [PROBE_QUIT] = {PROBE_CONNECTION_LOST, PROBE_PROTOCOL},
};

/* No answer of POP3's to what was asked. At the greeting: which protocol is it then? */
static enum probe_cause cause_of_nonsense(const struct probe *p)
{
    enum probe_cause first = probe_cause_of_bytes(p->line, p->line_size);
    if (p->step != PROBE_GREETING || p->line_size == 0)
        return PROBE_PROTOCOL;
    return first == PROBE_WANTS_STARTTLS ? PROBE_PROTOCOL : first;
}

static enum probe_cause cause_of_failure(struct probe *p, enum pop3_state from)
{
    bool greeting = p->step == PROBE_GREETING;
    if (greeting && p->loss == PROBE_TIMED_OUT && p->line_size == 0)
        probe_provoke(p);
    if (p->loss != PROBE_NOT_LOST)
        return greeting && p->line_size > 0 ? cause_of_nonsense(p) : failures[p->step].lost;
    struct reply reply = last_reply(p);
    if (from == POP3_CAPA_PLAIN)
        return PROBE_PLAINTEXT_ONLY; /* no STLS in its list */
    if (reply.status != REPLY_ERR)
        return cause_of_nonsense(p);
    return p->step == PROBE_LOGIN ? probe_cause_of_refusal(&reply)
                                  : failures[p->step].refused;
}

/* What pop3 calls */

static void on_state(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct probe *p = arg;
    const struct outcome *outcome = pop3_outcome(p->pop3);
    enum probe_step was = steps[from], is = steps[to];
    if (p->over)
        return;
    if (outcome->scope != SCOPE_NONE) {
        probe_step_failed(p, cause_of_failure(p, from), "%s", outcome->text);
        return;
    }
    if (was != PROBE_NOWHERE && was != is)
        say_done(p, from);
    if (is != PROBE_NOWHERE && was != is)
        probe_step_begins(p, is);
}

static void on_start_tls(void *arg)
{
    struct probe *p = arg;
    p->start_tls = true;
}

static enum listing_verdict skip(void *arg, uint32_t number, uint64_t size,
                                 const char *uidl, size_t uidl_size)
{
    (void)arg, (void)number, (void)size, (void)uidl, (void)uidl_size;
    return LISTING_SKIP;
}

/* Not even those without an ID, about which the judge is not asked. */
static void on_listing(void *arg, const struct listing *listing)
{
    struct probe *p = arg;
    (void)listing;
    pop3_finish(p->pop3);
}

static void on_fetched(void *arg)
{
    struct probe *p = arg;
    pop3_durable(p->pop3, probe_now_us() / 1000);
}

/* Nothing is ever retrieved. */

static void on_begin(void *arg, const struct listing_entry *entry, uint64_t octets)
{
    (void)arg, (void)entry, (void)octets;
}

static void on_data(void *arg, const char *data, size_t size)
{
    (void)arg, (void)data, (void)size;
}

static void on_end(void *arg, const struct listing_entry *entry, unsigned flags)
{
    (void)arg, (void)entry, (void)flags;
}

static void on_discard(void *arg, const struct listing_entry *entry, enum pop3_discard why)
{
    (void)arg, (void)entry, (void)why;
}

static void on_refused(void *arg, const struct listing_entry *entry, bool permanent,
                       const char *text)
{
    (void)arg, (void)entry, (void)permanent, (void)text;
}

static const struct pop3_callbacks callbacks = {
    .start_tls = on_start_tls,
    .judge = skip,
    .listing_done = on_listing,
    .message_begin = on_begin,
    .message_data = on_data,
    .message_end = on_end,
    .message_discard = on_discard,
    .message_refused = on_refused,
    .fetched_all = on_fetched,
    .trace = on_state,
};

int probe_pop3_create(struct probe *p)
{
    const struct probe_config *c = p->config;
    bool login = c->user != NULL;
    struct pop3_config config = {
        .user = login ? c->user : "nobody",
        .password = login ? c->password : "",
        .implicit_tls = c->implicit_tls,
        .no_login = !login,
        .avoid = c->avoid,
        .limits = pop3_limits_default,
    };
    config.limits.greeting_ms = c->patience_ms;
    config.limits.reply_ms = c->patience_ms;
    config.limits.quit_ms = c->patience_ms;
    return pop3_create(&config, &callbacks, p, &p->pop3);
}
