/* One connection: TLS, lines in, replies out, pacing. What the commands mean stands in
 * protocol.c. */
#ifndef MAILCASK_POP3D_SESSION_H
#define MAILCASK_POP3D_SESSION_H

#include "tests/pop3d/reply.h"
#include "tests/pop3d/server.h"
#include "tests/pop3d/view.h"

enum phase {
    PHASE_HANDSHAKE,
    PHASE_GREETING,
    PHASE_COMMANDS,
    PHASE_HANG,   /* only waiting for the client to leave */
    PHASE_LINGER, /* our side is shut down; input is read and dropped so that no reset cuts
                     it off */
    PHASE_OVER
};

struct session {
    struct server *server;
    struct session *previous, *next;
    struct session *wait_previous, *wait_next;
    int64_t resume_at_ms; /* nothing is done before; 0: not waiting */
    uint64_t id;          /* number of the connection */
    int fd;
    uint32_t interest; /* what epoll watches for */
    uint32_t wanted;   /* what the last I/O call would wait for */
    SSL *tls;
    enum phase phase;
    bool greeted;
    bool replying;
    bool discard_input;
    bool idle;          /* all that came is answered */
    enum finish finish; /* after the reply */
    const char *end;    /* why it ended, for the log */
    struct buffer in;
    struct buffer out;
    struct reply reply;
    const struct message *serving; /* the message of this RETR, for the log */
    uint64_t serving_number;
    uint64_t paced_delay_ms;

    /* POP3 */
    char *user;
    bool awaits_sasl;
    bool utf8;
    struct mailbox *mailbox; /* NULL before the login */
    uint64_t login;          /* which login of this user; 0 before */
    bool holds_mailbox;
    struct view view;

    uint64_t commands;
    uint64_t reads; /* reads that brought bytes */
    uint64_t waits; /* times everything was answered and the client was waited for */
    uint64_t bytes_in, bytes_out;
    uint32_t counts[EVENT_COUNT];
};

/* Takes over the descriptor. peer: for the log. */
void session_start(struct server *server, int fd, const char *peer);
/* Go on as far as possible; events are epoll's, 0 for a timer. May free the session. */
void session_run(struct session *session, uint32_t events);
/* Log its end and free it. */
void session_end(struct session *session, const char *why);

#endif
