/* Connecting and closing. */
#include "tests/support/loop_fixture.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workers/loop_backend.h"

static void a_refused_connection_is_told_and_another_attempt_works(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = &f->clients[0];

    close(f->listener);
    f->listener = -1;
    loop_client_connect(c);
    assert_int_equal(c->connected, 0);
    RUN_UNTIL(f, c->connected == 1);
    assert_int_equal(c->connect_err, -ECONNREFUSED);
    loop_client_close(c);
    RUN_UNTIL(f, c->closed == 1);
    loop_fixture_listen(f, 8);
    loop_client_connect(&f->clients[1]);
    RUN_UNTIL(f, f->clients[1].connected == 1);
    assert_int_equal(f->clients[1].connect_err, 0);
}

static void close_before_the_first_turn_calls_closed_only(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});

    loop_client_connect(&f->clients[0]);
    loop_client_close(&f->clients[0]);
    loop_close(f->clients[0].socket);
    loop_fixture_run(f, LIMIT_MS);
    assert_int_equal(f->clients[0].closed, 1);
    loop_fixture_run_for(f, 5);
    assert_int_equal(f->clients[0].closed, 1);
    assert_int_equal(f->clients[0].connected, 0);
    assert_int_equal(loop_sockets(f->loop), 0);
}

static void close_while_connecting_calls_closed_only(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = &f->clients[0];
    int fill[3];

    /* A queue of one that nobody accepts from: later connections stay on their way. */
    loop_fixture_listen(f, 0);
    for (size_t i = 0; i < 3; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill[i], (struct sockaddr *)&f->address, sizeof(f->address));
    }
    loop_client_connect(c);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(loop_run(f->loop, 1), 0);
    assert_int_equal(c->connected, 0);
    loop_client_close(c);
    f->running = true;
    for (unsigned i = 0; i < 1000 && c->closed == 0; i++)
        assert_int_equal(loop_run(f->loop, 1), 0);
    f->running = false;
    assert_int_equal(c->closed, 1);
    assert_int_equal(c->connected, 0);
    for (size_t i = 0; i < 3; i++)
        close(fill[i]);
}

static void close_while_receiving_and_sending_calls_closed_only(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);
    char byte;

    loop_receive(c->socket);
    loop_client_send(c, f->pattern_size);
    loop_fixture_run_for(f, 10);
    assert_int_equal(c->received + c->sent, 0);
    loop_client_close(c);
    RUN_UNTIL(f, c->closed == 1);
    loop_fixture_run_for(f, 5);
    assert_int_equal(c->received + c->sent, 0);
    assert_int_equal(c->closed, 1);
    f->peers[0]->mode = PEER_SINK;
    RUN_UNTIL(f, recv(f->peers[0]->fd, &byte, 1, MSG_PEEK) == 0);
    assert_true(f->peers[0]->position < f->pattern_size);
    assert_false(f->peers[0]->broken);
}

static void close_inside_a_handler_is_the_last_of_it(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *in_connected = &f->clients[0], *in_received = &f->clients[1];

    f->mode = PEER_FLOOD;
    f->flood = 100000;
    in_connected->keep_receiving = true;
    in_connected->when_connected = loop_client_close;
    in_received->keep_receiving = true;
    in_received->when_received = loop_client_close;
    loop_client_connect(in_connected);
    loop_client_connect(in_received);
    RUN_UNTIL(f, in_connected->closed == 1 && in_received->closed == 1);
    assert_int_equal(in_connected->received, 0);
    assert_int_equal(in_received->received, 1);
}

static void bytes_sent_before_close_arrive(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);

    loop_client_send(c, 6);
    RUN_UNTIL(f, c->sent == 1);
    loop_close(c->socket);
    f->peers[0]->mode = PEER_SINK;
    RUN_UNTIL(f, f->peers[0]->position == 6);
    assert_false(f->peers[0]->broken);
}

static void connect_next(struct loop_client *c)
{
    loop_client_connect(c + 1);
}

static void a_slot_used_again_gets_nothing_of_its_predecessor(void **state)
{
    struct loop_fixture *f =
        loop_fixture_open(state, (struct loop_config){.max_sockets = 1});
    uint64_t first_token, second_token;

    for (unsigned i = 0; i < 100; i++) {
        struct loop_client *c = &f->clients[i];

        c->keep_receiving = true;
        c->seed = i;
        c->when_closed = connect_next;
        if (i == 0)
            loop_client_connect(c);
        RUN_UNTIL(f, c->connected == 1 && f->peer_count == i + 1);
        assert_int_equal(loop_client_try_connect(&f->clients[CLIENTS_MAX - 1]), -EMFILE);
        first_token = loop_token(c->socket, LOOP_OP_RECEIVE);
        assert_ptr_equal(loop_token_socket(f->loop, first_token), c->socket);
        /* On its way while the receive is cancelled and the slot changes hands. */
        assert_int_equal(send(f->peers[i]->fd, f->pattern + i, 50, MSG_NOSIGNAL), 50);
        loop_client_close(c);
        RUN_UNTIL(f, c->closed == 1);
        assert_int_equal(c->received, 0);
        assert_ptr_equal(f->clients[i + 1].socket, c->socket);
        second_token = loop_token(f->clients[i + 1].socket, LOOP_OP_RECEIVE);
        assert_true(first_token != second_token);
        assert_null(loop_token_socket(f->loop, first_token));
    }
    assert_int_equal(f->clients[100].received, 0);
    loop_close(f->clients[100].socket);
    RUN_UNTIL(f, f->clients[100].closed == 1);
}

static void destroy_closes_what_is_open(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});

    for (unsigned i = 0; i < 20; i++) {
        f->clients[i].keep_receiving = true;
        loop_client_connect(&f->clients[i]);
        if (i < 15)
            RUN_UNTIL(f, f->clients[i].connected == 1);
    }
    loop_client_send(&f->clients[0], f->pattern_size);
    loop_fixture_run(f, 0);
    loop_close(f->clients[1].socket);
    loop_fixture_destroy_loop(f);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(f->clients[i].closed, 1);
        assert_int_equal(f->clients[i].received, 0);
    }
}

/* One random thing that the contract allows. */
static void do_something(struct loop_client *c, unsigned choice)
{
    if (c->closed == 1 || (c->connected == 0 && c->socket == NULL)) {
        *c = (struct loop_client){.f = c->f};
        loop_client_connect(c);
    } else if (choice % 8 == 0) {
        loop_close(c->socket);
        c->closing = true;
    } else if (c->connected == 1 && c->connect_err == 0 && !c->closing) {
        if (choice % 2 == 0 && c->asked == c->received) {
            loop_receive(c->socket);
            c->asked++;
        } else if (choice % 2 == 1 && c->begun == c->sent) {
            loop_client_send(c, 1 + choice % 300000);
            c->begun++;
        }
    }
}

static void any_order_of_calls_keeps_the_contract(void **state)
{
    struct loop_fixture *f = loop_fixture_open(
        state, (struct loop_config){
                   .max_sockets = 30, .receive_buffers = 3, .receive_buffer_size = 700});
    uint32_t seed = 42;

    f->mode = PEER_FLOOD;
    f->flood = 5000;
    for (unsigned round = 0; round < 1200; round++) {
        seed = seed * 1664525 + 1013904223;
        do_something(&f->clients[(seed >> 16) % 30], seed >> 8);
        if (round % 4 == 0)
            loop_fixture_run(f, 0);
    }
    for (unsigned i = 0; i < 30; i++) {
        struct loop_client *c = &f->clients[i];

        assert_true(c->connected <= 1 && c->received <= c->asked && c->sent <= c->begun);
        assert_false(c->broken);
        if (c->socket != NULL && c->closed == 0)
            loop_close(c->socket);
    }
    RUN_UNTIL(f, loop_sockets(f->loop) == 0);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(f->clients[i].closed, f->clients[i].socket != NULL ? 1 : 0);
}

static void sockets_send_small_pieces_at_once_and_notice_dead_peers(void **state)
{
    struct loop_fixture *f = loop_fixture_open(state, (struct loop_config){0});
    struct loop_client *c = loop_fixture_connect_first(f);
    int nodelay = 0, keepalive = 0;
    socklen_t size = sizeof(int);

    assert_int_equal(getsockopt(c->socket->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size),
                     0);
    assert_int_equal(getsockopt(c->socket->fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &size),
                     0);
    assert_true(nodelay != 0 && keepalive != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_refused_connection_is_told_and_another_attempt_works),
        BOTH(close_before_the_first_turn_calls_closed_only),
        BOTH(close_while_connecting_calls_closed_only),
        BOTH(close_while_receiving_and_sending_calls_closed_only),
        BOTH(close_inside_a_handler_is_the_last_of_it),
        BOTH(bytes_sent_before_close_arrive),
        BOTH(a_slot_used_again_gets_nothing_of_its_predecessor),
        BOTH(destroy_closes_what_is_open),
        BOTH(any_order_of_calls_keeps_the_contract),
        BOTH(sockets_send_small_pieces_at_once_and_notice_dead_peers),
    };

    alarm(GIVE_UP_S);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("loop_close", tests, NULL, NULL);
}
