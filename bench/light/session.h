/* One connection to the light server. One thread. */
#ifndef MAILCASK_BENCH_LIGHT_SESSION_H
#define MAILCASK_BENCH_LIGHT_SESSION_H

#include "bench/light/counters.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/queue.h>

struct session;
TAILQ_HEAD(sessions, session);

/* What all sessions share. */
struct light {
    SSL_CTX *tls;
    struct counters *counters;
    FILE *log;               /* NULL: none */
    struct sessions ready;   /* to be run again without waiting for an event */
    struct sessions waiting; /* for the gate */
};

/* Takes the socket. NULL when memory runs out: it is closed then. */
struct session *session_new(struct light *light, int fd);

/* Go on for a while. The session may be gone on return, or on one of the lists. */
void session_run(struct session *s);

/* Run those on the list `ready`, each once; move those that the gate lets pass to it. */
void sessions_go_on(struct light *light);

#endif
