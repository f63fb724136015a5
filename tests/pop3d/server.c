#include "tests/pop3d/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/pop3d/session.h"
#include "tests/pop3d/tls.h"

#define BACKLOG 4096
#define EVENTS_A_TURN 256
/* Times are rounded up to this, so that many waiting sessions cost one scan a tick. */
#define TICK_MS 2
#define NS_A_MS 1000000
#define MS_A_SECOND 1000

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_A_SECOND + now.tv_nsec / NS_A_MS;
}

/* "127.0.0.1:995" or "[::1]:995" into host and port; 0 or -1. */
static int split_address(const char *text, char host[NI_MAXHOST], const char **out_port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || (size_t)(colon - text) >= NI_MAXHOST)
        return -1;
    const char *end = colon;
    if (*text == '[') {
        text++;
        end--;
    }
    if (end < text)
        return -1;
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    *out_port = colon + 1;
    return 0;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char port[NI_MAXSERV] = "0";
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof port,
                    NI_NUMERICSERV);
    return (uint16_t)strtoul(port, NULL, 10);
}

static int bind_one(const struct addrinfo *address)
{
    int yes = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

static int listen_on(struct server *server, const char *text)
{
    char host[NI_MAXHOST];
    const char *port;
    struct addrinfo *address = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};

    if (split_address(text, host, &port) != 0 ||
        getaddrinfo(host, port, &hints, &address) != 0) {
        fprintf(stderr, "pop3d: not an address and port: %s\n", text);
        return -1;
    }
    int fd = bind_one(address);
    freeaddrinfo(address);
    if (fd < 0) {
        fprintf(stderr, "pop3d: cannot listen on %s: %s\n", text, strerror(errno));
        return -1;
    }
    struct listener *listener = &server->listeners[server->listener_count++];
    *listener = (struct listener){.fd = fd, .port = port_of(fd)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    printf("listening on %s:%u\n", host, listener->port);
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int write_port_file(const struct server *server, const char *path)
{
    char partial[PATH_MAX];
    if (path == NULL)
        return 0;
    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *file = fopen(partial, "we");
    if (file != NULL) {
        for (size_t i = 0; i < server->listener_count; i++)
            fprintf(file, "%u\n", server->listeners[i].port);
        if (fclose(file) == 0 && rename(partial, path) == 0)
            return 0;
    }
    fprintf(stderr, "pop3d: %s: %s\n", path, strerror(errno));
    return -1;
}

static int open_signals(struct server *server)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
        return -1;
    server->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->signal_fd};
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->signal_fd, &event);
}

static int open_log(struct server *server, const char *path)
{
    if (path == NULL)
        return 0;
    server->log.file = fopen(path, "ae");
    if (server->log.file == NULL)
        fprintf(stderr, "pop3d: %s: %s\n", path, strerror(errno));
    return server->log.file != NULL ? 0 : -1;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int server_open(struct server *server, const struct options *options)
{
    *server = (struct server){.options = options, .listening = true, .signal_fd = -1};
    raise_descriptor_limit();
    server->mailboxes = mailboxes_new(options->dir, options->password, options->line_ends);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0 || open_signals(server) != 0) {
        perror("pop3d");
        return -1;
    }
    if (options->script != NULL) {
        server->script = script_read(options->script, stderr);
        if (server->script == NULL)
            return -1;
    }
    if (open_log(server, options->log) != 0)
        return -1;
    if (options->tls != TLS_NONE) {
        server->tls = tls_context_new(options);
        if (server->tls == NULL)
            return -1;
    }
    for (size_t i = 0; i < options->listen_count; i++)
        if (listen_on(server, options->listen[i]) != 0)
            return -1;
    fflush(stdout);
    return write_port_file(server, options->port_file);
}

static void watch_listeners(struct server *server, bool on)
{
    server->listening = on;
    for (size_t i = 0; i < server->listener_count; i++) {
        struct epoll_event event = {.events = on ? EPOLLIN : 0,
                                    .data.ptr = &server->listeners[i]};
        epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->listeners[i].fd, &event);
    }
}

/* One a turn, so that all who have left before it came have been seen to leave. */
static void accept_one(struct server *server, const struct listener *listener)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?", peer[sizeof host + sizeof port];
    int yes = 1;
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            watch_listeners(server, false);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(peer, sizeof peer, "%s:%s", host, port);
    session_start(server, fd, peer);
}

static const struct listener *as_listener(const struct server *server, const void *pointer)
{
    for (size_t i = 0; i < server->listener_count; i++)
        if (pointer == &server->listeners[i])
            return &server->listeners[i];
    return NULL;
}

/* Ends before beginnings: in the log nobody comes while one is there who left before. */
static void dispatch(struct server *server, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr == &server->signal_fd)
            server->stopping = true;
        else if (as_listener(server, events[i].data.ptr) == NULL)
            session_run(events[i].data.ptr, events[i].events);
    for (int i = 0; i < count; i++)
        if (as_listener(server, events[i].data.ptr) != NULL)
            accept_one(server, events[i].data.ptr);
}

static int next_timeout(const struct server *server, int64_t last_tick_ms)
{
    int64_t first = INT64_MAX, now = now_ms();
    for (const struct session *session = server->waiting; session != NULL;
         session = session->wait_next)
        if (session->resume_at_ms < first)
            first = session->resume_at_ms;
    if (first == INT64_MAX)
        return -1;
    if (first < last_tick_ms + TICK_MS)
        first = last_tick_ms + TICK_MS;
    return first <= now ? 0 : (int)(first - now < INT_MAX ? first - now : INT_MAX);
}

static void resume_due(struct server *server, int64_t now)
{
    struct session *next;
    for (struct session *session = server->waiting; session != NULL; session = next) {
        next = session->wait_next;
        if (session->resume_at_ms <= now)
            session_run(session, 0);
    }
}

void server_run(struct server *server)
{
    struct epoll_event events[EVENTS_A_TURN];
    int64_t last_tick_ms = 0;
    while (!server->stopping) {
        log_flush(&server->log);
        int timeout = next_timeout(server, last_tick_ms);
        int count = epoll_wait(server->epoll_fd, events, EVENTS_A_TURN, timeout);
        dispatch(server, events, count);
        int64_t now = now_ms();
        if (now >= last_tick_ms + TICK_MS) {
            resume_due(server, now);
            last_tick_ms = now;
        }
        if (!server->listening)
            watch_listeners(server, true);
    }
}

void server_close(struct server *server)
{
    while (server->sessions != NULL)
        session_end(server->sessions, "stopped");
    for (size_t i = 0; i < server->listener_count; i++)
        close(server->listeners[i].fd);
    if (server->signal_fd >= 0)
        close(server->signal_fd);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    SSL_CTX_free(server->tls);
    script_free(server->script);
    mailboxes_free(server->mailboxes);
    if (server->log.file != NULL)
        fclose(server->log.file);
}
