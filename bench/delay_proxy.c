/* A server far away: passes TCP connections on to a port of 127.0.0.1, each byte half a
 * round trip late, and the first bytes of a client a whole one more, for the connection's
 * own handshake. One thread; a copy in and a copy out is all it costs.
 *
 *   delay_proxy PORT-FILE TARGET-PORT ROUND-TRIP-MS
 *
 * Listens on 127.0.0.1, on a port of its own choice, which it writes to PORT-FILE, until
 * SIGTERM. What is under way in one direction of a connection is bounded by WINDOW_BYTES;
 * there is no slow start, no loss, and no other limit of bandwidth. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_BYTES ((size_t)1 << 20)
#define CHUNK_BYTES ((size_t)64 << 10)
#define BACKLOG 1024
#define EVENTS_A_TURN 128
#define NS_A_MS 1000000
#define EXIT_USAGE 2

struct flow;
TAILQ_HEAD(due_queue, chunk);

/* Bytes on their way; none: the sender is done. */
struct chunk {
    struct flow *flow;
    int64_t due_ms;
    size_t size;
    size_t sent;
    struct due_queue *queue; /* NULL: it is due */
    TAILQ_ENTRY(chunk) by_due;
    STAILQ_ENTRY(chunk) in_flow;
    uint8_t data[];
};

/* One direction of a connection. Chunks leave in the order they came, when they are due. */
struct flow {
    struct connection *connection;
    int from, to;
    size_t held;   /* bytes of all chunks */
    bool read_all; /* the end was read */
    bool written;  /* and passed on */
    bool opening;  /* nothing was read yet, of a client */
    STAILQ_HEAD(, chunk) chunks;
};

/* An end of a connection, as epoll knows it. */
struct end {
    struct connection *connection;
    struct flow *in, *out;
};

struct connection {
    struct flow up, down;
    struct end client, server;
    int64_t accepted_ms;
    bool over;
    SLIST_ENTRY(connection) link; /* of those that are over */
};

struct proxy {
    int epoll_fd, listener;
    uint16_t target;
    int64_t round_trip_ms;
    struct due_queue late; /* both are in the order of due_ms, as the delay is one */
    struct due_queue opening;
    SLIST_HEAD(, connection) over;
};

static void die(const char *what)
{
    fprintf(stderr, "delay_proxy: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_A_MS;
}

static void finish(struct proxy *p, struct connection *c)
{
    if (c->over)
        return;
    c->over = true;
    SLIST_INSERT_HEAD(&p->over, c, link);
}

static void put(struct proxy *p, struct flow *f, struct chunk *chunk, size_t size)
{
    struct due_queue *queue = f->opening ? &p->opening : &p->late;
    *chunk = (struct chunk){.flow = f, .size = size, .queue = queue};
    chunk->due_ms = f->opening ? f->connection->accepted_ms + p->round_trip_ms * 3 / 2
                               : now_ms() + p->round_trip_ms / 2;
    f->opening = false;
    f->held += size;
    STAILQ_INSERT_TAIL(&f->chunks, chunk, in_flow);
    TAILQ_INSERT_TAIL(queue, chunk, by_due);
}

/* All there is, or what the window takes. */
static void read_in(struct proxy *p, struct flow *f)
{
    while (!f->read_all && f->held < WINDOW_BYTES && !f->connection->over) {
        struct chunk *chunk = malloc(sizeof(*chunk) + CHUNK_BYTES);
        if (chunk == NULL)
            die("memory");
        ssize_t got = recv(f->from, chunk->data, CHUNK_BYTES, 0);
        if (got < 0) {
            free(chunk);
            if (errno != EAGAIN)
                finish(p, f->connection);
            return;
        }
        f->read_all = got == 0;
        put(p, f, chunk, (size_t)got);
    }
}

static void drop(struct chunk *chunk)
{
    struct flow *f = chunk->flow;
    if (chunk->queue != NULL)
        TAILQ_REMOVE(chunk->queue, chunk, by_due);
    STAILQ_REMOVE_HEAD(&f->chunks, in_flow);
    f->held -= chunk->size;
    free(chunk);
}

/* What is due, as far as the receiver takes it; then there may be room to read more. */
static void write_out(struct proxy *p, struct flow *f)
{
    struct chunk *chunk;
    while ((chunk = STAILQ_FIRST(&f->chunks)) != NULL && chunk->queue == NULL &&
           !f->connection->over) {
        if (chunk->size == 0) {
            shutdown(f->to, SHUT_WR);
            f->written = true;
        } else {
            ssize_t sent = send(f->to, chunk->data + chunk->sent, chunk->size - chunk->sent,
                                MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno != EAGAIN)
                    finish(p, f->connection);
                return;
            }
            chunk->sent += (size_t)sent;
        }
        if (chunk->sent == chunk->size)
            drop(chunk);
    }
    if (f->connection->up.written && f->connection->down.written)
        finish(p, f->connection);
    read_in(p, f);
}

static void release_due(struct proxy *p, struct due_queue *queue, int64_t now)
{
    struct chunk *chunk;
    while ((chunk = TAILQ_FIRST(queue)) != NULL && chunk->due_ms <= now) {
        TAILQ_REMOVE(queue, chunk, by_due);
        chunk->queue = NULL;
        write_out(p, chunk->flow);
    }
}

static void watch(struct proxy *p, int fd, struct end *end)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = end};
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll");
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
        errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

static void open_connection(struct proxy *p, int client)
{
    struct connection *c = calloc(1, sizeof(*c));
    int server = connect_to(p->target);
    if (c == NULL)
        die("memory");
    if (server < 0) {
        close(client);
        free(c);
        return;
    }
    c->up = (struct flow){.connection = c, .from = client, .to = server, .opening = true};
    c->down = (struct flow){.connection = c, .from = server, .to = client};
    STAILQ_INIT(&c->up.chunks);
    STAILQ_INIT(&c->down.chunks);
    c->client = (struct end){.connection = c, .in = &c->up, .out = &c->down};
    c->server = (struct end){.connection = c, .in = &c->down, .out = &c->up};
    c->accepted_ms = now_ms();
    watch(p, client, &c->client);
    watch(p, server, &c->server);
}

static void accept_all(struct proxy *p)
{
    int fd;
    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        open_connection(p, fd);
}

/* Only behind a turn: its events may still name them. */
static void free_over(struct proxy *p)
{
    while (!SLIST_EMPTY(&p->over)) {
        struct connection *c = SLIST_FIRST(&p->over);
        SLIST_REMOVE_HEAD(&p->over, link);
        while (!STAILQ_EMPTY(&c->up.chunks))
            drop(STAILQ_FIRST(&c->up.chunks));
        while (!STAILQ_EMPTY(&c->down.chunks))
            drop(STAILQ_FIRST(&c->down.chunks));
        close(c->up.from);
        close(c->down.from);
        free(c);
    }
}

static int timeout_ms(const struct proxy *p)
{
    const struct chunk *late = TAILQ_FIRST(&p->late), *opening = TAILQ_FIRST(&p->opening);
    if (late == NULL && opening == NULL)
        return -1;
    int64_t due = late != NULL ? late->due_ms : opening->due_ms;
    if (opening != NULL && opening->due_ms < due)
        due = opening->due_ms;
    int64_t now = now_ms();
    return due > now ? (int)(due - now) : 0;
}

static void serve(struct proxy *p)
{
    struct epoll_event events[EVENTS_A_TURN];
    for (;;) {
        int count = epoll_wait(p->epoll_fd, events, EVENTS_A_TURN, timeout_ms(p));
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            if (end == NULL) {
                accept_all(p);
                continue;
            }
            read_in(p, end->in);
            write_out(p, end->out);
        }
        int64_t now = now_ms();
        release_due(p, &p->late, now);
        release_due(p, &p->opening, now);
        free_over(p);
    }
}

/* Returns the port. */
static uint16_t listen_anywhere(struct proxy *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct epoll_event event = {.events = EPOLLIN};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(p->listener, BACKLOG) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&address, &size) != 0 ||
        epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->listener, &event) != 0)
        die("listen");
    return ntohs(address.sin_port);
}

static void write_port(const char *path, uint16_t port)
{
    char partial[4096];
    snprintf(partial, sizeof(partial), "%s.partial", path);
    FILE *file = fopen(partial, "we");
    if (file == NULL || fprintf(file, "%u\n", port) < 0 || fclose(file) != 0 ||
        rename(partial, path) != 0)
        die(path);
}

int main(int argc, char **argv)
{
    struct proxy p = {0};
    if (argc != 4) {
        fputs("usage: delay_proxy PORT-FILE TARGET-PORT ROUND-TRIP-MS\n", stderr);
        return EXIT_USAGE;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    p.target = (uint16_t)strtoul(argv[2], NULL, 10);
    p.round_trip_ms = strtol(argv[3], NULL, 10);
    TAILQ_INIT(&p.late);
    TAILQ_INIT(&p.opening);
    SLIST_INIT(&p.over);
    p.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p.epoll_fd < 0)
        die("epoll");
    write_port(argv[1], listen_anywhere(&p));
    serve(&p);
}
