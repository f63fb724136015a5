#include "tests/support/pop3_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    if (known == NULL)
        return LISTING_WANT;
    bool same = strlen(known) == uidl_size && memcmp(known, uidl, uidl_size) == 0;
    return same || strcmp(known, "*") == 0 ? LISTING_SKIP : LISTING_WANT;
}

static void on_unchanged(void *arg)
{
    struct play *y = arg;
    note(&y->log, "unchanged\n");
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
    if (y->script->hold)
        return;
    if (y->script->deletes != NULL)
        pop3_delete(y->pop3, y->now, y->script->deletes, y->script->deletes_count);
    else
        pop3_durable(y->pop3, y->now);
}

static void on_deleted(void *arg, uint32_t number, bool accepted)
{
    struct play *y = arg;
    note(&y->log, "%s %u\n", accepted ? "deleted" : "kept", (unsigned)number);
}

static void on_trace(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct play *y = arg;
    assert_int_not_equal(from, POP3_DONE);
    assert_true(strlen(pop3_state_name(to)) > 0);
    (void)y;
}

const struct pop3_callbacks play_callbacks = {
    .start_tls = on_start_tls,
    .judge = on_judge,
    .unchanged = on_unchanged,
    .listing_done = on_listing,
    .message_begin = on_begin,
    .message_data = on_data,
    .message_end = on_end,
    .message_discard = on_discard,
    .message_refused = on_refused,
    .fetched_all = on_fetched_all,
    .message_deleted = on_deleted,
    .trace = on_trace,
};

void play_open(struct play *y, const struct script *script)
{
    memset(y, 0, sizeof(*y));
    y->script = script;
    y->now = 1000;
    struct pop3_config config = {
        .user = script->user != NULL ? script->user : "u",
        .password = script->password != NULL ? script->password : "pw9",
        .implicit_tls = !script->stls,
        .careful = script->careful,
        .no_login = script->no_login,
        .memory = script->memory,
        .day = script->day,
        .limits = pop3_limits_default,
    };
    if (script->limit != NULL)
        script->limit(&config.limits);
    assert_int_equal(pop3_create(&config, &play_callbacks, y, &y->pop3), 0);
    if (script->glance != NULL)
        pop3_expect(y->pop3, script->glance);
    append(&y->incoming, script->steps[0].reply, strlen(script->steps[0].reply));
    y->after = script->steps[0].after;
    y->step = 1;
    pop3_connected(y->pop3, y->now);
}

void play_serve(struct play *y)
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
bool play_feed(struct play *y, size_t chunk, size_t split)
{
    play_serve(y);
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

void play_close(struct play *y)
{
    y->outcome = *pop3_outcome(y->pop3);
    y->stats = *pop3_stats(y->pop3);
    y->memory = *pop3_memory(y->pop3);
    y->deletes_sent = pop3_deletes_sent(y->pop3);
    pop3_free(y->pop3);
    y->pop3 = NULL;
}

void play(struct play *y, const struct script *script, size_t chunk, size_t split)
{
    play_open(y, script);
    while (play_feed(y, chunk, split))
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
    assert_int_equal(a->stats.quit_accepted, b->stats.quit_accepted);
    assert_memory_equal(&a->memory, &b->memory, sizeof(a->memory));
}

const struct play *perform(const struct script *script)
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

void assert_outcome(const struct play *y, enum scope scope, enum retry retry,
                    const char *word)
{
    assert_string_equal(scope_name(y->outcome.scope), scope_name(scope));
    assert_string_equal(retry_name(y->outcome.retry), retry_name(retry));
    if (strstr(y->outcome.text, word) == NULL)
        fail_msg("\"%s\" does not speak of \"%s\"", y->outcome.text, word);
    assert_null(strpbrk(y->outcome.text, "\r\n"));
}

void assert_success(const struct play *y)
{
    assert_string_equal(y->outcome.text, "");
    assert_int_equal(y->outcome.scope, SCOPE_NONE);
    assert_int_equal(y->outcome.retry, RETRY_NONE);
    assert_false(y->surprised);
    assert_null(y->script->steps[y->step].command);
}

void generate(struct generated *g, unsigned count, unsigned retrieved, const char *reply)
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
    *s++ = STEP("STAT", g->stat);
    *s++ = STEP("LIST", g->list);
    *s++ = STEP("UIDL", g->uidl);
    for (unsigned i = 0; i < retrieved; i++) {
        sprintf(g->retr[i], "RETR %u", i + 1);
        *s++ = STEP(g->retr[i], reply);
    }
    *s++ = NOOP;
    *s++ = BYE;
}
