/* What the files of the POP3 session share. pop3.c: states, commands, input; pop3_login.c:
 * greeting to CAPA after login; pop3_glance.c: is it as it was?; pop3_fetch.c: listing and
 * messages; pop3_sync.c: which
 * reply is whose; pop3_delete.c: DELE and QUIT; pop3_wire.c: the trace; pop3_time.c:
 * limits, time-outs, lost connections. */
#ifndef MAILCASK_WORKERS_POP3_INTERNAL_H
#define MAILCASK_WORKERS_POP3_INTERNAL_H

#include "workers/dot.h"
#include "workers/pop3.h"
#include "workers/reply.h"

/* RETRs or DELEs in a full window, and a NOOP behind them. */
#define POP3_QUEUE_MAX (POP3_WINDOW_CEILING + 4)

enum pop3_command {
    POP3_CMD_GREETING, /* nothing is sent for it */
    POP3_CMD_CAPA,
    POP3_CMD_STLS,
    POP3_CMD_UTF8,
    POP3_CMD_AUTH,
    POP3_CMD_AUTH_RESPONSE,
    POP3_CMD_USER,
    POP3_CMD_PASS,
    POP3_CMD_STAT,
    POP3_CMD_LIST,
    POP3_CMD_UIDL,
    POP3_CMD_UIDL_LAST, /* of one message */
    POP3_CMD_RETR,
    POP3_CMD_NOOP,
    POP3_CMD_DELE,
    POP3_CMD_QUIT,
};

/* A command whose reply is due. */
struct pop3_expected {
    uint64_t sent_at; /* it has left once p->output_taken reaches this */
    uint32_t index;   /* of a RETR: in the listing's wanted entries */
    uint16_t size;    /* command bytes */
    uint8_t command;  /* enum pop3_command */
};

/* What is known of a RETR but not proven by the reply after it. */
enum pop3_held { POP3_HELD_NOTHING, POP3_HELD_ENDED, POP3_HELD_REFUSED };

struct pop3 {
    struct pop3_config config;
    struct pop3_callbacks callbacks;
    void *arg;
    enum pop3_state state;
    struct pop3_memory memory;
    struct outcome outcome;
    struct pop3_stats stats;

    /* Commands. output[output_start..output_end) is not taken over yet. */
    char *output;
    size_t output_start;
    size_t output_end;
    size_t output_capacity;
    uint64_t output_queued; /* bytes ever */
    uint64_t output_taken;
    struct pop3_expected queue[POP3_QUEUE_MAX];
    unsigned queue_head;
    unsigned queue_count;
    size_t unanswered_bytes;

    struct pop3_wire *wire; /* NULL: nobody wants it */

    /* Replies. */
    struct line_reader lines;
    bool multiline; /* within the lines that follow the +OK of CAPA, LIST, UIDL */
    struct capabilities capabilities;
    bool by_memory;         /* they are memory.announced's */
    bool pipelining_before; /* announced before login, and not asked again yet */
    bool looked_ahead;      /* the glance or the listing was asked for with CAPA */
    bool looked_too_far;    /* and then PIPELINING was not announced any more */
    unsigned sasl_rounds;

    /* Glance. */
    bool expects;
    struct pop3_glance glance;
    bool stat_same, last_same;

    /* Listing: listing_next counts the commands of S5 that were sent. */
    struct listing *listing;
    unsigned listing_next;

    /* Fetch. */
    size_t next_wanted;
    uint64_t day_spent; /* bytes of RETRs sent, as listed: see struct pop3_day */
    unsigned retrieved; /* RETRs sent, less those refused */
    unsigned window;
    unsigned window_answers; /* since the window last grew */
    unsigned window_filled;  /* so many were under way when the last one left */
    uint64_t window_bytes;   /* of RETRs under way: window_share_of() */
    unsigned refusals_in_row;
    bool finishing;
    bool probe_sent; /* the NOOP behind the last RETR */
    bool durable;
    bool in_body;
    struct dot dot;
    struct listing_entry current; /* while in_body */
    uint64_t octets;
    uint64_t body_size;
    char body_head[4]; /* its first bytes */
    /* Of this session's messages so far: that "n octets", and what came, was LIST's size.
     */
    bool octets_agreed, octets_differed, sizes_agreed, sizes_differed;
    uint64_t body_limit;
    enum pop3_held held;
    struct listing_entry held_entry;
    unsigned held_flags;
    bool held_permanent;
    char held_text[OUTCOME_QUOTE_SIZE];

    /* Delete: deletes_answered <= deletes_queued <= deletes_count. */
    const uint32_t *deletes;
    size_t deletes_count;
    size_t deletes_queued;
    size_t deletes_answered;

    /* Time. */
    uint64_t now;
    uint64_t fetching_ms; /* since the first RETR; 0: there was none */
    uint64_t session_ms;  /* since it began, moved on by every standstill; so are the next
                             two */
    uint64_t progress_ms;
    uint64_t rate_ms;
    uint64_t rate_bytes;
    bool rate_running;
    bool idle;
    bool paused;
    bool standing;
    uint64_t standing_ms;
};

/* pop3.c */

/* The only place that assigns the state; sends what the state begins with. */
void pop3_enter(struct pop3 *p, enum pop3_state state);

/* Sends verb, and argument behind a blank if it is not NULL. The reply is then due. */
void pop3_send(struct pop3 *p, enum pop3_command command, const char *verb,
               const char *argument);

/* The command whose reply is due; one must be. */
struct pop3_expected *pop3_expected(struct pop3 *p);

/* Its reply is complete. */
void pop3_answered(struct pop3 *p);

/* PIPELINING is announced in this state, or was before login, and is not distrusted on this
 * server. */
bool pop3_may_pipeline(const struct pop3 *p);

/* Ends the session without QUIT. Messages under way are discarded. */
void pop3_fail(struct pop3 *p, enum scope scope, enum retry retry, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void pop3_fail_memory(struct pop3 *p);

/* What came is not what is due (Q21, Q41, Q53): drops the session and stops pipelining
 * here. */
void pop3_desynchronised(struct pop3 *p, const char *text, size_t size);

/* Quotes the server's text: escaped, cut, and left out if it repeats a secret that the
 * owner has not wiped yet. */
void pop3_quote(const struct pop3 *p, const char *text, size_t size,
                char out_quote[OUTCOME_QUOTE_SIZE]);

/* What the session was doing, for "while %s". */
const char *pop3_state_step(enum pop3_state state);

/* pop3_login.c */
void pop3_login_enter(struct pop3 *p);
/* TLS is on: CAPA and login follow. */
void pop3_login_secured(struct pop3 *p);
void pop3_login_reply(struct pop3 *p, enum pop3_command command, const struct reply *reply);
void pop3_login_capa_line(struct pop3 *p, const struct line *line);
void pop3_login_capa_done(struct pop3 *p);
/* SASL PLAIN's response in base64 (RFC 4616); wipe and free it. NULL: no memory. */
char *pop3_login_plain(const struct pop3 *p, size_t *out_capacity);

/* pop3_glance.c */
void pop3_glance_enter(struct pop3 *p);
void pop3_glance_reply(struct pop3 *p, enum pop3_command command,
                       const struct reply *reply);
/* The session fails where its glance may be the cause: by an answer that does not end where
 * it should. */
bool pop3_glance_suspected(const struct pop3 *p);

/* pop3_fetch.c */
/* False: it failed, and so has the session. */
bool pop3_listing_begin(struct pop3 *p);
void pop3_listing_enter(struct pop3 *p);
void pop3_listing_reply(struct pop3 *p, enum pop3_command command,
                        const struct reply *reply);
void pop3_listing_line(struct pop3 *p, enum pop3_command command, const struct line *line);
void pop3_listing_ended(struct pop3 *p, enum pop3_command command);
void pop3_fetch_enter(struct pop3 *p);
void pop3_fetch_reply(struct pop3 *p, enum pop3_command command, const struct reply *reply);
size_t pop3_fetch_body(struct pop3 *p, const char *data, size_t size);
/* Sends what may be sent, or ends the fetching. */
void pop3_fetch_go_on(struct pop3 *p);
/* Gives up what is open: a body, an unproven end, with awaited the RETR whose reply is due.
 */
void pop3_fetch_drop(struct pop3 *p, enum pop3_discard body, enum pop3_discard held,
                     bool awaited);

/* The window of the RETRs and the DELEs. It is 1 until opened, and stays so if the server
 * does not pipeline or the session is careful. */
void pop3_window_open(struct pop3 *p, unsigned start);
bool pop3_window_has_room(const struct pop3 *p);
/* Refilled when half of it is answered: fewer and larger batches, and the pipe still never
 * runs dry. */
bool pop3_window_wants_more(const struct pop3 *p);
void pop3_window_send(struct pop3 *p, enum pop3_command command, const char *verb,
                      uint32_t number);
/* One of them was answered. */
void pop3_window_grow(struct pop3 *p);

/* pop3_delete.c */
/* Sends what may be sent, or QUIT. */
void pop3_delete_go_on(struct pop3 *p);
void pop3_delete_reply(struct pop3 *p, const struct reply *reply);
void pop3_quit_reply(struct pop3 *p, const struct reply *reply);
/* The outcome of a session that ends, by what text tells, after a DELE has left. */
void pop3_delete_in_doubt(struct pop3 *p, const char *text);
/* QUIT follows, or the DELEs before it, if the owner has said so and nothing is due. */
void pop3_leave(struct pop3 *p);

/* pop3_sync.c: with several commands under way, do the replies still belong to them? A
 * surplus line, or a lone dot that ended a body early (Q21, Q53), shifts all that follow,
 * and a message would be archived under the ID of another. So the window opens only behind
 * a message whose size, or "n octets", was LIST's, and stays open while they are. These
 * return false, and the session has ended, once they are not: the next one is careful,
 * where what is not asked for shows at once. */

/* "+OK n octets" to the RETR that is due, before the message before it counts as proven. */
bool pop3_sync_status(struct pop3 *p, uint64_t octets);
/* A slice of the body; counts it. */
bool pop3_sync_slice(struct pop3 *p, const char *slice, size_t size);
/* Its end. */
bool pop3_sync_end(struct pop3 *p);

/* pop3_time.c */
void pop3_time_progress(struct pop3 *p, uint64_t now, size_t bytes);
void pop3_time_reply_done(struct pop3 *p);
void pop3_time_standing(struct pop3 *p, uint64_t now);

/* pop3_wire.c; all do nothing unless it is wanted. 0 or -ENOMEM. */
int pop3_wire_create(struct pop3 *p);
void pop3_wire_command(const struct pop3 *p, enum pop3_command command, const char *verb,
                       const char *argument);
/* Before it is acted on. */
void pop3_wire_reply(struct pop3 *p, const struct line *line);
/* Of a message body_size bytes have come. */
void pop3_wire_body(const struct pop3 *p, bool whole);

#endif
