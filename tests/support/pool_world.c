#include "tests/support/pool_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PATIENCE_S 60
#define MAX_MEMORY ((uint64_t)64 * 1024 * 1024)
#define LINE 76

int world_setup(void **state, enum loop_backend backend)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->backend = backend;
    w->limits = pop3_limits_default;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->port = held_port_take();
    fixture_setup(&w->fixture);
    fixture_close(&w->fixture);
    w->authority = certificate_create(
        &(struct certificate_spec){.common_name = "test authority", .authority = true});
    w->certificate = certificate_create(&(struct certificate_spec){
        .common_name = "localhost", .names = "IP:127.0.0.1", .issuer = w->authority});
    snprintf(w->ca_file, sizeof(w->ca_file), "%s/ca.pem", w->fixture.root);
    certificate_write(w->authority, w->ca_file);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    world_end(w);
    held_port_release(&w->port);
    fixture_teardown(&w->fixture);
    certificate_destroy(w->authority);
    certificate_destroy(w->certificate);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    free(w);
    return 0;
}

bool world_backend_works(enum loop_backend backend)
{
    const struct loop_config config = {.backend = backend, .max_sockets = 4};
    struct loop *loop = NULL;
    bool works = loop_create(&config, &loop) == 0;
    loop_destroy(loop);
    return works;
}

static void take_result(void *arg, const struct pool_result *result)
{
    struct world *w = arg;
    const struct world_result got = {.there = true,
                                     .stopped = result->stopped,
                                     .unlisted = result->unlisted,
                                     .outcome = *result->outcome,
                                     .counts = result->counts,
                                     .marks = result->marks};
    struct world_result *to = result->tag;
    pthread_mutex_lock(&w->mutex);
    assert_false(to->there);
    *to = got;
    snprintf(to->address, sizeof(to->address), "%s", result->address);
    snprintf(to->tls, sizeof(to->tls), "%s", result->tls);
    snprintf(to->aside, sizeof(to->aside), "%s", result->aside);
    w->ended++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

void world_serve(struct world *w, struct mail_server_options *options)
{
    if (w->server != NULL)
        mail_server_stop(w->server);
    options->certificate = w->certificate;
    struct mail_server_options on_a_port = *options;
    if (options->port == 0) {
        held_port_release(&w->port);
        w->port = held_port_take();
        on_a_port.port = w->port.number;
    }
    w->server = mail_server_start(&on_a_port);
}

void world_begin(struct world *w, struct mail_server_options *options)
{
    assert_int_equal(fixture_try_open(&w->fixture, ARCHIVE_WRITE, false, w->ops), 0);
    world_serve(w, options);
    const struct pool_config config = {
        .archive = w->fixture.archive,
        .workers = 2,
        .sessions_max = 512,
        .backend = w->backend,
        .max_memory = w->max_memory != 0 ? w->max_memory : MAX_MEMORY,
        .done = take_result,
        .arg = w,
    };
    assert_int_equal(pool_create(&config, &w->pool), 0);
}

void world_end(struct world *w)
{
    pool_destroy(w->pool);
    w->pool = NULL;
    if (w->server != NULL)
        mail_server_stop(w->server);
    w->server = NULL;
    if (w->fixture.archive != NULL && w->ops == NULL)
        fixture_close(&w->fixture);
    else
        fixture_crash(&w->fixture);
}

struct pool_job world_job(const struct world *w, const char *account,
                          const struct mail_server_options *options)
{
    return (struct pool_job){
        .account = account,
        .host = "127.0.0.1",
        .port = mail_server_port(w->server),
        .implicit_tls = !options->stls,
        .ca_file = w->ca_file,
        .login = account,
        .password = "secret word",
        .limits = &w->limits,
    };
}

unsigned world_submit(struct world *w, const struct pool_job *job)
{
    struct pool_job own = *job;
    unsigned place = w->submitted++;
    assert_true(place < WORLD_RESULTS_MAX);
    own.tag = &w->results[place];
    assert_int_equal(pool_submit(w->pool, &own), 0);
    return place;
}

const struct world_result *world_wait(struct world *w, unsigned place)
{
    struct timespec until;
    int err = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&w->mutex);
    while (!w->results[place].there && err == 0)
        err = pthread_cond_timedwait(&w->changed, &w->mutex, &until);
    pthread_mutex_unlock(&w->mutex);
    assert_int_equal(err, 0);
    return &w->results[place];
}

const struct world_result *world_run(struct world *w, const struct pool_job *job)
{
    return world_wait(w, world_submit(w, job));
}

uint64_t world_messages(struct world *w, const char *account)
{
    struct account_info info;
    return archive_find_account(w->fixture.archive, account, &info) == 0 ? info.messages
                                                                         : 0;
}

void world_assert_message(struct world *w, const char *account, uint64_t n,
                          const struct mail_message *expected)
{
    size_t size = 0;
    int err = 0;
    char *data = fixture_restore(&w->fixture, account, n, &size, &err);
    assert_int_equal(err, 0);
    assert_int_equal(size, expected->size);
    assert_memory_equal(data, expected->data, size);
    free(data);
}

struct mail_message world_message(const char *uidl, unsigned seed, size_t size)
{
    char *data = malloc(size + 256);
    assert_non_null(data);
    int n =
        snprintf(data, 256, "From: a@example\r\nSubject: message %u\r\n\r\n.dot\r\n", seed);
    size_t used = (size_t)n;
    uint64_t x = seed * 2654435761u + 1;
    while (used < size) {
        for (unsigned i = 0; i < LINE; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            data[used++] = (char)('0' + (x >> 58));
        }
        memcpy(data + used, "\r\n", 2);
        used += 2;
    }
    return (struct mail_message){.uidl = uidl, .data = data, .size = used};
}
