#include "bench/light/session.h"

#include "bench/light/mail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE 2048u
#define OUT_SIZE 16384u  /* one TLS record */
#define REPLY_ROOM 1024u /* a reply, or the first piece of one */
#define RECORDS_A_TURN 8 /* then the others have theirs */
#define USER_SIZE 256
#define NS_A_MS 1000000

enum list { LIST_NONE, LIST_READY, LIST_WAITING };
enum reply { REPLY_NONE, REPLY_LIST, REPLY_UIDL, REPLY_MESSAGE };
enum step { STEP_AGAIN, STEP_WAIT, STEP_END };

/* 1. out is there only while it holds bytes.
 * 2. While a reply is under way no command is taken. */
struct session {
    struct light *light;
    SSL *tls;
    int fd;
    bool shaken;
    bool logged_in;
    bool quitting;
    char user[USER_SIZE];
    struct mailbox box;
    enum reply reply;
    uint32_t next; /* of a listing */
    struct message message;
    uint64_t retrieved;
    int64_t first_ms, last_ms; /* the first and the last message's end */
    size_t in_size;
    size_t out_at, out_size;
    char *out;
    enum list list;
    TAILQ_ENTRY(session) link;
    char in[IN_SIZE];
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_A_MS;
}

struct session *session_new(struct light *light, int fd)
{
    struct session *s = calloc(1, sizeof(*s));
    if (s != NULL)
        s->tls = SSL_new(light->tls);
    if (s == NULL || s->tls == NULL) {
        free(s);
        close(fd);
        return NULL;
    }
    s->light = light;
    s->fd = fd;
    SSL_set_fd(s->tls, fd);
    SSL_set_accept_state(s->tls);
    struct counters *counters = light->counters;
    if (++counters->open > counters->open_peak)
        counters->open_peak = counters->open;
    return s;
}

static void enlist(struct session *s, enum list list)
{
    struct light *light = s->light;
    if (s->list == list)
        return;
    if (s->list != LIST_NONE)
        TAILQ_REMOVE(s->list == LIST_READY ? &light->ready : &light->waiting, s, link);
    s->list = list;
    if (list != LIST_NONE)
        TAILQ_INSERT_TAIL(list == LIST_READY ? &light->ready : &light->waiting, s, link);
}

static void session_end(struct session *s)
{
    struct light *light = s->light;
    if (light->log != NULL && s->logged_in)
        fprintf(light->log, "%s %" PRIu64 " %" PRId64 " %" PRId64 "\n", s->user,
                s->retrieved, s->first_ms, s->last_ms);
    light->counters->open--;
    enlist(s, LIST_NONE);
    SSL_free(s->tls);
    close(s->fd);
    free(s->out);
    free(s);
}

/* What SSL said about a call that did not succeed. */
static enum step after(struct session *s, int result)
{
    int why = SSL_get_error(s->tls, result);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? STEP_WAIT : STEP_END;
}

static void say(struct session *s, const char *text)
{
    size_t size = strlen(text);
    memcpy(s->out + s->out_size, text, size);
    s->out_size += size;
}

static enum step shake_hands(struct session *s)
{
    int result = SSL_do_handshake(s->tls);
    if (result != 1)
        return after(s, result);
    s->shaken = true;
    s->light->counters->resumed += SSL_session_reused(s->tls) == 1;
    say(s, "+OK light server\r\n");
    return STEP_AGAIN;
}

static enum step flush(struct session *s)
{
    size_t written;
    int result =
        SSL_write_ex(s->tls, s->out + s->out_at, s->out_size - s->out_at, &written);
    if (result != 1)
        return after(s, result);
    s->light->counters->sent += written;
    s->out_at += written;
    if (s->out_at == s->out_size) {
        free(s->out);
        s->out = NULL;
        s->out_at = s->out_size = 0;
    }
    return STEP_AGAIN;
}

static void finish_message(struct session *s)
{
    say(s, ".\r\n");
    s->reply = REPLY_NONE;
    s->retrieved++;
    s->light->counters->retrieved++;
    s->last_ms = now_ms();
    if (s->first_ms == 0)
        s->first_ms = s->last_ms;
}

static void say_entry(struct session *s, enum reply kind, const char *before,
                      uint32_t number)
{
    char line[64], uidl[MAILBOX_UIDL_SIZE];
    if (kind == REPLY_LIST)
        snprintf(uidl, sizeof(uidl), "%" PRIu32, s->box.message_size);
    else
        mailbox_uidl(&s->box, number, uidl);
    snprintf(line, sizeof(line), "%s%" PRIu32 " %s\r\n", before, number, uidl);
    say(s, line);
}

static void list_on(struct session *s)
{
    if (s->next <= s->box.count) {
        say_entry(s, s->reply, "", s->next++);
        return;
    }
    say(s, ".\r\n");
    s->reply = REPLY_NONE;
}

/* More of the reply under way. There is REPLY_ROOM. */
static void reply_on(struct session *s)
{
    if (s->reply != REPLY_MESSAGE) {
        list_on(s);
        return;
    }
    s->out_size += message_read(&s->message, s->out + s->out_size,
                                OUT_SIZE - s->out_size - MESSAGE_LINE_ROOM);
    if (s->message.left == 0)
        finish_message(s);
}

/* 0: there is no such message, and the client knows. */
static uint32_t message_of(struct session *s, const char *number)
{
    unsigned long n = strtoul(number, NULL, 10);
    if (n >= 1 && n <= s->box.count)
        return (uint32_t)n;
    say(s, "-ERR no such message\r\n");
    return 0;
}

static void retrieve(struct session *s, const char *number)
{
    uint32_t n = message_of(s, number);
    if (n == 0)
        return;
    say(s, "+OK\r\n");
    s->out_size += message_start(&s->message, &s->box, n, s->out + s->out_size,
                                 OUT_SIZE - s->out_size);
    s->reply = REPLY_MESSAGE;
}

static void list(struct session *s, enum reply kind, const char *number)
{
    if (*number != '\0') {
        uint32_t n = message_of(s, number);
        if (n != 0)
            say_entry(s, kind, "+OK ", n);
        return;
    }
    say(s, "+OK\r\n");
    s->reply = kind;
    s->next = 1;
}

static void log_in(struct session *s)
{
    if (!mailbox_of(s->user, &s->box)) {
        say(s, "-ERR [AUTH] no such user\r\n");
        return;
    }
    s->logged_in = true;
    s->light->counters->logins++;
    say(s, "+OK\r\n");
}

static void state(struct session *s)
{
    char line[64];
    snprintf(line, sizeof(line), "+OK %" PRIu32 " %" PRIu64 "\r\n", s->box.count,
             (uint64_t)s->box.count * s->box.message_size);
    say(s, line);
}

static void command_of_user(struct session *s, const char *name, const char *argument)
{
    if (strcasecmp(name, "STAT") == 0)
        state(s);
    else if (strcasecmp(name, "LIST") == 0)
        list(s, REPLY_LIST, argument);
    else if (strcasecmp(name, "UIDL") == 0)
        list(s, REPLY_UIDL, argument);
    else if (strcasecmp(name, "RETR") == 0)
        retrieve(s, argument);
    else if (strcasecmp(name, "NOOP") == 0)
        say(s, "+OK\r\n");
    else
        say(s, "-ERR what?\r\n");
}

static void command(struct session *s, char *line)
{
    char *argument = strchr(line, ' ');
    if (argument != NULL)
        *argument++ = '\0';
    else
        argument = line + strlen(line);
    if (strcasecmp(line, "CAPA") == 0) {
        say(s, "+OK\r\nUSER\r\nUIDL\r\nTOP\r\nRESP-CODES\r\nPIPELINING\r\n.\r\n");
    } else if (strcasecmp(line, "QUIT") == 0) {
        say(s, "+OK\r\n");
        s->quitting = true;
    } else if (strcasecmp(line, "USER") == 0) {
        snprintf(s->user, sizeof(s->user), "%s", argument);
        say(s, "+OK\r\n");
    } else if (strcasecmp(line, "PASS") == 0) {
        log_in(s);
    } else if (s->logged_in) {
        command_of_user(s, line, argument);
    } else {
        say(s, "-ERR log in\r\n");
    }
}

static bool passes(const struct session *s)
{
    return s->light->counters->gate > (s->box.held ? 1u : 0u);
}

static enum step read_more(struct session *s)
{
    size_t got;
    if (s->in_size == IN_SIZE)
        return STEP_END; /* a line that has no end */
    int result = SSL_read_ex(s->tls, s->in + s->in_size, IN_SIZE - s->in_size, &got);
    if (result != 1)
        return after(s, result);
    s->in_size += got;
    return STEP_AGAIN;
}

/* The next command, if there is one and it may be answered. */
static enum step take_command(struct session *s)
{
    char *end = memchr(s->in, '\n', s->in_size);
    if (end == NULL)
        return s->out_size > 0 ? flush(s) : read_more(s);
    if (s->logged_in && !passes(s)) {
        if (s->out_size > 0)
            return flush(s);
        enlist(s, LIST_WAITING);
        return STEP_WAIT;
    }
    char line[IN_SIZE];
    size_t size = (size_t)(end - s->in) + 1;
    memcpy(line, s->in, size);
    line[size - (size >= 2 && line[size - 2] == '\r' ? 2 : 1)] = '\0';
    s->in_size -= size;
    memmove(s->in, end + 1, s->in_size);
    command(s, line);
    return STEP_AGAIN;
}

static enum step take_step(struct session *s, int *records)
{
    if (s->out == NULL && (s->out = malloc(OUT_SIZE)) == NULL)
        return STEP_END;
    if (!s->shaken)
        return shake_hands(s);
    bool full = OUT_SIZE - s->out_size < REPLY_ROOM;
    if (s->out_at > 0 || full || (s->quitting && s->out_size > 0)) {
        ++*records;
        return flush(s);
    }
    if (s->quitting) {
        s->light->counters->quits++;
        SSL_shutdown(s->tls);
        return STEP_END;
    }
    if (s->reply != REPLY_NONE) {
        reply_on(s);
        return STEP_AGAIN;
    }
    return take_command(s);
}

void session_run(struct session *s)
{
    int records = 0;
    enum step step;
    enlist(s, LIST_NONE);
    do
        step = take_step(s, &records);
    while (step == STEP_AGAIN && records < RECORDS_A_TURN);
    if (step == STEP_END) {
        session_end(s);
        return;
    }
    if (step == STEP_AGAIN)
        enlist(s, LIST_READY);
    if (s->out_size == 0) {
        free(s->out);
        s->out = NULL;
    }
}

void sessions_go_on(struct light *light)
{
    struct session *s, *next;
    for (s = TAILQ_FIRST(&light->waiting); s != NULL; s = next) {
        next = TAILQ_NEXT(s, link);
        if (passes(s))
            enlist(s, LIST_READY);
    }
    struct session *last = TAILQ_LAST(&light->ready, sessions);
    for (bool done = last == NULL; !done;) {
        s = TAILQ_FIRST(&light->ready);
        done = s == last;
        session_run(s);
    }
}
