/* One connection of a walk: shared by workers/probe*.c, for nobody else. */
#ifndef MAILCASK_WORKERS_PROBE_INTERNAL_H
#define MAILCASK_WORKERS_PROBE_INTERNAL_H

#include "workers/pop3.h"
#include "workers/probe.h"
#include "workers/probe_wire.h"

/* Room for one read of the socket. */
#define PROBE_BUFFER_SIZE ((size_t)16384)
/* Of the last line, and of the first bytes: enough to know them by. */
#define PROBE_LINE_SIZE ((size_t)512)
#define PROBE_FIRST_SIZE ((size_t)16)

/* How a connection was lost. */
enum probe_loss { PROBE_NOT_LOST, PROBE_TIMED_OUT, PROBE_CLOSED };

struct probe {
    const struct probe_config *config;
    probe_report *report; /* NULL: a look, which tells nobody */
    void *arg;

    enum probe_step step;
    uint64_t began_us; /* the step */
    enum probe_cause cause;
    bool over; /* a step has failed */
    enum probe_loss loss;

    int fd; /* -1: none */
    struct tls_context *context;
    struct tls *tls;
    bool secured; /* tls stands */
    struct pop3 *pop3;
    bool start_tls; /* wanted by pop3 */

    /* What the server said. */
    char first[PROBE_FIRST_SIZE]; /* raw, before TLS */
    size_t first_size;
    char line[PROBE_LINE_SIZE]; /* the last one, without its line end */
    size_t line_size;
    bool line_ended;
    uint8_t buffer[PROBE_BUFFER_SIZE]; /* lent to tls */
};

/* probe.c: the steps. */
void probe_step_begins(struct probe *p, enum probe_step step);
void probe_step_done(struct probe *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void probe_step_failed(struct probe *p, enum probe_cause cause, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* probe_talk.c */
/* The handshake; its two steps are told. False: it failed, and that was told. */
bool probe_start_tls(struct probe *p);
/* POP3, from the greeting to QUIT. */
void probe_talk(struct probe *p);
/* Say something to a server that stays silent and see what it says: a web server, for one,
 * speaks only when spoken to. Into p->line. */
void probe_provoke(struct probe *p);
void probe_hang_up(struct probe *p);

/* probe_pop3.c */
/* 0 with p->pop3, or as pop3_create(). */
int probe_pop3_create(struct probe *p);

#endif
