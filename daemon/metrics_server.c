#include "daemon/metrics_server.h"

#include "archive/error.h"
#include "daemon/loopback.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 16
#define CONNECTION_MEMORY ((size_t)8 * 1024) /* a request's headers fit */
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* fd < 0: the slot is free. */
struct client {
    int fd;
    uint64_t came_ms;
};

/* http != NULL: it listens at address. address == NULL: it should not. */
struct metrics_server {
    metrics_make_text *make_text;
    void *arg;
    struct log *log;
    char *address;
    struct MHD_Daemon *http;
    uint64_t again_ms; /* the next try to listen */
    bool told;         /* that it cannot */
    uint64_t now_ms;   /* of the call that is under way */
    struct MHD_Response *text;
    uint64_t text_ms;
    struct client clients[METRICS_CLIENTS_MAX];
};

int metrics_server_create(metrics_make_text *make_text, void *arg, struct log *log,
                          struct metrics_server **out)
{
    struct metrics_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->make_text = make_text;
    s->arg = arg;
    s->log = log;
    for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++)
        s->clients[i].fd = -1;
    *out = s;
    return 0;
}

static void forget_text(struct metrics_server *s)
{
    if (s->text != NULL)
        MHD_destroy_response(s->text);
    s->text = NULL;
}

static void stop(struct metrics_server *s)
{
    if (s->http != NULL)
        MHD_stop_daemon(s->http);
    s->http = NULL;
    forget_text(s);
}

void metrics_server_destroy(struct metrics_server *s)
{
    if (s == NULL)
        return;
    stop(s);
    free(s->address);
    free(s);
}

/* data: static if size > 0 and not owned. */
static struct MHD_Response *make_response(void *data, size_t size,
                                          enum MHD_ResponseMemoryMode mode,
                                          const char *header, const char *value)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(size, data, mode);
    if (response == NULL)
        return NULL;
    /* A connection that stayed open would be idle for most of its life. */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    (void)MHD_add_response_header(response, header, value);
    return response;
}

static void refresh_text(struct metrics_server *s)
{
    struct buffer out = {0};
    if (s->text != NULL && s->now_ms - s->text_ms < METRICS_FRESH_MS)
        return;
    forget_text(s);
    s->make_text(s->arg, &out);
    if (!out.failed && out.size > 0)
        s->text = make_response(out.data, out.size, MHD_RESPMEM_MUST_FREE,
                                MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
    if (s->text == NULL)
        buffer_free(&out);
    s->text_ms = s->now_ms;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status,
                              const char *header, const char *value)
{
    struct MHD_Response *response =
        make_response(NULL, 0, MHD_RESPMEM_PERSISTENT, header, value);
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
    struct metrics_server *s = arg;
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    bool head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (strcmp(url, METRICS_PATH) != 0)
        return refuse(connection, MHD_HTTP_NOT_FOUND, MHD_HTTP_HEADER_CONTENT_TYPE,
                      CONTENT_TYPE);
    if (!head && strcmp(method, MHD_HTTP_METHOD_GET) != 0)
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, MHD_HTTP_HEADER_ALLOW,
                      "GET, HEAD");
    refresh_text(s);
    if (s->text == NULL)
        return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, MHD_HTTP_HEADER_RETRY_AFTER,
                      "1");
    return MHD_queue_response(connection, MHD_HTTP_OK, s->text);
}

static void client_came(struct metrics_server *s, struct MHD_Connection *connection,
                        void **slot)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (size_t i = 0; i < METRICS_CLIENTS_MAX && *slot == NULL && info != NULL; i++)
        if (s->clients[i].fd < 0) {
            s->clients[i] = (struct client){.fd = info->connect_fd, .came_ms = s->now_ms};
            *slot = &s->clients[i];
        }
}

static void notice_client(void *arg, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode what)
{
    struct client *client = *slot;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        client_came(arg, connection, slot);
    else if (client != NULL)
        client->fd = -1;
}

/* A socket that listens, or -errno. */
static int open_socket(const struct loopback *at, struct stat *out_stat)
{
    int yes = 1,
        fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
        bind(fd, (const struct sockaddr *)&at->address, at->size) == 0 &&
        listen(fd, BACKLOG) == 0 && fstat(fd, out_stat) == 0)
        return fd;
    int err = -errno;
    (void)close(fd);
    return err;
}

/* For when the library gave up: some of its failures close the socket that it was given,
 * others do not, and the number may be another thread's by then. */
static void close_if_it_is(int fd, const struct stat *listening)
{
    struct stat now;
    if (fstat(fd, &now) == 0 && now.st_dev == listening->st_dev &&
        now.st_ino == listening->st_ino)
        (void)close(fd);
}

static int start(struct metrics_server *s)
{
    struct loopback at;
    struct stat listening;
    int err = loopback_parse(s->address, &at);
    int fd = err == 0 ? open_socket(&at, &listening) : err;
    if (fd < 0)
        return fd;
    unsigned flags = MHD_USE_EPOLL | (at.address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
    s->http = MHD_start_daemon(
        flags, 0, NULL, NULL, answer, s, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, METRICS_CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        METRICS_PATIENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
        MHD_OPTION_NOTIFY_CONNECTION, notice_client, s, MHD_OPTION_END);
    if (s->http != NULL)
        return 0;
    close_if_it_is(fd, &listening);
    return -ENOMEM;
}

static void tell(const struct metrics_server *s, int err)
{
    struct log_event e;
    log_begin(&e, s->log, err != 0 ? LEVEL_WARNING : LEVEL_INFO,
              err != 0 ? "metrics are not served; it is tried again each minute"
                       : "metrics are served");
    log_text(&e, "address", s->address);
    log_text(&e, "error", err != 0 ? error_text(err) : "");
    log_end(&e);
}

static void try_to_listen(struct metrics_server *s)
{
    int err = start(s);
    if ((err != 0) != s->told)
        tell(s, err);
    s->told = err != 0;
    s->again_ms = s->now_ms + METRICS_AGAIN_MS;
}

static bool same_address(const struct metrics_server *s, const char *address)
{
    if (s->address == NULL || address == NULL)
        return s->address == address;
    return strcmp(s->address, address) == 0;
}

void metrics_server_listen(struct metrics_server *s, const char *address, uint64_t now_ms)
{
    s->now_ms = now_ms;
    if (same_address(s, address))
        return;
    stop(s);
    free(s->address);
    s->told = false;
    s->address = address != NULL ? strdup(address) : NULL;
    if (s->address != NULL)
        try_to_listen(s);
    else if (address != NULL)
        log_say(s->log, LEVEL_WARNING, "metrics are not served", error_text(-ENOMEM));
}

int metrics_server_fd(const struct metrics_server *s)
{
    if (s == NULL || s->http == NULL)
        return -1;
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD);
    return info != NULL ? info->epoll_fd : -1;
}

/* When the first client has been here too long. */
static uint64_t first_end_ms(const struct metrics_server *s)
{
    uint64_t first_ms = UINT64_MAX;
    for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++)
        if (s->clients[i].fd >= 0 && s->clients[i].came_ms + METRICS_LIFE_MS < first_ms)
            first_ms = s->clients[i].came_ms + METRICS_LIFE_MS;
    return first_ms;
}

uint64_t metrics_server_wait_ms(const struct metrics_server *s, uint64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG http_ms = 0;
    if (s == NULL || s->address == NULL)
        return UINT64_MAX;
    uint64_t end_ms = s->http != NULL ? first_end_ms(s) : s->again_ms;
    uint64_t wait_ms = UINT64_MAX;
    if (end_ms != UINT64_MAX)
        wait_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    if (s->http != NULL && MHD_get_timeout(s->http, &http_ms) == MHD_YES &&
        http_ms < wait_ms)
        wait_ms = http_ms;
    return wait_ms;
}

/* The library's own patience begins anew with each byte. */
static void cut_old_clients(struct metrics_server *s)
{
    for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++) {
        struct client *client = &s->clients[i];
        if (client->fd >= 0 && s->now_ms >= client->came_ms + METRICS_LIFE_MS) {
            (void)shutdown(client->fd, SHUT_RDWR);
            client->came_ms = s->now_ms; /* until the library sees its end */
        }
    }
}

void metrics_server_serve(struct metrics_server *s, uint64_t now_ms)
{
    if (s == NULL || s->address == NULL)
        return;
    s->now_ms = now_ms;
    if (s->http == NULL && now_ms >= s->again_ms)
        try_to_listen(s);
    if (s->http == NULL)
        return;
    cut_old_clients(s);
    (void)MHD_run(s->http);
}
