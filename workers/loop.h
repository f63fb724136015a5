/* The event loop of a worker thread: thousands of TCP client sockets, timers, and a wake-up
 * from other threads. One thread creates, runs and destroys a loop and calls everything
 * here but loop_wake(). Two back ends, io_uring and epoll, behave alike.
 *
 * Handlers run inside loop_run(), never inside another function of this header, so nothing
 * recurses. A handler may call any function here but loop_run() and loop_destroy(). */
#ifndef MAILCASK_WORKERS_LOOP_H
#define MAILCASK_WORKERS_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "workers/timers.h"

#define LOOP_SOCKETS_DEFAULT 4096
#define LOOP_SOCKETS_MAX (1u << 20)
#define LOOP_RECEIVE_BUFFERS_DEFAULT 256
#define LOOP_RECEIVE_BUFFERS_MAX 32768
#define LOOP_RECEIVE_BUFFER_SIZE_DEFAULT 32768
#define LOOP_RECEIVE_BUFFER_SIZE_MAX (1u << 24)

struct loop;
struct loop_socket;

enum loop_backend {
    LOOP_AUTO, /* io_uring where it works, else epoll */
    LOOP_URING,
    LOOP_EPOLL,
};

/* Zero in a number means its default; above its maximum is -EINVAL. */
struct loop_config {
    enum loop_backend backend;
    unsigned max_sockets;
    unsigned receive_buffers;   /* of the whole loop; epoll uses one */
    size_t receive_buffer_size; /* bytes: the most that one received() brings */
};

/* err is 0 or of the error space. arg is the one given to loop_connect(). */
struct loop_handlers {
    /* Once, the first: the socket is connected, or failed and can only be closed. */
    void (*connected)(void *arg, int err);
    /* Once for each loop_receive(). data is borrowed during the call. size is 0 at the end
     * of the stream and with an error. */
    void (*received)(void *arg, const uint8_t *data, size_t size, int err);
    /* Once for each loop_send(): the kernel has taken all bytes, or err. */
    void (*sent)(void *arg, int err);
    /* Once, the last, after loop_close(): the socket is gone, nothing borrowed is in use.
     */
    void (*closed)(void *arg);
};

/* The back end that a name means: "uring" or "epoll"; NULL and "" mean LOOP_AUTO. -EINVAL
 * for any other name. */
int loop_backend_from_name(const char *name, enum loop_backend *out_backend);

/* To be called in the thread that will run the loop. Returns 0, or why the back end (with
 * LOOP_AUTO: epoll too) cannot be had. */
int loop_create(const struct loop_config *config, struct loop **out_loop);

/* Closes the sockets still open and waits for them: closed() is called for each, no other
 * handler; loop_connect() fails with ERR_STOPPED meanwhile. Timers still set are forgotten.
 * No thread may call loop_wake() any more. NULL is allowed. */
void loop_destroy(struct loop *loop);

/* The back end in words, in one line: "io_uring", "epoll", or "epoll (io_uring: Operation
 * not permitted)". Valid as long as the loop. */
const char *loop_describe(const struct loop *loop);

/* One turn: start what was asked for, wait for completions, a wake-up or the next timer, at
 * most max_wait_ms (-1: no limit, 0: do not wait), then call the handlers of all that has
 * happened so far, once, and return. What handlers ask for happens in the next turn, so no
 * socket starves another. A signal ends the wait. Returns 0, or an error after which the
 * loop can only be destroyed. */
int loop_run(struct loop *loop, int max_wait_ms);

/* Milliseconds of CLOCK_MONOTONIC, read once in each turn, before its handlers are called.
 */
uint64_t loop_now_ms(const struct loop *loop);

/* The loop's wheel, on the clock of loop_now_ms(); loop_run() advances it. */
struct timers *loop_timers(struct loop *loop);

/* From any thread or signal handler: end the wait of loop_run(), or of the next one, and
 * call the wake handler. Calls in quick succession may be answered by one call of the
 * handler, which begins after the last of them. */
void loop_wake(struct loop *loop);

/* fn may be NULL. */
void loop_on_wake(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Open a TCP socket (TCP_NODELAY, SO_KEEPALIVE) and start to connect it; the outcome comes
 * by connected(). No time limit: set a timer. To try again, close it and connect another.
 * address and handlers are copied. Returns 0; -EMFILE if max_sockets are open; ERR_STOPPED;
 * another error of the system. Then no handler is called. */
int loop_connect(struct loop *loop, const struct sockaddr *address, socklen_t address_size,
                 const struct loop_handlers *handlers, void *arg,
                 struct loop_socket **out_socket);

/* Ask for one received(). One at a time, on a connected socket. Not asking is
 * back-pressure: the kernel's buffer fills and the peer must wait. */
void loop_receive(struct loop_socket *socket);

/* Send all of data, at least one byte, and call sent(). data is borrowed until sent() or
 * closed(). One at a time, on a connected socket. */
void loop_send(struct loop_socket *socket, const uint8_t *data, size_t size);

/* Close, at any time; again does nothing. No handler but closed() is called from here on,
 * and that not before the next turn or the end of this one; afterwards `socket` means
 * nothing. Bytes whose sent() was called still go out; of a send in flight any part may. */
void loop_close(struct loop_socket *socket);

/* Sockets between loop_connect() and closed(). */
unsigned loop_sockets(const struct loop *loop);

#endif
