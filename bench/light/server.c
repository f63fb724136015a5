/* light_server: a POP3S server of synthetic mail (mail.h) that costs little and holds ten
 * thousand sessions: no file, no process and no password behind any of them.
 *
 *   light_server --cert FILE --key FILE --port-file FILE --counters FILE
 *                [--addresses N] [--gated] [--log FILE]
 *
 * It listens on 127.0.0.1 to 127.0.0.N, a port of its own choice, until SIGTERM. --counters
 * and
 * --gated: counters.h. --log: a line for each session when it ends: the user, how many
 * messages it got, and the times (monotonic, ms) of the first and the last. */
#include "bench/light/mail.h"
#include "bench/light/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS_A_TURN 256
#define ADDRESSES_MAX 64
#define GATE_CHECK_MS 20
#define EXIT_USAGE 2

struct settings {
    const char *cert, *key, *port_file, *counters, *log;
    unsigned addresses;
    bool gated;
};

struct server {
    struct light light;
    int epoll_fd;
    int listeners[ADDRESSES_MAX];
    unsigned listener_count;
};

static void die(const char *what)
{
    fprintf(stderr, "light_server: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void read_options(int argc, char **argv, struct settings *out)
{
    static const struct option known[] = {
        {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},
        {"port-file", required_argument, NULL, 'p'},
        {"counters", required_argument, NULL, 'n'},
        {"log", required_argument, NULL, 'l'},
        {"addresses", required_argument, NULL, 'a'},
        {"gated", no_argument, NULL, 'g'},
        {0},
    };
    *out = (struct settings){.addresses = 1};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'c':
            out->cert = optarg;
            break;
        case 'k':
            out->key = optarg;
            break;
        case 'p':
            out->port_file = optarg;
            break;
        case 'n':
            out->counters = optarg;
            break;
        case 'l':
            out->log = optarg;
            break;
        case 'a':
            out->addresses = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'g':
            out->gated = true;
            break;
        default:
            exit(EXIT_USAGE);
        }
    }
    if (out->cert == NULL || out->key == NULL || out->port_file == NULL ||
        out->counters == NULL || out->addresses < 1 || out->addresses > ADDRESSES_MAX) {
        fputs("light_server: --cert, --key, --port-file and --counters are needed\n",
              stderr);
        exit(EXIT_USAGE);
    }
}

static struct counters *map_counters(const char *path, bool gated)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct counters)) != 0)
        die(path);
    struct counters *counters =
        mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counters == MAP_FAILED)
        die(path);
    close(fd);
    counters->gate = gated ? GATE_SHUT : GATE_HELD;
    return counters;
}

/* Tickets, as servers give them; no cache of its own. */
static SSL_CTX *tls_of(const struct settings *settings)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, settings->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, settings->key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "light_server: certificate or key\n");
        exit(EXIT_FAILURE);
    }
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return tls;
}

/* 127.0.0.n; port 0: any. Returns the port. */
static uint16_t listen_on(struct server *server, unsigned n, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + n)};
    socklen_t size = sizeof(address);
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
        bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    int *listener = &server->listeners[server->listener_count++];
    *listener = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll");
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

static void accept_all(struct server *server, int listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        struct session *s = session_new(&server->light, fd);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.ptr = s};
        if (s != NULL && epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            die("epoll");
    }
}

static bool is_listener(const struct server *server, const void *pointer)
{
    for (unsigned i = 0; i < server->listener_count; i++)
        if (pointer == &server->listeners[i])
            return true;
    return false;
}

static int timeout_of(const struct light *light)
{
    if (!TAILQ_EMPTY(&light->ready))
        return 0;
    return TAILQ_EMPTY(&light->waiting) ? -1 : GATE_CHECK_MS;
}

/* A session that ends is on no list any more, and its events of this turn are dealt with:
 * epoll gives one event a descriptor, and sessions_go_on() runs behind them all. */
static void serve(struct server *server)
{
    struct epoll_event events[EVENTS_A_TURN];
    for (;;) {
        int count =
            epoll_wait(server->epoll_fd, events, EVENTS_A_TURN, timeout_of(&server->light));
        for (int i = 0; i < count; i++) {
            if (is_listener(server, events[i].data.ptr))
                accept_all(server, *(int *)events[i].data.ptr);
            else
                session_run(events[i].data.ptr);
        }
        sessions_go_on(&server->light);
    }
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("limits");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct server server = {0};
    struct settings settings;
    read_options(argc, argv, &settings);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    raise_descriptor_limit();
    server.light =
        (struct light){.tls = tls_of(&settings),
                       .counters = map_counters(settings.counters, settings.gated)};
    TAILQ_INIT(&server.light.ready);
    TAILQ_INIT(&server.light.waiting);
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll_fd < 0)
        die("epoll");
    if (settings.log != NULL) {
        server.light.log = fopen(settings.log, "we");
        if (server.light.log == NULL)
            die(settings.log);
        setlinebuf(server.light.log);
    }
    uint16_t port = 0;
    for (unsigned n = 1; n <= settings.addresses; n++)
        port = listen_on(&server, n, port);
    write_port(settings.port_file, port);
    serve(&server);
    return 0;
}
