/* What the files of the session share. session.c: its life, from arrival to result;
 * session_connect.c: addresses and the connection; session_gate.c: whose handshake it is;
 * session_io.c: bytes, TLS and time; session_mail.c: POP3's callbacks, intake, memory,
 * acknowledgements; session_glance.c: leaving without a listing; session_delete.c: what a
 * delete session does between its listing and QUIT; session_record.c: how it went, in words
 * and as a record.
 *
 * 1. Each thing that happens enters by one function, which ends with session_turn(): the
 * only place that moves bytes, and the only one that may free the session.
 * 2. It is freed only when the socket is closed and nothing posted, submitted or asked for
 * is still to come back: origin_due, unacknowledged, base_due, work_due, turn_due,
 * proofs_due, resolution.
 * 3. outcome is settled at most once; before that, POP3's own counts.
 * 4. pop3_durable() and pop3_delete() are called only with flushed && unacknowledged == 0
 * && storage_err == 0 (Q35): so the intent to delete is durable, too (I6). */
#ifndef MAILCASK_WORKERS_SESSION_INTERNAL_H
#define MAILCASK_WORKERS_SESSION_INTERNAL_H

#include "workers/session.h"

enum session_step {
    SESSION_NEW,
    SESSION_WAITS_FOR_MEMORY,
    SESSION_WAITS_FOR_ORIGIN,
    SESSION_RESOLVES,
    SESSION_CONNECTS,
    SESSION_WAITS_FOR_TURN, /* connected, or after STLS: many handshakes are under way */
    SESSION_PLAIN,          /* POP3 before STLS */
    SESSION_HANDSHAKE,
    SESSION_TALK,  /* POP3 within TLS */
    SESSION_LEAVE, /* the end is settled; the last bytes of TLS go out */
    SESSION_OVER,  /* the socket is closed or being closed */
};

/* What a delete session does once all that it fetched is durable. */
enum deletion_step {
    DELETION_PLANS,
    DELETION_PROVES, /* copies are read back from the disk */
    DELETION_INTENDS,
    DELETION_SENT,
};

struct resolution;

struct session {
    struct worker *worker;
    TAILQ_ENTRY(session) link;
    struct parcel arrival;
    enum session_step step;
    struct timer timer;
    uint64_t step_deadline_ms;

    /* The job. The strings are in one block. */
    char *strings;
    const char *account, *host, *login, *ca_file;
    char *password; /* "" once it is used */
    uint16_t port;
    bool implicit_tls;
    enum tls_oldest tls_oldest;
    bool pinned;
    enum pool_kind kind;
    int64_t delete_before_us;
    uint8_t fingerprint[TLS_FINGERPRINT_SIZE];
    void *tag;

    /* How it goes. */
    struct outcome outcome;
    bool settled;
    bool stopped;
    bool recorded;
    struct pool_counts counts;
    struct pool_marks marks;
    bool careful; /* pop3_config's */
    int64_t began_us;
    bool wired; /* pool_config's wire is called */
    char address[POOL_ADDRESS_SIZE];
    char tls_text[64];
    char aside[POOL_ASIDE_SIZE];
    char notice[POOL_NOTICE_SIZE];
    bool renumbered;
    bool clock_behind;

    /* The budget. */
    struct budget_claim base, listing, work;
    struct parcel base_granted, work_granted;
    bool base_due, work_due;

    /* The archive. */
    struct writer_item origin;
    struct parcel origin_known;
    bool origin_due;
    uint32_t account_number, source;
    struct intake *intake;
    uint64_t intake_base; /* what it held after the listing */
    int intake_err;
    int storage_err;
    unsigned unacknowledged;
    uint64_t unacknowledged_bytes;

    /* Deletion. claims and numbers are as the plan's items. */
    enum deletion_step deletion;
    struct prover_item proofs;
    struct parcel proofs_known;
    bool proofs_due;
    struct prover_claim *claims;
    uint32_t *numbers;
    uint64_t planned_upto; /* the highest N of the plan */
    size_t answered;       /* of numbers: DELEs */
    uint64_t unwanted;     /* listed and not archived, but this is a delete session */

    /* The glance. */
    bool day_limited;   /* pop3_day is set */
    bool glances;       /* it was asked for */
    bool unchanged;     /* and nothing had */
    bool unlisted;      /* as struct pool_result's */
    uint32_t last_line; /* the number of the line judged last, */
    uint64_t last_uidl; /* and of the last message: pop3_uidl_sum(), */
    bool last_weak;     /* and whether it is a decimal number */

    /* The connection. */
    struct resolution *resolution;
    struct resolver_answer *answer;
    size_t next_address;
    uint64_t address_id,
        other_address_id; /* as pool_marks's; 0: there is one address only */
    int connect_err;
    struct loop_socket *socket;
    bool receiving;
    bool sending;
    size_t sending_tls; /* bytes of tls_output() in flight */
    uint8_t plain_out[64];
    struct worker_context *context;
    struct tls *tls;
    bool in_gate;  /* one of the worker's handshakes */
    bool turn_due; /* in the queue of those that wait, or turn is posted */
    bool in_queue;
    struct parcel turn;
    TAILQ_ENTRY(session) queue_link;
    bool lent;   /* the engine may still look at the loop's buffer */
    bool hungry; /* it has seen all that was received */
    bool ended;  /* nothing more will be received */

    /* POP3, and what its callbacks ask for. */
    struct pop3 *pop3;
    bool idle; /* pop3_idle() was called */
    bool tls_asked;
    bool work_asked;
    bool all_fetched;
    bool flushed;
    bool told_durable;
    bool listing_counted;
    bool no_memory;            /* for the listing */
    uint64_t waiting_since_ms; /* for memory or the writer; 0: it does not */
    uint64_t keepalive_ms;
};

/* session.c */

/* Settles the outcome if that has not been done (printf's rules). */
void session_settle(struct session *s, enum scope scope, enum retry retry,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* For pool_config's wire, if it is wanted. */
void session_wire(struct session *s, const char *text);
/* The session has an outcome, its own or POP3's: leave. */
void session_end(struct session *s);
/* Nothing more can be sent: close the socket, if there is one. */
void session_close(struct session *s);
uint64_t session_now(const struct session *s);
bool session_talks(const struct session *s);

/* session_connect.c */
void session_resolve(struct session *s);
/* False: an answer is on its way to this session. */
bool session_resolve_cancel(struct session *s);
/* The handlers of session_io.c are used for the socket. */
void session_connect_next(struct session *s);
/* At the end: where the next session begins. */
void session_judge_address(struct session *s);
void session_connected(struct session *s, int err);
/* In a handshake: close this connection and open another to the same address. */
void session_connect_again(struct session *s);
/* There will be no other connection. */
void session_forget_addresses(struct session *s);

/* session_gate.c: a handshake takes OpenSSL 16 KiB and more, and this thread a millisecond:
 * only so many at once, the others wait with their connection open, but not for ever. */

/* Calls session_tls_start(), now or when it is the session's turn. */
void session_gate_enter(struct session *s);
/* Its handshake is over, or will not be. Harmless elsewhere. */
void session_gate_leave(struct session *s);
/* It has waited for SESSION_TURN_MS. */
void session_gate_waited(struct session *s);

/* session_io.c */
extern const struct loop_handlers session_handlers;
void session_turn(struct session *s);
void session_tls_start(struct session *s);
/* Once its socket is closed. */
void session_tls_drop(struct session *s);
/* Sends TLS's goodbye, if one is due. */
void session_say_goodbye(struct session *s);
void session_timer_fired(void *arg);

/* session_mail.c */
extern const struct pop3_callbacks session_callbacks;
/* Does what the callbacks asked for. To be called after every call of POP3 that takes
 * `now`. */
void session_follow(struct session *s);
int session_intake_open(struct session *s);
/* Nothing more is taken in: what is whole goes to the writer. */
void session_intake_finish(struct session *s);
/* The working memory: no message is taken in any more. */
void session_drop_memory(struct session *s);
/* It waited for too long, or may send a NOOP. */
void session_waited(struct session *s);

/* session_mail.c. Everything handed over so far is to be durable soon. 0 or -ENOMEM. */
int session_barrier(struct session *s);
/* It waits for memory, a disk: NOOPs meanwhile, and not for ever. */
void session_wait_begins(struct session *s);

/* session_delete.c */

/* A line that is archived: whether it is to be fetched to be compared. */
enum listing_verdict session_delete_judged(struct session *s, uint32_t number);
void session_delete_listed(struct session *s);
/* All that came is durable: on to the next step; QUIT follows from the last. */
void session_delete_go_on(struct session *s);
void session_delete_answered(struct session *s, bool accepted);
/* POP3 is done: what the DELEs came to. */
void session_delete_settle(struct session *s);

/* session_glance.c: does the maildrop need to be listed? Often it does not: see S5 of
 * POP3.md. */

/* Before the connection, with the intake open. */
void session_glance_prepare(struct session *s);
/* A line of the listing. */
void session_glance_judged(struct session *s, uint32_t number, const char *uidl,
                           size_t uidl_size);
/* At the end: it was left without a listing, as nothing had changed. */
bool session_glance_sufficed(struct session *s);
/* It was listed, and is as it was on record: what the next ones may be compared with. */
void session_glance_remember(struct session *s, int64_t now_us);

/* session_record.c */
void session_write_record(struct session *s);
void session_adopt_outcome(struct session *s);
void session_deliver(struct session *s);
int64_t session_clock_us(void);

#endif
