/* Data, time, wake-up, and the choice of a back end. See also test_loop_close.c. */
#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive/error.h"

#define LATE_MS 10000 /* on a machine that has other work */

/* Data */

static void echo_comes_back_whole_in_many_sizes(void **state)
{
    static const size_t sizes[] = {1, 2, 100, 4095, 32768, 32769, 100000, 1 << 20};
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = &f->clients[0];
    size_t total = 0;

    f->mode = PEER_ECHO;
    c->keep_receiving = true;
    loop_fixture_connect_first(f);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        c->seed = 0;
        loop_send(c->socket, f->pattern + total % PATTERN, sizes[i]);
        total += sizes[i];
        RUN_UNTIL(f, c->bytes == total && c->sent == i + 1);
        assert_int_equal(c->send_err, 0);
    }
    assert_false(c->broken);
    assert_int_equal(c->receive_err, 0);
}

static void three_hundred_sockets_at_once(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    unsigned done = 0;

    f->mode = PEER_ECHO;
    for (unsigned i = 0; i < 300; i++) {
        f->clients[i].seed = i % PATTERN;
        f->clients[i].keep_receiving = true;
        loop_client_connect(&f->clients[i]);
    }
    assert_int_equal(loop_sockets(f->loop), 300);
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].connected == 1);
        assert_int_equal(f->clients[i].connect_err, 0);
        loop_client_send(&f->clients[i], 2000 + i);
    }
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].bytes == 2000 + i);
        assert_false(f->clients[i].broken);
        loop_close(f->clients[i].socket);
    }
    for (unsigned i = 0; i < 300; i++) {
        RUN_UNTIL(f, f->clients[i].closed == 1);
        done += f->clients[i].closed;
    }
    assert_int_equal(done, 300);
    assert_int_equal(loop_sockets(f->loop), 0);
}

static void more_receives_than_buffers_all_make_progress(void **state)
{
    struct loop_fixture *f = loop_fixture_open(
        state, (struct loop_config){.receive_buffers = 2, .receive_buffer_size = 512});
    size_t least = SIZE_MAX;

    f->mode = PEER_FLOOD;
    f->flood = 12000;
    for (unsigned i = 0; i < 40; i++) {
        f->clients[i].keep_receiving = true;
        loop_client_connect(&f->clients[i]);
    }
    RUN_UNTIL(f, f->clients[0].bytes >= 8000);
    for (unsigned i = 0; i < 40; i++)
        least = f->clients[i].bytes < least ? f->clients[i].bytes : least;
    assert_true(least >= 2000);
    for (unsigned i = 0; i < 40; i++) {
        RUN_UNTIL(f, f->clients[i].bytes == 12000);
        assert_false(f->clients[i].broken);
    }
}

static void a_flood_on_one_socket_leaves_the_other_its_turn(void **state)
{
    struct loop_fixture *f =
        loop_fixture_open(state, (struct loop_config){.receive_buffer_size = 1024});
    struct loop_client *flooded = &f->clients[0], *quiet = &f->clients[1];

    f->mode = PEER_FLOOD;
    f->flood = SIZE_MAX;
    flooded->keep_receiving = true;
    loop_fixture_connect_first(f);
    f->mode = PEER_ECHO;
    quiet->keep_receiving = true;
    loop_client_connect(quiet);
    RUN_UNTIL(f, quiet->connected == 1);
    for (unsigned i = 1; i <= 20; i++) {
        unsigned turn = f->turn;

        loop_client_send(quiet, 1);
        quiet->bytes = 0;
        RUN_UNTIL(f, quiet->received == i);
        assert_in_range(f->turn - turn, 1, 50);
        RUN_UNTIL(f, quiet->sent == i);
    }
    assert_int_equal(flooded->most_calls_in_a_turn, 1);
    assert_true(flooded->received > 20);
}

static void a_send_of_several_megabytes_is_one_send(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);
    const size_t size = 9u << 20;

    loop_client_send(c, size);
    loop_fixture_run_for(f, 20);
    assert_int_equal(c->sent, 0);
    f->peers[0]->mode = PEER_SINK;
    RUN_UNTIL(f, f->peers[0]->position == size);
    RUN_UNTIL(f, c->sent == 1);
    assert_int_equal(c->send_err, 0);
    assert_false(f->peers[0]->broken);
}

static void without_loop_receive_the_peer_must_wait(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);
    struct loop_peer *p = f->peers[0];
    size_t position;

    p->mode = PEER_FLOOD;
    p->flood = SIZE_MAX;
    do {
        position = p->position;
        loop_fixture_run_for(f, 20);
    } while (p->position > position);
    assert_int_equal(c->received, 0);
    loop_receive(c->socket);
    assert_int_equal(c->received, 0);
    RUN_UNTIL(f, c->received == 1);
    loop_fixture_run_for(f, 20);
    assert_int_equal(c->received, 1);
    assert_false(c->broken);
}

static void the_end_of_the_stream_comes_after_its_data(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);

    assert_int_equal(send(f->peers[0]->fd, f->pattern, 1000, MSG_NOSIGNAL), 1000);
    loop_peer_close(f->peers[0]);
    loop_fixture_run_for(f, 5);
    loop_receive(c->socket);
    RUN_UNTIL(f, c->received == 1);
    assert_int_equal(c->bytes, 1000);
    assert_false(c->ended);
    loop_receive(c->socket);
    RUN_UNTIL(f, c->received == 2);
    assert_true(c->ended);
    assert_int_equal(c->receive_err, 0);
}

static void a_reset_is_told_to_receive_and_send(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);
    struct linger at_once = {.l_onoff = 1};

    loop_receive(c->socket);
    loop_fixture_run_for(f, 5);
    setsockopt(f->peers[0]->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    loop_peer_close(f->peers[0]);
    RUN_UNTIL(f, c->received == 1);
    assert_int_equal(c->receive_err, -ECONNRESET);
    loop_client_send(c, 10);
    RUN_UNTIL(f, c->sent == 1);
    assert_int_equal(c->send_err, -EPIPE);
}

/* Time and wake-up */

static void stamp(void *arg)
{
    struct loop_fixture *f = arg;

    assert_true(f->running);
    f->seen = f->turn;
    f->woken++;
}

static void a_timer_ends_the_wait(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct timer timer = {.fire = stamp, .arg = f};
    uint64_t deadline_ms = loop_now_ms(f->loop) + 30;

    timers_set(loop_timers(f->loop), &timer, deadline_ms);
    while (f->woken == 0) {
        loop_fixture_run(f, -1);
        assert_in_range(f->turn, 1, 5);
    }
    assert_in_range(loop_now_ms(f->loop), deadline_ms, deadline_ms + LATE_MS);
}

static void the_wait_ends_at_its_limit(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    uint64_t start_ms = loop_fixture_now_ms();

    loop_fixture_run(f, 0);
    assert_in_range(loop_fixture_now_ms() - start_ms, 0, LATE_MS);
    /* A turn may end early, as a ring that was just given up can interrupt it, but not
     * often. */
    for (unsigned turns = 0; loop_fixture_now_ms() - start_ms < 40; turns++) {
        assert_in_range(turns, 0, 5);
        loop_fixture_run(f, 40);
    }
    assert_in_range(loop_fixture_now_ms() - start_ms, 40, LATE_MS);
}

static void look_at_posted(void *arg)
{
    struct loop_fixture *f = arg;

    assert_true(f->running);
    f->woken++;
    f->seen = atomic_load(&f->posted);
}

static void *post_and_wake(void *arg)
{
    struct loop_fixture *f = arg;

    for (unsigned i = 0; i < 1000; i++) {
        atomic_fetch_add(&f->posted, 1);
        loop_wake(f->loop);
    }
    return NULL;
}

static void no_wake_up_from_other_threads_is_lost(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    pthread_t threads[2];

    loop_on_wake(f->loop, look_at_posted, f);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_and_wake, f), 0);
    RUN_UNTIL(f, f->seen == 2000);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(f->woken, 1, 2000);
    loop_fixture_run(f,
                     0); /* the last wake-up may have been answered before it was given */
    f->woken = 0;
    loop_fixture_run(f, 20);
    assert_int_equal(f->woken, 0);
    loop_wake(f->loop);
    assert_int_equal(f->woken, 0);
    loop_fixture_run(f, LIMIT_MS);
    assert_int_equal(f->woken, 1);
}

static void wake_once_more(void *arg)
{
    struct loop_fixture *f = arg;

    if (f->woken++ == 0)
        loop_wake(f->loop);
}

static void a_wake_up_during_the_wake_handler_calls_it_again(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});

    loop_on_wake(f->loop, wake_once_more, f);
    loop_wake(f->loop);
    RUN_UNTIL(f, f->woken == 2);
    loop_fixture_run_for(f, 10);
    assert_int_equal(f->woken, 2);
}

/* The back end */

static void a_forced_back_end_is_the_one_in_use(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});

    assert_string_equal(loop_describe(f->loop),
                        f->backend == LOOP_URING ? "io_uring" : "epoll");
}

static void limits_are_refused_beyond_their_maximum(void **state)
{
    struct loop_fixture *f = *state;
    const struct loop_config wrong[] = {
        {.backend = f->backend, .max_sockets = LOOP_SOCKETS_MAX + 1},
        {.backend = f->backend, .receive_buffers = LOOP_RECEIVE_BUFFERS_MAX + 1},
        {.backend = f->backend, .receive_buffer_size = LOOP_RECEIVE_BUFFER_SIZE_MAX + 1},
    };

    for (size_t i = 0; i < 3; i++)
        assert_int_equal(loop_create(&wrong[i], &f->loop), -EINVAL);
}

static void back_ends_have_names(void **state)
{
    enum loop_backend backend;

    (void)state;
    assert_int_equal(loop_backend_from_name("uring", &backend), 0);
    assert_int_equal(backend, LOOP_URING);
    assert_int_equal(loop_backend_from_name("epoll", &backend), 0);
    assert_int_equal(backend, LOOP_EPOLL);
    assert_int_equal(loop_backend_from_name(NULL, &backend), 0);
    assert_int_equal(backend, LOOP_AUTO);
    assert_int_equal(loop_backend_from_name("", &backend), 0);
    assert_int_equal(backend, LOOP_AUTO);
    assert_int_equal(loop_backend_from_name("kqueue", &backend), -EINVAL);
}

/* As the profile of a container does. */
static void forbid(unsigned system_call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]),
                                 .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(10);
}

static int status_where_forbidden(unsigned system_call)
{
    const struct loop_config automatic = {0}, forced = {.backend = LOOP_URING};
    struct loop *loop;

    forbid(system_call);
    if (loop_create(&forced, &loop) != -EPERM)
        return 11;
    if (loop_create(&automatic, &loop) != 0)
        return 12;
    if (strcmp(loop_describe(loop), "epoll (io_uring: Operation not permitted)") != 0)
        return 13;
    if (loop_run(loop, 0) != 0)
        return 14;
    loop_destroy(loop);
    return 0;
}

static void where_io_uring_is_forbidden_epoll_serves_and_says_why(void **state)
{
    static const unsigned system_calls[] = {SYS_io_uring_setup, SYS_io_uring_register,
                                            SYS_io_uring_enter};

    (void)state;
    for (size_t i = 0; i < sizeof(system_calls) / sizeof(system_calls[0]); i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0)
            _exit(status_where_forbidden(system_calls[i]));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(echo_comes_back_whole_in_many_sizes),
        BOTH(three_hundred_sockets_at_once),
        BOTH(more_receives_than_buffers_all_make_progress),
        BOTH(a_flood_on_one_socket_leaves_the_other_its_turn),
        BOTH(a_send_of_several_megabytes_is_one_send),
        BOTH(without_loop_receive_the_peer_must_wait),
        BOTH(the_end_of_the_stream_comes_after_its_data),
        BOTH(a_reset_is_told_to_receive_and_send),
        BOTH(a_timer_ends_the_wait),
        BOTH(the_wait_ends_at_its_limit),
        BOTH(no_wake_up_from_other_threads_is_lost),
        BOTH(a_wake_up_during_the_wake_handler_calls_it_again),
        BOTH(a_forced_back_end_is_the_one_in_use),
        BOTH(limits_are_refused_beyond_their_maximum),
        cmocka_unit_test(back_ends_have_names),
        cmocka_unit_test(where_io_uring_is_forbidden_epoll_serves_and_says_why),
    };

    alarm(GIVE_UP_S);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
