/* The loop: listeners, epoll, sessions, and the sessions that wait for a time. */
#ifndef MAILCASK_POP3D_SERVER_H
#define MAILCASK_POP3D_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/pop3d/log.h"
#include "tests/pop3d/mailbox.h"
#include "tests/pop3d/options.h"
#include "tests/pop3d/script.h"

struct session;

struct listener {
    int fd;
    uint16_t port;
};

struct server {
    const struct options *options;
    struct log log;
    struct script *script;
    SSL_CTX *tls;
    struct mailboxes *mailboxes;
    int epoll_fd;
    int signal_fd;
    struct listener listeners[LISTEN_MAX];
    size_t listener_count;
    bool listening; /* false while there is no descriptor left for a connection */
    bool stopping;
    uint64_t connections;
    struct session *sessions;
    struct session *waiting;
};

/* Listens, and writes the port file. 0, or -1 after a message on standard error;
 * server_close() is due in both cases. options is borrowed. */
int server_open(struct server *server, const struct options *options);
/* Until SIGTERM or SIGINT. */
void server_run(struct server *server);
void server_close(struct server *server);

/* CLOCK_MONOTONIC */
int64_t now_ms(void);

#endif
