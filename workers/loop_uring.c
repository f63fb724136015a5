/* The one place that knows liburing. Receives are single-shot and take their buffer from a
 * ring of buffers shared by the whole loop, so idle sockets hold none; a buffer is given
 * back as soon as received() returns. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workers/loop_backend.h"

#define SUBMISSIONS 256
#define IN_FLIGHT_PER_SOCKET 3 /* receive, send, cancel */
#define IN_FLIGHT_OTHER 16
#define BUFFER_GROUP 0
#define SEND_MAX ((size_t)1 << 30) /* a submission's length has 32 bits */
#define PROBE_WAIT_S 5

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *pool;
    size_t pool_size; /* bytes */
    int pool_mask;
    uint8_t *buffers;
    unsigned buffer_count;
    size_t buffer_size;
    /* Known to have data, but there was no buffer left. */
    struct loop_queue starved;
    bool wake_armed;
};

/* Ring */

static int open_ring(struct uring *u, unsigned max_sockets)
{
    /* From the best down to what every kernel with io_uring has. */
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int err = -EINVAL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && err == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = max_sockets * IN_FLIGHT_PER_SOCKET + IN_FLIGHT_OTHER,
        };

        /* The completion queue may not be smaller than the other. */
        if (params.cq_entries < 2 * SUBMISSIONS)
            params.cq_entries = 2 * SUBMISSIONS;
        err = io_uring_queue_init_params(SUBMISSIONS, &u->ring, &params);
    }
    return err;
}

/* Give buffer `id` to the kernel. */
static void give_buffer(struct uring *u, unsigned id)
{
    io_uring_buf_ring_add(u->pool, u->buffers + id * u->buffer_size,
                          (unsigned)u->buffer_size, (unsigned short)id, u->pool_mask, 0);
    io_uring_buf_ring_advance(u->pool, 1);
}

/* NULL if there is no memory. */
static void *map_memory(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

/* By hand: liburing 2.3 has no call for it yet. */
static int open_pool(struct uring *u)
{
    unsigned entries = 1;
    int err = -ENOMEM;

    while (entries < u->buffer_count)
        entries *= 2;
    u->pool_size = entries * sizeof(struct io_uring_buf);
    u->pool = map_memory(u->pool_size);
    if (u->pool == NULL)
        return err;
    u->buffers = map_memory(u->buffer_count * u->buffer_size);
    if (u->buffers == NULL)
        goto err_pool;

    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)u->pool, .ring_entries = entries, .bgid = BUFFER_GROUP};

    err = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (err != 0)
        goto err_buffers;
    io_uring_buf_ring_init(u->pool);
    u->pool_mask = io_uring_buf_ring_mask(entries);
    for (unsigned id = 0; id < u->buffer_count; id++)
        give_buffer(u, id);
    return 0;

err_buffers:
    munmap(u->buffers, u->buffer_count * u->buffer_size);
err_pool:
    munmap(u->pool, u->pool_size);
    return err;
}

/* Submissions */

/* NULL if the kernel does not take what is queued (no memory, too many completions
 * waiting): try again when completions have been dispatched. */
static struct io_uring_sqe *get_submission(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (sqe == NULL && io_uring_submit(&u->ring) >= 0)
        sqe = io_uring_get_sqe(&u->ring);
    return sqe;
}

static void prepare_receive(const struct uring *u, struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_recv(sqe, fd, NULL, u->buffer_size, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
}

static void prepare(const struct uring *u, struct io_uring_sqe *sqe,
                    const struct loop_socket *socket, unsigned op)
{
    size_t size;

    switch (op) {
    case LOOP_OP_CONNECT:
        io_uring_prep_connect(sqe, socket->fd, (const struct sockaddr *)&socket->address,
                              socket->address_size);
        break;
    case LOOP_OP_RECEIVE:
        prepare_receive(u, sqe, socket->fd);
        break;
    case LOOP_OP_SEND:
        size = socket->send_size < SEND_MAX ? socket->send_size : SEND_MAX;
        io_uring_prep_send(sqe, socket->fd, socket->send_data, size, MSG_NOSIGNAL);
        break;
    case LOOP_OP_CANCEL:
        io_uring_prep_cancel_fd(sqe, socket->fd, IORING_ASYNC_CANCEL_ALL);
        break;
    default:
        assert(false);
    }
    io_uring_sqe_set_data64(sqe, loop_token(socket, op));
}

/* False if the submission queue is stuck. */
static bool start(struct uring *u, struct loop_socket *socket)
{
    while (socket->wanted != 0) {
        unsigned op = socket->wanted & (0 - socket->wanted); /* the lowest bit */
        struct io_uring_sqe *sqe = get_submission(u);

        if (sqe == NULL)
            return false;
        prepare(u, sqe, socket, op);
        socket->wanted &= ~op;
        socket->in_flight |= op;
    }
    loop_dequeue(socket);
    return true;
}

static void start_queue(struct uring *u, struct loop_queue *queue, size_t max)
{
    struct loop_socket *socket;

    while (max-- > 0 && (socket = TAILQ_FIRST(&queue->list)) != NULL && start(u, socket))
        ;
}

static void arm_wake(struct uring *u, int fd)
{
    struct io_uring_sqe *sqe;

    if (u->wake_armed || (sqe = get_submission(u)) == NULL)
        return;
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    io_uring_sqe_set_data64(sqe, (uint64_t)LOOP_OP_WAKE << LOOP_TOKEN_OP_SHIFT);
    u->wake_armed = true;
}

/* Submit, and wait for one completion. wait_nr is 1 even with no time to wait: only then is
 * the kernel entered for the completions that DEFER_TASKRUN holds back. The cqe that this
 * liburing returns says nothing (it may be null after a success), so it is not looked at.
 */
static int submit_and_wait(struct uring *u, int wait_ms)
{
    struct __kernel_timespec ts = {.tv_sec = wait_ms / 1000,
                                   .tv_nsec = (long long)(wait_ms % 1000) * 1000000};
    struct io_uring_cqe *cqe;
    int err =
        io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, wait_ms < 0 ? NULL : &ts, NULL);

    switch (err) {
    case -ETIME:
    case -EINTR:
    case -EAGAIN:
    case -EBUSY:
        return 0;
    default:
        return err < 0 ? err : 0;
    }
}

static int uring_wait(struct loop *loop, int wait_ms)
{
    struct uring *u = loop->state;

    arm_wake(u, loop->wake_fd);
    /* The starved come first, and no more of them than there are buffers, which are all
     * back by now: they are served in turn. With POLL_FIRST, which keeps a receive from
     * failing on an empty pool at once, they would be tried after all others and could
     * starve for good. */
    start_queue(u, &u->starved, u->buffer_count);
    start_queue(u, &loop->pending, SIZE_MAX);
    if (u->starved.length > 0 || loop->pending.length > 0 || !u->wake_armed)
        wait_ms = 0;
    return submit_and_wait(u, wait_ms);
}

/* Completions */

static void complete_receive(struct uring *u, struct loop_socket *socket,
                             const struct io_uring_cqe *cqe)
{
    const uint8_t *data = NULL;

    if (cqe->res == -ENOBUFS) {
        loop_start_again(socket, LOOP_OP_RECEIVE, &u->starved);
        return;
    }
    if (cqe->res == -EAGAIN || cqe->res == -EINTR) {
        loop_start_again(socket, LOOP_OP_RECEIVE, &socket->loop->pending);
        return;
    }
    if (cqe->res > 0) {
        assert((cqe->flags & IORING_CQE_F_BUFFER) != 0);
        data = u->buffers + (cqe->flags >> IORING_CQE_BUFFER_SHIFT) * u->buffer_size;
    }
    loop_completed_receive(socket, data, cqe->res > 0 ? (size_t)cqe->res : 0,
                           cqe->res < 0 ? cqe->res : 0);
}

static void complete_send(struct loop_socket *socket, int result)
{
    if (result == -EAGAIN || result == -EINTR)
        loop_start_again(socket, LOOP_OP_SEND, &socket->loop->pending);
    else
        loop_completed_send(socket, result);
}

static void complete(struct loop *loop, const struct io_uring_cqe *cqe)
{
    struct uring *u = loop->state;
    unsigned op = loop_token_op(cqe->user_data);
    struct loop_socket *socket = NULL;

    if (op != LOOP_OP_WAKE) {
        socket = loop_token_socket(loop, cqe->user_data);
        if (socket == NULL || (socket->in_flight & op) == 0)
            return;
    }
    switch (op) {
    case LOOP_OP_WAKE:
        u->wake_armed = false;
        loop->woken = true;
        break;
    case LOOP_OP_CONNECT:
        loop_completed_connect(socket, cqe->res);
        break;
    case LOOP_OP_RECEIVE:
        complete_receive(u, socket, cqe);
        break;
    case LOOP_OP_SEND:
        complete_send(socket, cqe->res);
        break;
    case LOOP_OP_CANCEL:
        /* Whatever it says: what it was to cancel has completions of its own. */
        loop_completed_cancel(socket);
        break;
    default:
        assert(false);
    }
}

static void uring_dispatch(struct loop *loop)
{
    struct uring *u = loop->state;

    for (unsigned n = io_uring_cq_ready(&u->ring); n > 0; n--) {
        struct io_uring_cqe *next;

        if (io_uring_peek_cqe(&u->ring, &next) != 0)
            return;

        struct io_uring_cqe cqe = *next;

        io_uring_cqe_seen(&u->ring, next);
        complete(loop, &cqe);
        /* Whatever became of it, an end of stream or a dropped completion too: what came
         * with a buffer gives it back. */
        if ((cqe.flags & IORING_CQE_F_BUFFER) != 0)
            give_buffer(u, cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    }
}

static void uring_cancel(struct loop_socket *socket)
{
    if (socket->in_flight == 0)
        return;
    socket->wanted = LOOP_OP_CANCEL;
    loop_enqueue(&socket->loop->pending, socket);
}

/* Probe: a kernel, a sandbox or an emulation may have some of it only. */

static int probe_completion(struct uring *u, unsigned *out_flags)
{
    struct __kernel_timespec ts = {.tv_sec = PROBE_WAIT_S};
    struct io_uring_cqe *cqe;
    int result = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);

    if (result < 0)
        return result;
    if (io_uring_peek_cqe(&u->ring, &cqe) != 0)
        return -ETIMEDOUT;
    result = cqe->res;
    *out_flags = cqe->flags;
    io_uring_cqe_seen(&u->ring, cqe);
    return result;
}

static int probe_nop(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    unsigned flags;

    assert(sqe != NULL);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, 0);
    return probe_completion(u, &flags);
}

static int probe_receive(struct uring *u)
{
    static const uint8_t sample = 'm';
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    unsigned flags = 0;
    int ends[2];
    int result;

    assert(sqe != NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    prepare_receive(u, sqe, ends[0]);
    io_uring_sqe_set_data64(sqe, 0);
    if (write(ends[1], &sample, sizeof(sample)) != (ssize_t)sizeof(sample))
        result = -EIO;
    else
        result = probe_completion(u, &flags);
    close(ends[0]);
    close(ends[1]);
    if (result < 0)
        return result;
    if (result != 1 || (flags & IORING_CQE_F_BUFFER) == 0)
        return -EOPNOTSUPP;

    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

    if (id >= u->buffer_count || u->buffers[id * u->buffer_size] != sample)
        return -EOPNOTSUPP;
    give_buffer(u, id);
    return 0;
}

static void close_all(struct uring *u)
{
    /* The ring first: it is what may still write to the rest. */
    io_uring_queue_exit(&u->ring);
    munmap(u->buffers, u->buffer_count * u->buffer_size);
    munmap(u->pool, u->pool_size);
}

static int uring_create(struct loop *loop)
{
    struct uring *u = calloc(1, sizeof(*u));
    int err;

    if (u == NULL)
        return -ENOMEM;
    TAILQ_INIT(&u->starved.list);
    u->buffer_count = loop->config.receive_buffers;
    u->buffer_size = loop->config.receive_buffer_size;
    err = open_ring(u, loop->config.max_sockets);
    if (err != 0)
        goto err_uring;
    err = open_pool(u);
    if (err != 0)
        goto err_ring;
    err = probe_nop(u);
    if (err == 0)
        err = probe_receive(u);
    if (err != 0)
        goto err_pool;
    loop->state = u;
    return 0;

err_pool:
    close_all(u);
    free(u);
    return err;
err_ring:
    io_uring_queue_exit(&u->ring);
err_uring:
    free(u);
    return err;
}

static void uring_destroy(struct loop *loop)
{
    close_all(loop->state);
    free(loop->state);
}

const struct loop_backend_ops loop_uring = {
    .name = "io_uring",
    .socket_flags = 0, /* O_NONBLOCK would make a receive fail instead of wait */
    .create = uring_create,
    .destroy = uring_destroy,
    .wait = uring_wait,
    .dispatch = uring_dispatch,
    .cancel = uring_cancel,
};
