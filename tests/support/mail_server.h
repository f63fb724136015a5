/* A small POP3 server in threads of its own, on loopback, with real TLS, for tests of whole
 * sessions: it serves the same messages to everyone and misbehaves as told. What fails here
 * ends the program. */
#ifndef MAILCASK_SUPPORT_MAIL_SERVER_H
#define MAILCASK_SUPPORT_MAIL_SERVER_H

#include "tests/support/certificates.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mail_server;

struct mail_message {
    const char *uidl;
    const char *data; /* ends in CRLF */
    size_t size;
};

/* Message numbers count from 1; 0: never. All is borrowed. */
struct mail_server_options {
    const struct certificate *certificate;
    uint16_t port;         /* 0: any */
    bool stls;             /* in the clear first */
    int tls_version;       /* OpenSSL's number; 0: TLS 1.3 */
    bool abort_resumption; /* breaks a handshake off that offers a session */
    const struct mail_message *messages;
    unsigned count;
    bool close_after_pass;
    bool refuse_login;
    unsigned cut;       /* closes in the middle of this message */
    unsigned hold;      /* sends half of this message and then waits for the client */
    unsigned no_answer; /* does not answer a RETR of this one */
    unsigned refuse;    /* -ERR to its RETR */
    unsigned stat_more; /* STAT counts so many that are not listed */
    bool close_at_quit; /* without an answer */
};

struct mail_server *mail_server_start(const struct mail_server_options *options);
/* Waits for connections still open: the client has let go of them. */
void mail_server_stop(struct mail_server *server);

uint16_t mail_server_port(const struct mail_server *server);
/* How often something was seen so far. */
unsigned mail_server_sessions(const struct mail_server *server);
/* Handshakes that came to their end, and those of them that resumed a session. */
unsigned mail_server_handshakes(const struct mail_server *server);
unsigned mail_server_resumed(const struct mail_server *server);
unsigned mail_server_listings(const struct mail_server *server);
unsigned mail_server_retrs(const struct mail_server *server);
unsigned mail_server_quits(const struct mail_server *server);
/* A bit for each message number, below 32, for which DELE was sent. Nothing goes: see
 * struct mail_server_options for what the next server has. */
unsigned mail_server_deletes(const struct mail_server *server);
/* Half of the held message went out. */
unsigned mail_server_held(const struct mail_server *server);

#endif
