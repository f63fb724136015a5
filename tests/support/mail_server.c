#include "tests/support/mail_server.h"

#include "tests/support/tls_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define LINE_SIZE 512
#define OUTPUT_SIZE 16384
#define PATIENCE_S 60 /* then a test has failed anyway */

struct mail_server {
    struct mail_server_options options;
    SSL_CTX *tls;
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_uint sessions, handshakes, resumed, listings, retrs, quits, deletes, held, open;
};

struct connection {
    struct mail_server *server;
    int fd;
    SSL *ssl; /* NULL: in the clear */
    char input[LINE_SIZE];
    size_t input_size;
    char output[OUTPUT_SIZE];
    size_t output_size;
    bool over;
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

static void flush(struct connection *c)
{
    size_t done = 0;
    while (done < c->output_size && !c->over) {
        const char *at = c->output + done;
        size_t left = c->output_size - done;
        int n = c->ssl != NULL ? SSL_write(c->ssl, at, (int)left)
                               : (int)send(c->fd, at, left, MSG_NOSIGNAL);
        if (n <= 0)
            c->over = true;
        else
            done += (size_t)n;
    }
    c->output_size = 0;
}

static void put(struct connection *c, const char *data, size_t size)
{
    while (size > 0 && !c->over) {
        size_t room = OUTPUT_SIZE - c->output_size;
        size_t part = size < room ? size : room;
        memcpy(c->output + c->output_size, data, part);
        c->output_size += part;
        data += part;
        size -= part;
        if (c->output_size == OUTPUT_SIZE)
            flush(c);
    }
}

static void say(struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct connection *c, const char *format, ...)
{
    char text[LINE_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put(c, text, (size_t)n);
}

static bool fill(struct connection *c)
{
    char *at = c->input + c->input_size;
    size_t room = LINE_SIZE - c->input_size;
    flush(c);
    if (c->over)
        return false;
    int n =
        c->ssl != NULL ? SSL_read(c->ssl, at, (int)room) : (int)recv(c->fd, at, room, 0);
    if (n <= 0)
        c->over = true;
    else
        c->input_size += (size_t)n;
    return n > 0;
}

static bool next_line(struct connection *c, char line[LINE_SIZE])
{
    char *end;
    while ((end = memmem(c->input, c->input_size, "\r\n", 2)) == NULL)
        if (!fill(c))
            return false;
    size_t size = (size_t)(end - c->input);
    memcpy(line, c->input, size);
    line[size] = '\0';
    c->input_size -= size + 2;
    memmove(c->input, end + 2, c->input_size);
    return true;
}

/* With dots stuffed. */
static void put_body(struct connection *c, const char *data, size_t size)
{
    const char *end = data + size;
    while (data < end) {
        const char *line_end = memchr(data, '\n', (size_t)(end - data));
        const char *next = line_end != NULL ? line_end + 1 : end;
        if (*data == '.')
            put(c, ".", 1);
        put(c, data, (size_t)(next - data));
        data = next;
    }
}

static void wait_for_client(struct connection *c)
{
    char line[LINE_SIZE];
    while (next_line(c, line))
        continue;
}

static void retr(struct connection *c, unsigned number)
{
    const struct mail_server_options *o = &c->server->options;
    atomic_fetch_add(&c->server->retrs, 1);
    if (number == 0 || number > o->count || number == o->refuse) {
        say(c, "-ERR no such message\r\n");
        return;
    }
    if (number == o->no_answer) {
        wait_for_client(c);
        return;
    }
    const struct mail_message *m = &o->messages[number - 1];
    bool half = number == o->cut || number == o->hold;
    say(c, "+OK %zu octets\r\n", m->size);
    put_body(c, m->data, half ? m->size / 2 : m->size);
    if (!half) {
        say(c, ".\r\n");
        return;
    }
    flush(c);
    atomic_fetch_add(&c->server->held, 1);
    if (number == o->hold)
        wait_for_client(c);
    c->over = true;
}

static void start_tls(struct connection *c)
{
    flush(c);
    c->ssl = SSL_new(c->server->tls);
    must(c->ssl != NULL && SSL_set_fd(c->ssl, c->fd) == 1, "SSL_new");
    if (SSL_accept(c->ssl) != 1) {
        c->over = true;
        return;
    }
    atomic_fetch_add(&c->server->handshakes, 1);
    if (SSL_session_reused(c->ssl) == 1)
        atomic_fetch_add(&c->server->resumed, 1);
}

static void list(struct connection *c, bool uidl)
{
    const struct mail_server_options *o = &c->server->options;
    say(c, "+OK\r\n");
    if (!uidl)
        atomic_fetch_add(&c->server->listings, 1);
    for (unsigned i = 0; i < o->count; i++)
        if (uidl)
            say(c, "%u %s\r\n", i + 1, o->messages[i].uidl);
        else
            say(c, "%u %zu\r\n", i + 1, o->messages[i].size);
    say(c, ".\r\n");
}

static void uidl(struct connection *c, unsigned number)
{
    const struct mail_server_options *o = &c->server->options;
    if (number == 0 || number > o->count)
        say(c, "-ERR no such message\r\n");
    else
        say(c, "+OK %u %s\r\n", number, o->messages[number - 1].uidl);
}

static void stat(struct connection *c)
{
    const struct mail_server_options *o = &c->server->options;
    size_t sum = 0;
    for (unsigned i = 0; i < o->count; i++)
        sum += o->messages[i].size;
    say(c, "+OK %u %zu\r\n", o->count + o->stat_more, sum);
}

static void pass(struct connection *c)
{
    const struct mail_server_options *o = &c->server->options;
    if (o->refuse_login)
        say(c, "-ERR [AUTH] wrong\r\n");
    else if (o->close_after_pass)
        c->over = true;
    else
        say(c, "+OK\r\n");
}

static void dele(struct connection *c, unsigned number)
{
    bool there = number >= 1 && number <= c->server->options.count;
    if (there && number < 32)
        atomic_fetch_or(&c->server->deletes, 1u << number);
    say(c, there ? "+OK\r\n" : "-ERR no such message\r\n");
}

static void quit(struct connection *c)
{
    atomic_fetch_add(&c->server->quits, 1);
    if (!c->server->options.close_at_quit)
        say(c, "+OK bye\r\n");
    flush(c);
    c->over = true;
}

static void obey(struct connection *c, const char *line)
{
    const struct mail_server_options *o = &c->server->options;
    if (strcmp(line, "CAPA") == 0)
        say(c, "+OK\r\nUIDL\r\nUSER\r\nPIPELINING\r\n%s.\r\n",
            o->stls && c->ssl == NULL ? "STLS\r\n" : "");
    else if (strcmp(line, "STLS") == 0) {
        say(c, "+OK\r\n");
        start_tls(c);
    } else if (strncmp(line, "USER ", 5) == 0 || strcmp(line, "NOOP") == 0)
        say(c, "+OK\r\n");
    else if (strncmp(line, "PASS ", 5) == 0)
        pass(c);
    else if (strcmp(line, "STAT") == 0)
        stat(c);
    else if (strcmp(line, "LIST") == 0 || strcmp(line, "UIDL") == 0)
        list(c, line[0] == 'U');
    else if (strncmp(line, "UIDL ", 5) == 0)
        uidl(c, (unsigned)strtoul(line + 5, NULL, 10));
    else if (strncmp(line, "RETR ", 5) == 0)
        retr(c, (unsigned)strtoul(line + 5, NULL, 10));
    else if (strncmp(line, "DELE ", 5) == 0)
        dele(c, (unsigned)strtoul(line + 5, NULL, 10));
    else if (strcmp(line, "QUIT") == 0)
        quit(c);
    else
        say(c, "-ERR what?\r\n");
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    char line[LINE_SIZE];
    if (!c->server->options.stls)
        start_tls(c);
    if (!c->over)
        say(c, "+OK ready\r\n");
    while (!c->over && next_line(c, line))
        obey(c, line);
    if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    atomic_fetch_sub(&c->server->open, 1);
    free(c);
    return NULL;
}

static void take(struct mail_server *server, int fd)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    struct connection *c = calloc(1, sizeof(*c));
    pthread_attr_t attributes;
    pthread_t thread;
    if (c == NULL) /* a test may have let one fail, which was meant for the client */
        c = calloc(1, sizeof(*c));
    must(c != NULL, "calloc");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    c->server = server;
    c->fd = fd;
    atomic_fetch_add(&server->sessions, 1);
    atomic_fetch_add(&server->open, 1);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    must(pthread_create(&thread, &attributes, serve, c) == 0, "pthread_create");
    pthread_attr_destroy(&attributes);
}

static void *listen_on(void *arg)
{
    struct mail_server *server = arg;
    int fd;
    while ((fd = accept(server->fd, NULL, NULL)) >= 0)
        take(server, fd);
    return NULL;
}

/* To this server every ticket that is shown to it is an error. */
static int abort_on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv,
                           EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts)
{
    (void)ssl, (void)name, (void)iv, (void)cipher, (void)mac;
    return encrypts ? 0 : -1;
}

static SSL_CTX *make_tls(const struct mail_server_options *options)
{
    int version = options->tls_version != 0 ? options->tls_version : TLS1_3_VERSION;
    SSL_CTX *tls = tls_server_context(options->certificate, version);
    if (options->abort_resumption) {
        must(SSL_CTX_set_num_tickets(tls, 0) == 1, "SSL_CTX_set_num_tickets");
        SSL_CTX_set_tlsext_ticket_key_evp_cb(tls, abort_on_ticket);
    }
    return tls;
}

struct mail_server *mail_server_start(const struct mail_server_options *options)
{
    struct mail_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    must(server != NULL, "calloc");
    signal(SIGPIPE, SIG_IGN); /* SSL_write() knows no MSG_NOSIGNAL */
    server->options = *options;
    server->tls = make_tls(options);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server->fd >= 0, "socket");
    setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    must(bind(server->fd, (const void *)&address, sizeof(address)) == 0, "bind");
    must(listen(server->fd, 512) == 0, "listen");
    must(getsockname(server->fd, (void *)&address, &size) == 0, "getsockname");
    server->port = ntohs(address.sin_port);
    must(pthread_create(&server->thread, NULL, listen_on, server) == 0, "pthread_create");
    return server;
}

void mail_server_stop(struct mail_server *server)
{
    shutdown(server->fd, SHUT_RDWR); /* ends accept() */
    pthread_join(server->thread, NULL);
    close(server->fd);
    while (atomic_load(&server->open) > 0)
        usleep(1000);
    SSL_CTX_free(server->tls);
    free(server);
}

uint16_t mail_server_port(const struct mail_server *server)
{
    return server->port;
}

unsigned mail_server_sessions(const struct mail_server *server)
{
    return atomic_load(&server->sessions);
}

unsigned mail_server_handshakes(const struct mail_server *server)
{
    return atomic_load(&server->handshakes);
}

unsigned mail_server_resumed(const struct mail_server *server)
{
    return atomic_load(&server->resumed);
}

unsigned mail_server_listings(const struct mail_server *server)
{
    return atomic_load(&server->listings);
}

unsigned mail_server_retrs(const struct mail_server *server)
{
    return atomic_load(&server->retrs);
}

unsigned mail_server_quits(const struct mail_server *server)
{
    return atomic_load(&server->quits);
}

unsigned mail_server_deletes(const struct mail_server *server)
{
    return atomic_load(&server->deletes);
}

unsigned mail_server_held(const struct mail_server *server)
{
    return atomic_load(&server->held);
}
