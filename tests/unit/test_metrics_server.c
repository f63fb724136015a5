#include "daemon/metrics_server.h"
#include "tests/support/held_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define START_MS 1000
#define TEST_SECONDS_MAX 60
#define ADDRESS_SIZE 64
#define LARGE ((size_t)1 << 20)
#define GET "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

struct world {
    struct metrics_server *server;
    struct log log;
    char address[ADDRESS_SIZE];
    struct held_port port;
    uint64_t now_ms;
    unsigned made;
    size_t size;  /* of the text, but for its first line */
    bool no_text; /* there is none */
};

static void make_text(void *arg, struct buffer *out)
{
    struct world *w = arg;
    char line[32];
    int n = snprintf(line, sizeof(line), "text %u\n", ++w->made);
    buffer_put(out, line, (size_t)n);
    uint8_t *fill = buffer_reserve(out, w->size + 1);
    assert_non_null(fill);
    memset(fill, 'x', w->size + 1);
    out->size += w->size;
    out->failed = w->no_text;
}

static struct sockaddr_in here(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int listen_there(const struct world *w)
{
    struct sockaddr_in name = here(w->port.number);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void choose_address(struct world *w)
{
    w->port = held_port_take();
    (void)snprintf(w->address, sizeof(w->address), "127.0.0.1:%u", w->port.number);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    log_init(&w->log, fd);
    w->now_ms = START_MS;
    choose_address(w);
    assert_int_equal(metrics_server_create(make_text, w, &w->log, &w->server), 0);
    metrics_server_listen(w->server, w->address, w->now_ms);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    metrics_server_destroy(w->server);
    held_port_release(&w->port);
    (void)close(w->log.fd);
    free(w);
    return 0;
}

static int try_to_connect(const struct world *w)
{
    struct sockaddr_in name = here(w->port.number);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int connect_client(const struct world *w)
{
    int fd = try_to_connect(w);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void serve(struct world *w)
{
    struct pollfd at = {.fd = metrics_server_fd(w->server), .events = POLLIN};
    uint64_t wait_ms = metrics_server_wait_ms(w->server, w->now_ms);
    (void)poll(&at, 1, wait_ms < 10 ? (int)wait_ms : 10);
    metrics_server_serve(w->server, w->now_ms);
}

/* Serve until the server closes; what it said, with a NUL behind it. */
static void hear_all(struct world *w, int fd, struct buffer *out)
{
    buffer_clear(out);
    for (;;) {
        serve(w);
        uint8_t *to = buffer_reserve(out, 65536);
        assert_non_null(to);
        ssize_t got = recv(fd, to, 65536, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            break;
        if (got > 0)
            out->size += (size_t)got;
    }
    buffer_put_u8(out, '\0');
    (void)close(fd);
}

static void ask(struct world *w, const char *request, struct buffer *out)
{
    int fd = connect_client(w);
    say(fd, request);
    hear_all(w, fd, out);
}

static void assert_starts(const struct buffer *out, const char *want)
{
    if (strncmp((const char *)out->data, want, strlen(want)) != 0)
        fail_msg("%.80s", (const char *)out->data);
}

static const char *body(const struct buffer *out)
{
    const char *at = strstr((const char *)out->data, "\r\n\r\n");
    assert_non_null(at);
    return at + 4;
}

static const char *logged(struct world *w, char out[1024])
{
    ssize_t got = pread(w->log.fd, out, 1023, 0);
    assert_true(got >= 0);
    out[got] = '\0';
    return out;
}

static void a_get_is_answered_with_the_text(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    w->size = LARGE;
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr((char *)out.data,
                           "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"));
    assert_memory_equal(body(&out), "text 1\nxxx", 10);
    assert_int_equal(strlen(body(&out)), LARGE + 7);
    buffer_free(&out);
}

static void everything_else_is_refused(void **state)
{
    static const struct {
        const char *request, *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /metrics/.. HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "},
        {"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 "},
        {"PUT /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
         "HTTP/1.1 405 "},
        {"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "},
    };
    struct world *w = *state;
    struct buffer out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ask(w, cases[i].request, &out);
        assert_starts(&out, cases[i].status);
        assert_string_equal(body(&out), "");
    }
    ask(w, "nonsense\r\n\r\n", &out);
    assert_null(strstr((char *)out.data, "text"));
    buffer_free(&out);
}

static void headers_without_end_are_refused(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    char line[1024];
    memset(line, 'h', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    int fd = connect_client(w);
    say(fd, "GET /metrics HTTP/1.1\r\nX: ");
    for (unsigned i = 0; i < 64 && send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL) > 0; i++)
        serve(w);
    hear_all(w, fd, &out);
    assert_null(strstr((char *)out.data, "200 OK"));
    assert_int_equal(w->made, 0);
    buffer_free(&out);
}

static void many_who_ask_get_one_text(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    for (unsigned i = 0; i < 20; i++) {
        ask(w, GET, &out);
        assert_string_equal(body(&out), "text 1\n");
    }
    w->now_ms += METRICS_FRESH_MS;
    ask(w, GET, &out);
    assert_string_equal(body(&out), "text 2\n");
    buffer_free(&out);
}

static void without_a_text_it_says_so(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    w->no_text = true;
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 503 ");
    w->no_text = false;
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    buffer_free(&out);
}

static void a_client_too_many_waits_to_be_let_in(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    char byte;
    int fds[METRICS_CLIENTS_MAX];
    for (size_t i = 0; i < METRICS_CLIENTS_MAX; i++)
        fds[i] = connect_client(w);
    int last = connect_client(w);
    say(last, GET);
    for (unsigned i = 0; i < 20; i++)
        serve(w);
    assert_int_equal(recv(last, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    say(fds[0], GET);
    hear_all(w, fds[0], &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    hear_all(w, last, &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    for (size_t i = 1; i < METRICS_CLIENTS_MAX; i++)
        (void)close(fds[i]);
    buffer_free(&out);
}

/* Say a byte now and then, which keeps it from being idle. Whether it was cut. */
static bool trickle(struct world *w, int fd)
{
    char byte;
    for (unsigned i = 0; i < 50; i++) {
        serve(w);
        (void)send(fd, "G", 1, MSG_NOSIGNAL);
        if (recv(fd, &byte, 1, 0) >= 0 || errno != EAGAIN)
            return true;
    }
    return false;
}

static void a_client_that_never_ends_is_cut(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    int fd = connect_client(w);
    assert_false(trickle(w, fd));
    uint64_t wait_ms = metrics_server_wait_ms(w->server, w->now_ms);
    assert_in_range(wait_ms, 0, METRICS_PATIENCE_S * 1000);
    w->now_ms += METRICS_LIFE_MS - 1;
    assert_false(trickle(w, fd));
    w->now_ms++;
    assert_int_equal(metrics_server_wait_ms(w->server, w->now_ms), 0);
    assert_true(trickle(w, fd));
    (void)close(fd);
    ask(w, GET, &out); /* its place is free */
    assert_starts(&out, "HTTP/1.1 200 ");
    buffer_free(&out);
}

static void an_address_in_use_is_told_once_and_tried_again(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    char text[1024];
    metrics_server_listen(w->server, NULL, w->now_ms);
    int fd = listen_there(w);
    metrics_server_listen(w->server, w->address, w->now_ms);
    assert_non_null(strstr(logged(w, text), w->address));
    assert_non_null(strstr(text, "ddress already in use"));
    assert_int_equal(metrics_server_fd(w->server), -1);
    assert_int_equal(metrics_server_wait_ms(w->server, w->now_ms), METRICS_AGAIN_MS);
    size_t said = strlen(text);
    w->now_ms += METRICS_AGAIN_MS;
    assert_int_equal(metrics_server_wait_ms(w->server, w->now_ms), 0);
    metrics_server_serve(w->server, w->now_ms);
    assert_int_equal(strlen(logged(w, text)), said);
    (void)close(fd);
    metrics_server_serve(w->server, w->now_ms);
    assert_int_equal(metrics_server_fd(w->server), -1); /* not before its time */
    w->now_ms += METRICS_AGAIN_MS;
    metrics_server_serve(w->server, w->now_ms);
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    assert_non_null(strstr(logged(w, text), "\"metrics are served\""));
    buffer_free(&out);
}

/* A descriptor for the socket that listens, and none for what the library adds to it. */
static void a_start_that_fails_leaves_nothing_open(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    struct rlimit limit;
    metrics_server_listen(w->server, NULL, w->now_ms);
    int next = dup(w->log.fd);
    assert_true(next >= 0);
    (void)close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit one_more = {.rlim_cur = (rlim_t)next + 1,
                                    .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &one_more), 0);
    metrics_server_listen(w->server, w->address, w->now_ms);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(metrics_server_fd(w->server), -1);
    assert_int_equal(try_to_connect(w), -1);
    assert_int_equal(fcntl(next, F_GETFD), -1);
    w->now_ms += METRICS_AGAIN_MS;
    metrics_server_serve(w->server, w->now_ms);
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    buffer_free(&out);
}

static void the_address_can_change(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    struct world before = *w;
    int open = connect_client(w);
    serve(w);
    choose_address(w);
    metrics_server_listen(w->server, w->address, w->now_ms);
    assert_int_equal(try_to_connect(&before), -1);
    held_port_release(&before.port);
    hear_all(w, open, &out);
    assert_int_equal(out.size, 1);
    ask(w, GET, &out);
    assert_starts(&out, "HTTP/1.1 200 ");
    int fd = metrics_server_fd(w->server);
    metrics_server_listen(w->server, w->address, w->now_ms);
    assert_int_equal(metrics_server_fd(w->server), fd);
    metrics_server_listen(w->server, NULL, w->now_ms);
    assert_int_equal(try_to_connect(w), -1);
    assert_int_equal(metrics_server_fd(w->server), -1);
    assert_true(metrics_server_wait_ms(w->server, w->now_ms) == UINT64_MAX);
    metrics_server_serve(w->server, w->now_ms);
    buffer_free(&out);
}

static void nothing_is_served_where_there_is_none(void **state)
{
    (void)state;
    assert_int_equal(metrics_server_fd(NULL), -1);
    assert_true(metrics_server_wait_ms(NULL, 0) == UINT64_MAX);
    metrics_server_serve(NULL, 0);
    metrics_server_destroy(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_get_is_answered_with_the_text),
        TEST(everything_else_is_refused),
        TEST(headers_without_end_are_refused),
        TEST(many_who_ask_get_one_text),
        TEST(without_a_text_it_says_so),
        TEST(a_client_too_many_waits_to_be_let_in),
        TEST(a_client_that_never_ends_is_cut),
        TEST(an_address_in_use_is_told_once_and_tried_again),
        TEST(a_start_that_fails_leaves_nothing_open),
        TEST(the_address_can_change),
        cmocka_unit_test(nothing_is_served_where_there_is_none),
    };
    alarm(TEST_SECONDS_MAX);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
