#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "archive/error.h"
#include "workers/loop.h"
#include "workers/loop_backend.h"

#define CLIENTS_MAX 320
#define PEER_BUFFER 65536
#define LIMIT_MS 4000
#define GIVE_UP_S 120          /* the whole program, should a wait never end */
#define PATTERN 251            /* bytes; prime, so that no buffer's size is a multiple */
#define PATTERN_REPEATED 40000 /* 10 MB: more than the kernel's buffers take */

enum peer_mode { IDLE, ECHO, FLOOD, SINK };

/* The server's end of a connection, driven by the test between turns. */
struct peer {
    int fd;
    enum peer_mode mode;
    size_t position; /* in the pattern, of FLOOD and SINK */
    size_t flood;    /* bytes that FLOOD sends */
    bool broken;     /* SINK got something else */
    size_t have;
    uint8_t buffer[PEER_BUFFER];
};

struct client {
    struct fixture *f;
    struct loop_socket *socket;
    unsigned seed; /* of its pattern */
    bool keep_receiving;
    bool closing;          /* these three: of do_something() */
    unsigned asked, begun; /* receives, sends */
    void (*when_connected)(struct client *c);
    void (*when_received)(struct client *c);
    void (*when_closed)(struct client *c);
    unsigned connected, received, sent, closed; /* calls */
    int connect_err, receive_err, send_err;
    bool ended;
    size_t bytes;
    bool broken;              /* received something else */
    unsigned last_turn;       /* of received() */
    unsigned calls_this_turn; /* of received() */
    unsigned most_calls_in_a_turn;
};

struct fixture {
    enum loop_backend backend;
    struct loop *loop;
    bool running; /* inside loop_run() or loop_destroy() */
    unsigned turn;
    int listener;
    struct sockaddr_in address;
    enum peer_mode mode; /* of new peers */
    size_t flood;
    struct peer *peers[CLIENTS_MAX];
    size_t peer_count;
    struct client clients[CLIENTS_MAX];
    uint8_t *pattern;
    size_t pattern_size;
    atomic_uint posted;
    unsigned woken;
    unsigned seen; /* of posted, in the wake handler */
};

/* Peers */

static bool is_pattern(const struct fixture *f, const uint8_t *data, size_t size,
                       size_t position)
{
    return size == 0 || memcmp(data, f->pattern + position % PATTERN, size) == 0;
}

static void accept_peers(struct fixture *f)
{
    int fd;

    while (f->peer_count < CLIENTS_MAX &&
           (fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof(*p));

        p->fd = fd;
        p->mode = f->mode;
        p->flood = f->flood;
        f->peers[f->peer_count++] = p;
    }
}

static void pump_echo(struct peer *p)
{
    ssize_t n = recv(p->fd, p->buffer + p->have, sizeof(p->buffer) - p->have, 0);

    if (n > 0)
        p->have += (size_t)n;
    n = send(p->fd, p->buffer, p->have, MSG_NOSIGNAL);
    if (n > 0) {
        p->have -= (size_t)n;
        memmove(p->buffer, p->buffer + n, p->have);
    }
}

static void pump_flood(const struct fixture *f, struct peer *p)
{
    size_t left = p->flood - p->position;
    size_t size = left < PEER_BUFFER ? left : PEER_BUFFER;
    ssize_t n = send(p->fd, f->pattern + p->position % PATTERN, size, MSG_NOSIGNAL);

    if (n > 0)
        p->position += (size_t)n;
}

static void pump_sink(const struct fixture *f, struct peer *p)
{
    ssize_t n = recv(p->fd, p->buffer, sizeof(p->buffer), 0);

    if (n <= 0)
        return;
    p->broken |= !is_pattern(f, p->buffer, (size_t)n, p->position);
    p->position += (size_t)n;
}

static void pump_peers(struct fixture *f)
{
    accept_peers(f);
    for (size_t i = 0; i < f->peer_count; i++) {
        struct peer *p = f->peers[i];

        if (p->mode == ECHO)
            pump_echo(p);
        else if (p->mode == FLOOD)
            pump_flood(f, p);
        else if (p->mode == SINK)
            pump_sink(f, p);
    }
}

static void close_peer(struct peer *p)
{
    close(p->fd);
    p->fd = -1;
    p->mode = IDLE;
}

/* Clients */

static void on_connected(void *arg, int err)
{
    struct client *c = arg;

    assert_true(c->f->running);
    assert_int_equal(c->closed, 0);
    c->connected++;
    c->connect_err = err;
    if (err == 0 && c->keep_receiving)
        loop_receive(c->socket);
    if (c->when_connected != NULL)
        c->when_connected(c);
}

static void on_received(void *arg, const uint8_t *data, size_t size, int err)
{
    struct client *c = arg;

    assert_true(c->f->running);
    assert_int_equal(c->closed, 0);
    c->calls_this_turn = c->last_turn == c->f->turn ? c->calls_this_turn + 1 : 1;
    c->last_turn = c->f->turn;
    if (c->calls_this_turn > c->most_calls_in_a_turn)
        c->most_calls_in_a_turn = c->calls_this_turn;
    c->received++;
    c->receive_err = err;
    c->ended |= size == 0;
    c->broken |= !is_pattern(c->f, data, size, c->seed + c->bytes);
    c->bytes += size;
    if (size > 0 && c->keep_receiving)
        loop_receive(c->socket);
    if (c->when_received != NULL)
        c->when_received(c);
}

static void on_sent(void *arg, int err)
{
    struct client *c = arg;

    assert_true(c->f->running);
    assert_int_equal(c->closed, 0);
    c->sent++;
    c->send_err = err;
}

static void on_closed(void *arg)
{
    struct client *c = arg;

    assert_true(c->f->running);
    c->closed++;
    if (c->when_closed != NULL)
        c->when_closed(c);
}

static int try_connect(struct client *c)
{
    static const struct loop_handlers handlers = {on_connected, on_received, on_sent,
                                                  on_closed};

    return loop_connect(c->f->loop, (const struct sockaddr *)&c->f->address,
                        sizeof(c->f->address), &handlers, c, &c->socket);
}

static void connect_client(struct client *c)
{
    assert_int_equal(try_connect(c), 0);
}

static void close_it(struct client *c)
{
    loop_close(c->socket);
    assert_int_equal(c->closed, 0);
}

static void send_pattern(struct client *c, size_t size)
{
    assert_true(c->seed + size <= c->f->pattern_size);
    loop_send(c->socket, c->f->pattern + c->seed, size);
}

/* Turns */

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void run_once(struct fixture *f, int max_wait_ms)
{
    pump_peers(f);
    f->turn++;
    f->running = true;
    assert_int_equal(loop_run(f->loop, max_wait_ms), 0);
    f->running = false;
}

#define RUN_UNTIL(f, condition)                         \
    do {                                                \
        uint64_t give_up_ms = clock_ms() + LIMIT_MS;    \
        while (!(condition)) {                          \
            if (clock_ms() > give_up_ms)                \
                fail_msg("never came: %s", #condition); \
            run_once(f, 1);                             \
        }                                               \
    } while (0)

static void run_for(struct fixture *f, uint64_t time_ms)
{
    uint64_t until_ms = clock_ms() + time_ms;

    while (clock_ms() < until_ms)
        run_once(f, 1);
}

static void destroy_loop(struct fixture *f)
{
    f->running = true;
    loop_destroy(f->loop);
    f->running = false;
    f->loop = NULL;
}

/* Set-up */

static struct fixture *open_loop(void **state, struct loop_config config)
{
    struct fixture *f = *state;
    int err;

    config.backend = f->backend;
    err = loop_create(&config, &f->loop);
    if (f->backend == LOOP_URING && (err == -EPERM || err == -ENOSYS))
        skip();
    assert_int_equal(err, 0);
    return f;
}

static void listen_on(struct fixture *f, int backlog)
{
    socklen_t size = sizeof(f->address);

    if (f->listener >= 0)
        close(f->listener);
    f->address = (struct sockaddr_in){.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&f->address, size), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&f->address, &size), 0);
    assert_int_equal(listen(f->listener, backlog), 0);
}

static int setup(void **state, enum loop_backend backend)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->backend = backend;
    f->listener = -1;
    listen_on(f, CLIENTS_MAX);
    f->pattern_size = PATTERN_REPEATED * PATTERN;
    f->pattern = malloc(f->pattern_size);
    for (size_t i = 0; i < PATTERN; i++)
        f->pattern[i] = (uint8_t)i;
    for (size_t have = PATTERN; have < f->pattern_size; have += PATTERN)
        memcpy(f->pattern + have, f->pattern, PATTERN);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        f->clients[i].f = f;
    *state = f;
    return 0;
}

static int setup_uring(void **state)
{
    return setup(state, LOOP_URING);
}

static int setup_epoll(void **state)
{
    return setup(state, LOOP_EPOLL);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    destroy_loop(f);
    for (size_t i = 0; i < f->peer_count; i++) {
        if (f->peers[i]->fd >= 0)
            close(f->peers[i]->fd);
        free(f->peers[i]);
    }
    close(f->listener);
    free(f->pattern);
    free(f);
    return 0;
}

/* One client connected, its peer known. */
static struct client *connect_one(struct fixture *f)
{
    struct client *c = &f->clients[0];

    connect_client(c);
    RUN_UNTIL(f, c->connected == 1 && f->peer_count == 1);
    assert_int_equal(c->connect_err, 0);
    return c;
}

/* Data */

static void echo_comes_back_whole_in_many_sizes(void **state)
{
    static const size_t sizes[] = {1, 2, 100, 4095, 32768, 32769, 100000, 1 << 20};
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = &f->clients[0];
    size_t total = 0;

    f->mode = ECHO;
    c->keep_receiving = true;
    connect_one(f);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        c->seed = 0;
        loop_send(c->socket, f->pattern + total % PATTERN, sizes[i]);
        total += sizes[i];
        RUN_UNTIL(f, c->bytes == total && c->sent == i + 1);
        assert_int_equal(c->send_err, 0);
    }
    assert_false(c->broken);
    assert_int_equal(c->receive_err, 0);
}

static void three_hundred_sockets_at_once(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    unsigned done = 0;

    f->mode = ECHO;
    for (unsigned i = 0; i < 300; i++) {
        f->clients[i].seed = i % PATTERN;
        f->clients[i].keep_receiving = true;
        connect_client(&f->clients[i]);
    }
    assert_int_equal(loop_sockets(f->loop), 300);
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].connected == 1);
        assert_int_equal(f->clients[i].connect_err, 0);
        send_pattern(&f->clients[i], 2000 + i);
    }
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].bytes == 2000 + i);
        assert_false(f->clients[i].broken);
        loop_close(f->clients[i].socket);
    }
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].closed == 1);
        done += f->clients[i].closed;
    }
    assert_int_equal(done, 300);
    assert_int_equal(loop_sockets(f->loop), 0);
}

static void more_receives_than_buffers_all_make_progress(void **state)
{
    struct fixture *f = open_loop(
        state, (struct loop_config){.receive_buffers = 2, .receive_buffer_size = 512});
    size_t least = SIZE_MAX;

    f->mode = FLOOD;
    f->flood = 12000;
    for (unsigned i = 0; i < 40; i++) {
        f->clients[i].keep_receiving = true;
        connect_client(&f->clients[i]);
    }
    RUN_UNTIL(f, f->clients[0].bytes >= 8000);
    for (unsigned i = 0; i < 40; i++)
        least = f->clients[i].bytes < least ? f->clients[i].bytes : least;
    assert_true(least >= 2000);
    for (unsigned i = 0; i < 40; i++) {
        RUN_UNTIL(f, f->clients[i].bytes == 12000);
        assert_false(f->clients[i].broken);
    }
}

static void a_flood_on_one_socket_leaves_the_other_its_turn(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){.receive_buffer_size = 1024});
    struct client *flooded = &f->clients[0], *quiet = &f->clients[1];

    f->mode = FLOOD;
    f->flood = SIZE_MAX;
    flooded->keep_receiving = true;
    connect_one(f);
    f->mode = ECHO;
    quiet->keep_receiving = true;
    connect_client(quiet);
    RUN_UNTIL(f, quiet->connected == 1);
    for (unsigned i = 1; i <= 20; i++) {
        unsigned turn = f->turn;

        send_pattern(quiet, 1);
        quiet->bytes = 0;
        RUN_UNTIL(f, quiet->received == i);
        assert_in_range(f->turn - turn, 1, 50);
        RUN_UNTIL(f, quiet->sent == i);
    }
    assert_int_equal(flooded->most_calls_in_a_turn, 1);
    assert_true(flooded->received > 20);
}

static void a_send_of_several_megabytes_is_one_send(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);
    const size_t size = 9u << 20;

    send_pattern(c, size);
    run_for(f, 20);
    assert_int_equal(c->sent, 0);
    f->peers[0]->mode = SINK;
    RUN_UNTIL(f, f->peers[0]->position == size);
    RUN_UNTIL(f, c->sent == 1);
    assert_int_equal(c->send_err, 0);
    assert_false(f->peers[0]->broken);
}

static void without_loop_receive_the_peer_must_wait(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);
    struct peer *p = f->peers[0];
    size_t position;

    p->mode = FLOOD;
    p->flood = SIZE_MAX;
    do {
        position = p->position;
        run_for(f, 20);
    } while (p->position > position);
    assert_int_equal(c->received, 0);
    loop_receive(c->socket);
    assert_int_equal(c->received, 0);
    RUN_UNTIL(f, c->received == 1);
    run_for(f, 20);
    assert_int_equal(c->received, 1);
    assert_false(c->broken);
}

static void the_end_of_the_stream_comes_after_its_data(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);

    assert_int_equal(send(f->peers[0]->fd, f->pattern, 1000, MSG_NOSIGNAL), 1000);
    close_peer(f->peers[0]);
    run_for(f, 5);
    loop_receive(c->socket);
    RUN_UNTIL(f, c->received == 1);
    assert_int_equal(c->bytes, 1000);
    assert_false(c->ended);
    loop_receive(c->socket);
    RUN_UNTIL(f, c->received == 2);
    assert_true(c->ended);
    assert_int_equal(c->receive_err, 0);
}

static void a_reset_is_told_to_receive_and_send(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);
    struct linger at_once = {.l_onoff = 1};

    loop_receive(c->socket);
    run_for(f, 5);
    setsockopt(f->peers[0]->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close_peer(f->peers[0]);
    RUN_UNTIL(f, c->received == 1);
    assert_int_equal(c->receive_err, -ECONNRESET);
    send_pattern(c, 10);
    RUN_UNTIL(f, c->sent == 1);
    assert_int_equal(c->send_err, -EPIPE);
}

/* Connecting and closing */

static void a_refused_connection_is_told_and_another_attempt_works(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = &f->clients[0];

    close(f->listener);
    f->listener = -1;
    connect_client(c);
    assert_int_equal(c->connected, 0);
    RUN_UNTIL(f, c->connected == 1);
    assert_int_equal(c->connect_err, -ECONNREFUSED);
    close_it(c);
    RUN_UNTIL(f, c->closed == 1);
    listen_on(f, 8);
    connect_client(&f->clients[1]);
    RUN_UNTIL(f, f->clients[1].connected == 1);
    assert_int_equal(f->clients[1].connect_err, 0);
}

static void close_before_the_first_turn_calls_closed_only(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});

    connect_client(&f->clients[0]);
    close_it(&f->clients[0]);
    loop_close(f->clients[0].socket);
    run_once(f, LIMIT_MS);
    assert_int_equal(f->clients[0].closed, 1);
    run_for(f, 5);
    assert_int_equal(f->clients[0].closed, 1);
    assert_int_equal(f->clients[0].connected, 0);
    assert_int_equal(loop_sockets(f->loop), 0);
}

static void close_while_connecting_calls_closed_only(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = &f->clients[0];
    int fill[3];

    /* A queue of one that nobody accepts from: later connections stay on their way. */
    listen_on(f, 0);
    for (size_t i = 0; i < 3; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill[i], (struct sockaddr *)&f->address, sizeof(f->address));
    }
    connect_client(c);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(loop_run(f->loop, 1), 0);
    assert_int_equal(c->connected, 0);
    close_it(c);
    f->running = true;
    for (unsigned i = 0; i < 1000 && c->closed == 0; i++)
        assert_int_equal(loop_run(f->loop, 1), 0);
    f->running = false;
    assert_int_equal(c->closed, 1);
    assert_int_equal(c->connected, 0);
    for (size_t i = 0; i < 3; i++)
        close(fill[i]);
}

static void close_while_receiving_and_sending_calls_closed_only(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);
    char byte;

    loop_receive(c->socket);
    send_pattern(c, f->pattern_size);
    run_for(f, 10);
    assert_int_equal(c->received + c->sent, 0);
    close_it(c);
    RUN_UNTIL(f, c->closed == 1);
    run_for(f, 5);
    assert_int_equal(c->received + c->sent, 0);
    assert_int_equal(c->closed, 1);
    f->peers[0]->mode = SINK;
    RUN_UNTIL(f, recv(f->peers[0]->fd, &byte, 1, MSG_PEEK) == 0);
    assert_true(f->peers[0]->position < f->pattern_size);
    assert_false(f->peers[0]->broken);
}

static void close_inside_a_handler_is_the_last_of_it(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *in_connected = &f->clients[0], *in_received = &f->clients[1];

    f->mode = FLOOD;
    f->flood = 100000;
    in_connected->keep_receiving = true;
    in_connected->when_connected = close_it;
    in_received->keep_receiving = true;
    in_received->when_received = close_it;
    connect_client(in_connected);
    connect_client(in_received);
    RUN_UNTIL(f, in_connected->closed == 1 && in_received->closed == 1);
    assert_int_equal(in_connected->received, 0);
    assert_int_equal(in_received->received, 1);
}

static void bytes_sent_before_close_arrive(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);

    send_pattern(c, 6);
    RUN_UNTIL(f, c->sent == 1);
    loop_close(c->socket);
    f->peers[0]->mode = SINK;
    RUN_UNTIL(f, f->peers[0]->position == 6);
    assert_false(f->peers[0]->broken);
}

static void connect_next(struct client *c)
{
    connect_client(c + 1);
}

static void a_slot_used_again_gets_nothing_of_its_predecessor(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){.max_sockets = 1});
    uint64_t first_token, second_token;

    for (unsigned i = 0; i < 100; i++) {
        struct client *c = &f->clients[i];

        c->keep_receiving = true;
        c->seed = i;
        c->when_closed = connect_next;
        if (i == 0)
            connect_client(c);
        RUN_UNTIL(f, c->connected == 1 && f->peer_count == i + 1);
        assert_int_equal(try_connect(&f->clients[CLIENTS_MAX - 1]), -EMFILE);
        first_token = loop_token(c->socket, LOOP_OP_RECEIVE);
        assert_ptr_equal(loop_token_socket(f->loop, first_token), c->socket);
        /* On its way while the receive is cancelled and the slot changes hands. */
        assert_int_equal(send(f->peers[i]->fd, f->pattern + i, 50, MSG_NOSIGNAL), 50);
        close_it(c);
        RUN_UNTIL(f, c->closed == 1);
        assert_int_equal(c->received, 0);
        assert_ptr_equal(f->clients[i + 1].socket, c->socket);
        second_token = loop_token(f->clients[i + 1].socket, LOOP_OP_RECEIVE);
        assert_true(first_token != second_token);
        assert_null(loop_token_socket(f->loop, first_token));
    }
    assert_int_equal(f->clients[100].received, 0);
    loop_close(f->clients[100].socket);
    RUN_UNTIL(f, f->clients[100].closed == 1);
}

static void destroy_closes_what_is_open(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});

    for (unsigned i = 0; i < 20; i++) {
        f->clients[i].keep_receiving = true;
        connect_client(&f->clients[i]);
        if (i < 15)
            RUN_UNTIL(f, f->clients[i].connected == 1);
    }
    send_pattern(&f->clients[0], f->pattern_size);
    run_once(f, 0);
    loop_close(f->clients[1].socket);
    destroy_loop(f);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(f->clients[i].closed, 1);
        assert_int_equal(f->clients[i].received, 0);
    }
}

/* One random thing that the contract allows. */
static void do_something(struct client *c, unsigned choice)
{
    if (c->closed == 1 || (c->connected == 0 && c->socket == NULL)) {
        *c = (struct client){.f = c->f};
        connect_client(c);
    } else if (choice % 8 == 0) {
        loop_close(c->socket);
        c->closing = true;
    } else if (c->connected == 1 && c->connect_err == 0 && !c->closing) {
        if (choice % 2 == 0 && c->asked == c->received) {
            loop_receive(c->socket);
            c->asked++;
        } else if (choice % 2 == 1 && c->begun == c->sent) {
            send_pattern(c, 1 + choice % 300000);
            c->begun++;
        }
    }
}

static void any_order_of_calls_keeps_the_contract(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){.max_sockets = 30,
                                                              .receive_buffers = 3,
                                                              .receive_buffer_size = 700});
    uint32_t seed = 42;

    f->mode = FLOOD;
    f->flood = 5000;
    for (unsigned round = 0; round < 1200; round++) {
        seed = seed * 1664525 + 1013904223;
        do_something(&f->clients[(seed >> 16) % 30], seed >> 8);
        if (round % 4 == 0)
            run_once(f, 0);
    }
    for (unsigned i = 0; i < 30; i++) {
        struct client *c = &f->clients[i];

        assert_true(c->connected <= 1 && c->received <= c->asked && c->sent <= c->begun);
        assert_false(c->broken);
        if (c->socket != NULL && c->closed == 0)
            loop_close(c->socket);
    }
    RUN_UNTIL(f, loop_sockets(f->loop) == 0);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(f->clients[i].closed, f->clients[i].socket != NULL ? 1 : 0);
}

static void sockets_send_small_pieces_at_once_and_notice_dead_peers(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct client *c = connect_one(f);
    int nodelay = 0, keepalive = 0;
    socklen_t size = sizeof(int);

    assert_int_equal(getsockopt(c->socket->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size),
                     0);
    assert_int_equal(getsockopt(c->socket->fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &size),
                     0);
    assert_true(nodelay != 0 && keepalive != 0);
}

/* Time and wake-up */

static void stamp(void *arg)
{
    struct fixture *f = arg;

    assert_true(f->running);
    f->seen = f->turn;
    f->woken++;
}

static void a_timer_ends_the_wait(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    struct timer timer = {.fire = stamp, .arg = f};
    uint64_t deadline_ms = loop_now_ms(f->loop) + 30;

    timers_set(loop_timers(f->loop), &timer, deadline_ms);
    while (f->woken == 0) {
        run_once(f, -1);
        assert_in_range(f->turn, 1, 5);
    }
    assert_in_range(loop_now_ms(f->loop), deadline_ms, deadline_ms + 1000);
}

static void the_wait_ends_at_its_limit(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    uint64_t start_ms = clock_ms();

    run_once(f, 0);
    assert_in_range(clock_ms() - start_ms, 0, 500);
    /* A turn may end early, as a ring that was just given up can interrupt it, but not
     * often. */
    for (unsigned turns = 0; clock_ms() - start_ms < 40; turns++) {
        assert_in_range(turns, 0, 5);
        run_once(f, 40);
    }
    assert_in_range(clock_ms() - start_ms, 40, 1000);
}

static void look_at_posted(void *arg)
{
    struct fixture *f = arg;

    assert_true(f->running);
    f->woken++;
    f->seen = atomic_load(&f->posted);
}

static void *post_and_wake(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < 1000; i++) {
        atomic_fetch_add(&f->posted, 1);
        loop_wake(f->loop);
    }
    return NULL;
}

static void no_wake_up_from_other_threads_is_lost(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});
    pthread_t threads[2];

    loop_on_wake(f->loop, look_at_posted, f);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_and_wake, f), 0);
    RUN_UNTIL(f, f->seen == 2000);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(f->woken, 1, 2000);
    run_once(f, 0); /* the last wake-up may have been answered before it was given */
    f->woken = 0;
    run_once(f, 20);
    assert_int_equal(f->woken, 0);
    loop_wake(f->loop);
    assert_int_equal(f->woken, 0);
    run_once(f, LIMIT_MS);
    assert_int_equal(f->woken, 1);
}

static void wake_once_more(void *arg)
{
    struct fixture *f = arg;

    if (f->woken++ == 0)
        loop_wake(f->loop);
}

static void a_wake_up_during_the_wake_handler_calls_it_again(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});

    loop_on_wake(f->loop, wake_once_more, f);
    loop_wake(f->loop);
    RUN_UNTIL(f, f->woken == 2);
    run_for(f, 10);
    assert_int_equal(f->woken, 2);
}

/* The back end */

static void a_forced_back_end_is_the_one_in_use(void **state)
{
    struct fixture *f = open_loop(state, (struct loop_config){0});

    assert_string_equal(loop_describe(f->loop),
                        f->backend == LOOP_URING ? "io_uring" : "epoll");
}

static void limits_are_refused_beyond_their_maximum(void **state)
{
    struct fixture *f = *state;
    const struct loop_config wrong[] = {
        {.backend = f->backend, .max_sockets = LOOP_SOCKETS_MAX + 1},
        {.backend = f->backend, .receive_buffers = LOOP_RECEIVE_BUFFERS_MAX + 1},
        {.backend = f->backend, .receive_buffer_size = LOOP_RECEIVE_BUFFER_SIZE_MAX + 1},
    };

    for (size_t i = 0; i < 3; i++)
        assert_int_equal(loop_create(&wrong[i], &f->loop), -EINVAL);
}

static void back_ends_have_names(void **state)
{
    enum loop_backend backend;

    (void)state;
    assert_int_equal(loop_backend_from_name("uring", &backend), 0);
    assert_int_equal(backend, LOOP_URING);
    assert_int_equal(loop_backend_from_name("epoll", &backend), 0);
    assert_int_equal(backend, LOOP_EPOLL);
    assert_int_equal(loop_backend_from_name(NULL, &backend), 0);
    assert_int_equal(backend, LOOP_AUTO);
    assert_int_equal(loop_backend_from_name("", &backend), 0);
    assert_int_equal(backend, LOOP_AUTO);
    assert_int_equal(loop_backend_from_name("kqueue", &backend), -EINVAL);
}

/* As the profile of a container does. */
static void forbid(unsigned system_call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]),
                                 .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(10);
}

static int status_where_forbidden(unsigned system_call)
{
    const struct loop_config automatic = {0}, forced = {.backend = LOOP_URING};
    struct loop *loop;

    forbid(system_call);
    if (loop_create(&forced, &loop) != -EPERM)
        return 11;
    if (loop_create(&automatic, &loop) != 0)
        return 12;
    if (strcmp(loop_describe(loop), "epoll (io_uring: Operation not permitted)") != 0)
        return 13;
    if (loop_run(loop, 0) != 0)
        return 14;
    loop_destroy(loop);
    return 0;
}

static void where_io_uring_is_forbidden_epoll_serves_and_says_why(void **state)
{
    static const unsigned system_calls[] = {SYS_io_uring_setup, SYS_io_uring_register,
                                            SYS_io_uring_enter};

    (void)state;
    for (size_t i = 0; i < sizeof(system_calls) / sizeof(system_calls[0]); i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0)
            _exit(status_where_forbidden(system_calls[i]));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

#define BOTH(fn)                                          \
    {#fn " (io_uring)", fn, setup_uring, teardown, NULL}, \
    {                                                     \
#fn " (epoll)", fn, setup_epoll, teardown, NULL   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(echo_comes_back_whole_in_many_sizes),
        BOTH(three_hundred_sockets_at_once),
        BOTH(more_receives_than_buffers_all_make_progress),
        BOTH(a_flood_on_one_socket_leaves_the_other_its_turn),
        BOTH(a_send_of_several_megabytes_is_one_send),
        BOTH(without_loop_receive_the_peer_must_wait),
        BOTH(the_end_of_the_stream_comes_after_its_data),
        BOTH(a_reset_is_told_to_receive_and_send),
        BOTH(a_refused_connection_is_told_and_another_attempt_works),
        BOTH(close_before_the_first_turn_calls_closed_only),
        BOTH(close_while_connecting_calls_closed_only),
        BOTH(close_while_receiving_and_sending_calls_closed_only),
        BOTH(close_inside_a_handler_is_the_last_of_it),
        BOTH(bytes_sent_before_close_arrive),
        BOTH(a_slot_used_again_gets_nothing_of_its_predecessor),
        BOTH(destroy_closes_what_is_open),
        BOTH(any_order_of_calls_keeps_the_contract),
        BOTH(sockets_send_small_pieces_at_once_and_notice_dead_peers),
        BOTH(a_timer_ends_the_wait),
        BOTH(the_wait_ends_at_its_limit),
        BOTH(no_wake_up_from_other_threads_is_lost),
        BOTH(a_wake_up_during_the_wake_handler_calls_it_again),
        BOTH(a_forced_back_end_is_the_one_in_use),
        BOTH(limits_are_refused_beyond_their_maximum),
        cmocka_unit_test(back_ends_have_names),
        cmocka_unit_test(where_io_uring_is_forbidden_epoll_serves_and_says_why),
    };

    alarm(GIVE_UP_S);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
