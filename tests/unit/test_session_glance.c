/* When a session lists the maildrop, and when it is content to see that nothing has
 * changed: workers/session_glance.c. */
#include "tests/support/pool_world.h"
#include "workers/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGE(id, text)                                       \
    {                                                           \
        .uidl = (id), .data = (text), .size = sizeof(text) - 1, \
    }

static const struct mail_message three[] = {
    MESSAGE("u1", "Subject: one\r\n\r\nfirst\r\n"),
    MESSAGE("u2", "Subject: two\r\n\r\nsecond\r\n"),
    MESSAGE("u3", "Subject: three\r\n\r\nthird\r\n"),
};

static struct mail_server_options options = {.messages = three, .count = 3};

/* A session, whose marks the job then has. True: it has listed the maildrop. */
static bool lists(struct world *w, struct pool_job *job)
{
    unsigned before = mail_server_listings(w->server);
    const struct world_result *r = world_run(w, job);
    assert_string_equal(r->outcome.text, "");
    job->marks = r->marks;
    bool listed = mail_server_listings(w->server) > before;
    assert_int_equal(r->unlisted, !listed && job->kind == POOL_FETCH);
    assert_int_equal(r->counts.listed, options.count);
    return listed;
}

/* Lists a maildrop twice, which finds the same. */
static struct pool_job settle(struct world *w, const char *account)
{
    struct pool_job job = world_job(w, account, &options);
    assert_true(lists(w, &job));
    assert_true(lists(w, &job));
    assert_int_not_equal(job.marks.run.glance.lsn, 0);
    return job;
}

static struct pool_job begin(struct world *w)
{
    world_begin(w, &options);
    return settle(w, "alice");
}

static void an_unchanged_maildrop_is_listed_each_seventeenth_time(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < POOL_GLANCES_MAX; i++)
            assert_false(lists(w, &job));
        assert_true(lists(w, &job));
    }
    assert_int_equal(job.marks.run.unlisted.count, 2 * POOL_GLANCES_MAX);
    assert_int_equal(job.marks.run.complete.count, 3);
}

static void an_old_listing_is_not_compared_with(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    job.marks.run.glance.listed_us -= POOL_GLANCES_US;
    assert_true(lists(w, &job));
    assert_false(lists(w, &job));
    /* The clock was set back. */
    job.marks.run.glance.listed_us += POOL_GLANCES_US;
    assert_true(lists(w, &job));
}

static void only_that_very_listing_is_compared_with(void **state)
{
    struct world *w = *state;
    static const char *const accounts[] = {"lsn", "account", "source", "begun"};
    world_begin(w, &options);
    for (unsigned i = 0; i < 4; i++) {
        struct pool_job job = settle(w, accounts[i]);
        struct pool_run *run = &job.marks.run;
        run->glance.lsn += i == 0;
        run->account += i == 1;
        run->source += i == 2;
        run->begun = i != 3;
        assert_true(lists(w, &job));
    }
}

/* Another session has listed meanwhile. */
static void a_listing_that_is_not_the_archives_newest_is_not_compared_with(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w), other = world_job(w, "alice", &options);
    assert_true(lists(w, &other));
    assert_true(lists(w, &job));
    assert_false(lists(w, &job));
}

static void a_session_that_has_to_look_at_messages_lists(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    const struct pool_job fresh = job;
    job.marks.trouble = 1; /* a message broke its session */
    assert_true(lists(w, &job));
    job = fresh;
    job.marks.pop3.no_glance = true;
    assert_true(lists(w, &job));
    assert_true(lists(w, &job));
    job = fresh;
    job.kind = POOL_DELETE;
    job.delete_before_us = INT64_MAX;
    assert_true(lists(w, &job));
    assert_int_equal(job.marks.run.glance.lsn, 0);
}

static void what_may_be_deleted_is_listed(void **state)
{
    struct world *w = *state;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    job.delete_before_us = INT64_MAX;
    for (unsigned i = 0; i < 4; i++)
        assert_true(lists(w, &job));
    job.delete_before_us = 1; /* a rule, but nothing is old enough */
    assert_true(lists(w, &job));
    assert_false(lists(w, &job));
}

static void q44_a_view_that_may_be_a_part_is_listed(void **state)
{
    struct world *w = *state;
    world_begin(w, &options);
    struct pool_job job = world_job(w, "alice", &options);
    job.day = (struct pop3_day){.whole = 1000000, .left = 1000000};
    for (unsigned i = 0; i < 4; i++)
        assert_true(lists(w, &job));
}

static void a_change_is_listed_and_starts_anew(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    assert_false(lists(w, &job));
    options.count = 2;
    world_serve(w, &options);
    job.port = mail_server_port(w->server);
    assert_true(lists(w, &job));
    assert_int_equal(job.marks.run.glance.lsn, 0);
    assert_int_equal(job.marks.run.unlisted.count, 0); /* on record */
    assert_false(job.marks.pop3.no_glance);
    assert_true(lists(w, &job));
    assert_false(lists(w, &job));
    options.count = 3;
}

struct tally {
    unsigned sessions, runs, unlisted;
    uint64_t polls;
};

static int count_entry(void *arg, const struct ledger_entry *e)
{
    struct tally *t = arg;
    t->sessions += e->type == RECORD_SESSION;
    t->runs += e->type == RECORD_SESSION_RUN;
    t->unlisted += e->type == RECORD_UNLISTED_RUN;
    if (e->type == RECORD_SESSION_RUN || e->type == RECORD_UNLISTED_RUN)
        t->polls += e->run.polls;
    return 0;
}

static struct tally ledger(struct world *w)
{
    struct tally t = {0};
    struct account_info info;
    struct archive *a = w->fixture.archive;
    assert_int_equal(archive_find_account(a, "alice", &info), 0);
    assert_int_equal(archive_each_ledger_entry(a, info.number, count_entry, &t), 0);
    return t;
}

static void polls_are_on_record_after_an_hour(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    assert_false(lists(w, &job));
    assert_int_equal(ledger(w).unlisted, 0);
    /* The listed one behind the first is an hour old, too. */
    job.marks.run.complete.first_us -= POOL_RUN_US;
    assert_false(lists(w, &job));
    assert_int_equal(job.marks.run.unlisted.count + job.marks.run.complete.count, 0);
    /* What a stop finds. */
    assert_false(lists(w, &job));
    assert_int_equal(pool_write_run(w->pool, &job.marks.run), 0);
    pool_stop(w->pool);
    struct tally t = ledger(w);
    assert_int_equal(t.sessions, 1);
    assert_int_equal(t.runs, 1);
    assert_int_equal(t.unlisted, 2);
    assert_int_equal(t.polls, 1 + 2 + 1);
}

/* Nothing was retrieved: its answer does not matter. */
static void a_quit_without_an_answer_is_no_fault(void **state)
{
    struct world *w = *state;
    struct pool_job job = begin(w);
    options.close_at_quit = true;
    world_serve(w, &options);
    job.port = mail_server_port(w->server);
    assert_false(lists(w, &job));
    options.close_at_quit = false;
}

static int setup(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unchanged_maildrop_is_listed_each_seventeenth_time),
        TEST(an_old_listing_is_not_compared_with),
        TEST(only_that_very_listing_is_compared_with),
        TEST(a_listing_that_is_not_the_archives_newest_is_not_compared_with),
        TEST(a_session_that_has_to_look_at_messages_lists),
        TEST(what_may_be_deleted_is_listed),
        TEST(q44_a_view_that_may_be_a_part_is_listed),
        TEST(a_change_is_listed_and_starts_anew),
        TEST(polls_are_on_record_after_an_hour),
        TEST(a_quit_without_an_answer_is_no_fault),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
