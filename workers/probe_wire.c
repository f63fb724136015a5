#include "workers/probe_wire.h"

#include "archive/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t probe_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct resolution {
    sem_t answered;
    struct resolver_answer *answer;
};

static void take_answer(void *arg, const struct resolver_answer *answer)
{
    struct resolution *r = arg;
    *r->answer = *answer;
    (void)sem_post(&r->answered);
}

void probe_resolve(const char *host, uint16_t port, struct resolver_answer *out)
{
    struct resolution r = {.answer = out};
    struct resolver *resolver = NULL;
    (void)sem_init(&r.answered, 0, 0);
    int err = resolver_create(NULL, &resolver);
    if (err == 0)
        err = resolver_lookup(resolver, host, port, take_answer, &r);
    while (err == 0 && sem_wait(&r.answered) != 0)
        continue;
    if (err != 0)
        *out = (struct resolver_answer){.err = err, .text = error_text(err)};
    resolver_destroy(resolver);
    (void)sem_destroy(&r.answered);
}

void probe_address_text(const struct resolver_address *a, char out[PROBE_ADDRESS_SIZE])
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (a->address.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &a->address, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
        (void)snprintf(out, PROBE_ADDRESS_SIZE, "[%s]:%u", text, ntohs(in6.sin6_port));
    } else {
        struct sockaddr_in in;
        memcpy(&in, &a->address, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
        (void)snprintf(out, PROBE_ADDRESS_SIZE, "%s:%u", text, ntohs(in.sin_port));
    }
}

/* Rounded up: not to come back a moment too early again and again. */
static int remaining_ms(uint64_t deadline_us)
{
    uint64_t now = probe_now_us();
    if (now >= deadline_us)
        return 0;
    uint64_t ms = (deadline_us - now + 999) / 1000;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* 0 when one of events, or an error to be found by the call that follows, is there. */
static int wait_for(int fd, short events, uint64_t deadline_us)
{
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = events};
        int ready = poll(&waiting, 1, remaining_ms(deadline_us));
        if (ready > 0)
            return 0;
        if (ready == 0 && probe_now_us() >= deadline_us)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

static int finish_connect(int fd, uint64_t deadline_us)
{
    int err = wait_for(fd, POLLOUT, deadline_us), failure = 0;
    socklen_t size = sizeof(failure);
    if (err == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        err = -errno;
    return err != 0 ? err : -failure;
}

int probe_connect(const struct resolver_address *a, uint64_t deadline_us, int *out_fd)
{
    int fd = socket(a->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = connect(fd, (const struct sockaddr *)&a->address, a->size) == 0 ? 0 : -errno;
    if (err == -EINPROGRESS)
        err = finish_connect(fd, deadline_us);
    if (err != 0)
        (void)close(fd);
    else
        *out_fd = fd;
    return err;
}

int probe_send(int fd, const void *data, size_t size, uint64_t deadline_us)
{
    const char *at = data;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (sent < 0) {
            int err = wait_for(fd, POLLOUT, deadline_us);
            if (err != 0)
                return err;
            continue;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return 0;
}

int probe_receive(int fd, void *data, size_t size, uint64_t deadline_us, size_t *out_size)
{
    *out_size = 0;
    for (;;) {
        int err = wait_for(fd, POLLIN, deadline_us);
        if (err != 0)
            return err;
        ssize_t got = recv(fd, data, size, 0);
        if (got >= 0) {
            *out_size = (size_t)got;
            return 0;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
}
