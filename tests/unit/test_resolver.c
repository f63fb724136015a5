#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "archive/error.h"
#include "workers/resolver.h"

#define WAIT_S 20 /* only a failure takes so long */
#define CALLS_MAX 2048

struct call {
    struct resolver_answer answer;
    pthread_t thread;
};

/* A source of answers that counts, can be held up, for one host or for all, and has a clock
 * of its own; and the calls of callbacks that came. */
struct fixture {
    struct resolver *resolver;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned resolved; /* calls of the source begun */
    unsigned under_way, under_way_peak;
    bool held;
    const char *held_host; /* or NULL */
    bool until_stopped;    /* whatever is looked up */
    int next_err;
    atomic_uint_fast64_t now_ms;
    struct call calls[CALLS_MAX];
    size_t call_count;
};

static void wait_for_change(struct fixture *f)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;

    int err = pthread_cond_timedwait(&f->changed, &f->mutex, &until);

    if (err != 0)
        pthread_mutex_unlock(&f->mutex); /* for teardown() */
    assert_int_equal(err, 0);
}

static bool is_held(const struct fixture *f, const char *host)
{
    return f->held || (f->held_host != NULL && strcmp(host, f->held_host) == 0);
}

static void ignore(void *arg, const struct resolver_answer *answer)
{
    (void)arg;
    (void)answer;
}

/* Only a lookup tells. */
static void wait_until_stopped(const struct fixture *f, const char *host)
{
    const struct timespec a_moment = {.tv_nsec = 1000 * 1000};

    while (resolver_lookup(f->resolver, host, 1, ignore, NULL) != ERR_STOPPED)
        nanosleep(&a_moment, NULL);
}

/* 192.0.2.N for a name that begins with digit N, and one of IPv6. */
static void fake_resolve(void *ctx, const char *host, struct resolver_answer *out_answer)
{
    struct fixture *f = ctx;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    pthread_mutex_lock(&f->mutex);
    f->resolved++;
    f->under_way++;
    if (f->under_way > f->under_way_peak)
        f->under_way_peak = f->under_way;
    pthread_cond_broadcast(&f->changed);
    while (is_held(f, host))
        pthread_cond_wait(&f->changed, &f->mutex);
    f->under_way--;
    out_answer->err = f->next_err;
    pthread_mutex_unlock(&f->mutex);
    if (f->until_stopped)
        wait_until_stopped(f, host);
    out_answer->text = out_answer->err == 0 ? "fine" : "no such luck";
    out_answer->count = out_answer->err == 0 ? 2 : 0;
    v4.sin_addr.s_addr = htonl(0xc0000200u + (uint32_t)(host[0] - '0'));
    memcpy(&out_answer->addresses[0].address, &v6, sizeof(v6));
    out_answer->addresses[0].size = sizeof(v6);
    memcpy(&out_answer->addresses[1].address, &v4, sizeof(v4));
    out_answer->addresses[1].size = sizeof(v4);
}

static uint64_t fake_now_ms(void *ctx)
{
    struct fixture *f = ctx;

    return f->now_ms;
}

static void note(void *arg, const struct resolver_answer *answer)
{
    struct fixture *f = arg;

    pthread_mutex_lock(&f->mutex);
    if (f->call_count < CALLS_MAX)
        f->calls[f->call_count] =
            (struct call){.answer = *answer, .thread = pthread_self()};
    f->call_count++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void wait_for_calls(struct fixture *f, size_t count)
{
    pthread_mutex_lock(&f->mutex);
    while (f->call_count < count)
        wait_for_change(f);
    pthread_mutex_unlock(&f->mutex);
}

static void wait_for_resolved(struct fixture *f, unsigned count)
{
    pthread_mutex_lock(&f->mutex);
    while (f->resolved < count)
        wait_for_change(f);
    pthread_mutex_unlock(&f->mutex);
}

static void hold(struct fixture *f, bool held)
{
    pthread_mutex_lock(&f->mutex);
    f->held = held;
    f->held_host = NULL;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void hold_host(struct fixture *f, const char *host)
{
    pthread_mutex_lock(&f->mutex);
    f->held_host = host;
    pthread_mutex_unlock(&f->mutex);
}

static void lookup(struct fixture *f, const char *host, uint16_t port)
{
    assert_int_equal(resolver_lookup(f->resolver, host, port, note, f), 0);
}

static int setup_without_resolver(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    *state = f;
    return 0;
}

static int setup_fake(void **state)
{
    struct resolver_source source = {.resolve = fake_resolve, .now_ms = fake_now_ms};

    setup_without_resolver(state);
    source.ctx = *state;
    return resolver_create(&source, &((struct fixture *)*state)->resolver);
}

static int setup_system(void **state)
{
    setup_without_resolver(state);
    return resolver_create(NULL, &((struct fixture *)*state)->resolver);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    hold(f, false);
    resolver_destroy(f->resolver);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f);
    return 0;
}

static uint16_t port_of(const struct resolver_address *address)
{
    return address->address.ss_family == AF_INET6
               ? ntohs(((const struct sockaddr_in6 *)&address->address)->sin6_port)
               : ntohs(((const struct sockaddr_in *)&address->address)->sin_port);
}

/* The N of its 192.0.2.N. */
static unsigned host_of(const struct call *call)
{
    struct sockaddr_in v4;

    memcpy(&v4, &call->answer.addresses[1].address, sizeof(v4));
    return ntohl(v4.sin_addr.s_addr) & 0xff;
}

static void a_name_is_answered_in_a_thread_of_the_resolvers(void **state)
{
    struct fixture *f = *state;

    lookup(f, "7.example", 995);
    wait_for_calls(f, 1);
    assert_int_equal(f->calls[0].answer.err, 0);
    assert_int_equal(f->calls[0].answer.count, 2);
    assert_int_equal(port_of(&f->calls[0].answer.addresses[0]), 995);
    assert_int_equal(port_of(&f->calls[0].answer.addresses[1]), 995);
    assert_false(pthread_equal(f->calls[0].thread, pthread_self()));
}

static void equal_requests_share_one_lookup(void **state)
{
    struct fixture *f = *state;
    unsigned expected = 999;

    hold(f, true);
    lookup(f, "1.example", 999);
    wait_for_resolved(f, 1);
    for (uint16_t i = 0; i < 100; i++) {
        lookup(f, "1.EXAMPLE", (uint16_t)(1000 + i));
        lookup(f, "2.example", 995);
    }
    hold(f, false);
    wait_for_calls(f, 201);
    assert_int_equal(f->resolved, 2);
    for (size_t i = 0; i < 201; i++)
        if (host_of(&f->calls[i]) == 1)
            assert_int_equal(port_of(&f->calls[i].answer.addresses[1]), expected++);
    assert_int_equal(expected, 1100);
}

static void a_lookup_that_hangs_delays_no_other(void **state)
{
    struct fixture *f = *state;

    hold_host(f, "9.example");
    lookup(f, "9.example", 995);
    wait_for_resolved(f, 1);
    lookup(f, "1.example", 995);
    lookup(f, "2.example", 995);
    wait_for_calls(f, 2);
    lookup(f, "3.example", 995);
    wait_for_calls(f, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(host_of(&f->calls[i]), 9);
    hold(f, false);
    wait_for_calls(f, 4);
    assert_int_equal(host_of(&f->calls[3]), 9);
}

static void lookups_at_once_are_bounded_and_all_are_answered(void **state)
{
    struct fixture *f = *state;
    char host[32];

    hold(f, true);
    for (unsigned i = 0; i < 8 * RESOLVER_THREADS_MAX; i++) {
        snprintf(host, sizeof(host), "%u.example", i);
        lookup(f, host, 110);
    }
    wait_for_resolved(f, RESOLVER_THREADS_MAX);
    hold(f, false);
    wait_for_calls(f, 8 * RESOLVER_THREADS_MAX);
    assert_int_equal(f->resolved, 8 * RESOLVER_THREADS_MAX);
    assert_int_equal(f->under_way_peak, RESOLVER_THREADS_MAX);
}

static void one_thread_does_for_lookups_one_after_another(void **state)
{
    struct fixture *f = *state;
    char host[32];

    for (unsigned i = 0; i < 20; i++) {
        snprintf(host, sizeof(host), "%u.example", i);
        lookup(f, host, 110);
        wait_for_calls(f, i + 1);
        assert_true(pthread_equal(f->calls[i].thread, f->calls[0].thread));
    }
}

static void a_known_answer_is_given_at_once_even_while_another_lookup_hangs(void **state)
{
    struct fixture *f = *state;

    lookup(f, "1.example", 110);
    wait_for_calls(f, 1);
    hold(f, true);
    lookup(f, "2.example", 110);
    wait_for_resolved(f, 2);
    lookup(f, "1.example", 995);
    assert_int_equal(f->call_count, 2);
    assert_int_equal(port_of(&f->calls[1].answer.addresses[1]), 995);
    assert_int_equal(f->calls[1].answer.err, 0);
}

static void a_success_is_kept_for_its_time(void **state)
{
    struct fixture *f = *state;

    lookup(f, "1.example", 110);
    wait_for_calls(f, 1);
    f->now_ms = RESOLVER_SUCCESS_KEPT_MS - 1;
    lookup(f, "1.example", 110);
    assert_int_equal(f->call_count, 2);
    f->now_ms = RESOLVER_SUCCESS_KEPT_MS;
    lookup(f, "1.example", 110);
    wait_for_calls(f, 3);
    assert_int_equal(f->resolved, 2);
}

static void a_failure_is_told_and_kept_for_a_shorter_time(void **state)
{
    struct fixture *f = *state;

    f->next_err = ERR_NOT_FOUND;
    lookup(f, "1.example", 110);
    wait_for_calls(f, 1);
    assert_int_equal(f->calls[0].answer.err, ERR_NOT_FOUND);
    assert_string_equal(f->calls[0].answer.text, "no such luck");
    assert_int_equal(f->calls[0].answer.count, 0);
    f->now_ms = RESOLVER_FAILURE_KEPT_MS - 1;
    lookup(f, "1.example", 110);
    assert_int_equal(f->resolved, 1);
    f->now_ms = RESOLVER_FAILURE_KEPT_MS;
    f->next_err = 0;
    lookup(f, "1.example", 110);
    wait_for_calls(f, 3);
    assert_int_equal(f->calls[2].answer.err, 0);
}

static void names_are_bounded_and_the_oldest_answer_makes_room(void **state)
{
    struct fixture *f = *state;
    char host[32];

    lookup(f, "0.example", 110);
    wait_for_calls(f, 1);
    lookup(f, "1.example", 110);
    wait_for_calls(f, 2);
    hold(f, true);
    for (unsigned i = 2; i < RESOLVER_NAMES_MAX; i++) {
        snprintf(host, sizeof(host), "%u.example", i);
        lookup(f, host, 110);
    }
    lookup(f, "one.more", 110);
    assert_int_equal(f->call_count, 2);
    lookup(f, "1.example", 110); /* it was 0 that went */
    assert_int_equal(f->call_count, 3);
    lookup(f, "another", 110);
    assert_int_equal(resolver_lookup(f->resolver, "too.many", 110, note, f), -EAGAIN);
    hold(f, false);
    wait_for_calls(f, RESOLVER_NAMES_MAX + 3);

    lookup(f, "0.example", 110);
    wait_for_calls(f, RESOLVER_NAMES_MAX + 4);
    assert_int_equal(f->resolved, RESOLVER_NAMES_MAX + 3);
}

static void waiting_requests_are_bounded(void **state)
{
    struct fixture *f = *state;

    hold(f, true);
    for (unsigned i = 0; i < RESOLVER_WAITING_MAX; i++)
        lookup(f, "1.example", 110);
    assert_int_equal(resolver_lookup(f->resolver, "1.example", 110, note, f), -EAGAIN);
    hold(f, false);
    wait_for_calls(f, RESOLVER_WAITING_MAX);
}

static void stopping_answers_every_outstanding_request(void **state)
{
    struct fixture *f = *state;
    char host[32];

    f->until_stopped = true;
    for (unsigned i = 0; i <= RESOLVER_THREADS_MAX; i++) {
        snprintf(host, sizeof(host), "%u.example", i);
        lookup(f, host, 110);
    }
    lookup(f, "0.example", 110);
    wait_for_resolved(f, RESOLVER_THREADS_MAX);
    assert_int_equal(f->call_count, 0);
    resolver_destroy(f->resolver);
    f->resolver = NULL;
    assert_int_equal(f->call_count, RESOLVER_THREADS_MAX + 2);
    for (size_t i = 0; i < f->call_count; i++) {
        assert_int_equal(f->calls[i].answer.err, ERR_STOPPED);
        assert_int_equal(f->calls[i].answer.count, 0);
    }
    assert_int_equal(f->resolved, RESOLVER_THREADS_MAX);
}

static void a_host_must_have_a_sensible_length(void **state)
{
    struct fixture *f = *state;
    char host[RESOLVER_HOST_MAX + 2];

    memset(host, 'a', sizeof(host));
    host[RESOLVER_HOST_MAX + 1] = '\0';
    assert_int_equal(resolver_lookup(f->resolver, host, 110, note, f), -EINVAL);
    assert_int_equal(resolver_lookup(f->resolver, "", 110, note, f), -EINVAL);
    assert_int_equal(resolver_lookup(f->resolver, "[]", 110, note, f), -EINVAL);
    assert_int_equal(f->call_count, 0);
    host[RESOLVER_HOST_MAX] = '\0';
    lookup(f, host, 110);
    wait_for_calls(f, 1);
}

static void numeric_addresses_need_no_lookup(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1", "[::1]"};
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        lookup(f, hosts[i], 995);
        assert_int_equal(f->call_count, i + 1);
        assert_int_equal(f->calls[i].answer.err, 0);
        assert_int_equal(f->calls[i].answer.count, 1);
        assert_int_equal(f->calls[i].answer.addresses[0].address.ss_family,
                         i == 0 ? AF_INET : AF_INET6);
        assert_int_equal(port_of(&f->calls[i].answer.addresses[0]), 995);
    }
    assert_int_equal(f->resolved, 0);
}

static void the_system_knows_localhost(void **state)
{
    struct fixture *f = *state;
    bool loopback = false;

    lookup(f, "localhost", 995);
    wait_for_calls(f, 1);
    assert_int_equal(f->calls[0].answer.err, 0);
    assert_in_range(f->calls[0].answer.count, 1, RESOLVER_ADDRESSES_MAX);
    for (size_t i = 0; i < f->calls[0].answer.count; i++) {
        const struct resolver_address *address = &f->calls[0].answer.addresses[i];

        assert_int_equal(port_of(address), 995);
        if (address->address.ss_family == AF_INET) {
            assert_int_equal(address->size, sizeof(struct sockaddr_in));
            loopback |= ((const struct sockaddr_in *)&address->address)->sin_addr.s_addr ==
                        htonl(INADDR_LOOPBACK);
        }
    }
    assert_true(loopback);
}

static void the_system_says_why_a_name_does_not_resolve(void **state)
{
    struct fixture *f = *state;

    /* Not a host name: refused without asking any server. */
    lookup(f, "no such host", 995);
    wait_for_calls(f, 1);
    assert_true(f->calls[0].answer.err < 0);
    assert_true(strlen(f->calls[0].answer.text) > 0);
    assert_int_equal(f->calls[0].answer.count, 0);
}

#define FAKE(fn) cmocka_unit_test_setup_teardown(fn, setup_fake, teardown)
#define SYSTEM(fn) cmocka_unit_test_setup_teardown(fn, setup_system, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKE(a_name_is_answered_in_a_thread_of_the_resolvers),
        FAKE(equal_requests_share_one_lookup),
        FAKE(a_lookup_that_hangs_delays_no_other),
        FAKE(lookups_at_once_are_bounded_and_all_are_answered),
        FAKE(one_thread_does_for_lookups_one_after_another),
        FAKE(a_known_answer_is_given_at_once_even_while_another_lookup_hangs),
        FAKE(a_success_is_kept_for_its_time),
        FAKE(a_failure_is_told_and_kept_for_a_shorter_time),
        FAKE(names_are_bounded_and_the_oldest_answer_makes_room),
        FAKE(waiting_requests_are_bounded),
        FAKE(stopping_answers_every_outstanding_request),
        FAKE(a_host_must_have_a_sensible_length),
        FAKE(numeric_addresses_need_no_lookup),
        SYSTEM(the_system_knows_localhost),
        SYSTEM(the_system_says_why_a_name_does_not_resolve),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
