/* epoll, edge-triggered: each socket is registered once, and what is known of it (readable,
 * writable) is kept until a call would block. Operations are tried in dispatch(), each
 * socket's once a turn. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "workers/loop_backend.h"

#define EVENTS_MAX 256 /* of one turn */

struct epoll {
    int fd;
    uint8_t *buffer; /* what is received, of all sockets */
    size_t buffer_size;
    int event_count;
    struct epoll_event events[EVENTS_MAX];
};

static int epoll_open(struct loop *loop)
{
    struct epoll *ep = calloc(1, sizeof(*ep));
    struct epoll_event wake = {.events = EPOLLIN,
                               .data.u64 = (uint64_t)LOOP_OP_WAKE << LOOP_TOKEN_OP_SHIFT};
    int err = -ENOMEM;

    if (ep == NULL)
        return err;
    ep->buffer_size = loop->config.receive_buffer_size;
    ep->buffer = malloc(ep->buffer_size);
    if (ep->buffer == NULL)
        goto err_epoll;
    ep->fd = epoll_create1(EPOLL_CLOEXEC);
    if (ep->fd < 0) {
        err = -errno;
        goto err_buffer;
    }
    if (epoll_ctl(ep->fd, EPOLL_CTL_ADD, loop->wake_fd, &wake) != 0) {
        err = -errno;
        goto err_fd;
    }
    loop->state = ep;
    return 0;

err_fd:
    close(ep->fd);
err_buffer:
    free(ep->buffer);
err_epoll:
    free(ep);
    return err;
}

static void epoll_destroy(struct loop *loop)
{
    struct epoll *ep = loop->state;

    close(ep->fd);
    free(ep->buffer);
    free(ep);
}

static int epoll_wait_events(struct loop *loop, int wait_ms)
{
    struct epoll *ep = loop->state;

    ep->event_count =
        epoll_wait(ep->fd, ep->events, EVENTS_MAX, loop->pending.length > 0 ? 0 : wait_ms);
    if (ep->event_count >= 0)
        return 0;
    ep->event_count = 0;
    return errno == EINTR ? 0 : -errno;
}

/* The operations that are worth trying now. */
static unsigned ready_operations(const struct loop_socket *socket)
{
    unsigned ready = 0;

    if (!socket->registered || socket->writable)
        ready |= LOOP_OP_CONNECT;
    if (socket->readable)
        ready |= LOOP_OP_RECEIVE;
    if (socket->writable)
        ready |= LOOP_OP_SEND;
    return ready & socket->in_flight;
}

static void note_event(struct loop *loop, const struct epoll_event *event)
{
    struct loop_socket *socket;

    if (loop_token_op(event->data.u64) == LOOP_OP_WAKE) {
        loop->woken = true;
        return;
    }
    socket = loop_token_socket(loop, event->data.u64);
    if (socket == NULL || socket->closing)
        return;
    if ((event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        socket->hung_up = true;
    if ((event->events & EPOLLIN) != 0 || socket->hung_up)
        socket->readable = true;
    if ((event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
        socket->writable = true;
    if (ready_operations(socket) != 0 && socket->queue == NULL)
        loop_enqueue(&loop->pending, socket);
}

static void start_connect(const struct epoll *ep, struct loop_socket *socket)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = loop_token(socket, 0)};
    int err = 0;

    if (connect(socket->fd, (const struct sockaddr *)&socket->address,
                socket->address_size) != 0)
        err = -errno;
    if (err == 0 || err == -EINPROGRESS) {
        /* Not before connect(): a fresh socket is reported as hung up. */
        if (epoll_ctl(ep->fd, EPOLL_CTL_ADD, socket->fd, &event) == 0)
            socket->registered = true;
        else
            err = -errno;
    }
    if (err != -EINPROGRESS)
        loop_completed_connect(socket, err);
}

static void finish_connect(struct loop_socket *socket)
{
    int err;
    socklen_t size = sizeof(err);

    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0)
        err = errno;
    loop_completed_connect(socket, -err);
}

static void try_send(struct loop_socket *socket)
{
    ssize_t sent = send(socket->fd, socket->send_data, socket->send_size, MSG_NOSIGNAL);

    if (sent >= 0)
        loop_completed_send(socket, sent);
    else if (errno == EAGAIN)
        socket->writable = false;
    else
        loop_completed_send(socket, -errno);
}

static void try_receive(const struct epoll *ep, struct loop_socket *socket)
{
    ssize_t received = recv(socket->fd, ep->buffer, ep->buffer_size, 0);

    if (received < 0 && errno == EAGAIN) {
        socket->readable = false;
        return;
    }
    /* Less than was asked for: nothing is left, and more will be an event of its own. */
    if (received > 0 && (size_t)received < ep->buffer_size && !socket->hung_up)
        socket->readable = false;
    if (received < 0)
        loop_completed_receive(socket, NULL, 0, -errno);
    else
        loop_completed_receive(socket, received > 0 ? ep->buffer : NULL, (size_t)received,
                               0);
}

static void try_operations(const struct epoll *ep, struct loop_socket *socket)
{
    loop_dequeue(socket);
    socket->in_flight |= socket->wanted;
    socket->wanted = 0;

    /* Asked again before each: a handler may have closed the socket. */
    if ((ready_operations(socket) & LOOP_OP_CONNECT) != 0) {
        if (socket->registered)
            finish_connect(socket);
        else
            start_connect(ep, socket);
    }
    if ((ready_operations(socket) & LOOP_OP_SEND) != 0)
        try_send(socket);
    if ((ready_operations(socket) & LOOP_OP_RECEIVE) != 0)
        try_receive(ep, socket);
}

static void epoll_dispatch(struct loop *loop)
{
    const struct epoll *ep = loop->state;
    struct loop_socket *socket;

    for (int i = 0; i < ep->event_count; i++)
        note_event(loop, &ep->events[i]);
    for (size_t n = loop->pending.length;
         n > 0 && (socket = TAILQ_FIRST(&loop->pending.list)) != NULL; n--)
        try_operations(ep, socket);
}

/* Nothing is ever in flight in the kernel. */
static void epoll_cancel(struct loop_socket *socket)
{
    const struct epoll *ep = socket->loop->state;

    socket->in_flight = 0;
    /* Not left to close(): a forked process may hold the socket open and keep its events
     * coming. */
    if (socket->registered)
        (void)epoll_ctl(ep->fd, EPOLL_CTL_DEL, socket->fd, NULL);
}

const struct loop_backend_ops loop_epoll = {
    .name = "epoll",
    .socket_flags = SOCK_NONBLOCK,
    .create = epoll_open,
    .destroy = epoll_destroy,
    .wait = epoll_wait_events,
    .dispatch = epoll_dispatch,
    .cancel = epoll_cancel,
};
