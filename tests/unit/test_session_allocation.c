/* Memory that runs out: in one whole session after another a single allocation of ours
 * fails, the first, the second and so on, until one needs no more. Each ends and says so,
 * leaves in order only if all is archived, holds nothing, and the next one completes it.
 * The linker puts the functions below in place of the C library's (see Makefile); those of
 * OpenSSL, LMDB and zstd are their own. */
#include "archive/index_rows.h"
#include "tests/support/pool_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGES 3
#define ACCOUNT_SIZE 24
#define FAILURES_MIN 50 /* fewer: they are not ours that fail */
#define FAILURES_MAX 160
#define AT_ONCE 16

/* The allocation after so many fails; 0 or less: none does any more. */
static _Atomic long countdown;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static bool fails(void)
{
    if (atomic_load(&countdown) <= 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

static const struct mail_message mail[MESSAGES] = {
    {.uidl = "u1", .data = "Subject: one\r\n\r\nfirst\r\n", .size = 23},
    {.uidl = "u2", .data = "Subject: two\r\n\r\nsecond\r\n", .size = 24},
    {.uidl = "u3", .data = "Subject: three\r\n\r\nthird\r\n", .size = 25},
};

/* Runs a job whose n-th allocation fails. False: it needs fewer. */
static bool run_with_failure(struct world *w, const struct pool_job *job, long n,
                             struct world_result *out)
{
    struct pool_job own = *job;
    own.tag = &w->results[0];
    w->results[0] = (struct world_result){.there = false};
    atomic_store(&countdown, n);
    int err = pool_submit(w->pool, &own);
    if (err == 0)
        *out = *world_wait(w, 0);
    bool struck = atomic_exchange(&countdown, 0) <= 0;
    if (err != 0) {
        assert_int_equal(err, -ENOMEM);
        outcome_set(&out->outcome, SCOPE_PROCESS, RETRY_BACKOFF, "not begun");
    }
    return struck;
}

static void holds_nothing(struct world *w)
{
    struct pool_progress progress;
    pool_progress(w->pool, &progress);
    assert_int_equal(progress.memory, 0);
    assert_int_equal(progress.sessions, 0);
}

/* A failure that the writer cannot get over ends the pool, as it does in the service. */
static void begin_again_if_needed(struct world *w, struct mail_server_options *options)
{
    char text[POOL_TEXT_SIZE];
    if (pool_failure(w->pool, text) == 0)
        return;
    world_end(w);
    world_begin(w, options);
}

/* All are whole, and the ledger says so. */
static void is_archived(struct world *w, const char *account)
{
    struct account_info info = {.session_us = 0};
    assert_int_equal(world_messages(w, account), MESSAGES);
    for (unsigned i = 0; i < MESSAGES; i++)
        world_assert_message(w, account, i + 1, &mail[i]);
    assert_int_equal(archive_find_account(w->fixture.archive, account, &info), 0);
    assert_true(info.session_us > 0);
}

static void name_account(char out[ACCOUNT_SIZE], long n)
{
    snprintf(out, ACCOUNT_SIZE, "user%ld", n);
}

/* The next sessions of accounts first..last, with what those before have learnt. */
static void complete_some(struct world *w, const struct mail_server_options *options,
                          const struct pool_marks *marks, long first, long last)
{
    char account[ACCOUNT_SIZE];
    w->submitted = 0;
    for (long n = first; n <= last; n++) {
        name_account(account, n);
        struct pool_job job = world_job(w, account, options);
        job.marks = marks[n];
        w->results[n - first] = (struct world_result){.there = false};
        world_submit(w, &job);
    }
    for (long n = first; n <= last; n++) {
        const struct world_result *r = world_wait(w, (unsigned)(n - first));
        assert_string_equal(r->outcome.text, "");
        assert_int_equal(r->counts.known + r->counts.fetched, MESSAGES);
        name_account(account, n);
        is_archived(w, account);
    }
}

/* A few at once, so that a slow machine has the patience for them. */
static void the_next_complete_it(struct world *w, const struct mail_server_options *options,
                                 const struct pool_marks *marks, long count)
{
    for (long first = 1; first <= count; first += AT_ONCE)
        complete_some(w, options, marks, first,
                      first + AT_ONCE <= count ? first + AT_ONCE - 1 : count);
}

/* One session, in which the n-th allocation fails. False: there are fewer. */
static bool survive(struct world *w, const struct pool_job *job, long n,
                    struct world_result *out)
{
    *out = (struct world_result){.there = false};
    bool struck = run_with_failure(w, job, n, out);
    bool left = mail_server_quits(w->server) > 0;
    bool in_doubt = out->outcome.scope == SCOPE_MAILBOX;
    if (out->outcome.scope == SCOPE_NONE || left)
        assert_int_equal(world_messages(w, job->account), MESSAGES);
    else
        assert_int_equal(out->outcome.scope, in_doubt ? SCOPE_MAILBOX : SCOPE_PROCESS);
    if (in_doubt)
        assert_int_not_equal(mail_server_deletes(w->server), 0);
    assert_int_equal(out->outcome.retry,
                     out->outcome.scope == SCOPE_NONE ? RETRY_NONE : RETRY_BACKOFF);
    holds_nothing(w);
    return struck;
}

static void a_failed_allocation_costs_one_session(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = mail, .count = MESSAGES};
    static struct pool_marks marks[FAILURES_MAX + 1];
    bool struck = true;
    long n;
    world_begin(w, &options);
    for (n = 1; struck; n++) {
        char account[ACCOUNT_SIZE];
        struct world_result r;
        assert_true(n <= FAILURES_MAX);
        name_account(account, n);
        world_serve(w, &options);
        struct pool_job job = world_job(w, account, &options);
        struck = survive(w, &job, n, &r);
        marks[n] = r.marks;
        begin_again_if_needed(w, &options);
    }
    assert_true(n > FAILURES_MIN);
    the_next_complete_it(w, &options, marks, n - 1);
}

/* I6, whatever fails. */
static void every_deletion_was_intended(struct world *w, const char *account)
{
    struct account_info info;
    struct index_txn *t = NULL;
    lookup_rest(w->fixture.lookup);
    assert_int_equal(archive_find_account(w->fixture.archive, account, &info), 0);
    assert_int_equal(lookup_txn(w->fixture.lookup, &t), 0);
    for (unsigned i = 1; i <= MESSAGES; i++)
        if ((mail_server_deletes(w->server) & 1u << i) != 0)
            assert_int_not_equal(row_deletion_state(t, info.number, 1, i), DELETION_NONE);
    lookup_rest(w->fixture.lookup);
}

static void a_failed_allocation_deletes_nothing_by_mistake(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = mail, .count = MESSAGES};
    static struct pool_marks marks[FAILURES_MAX + 1];
    bool struck = true;
    long n;
    world_begin(w, &options);
    the_next_complete_it(w, &options, marks, FAILURES_MAX);
    for (n = 1; struck; n++) {
        char account[ACCOUNT_SIZE];
        struct world_result r;
        assert_true(n <= FAILURES_MAX);
        name_account(account, n);
        world_serve(w, &options);
        struct pool_job job = world_job(w, account, &options);
        job.kind = POOL_DELETE;
        job.delete_before_us = INT64_MAX;
        struck = survive(w, &job, n, &r);
        every_deletion_was_intended(w, account);
        begin_again_if_needed(w, &options);
        is_archived(w, account);
    }
    assert_true(n > FAILURES_MIN);
}

static int setup(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failed_allocation_costs_one_session, setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_failed_allocation_deletes_nothing_by_mistake,
                                        setup, world_teardown),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
