#include "daemon/control.h"

#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 16
#define DEAF_MS 1000 /* when no client can be let in although one is there */
#define TEXT_SIZE 4096
#define LINE_SIZE 64

/* 1. fd < 0: the slot is free. 2. Until the request is whole `heard` counts its bytes;
 * then `answering`, and `out` holds the piece of which `sent` bytes have gone. */
struct client {
    int fd;
    uint64_t came_ms, moved_ms;
    struct control_request request;
    size_t heard;
    bool answering, last;
    struct buffer out;
    size_t sent;
};

struct control {
    char *archive;
    control_answer *answer;
    void *arg;
    int fd; /* listening, or -1 */
    struct stat file;
    uint64_t deaf_until_ms;
    struct client clients[CONTROL_CLIENTS_MAX];
};

int control_create(const char *archive, control_answer *answer, void *arg,
                   struct control **out)
{
    struct control *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    *c = (struct control){
        .archive = strdup(archive), .answer = answer, .arg = arg, .fd = -1};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        c->clients[i].fd = -1;
    if (c->archive == NULL) {
        free(c);
        return -ENOMEM;
    }
    *out = c;
    return 0;
}

static void drop(struct client *client)
{
    (void)close(client->fd);
    buffer_free(&client->out);
    *client = (struct client){.fd = -1};
}

/* Whether the file at the address is the socket we listen on. */
static bool is_ours(const struct control *c, const struct control_address *address)
{
    struct stat st;
    return c->fd >= 0 && lstat(address->name.sun_path, &st) == 0 &&
           st.st_dev == c->file.st_dev && st.st_ino == c->file.st_ino;
}

void control_destroy(struct control *c)
{
    struct control_address address;
    if (c == NULL)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->clients[i].fd >= 0)
            drop(&c->clients[i]);
    if (c->fd >= 0 && control_address_open(c->archive, &address) == 0) {
        if (is_ours(c, &address))
            (void)unlink(address.name.sun_path);
        control_address_close(&address);
    }
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->archive);
    free(c);
}

static int listen_at(struct control *c, const struct control_address *address)
{
    const struct sockaddr *name = (const struct sockaddr *)&address->name;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = 0;
    if (unlink(address->name.sun_path) != 0 && errno != ENOENT)
        err = -errno;
    /* The file takes its mode from the socket: there is no moment with another one. */
    if (err == 0 &&
        (fchmod(fd, S_IRUSR | S_IWUSR) != 0 || bind(fd, name, sizeof(address->name)) != 0 ||
         listen(fd, BACKLOG) != 0 || lstat(address->name.sun_path, &c->file)))
        err = -errno;
    if (err != 0) {
        (void)close(fd);
        return err;
    }
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = fd;
    return 0;
}

int control_listen(struct control *c)
{
    struct control_address address;
    int err = control_address_open(c->archive, &address);
    if (err != 0)
        return err;
    if (!is_ours(c, &address))
        err = listen_at(c, &address);
    control_address_close(&address);
    return err;
}

/* CONTROL_CLIENTS_MAX: there is none. */
static size_t free_slot(const struct control *c)
{
    size_t i = 0;
    while (i < CONTROL_CLIENTS_MAX && c->clients[i].fd >= 0)
        i++;
    return i;
}

static bool lets_in(const struct control *c, uint64_t now_ms)
{
    return c->fd >= 0 && now_ms >= c->deaf_until_ms && free_slot(c) < CONTROL_CLIENTS_MAX;
}

size_t control_fds(const struct control *c, uint64_t now_ms,
                   struct pollfd out[CONTROL_FDS_MAX])
{
    size_t count = 0;
    if (lets_in(c, now_ms))
        out[count++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &c->clients[i];
        if (client->fd >= 0)
            out[count++] = (struct pollfd){.fd = client->fd,
                                           .events = client->answering ? POLLOUT : POLLIN};
    }
    return count;
}

static uint64_t deadline_ms(const struct client *client)
{
    uint64_t silent_ms = client->moved_ms + CONTROL_PATIENCE_MS;
    uint64_t life_ms = client->came_ms + CONTROL_LIFE_MS;
    return silent_ms < life_ms ? silent_ms : life_ms;
}

uint64_t control_wait_ms(const struct control *c, uint64_t now_ms)
{
    uint64_t first_ms = c->deaf_until_ms > now_ms ? c->deaf_until_ms : UINT64_MAX;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (c->clients[i].fd < 0)
            continue;
        uint64_t end_ms = deadline_ms(&c->clients[i]);
        first_ms = end_ms < first_ms ? end_ms : first_ms;
    }
    if (first_ms == UINT64_MAX)
        return UINT64_MAX;
    return first_ms > now_ms ? first_ms - now_ms : 0;
}

static bool may_ask(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void let_in(struct control *c, uint64_t now_ms)
{
    while (lets_in(c, now_ms)) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            /* Without descriptors the client stays there, and poll() would not wait. */
            if (errno != EAGAIN)
                c->deaf_until_ms = now_ms + DEAF_MS;
            return;
        }
        if (may_ask(fd))
            c->clients[free_slot(c)] =
                (struct client){.fd = fd, .came_ms = now_ms, .moved_ms = now_ms};
        else
            (void)close(fd);
    }
}

/* False: the client is to be dropped. */
static bool hear(struct client *client, uint64_t now_ms)
{
    char *line = client->request.line;
    size_t room = sizeof(client->request.line) - client->heard;
    ssize_t got = recv(client->fd, line + client->heard, room, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    const char *end = memchr(line + client->heard, '\n', (size_t)got);
    client->heard += (size_t)got;
    client->moved_ms = now_ms;
    if (end == NULL)
        return got > 0 && client->heard < sizeof(client->request.line);
    line[end - line] = '\0';
    client->answering = true;
    return true;
}

static bool next_piece(const struct control *c, struct client *client)
{
    struct buffer *out = &client->out;
    buffer_clear(out);
    client->sent = 0;
    client->last = c->answer(c->arg, &client->request, out);
    if (client->last)
        buffer_put(out, CONTROL_END, strlen(CONTROL_END));
    return !out->failed;
}

/* As hear(); also once the answer has gone. */
static bool answer(const struct control *c, struct client *client, uint64_t now_ms)
{
    if (client->sent == client->out.size) {
        if (client->last || !next_piece(c, client))
            return false;
        client->moved_ms = now_ms;
    }
    size_t left = client->out.size - client->sent;
    if (left == 0)
        return true;
    ssize_t put = send(client->fd, client->out.data + client->sent, left, MSG_NOSIGNAL);
    if (put < 0)
        return errno == EAGAIN || errno == EINTR;
    client->sent += (size_t)put;
    client->moved_ms = now_ms;
    return client->sent < client->out.size || !client->last;
}

void control_serve(struct control *c, uint64_t now_ms)
{
    let_in(c, now_ms);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &c->clients[i];
        if (client->fd < 0)
            continue;
        bool stays = client->answering || hear(client, now_ms);
        if (stays && client->answering)
            stays = answer(c, client, now_ms);
        if (!stays || now_ms >= deadline_ms(client))
            drop(client);
    }
}

static void put(struct buffer *out, const char *text)
{
    buffer_put(out, text, strlen(text));
}

static void put_field(struct buffer *out, const char *field, char mark, const char *value)
{
    put(out, field);
    buffer_put_u8(out, (uint8_t)mark);
    put(out, value);
    buffer_put_u8(out, '\n');
}

void control_object(struct buffer *out, const char *kind)
{
    put(out, kind);
    buffer_put_u8(out, '\n');
}

void control_name(struct buffer *out, const char *field, const char *name)
{
    put_field(out, field, ':', name);
}

void control_text(struct buffer *out, const char *field, const char *text)
{
    char clean[TEXT_SIZE];
    (void)log_clean(clean, sizeof(clean), text != NULL ? text : "");
    put_field(out, field, ':', clean);
}

void control_number(struct buffer *out, const char *field, uint64_t number)
{
    char text[LINE_SIZE] = "";
    if (number != CONTROL_UNKNOWN)
        (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    put_field(out, field, '=', text);
}

void control_time(struct buffer *out, const char *field, int64_t time_s)
{
    char text[LINE_SIZE] = "";
    if (time_s != 0)
        (void)snprintf(text, sizeof(text), "%" PRId64, time_s);
    put_field(out, field, '@', text);
}

void control_object_end(struct buffer *out)
{
    buffer_put_u8(out, '\n');
}
