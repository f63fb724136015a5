#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATTERN_REPEATED 40000 /* 10 MB: more than the kernel's buffers take */

/* Peers */

static bool is_pattern(const struct loop_fixture *f, const uint8_t *data, size_t size,
                       size_t position)
{
    return size == 0 || memcmp(data, f->pattern + position % PATTERN, size) == 0;
}

static void accept_peers(struct loop_fixture *f)
{
    int fd;

    while (f->peer_count < CLIENTS_MAX &&
           (fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct loop_peer *p = calloc(1, sizeof(*p));

        p->fd = fd;
        p->mode = f->mode;
        p->flood = f->flood;
        f->peers[f->peer_count++] = p;
    }
}

static void pump_echo(struct loop_peer *p)
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

static void pump_flood(const struct loop_fixture *f, struct loop_peer *p)
{
    size_t left = p->flood - p->position;
    size_t size = left < PEER_BUFFER ? left : PEER_BUFFER;
    ssize_t n = send(p->fd, f->pattern + p->position % PATTERN, size, MSG_NOSIGNAL);

    if (n > 0)
        p->position += (size_t)n;
}

static void pump_sink(const struct loop_fixture *f, struct loop_peer *p)
{
    ssize_t n = recv(p->fd, p->buffer, sizeof(p->buffer), 0);

    if (n <= 0)
        return;
    p->broken |= !is_pattern(f, p->buffer, (size_t)n, p->position);
    p->position += (size_t)n;
}

static void pump_peers(struct loop_fixture *f)
{
    accept_peers(f);
    for (size_t i = 0; i < f->peer_count; i++) {
        struct loop_peer *p = f->peers[i];

        if (p->mode == PEER_ECHO)
            pump_echo(p);
        else if (p->mode == PEER_FLOOD)
            pump_flood(f, p);
        else if (p->mode == PEER_SINK)
            pump_sink(f, p);
    }
}

void loop_peer_close(struct loop_peer *p)
{
    close(p->fd);
    p->fd = -1;
    p->mode = PEER_IDLE;
}

/* Clients */

static void on_connected(void *arg, int err)
{
    struct loop_client *c = arg;

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
    struct loop_client *c = arg;

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
    struct loop_client *c = arg;

    assert_true(c->f->running);
    assert_int_equal(c->closed, 0);
    c->sent++;
    c->send_err = err;
}

static void on_closed(void *arg)
{
    struct loop_client *c = arg;

    assert_true(c->f->running);
    c->closed++;
    if (c->when_closed != NULL)
        c->when_closed(c);
}

int loop_client_try_connect(struct loop_client *c)
{
    static const struct loop_handlers handlers = {on_connected, on_received, on_sent,
                                                  on_closed};

    return loop_connect(c->f->loop, (const struct sockaddr *)&c->f->address,
                        sizeof(c->f->address), &handlers, c, &c->socket);
}

void loop_client_connect(struct loop_client *c)
{
    assert_int_equal(loop_client_try_connect(c), 0);
}

void loop_client_close(struct loop_client *c)
{
    loop_close(c->socket);
    assert_int_equal(c->closed, 0);
}

void loop_client_send(struct loop_client *c, size_t size)
{
    assert_true(c->seed + size <= c->f->pattern_size);
    loop_send(c->socket, c->f->pattern + c->seed, size);
}

/* Turns */

uint64_t loop_fixture_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void loop_fixture_run(struct loop_fixture *f, int max_wait_ms)
{
    pump_peers(f);
    f->turn++;
    f->running = true;
    assert_int_equal(loop_run(f->loop, max_wait_ms), 0);
    f->running = false;
}

void loop_fixture_run_for(struct loop_fixture *f, uint64_t time_ms)
{
    uint64_t until_ms = loop_fixture_now_ms() + time_ms;

    while (loop_fixture_now_ms() < until_ms)
        loop_fixture_run(f, 1);
}

void loop_fixture_destroy_loop(struct loop_fixture *f)
{
    f->running = true;
    loop_destroy(f->loop);
    f->running = false;
    f->loop = NULL;
}

/* Set-up */

struct loop_fixture *loop_fixture_open(void **state, struct loop_config config)
{
    struct loop_fixture *f = *state;
    int err;

    config.backend = f->backend;
    err = loop_create(&config, &f->loop);
    if (f->backend == LOOP_URING && (err == -EPERM || err == -ENOSYS))
        skip();
    assert_int_equal(err, 0);
    return f;
}

void loop_fixture_listen(struct loop_fixture *f, int backlog)
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
    struct loop_fixture *f = calloc(1, sizeof(*f));

    f->backend = backend;
    f->listener = -1;
    loop_fixture_listen(f, CLIENTS_MAX);
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

int loop_fixture_uring(void **state)
{
    return setup(state, LOOP_URING);
}

int loop_fixture_epoll(void **state)
{
    return setup(state, LOOP_EPOLL);
}

int loop_fixture_teardown(void **state)
{
    struct loop_fixture *f = *state;

    loop_fixture_destroy_loop(f);
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

struct loop_client *loop_fixture_connect_first(struct loop_fixture *f)
{
    struct loop_client *c = &f->clients[0];

    loop_client_connect(c);
    RUN_UNTIL(f, c->connected == 1 && f->peer_count == 1);
    assert_int_equal(c->connect_err, 0);
    return c;
}
