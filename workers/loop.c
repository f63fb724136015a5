#include "workers/loop.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "archive/error.h"
#include "workers/loop_backend.h"

#define TOKEN_SLOT_MASK ((1u << LOOP_TOKEN_OP_SHIFT) - 1)
#define TOKEN_OP_MASK ((1u << (LOOP_TOKEN_GENERATION_SHIFT - LOOP_TOKEN_OP_SHIFT)) - 1)

_Static_assert(LOOP_SOCKETS_MAX - 1 <= TOKEN_SLOT_MASK, "every slot fits into a token");
_Static_assert(LOOP_OP_WAKE <= TOKEN_OP_MASK, "every operation fits into a token");

/* Queues */

static void queue_init(struct loop_queue *queue)
{
    TAILQ_INIT(&queue->list);
    queue->length = 0;
}

void loop_dequeue(struct loop_socket *socket)
{
    if (socket->queue == NULL)
        return;
    TAILQ_REMOVE(&socket->queue->list, socket, link);
    socket->queue->length--;
    socket->queue = NULL;
}

void loop_enqueue(struct loop_queue *queue, struct loop_socket *socket)
{
    loop_dequeue(socket);
    TAILQ_INSERT_TAIL(&queue->list, socket, link);
    queue->length++;
    socket->queue = queue;
}

/* Tokens */

uint64_t loop_token(const struct loop_socket *socket, unsigned op)
{
    return (uint64_t)socket->generation << LOOP_TOKEN_GENERATION_SHIFT |
           (uint64_t)op << LOOP_TOKEN_OP_SHIFT | socket->slot;
}

unsigned loop_token_op(uint64_t token)
{
    return (unsigned)(token >> LOOP_TOKEN_OP_SHIFT) & TOKEN_OP_MASK;
}

struct loop_socket *loop_token_socket(const struct loop *loop, uint64_t token)
{
    uint32_t slot = (uint32_t)token & TOKEN_SLOT_MASK;
    uint32_t generation = (uint32_t)(token >> LOOP_TOKEN_GENERATION_SHIFT);

    if (slot >= loop->config.max_sockets || loop->sockets[slot].generation != generation)
        return NULL;
    return &loop->sockets[slot];
}

/* Creation */

int loop_backend_from_name(const char *name, enum loop_backend *out_backend)
{
    if (name == NULL || name[0] == '\0')
        *out_backend = LOOP_AUTO;
    else if (strcmp(name, "uring") == 0)
        *out_backend = LOOP_URING;
    else if (strcmp(name, "epoll") == 0)
        *out_backend = LOOP_EPOLL;
    else
        return -EINVAL;
    return 0;
}

static int configure(struct loop *loop, const struct loop_config *config)
{
    struct loop_config *own = &loop->config;

    *own = *config;
    if (own->max_sockets == 0)
        own->max_sockets = LOOP_SOCKETS_DEFAULT;
    if (own->receive_buffers == 0)
        own->receive_buffers = LOOP_RECEIVE_BUFFERS_DEFAULT;
    if (own->receive_buffer_size == 0)
        own->receive_buffer_size = LOOP_RECEIVE_BUFFER_SIZE_DEFAULT;
    return own->max_sockets > LOOP_SOCKETS_MAX ||
                   own->receive_buffers > LOOP_RECEIVE_BUFFERS_MAX ||
                   own->receive_buffer_size > LOOP_RECEIVE_BUFFER_SIZE_MAX
               ? -EINVAL
               : 0;
}

static int make_slots(struct loop *loop)
{
    loop->sockets = calloc(loop->config.max_sockets, sizeof(*loop->sockets));
    if (loop->sockets == NULL)
        return -ENOMEM;
    queue_init(&loop->free);
    queue_init(&loop->pending);
    queue_init(&loop->closed);
    for (unsigned i = 0; i < loop->config.max_sockets; i++) {
        loop->sockets[i].loop = loop;
        loop->sockets[i].slot = i;
        loop_enqueue(&loop->free, &loop->sockets[i]);
    }
    return 0;
}

static int use_backend(struct loop *loop, const struct loop_backend_ops *ops)
{
    loop->ops = ops;
    return ops->create(loop);
}

static int choose_backend(struct loop *loop)
{
    int uring_err = 0;
    int err;

    if (loop->config.backend != LOOP_EPOLL) {
        uring_err = use_backend(loop, &loop_uring);
        if (uring_err == 0 || loop->config.backend == LOOP_URING) {
            snprintf(loop->description, sizeof(loop->description), "%s", loop_uring.name);
            return uring_err;
        }
    }
    err = use_backend(loop, &loop_epoll);
    if (uring_err == 0)
        snprintf(loop->description, sizeof(loop->description), "%s", loop_epoll.name);
    else
        snprintf(loop->description, sizeof(loop->description), "%s (%s: %s)",
                 loop_epoll.name, loop_uring.name, error_text(uring_err));
    return err;
}

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int loop_create(const struct loop_config *config, struct loop **out_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    int err;

    if (loop == NULL)
        return -ENOMEM;
    loop->now_ms = clock_ms();
    err = configure(loop, config);
    if (err != 0)
        goto err_loop;
    err = make_slots(loop);
    if (err != 0)
        goto err_loop;
    err = timers_create(loop->now_ms, &loop->timers);
    if (err != 0)
        goto err_slots;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        err = -errno;
        goto err_timers;
    }
    err = choose_backend(loop);
    if (err != 0)
        goto err_eventfd;
    *out_loop = loop;
    return 0;

err_eventfd:
    close(loop->wake_fd);
err_timers:
    timers_destroy(loop->timers);
err_slots:
    free(loop->sockets);
err_loop:
    free(loop);
    return err;
}

const char *loop_describe(const struct loop *loop)
{
    return loop->description;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

struct timers *loop_timers(struct loop *loop)
{
    return loop->timers;
}

unsigned loop_sockets(const struct loop *loop)
{
    return loop->config.max_sockets - (unsigned)loop->free.length;
}

/* Wake-up */

void loop_wake(struct loop *loop)
{
    int saved_errno = errno;

    /* It fails only if the counter is at its maximum, and then the loop is being woken
     * anyway. */
    (void)eventfd_write(loop->wake_fd, 1);
    errno = saved_errno;
}

void loop_on_wake(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    loop->on_wake = fn;
    loop->on_wake_arg = arg;
}

static void run_wake(struct loop *loop)
{
    eventfd_t count;

    if (!loop->woken)
        return;
    loop->woken = false;
    /* Cleared before the handler looks at what it was woken for, or a wake-up could get
     * lost. */
    (void)eventfd_read(loop->wake_fd, &count);
    if (loop->on_wake != NULL)
        loop->on_wake(loop->on_wake_arg);
}

/* Sockets */

static void want(struct loop_socket *socket, unsigned op)
{
    assert(((socket->wanted | socket->in_flight) & op) == 0);
    socket->wanted |= op;
    if (socket->queue == NULL)
        loop_enqueue(&socket->loop->pending, socket);
}

static int open_socket(const struct loop *loop, int family, int *out_fd)
{
    const int on = 1;
    int fd =
        socket(family, SOCK_STREAM | SOCK_CLOEXEC | loop->ops->socket_flags, IPPROTO_TCP);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) != 0) {
        int err = -errno;

        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

int loop_connect(struct loop *loop, const struct sockaddr *address, socklen_t address_size,
                 const struct loop_handlers *handlers, void *arg,
                 struct loop_socket **out_socket)
{
    struct loop_socket *sock = TAILQ_FIRST(&loop->free.list);
    int err;

    assert(address_size <= sizeof(sock->address));
    if (loop->stopping)
        return ERR_STOPPED;
    if (sock == NULL)
        return -EMFILE;
    err = open_socket(loop, address->sa_family, &sock->fd);
    if (err != 0)
        return err;

    loop_dequeue(sock);
    sock->handlers = *handlers;
    sock->arg = arg;
    sock->connected = sock->closing = false;
    sock->registered = sock->readable = sock->writable = sock->hung_up = false;
    memcpy(&sock->address, address, address_size);
    sock->address_size = address_size;
    want(sock, LOOP_OP_CONNECT);
    *out_socket = sock;
    return 0;
}

void loop_receive(struct loop_socket *socket)
{
    assert(socket->connected && !socket->closing);
    want(socket, LOOP_OP_RECEIVE);
}

void loop_send(struct loop_socket *socket, const uint8_t *data, size_t size)
{
    assert(socket->connected && !socket->closing && size > 0);
    socket->send_data = data;
    socket->send_size = size;
    want(socket, LOOP_OP_SEND);
}

/* closed() can be called once nothing is in flight: the kernel may use descriptor and
 * memory of an operation, cancelled or not, until it completes. */
static void settle(struct loop_socket *socket)
{
    if (socket->in_flight != 0)
        return;
    socket->wanted = 0;
    loop_enqueue(&socket->loop->closed, socket);
}

void loop_close(struct loop_socket *socket)
{
    assert(socket->queue != &socket->loop->free);
    if (socket->closing)
        return;
    socket->closing = true;
    socket->wanted = 0;
    loop_dequeue(socket);
    socket->loop->ops->cancel(socket);
    settle(socket);
}

static void run_closed(struct loop *loop)
{
    for (size_t n = loop->closed.length; n > 0; n--) {
        struct loop_socket *socket = TAILQ_FIRST(&loop->closed.list);
        void (*closed)(void *arg) = socket->handlers.closed;
        void *arg = socket->arg;

        close(socket->fd);
        socket->generation++;
        loop_enqueue(&loop->free, socket);
        closed(arg);
    }
}

/* Completions */

/* True if a handler is to be told. */
static bool finish(struct loop_socket *socket, unsigned op)
{
    assert((socket->in_flight & op) != 0);
    socket->in_flight &= ~op;
    if (socket->closing)
        settle(socket);
    return !socket->closing;
}

void loop_completed_connect(struct loop_socket *socket, int err)
{
    if (!finish(socket, LOOP_OP_CONNECT))
        return;
    socket->connected = err == 0;
    socket->handlers.connected(socket->arg, err);
}

void loop_completed_receive(struct loop_socket *socket, const uint8_t *data, size_t size,
                            int err)
{
    if (finish(socket, LOOP_OP_RECEIVE))
        socket->handlers.received(socket->arg, data, size, err);
}

void loop_completed_send(struct loop_socket *socket, ssize_t result)
{
    if (!finish(socket, LOOP_OP_SEND))
        return;
    if (result < 0) {
        socket->handlers.sent(socket->arg, (int)result);
        return;
    }
    assert((size_t)result <= socket->send_size);
    socket->send_data += result;
    socket->send_size -= (size_t)result;
    if (socket->send_size > 0)
        want(socket, LOOP_OP_SEND);
    else
        socket->handlers.sent(socket->arg, 0);
}

void loop_completed_cancel(struct loop_socket *socket)
{
    (void)finish(socket, LOOP_OP_CANCEL);
}

void loop_start_again(struct loop_socket *socket, unsigned op, struct loop_queue *queue)
{
    if (!finish(socket, op))
        return;
    socket->wanted |= op;
    loop_enqueue(queue, socket);
}

/* Turns */

static int wait_limit(const struct loop *loop, int max_wait_ms)
{
    int next_ms = timers_next(loop->timers, clock_ms());

    if (next_ms < 0)
        return max_wait_ms;
    return max_wait_ms < 0 || next_ms < max_wait_ms ? next_ms : max_wait_ms;
}

static int run_sockets(struct loop *loop, int wait_ms)
{
    int err = loop->ops->wait(loop, loop->closed.length > 0 ? 0 : wait_ms);

    loop->now_ms = clock_ms();
    if (err == 0)
        loop->ops->dispatch(loop);
    return err;
}

int loop_run(struct loop *loop, int max_wait_ms)
{
    int err = run_sockets(loop, wait_limit(loop, max_wait_ms));

    if (err != 0)
        return err;
    run_wake(loop);
    timers_advance(loop->timers, loop->now_ms);
    run_closed(loop);
    return 0;
}

static void close_sockets(struct loop *loop)
{
    for (unsigned i = 0; i < loop->config.max_sockets; i++)
        if (loop->sockets[i].queue != &loop->free)
            loop_close(&loop->sockets[i]);
    do
        run_closed(loop);
    while (loop_sockets(loop) > 0 && run_sockets(loop, -1) == 0);
}

/* What a back end that failed has left in flight ended with it. */
static void abandon_sockets(struct loop *loop)
{
    for (unsigned i = 0; i < loop->config.max_sockets; i++) {
        if (loop->sockets[i].queue == &loop->free)
            continue;
        loop->sockets[i].in_flight = 0;
        settle(&loop->sockets[i]);
    }
    run_closed(loop);
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop->stopping = true;
    close_sockets(loop);
    loop->ops->destroy(loop);
    abandon_sockets(loop);
    close(loop->wake_fd);
    timers_destroy(loop->timers);
    free(loop->sockets);
    free(loop);
}
