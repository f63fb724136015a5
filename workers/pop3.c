#include "workers/pop3.h"

#include "archive/error.h"
#include "workers/pop3_internal.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_FIRST_CAPACITY ((size_t)256)

const struct pop3_limits pop3_limits_default = {
    .listing =
        {
            .entries_max = LISTING_ENTRIES_MAX,
            .bytes_max = LISTING_BYTES_MAX,
            .uidl_max = LISTING_UIDL_MAX,
            .stat_slack = LISTING_STAT_SLACK,
            .wanted_max = LISTING_WANTED_MAX,
        },
    .window_start = POP3_WINDOW_START,
    .window_max = POP3_WINDOW_MAX,
    .window_bytes = POP3_WINDOW_BYTES,
    .unanswered_max = POP3_UNANSWERED_MAX,
    .messages_max = POP3_SESSION_MESSAGES_MAX,
    .fetch_ms = POP3_FETCH_MS,
    .message_max = POP3_MESSAGE_MAX,
    .body_floor = POP3_BODY_FLOOR,
    .body_slack = POP3_BODY_SLACK,
    .refusals_max = POP3_REFUSALS_MAX,
    .greeting_ms = POP3_GREETING_MS,
    .reply_ms = POP3_REPLY_MS,
    .rate_ms = POP3_RATE_MS,
    .rate_bytes = POP3_RATE_BYTES,
    .session_ms = POP3_SESSION_MS,
    .quit_ms = POP3_QUIT_MS,
};

static const struct {
    const char *name;
    const char *step;
} states[] = {
    [POP3_CONNECTING] = {"connecting", "connecting"},
    [POP3_GREETING] = {"greeting", "waiting for its greeting"},
    [POP3_CAPA_PLAIN] = {"capa-plain", "asking for its capabilities (CAPA) before TLS"},
    [POP3_STLS] = {"stls", "asking for TLS (STLS)"},
    [POP3_TLS] = {"tls", "starting TLS after STLS"},
    [POP3_CAPA] = {"capa", "asking for its capabilities (CAPA)"},
    [POP3_UTF8] = {"utf8", "switching to UTF-8 (UTF8)"},
    [POP3_AUTH] = {"auth", "logging in (AUTH PLAIN)"},
    [POP3_AUTH_RESPONSE] = {"auth-response", "logging in (credentials sent)"},
    [POP3_USER] = {"user", "logging in (USER)"},
    [POP3_PASS] = {"pass", "logging in (PASS)"},
    [POP3_CAPA_AGAIN] = {"capa-again", "asking for its capabilities (CAPA) after login"},
    [POP3_GLANCE] = {"glance", "asking whether anything has changed (STAT, UIDL n)"},
    [POP3_LISTING] = {"listing", "listing the mailbox (STAT, LIST, UIDL)"},
    [POP3_FETCH] = {"fetch", "retrieving messages (RETR)"},
    [POP3_DURABLE] = {"durable", "writing messages to disk, before QUIT"},
    [POP3_DELETE] = {"delete", "deleting messages (DELE)"},
    [POP3_QUIT] = {"quit", "leaving (QUIT)"},
    [POP3_DONE] = {"done", "done"},
};
_Static_assert(sizeof(states) / sizeof(states[0]) == POP3_DONE + 1,
               "a name for every state");

static const char *const discard_names[] = {
    [POP3_DISCARD_SUSPECT] = "suspect",
    [POP3_DISCARD_OVERSIZED] = "oversized",
    [POP3_DISCARD_NO_ANSWER] = "no-answer",
    [POP3_DISCARD_TIMEOUT] = "timeout",
    [POP3_DISCARD_CUT] = "cut",
    [POP3_DISCARD_UNPROVEN] = "unproven",
    [POP3_DISCARD_ABANDONED] = "abandoned",
};
_Static_assert(sizeof(discard_names) / sizeof(discard_names[0]) ==
                   POP3_DISCARD_ABANDONED + 1,
               "a name for every reason");

const char *pop3_state_name(enum pop3_state state)
{
    return states[state].name;
}

const char *pop3_state_step(enum pop3_state state)
{
    return states[state].step;
}

const char *pop3_discard_name(enum pop3_discard why)
{
    return discard_names[why];
}

static int check_credential(const char *text)
{
    if (strpbrk(text, "\r\n") != NULL)
        return ERR_SYNTAX;
    return strlen(text) > POP3_CREDENTIAL_MAX ? ERR_TOO_LARGE : 0;
}

int pop3_create(const struct pop3_config *config, const struct pop3_callbacks *callbacks,
                void *arg, struct pop3 **out_pop3)
{
    assert(config->limits.window_start > 0 && config->limits.window_max > 0);
    assert(config->limits.window_max <= POP3_WINDOW_CEILING);
    int rc = config->user[0] == '\0' ? ERR_SYNTAX : check_credential(config->user);
    if (rc == 0)
        rc = check_credential(config->password);
    if (rc != 0)
        return rc;
    struct pop3 *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->config = *config;
    p->callbacks = *callbacks;
    p->arg = arg;
    p->memory = config->memory;
    capabilities_clear(&p->capabilities);
    rc = pop3_wire_create(p);
    if (rc != 0) {
        free(p);
        return rc;
    }
    *out_pop3 = p;
    return 0;
}

static void output_free(struct pop3 *p)
{
    if (p->output != NULL)
        OPENSSL_cleanse(p->output, p->output_capacity);
    free(p->output);
    p->output = NULL;
    p->output_start = p->output_end = p->output_capacity = 0;
}

void pop3_free(struct pop3 *p)
{
    if (p == NULL)
        return;
    output_free(p);
    line_reader_free(&p->lines);
    listing_free(p->listing);
    free(p->wire);
    free(p);
}

/* Not realloc: it may leave a copy of a password behind. */
static bool output_reserve(struct pop3 *p, size_t size)
{
    if (size <= p->output_capacity - p->output_end)
        return true;
    size_t pending = p->output_end - p->output_start;
    size_t capacity = OUTPUT_FIRST_CAPACITY;
    while (capacity < pending + size)
        capacity *= 2;
    char *bigger = malloc(capacity);
    if (bigger == NULL)
        return false;
    if (pending > 0)
        memcpy(bigger, p->output + p->output_start, pending);
    output_free(p);
    p->output = bigger;
    p->output_end = pending;
    p->output_capacity = capacity;
    return true;
}

static void output_append(struct pop3 *p, const char *text, size_t size)
{
    memcpy(p->output + p->output_end, text, size);
    p->output_end += size;
    p->output_queued += size;
}

static void expect(struct pop3 *p, enum pop3_command command, size_t size)
{
    assert(p->queue_count < POP3_QUEUE_MAX);
    if (p->queue_count == 0)
        p->progress_ms = p->now;
    unsigned slot = (p->queue_head + p->queue_count) % POP3_QUEUE_MAX;
    p->queue[slot] = (struct pop3_expected){
        .sent_at = p->output_queued,
        .index = (uint32_t)p->next_wanted,
        .size = (uint16_t)size,
        .command = (uint8_t)command,
    };
    p->queue_count++;
    p->unanswered_bytes += size;
}

void pop3_send(struct pop3 *p, enum pop3_command command, const char *verb,
               const char *argument)
{
    if (p->state == POP3_DONE)
        return; /* an earlier command of the same batch found no memory */
    size_t verb_size = strlen(verb);
    size_t argument_size = argument != NULL ? 1 + strlen(argument) : 0;
    size_t size = verb_size + argument_size + 2;
    if (!output_reserve(p, size)) {
        pop3_fail_memory(p);
        return;
    }
    if (p->output_end == p->output_start)
        p->stats.round_trips++;
    p->stats.commands++;
    output_append(p, verb, verb_size);
    if (argument != NULL) {
        output_append(p, " ", 1);
        output_append(p, argument, argument_size - 1);
    }
    output_append(p, "\r\n", 2);
    pop3_wire_command(p, command, verb, argument);
    expect(p, command, size);
}

size_t pop3_output(const struct pop3 *p, const char **out_data)
{
    *out_data = p->output != NULL ? p->output + p->output_start : "";
    return p->output_end - p->output_start;
}

void pop3_output_consume(struct pop3 *p, size_t size)
{
    assert(size <= p->output_end - p->output_start);
    p->output_start += size;
    p->output_taken += size;
    if (p->output_start == p->output_end)
        output_free(p);
}

struct pop3_expected *pop3_expected(struct pop3 *p)
{
    assert(p->queue_count > 0);
    return &p->queue[p->queue_head];
}

void pop3_answered(struct pop3 *p)
{
    p->unanswered_bytes -= pop3_expected(p)->size;
    p->queue_head = (p->queue_head + 1) % POP3_QUEUE_MAX;
    p->queue_count--;
    pop3_time_reply_done(p);
}

bool pop3_may_pipeline(const struct pop3 *p)
{
    bool announced =
        p->capabilities.known ? p->capabilities.pipelining : p->pipelining_before;
    return announced && !p->memory.window_one;
}

void pop3_enter(struct pop3 *p, enum pop3_state state)
{
    assert(p->state != POP3_DONE);
    enum pop3_state from = p->state;
    p->state = state;
    if (p->callbacks.trace != NULL)
        p->callbacks.trace(p->arg, from, state);
    switch (state) {
    case POP3_GREETING:
        expect(p, POP3_CMD_GREETING, 0);
        break;
    case POP3_CAPA_PLAIN:
    case POP3_STLS:
    case POP3_TLS:
    case POP3_CAPA:
    case POP3_UTF8:
    case POP3_AUTH:
    case POP3_AUTH_RESPONSE:
    case POP3_USER:
    case POP3_PASS:
    case POP3_CAPA_AGAIN:
        pop3_login_enter(p);
        break;
    case POP3_GLANCE:
        pop3_glance_enter(p);
        break;
    case POP3_LISTING:
        pop3_listing_enter(p);
        break;
    case POP3_FETCH:
        pop3_fetch_enter(p);
        break;
    case POP3_DURABLE:
        p->callbacks.fetched_all(p->arg);
        break;
    case POP3_DELETE:
        pop3_window_open(p, POP3_WINDOW_DELETES); /* the replies have one line each */
        pop3_delete_go_on(p);
        break;
    case POP3_QUIT:
        pop3_send(p, POP3_CMD_QUIT, "QUIT", NULL);
        break;
    case POP3_CONNECTING:
    case POP3_DONE:
        break;
    }
}

static bool repeats_secret(const struct pop3 *p, const char *text, size_t size)
{
    /* An echo of the response starts at its start, wherever the server cuts it. */
    enum { ECHO_SIZE = 12 };
    const char *password = p->config.password;
    if (reply_text_contains(text, size, password, strlen(password)))
        return true;
    size_t capacity;
    char *plain = pop3_login_plain(p, &capacity);
    if (plain == NULL)
        return true;
    size_t n = strnlen(plain, ECHO_SIZE);
    bool found = reply_text_contains(text, size, plain, n);
    OPENSSL_clear_free(plain, capacity);
    return found;
}

void pop3_quote(const struct pop3 *p, const char *text, size_t size,
                char out_quote[OUTCOME_QUOTE_SIZE])
{
    static const char left_out[] = "(left out: it repeats the password)";
    if (repeats_secret(p, text, size))
        memcpy(out_quote, left_out, sizeof(left_out));
    else
        outcome_escape(out_quote, OUTCOME_QUOTE_SIZE, text, size);
}

void pop3_fail(struct pop3 *p, enum scope scope, enum retry retry, const char *format, ...)
{
    pop3_fetch_drop(p, POP3_DISCARD_ABANDONED, POP3_DISCARD_UNPROVEN, false);
    if (pop3_glance_suspected(p))
        p->memory.no_glance = true; /* the next session gets along without */
    if (p->looked_too_far && p->state < POP3_FETCH)
        p->memory.window_one = true;
    p->memory.announced = (struct pop3_announced){.known = false};
    char text[OUTCOME_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (pop3_deletes_sent(p) > 0)
        pop3_delete_in_doubt(p, text);
    else
        outcome_set(&p->outcome, scope, retry, "%s", text);
    output_free(p);
    pop3_enter(p, POP3_DONE);
}

void pop3_fail_memory(struct pop3 *p)
{
    pop3_fail(p, SCOPE_PROCESS, RETRY_BACKOFF,
              "Out of memory during a session; lower max-connections or raise max-memory.");
}

void pop3_desynchronised(struct pop3 *p, const char *text, size_t size)
{
    char quote[OUTCOME_QUOTE_SIZE];
    pop3_quote(p, text, size, quote);
    p->stats.desynchronised = true;
    pop3_fetch_drop(p, POP3_DISCARD_SUSPECT, POP3_DISCARD_SUSPECT, false);
    if (pop3_may_pipeline(p) && p->state >= POP3_LISTING && !pop3_glance_suspected(p))
        p->memory.window_one = true;
    enum scope scope = p->state < POP3_GLANCE ? SCOPE_SERVER : SCOPE_MAILBOX;
    pop3_fail(p, scope, RETRY_BACKOFF,
              "The server sent what is no reply to a command of ours while %s: \"%s\"; the "
              "session was dropped and will be tried again.",
              pop3_state_step(p->state), quote);
}

static void take_reply(struct pop3 *p, const struct line *line)
{
    struct reply reply;
    reply_parse(line, &reply);
    enum pop3_command command = (enum pop3_command)pop3_expected(p)->command;
    bool challenge = command == POP3_CMD_AUTH || command == POP3_CMD_AUTH_RESPONSE;
    if (reply.status == REPLY_OTHER || (reply.status == REPLY_CONTINUE && !challenge)) {
        pop3_desynchronised(p, line->data, line->size);
        return;
    }
    switch (command) {
    case POP3_CMD_GREETING:
    case POP3_CMD_CAPA:
    case POP3_CMD_STLS:
    case POP3_CMD_UTF8:
    case POP3_CMD_AUTH:
    case POP3_CMD_AUTH_RESPONSE:
    case POP3_CMD_USER:
    case POP3_CMD_PASS:
        pop3_login_reply(p, command, &reply);
        break;
    case POP3_CMD_STAT:
    case POP3_CMD_LIST:
    case POP3_CMD_UIDL:
    case POP3_CMD_UIDL_LAST:
        if (p->state == POP3_GLANCE)
            pop3_glance_reply(p, command, &reply);
        else
            pop3_listing_reply(p, command, &reply);
        break;
    case POP3_CMD_RETR:
    case POP3_CMD_NOOP:
        pop3_fetch_reply(p, command, &reply);
        break;
    case POP3_CMD_DELE:
        pop3_delete_reply(p, &reply);
        break;
    case POP3_CMD_QUIT:
        pop3_quit_reply(p, &reply);
        break;
    }
}

/* A line of CAPA, LIST or UIDL. */
static void take_multiline(struct pop3 *p, const struct line *line)
{
    enum pop3_command command = (enum pop3_command)pop3_expected(p)->command;
    bool capa = command == POP3_CMD_CAPA;
    if (line->size == 1 && line->data[0] == '.') {
        p->multiline = false;
        pop3_answered(p);
        if (capa)
            pop3_login_capa_done(p);
        else
            pop3_listing_ended(p, command);
        return;
    }
    struct line text = *line;
    if (text.size > 1 && text.data[0] == '.') {
        text.data++;
        text.size--;
    }
    if (capa)
        pop3_login_capa_line(p, &text);
    else
        pop3_listing_line(p, command, &text);
}

static size_t take_line(struct pop3 *p, const char *data, size_t size)
{
    size_t limit = p->state == POP3_AUTH || p->state == POP3_AUTH_RESPONSE
                       ? REPLY_CHALLENGE_MAX
                       : REPLY_LINE_MAX;
    size_t used = 0;
    struct line line;
    switch (line_next(&p->lines, limit, data, size, &used, &line)) {
    case LINE_NONE:
        break;
    case LINE_READY:
        pop3_wire_reply(p, &line);
        if (p->multiline)
            take_multiline(p, &line);
        else
            take_reply(p, &line);
        break;
    case LINE_TOO_LONG:
        p->stats.desynchronised = true;
        pop3_fetch_drop(p, POP3_DISCARD_SUSPECT, POP3_DISCARD_SUSPECT, false);
        pop3_fail(p, p->state < POP3_GLANCE ? SCOPE_SERVER : SCOPE_MAILBOX, RETRY_BACKOFF,
                  "The server sent a line of more than %zu bytes while %s; is this a POP3 "
                  "server?",
                  limit, pop3_state_step(p->state));
        break;
    case LINE_NO_MEMORY:
        pop3_fail_memory(p);
        break;
    }
    return used;
}

/* Nothing is due, or only the reply to a command that has not left. */
static bool nobody_asked(struct pop3 *p)
{
    return p->queue_count == 0 || pop3_expected(p)->sent_at > p->output_taken;
}

static void surplus(struct pop3 *p, const char *data, size_t size)
{
    if (p->queue_count > 0 || data[0] != '-') {
        pop3_desynchronised(p, data, size);
        return;
    }
    /* An -ERR while nothing is due tells why the server is about to close (Q41). */
    char quote[OUTCOME_QUOTE_SIZE];
    pop3_quote(p, data, size, quote);
    pop3_fail(
        p, SCOPE_MAILBOX, RETRY_BACKOFF,
        "The server ended the session by itself while %s: \"%s\"; it will be tried again "
        "later.",
        pop3_state_step(p->state), quote);
}

size_t pop3_input(struct pop3 *p, uint64_t now, const void *data, size_t size)
{
    const char *at = data;
    size_t used = 0;
    pop3_time_progress(p, now, size);
    while (used < size && p->state != POP3_DONE) {
        if (p->state == POP3_TLS) {
            pop3_fail(
                p, SCOPE_SERVER, RETRY_BACKOFF,
                "Plaintext followed the server's +OK to STLS: somebody on the network may "
                "be injecting commands; no password was sent.");
            break;
        }
        if (nobody_asked(p)) {
            surplus(p, at + used, size - used);
            break;
        }
        if (p->paused && pop3_expected(p)->command == POP3_CMD_RETR)
            break;
        used += p->in_body ? pop3_fetch_body(p, at + used, size - used)
                           : take_line(p, at + used, size - used);
    }
    p->stats.input_bytes += used;
    return used;
}

void pop3_connected(struct pop3 *p, uint64_t now)
{
    assert(p->state == POP3_CONNECTING);
    p->now = p->session_ms = now;
    pop3_enter(p, POP3_GREETING);
}

void pop3_tls_started(struct pop3 *p, uint64_t now)
{
    assert(p->state == POP3_TLS);
    pop3_time_progress(p, now, 0);
    pop3_login_secured(p);
}

void pop3_abandon(struct pop3 *p, const char *why)
{
    if (p->state == POP3_DONE)
        return;
    pop3_fetch_drop(p, POP3_DISCARD_ABANDONED, POP3_DISCARD_ABANDONED, false);
    pop3_fail(p, SCOPE_PROCESS, RETRY_BACKOFF, "%s", why);
}

enum pop3_state pop3_state(const struct pop3 *p)
{
    return p->state;
}

bool pop3_done(const struct pop3 *p)
{
    return p->state == POP3_DONE;
}

const struct outcome *pop3_outcome(const struct pop3 *p)
{
    return &p->outcome;
}

const struct pop3_stats *pop3_stats(const struct pop3 *p)
{
    return &p->stats;
}

const struct pop3_memory *pop3_memory(const struct pop3 *p)
{
    return &p->memory;
}

const struct capabilities *pop3_capabilities(const struct pop3 *p)
{
    return &p->capabilities;
}

const struct listing *pop3_listing(const struct pop3 *p)
{
    return p->listing;
}
