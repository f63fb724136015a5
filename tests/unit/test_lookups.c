/* Answers come back with their tags, from the resolver's thread or at once; nobody gets one
 * that was forgotten, and the end does not wait for a name server that says nothing. */
#include "daemon/lookups.h"

#include "archive/error.h"
#include "daemon/clock.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000 /* for what comes by itself */

/* A name server that says nothing until it may. */
struct silence {
    sem_t asked, over;
};

/* "silent" waits for the end of the silence, "none" is not known, all others are at
 * 192.0.2.1. */
static void resolve(void *ctx, const char *host, struct resolver_answer *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
    struct silence *silence = ctx;
    *out = (struct resolver_answer){.text = "as the test has it"};
    if (strcmp(host, "silent") == 0) {
        (void)sem_post(&silence->asked);
        while (sem_wait(&silence->over) != 0)
            continue;
    }
    if (strcmp(host, "none") == 0) {
        out->err = ERR_NOT_FOUND;
        return;
    }
    out->count = 1;
    memcpy(&out->addresses[0].address, &in, sizeof(in));
    out->addresses[0].size = sizeof(in);
}

static uint64_t now_ms(void *ctx)
{
    (void)ctx;
    return clock_now_ms();
}

static const struct resolver_source source = {.resolve = resolve, .now_ms = now_ms};

static struct lookups *start(void)
{
    struct lookups *l = NULL;
    assert_int_equal(lookups_create(&source, &l), 0);
    return l;
}

static uint32_t take(struct lookups *l, struct resolver_answer *out)
{
    uint32_t tag = UINT32_MAX;
    struct pollfd fd = {.fd = lookups_fd(l), .events = POLLIN};
    while (!lookups_take(l, &tag, out))
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    return tag;
}

static void answers_come_with_their_tags(void **state)
{
    (void)state;
    struct lookups *l = start();
    struct resolver_answer answer;
    assert_int_equal(lookups_ask(l, "some.example", 995, 7), 0);
    assert_int_equal(take(l, &answer), 7);
    assert_int_equal(answer.err, 0);
    assert_int_equal(answer.count, 1);
    assert_int_equal(lookups_ask(l, "none", 995, 8), 0);
    assert_int_equal(take(l, &answer), 8);
    assert_int_equal(answer.err, ERR_NOT_FOUND);
    lookups_destroy(l);
}

static void an_address_is_answered_at_once(void **state)
{
    (void)state;
    struct lookups *l = start();
    struct resolver_answer answer;
    uint32_t tag = 0;
    assert_int_equal(lookups_ask(l, "192.0.2.9", 995, 3), 0);
    assert_true(lookups_take(l, &tag, &answer));
    assert_int_equal(tag, 3);
    lookups_destroy(l);
}

static void what_cannot_be_asked_is_answered_too(void **state)
{
    (void)state;
    struct lookups *l = start();
    struct resolver_answer answer;
    assert_int_equal(lookups_ask(l, "", 995, 4), 0);
    assert_int_equal(take(l, &answer), 4);
    assert_int_not_equal(answer.err, 0);
    assert_non_null(answer.text);
    lookups_destroy(l);
}

static void what_is_forgotten_does_not_come(void **state)
{
    (void)state;
    struct lookups *l = start();
    struct resolver_answer answer;
    assert_int_equal(lookups_ask(l, "old.example", 995, 1), 0);
    lookups_forget(l);
    assert_int_equal(lookups_ask(l, "new.example", 995, 2), 0);
    assert_int_equal(take(l, &answer), 2);
    lookups_destroy(l);
}

static void there_is_room_for_so_many_and_again_when_they_are_taken(void **state)
{
    (void)state;
    struct lookups *l = start();
    struct resolver_answer answer;
    for (uint32_t i = 0; i < LOOKUPS_MAX; i++) {
        assert_true(lookups_room(l));
        assert_int_equal(lookups_ask(l, "192.0.2.9", 995, i), 0);
    }
    assert_false(lookups_room(l));
    assert_int_equal(take(l, &answer), 0);
    assert_true(lookups_room(l));
    lookups_destroy(l);
}

static void wait_until_closed(int fd)
{
    uint64_t began_ms = clock_now_ms();
    while (fcntl(fd, F_GETFD) >= 0) {
        assert_in_range(clock_now_ms() - began_ms, 0, PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
}

/* It returns although the silence is not over; what it left to itself ends with that. */
static void the_end_does_not_wait_for_a_silent_name_server(void **state)
{
    (void)state;
    struct silence silence;
    struct resolver_source silent = source;
    struct lookups *l = NULL;
    silent.ctx = &silence;
    assert_int_equal(sem_init(&silence.asked, 0, 0), 0);
    assert_int_equal(sem_init(&silence.over, 0, 0), 0);
    assert_int_equal(lookups_create(&silent, &l), 0);
    int fd = lookups_fd(l);
    assert_int_equal(lookups_ask(l, "silent", 995, 1), 0);
    assert_int_equal(sem_wait(&silence.asked), 0);
    (void)alarm(PATIENCE_MS / 1000); /* else it would wait for ever */
    lookups_destroy(l);
    (void)alarm(0);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    assert_int_equal(sem_post(&silence.over), 0);
    wait_until_closed(fd);
    (void)sem_destroy(&silence.asked);
    (void)sem_destroy(&silence.over);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_with_their_tags),
        cmocka_unit_test(an_address_is_answered_at_once),
        cmocka_unit_test(what_cannot_be_asked_is_answered_too),
        cmocka_unit_test(what_is_forgotten_does_not_come),
        cmocka_unit_test(there_is_room_for_so_many_and_again_when_they_are_taken),
        cmocka_unit_test(the_end_does_not_wait_for_a_silent_name_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
