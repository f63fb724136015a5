/* One POP3 session (S1-S9 of workers/POP3.md) as a byte-driven machine: the
 * server's plaintext in, command bytes and callbacks out. No socket, no thread, no clock,
 * no archive: the owner moves the bytes, passes the time, and makes durable what it is
 * given.
 *
 * 1. Only pop3_enter() changes the state. POP3_DONE is final: the owner then drops the
 * connection.
 * 2. message_end is called only after a later reply was recognised as one: a message that
 * merely ended in "." may have been cut by a dot inside it (Q21). At most one message waits
 * so.
 * 3. Between message_begin and message_end or message_discard of a message come only its
 * own message_data calls. Nothing of a body is kept here.
 * 4. QUIT is sent only once the owner has called pop3_durable() or pop3_delete() in
 * POP3_DURABLE (Q35), or where no message was retrieved. It goes alone, after each DELE was
 * answered.
 * 5. DELE is sent only for the numbers given to pop3_delete(), once each and in their
 * order, and nothing is listed or retrieved after it (Q19).
 * 6. No secret is sent before TLS, kept after login in a buffer of this module, or written
 * into a text: what repeats it is left out, as long as the owner has not wiped it.
 *
 * `now` is milliseconds of a clock that never goes back; all calls of a session pass the
 * same one. */
#ifndef MAILCASK_WORKERS_POP3_H
#define MAILCASK_WORKERS_POP3_H

#include "workers/capabilities.h"
#include "workers/listing.h"
#include "workers/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits (all can be changed in struct pop3_limits). */
#define POP3_WINDOW_START 32u
#define POP3_WINDOW_MAX 64u
/* No further RETR while so much is under way, as LIST gave it: what was asked for is read
 * before the session can leave in order. A message counts for a quarter of it at most, so
 * that behind a large one others follow. Enough for 1 Gbit/s at a round trip of 30 ms. */
#define POP3_WINDOW_BYTES ((uint64_t)4 * 1024 * 1024)
#define POP3_WINDOW_DELETES 4u  /* the DELEs' begins here: fewer are ever in doubt */
#define POP3_WINDOW_CEILING 64u /* what window_max may be set to */
#define POP3_UNANSWERED_MAX ((size_t)1024)
#define POP3_SESSION_MESSAGES_MAX 500u
/* Or, where that is more, this part of what is listed: each session on the way through a
 * deep maildrop lists all of it. */
#define POP3_SESSION_MESSAGES_PART 8u
#define POP3_FETCH_MS ((uint64_t)15 * 60 * 1000)
#define POP3_MESSAGE_MAX ((uint64_t)2 * 1024 * 1024 * 1024)
#define POP3_BODY_FLOOR ((uint64_t)64 * 1024 * 1024)
#define POP3_BODY_SLACK ((uint64_t)1024 * 1024)
#define POP3_REFUSALS_MAX 16u /* uncoded ones in a row: the server has had enough (Q43) */
#define POP3_GREETING_MS ((uint64_t)60 * 1000)
#define POP3_REPLY_MS ((uint64_t)60 * 1000)
#define POP3_RATE_MS ((uint64_t)60 * 1000)
#define POP3_RATE_BYTES ((uint64_t)1024)
#define POP3_SESSION_MS ((uint64_t)2 * 60 * 60 * 1000)
#define POP3_QUIT_MS ((uint64_t)120 * 1000)
/* Longest user name, and longest password, in bytes. */
#define POP3_CREDENTIAL_MAX ((size_t)4096)
#define POP3_OCTETS_UNKNOWN UINT64_MAX
/* The largest maildrop that is glanced at. */
#define POP3_GLANCE_MAX LISTING_NUMBER_MAX
#define POP3_NO_DEADLINE UINT64_MAX

enum pop3_state {
    POP3_CONNECTING,
    POP3_GREETING,
    POP3_CAPA_PLAIN, /* before STLS; what it tells is thrown away */
    POP3_STLS,
    POP3_TLS, /* the owner's handshake after STLS */
    POP3_CAPA,
    POP3_UTF8,
    POP3_AUTH,          /* AUTH PLAIN sent, "+" awaited */
    POP3_AUTH_RESPONSE, /* credentials sent */
    POP3_USER,
    POP3_PASS,
    POP3_CAPA_AGAIN, /* after login */
    POP3_GLANCE,     /* STAT and the last UIDL: has anything changed? */
    POP3_LISTING,
    POP3_FETCH,
    POP3_DURABLE, /* waits for pop3_durable() or pop3_delete() */
    POP3_DELETE,
    POP3_QUIT,
    POP3_DONE,
};

/* "capa-again"; never NULL. */
const char *pop3_state_name(enum pop3_state state);

/* Why a message is given up. Only the first three tell something about the message itself.
 */
enum pop3_discard {
    POP3_DISCARD_SUSPECT,   /* what followed its end was no reply (Q21, Q41) */
    POP3_DISCARD_OVERSIZED, /* its limit is crossed: quarantine (message_data had up to the
                               limit) */
    POP3_DISCARD_NO_ANSWER, /* time-out or close instead of a reply to RETR (Q29); no
                               message_begin */
    POP3_DISCARD_TIMEOUT,   /* within the body (Q23, Q30) */
    POP3_DISCARD_CUT,       /* the connection closed within the body (Q30, Q55) */
    POP3_DISCARD_UNPROVEN,  /* ended, but the session was lost before the next reply */
    POP3_DISCARD_ABANDONED, /* the session was ended from this side */
};

const char *pop3_discard_name(enum pop3_discard why);

/* Flags of message_end. */
enum {
    POP3_MESSAGE_SHORT = 1u << 0,     /* far shorter than LIST or "n octets" said (Q31) */
    POP3_MESSAGE_DOTS_KEPT = 1u << 1, /* has lines with an unstuffed dot (Q20) */
};

/* All are called from within pop3_* calls, with the callbacks' arg. From within one only
 * pop3_pause(), pop3_finish(), the getters and (in fetched_all) pop3_durable() or
 * pop3_delete() may be called. Entries, slices and texts are borrowed until return. trace
 * may be NULL, and message_deleted where pop3_delete() is never called with numbers; the
 * others not. */
struct pop3_callbacks {
    /* STLS was accepted: start the handshake, then call pop3_tls_started(). */
    void (*start_tls)(void *arg);
    listing_judge_fn *judge;
    /* pop3_expect(): all is as expected, nothing is listed, QUIT follows. May be NULL where
     * that is never called. */
    void (*unchanged)(void *arg);
    /* All is listed and judged; the listing lives until pop3_free(). Not called for a
     * listing that was cut off (Q14). */
    void (*listing_done)(void *arg, const struct listing *listing);
    /* octets: the number in "+OK n octets", a hint, or POP3_OCTETS_UNKNOWN. */
    void (*message_begin)(void *arg, const struct listing_entry *entry, uint64_t octets);
    void (*message_data)(void *arg, const char *data, size_t size);
    /* Complete and proven: may be archived. flags: POP3_MESSAGE_*. */
    void (*message_end)(void *arg, const struct listing_entry *entry, unsigned flags);
    void (*message_discard)(void *arg, const struct listing_entry *entry,
                            enum pop3_discard why);
    /* -ERR to its RETR (Q28); text: the server's, printable. permanent: [SYS/PERM]. */
    void (*message_refused)(void *arg, const struct listing_entry *entry, bool permanent,
                            const char *text);
    /* Nothing more comes: make what came durable, then pop3_durable(), pop3_delete() or
     * pop3_abandon(). Called too when there was nothing to fetch. */
    void (*fetched_all)(void *arg);
    /* The reply to its DELE; accepted: +OK. -ERR: it stays, the session goes on. Neither
     * says what QUIT will do. */
    void (*message_deleted)(void *arg, uint32_t number, bool accepted);
    void (*trace)(void *arg, enum pop3_state from, enum pop3_state to);
    /* With pop3_config's wire: what is said, "C: STAT", "S: +OK 3 180", as it is queued or
     * read: printable, below POP3_WIRE_SIZE, without secrets. Of a listing's lines the
     * first ones and the last, of a message its size. May be NULL. */
    void (*wire)(void *arg, const char *text);
};

#define POP3_WIRE_SIZE 320

struct pop3_limits {
    struct listing_limits listing;
    unsigned window_start;
    unsigned window_max; /* at most POP3_WINDOW_CEILING */
    uint64_t window_bytes;
    size_t unanswered_max;
    unsigned messages_max; /* retrieved in one session, or POP3_SESSION_MESSAGES_PART of
                              the listing, then QUIT and outcome.more */
    uint64_t fetch_ms;     /* likewise, from the first RETR on, which always leaves */
    uint64_t
        message_max; /* bytes; with a LIST size min(this, max(2 x LIST + slack, floor)) */
    uint64_t body_floor;
    uint64_t body_slack;
    unsigned refusals_max;
    uint64_t greeting_ms;
    uint64_t reply_ms; /* between two bytes of what is awaited */
    uint64_t rate_ms;  /* within one reply at least rate_bytes every rate_ms */
    uint64_t rate_bytes;
    uint64_t session_ms;
    uint64_t quit_ms;
};

/* The limits named above. */
extern const struct pop3_limits pop3_limits_default;

/* What CAPA said in a mailbox's last session, the first two before login, the others after;
 * not known unless that session went well. */
struct pop3_announced {
    bool known;
    bool sasl_plain, utf8, pipelining, uidl;
};

/* What the owner remembers about a server or mailbox from one session to the next. Zeroed:
 * nothing. */
struct pop3_memory {
    bool no_capa;           /* of the server: CAPA hangs or closes (Q50) */
    bool window_one;        /* of the server: pipelining desynchronised */
    uint32_t login_delay_s; /* of the mailbox: the larger of the announced ones (Q39) */
    uint32_t
        blank_from; /* of the mailbox: where messages without ID go on (listing_create()) */
    bool no_glance; /* of the mailbox: the answers to a glance are not to be relied on (Q12)
                     */
    struct pop3_announced announced; /* what a session that glances goes by: it does not ask
                                        for capabilities */
};

/* How a listing found the mailbox. */
struct pop3_glance {
    uint64_t count, bytes; /* STAT's */
    uint64_t last_uidl;    /* pop3_uidl_sum() of message `count`; 0 where that is 0 */
};

/* What may still be fetched of the mailbox today (Q45); zeroed: everything. A message goes
 * by the size that LIST gives; one larger than a whole day's share takes a whole day. */
struct pop3_day {
    uint64_t whole; /* bytes a day; 0: no limit */
    uint64_t left;
    uint32_t wait_s; /* until there is more; goes into outcome.delay_s */
};

struct pop3_config {
    const char *user;     /* borrowed until pop3_free() */
    const char *password; /* the same; may be made "" once the login is done */
    bool implicit_tls;    /* TLS from the first byte; otherwise STLS is required */
    /* A message broke the session before: prove each one (NOOP) before the next is asked
     * for, so that the right one is blamed. POP3_DISCARD_UNPROVEN then tells something
     * about its message, too. */
    bool careful;
    bool wire;      /* the callback of this name is called */
    bool no_login;  /* leave in order where the login would begin; the user is not sent */
    unsigned avoid; /* capabilities not to be believed: a set of AVOID_* */
    struct pop3_memory memory;
    struct pop3_day day;
    struct pop3_limits limits;
};

struct pop3_stats {
    uint64_t round_trips; /* batches of commands */
    uint64_t commands;
    uint64_t messages; /* message_end */
    uint64_t refused;
    uint64_t discarded;
    uint64_t short_messages; /* Q31 */
    uint64_t input_bytes;
    uint64_t body_bytes; /* as delivered, discarded ones included */
    uint64_t dots_removed;
    uint64_t dots_kept; /* Q20 */
    unsigned window;    /* the widest that was used; 0: no pipelining */
    bool quit_answered;
    bool quit_accepted;  /* +OK */
    bool desynchronised; /* what came was no reply: earlier ones may have been forged */
};

struct pop3;

/* config and callbacks are copied, but for the two borrowed strings. Returns 0; -ENOMEM;
 * ERR_SYNTAX: CR or LF in a credential (Q54), or an empty user; ERR_TOO_LARGE: longer than
 * POP3_CREDENTIAL_MAX. */
int pop3_create(const struct pop3_config *config, const struct pop3_callbacks *callbacks,
                void *arg, struct pop3 **out_pop3);

/* Before pop3_connected(): look whether the mailbox is still so (STAT, then `UIDL n` for
 * its last message, one batch with PIPELINING). If so, leave without a listing (Q12); else,
 * which costs the answers' round trip, list. What memory.announced has is not asked for
 * again. count: at most POP3_GLANCE_MAX. */
void pop3_expect(struct pop3 *p, const struct pop3_glance *glance);
uint64_t pop3_uidl_sum(const char *uidl, size_t size);

/* No callback is called. Does not end a session in order. */
void pop3_free(struct pop3 *p);

/* The stream is ready: TCP connected and, with implicit_tls, the handshake done. */
void pop3_connected(struct pop3 *p, uint64_t now);

/* The handshake after start_tls is done and verified. */
void pop3_tls_started(struct pop3 *p, uint64_t now);

/* Take plaintext from the server. Returns how many bytes were used: fewer than size only
 * when paused or done. Keep the rest and pass it again, at its start, after pop3_resume().
 * In POP3_TLS the owner's bytes belong to the handshake; any given here are taken for an
 * injection. */
size_t pop3_input(struct pop3 *p, uint64_t now, const void *data, size_t size);

/* The pending command bytes, one batch, 0 if there are none. Look after every call that
 * takes `now`. */
size_t pop3_output(const struct pop3 *p, const char **out_data);

/* The first size bytes were taken over (into a TLS record): call it then, before they are
 * sent. What arrives for a command that was not taken over counts as a reply nobody asked
 * for. Wipes them. */
void pop3_output_consume(struct pop3 *p, size_t size);

/* The server closed the connection, and all input was taken; clean: by close_notify, or FIN
 * on plain TCP. Only the text differs: no close_notify is harmless after a complete reply
 * (Q55). */
void pop3_eof(struct pop3 *p, uint64_t now, bool clean);

/* When pop3_timeout() is to be called, in the owner's clock, or POP3_NO_DEADLINE. Changes
 * with every call that takes `now`. pop3_timeout() called early does nothing. */
uint64_t pop3_deadline(const struct pop3 *p);
void pop3_timeout(struct pop3 *p, uint64_t now);

/* The server's limits run only while the owner listens: pop3_idle() when it leaves the
 * receive disarmed, pop3_active() when it arms it again. Calls do not nest. While paused
 * they stand still too. */
void pop3_idle(struct pop3 *p, uint64_t now);
void pop3_active(struct pop3 *p, uint64_t now);

/* Back-pressure: no RETR is sent and no reply to one is read until pop3_resume(). */
void pop3_pause(struct pop3 *p);
void pop3_resume(struct pop3 *p, uint64_t now);
bool pop3_paused(const struct pop3 *p);

/* Sends a NOOP if the session rests between commands (paused, or in POP3_DURABLE). False if
 * it cannot. */
bool pop3_keepalive(struct pop3 *p, uint64_t now);

/* Retrieve no further message: leave in order as soon as the replies under way are read. */
void pop3_finish(struct pop3 *p);

/* In POP3_DURABLE: all that message_end reported is on disk. QUIT follows. */
void pop3_durable(struct pop3 *p, uint64_t now);

/* In POP3_DURABLE, instead of pop3_durable(): all that message_end reported is on disk, and
 * so is the intent to delete these messages. numbers: of this session's listing, borrowed
 * until pop3_done(). Sends DELE for each, in this order, in the window of the RETRs; then
 * QUIT. count 0: as pop3_durable().
 * Once a DELE has left, any end but +OK to QUIT is an outcome of the mailbox, backoff: it
 * is not known what the server deleted, only the next listing shows it (Q58). */
void pop3_delete(struct pop3 *p, uint64_t now, const uint32_t *numbers, size_t count);

/* So many of the numbers have left, the last perhaps in part; those behind were never sent.
 * The answered ones were given to message_deleted. Stays true once done. */
size_t pop3_deletes_sent(const struct pop3 *p);

/* Give the session up without QUIT, in any state; the outcome is process, backoff, why
 * (after a DELE: see pop3_delete()). */
void pop3_abandon(struct pop3 *p, const char *why);

enum pop3_state pop3_state(const struct pop3 *p);
bool pop3_done(const struct pop3 *p);
/* Final once done. With SCOPE_MESSAGE, retry is about that message and `more` about the
 * mailbox. */
const struct outcome *pop3_outcome(const struct pop3 *p);
const struct pop3_stats *pop3_stats(const struct pop3 *p);
/* To be remembered; final once done. */
const struct pop3_memory *pop3_memory(const struct pop3 *p);
/* Of the current state; `known` says if they are. */
const struct capabilities *pop3_capabilities(const struct pop3 *p);
/* NULL before POP3_LISTING. */
const struct listing *pop3_listing(const struct pop3 *p);

#endif
