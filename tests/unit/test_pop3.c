/* Scripted dialogues with the session. Each is played with the server's bytes all at once,
 * one by one, and cut in two at every place: commands, callbacks and outcome must be the
 * same. */
#include "archive/error.h"
#include "workers/pop3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_MAX ((size_t)32 * 1024)
#define STEPS_MAX 64

enum after { GO_ON, CLOSE, HANG };

/* The server's part: reply once the client has sent exactly this command. */
struct step {
    const char *command;
    const char *reply;
    enum after after;
};

struct script {
    struct step steps[STEPS_MAX]; /* ends at a NULL command */
    struct pop3_memory memory;
    void (*limit)(struct pop3_limits *limits);
    const char *user;     /* NULL: "u" */
    const char *password; /* NULL: "pw9" */
    const char *known;    /* this UIDL is archived already */
    bool stls;
    bool hold;           /* do not say durable */
    bool pause_at_begin; /* pause in message_begin, resume when nothing moves */
};

struct text {
    char data[TEXT_MAX];
    size_t size;
};

struct play {
    const struct script *script;
    struct pop3 *pop3;
    uint64_t now;
    struct text log;  /* the callbacks */
    struct text sent; /* commands, one a line */
    size_t parsed;    /* of sent */
    struct text incoming;
    size_t fed;
    size_t step;
    enum after after;
    bool surprised; /* the client sent something else */
    bool want_tls;
    struct outcome outcome;
    struct pop3_stats stats;
    struct pop3_memory memory;
};

__attribute__((format(printf, 2, 3))) static void note(struct text *t, const char *format,
                                                       ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->data + t->size, TEXT_MAX - t->size, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < TEXT_MAX - t->size);
    t->size += (size_t)n;
}

static void append(struct text *t, const char *data, size_t size)
{
    assert_true(size < TEXT_MAX - t->size);
    memcpy(t->data + t->size, data, size);
    t->size += size;
    t->data[t->size] = '\0';
}

static void on_start_tls(void *arg)
{
    struct play *y = arg;
    y->want_tls = true;
    note(&y->log, "tls\n");
}

static enum listing_verdict on_judge(void *arg, uint32_t number, uint64_t size,
                                     const char *uidl, size_t uidl_size)
{
    struct play *y = arg;
    (void)number;
    (void)size;
    const char *known = y->script->known;
    return known != NULL && strlen(known) == uidl_size &&
                   memcmp(known, uidl, uidl_size) == 0
               ? LISTING_SKIP
               : LISTING_WANT;
}

static void on_listing(void *arg, const struct listing *listing)
{
    struct play *y = arg;
    const struct listing_summary *s = listing_summary(listing);
    note(&y->log, "listing %d/%d wanted, %s\n", (int)s->wanted, (int)s->stat_count,
         s->trust == LISTING_TRUSTED ? "trusted" : listing_trust_text(s->trust));
}

static void on_begin(void *arg, const struct listing_entry *entry, uint64_t octets)
{
    struct play *y = arg;
    note(&y->log, "begin %u octets %lld [", (unsigned)entry->number, (long long)octets);
    if (y->script->pause_at_begin)
        pop3_pause(y->pop3);
}

static void on_data(void *arg, const char *data, size_t size)
{
    struct play *y = arg;
    append(&y->log, data, size);
}

static void on_end(void *arg, const struct listing_entry *entry, unsigned flags)
{
    struct play *y = arg;
    note(&y->log, "] end %u flags %u\n", (unsigned)entry->number, flags);
}

static void on_discard(void *arg, const struct listing_entry *entry, enum pop3_discard why)
{
    struct play *y = arg;
    note(&y->log, "] discard %u %s\n", (unsigned)entry->number, pop3_discard_name(why));
}

static void on_refused(void *arg, const struct listing_entry *entry, bool permanent,
                       const char *text)
{
    struct play *y = arg;
    note(&y->log, "refused %u %s%s\n", (unsigned)entry->number,
         permanent ? "for good: " : "", text);
}

static void on_fetched_all(void *arg)
{
    struct play *y = arg;
    note(&y->log, "all\n");
    if (!y->script->hold)
        pop3_durable(y->pop3, y->now);
}

static void on_trace(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct play *y = arg;
    assert_int_not_equal(from, POP3_DONE);
    assert_true(strlen(pop3_state_name(to)) > 0);
    (void)y;
}

static const struct pop3_callbacks callbacks = {
    .start_tls = on_start_tls,
    .judge = on_judge,
    .listing_done = on_listing,
    .message_begin = on_begin,
    .message_data = on_data,
    .message_end = on_end,
    .message_discard = on_discard,
    .message_refused = on_refused,
    .fetched_all = on_fetched_all,
    .trace = on_trace,
};

static void play_open(struct play *y, const struct script *script)
{
    memset(y, 0, sizeof(*y));
    y->script = script;
    y->now = 1000;
    struct pop3_config config = {
        .user = script->user != NULL ? script->user : "u",
        .password = script->password != NULL ? script->password : "pw9",
        .implicit_tls = !script->stls,
        .memory = script->memory,
        .limits = pop3_limits_default,
    };
    if (script->limit != NULL)
        script->limit(&config.limits);
    assert_int_equal(pop3_create(&config, &callbacks, y, &y->pop3), 0);
    append(&y->incoming, script->steps[0].reply, strlen(script->steps[0].reply));
    y->after = script->steps[0].after;
    y->step = 1;
    pop3_connected(y->pop3, y->now);
}

/* Takes the client's commands and lets the server answer them. */
static void serve(struct play *y)
{
    const char *data;
    size_t size = pop3_output(y->pop3, &data);
    append(&y->sent, data, size);
    pop3_output_consume(y->pop3, size);
    while (y->after == GO_ON && !y->surprised) {
        const char *line = y->sent.data + y->parsed;
        const char *end = strstr(line, "\r\n");
        if (end == NULL)
            return;
        const struct step *s = &y->script->steps[y->step];
        if (s->command == NULL || strlen(s->command) != (size_t)(end - line) ||
            memcmp(s->command, line, (size_t)(end - line)) != 0) {
            y->surprised = true;
            return;
        }
        y->parsed += (size_t)(end - line) + 2;
        append(&y->incoming, s->reply, strlen(s->reply));
        y->after = s->after;
        y->step++;
    }
}

/* Gives the next bytes: at most chunk, and not across the place `split`. False if nothing
 * moves. */
static bool feed(struct play *y, size_t chunk, size_t split)
{
    serve(y);
    size_t size = y->incoming.size - y->fed;
    if (size > chunk)
        size = chunk;
    if (y->fed < split && y->fed + size > split)
        size = split - y->fed;
    if (size == 0 || pop3_done(y->pop3))
        return false;
    char *copy = malloc(size); /* its own block: a sanitizer sees a read beyond it */
    memcpy(copy, y->incoming.data + y->fed, size);
    size_t used = pop3_input(y->pop3, y->now, copy, size);
    free(copy);
    y->fed += used;
    if (y->want_tls && !pop3_done(y->pop3) && y->fed == y->incoming.size) {
        y->want_tls = false;
        pop3_tls_started(y->pop3, y->now);
    }
    if (used == 0 && pop3_paused(y->pop3)) {
        pop3_resume(y->pop3, y->now);
        return true;
    }
    return used > 0;
}

static void play_close(struct play *y)
{
    y->outcome = *pop3_outcome(y->pop3);
    y->stats = *pop3_stats(y->pop3);
    y->memory = *pop3_memory(y->pop3);
    pop3_free(y->pop3);
    y->pop3 = NULL;
}

static void play(struct play *y, const struct script *script, size_t chunk, size_t split)
{
    play_open(y, script);
    while (feed(y, chunk, split))
        ;
    if (y->after == CLOSE && !pop3_done(y->pop3))
        pop3_eof(y->pop3, y->now, true);
    while (y->after == HANG && !pop3_done(y->pop3)) {
        y->now = pop3_deadline(y->pop3);
        assert_true(y->now != POP3_NO_DEADLINE);
        pop3_timeout(y->pop3, y->now);
    }
    if (!script->hold)
        assert_true(pop3_done(y->pop3));
    play_close(y);
}

static void compare(const struct play *a, const struct play *b)
{
    assert_string_equal(a->log.data, b->log.data);
    assert_string_equal(a->sent.data, b->sent.data);
    assert_int_equal(a->outcome.scope, b->outcome.scope);
    assert_int_equal(a->outcome.retry, b->outcome.retry);
    assert_int_equal(a->outcome.more, b->outcome.more);
    assert_int_equal(a->stats.messages, b->stats.messages);
    assert_int_equal(a->stats.body_bytes, b->stats.body_bytes);
    assert_memory_equal(&a->memory, &b->memory, sizeof(a->memory));
}

/* All at once, then in every other way. The result is static: it is large, and one test's
 * only. */
static const struct play *perform(const struct script *script)
{
    static struct play whole, other;
    play(&whole, script, SIZE_MAX, 0);
    play(&other, script, 1, 0);
    compare(&whole, &other);
    for (size_t split = 1; split < whole.incoming.size && split < 2000; split++) {
        play(&other, script, SIZE_MAX, split);
        compare(&whole, &other);
    }
    return &whole;
}

static void assert_outcome(const struct play *y, enum scope scope, enum retry retry,
                           const char *word)
{
    assert_string_equal(scope_name(y->outcome.scope), scope_name(scope));
    assert_string_equal(retry_name(y->outcome.retry), retry_name(retry));
    if (strstr(y->outcome.text, word) == NULL)
        fail_msg("\"%s\" does not speak of \"%s\"", y->outcome.text, word);
    assert_null(strpbrk(y->outcome.text, "\r\n"));
}

static void assert_success(const struct play *y)
{
    assert_string_equal(y->outcome.text, "");
    assert_int_equal(y->outcome.scope, SCOPE_NONE);
    assert_int_equal(y->outcome.retry, RETRY_NONE);
    assert_false(y->surprised);
    assert_null(y->script->steps[y->step].command);
}

#define GREETING                   \
    {                              \
        "", "+OK ready\r\n", GO_ON \
    }
#define NO_CAPA                         \
    {                                   \
        "CAPA", "-ERR what?\r\n", GO_ON \
    }
#define LOGIN                        \
    {"USER u", "+OK\r\n", GO_ON},    \
    {                                \
        "PASS pw9", "+OK\r\n", GO_ON \
    }
#define CAPA(list)                            \
    {                                         \
        "CAPA", "+OK\r\n" list ".\r\n", GO_ON \
    }
#define BYE                          \
    {                                \
        "QUIT", "+OK bye\r\n", GO_ON \
    }
#define NOOP                     \
    {                            \
        "NOOP", "+OK\r\n", GO_ON \
    }
#define ONE                                                                 \
    {"STAT", "+OK 1 7\r\n", GO_ON}, {"LIST", "+OK\r\n1 7\r\n.\r\n", GO_ON}, \
    {                                                                       \
        "UIDL", "+OK\r\n1 aa\r\n.\r\n", GO_ON                               \
    }
#define TWO                                                                         \
    {"STAT", "+OK 2 14\r\n", GO_ON}, {"LIST", "+OK\r\n1 7\r\n2 7\r\n.\r\n", GO_ON}, \
    {                                                                               \
        "UIDL", "+OK\r\n1 aa\r\n2 bb\r\n.\r\n", GO_ON                               \
    }
/* Logged in without capabilities. */
#define PLAIN_START GREETING, NO_CAPA, LOGIN
#define PIPELINING CAPA("PIPELINING\r\nUIDL\r\nUSER\r\n")
#define PIPELINED_START GREETING, PIPELINING, LOGIN, PIPELINING

/* The session. */

static void a_mailbox_is_fetched_message_by_message(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  TWO,
                  {"RETR 1", "+OK 7 octets\r\n..one\r\n.\r\n", GO_ON},
                  {"RETR 2", "+OK\r\ntwo\r\n\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_string_equal(y->log.data, "listing 2/2 wanted, trusted\n"
                                     "begin 1 octets 7 [.one\r\n] end 1 flags 0\n"
                                     "begin 2 octets -1 [two\r\n\r\n] end 2 flags 0\n"
                                     "all\n");
    assert_int_equal(y->stats.messages, 2);
    assert_int_equal(y->stats.body_bytes, 13);
    assert_int_equal(y->stats.dots_removed, 1);
    assert_int_equal(y->stats.window, 0);
    assert_true(y->stats.quit_answered);
    assert_false(y->outcome.more);
}

static void what_is_archived_is_not_fetched(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, {"RETR 2", "+OK\r\ntwo\r\n.\r\n", GO_ON}, NOOP, BYE},
        .known = "aa",
    };
    assert_success(perform(&script));
}

static void an_empty_mailbox_is_left_at_once(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 0 0\r\n", GO_ON},
                  {"LIST", "+OK\r\n.\r\n", GO_ON},
                  {"UIDL", "+OK\r\n.\r\n", GO_ON},
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_string_equal(y->log.data, "listing 0/0 wanted, trusted\nall\n");
}

static void pipelining_saves_round_trips(void **state)
{
    (void)state;
    const struct script pipelined = {
        .steps = {PIPELINED_START,
                  TWO,
                  {"RETR 1", "+OK\r\none\r\n.\r\n", GO_ON},
                  {"RETR 2", "+OK\r\ntwo\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&pipelined);
    assert_success(y);
    /* CAPA, USER, PASS, CAPA, the listing, the messages with the NOOP, QUIT. */
    assert_int_equal(y->stats.round_trips, 7);
    assert_int_equal(y->stats.commands, 11);
    assert_int_equal(y->stats.window, 2);

    struct script distrusted = pipelined;
    distrusted.memory.window_one = true;
    y = perform(&distrusted);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, 11);
    assert_int_equal(y->stats.window, 0);
}

static void pipelining_counts_only_where_it_is_announced(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  PIPELINING,
                  LOGIN,
                  CAPA("UIDL\r\n"),
                  ONE,
                  {"RETR 1", "+OK\r\none\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, y->stats.commands);
}

/* Builds a mailbox of `count` messages, pipelined or not. */
struct generated {
    struct script script;
    char list[8 * 1024];
    char uidl[8 * 1024];
    char stat[32];
    char retr[STEPS_MAX][24];
};

static void generate(struct generated *g, unsigned count, unsigned retrieved,
                     const char *reply)
{
    const struct step start[] = {PIPELINED_START};
    memset(g, 0, sizeof(*g));
    struct step *s = g->script.steps;
    memcpy(s, start, sizeof(start));
    s += sizeof(start) / sizeof(start[0]);
    strcpy(g->list, "+OK\r\n");
    strcpy(g->uidl, "+OK\r\n");
    for (unsigned i = 1; i <= count; i++) {
        sprintf(g->list + strlen(g->list), "%u 3\r\n", i);
        sprintf(g->uidl + strlen(g->uidl), "%u id%u\r\n", i, i);
    }
    strcat(g->list, ".\r\n");
    strcat(g->uidl, ".\r\n");
    sprintf(g->stat, "+OK %u %u\r\n", count, count * 3);
    *s++ = (struct step){"STAT", g->stat, GO_ON};
    *s++ = (struct step){"LIST", g->list, GO_ON};
    *s++ = (struct step){"UIDL", g->uidl, GO_ON};
    for (unsigned i = 0; i < retrieved; i++) {
        sprintf(g->retr[i], "RETR %u", i + 1);
        *s++ = (struct step){g->retr[i], reply, GO_ON};
    }
    *s++ = (struct step)NOOP;
    *s++ = (struct step)BYE;
}

static void the_window_starts_at_4_and_grows(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 44, 44, "+OK\r\nx\r\n.\r\n");
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.messages, 44);
    assert_int_equal(y.stats.window, 16);
    assert_true(y.stats.round_trips < 20);
}

static void narrow_window(struct pop3_limits *l)
{
    l->window_max = 2;
}

static void few_unanswered(struct pop3_limits *l)
{
    l->unanswered_max = 40;
}

static void the_window_keeps_its_maximum_and_its_bytes(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 20, 20, "+OK\r\nx\r\n.\r\n");
    g.script.limit = narrow_window;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 2);
    g.script.limit = few_unanswered;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_success(&y);
    assert_int_equal(y.stats.window, 3);
}

static void three_messages(struct pop3_limits *l)
{
    l->messages_max = 3;
}

static void a_session_ends_after_its_share_of_messages(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 3, "+OK\r\nx\r\n.\r\n");
    g.script.limit = three_messages;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_true(y->outcome.more);
}

static void no_time(struct pop3_limits *l)
{
    l->fetch_ms = 0;
}

static void a_session_ends_after_its_share_of_time(void **state)
{
    (void)state;
    static struct generated g;
    generate(&g, 5, 0, "");
    const struct step last = BYE;
    for (struct step *s = g.script.steps; s->command != NULL; s++)
        if (strcmp(s->command, "NOOP") == 0) {
            *s = last;
            s[1] = (struct step){0};
        }
    g.script.limit = no_time;
    const struct play *y = perform(&g.script);
    assert_success(y);
    assert_true(y->outcome.more);
}

/* Login. */

static void sasl_plain_goes_in_two_steps(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("SASL LOGIN PLAIN\r\n"),
                  {"AUTH PLAIN", "+ \r\n", GO_ON},
                  {"AHUAcHc5", "+OK\r\n", GO_ON},
                  CAPA("UIDL\r\n"),
                  ONE,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    assert_success(perform(&script));
}

static void q51_bare_ok_is_a_challenge_after_auth_only(void **state)
{
    (void)state;
    const struct script bare = {
        .steps = {GREETING,
                  CAPA("SASL PLAIN\r\n"),
                  {"AUTH PLAIN", "+OK\r\n", GO_ON},
                  {"AHUAcHc5", "-ERR [AUTH] no\r\n", GO_ON}},
    };
    assert_outcome(perform(&bare), SCOPE_ACCOUNT, RETRY_NEVER, "wrong");
    const struct script text = {
        .steps = {GREETING,
                  CAPA("SASL PLAIN\r\n"),
                  {"AUTH PLAIN", "+OK welcome\r\n", GO_ON}},
    };
    assert_outcome(perform(&text), SCOPE_SERVER, RETRY_BACKOFF, "welcome");
}

static void a_refused_mechanism_falls_back_to_user_and_pass(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("SASL PLAIN\r\n"),
                  {"AUTH PLAIN", "-ERR off\r\n", GO_ON},
                  {"USER u", "+OK\r\n", GO_ON},
                  {"PASS pw9", "-ERR [AUTH]\r\n", GO_ON}},
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_NEVER, "password is wrong");
}

static void sasl_rounds_end(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("SASL PLAIN\r\n"),
                  {"AUTH PLAIN", "+\r\n", GO_ON},
                  {"AHUAcHc5", "+ eA==\r\n", GO_ON},
                  {"*", "+ eA==\r\n", GO_ON},
                  {"*", "+ eA==\r\n", GO_ON},
                  {"*", "+ eA==\r\n", GO_ON}},
    };
    assert_outcome(perform(&script), SCOPE_SERVER, RETRY_BACKOFF, "more than 4");
}

static void a_sasl_challenge_ends_at_64_kib(void **state)
{
    (void)state;
    static struct play y;
    for (unsigned extra = 0; extra < 2; extra++) {
        size_t size = 64 * 1024 + extra;
        char *challenge = malloc(size);
        memset(challenge, 'x', size);
        memcpy(challenge, "+ ", 2);
        memcpy(challenge + size - 2, "\r\n", 2);
        const struct script script = {
            .steps = {GREETING, CAPA("SASL PLAIN\r\n"), {"AUTH PLAIN", "", GO_ON}},
        };
        play_open(&y, &script);
        while (feed(&y, SIZE_MAX, 0))
            ;
        (void)pop3_input(y.pop3, y.now, challenge, 100);
        (void)pop3_input(y.pop3, y.now, challenge + 100, size - 100);
        assert_int_equal(pop3_state(y.pop3), extra == 0 ? POP3_AUTH_RESPONSE : POP3_DONE);
        play_close(&y);
        free(challenge);
    }
}

static void q22_utf8_goes_before_login(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("UTF8\r\n"),
                  {"UTF8", "-ERR no\r\n", GO_ON},
                  {"USER u", "-ERR [AUTH]\r\n", GO_ON}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_ACCOUNT, RETRY_NEVER, "");
    assert_false(y->surprised);
}

struct refusal {
    const char *reply;
    enum scope scope;
    enum retry retry;
    const char *word;
};

static void refuse_login(const struct refusal *r)
{
    const struct script script = {
        .steps = {GREETING,
                  NO_CAPA,
                  {"USER u", "+OK\r\n", GO_ON},
                  {"PASS pw9", r->reply, GO_ON}},
        .memory = {.login_delay_s = 900},
    };
    assert_outcome(perform(&script), r->scope, r->retry, r->word);
}

static void q38_a_mailbox_in_use_is_no_login_failure(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR [IN-USE] busy\r\n", SCOPE_MAILBOX, RETRY_BACKOFF,
                                   "in use"});
    refuse_login(&(struct refusal){"-ERR Unable to LOCK maildrop\r\n", SCOPE_MAILBOX,
                                   RETRY_BACKOFF, "in use"});
}

static void q39_login_delay_is_handed_out(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("LOGIN-DELAY 300\r\n"),
                  {"USER u", "+OK\r\n", GO_ON},
                  {"PASS pw9", "-ERR [LOGIN-DELAY] wait\r\n", GO_ON}},
        .memory = {.login_delay_s = 60},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "300 s");
    assert_int_equal(y->outcome.delay_s, 300);
    assert_int_equal(y->memory.login_delay_s, 300);
}

static void q40_codes_decide_about_the_next_try(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR [SYS/TEMP] x\r\n", SCOPE_SERVER, RETRY_BACKOFF,
                                   "temporary"});
    refuse_login(
        &(struct refusal){"-ERR [SYS/PERM] x\r\n", SCOPE_ACCOUNT, RETRY_NEVER, "for good"});
    refuse_login(
        &(struct refusal){"-ERR [AUTH] x\r\n", SCOPE_ACCOUNT, RETRY_NEVER, "wrong"});
    refuse_login(
        &(struct refusal){"-ERR denied\r\n", SCOPE_ACCOUNT, RETRY_BACKOFF, "denied"});
}

static void q42_a_close_after_pass_leaves_the_login_uncertain(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, NO_CAPA, {"USER u", "+OK\r\n", GO_ON}, {"PASS pw9", "", CLOSE}},
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_BACKOFF, "not known");
}

static void q54_credentials_with_line_ends_are_refused(void **state)
{
    (void)state;
    struct pop3_config config = {
        .user = "a\nb", .password = "p", .limits = pop3_limits_default};
    struct pop3 *p;
    assert_int_equal(pop3_create(&config, &callbacks, NULL, &p), ERR_SYNTAX);
    config.user = "a";
    config.password = "p\rq";
    assert_int_equal(pop3_create(&config, &callbacks, NULL, &p), ERR_SYNTAX);
    static char longest[POP3_CREDENTIAL_MAX + 2];
    memset(longest, 'x', POP3_CREDENTIAL_MAX + 1);
    config.password = longest;
    assert_int_equal(pop3_create(&config, &callbacks, NULL, &p), ERR_TOO_LARGE);
}

static void q54_blanks_and_utf8_in_credentials_count(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  NO_CAPA,
                  {"USER  j\xc3\xb6 ", "+OK\r\n", GO_ON},
                  {"PASS  a  b ", "-ERR [AUTH]\r\n", GO_ON}},
        .user = " j\xc3\xb6 ",
        .password = " a  b ",
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_NEVER, "");
}

static void a_secret_that_the_server_repeats_is_left_out(void **state)
{
    (void)state;
    const struct script pass = {
        .steps = {GREETING,
                  NO_CAPA,
                  {"USER u", "+OK\r\n", GO_ON},
                  {"PASS hunter2", "-ERR no such password: HUNTER2\r\n", GO_ON}},
        .password = "hunter2",
    };
    const struct play *y = perform(&pass);
    assert_outcome(y, SCOPE_ACCOUNT, RETRY_BACKOFF, "left out");
    assert_null(strstr(y->outcome.text, "HUNTER2"));
    const struct script sasl = {
        .steps = {GREETING,
                  CAPA("SASL PLAIN\r\n"),
                  {"AUTH PLAIN", "+\r\n", GO_ON},
                  {"AHUAaHVudGVyMg==", "-ERR unknown: AHUAaHVudGVyMg\r\n", GO_ON}},
        .password = "hunter2",
    };
    assert_outcome(perform(&sasl), SCOPE_ACCOUNT, RETRY_BACKOFF, "left out");
}

static void control_characters_of_the_server_are_escaped(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR \x1b[31mred\x07\r\n", SCOPE_ACCOUNT, RETRY_BACKOFF,
                                   "\\x1b[31mred\\x07"});
}

/* Greeting, CAPA, TLS. */

static void a_greeting_that_is_no_welcome_is_the_servers_matter(void **state)
{
    (void)state;
    const struct script err = {.steps = {{"", "-ERR too many\r\n", GO_ON}}};
    assert_outcome(perform(&err), SCOPE_SERVER, RETRY_BACKOFF, "too many");
    const struct script smtp = {.steps = {{"", "220 mail ESMTP\r\n", GO_ON}}};
    assert_outcome(perform(&smtp), SCOPE_SERVER, RETRY_BACKOFF, "220 mail");
    const struct script closed = {.steps = {{"", "", CLOSE}}};
    assert_outcome(perform(&closed), SCOPE_SERVER, RETRY_BACKOFF, "greeting");
    const struct script hung = {.steps = {{"", "+OK", HANG}}};
    assert_outcome(perform(&hung), SCOPE_SERVER, RETRY_BACKOFF, "greeting");
}

static void q53_surplus_lines_drop_the_session(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {.steps = {{"", "+OK ready\r\n+OK again\r\n", GO_ON}}};
    play(&y, &script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "again");
    assert_string_equal(y.sent.data, "");
}

static void q50_a_server_that_hangs_or_closes_at_capa_is_remembered(void **state)
{
    (void)state;
    struct script script = {.steps = {GREETING, {"CAPA", "", CLOSE}}};
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "CAPA");
    assert_true(y->memory.no_capa);
    script.steps[1].after = HANG;
    script.steps[1].reply = "+OK\r\nUIDL\r\n";
    y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "CAPA");
    assert_true(y->memory.no_capa);

    const struct script next = {
        .steps = {GREETING, LOGIN, ONE, {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON}, NOOP, BYE},
        .memory = {.no_capa = true},
    };
    assert_success(perform(&next));
}

static void endless_capa_ends_the_session(void **state)
{
    (void)state;
    static char reply[2048];
    strcpy(reply, "+OK\r\n");
    for (unsigned i = 0; i <= CAPABILITIES_LINES_MAX; i++)
        strcat(reply, "X-Y\r\n");
    const struct script script = {.steps = {GREETING, {"CAPA", reply, GO_ON}}};
    assert_outcome(perform(&script), SCOPE_SERVER, RETRY_BACKOFF, "100 lines");
}

static void stls_starts_tls_and_forgets_what_was_learnt(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("STLS\r\nSASL PLAIN\r\nPIPELINING\r\n"),
                  {"STLS", "+OK go\r\n", GO_ON},
                  CAPA("USER\r\n"),
                  LOGIN,
                  CAPA("UIDL\r\n"),
                  ONE,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
        .stls = true,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, y->stats.commands);
}

static void no_secret_goes_out_without_tls(void **state)
{
    (void)state;
    const struct script missing = {.steps = {GREETING, CAPA("USER\r\n")}, .stls = true};
    const struct play *y = perform(&missing);
    assert_outcome(y, SCOPE_SERVER, RETRY_BACKOFF, "does not offer STLS");
    assert_string_equal(y->sent.data, "CAPA\r\n");
    const struct script refused = {
        .steps = {GREETING, NO_CAPA, {"STLS", "-ERR no\r\n", GO_ON}},
        .stls = true,
    };
    y = perform(&refused);
    assert_outcome(y, SCOPE_SERVER, RETRY_BACKOFF, "refused STLS");
    assert_string_equal(y->sent.data, "CAPA\r\nSTLS\r\n");
    const struct script forgetful = {
        .steps = {GREETING, {"STLS", "-ERR no\r\n", GO_ON}},
        .stls = true,
        .memory = {.no_capa = true},
    };
    assert_outcome(perform(&forgetful), SCOPE_SERVER, RETRY_BACKOFF, "refused STLS");
}

static void plaintext_behind_stls_is_an_injection(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("STLS\r\n"), {"STLS", "+OK\r\n+OK injected\r\n", GO_ON}},
        .stls = true,
    };
    static struct play y;
    play(&y, &script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "injecting");
    play(&y, &script, 1, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "injecting");
    assert_string_equal(y.sent.data, "CAPA\r\nSTLS\r\n");
}

/* Listings. */

static void q1_uidl_is_probed_though_not_announced(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING,
                  CAPA("USER\r\n"),
                  LOGIN,
                  CAPA("TOP\r\n"),
                  {"STAT", "+OK 1 7\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 7\r\n.\r\n", GO_ON},
                  {"UIDL", "-ERR what?\r\n", GO_ON},
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "listing 1/1 wanted, the server has no UIDL"));
}

static void q1_a_mailbox_without_uidl_advances_in_slices(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 4 4\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 1\r\n2 1\r\n3 1\r\n4 1\r\n.\r\n", GO_ON},
                  {"UIDL", "-ERR\r\n", GO_ON},
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  {"RETR 2", "+OK\r\nx\r\n.\r\n", GO_ON},
                  {"RETR 3", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
        .limit = three_messages,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_true(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 4);

    struct script next = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 4 4\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 1\r\n2 1\r\n3 1\r\n4 1\r\n.\r\n", GO_ON},
                  {"UIDL", "-ERR\r\n", GO_ON},
                  {"RETR 4", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
        .limit = three_messages,
        .memory = {.blank_from = 4},
    };
    y = perform(&next);
    assert_success(y);
    assert_false(y->outcome.more);
    assert_int_equal(y->memory.blank_from, 0);
}

static void q2_uidl_announced_and_refused_is_temporary(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START,
                  {"STAT", "+OK 1 7\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 7\r\n.\r\n", GO_ON},
                  {"UIDL", "-ERR later\r\n", GO_ON},
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "later");
    assert_false(y->surprised);
    assert_string_equal(y->log.data, "");
}

static void q14_a_listing_cut_off_is_discarded(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 2 7\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 7\r\n2 7\r\n.\r\n", GO_ON},
                  {"UIDL", "+OK\r\n1 a\r\n", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "listing");
    assert_string_equal(y->log.data, "");
    script.steps[6].after = HANG;
    assert_outcome(perform(&script), SCOPE_MAILBOX, RETRY_BACKOFF, "in time");
}

static void stat_and_list_may_be_refused(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "-ERR\r\n", GO_ON},
                  {"LIST", "-ERR\r\n", GO_ON},
                  {"UIDL", "+OK\r\n1 a\r\n.\r\n", GO_ON},
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    assert_success(perform(&script));
}

static void few_bytes(struct pop3_limits *l)
{
    l->listing.bytes_max = 20;
}

static void a_listing_flood_drops_the_session(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 9 9\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 7\r\n2 7\r\n3 7\r\n4 7\r\n5 7\r\n", GO_ON}},
        .limit = few_bytes,
    };
    assert_outcome(perform(&script), SCOPE_MAILBOX, RETRY_BACKOFF, "20 bytes");
}

/* Messages. */

static void q20_kept_dots_are_reported(void **state)
{
    (void)state;
    const struct script script = {
        .steps =
            {PLAIN_START, ONE, {"RETR 1", "+OK\r\n.a\r\n..b\r\n.\r\n", GO_ON}, NOOP, BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "[.a\r\n.b\r\n] end 1 flags 2"));
    assert_int_equal(y->stats.dots_kept, 1);
}

static void q21_a_lone_dot_in_a_body_makes_the_message_suspect(void **state)
{
    (void)state;
    const char *cut = "+OK\r\nfirst\r\n.\r\nrest\r\n.\r\n";
    const struct script last = {
        .steps = {PLAIN_START, ONE, {"RETR 1", cut, GO_ON}, {"NOOP", "", GO_ON}}};
    static struct play y;
    play(&y, &last, 1, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "no reply");
    assert_non_null(strstr(y.log.data, "[first\r\n] discard 1 suspect"));
    assert_null(strstr(y.log.data, "end 1"));
    play(&y, &last, SIZE_MAX, 0);
    assert_non_null(strstr(y.log.data, "[first\r\n] discard 1 suspect"));

    const struct script piped = {
        .steps = {PIPELINED_START,
                  TWO,
                  {"RETR 1", cut, GO_ON},
                  {"RETR 2", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP},
    };
    const struct play *z = perform(&piped);
    assert_outcome(z, SCOPE_MAILBOX, RETRY_BACKOFF, "no reply");
    assert_true(z->memory.window_one);
    assert_non_null(strstr(z->log.data, "discard 1 suspect"));
    assert_null(strstr(z->log.data, "begin 2"));
}

static void q24_a_server_of_bare_lf_is_understood(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {{"", "+OK\n", GO_ON},
                  {"CAPA", "-ERR\n", GO_ON},
                  {"USER u", "+OK\n", GO_ON},
                  {"PASS pw9", "+OK\n", GO_ON},
                  {"STAT", "+OK 1 3\n", GO_ON},
                  {"LIST", "+OK\n1 3\n.\n", GO_ON},
                  {"UIDL", "+OK\n1 a\n.\n", GO_ON},
                  {"RETR 1", "+OK\n..x\ny\n.\n", GO_ON},
                  {"NOOP", "+OK\n", GO_ON},
                  {"QUIT", "+OK\n", GO_ON}},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "[.x\ny\n] end 1 flags 0"));
}

static void q23_a_body_without_line_end_before_the_dot_times_out(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nabc.\r\n", HANG}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "in time");
    assert_non_null(strstr(y->log.data, "discard 1 timeout"));
}

static void q28_a_refused_message_is_recorded_and_passed_over(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  TWO,
                  {"RETR 1", "-ERR [SYS/PERM] gone\r\n", GO_ON},
                  {"RETR 2", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "refused 1 for good: [SYS/PERM] gone\nbegin 2"));
    assert_int_equal(y->stats.refused, 1);
}

static void q29_no_answer_blames_the_right_message(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START,
                  TWO,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  {"RETR 2", "", HANG}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "RETR");
    assert_non_null(strstr(y->log.data, "discard 1 unproven\n] discard 2 no-answer"));
}

static void q30_a_close_within_a_body_discards_it(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nabc\r\n.", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "closed the connection");
    assert_non_null(strstr(y->log.data, "discard 1 cut"));
}

static void q31_far_too_short_is_flagged(void **state)
{
    (void)state;
    const struct script listed = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 1 9000\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 9000\r\n.\r\n", GO_ON},
                  {"UIDL", "+OK\r\n1 a\r\n.\r\n", GO_ON},
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    const struct play *y = perform(&listed);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "end 1 flags 1"));
    assert_int_equal(y->stats.short_messages, 1);
    const struct script octets = {
        .steps = {PLAIN_START,
                  ONE,
                  {"RETR 1", "+OK 9000 octets\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    assert_non_null(strstr(perform(&octets)->log.data, "end 1 flags 1"));
}

static void q16_a_little_too_short_is_not(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START,
                  {"STAT", "+OK 1 2000\r\n", GO_ON},
                  {"LIST", "+OK\r\n1 2000\r\n.\r\n", GO_ON},
                  {"UIDL", "+OK\r\n1 a\r\n.\r\n", GO_ON},
                  {"RETR 1", "+OK 2000 octets\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
    };
    assert_non_null(strstr(perform(&script)->log.data, "end 1 flags 0"));
}

static void q35_quit_waits_until_all_is_durable(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON}, NOOP, BYE},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (feed(&y, SIZE_MAX, 0))
        ;
    assert_int_equal(pop3_state(y.pop3), POP3_DURABLE);
    assert_null(strstr(y.sent.data, "QUIT"));
    pop3_durable(y.pop3, y.now);
    while (feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
}

static void q35_abandoned_leaves_without_quit(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON}, NOOP},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (feed(&y, SIZE_MAX, 0))
        ;
    pop3_abandon(y.pop3, "The disk is full.");
    serve(&y);
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_outcome(&y, SCOPE_PROCESS, RETRY_BACKOFF, "disk");
    assert_null(strstr(y.sent.data, "QUIT"));
}

static void q41_an_err_nobody_asked_for_is_a_goodbye(void **state)
{
    (void)state;
    const struct script waiting = {
        .steps = {PLAIN_START,
                  ONE,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  {"NOOP", "+OK\r\n-ERR autologout\r\n", GO_ON}},
        .hold = true,
    };
    static struct play y;
    play(&y, &waiting, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "autologout");
    assert_int_equal(y.stats.messages, 1);
    const struct script retr = {
        .steps = {PLAIN_START,
                  TWO,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  {"RETR 2", "-ERR shutting down\r\n", CLOSE}},
    };
    const struct play *z = perform(&retr);
    assert_outcome(z, SCOPE_MAILBOX, RETRY_BACKOFF, "shutting down");
    assert_null(strstr(z->log.data, "refused"));
    assert_int_equal(z->stats.messages, 1);
}

static void three_refusals(struct pop3_limits *l)
{
    l->refusals_max = 3;
}

static void q43_a_server_that_refuses_all_is_left_alone(void **state)
{
    (void)state;
    static struct generated g;
    static struct play y;
    generate(&g, 9, 6, "-ERR download exceeded\r\n");
    g.script.limit = three_refusals;
    play(&y, &g.script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "download exceeded");
    assert_false(y.surprised);
    assert_true(y.stats.quit_answered);
    assert_true(y.outcome.more);
}

static void q55_q58_a_lost_quit_reply_does_no_harm(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START,
                  ONE,
                  {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON},
                  NOOP,
                  {"QUIT", "", CLOSE}},
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_false(y->stats.quit_answered);
    script.steps[9].after = HANG;
    assert_success(perform(&script));
}

static void ten_bytes(struct pop3_limits *l)
{
    l->message_max = 10;
}

static void small_floor(struct pop3_limits *l)
{
    l->body_floor = 5;
    l->body_slack = 1;
}

static void an_endless_message_is_stopped_at_its_limit(void **state)
{
    (void)state;
    struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\n0123456789abcdefgh\r\n", HANG}},
        .limit = ten_bytes,
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MESSAGE, RETRY_NEVER, "10 bytes");
    assert_non_null(strstr(y->log.data, "[0123456789] discard 1 oversized"));
    assert_true(y->outcome.more);
    script.limit = small_floor; /* 2 x 7 + 1 */
    assert_non_null(
        strstr(perform(&script)->log.data, "[0123456789abcde] discard 1 oversized"));
    script.steps[7].reply = "+OK\r\n01234567\r\n.\r\n";
    script.steps[7].after = GO_ON;
    script.steps[8] = (struct step)NOOP;
    script.steps[9] = (struct step)BYE;
    script.limit = ten_bytes;
    assert_success(perform(&script));
}

static void an_endless_status_line_drops_the_session(void **state)
{
    (void)state;
    static char line[8300];
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "+OK ", 4);
    const struct script greeting = {.steps = {{"", line, GO_ON}}};
    assert_outcome(perform(&greeting), SCOPE_SERVER, RETRY_BACKOFF, "8192 bytes");
    const struct script retr = {.steps = {PLAIN_START, ONE, {"RETR 1", line, GO_ON}}};
    assert_outcome(perform(&retr), SCOPE_MAILBOX, RETRY_BACKOFF, "8192 bytes");
}

/* Pauses and time. */

static void a_pause_loses_nothing(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PIPELINED_START,
                  TWO,
                  {"RETR 1", "+OK\r\none\r\n.\r\n", GO_ON},
                  {"RETR 2", "+OK\r\ntwo\r\n.\r\n", GO_ON},
                  NOOP,
                  BYE},
        .pause_at_begin = true,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.messages, 2);
}

static void while_paused_no_reply_is_read_and_a_noop_may_go(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, {"RETR 1", "+OK\r\none\r\n.\r\n", GO_ON}},
    };
    static struct play y;
    play_open(&y, &script);
    while (pop3_state(y.pop3) != POP3_FETCH)
        assert_true(feed(&y, SIZE_MAX, 0));
    serve(&y);
    assert_false(pop3_keepalive(y.pop3, y.now));
    pop3_pause(y.pop3);
    assert_int_equal(pop3_input(y.pop3, y.now, "+OK\r\n", 5), 0);
    assert_int_equal(pop3_deadline(y.pop3), POP3_NO_DEADLINE);
    assert_false(pop3_keepalive(y.pop3, y.now)); /* a reply is due */
    pop3_resume(y.pop3, y.now + 1000000);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 1000000 + POP3_REPLY_MS);
    pop3_abandon(y.pop3, "over");
    play_close(&y);
}

static void the_wait_for_the_disk_is_kept_alive(void **state)
{
    (void)state;
    const struct script script = {
        .steps =
            {PLAIN_START, ONE, {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON}, NOOP, NOOP, BYE},
        .hold = true,
    };
    static struct play y;
    play_open(&y, &script);
    while (feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_keepalive(y.pop3, y.now));
    assert_false(pop3_keepalive(y.pop3, y.now));
    pop3_durable(y.pop3, y.now); /* QUIT goes alone: after the NOOP's reply */
    while (feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
}

static void finish_leaves_in_order(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {PLAIN_START, TWO, {"RETR 1", "+OK\r\nx\r\n.\r\n", GO_ON}, NOOP, BYE},
    };
    static struct play y;
    play_open(&y, &script);
    while (pop3_state(y.pop3) != POP3_FETCH)
        assert_true(feed(&y, SIZE_MAX, 0));
    pop3_finish(y.pop3);
    while (feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
    assert_true(y.outcome.more);
}

static void open_fetch(struct play *y)
{
    static const struct script script = {
        .steps = {PLAIN_START, ONE, {"RETR 1", "+OK\r\nabc\r\n", GO_ON}},
    };
    play_open(y, &script);
    while (feed(y, SIZE_MAX, 0))
        ;
    assert_int_equal(pop3_state(y->pop3), POP3_FETCH);
}

static void silence_ends_a_session_after_60_s(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 60000);
    pop3_timeout(y.pop3, y.now + 59999);
    assert_false(pop3_done(y.pop3));
    pop3_timeout(y.pop3, y.now + 60000);
    assert_true(pop3_done(y.pop3));
    play_close(&y);
}

static void a_slow_drip_ends_a_session(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    uint64_t start = y.now;
    while (!pop3_done(y.pop3) && y.now < start + 200000) {
        y.now += 10000;
        if (pop3_deadline(y.pop3) <= y.now)
            pop3_timeout(y.pop3, y.now);
        else
            pop3_input(y.pop3, y.now, "x", 1);
    }
    assert_int_equal(y.now, start + 60000);
    play_close(&y);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "slowly");
}

static void a_steady_flow_ends_after_2_h_only(void **state)
{
    (void)state;
    static struct play y;
    static const char line[] =
        "0123456789012345678901234567890123456789012345678901234567890\r\n";
    char chunk[2048];
    for (size_t i = 0; i < sizeof(chunk); i++)
        chunk[i] = line[i % (sizeof(line) - 1)];
    open_fetch(&y);
    uint64_t start = y.now;
    while (!pop3_done(y.pop3)) {
        y.log.size = 0;
        y.now += 30000;
        if (pop3_deadline(y.pop3) <= y.now)
            pop3_timeout(y.pop3, y.now);
        if (!pop3_done(y.pop3))
            pop3_input(y.pop3, y.now, chunk, sizeof(chunk));
    }
    assert_int_equal(y.now, start + 2 * 60 * 60 * 1000);
    play_close(&y);
    assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF, "longer than allowed");
}

static void limits_stand_still_while_nobody_listens(void **state)
{
    (void)state;
    static struct play y;
    open_fetch(&y);
    pop3_idle(y.pop3, y.now + 10000);
    assert_int_equal(pop3_deadline(y.pop3), POP3_NO_DEADLINE);
    pop3_timeout(y.pop3, y.now + 500000);
    assert_false(pop3_done(y.pop3));
    pop3_active(y.pop3, y.now + 510000);
    assert_int_equal(pop3_deadline(y.pop3), y.now + 500000 + 60000);
    pop3_abandon(y.pop3, "over");
    play_close(&y);
    assert_non_null(strstr(y.log.data, "discard 1 abandoned"));
}

static void output_is_taken_in_pieces_and_wiped(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {.steps = {GREETING}};
    play_open(&y, &script);
    pop3_input(y.pop3, y.now, "+OK\r\n", 5);
    const char *data;
    assert_int_equal(pop3_output(y.pop3, &data), 6);
    assert_memory_equal(data, "CAPA\r\n", 6);
    pop3_output_consume(y.pop3, 4);
    assert_int_equal(pop3_output(y.pop3, &data), 2);
    assert_memory_equal(data, "\r\n", 2);
    pop3_input(y.pop3, y.now, "+", 1); /* the command has not left yet */
    assert_true(pop3_done(y.pop3));
    assert_int_equal(pop3_output(y.pop3, &data), 0);
    play_close(&y);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mailbox_is_fetched_message_by_message),
        cmocka_unit_test(what_is_archived_is_not_fetched),
        cmocka_unit_test(an_empty_mailbox_is_left_at_once),
        cmocka_unit_test(pipelining_saves_round_trips),
        cmocka_unit_test(pipelining_counts_only_where_it_is_announced),
        cmocka_unit_test(the_window_starts_at_4_and_grows),
        cmocka_unit_test(the_window_keeps_its_maximum_and_its_bytes),
        cmocka_unit_test(a_session_ends_after_its_share_of_messages),
        cmocka_unit_test(a_session_ends_after_its_share_of_time),
        cmocka_unit_test(sasl_plain_goes_in_two_steps),
        cmocka_unit_test(q51_bare_ok_is_a_challenge_after_auth_only),
        cmocka_unit_test(a_refused_mechanism_falls_back_to_user_and_pass),
        cmocka_unit_test(sasl_rounds_end),
        cmocka_unit_test(a_sasl_challenge_ends_at_64_kib),
        cmocka_unit_test(q22_utf8_goes_before_login),
        cmocka_unit_test(q38_a_mailbox_in_use_is_no_login_failure),
        cmocka_unit_test(q39_login_delay_is_handed_out),
        cmocka_unit_test(q40_codes_decide_about_the_next_try),
        cmocka_unit_test(q42_a_close_after_pass_leaves_the_login_uncertain),
        cmocka_unit_test(q54_credentials_with_line_ends_are_refused),
        cmocka_unit_test(q54_blanks_and_utf8_in_credentials_count),
        cmocka_unit_test(a_secret_that_the_server_repeats_is_left_out),
        cmocka_unit_test(control_characters_of_the_server_are_escaped),
        cmocka_unit_test(a_greeting_that_is_no_welcome_is_the_servers_matter),
        cmocka_unit_test(q53_surplus_lines_drop_the_session),
        cmocka_unit_test(q50_a_server_that_hangs_or_closes_at_capa_is_remembered),
        cmocka_unit_test(endless_capa_ends_the_session),
        cmocka_unit_test(stls_starts_tls_and_forgets_what_was_learnt),
        cmocka_unit_test(no_secret_goes_out_without_tls),
        cmocka_unit_test(plaintext_behind_stls_is_an_injection),
        cmocka_unit_test(q1_uidl_is_probed_though_not_announced),
        cmocka_unit_test(q1_a_mailbox_without_uidl_advances_in_slices),
        cmocka_unit_test(q2_uidl_announced_and_refused_is_temporary),
        cmocka_unit_test(q14_a_listing_cut_off_is_discarded),
        cmocka_unit_test(stat_and_list_may_be_refused),
        cmocka_unit_test(a_listing_flood_drops_the_session),
        cmocka_unit_test(q20_kept_dots_are_reported),
        cmocka_unit_test(q21_a_lone_dot_in_a_body_makes_the_message_suspect),
        cmocka_unit_test(q24_a_server_of_bare_lf_is_understood),
        cmocka_unit_test(q23_a_body_without_line_end_before_the_dot_times_out),
        cmocka_unit_test(q28_a_refused_message_is_recorded_and_passed_over),
        cmocka_unit_test(q29_no_answer_blames_the_right_message),
        cmocka_unit_test(q30_a_close_within_a_body_discards_it),
        cmocka_unit_test(q31_far_too_short_is_flagged),
        cmocka_unit_test(q16_a_little_too_short_is_not),
        cmocka_unit_test(q35_quit_waits_until_all_is_durable),
        cmocka_unit_test(q35_abandoned_leaves_without_quit),
        cmocka_unit_test(q41_an_err_nobody_asked_for_is_a_goodbye),
        cmocka_unit_test(q43_a_server_that_refuses_all_is_left_alone),
        cmocka_unit_test(q55_q58_a_lost_quit_reply_does_no_harm),
        cmocka_unit_test(an_endless_message_is_stopped_at_its_limit),
        cmocka_unit_test(an_endless_status_line_drops_the_session),
        cmocka_unit_test(a_pause_loses_nothing),
        cmocka_unit_test(while_paused_no_reply_is_read_and_a_noop_may_go),
        cmocka_unit_test(the_wait_for_the_disk_is_kept_alive),
        cmocka_unit_test(finish_leaves_in_order),
        cmocka_unit_test(silence_ends_a_session_after_60_s),
        cmocka_unit_test(a_slow_drip_ends_a_session),
        cmocka_unit_test(a_steady_flow_ends_after_2_h_only),
        cmocka_unit_test(limits_stand_still_while_nobody_listens),
        cmocka_unit_test(output_is_taken_in_pieces_and_wiped),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
