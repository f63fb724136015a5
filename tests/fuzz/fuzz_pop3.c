/* A POP3 session whose server, network, clock and owner all follow the input. Each is
 * played twice, the second time with the server's bytes one by one: the same commands and
 * callbacks must come of it. Input: options, then operations (enum operation), each with
 * an argument of 4 bits and what it takes from the bytes behind. */
#include "tests/fuzz/fuzz.h"

#include "workers/pop3.h"

#define OPERATIONS_MAX 400
/* 15 times this is longer than a reply line may be. */
#define REPEAT_STEP 600
#define PASSWORD "Zecret-pw9"
#define STATUS_WORD_MAX 4
/* Time-outs until a session without a server must have ended. */
#define TIMEOUTS_MAX 8
/* More than a window, and the last ones in no listing. */
#define DELETES_MAX 15

enum operation {
    OP_CANNED,   /* the server says something sensible: canned[argument] */
    OP_RAW,      /* the server says `argument` + 1 bytes of the input */
    OP_RAW_LONG, /* a count byte, then so many bytes of the input */
    OP_LAZY,     /* bit 0: commands are taken over only by OP_TAKE from now on */
    OP_TAKE,     /* take over up to `argument` bytes of commands; 15: all */
    OP_WAIT,     /* waits[argument] pass, pop3_timeout() */
    OP_PAUSE,    /* bit 0: pause, else resume */
    OP_IDLE,     /* bit 0: idle, else active */
    OP_KEEPALIVE,
    OP_FINISH,
    OP_DURABLE, /* deleting `argument` messages */
    OP_ABANDON,
    OP_EOF,      /* bit 0: clean */
    OP_TLS,      /* the handshake is done */
    OP_HANDLERS, /* the argument is the new set of enum handlers */
    OP_REPEAT,   /* the server says a byte of the input, `argument` * REPEAT_STEP times */
};

/* What the owner does inside callbacks. */
enum handlers {
    PAUSE_AT_BEGIN = 1,
    PAUSE_AT_END = 2,
    FINISH_AT_END = 4,
    DURABLE_AT_ONCE = 8,
};

/* Options, the first byte. */
enum options {
    IMPLICIT_TLS = 1,
    NO_CAPA = 2,
    WINDOW_ONE = 4,
    SMALL_LIMITS = 8,
    BLANK_FROM = 16,
    SKIP_SOME = 32,
    DELETE_ALL = 64, /* with DURABLE_AT_ONCE */
};

static const char *const canned[16] = {
    "+OK\r\n",
    "-ERR no\r\n",
    "+OK ready <1896.697170952@pop.example>\r\n",
    "+OK\r\nUIDL\r\nPIPELINING\r\nSTLS\r\nUSER\r\nRESP-CODES\r\n.\r\n",
    "+OK\r\nUIDL\r\nSTLS\r\nSASL PLAIN LOGIN\r\nUTF8\r\nLOGIN-DELAY 900\r\n.\r\n",
    "+OK 3 36\r\n",
    "+OK\r\n1 12\r\n2 12\r\n3 12\r\n.\r\n",
    "+OK\r\n1 aaa\r\n2 bbb\r\n3\r\n.\r\n",
    "+OK 12 octets\r\nSubject: a\r\n\r\n..dot\r\n.\r\n",
    "+OK\r\nx\r\n.\r\n+OK\r\ny\r\n.\r\n-ERR [SYS/PERM] gone\r\n",
    "+ \r\n",
    "-ERR [IN-USE] locked\r\n",
    "-ERR [AUTH] bad password " PASSWORD "\r\n",
    "+OK\r\n1 aaa\r\n2 bbb\r\n3 ccc\r\n.\r\n",
    "+OK\r\nhalf a message\r\n.",
    "+OK\n1 12\n2 12\n.\n",
};

static const uint32_t waits[16] = {0,      1,       10,      100,     1000,   10000,
                                   30000,  59999,   60000,   60001,   119999, 120000,
                                   900000, 3600000, 7200000, 86400000};

struct session {
    struct pop3 *pop3;
    uint8_t options;
    uint8_t handlers;
    uint64_t now;
    bool bytewise;
    bool lazy;
    bool idle;
    bool waited;  /* time has passed: how a reply is cut may matter to the time limits */
    bool tls;     /* established */
    bool durable; /* the owner has said so */
    uint32_t deletes[DELETES_MAX];
    size_t deletes_count;
    size_t deletes_left; /* whole commands */
    size_t deletes_answered;
    bool listed;
    bool began;   /* a message was begun, ever */
    bool in_body; /* after message_begin */
    bool held;    /* may come: message_end of `number` */
    uint32_t number;
    struct buffer pending; /* server bytes that the session would not take yet */
    struct buffer command; /* unfinished line */
    struct buffer log;     /* commands and callbacks */
    size_t data_at;        /* where the log's data of the last message begins */
    size_t data_size;      /* and how many bytes that message has */
    bool data_last;        /* the log ends in message data */
};

static void log_text(struct session *s, const char *text)
{
    buffer_put(&s->log, text, strlen(text));
    s->data_last = false;
}

static void log_number(struct session *s, const char *text, uint64_t number)
{
    log_text(s, text);
    buffer_put_u64(&s->log, number);
}

/* Callbacks */

static void on_start_tls(void *arg)
{
    struct session *s = arg;
    FUZZ_CHECK(!s->tls);
    log_text(s, "TLS\n");
}

static enum listing_verdict on_judge(void *arg, uint32_t number, uint64_t size,
                                     const char *uidl, size_t uidl_size)
{
    struct session *s = arg;
    FUZZ_CHECK(uidl_size > 0 && uidl_size <= LISTING_UIDL_MAX);
    FUZZ_CHECK(number > 0 && number <= LISTING_NUMBER_MAX);
    log_number(s, "judge ", number);
    log_number(s, " ", size);
    buffer_put(&s->log, uidl, uidl_size);
    return (s->options & SKIP_SOME) != 0 && uidl[0] == 'b' ? LISTING_SKIP : LISTING_WANT;
}

static void on_listing(void *arg, const struct listing *listing)
{
    struct session *s = arg;
    const struct listing_summary *summary = listing_summary(listing);
    FUZZ_CHECK(!s->listed && listing_wanted_count(listing) <= summary->wanted);
    s->listed = true;
    log_number(s, "listed ", summary->trust);
    buffer_put(&s->log, summary->digest, sizeof(summary->digest));
}

static void on_begin(void *arg, const struct listing_entry *entry, uint64_t octets)
{
    struct session *s = arg;
    FUZZ_CHECK(s->listed && !s->in_body && !s->held);
    s->began = s->in_body = true;
    s->number = entry->number;
    log_number(s, "begin ", entry->number);
    log_number(s, " ", octets);
    s->data_at = s->log.size;
    s->data_size = 0;
    if ((s->handlers & PAUSE_AT_BEGIN) != 0)
        pop3_pause(s->pop3);
}

static void on_data(void *arg, const char *data, size_t size)
{
    struct session *s = arg;
    FUZZ_CHECK(s->in_body && size > 0);
    s->data_size += size;
    if (!s->data_last)
        log_text(s, "data ");
    buffer_put(&s->log, data, size);
    s->data_last = true;
}

static void on_end(void *arg, const struct listing_entry *entry, unsigned flags)
{
    struct session *s = arg;
    FUZZ_CHECK(s->in_body && entry->number == s->number);
    s->in_body = false;
    log_number(s, "end ", entry->number);
    log_number(s, " ", flags);
    if ((s->handlers & PAUSE_AT_END) != 0)
        pop3_pause(s->pop3);
    if ((s->handlers & FINISH_AT_END) != 0)
        pop3_finish(s->pop3);
}

static void on_discard(void *arg, const struct listing_entry *entry, enum pop3_discard why)
{
    struct session *s = arg;
    FUZZ_CHECK(why == POP3_DISCARD_NO_ANSWER || (s->in_body && entry->number == s->number));
    if (why != POP3_DISCARD_NO_ANSWER)
        s->in_body = false;
    /* Of a body that is a status line (Q53) some bytes come first if they come one by one.
     */
    if (why == POP3_DISCARD_SUSPECT && s->data_size < STATUS_WORD_MAX)
        s->log.size = s->data_at;
    log_text(s, pop3_discard_name(why));
    log_number(s, " discard ", entry->number);
}

static void check_text(const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        FUZZ_CHECK(*at >= ' ' && *at <= '~');
    FUZZ_CHECK(strstr(text, PASSWORD) == NULL);
}

static void on_refused(void *arg, const struct listing_entry *entry, bool permanent,
                       const char *text)
{
    struct session *s = arg;
    FUZZ_CHECK(!s->in_body);
    check_text(text);
    log_number(s, "refused ", entry->number);
    log_number(s, " ", permanent);
    log_text(s, text);
}

/* Downwards, so that the order is the caller's own. */
static void say_durable(struct session *s, size_t deletes)
{
    if (pop3_state(s->pop3) != POP3_DURABLE || s->durable)
        return;
    s->durable = true;
    s->deletes_count = deletes;
    for (size_t i = 0; i < deletes; i++)
        s->deletes[i] = (uint32_t)(deletes - i);
    if (deletes > 0)
        pop3_delete(s->pop3, s->now, s->deletes, deletes);
    else
        pop3_durable(s->pop3, s->now);
}

static void on_fetched_all(void *arg)
{
    struct session *s = arg;
    FUZZ_CHECK(!s->in_body && pop3_state(s->pop3) == POP3_DURABLE);
    log_text(s, "fetched all\n");
    if ((s->handlers & DURABLE_AT_ONCE) != 0)
        say_durable(s, (s->options & DELETE_ALL) != 0 ? DELETES_MAX : 0);
}

static void on_deleted(void *arg, uint32_t number, bool accepted)
{
    struct session *s = arg;
    FUZZ_CHECK(pop3_state(s->pop3) == POP3_DELETE);
    FUZZ_CHECK(s->deletes_answered < s->deletes_left);
    FUZZ_CHECK(number == s->deletes[s->deletes_answered]);
    s->deletes_answered++;
    log_number(s, "deleted ", number);
    log_number(s, " ", accepted);
}

static void on_trace(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct session *s = arg;
    FUZZ_CHECK(from != POP3_DONE);
    log_text(s, pop3_state_name(to));
}

/* Commands */

static void check_delete(struct session *s, struct span line)
{
    char text[32];
    FUZZ_CHECK(s->durable && s->deletes_left < s->deletes_count);
    int size = snprintf(text, sizeof(text), "DELE %u", s->deletes[s->deletes_left]);
    FUZZ_CHECK(span_equal(line, span_of(text, (size_t)size)));
    FUZZ_CHECK(s->deletes_left == s->deletes_answered ||
               (pop3_capabilities(s->pop3)->pipelining && (s->options & WINDOW_ONE) == 0));
    s->deletes_left++;
}

static void check_command(struct session *s, struct span line)
{
    static const char *const verbs[] = {"CAPA",
                                        "STLS",
                                        "UTF8",
                                        "AUTH PLAIN",
                                        "USER u",
                                        "STAT",
                                        "LIST",
                                        "UIDL",
                                        "RETR ",
                                        "NOOP",
                                        "DELE ",
                                        "QUIT",
                                        ("PASS " PASSWORD),
                                        "AHUAWmVjcmV0LXB3OQ==",
                                        "*"};
    bool known = false;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        known |= line.size >= strlen(verbs[i]) &&
                 memcmp(line.data, verbs[i], strlen(verbs[i])) == 0;
    FUZZ_CHECK(known);
    bool secret = line.data[0] == 'P' || memcmp(line.data, "AH", 2) == 0;
    FUZZ_CHECK(!secret || s->tls);
    if (memcmp(line.data, "DELE", 4) == 0)
        check_delete(s, line);
    else if (memcmp(line.data, "QUIT", 4) == 0)
        FUZZ_CHECK((s->durable || !s->began) && s->deletes_answered == s->deletes_count);
    else
        FUZZ_CHECK(s->deletes_left == 0); /* nothing else follows a DELE */
}

static void take_over(struct session *s, size_t limit)
{
    const char *data = NULL;
    size_t size = pop3_output(s->pop3, &data);
    if (size > limit)
        size = limit;
    for (size_t i = 0; i < size; i++) {
        buffer_put_u8(&s->command, (uint8_t)data[i]);
        if (data[i] != '\n')
            continue;
        FUZZ_CHECK(s->command.size > 2 && s->command.data[s->command.size - 2] == '\r');
        check_command(s, span_of(s->command.data, s->command.size - 2));
        buffer_put(&s->log, s->command.data, s->command.size);
        buffer_clear(&s->command);
    }
    if (size > 0)
        s->data_last = false;
    pop3_output_consume(s->pop3, size);
}

/* The server */

static size_t feed_copy(struct session *s, const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    size_t used = pop3_input(s->pop3, s->now, copy, size);
    free(copy);
    return used;
}

static size_t feed_byte(struct session *s, uint8_t byte)
{
    return pop3_input(s->pop3, s->now, &byte, 1);
}

static void feed(struct session *s)
{
    size_t done = 0;
    while (done < s->pending.size && !s->idle && !pop3_done(s->pop3)) {
        size_t piece = s->bytewise ? 1 : s->pending.size - done;
        size_t used = s->bytewise ? feed_byte(s, s->pending.data[done])
                                  : feed_copy(s, s->pending.data + done, piece);
        FUZZ_CHECK(used <= piece);
        done += used;
        if (used < piece) {
            FUZZ_CHECK(pop3_paused(s->pop3) || pop3_done(s->pop3));
            break;
        }
    }
    if (done > 0)
        memmove(s->pending.data, s->pending.data + done, s->pending.size - done);
    s->pending.size -= done;
}

static void say(struct session *s, const void *data, size_t size)
{
    if (size > 0)
        buffer_put(&s->pending, data, size);
    feed(s);
}

static void say_input(struct session *s, struct cursor *input, size_t size)
{
    if (size > cursor_left(input))
        size = cursor_left(input);
    say(s, take_bytes(input, size), size);
}

static void say_repeated(struct session *s, struct cursor *input, size_t count)
{
    uint8_t byte = take_u8(input);
    for (size_t i = 0; i < count; i++)
        buffer_put_u8(&s->pending, byte);
    feed(s);
}

/* The owner */

static void wait_for(struct session *s, uint64_t time_ms)
{
    s->waited |= time_ms > 0;
    s->now += time_ms;
    pop3_timeout(s->pop3, s->now);
}

static void set_paused(struct session *s, bool paused)
{
    if (paused) {
        pop3_pause(s->pop3);
    } else if (!pop3_done(s->pop3)) {
        pop3_resume(s->pop3, s->now);
        feed(s);
    }
}

static void set_idle(struct session *s, bool idle)
{
    if (idle == s->idle)
        return;
    s->idle = idle;
    if (idle) {
        pop3_idle(s->pop3, s->now);
    } else {
        pop3_active(s->pop3, s->now);
        feed(s);
    }
}

static void handshake_done(struct session *s)
{
    if (pop3_state(s->pop3) != POP3_TLS)
        return;
    s->tls = true;
    pop3_tls_started(s->pop3, s->now);
}

static void operate(struct session *s, uint8_t code, struct cursor *input)
{
    unsigned argument = code >> 4;
    switch ((enum operation)(code & 15)) {
    case OP_CANNED:
        say(s, canned[argument], strlen(canned[argument]));
        break;
    case OP_RAW:
        say_input(s, input, argument + 1);
        break;
    case OP_RAW_LONG:
        say_input(s, input, take_u8(input));
        break;
    case OP_LAZY:
        s->lazy = argument & 1;
        break;
    case OP_TAKE:
        take_over(s, argument == 15 ? SIZE_MAX : argument);
        break;
    case OP_WAIT:
        wait_for(s, waits[argument]);
        break;
    case OP_PAUSE:
        set_paused(s, argument & 1);
        break;
    case OP_IDLE:
        set_idle(s, argument & 1);
        break;
    case OP_KEEPALIVE:
        pop3_keepalive(s->pop3, s->now);
        break;
    case OP_FINISH:
        pop3_finish(s->pop3);
        break;
    case OP_DURABLE:
        say_durable(s, argument);
        break;
    case OP_ABANDON:
        pop3_abandon(s->pop3, "the service stops");
        break;
    case OP_EOF:
        pop3_eof(s->pop3, s->now, argument & 1);
        break;
    case OP_TLS:
        handshake_done(s);
        break;
    case OP_HANDLERS:
        s->handlers = (uint8_t)argument;
        break;
    case OP_REPEAT:
        say_repeated(s, input, (size_t)argument * REPEAT_STEP);
        break;
    }
}

static void limit(struct pop3_limits *limits)
{
    limits->window_start = 2;
    limits->window_max = 3;
    limits->messages_max = 2;
    limits->message_max = 40;
    limits->body_floor = 20;
    limits->body_slack = 4;
    limits->refusals_max = 2;
    limits->listing.entries_max = 5;
    limits->listing.wanted_max = 2;
    limits->listing.bytes_max = 200;
}

static void create(struct session *s)
{
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
        .message_deleted = on_deleted,
        .trace = on_trace,
    };
    struct pop3_config config = {
        .user = "u",
        .password = PASSWORD,
        .implicit_tls = (s->options & IMPLICIT_TLS) != 0,
        .memory = {.no_capa = (s->options & NO_CAPA) != 0,
                   .window_one = (s->options & WINDOW_ONE) != 0,
                   .blank_from = (s->options & BLANK_FROM) != 0 ? 3 : 0},
        .limits = pop3_limits_default,
    };
    if ((s->options & SMALL_LIMITS) != 0)
        limit(&config.limits);
    s->tls = config.implicit_tls;
    FUZZ_CHECK(pop3_create(&config, &callbacks, s, &s->pop3) == 0);
}

/* Also when the session is done. */
static void check_deletes_sent(const struct session *s)
{
    bool in_part = s->command.size > 0 && s->command.data[0] == 'D';
    FUZZ_CHECK(pop3_deletes_sent(s->pop3) == s->deletes_left + (in_part ? 1 : 0));
}

/* Nothing more comes from anywhere: the time limits alone must end the session. */
static void run_out(struct session *s)
{
    s->handlers = 0;
    set_idle(s, false);
    set_paused(s, false);
    take_over(s, SIZE_MAX);
    for (unsigned i = 0; i < TIMEOUTS_MAX && !pop3_done(s->pop3); i++) {
        uint64_t deadline = pop3_deadline(s->pop3);
        FUZZ_CHECK(deadline != POP3_NO_DEADLINE);
        s->now = deadline > s->now ? deadline : s->now;
        pop3_timeout(s->pop3, s->now);
    }
    FUZZ_CHECK(pop3_done(s->pop3));
}

static void check_done(struct session *s)
{
    const struct outcome *outcome = pop3_outcome(s->pop3);
    const char *data = NULL;
    size_t log_size = s->log.size;
    check_text(outcome->text);
    FUZZ_CHECK((outcome->scope == SCOPE_NONE) == (outcome->text[0] == '\0'));
    FUZZ_CHECK(!s->in_body);
    check_deletes_sent(s);
    bool in_doubt = pop3_deletes_sent(s->pop3) > 0 && !pop3_stats(s->pop3)->quit_accepted;
    FUZZ_CHECK(!in_doubt ||
               (outcome->scope == SCOPE_MAILBOX && outcome->retry == RETRY_BACKOFF &&
                strstr(outcome->text, "not known which") != NULL));
    FUZZ_CHECK(pop3_output(s->pop3, &data) == 0);
    FUZZ_CHECK(pop3_input(s->pop3, s->now, "+OK\r\n", 5) == 0);
    FUZZ_CHECK(pop3_deadline(s->pop3) == POP3_NO_DEADLINE);
    FUZZ_CHECK(s->log.size == log_size);
    log_number(s, "done ", outcome->scope);
    log_number(s, " ", outcome->retry);
    log_number(s, " ", outcome->more);
}

static void play(struct session *s, struct cursor input)
{
    s->options = take_u8(&input);
    s->now = 1000;
    create(s);
    pop3_connected(s->pop3, s->now);
    for (unsigned i = 0; i < OPERATIONS_MAX && cursor_left(&input) > 0; i++) {
        operate(s, take_u8(&input), &input);
        if (!s->lazy)
            take_over(s, SIZE_MAX);
        check_deletes_sent(s);
        if (pop3_done(s->pop3))
            break;
    }
    run_out(s);
    check_done(s);
    pop3_free(s->pop3);
    buffer_free(&s->pending);
    buffer_free(&s->command);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session whole = {0}, bytewise = {.bytewise = true};
    play(&whole, fuzz_input(data, size));
    play(&bytewise, fuzz_input(data, size));
    if (!whole.waited)
        FUZZ_CHECK(span_equal(span_of(whole.log.data, whole.log.size),
                              span_of(bytewise.log.data, bytewise.log.size)));
    buffer_free(&whole.log);
    buffer_free(&bytewise.log);
    return 0;
}
