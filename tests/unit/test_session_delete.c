/* Whole delete sessions, against a server that only counts what it is told: which messages
 * get a DELE, when, and what is made of the answers. */
#include "tests/support/pool_world.h"

#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/segment.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST_MESSAGE(id, text)                                  \
    {                                                           \
        .uidl = (id), .data = (text), .size = sizeof(text) - 1, \
    }

#define ONE TEST_MESSAGE("u1", "Subject: one\r\n\r\nfirst\r\n")
#define TWO TEST_MESSAGE("u2", "Subject: two\r\n\r\n.second\r\n..\r\n")
#define THREE TEST_MESSAGE("u3", "Subject: three\r\n\r\nbare\nlf and \r cr\r\n")

static const struct mail_message three[] = {ONE, TWO, THREE};

/* The messages were archived by an earlier session with this world. */
static struct pool_job begin(struct world *w, struct mail_server_options *options)
{
    world_begin(w, options);
    struct pool_job job = world_job(w, "alice", options);
    job.delete_before_us = INT64_MAX;
    assert_int_equal(world_run(w, &job)->counts.fetched, options->count);
    return job;
}

/* The same maildrop, as another server has it now. */
static const struct world_result *delete_from(struct world *w, struct pool_job *job,
                                              struct mail_server_options *options)
{
    world_serve(w, options);
    job->port = mail_server_port(w->server);
    job->kind = POOL_DELETE;
    return world_run(w, job);
}

static enum deletion_state state_of(struct world *w, uint64_t n)
{
    struct account_info info;
    struct index_txn *t = NULL;
    lookup_rest(w->fixture.lookup);
    assert_int_equal(archive_find_account(w->fixture.archive, "alice", &info), 0);
    assert_int_equal(lookup_txn(w->fixture.lookup, &t), 0);
    return row_deletion_state(t, info.number, 1, n);
}

static void deletes_by_the_numbers_of_its_own_listing(void **state)
{
    static const struct mail_message later[] = {
        TEST_MESSAGE("u4", "Subject: new\r\n\r\nnot archived yet\r\n"),
        THREE,
        ONE,
        TWO,
    };
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    struct mail_server_options now = {.messages = later, .count = 4};
    struct pool_job job = begin(w, &options);
    const struct world_result *r = delete_from(w, &job, &now);
    assert_int_equal(mail_server_deletes(w->server), 1u << 2 | 1u << 3 | 1u << 4);
    assert_int_equal(r->counts.deleted, 3);
    for (uint64_t n = 1; n <= 3; n++)
        assert_int_equal(state_of(w, n), DELETION_ACCEPTED);
}

static void deletes_only_what_is_listed_unchanged(void **state)
{
    static const struct mail_message later[] = {
        TEST_MESSAGE("u1", "Subject: one\r\n\r\nfirst, and more\r\n"),
        TEST_MESSAGE("u2", "Subject: another\r\n\r\nx\r\n"),
        THREE,
    };
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    struct mail_server_options now = {.messages = later, .count = 3};
    struct pool_job job = begin(w, &options);
    (void)delete_from(w, &job, &now);
    assert_int_equal(mail_server_deletes(w->server) & ~(1u << 3), 0);
}

static void deletes_nothing_on_an_untrusted_listing(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    struct mail_server_options now = {.messages = three, .count = 3, .stat_more = 1};
    struct pool_job job = begin(w, &options);
    (void)delete_from(w, &job, &now);
    assert_int_equal(mail_server_deletes(w->server), 0);
    assert_int_equal(state_of(w, 1), DELETION_NONE);
}

static int fdatasync_until_full(void *ctx, int fd)
{
    const atomic_bool *full = ctx;
    return atomic_load(full) ? -EIO : system_files.fdatasync(NULL, fd);
}

/* I6 */
static void sends_no_dele_whose_intent_is_not_durable(void **state)
{
    struct world *w = *state;
    atomic_bool full = false;
    struct file_ops ops = system_files;
    struct mail_server_options options = {.messages = three, .count = 3};
    ops.fdatasync = fdatasync_until_full;
    ops.ctx = &full;
    w->ops = &ops;
    struct pool_job job = begin(w, &options);
    atomic_store(&full, true);
    const struct world_result *r = delete_from(w, &job, &options);
    unsigned deletes = mail_server_deletes(w->server);
    unsigned quits = mail_server_quits(w->server);
    world_end(w);
    w->ops = NULL;
    assert_int_equal(r->outcome.scope, SCOPE_PROCESS);
    assert_int_equal(deletes, 0);
    assert_int_equal(quits, 0);
    fixture_open(&w->fixture, ARCHIVE_WRITE);
    assert_int_equal(world_messages(w, "alice"), 3);
}

static void damage_first_segment(struct world *w)
{
    char path[PATH_MAX];
    uint8_t bytes[64];
    assert_int_equal(segment_path(w->fixture.path, 1, path), 0);
    FILE *file = fopen(path, "r+e");
    assert_non_null(file);
    assert_int_equal(fseek(file, 40000, SEEK_SET), 0);
    assert_int_equal(fread(bytes, 1, sizeof(bytes), file), sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] ^= 0x55;
    assert_int_equal(fseek(file, 40000, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), file), sizeof(bytes));
    assert_int_equal(fclose(file), 0);
}

static void deletes_nothing_whose_copy_cannot_be_read_back(void **state)
{
    struct world *w = *state;
    struct mail_message large = world_message("u1", 1, 200000);
    struct mail_server_options options = {.messages = &large, .count = 1};
    struct pool_job job = begin(w, &options);
    damage_first_segment(w);
    const struct world_result *r = delete_from(w, &job, &options);
    assert_int_equal(r->counts.deleted, 0);
    assert_int_equal(mail_server_deletes(w->server), 0);
    assert_int_equal(state_of(w, 1), DELETION_NONE);
    world_end(w);
    free((void *)(uintptr_t)large.data);
}

/* Q58 */
static void an_unanswered_quit_deleted_nothing_for_certain(void **state)
{
    struct world *w = *state;
    struct mail_server_options options = {.messages = three, .count = 3};
    struct mail_server_options now = {.messages = three, .count = 3, .close_at_quit = true};
    struct pool_job job = begin(w, &options);
    const struct world_result *r = delete_from(w, &job, &now);
    assert_int_equal(mail_server_deletes(w->server), 1u << 1 | 1u << 2 | 1u << 3);
    assert_int_equal(r->counts.deleted, 0);
    assert_int_equal(r->counts.kept, 3);
    assert_int_equal(r->outcome.scope, SCOPE_MAILBOX);
    for (uint64_t n = 1; n <= 3; n++)
        assert_int_equal(state_of(w, n), DELETION_UNKNOWN);
}

/* Q8 */
static void a_number_that_means_another_message_now_is_not_deleted(void **state)
{
    static const struct mail_message before[] = {
        TEST_MESSAGE("17", "Subject: one\r\n\r\nfirst\r\n"),
        TEST_MESSAGE("18", "Subject: two\r\n\r\nsecond\r\n"),
    };
    static const struct mail_message after[] = {
        TEST_MESSAGE("17", "Subject: one\r\n\r\nother\r\n"),
        TEST_MESSAGE("18", "Subject: two\r\n\r\nsecond\r\n"),
    };
    struct world *w = *state;
    struct mail_server_options options = {.messages = before, .count = 2};
    struct mail_server_options now = {.messages = after, .count = 2};
    struct pool_job job = begin(w, &options);
    const struct world_result *r = delete_from(w, &job, &now);
    assert_int_equal(mail_server_deletes(w->server), 1u << 2);
    assert_int_equal(r->counts.fetched, 1);
    world_assert_message(w, "alice", 1, &before[0]);
    world_assert_message(w, "alice", 3, &after[0]);
}

static int setup(void **state)
{
    return world_setup(state, LOOP_EPOLL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(deletes_by_the_numbers_of_its_own_listing),
        TEST(deletes_only_what_is_listed_unchanged),
        TEST(deletes_nothing_on_an_untrusted_listing),
        TEST(sends_no_dele_whose_intent_is_not_durable),
        TEST(deletes_nothing_whose_copy_cannot_be_read_back),
        TEST(an_unanswered_quit_deleted_nothing_for_certain),
        TEST(a_number_that_means_another_message_now_is_not_deleted),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
