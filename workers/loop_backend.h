/* Internal to the loop: what loop.c and its two back ends share. loop.c owns sockets,
 * queues, time and the calling of handlers; a back end starts operations and reports each
 * completion. */
#ifndef MAILCASK_WORKERS_LOOP_BACKEND_H
#define MAILCASK_WORKERS_LOOP_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "workers/loop.h"

/* Operations, as bits of a set. */
#define LOOP_OP_CONNECT 1u
#define LOOP_OP_RECEIVE 2u
#define LOOP_OP_SEND 4u
#define LOOP_OP_CANCEL 8u /* of all others of the socket */
#define LOOP_OP_WAKE 16u  /* not of a socket: the eventfd became readable */

TAILQ_HEAD(loop_list, loop_socket);

struct loop_queue {
    struct loop_list list;
    size_t length;
};

/* Invariants:
 * 1. A socket is in one queue or in none; with `wanted` not empty it is in one that its
 * back end will come to.
 * 2. An operation is in at most one of `wanted` and `in_flight`.
 * 3. The descriptor is closed, and the slot given back, only with in_flight empty.
 * 4. The generation changes whenever the slot is given back. */
struct loop_socket {
    TAILQ_ENTRY(loop_socket) link;
    struct loop_queue *queue;
    struct loop *loop;
    struct loop_handlers handlers;
    void *arg;
    uint32_t slot;
    uint32_t generation;
    int fd;
    unsigned wanted;    /* asked for, not yet started */
    unsigned in_flight; /* the back end has it */
    bool connected;
    bool closing;
    const uint8_t *send_data; /* what is left of the send */
    size_t send_size;
    struct sockaddr_storage address;
    socklen_t address_size;
    /* Of the epoll back end. */
    bool registered;
    bool readable; /* may be: not known to block */
    bool writable;
    bool hung_up; /* no further edge will come for what can still be read */
};

struct loop_backend_ops {
    const char *name;
    int socket_flags; /* for socket(2) */
    int (*create)(struct loop *loop);
    void (*destroy)(struct loop *loop);
    /* Start what is in loop->pending and wait up to wait_ms (-1: no limit) for any
     * completion. A signal or the time-out is success. */
    int (*wait)(struct loop *loop, int wait_ms);
    /* Report what has completed, each once. Sets loop->woken if the eventfd is readable. */
    void (*dispatch)(struct loop *loop);
    /* The socket is closing: give up what can be given up at once (take it out of
     * in_flight), want LOOP_OP_CANCEL for the rest. */
    void (*cancel)(struct loop_socket *socket);
};

extern const struct loop_backend_ops loop_uring;
extern const struct loop_backend_ops loop_epoll;

struct loop {
    const struct loop_backend_ops *ops;
    void *state;               /* the back end's */
    struct loop_config config; /* defaults filled in */
    struct loop_socket *sockets;
    struct loop_queue free;
    struct loop_queue pending; /* with operations wanted */
    struct loop_queue closed;  /* nothing in flight, closed() to be called */
    struct timers *timers;
    uint64_t now_ms;
    int wake_fd;
    bool woken;
    bool stopping;
    void (*on_wake)(void *arg);
    void *on_wake_arg;
    char description[96];
};

/* Move the socket to the end of a queue, or out of its own. */
void loop_enqueue(struct loop_queue *queue, struct loop_socket *socket);
void loop_dequeue(struct loop_socket *socket);

/* A token identifies a completion: slot in bits 0-23, operation in bits 24-31, generation
 * in bits 32-63. For LOOP_OP_WAKE the others are 0. */
#define LOOP_TOKEN_OP_SHIFT 24
#define LOOP_TOKEN_GENERATION_SHIFT 32
uint64_t loop_token(const struct loop_socket *socket, unsigned op);
unsigned loop_token_op(uint64_t token);
/* NULL if the slot was given back since. */
struct loop_socket *loop_token_socket(const struct loop *loop, uint64_t token);

/* Reports. Each takes its operation out of in_flight and calls the handler, or none if the
 * socket is closing. The socket stays valid until dispatch() has returned. */
void loop_completed_connect(struct loop_socket *socket, int err);
void loop_completed_receive(struct loop_socket *socket, const uint8_t *data, size_t size,
                            int err);
/* result: bytes taken (a short send is continued) or a negated errno. */
void loop_completed_send(struct loop_socket *socket, ssize_t result);
void loop_completed_cancel(struct loop_socket *socket);
/* Nothing came of it: to be started again, from this queue. */
void loop_start_again(struct loop_socket *socket, unsigned op, struct loop_queue *queue);

#endif
