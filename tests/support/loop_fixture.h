/* Both ends of many connections in one thread: clients on a loop, with handlers that count
 * and check their calls, and peers on plain sockets that the test drives between turns.
 * cmocka's state of a test. */
#ifndef MAILCASK_SUPPORT_LOOP_FIXTURE_H
#define MAILCASK_SUPPORT_LOOP_FIXTURE_H

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/loop.h"

#define CLIENTS_MAX 320
#define PEER_BUFFER 65536
#define LIMIT_MS 30000
#define GIVE_UP_S 120 /* for a whole program, should a wait never end */
#define PATTERN 251   /* bytes; prime, so that no buffer's size is a multiple */

enum loop_peer_mode { PEER_IDLE, PEER_ECHO, PEER_FLOOD, PEER_SINK };

/* The server's end of a connection, driven by the test between turns. */
struct loop_peer {
    int fd;
    enum loop_peer_mode mode;
    size_t position; /* in the pattern, of PEER_FLOOD and PEER_SINK */
    size_t flood;    /* bytes that PEER_FLOOD sends */
    bool broken;     /* PEER_SINK got something else */
    size_t have;
    uint8_t buffer[PEER_BUFFER];
};

struct loop_fixture;

struct loop_client {
    struct loop_fixture *f;
    struct loop_socket *socket;
    unsigned seed; /* of its pattern */
    bool keep_receiving;
    bool closing;          /* these three: of do_something() */
    unsigned asked, begun; /* receives, sends */
    void (*when_connected)(struct loop_client *c);
    void (*when_received)(struct loop_client *c);
    void (*when_closed)(struct loop_client *c);
    unsigned connected, received, sent, closed; /* calls */
    int connect_err, receive_err, send_err;
    bool ended;
    size_t bytes;
    bool broken;              /* received something else */
    unsigned last_turn;       /* of received() */
    unsigned calls_this_turn; /* of received() */
    unsigned most_calls_in_a_turn;
};

struct loop_fixture {
    enum loop_backend backend;
    struct loop *loop;
    bool running; /* inside loop_run() or loop_destroy() */
    unsigned turn;
    int listener;
    struct sockaddr_in address;
    enum loop_peer_mode mode; /* of new peers */
    size_t flood;
    struct loop_peer *peers[CLIENTS_MAX];
    size_t peer_count;
    struct loop_client clients[CLIENTS_MAX];
    uint8_t *pattern;
    size_t pattern_size;
    atomic_uint posted;
    unsigned woken;
    unsigned seen; /* of posted, in the wake handler */
};

/* Setup of a test for each back end, and its teardown: *state is a struct loop_fixture,
 * still without a loop. */
int loop_fixture_uring(void **state);
int loop_fixture_epoll(void **state);
int loop_fixture_teardown(void **state);

/* Make the loop, or skip the test where io_uring is not allowed. */
struct loop_fixture *loop_fixture_open(void **state, struct loop_config config);
/* Only once: teardown does it otherwise. */
void loop_fixture_destroy_loop(struct loop_fixture *f);

/* Listen on a fresh port of the loopback. */
void loop_fixture_listen(struct loop_fixture *f, int backlog);

/* The first client connected, its peer known. */
struct loop_client *loop_fixture_connect_first(struct loop_fixture *f);

/* Move the peers, then one turn of the loop. */
void loop_fixture_run(struct loop_fixture *f, int max_wait_ms);
void loop_fixture_run_for(struct loop_fixture *f, uint64_t time_ms);

/* Of a clock that never goes back. */
uint64_t loop_fixture_now_ms(void);

#define RUN_UNTIL(f, condition)                                 \
    do {                                                        \
        uint64_t give_up_ms = loop_fixture_now_ms() + LIMIT_MS; \
        while (!(condition)) {                                  \
            if (loop_fixture_now_ms() > give_up_ms)             \
                fail_msg("never came: %s", #condition);         \
            loop_fixture_run(f, 1);                             \
        }                                                       \
    } while (0)

int loop_client_try_connect(struct loop_client *c);
void loop_client_connect(struct loop_client *c);
/* No handler may be called from within. */
void loop_client_close(struct loop_client *c);
/* Size bytes of the pattern, from the client's seed on. */
void loop_client_send(struct loop_client *c, size_t size);

void loop_peer_close(struct loop_peer *p);

/* A test of a group for each back end. */
#define BOTH(fn)                                                              \
    {#fn " (io_uring)", fn, loop_fixture_uring, loop_fixture_teardown, NULL}, \
    {                                                                         \
#fn " (epoll)", fn, loop_fixture_epoll, loop_fixture_teardown, NULL   \
    }

#endif
