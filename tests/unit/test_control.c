#include "daemon/control.h"

#include "tools/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 512
#define START_MS 1000
#define NOBODY 65534
#define WAIT_MS 20000
#define TEST_SECONDS_MAX 60

struct world {
    char folder[PATH_SIZE];
    struct control *control;
    uint64_t now_ms;
    unsigned requests, pieces;
    unsigned length; /* of an answer, in pieces */
    char asked[CONTROL_REQUEST_MAX];
};

/* `length` pieces, each an object of about CONTROL_PIECE_SIZE bytes. */
static bool answer(void *arg, struct control_request *request, struct buffer *out)
{
    struct world *w = arg;
    char text[1024];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)snprintf(w->asked, sizeof(w->asked), "%s", request->line);
    w->requests += request->step == 0;
    w->pieces++;
    control_object(out, "thing");
    control_number(out, "step", request->step);
    while (w->length > 1 && out->size < CONTROL_PIECE_SIZE)
        control_text(out, "fill", text);
    control_object_end(out);
    return ++request->step >= w->length;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    (void)snprintf(w->folder, sizeof(w->folder), "/tmp/mailcask-control-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->now_ms = START_MS;
    w->length = 1;
    assert_int_equal(control_create(w->folder, answer, w, &w->control), 0);
    assert_int_equal(control_listen(w->control), 0);
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    control_destroy(w->control);
    (void)nftw(w->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

static int connect_client(const struct world *w)
{
    struct control_address address;
    assert_int_equal(control_address_open(w->folder, &address), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&address.name, sizeof(address.name)), 0);
    control_address_close(&address);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static size_t fd_count(const struct world *w)
{
    struct pollfd fds[CONTROL_FDS_MAX];
    return control_fds(w->control, w->now_ms, fds);
}

static void serve(struct world *w)
{
    control_serve(w->control, w->now_ms);
}

/* Serve until the service closes; what it said, without a NUL, in out. */
static void hear_all(struct world *w, int fd, struct buffer *out)
{
    for (;;) {
        serve(w);
        uint8_t *to = buffer_reserve(out, CONTROL_PIECE_SIZE);
        assert_non_null(to);
        ssize_t got = recv(fd, to, CONTROL_PIECE_SIZE, 0);
        if (got < 0 && errno == EAGAIN)
            continue;
        if (got <= 0)
            break;
        out->size += (size_t)got;
    }
    (void)close(fd);
}

/* It has been closed, with nothing said. */
static bool is_dropped(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static void a_request_is_answered_and_the_client_let_go(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    int fd = connect_client(w);
    say(fd, "sta");
    serve(w);
    assert_int_equal(w->requests, 0);
    say(fd, "tus\n");
    hear_all(w, fd, &out);
    assert_string_equal(w->asked, "status");
    assert_int_equal(out.size, strlen("thing\nstep=0\n\nend\n"));
    assert_memory_equal(out.data, "thing\nstep=0\n\nend\n", out.size);
    assert_int_equal(fd_count(w), 1);
    buffer_free(&out);
}

static void a_long_answer_comes_in_pieces(void **state)
{
    struct world *w = *state;
    struct buffer out = {0};
    struct answer_object o;
    int fd = connect_client(w);
    w->length = 100;
    say(fd, "status\n");
    hear_all(w, fd, &out);
    assert_int_equal(w->pieces, 100);
    struct span rest = span_of(out.data, out.size);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(answer_next(&rest, &o));
        assert_int_equal(answer_number(&o, "step"), i);
    }
    assert_false(answer_next(&rest, &o));
    buffer_free(&out);
}

static void a_silent_client_is_dropped(void **state)
{
    struct world *w = *state;
    int fd = connect_client(w);
    serve(w);
    assert_int_equal(fd_count(w), 2);
    assert_int_equal(control_wait_ms(w->control, w->now_ms), CONTROL_PATIENCE_MS);
    w->now_ms += CONTROL_PATIENCE_MS - 1;
    serve(w);
    assert_false(is_dropped(fd));
    w->now_ms++;
    serve(w);
    assert_true(is_dropped(fd));
    assert_true(control_wait_ms(w->control, w->now_ms) == UINT64_MAX);
    (void)close(fd);
}

static void one_who_speaks_a_byte_at_a_time_is_dropped_in_the_end(void **state)
{
    struct world *w = *state;
    int fd = connect_client(w);
    unsigned bytes = 0;
    serve(w);
    while (!is_dropped(fd) && bytes < 1000) {
        say(fd, "x");
        bytes++;
        serve(w);
        w->now_ms += CONTROL_PATIENCE_MS - 1;
        serve(w);
    }
    assert_in_range(bytes, 2, CONTROL_LIFE_MS / (CONTROL_PATIENCE_MS - 1) + 1);
    (void)close(fd);
}

static void a_request_that_is_too_long_is_dropped(void **state)
{
    struct world *w = *state;
    char text[CONTROL_REQUEST_MAX + 1];
    struct buffer out = {0};
    memset(text, 'x', CONTROL_REQUEST_MAX - 1);
    text[CONTROL_REQUEST_MAX - 1] = '\n';
    text[CONTROL_REQUEST_MAX] = '\0';
    int fd = connect_client(w);
    say(fd, text); /* as long as may be */
    hear_all(w, fd, &out);
    assert_int_equal(strlen(w->asked), CONTROL_REQUEST_MAX - 1);
    assert_true(out.size > 0);
    buffer_free(&out);
    text[CONTROL_REQUEST_MAX - 1] = 'x';
    fd = connect_client(w);
    say(fd, text);
    serve(w);
    assert_true(is_dropped(fd));
    assert_int_equal(w->requests, 1);
    (void)close(fd);
}

static void one_who_takes_nothing_costs_little_and_is_dropped(void **state)
{
    struct world *w = *state;
    int slow = connect_client(w);
    w->length = 1000000;
    say(slow, "status\n");
    for (int i = 0; i < 1000; i++)
        serve(w);
    assert_in_range(w->pieces, 1, 100); /* what its socket takes, and one more */
    w->length = 1;
    struct buffer out = {0};
    int fd = connect_client(w);
    say(fd, "status\n");
    hear_all(w, fd, &out); /* the others are answered meanwhile */
    assert_true(out.size > 0);
    buffer_free(&out);
    assert_int_equal(fd_count(w), 2);
    w->now_ms += CONTROL_PATIENCE_MS;
    serve(w);
    assert_int_equal(fd_count(w), 1);
    (void)close(slow);
}

static void one_who_goes_away_is_forgotten(void **state)
{
    struct world *w = *state;
    int fd = connect_client(w);
    serve(w);
    (void)close(fd);
    serve(w);
    assert_int_equal(fd_count(w), 1);
    w->length = 1000;
    fd = connect_client(w);
    say(fd, "status\n");
    serve(w);
    (void)close(fd);
    serve(w);
    serve(w);
    assert_int_equal(fd_count(w), 1);
}

static void more_clients_than_fit_wait_their_turn(void **state)
{
    struct world *w = *state;
    int silent[CONTROL_CLIENTS_MAX];
    struct buffer out = {0};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        silent[i] = connect_client(w);
    int fd = connect_client(w);
    say(fd, "status\n");
    serve(w);
    serve(w);
    assert_int_equal(fd_count(w), CONTROL_CLIENTS_MAX); /* nobody is let in */
    assert_int_equal(w->requests, 0);
    w->now_ms += CONTROL_PATIENCE_MS;
    serve(w);
    hear_all(w, fd, &out);
    assert_int_equal(w->requests, 1);
    assert_true(out.size > 0);
    buffer_free(&out);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        (void)close(silent[i]);
}

static void file_name(const struct world *w, char out[PATH_SIZE + 32])
{
    (void)snprintf(out, PATH_SIZE + 32, "%s/" CONTROL_FILE, w->folder);
}

static void the_file_is_the_owners_only_and_goes_at_the_end(void **state)
{
    struct world *w = *state;
    char name[PATH_SIZE + 32];
    struct stat st;
    file_name(w, name);
    assert_int_equal(stat(name, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    control_destroy(w->control);
    w->control = NULL;
    assert_int_equal(stat(name, &st), -1);
}

static void a_dead_services_socket_is_replaced(void **state)
{
    struct world *w = *state;
    struct control *next = NULL;
    struct buffer out = {0};
    char name[PATH_SIZE + 32];
    file_name(w, name);
    assert_int_equal(control_create(w->folder, answer, w, &next), 0);
    assert_int_equal(control_listen(next), 0);
    control_destroy(w->control); /* the file is not its own any more */
    w->control = next;
    int fd = connect_client(w);
    say(fd, "status\n");
    hear_all(w, fd, &out);
    assert_true(out.size > 0);
    buffer_free(&out);
    /* Whatever it is. */
    assert_int_equal(unlink(name), 0);
    assert_int_equal(close(open(name, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(control_listen(w->control), 0);
    fd = connect_client(w);
    serve(w);
    assert_int_equal(fd_count(w), 2);
    assert_int_equal(control_listen(w->control), 0); /* already */
    assert_int_equal(fd_count(w), 2);
    (void)close(fd);
}

static void a_folder_with_a_long_path_has_one_too(void **state)
{
    struct world *w = *state;
    struct control *control = NULL;
    struct buffer out = {0};
    char *end = w->folder + strlen(w->folder);
    for (int i = 0; i < 6; i++) {
        (void)strcat(w->folder, "/a-folder-with-a-rather-long-name");
        assert_int_equal(mkdir(w->folder, 0700), 0);
    }
    assert_int_equal(control_create(w->folder, answer, w, &control), 0);
    assert_int_equal(control_listen(control), 0);
    struct control *outer = w->control;
    w->control = control;
    int fd = connect_client(w);
    say(fd, "status\n");
    hear_all(w, fd, &out);
    assert_true(out.size > 0);
    buffer_free(&out);
    char name[PATH_SIZE + 32];
    file_name(w, name);
    assert_int_equal(access(name, F_OK), 0);
    control_destroy(control);
    assert_int_equal(access(name, F_OK), -1);
    w->control = outer;
    *end = '\0';
}

/* In a child: 0 if it is let in no further than the door. */
static int ask_as_nobody(const struct world *w)
{
    struct control_address address;
    char byte;
    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        return 2;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (control_address_open(w->folder, &address) != 0 ||
        connect(fd, (const struct sockaddr *)&address.name, sizeof(address.name)) != 0)
        return 3;
    (void)send(fd, "status\n", 7, MSG_NOSIGNAL);
    return recv(fd, &byte, 1, 0) == 1 ? 4 : 0;
}

static void another_user_is_not_answered(void **state)
{
    struct world *w = *state;
    char name[PATH_SIZE + 32];
    if (geteuid() != 0)
        skip();
    file_name(w, name);
    assert_int_equal(chmod(w->folder, 0777), 0);
    assert_int_equal(chmod(name, 0777), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(ask_as_nobody(w));
    struct pollfd fds[CONTROL_FDS_MAX];
    assert_int_equal(control_fds(w->control, w->now_ms, fds), 1);
    assert_int_equal(poll(fds, 1, WAIT_MS), 1);
    serve(w);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(w->requests, 0);
    assert_int_equal(fd_count(w), 1);
}

static void an_answer_has_no_line_of_its_contents(void **state)
{
    struct buffer out = {0};
    struct answer_object o;
    uint64_t number;
    (void)state;
    control_object(&out, "thing");
    control_text(&out, "text", "one\nend\n=2");
    control_text(&out, "none", NULL);
    control_number(&out, "number", 7);
    control_number(&out, "unknown", CONTROL_UNKNOWN);
    control_time(&out, "time", 1795308432);
    control_time(&out, "never", 0);
    control_object_end(&out);
    assert_false(out.failed);
    struct span rest = span_of(out.data, out.size);
    assert_true(answer_next(&rest, &o));
    assert_true(answer_is(&o, "thing"));
    assert_int_equal(o.count, 6);
    assert_true(span_equal(answer_text(&o, "text"), span_text("one\\x0aend\\x0a=2")));
    assert_int_equal(answer_text(&o, "none").size, 0);
    assert_int_equal(answer_number(&o, "number"), 7);
    assert_int_equal(answer_number(&o, "text"), 0); /* another type */
    assert_false(answer_field_number(&o.fields[3], &number));
    assert_int_equal(answer_time(&o, "time"), 1795308432);
    assert_int_equal(answer_time(&o, "never"), 0);
    assert_int_equal(answer_time(&o, "nowhere"), 0);
    assert_false(answer_next(&rest, &o));
    buffer_free(&out);
}

static void what_is_no_answer_is_read_as_nothing(void **state)
{
    struct answer_object o;
    uint64_t number;
    (void)state;
    struct span rest =
        span_text("kind\nno field\n:x\na=\nb=18446744073709551616\nc=1x\nd=9");
    assert_true(answer_next(&rest, &o));
    assert_int_equal(o.count, 4);
    for (size_t i = 0; i < 3; i++)
        assert_false(answer_field_number(&o.fields[i], &number));
    assert_int_equal(answer_number(&o, "d"), 9);
    assert_false(answer_next(&rest, &o));
    char many[ANSWER_FIELDS_MAX * 8 + 64] = "kind\n";
    for (int i = 0; i < ANSWER_FIELDS_MAX + 5; i++)
        (void)strcat(many, "x=1\n");
    rest = span_text(many);
    assert_true(answer_next(&rest, &o));
    assert_int_equal(o.count, ANSWER_FIELDS_MAX);
}

int main(void)
{
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_WORLD(a_request_is_answered_and_the_client_let_go),
        IN_WORLD(a_long_answer_comes_in_pieces),
        IN_WORLD(a_silent_client_is_dropped),
        IN_WORLD(one_who_speaks_a_byte_at_a_time_is_dropped_in_the_end),
        IN_WORLD(a_request_that_is_too_long_is_dropped),
        IN_WORLD(one_who_takes_nothing_costs_little_and_is_dropped),
        IN_WORLD(one_who_goes_away_is_forgotten),
        IN_WORLD(more_clients_than_fit_wait_their_turn),
        IN_WORLD(the_file_is_the_owners_only_and_goes_at_the_end),
        IN_WORLD(a_dead_services_socket_is_replaced),
        IN_WORLD(a_folder_with_a_long_path_has_one_too),
        IN_WORLD(another_user_is_not_answered),
        cmocka_unit_test(an_answer_has_no_line_of_its_contents),
        cmocka_unit_test(what_is_no_answer_is_read_as_nothing),
    };
    (void)alarm(TEST_SECONDS_MAX); /* who waits for what never comes */
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
