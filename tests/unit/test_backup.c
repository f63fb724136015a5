/* Backing up beside a writer: exact, incremental; it holds removals, takes over what
 * repacking does, and touches nothing that is not its own. */
#include "archive/error.h"
#include "archive/segment.h"
#include "tests/support/backup_world.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static size_t count_files(const char *archive)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(segment_list(archive, &ids, &count), 0);
    free(ids);
    return count;
}

static void segment_of(const char *archive, uint64_t id, char path[PATH_MAX])
{
    assert_int_equal(segment_path(archive, id, path), 0);
}

static void a_backup_is_the_archive(void **state)
{
    struct backup_world *w = *state;
    struct stat st;
    char path[PATH_MAX];
    struct archive_stats stats;
    backup_world_run(w);
    assert_int_equal(w->summary.segments, 4);
    assert_int_equal(w->summary.segments_copied, 4);
    assert_int_equal(archive_stats(w->f.archive, &stats), 0);
    assert_int_equal(w->summary.head_segment, 3);
    assert_memory_equal(w->summary.head, stats.head, SHA256_SIZE);
    for (uint64_t id = 1; id <= 4; id++) {
        segment_of(w->b.path, id, path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    assert_int_equal(stat(w->b.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    backup_world_assert_whole(w);
}

static void what_is_there_is_not_copied_again(void **state)
{
    struct backup_world *w = *state;
    struct stat before, after;
    char first[PATH_MAX], last[PATH_MAX];
    backup_world_run(w);
    segment_of(w->b.path, 1, first);
    segment_of(w->b.path, 4, last);
    assert_int_equal(stat(first, &before), 0);
    backup_world_run(w);
    assert_int_equal(w->summary.segments_copied, 0);
    fixture_session(&w->f, "a@x", 40, 2, 3000); /* the open segment grows */
    backup_world_run(w);
    assert_int_equal(w->summary.segments_copied, 1);
    backup_world_assert_whole(w);
    assert_int_equal(store_seal(w->f.archive), 0);
    backup_world_run(w); /* sealed just there: the same bytes */
    assert_int_equal(w->summary.segments_copied, 0);
    fixture_session(&w->f, "b@x", 40, 2, 3000); /* a new one is begun, */
    backup_world_run(w);
    assert_int_equal(w->summary.segments_copied, 1);
    fixture_session(&w->f, "b@x", 50, 2, 3000); /* grows, is sealed, */
    assert_int_equal(store_seal(w->f.archive), 0);
    fixture_session(&w->f, "b@x", 60, 2, 3000); /* and has a successor */
    backup_world_run(w);
    assert_int_equal(w->summary.segments_copied, 2);
    assert_int_equal(w->summary.segments, 6);
    assert_int_equal(w->summary.head_segment, 5);
    backup_world_assert_whole(w);
    assert_int_equal(stat(first, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

/* A batch on its way to the disk: nobody was told that it is archived. */
static void what_is_not_durable_is_not_copied(void **state)
{
    struct backup_world *w = *state;
    enum intake_result result;
    char *text = malloc(1000256);
    struct intake *in = fixture_intake(&w->f, "a@x");
    assert_non_null(text);
    fixture_take(in, "u35", text, fixture_message("a@x", 35, 1000000, text), &result);
    assert_int_equal(intake_flush(in), 0);
    intake_close(in);
    backup_world_run(w);
    struct verify_summary s = backup_world_verify(w);
    assert_false(verify_found_damage(&s));
    assert_int_equal(s.messages, BACKUP_WORLD_A + BACKUP_WORLD_B);
    lookup_rest(w->f.lookup);
    assert_int_equal(store_commit(w->f.archive), 0);
    backup_world_run(w);
    backup_world_assert_whole(w);
    free(text);
}

/* Reindexing it for a look must not stand in the way of the next backup. */
static void a_backup_that_was_reindexed_goes_on(void **state)
{
    struct backup_world *w = *state;
    backup_world_run(w);
    backup_world_assert_equal(w);
    size_t files = count_files(w->b.path);
    fixture_session(&w->f, "a@x", 50, 3, 3000);
    backup_world_run(w);
    assert_int_equal(count_files(w->b.path), files);
    backup_world_assert_whole(w);
}

static void an_empty_archive_is_backed_up(void **state)
{
    struct backup_world *w = *state;
    (void)snprintf(w->f.path, sizeof(w->f.path), "%s/empty", w->f.root);
    assert_int_equal(archive_create(NULL, w->f.path), 0);
    backup_world_run(w);
    assert_int_equal(w->summary.segments, 0);
    struct verify_summary s = backup_world_verify(w);
    assert_false(verify_found_damage(&s));
}

static void what_repacking_replaced_goes(void **state)
{
    struct backup_world *w = *state;
    for (int round = 0; round < 3; round++) {
        backup_world_run(w);
        assert_int_equal(backup_world_repack(w).removal_held, false);
        fixture_session(&w->f, "b@x", 60 + round, 1, 3000);
        backup_world_run(w);
        assert_true(w->summary.segments_removed > 0);
        assert_int_equal(w->summary.segments, count_files(w->f.path));
        backup_world_assert_whole(w);
    }
}

/* What replaces it is not sound in the backup: nothing goes. */
static void nothing_goes_while_its_successor_is_damaged(void **state)
{
    struct backup_world *w = *state;
    char path[PATH_MAX];
    backup_world_run(w);
    backup_world_repack(w);
    segment_of(w->f.path, 5, path);
    backup_world_flip(path, 2000);
    assert_int_equal(backup_world_try(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "5: damaged in the archive, and copied as it is\n");
    assert_int_equal(w->summary.segments_removed, 0);
    assert_int_equal(backup_world_try(w, NULL, NULL), 0); /* and not the next time */
    assert_string_equal(w->damage,
                        "5: damaged in the backup: what it replaces stays there\n");
    assert_int_equal(count_files(w->b.path), 5);
    backup_world_flip(path, 2000);
    segment_of(w->b.path, 5, path);
    backup_world_flip(path, 2000);
    backup_world_run(w);
    assert_int_equal(w->summary.segments_removed, 4);
    backup_world_assert_whole(w);
}

static int repack_meanwhile(void *arg, uint64_t done, uint64_t total)
{
    struct backup_world *w = arg;
    (void)total;
    if (done < 200000)
        return 0;
    struct repack_summary s = backup_world_repack(w);
    assert_true(s.removal_held);
    assert_int_equal(s.segments_removed, 0);
    return 0;
}

static void a_backup_holds_removals(void **state)
{
    struct backup_world *w = *state;
    assert_int_equal(backup_world_try(w, NULL, repack_meanwhile), 0);
    assert_string_equal(w->damage, "");
    struct verify_summary s = backup_world_verify(w);
    assert_false(verify_found_damage(&s));
    assert_true(backup_world_repack(w).segments_removed > 3);
    backup_world_run(w);
    backup_world_assert_whole(w);
}

static void assert_refused(struct backup_world *w, const char *part)
{
    assert_int_equal(backup_world_try(w, NULL, NULL), ERR_EXISTS);
    if (strstr(w->summary.refused, part) == NULL)
        fail_msg("%s", w->summary.refused);
}

static void other_folders_are_left_alone(void **state)
{
    struct backup_world *w = *state;
    char backup[sizeof(w->b.path)];
    memcpy(backup, w->b.path, sizeof(backup));
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/archive", w->f.root);
    assert_refused(w, "in the archive itself");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/archive/state/../copy/", w->f.root);
    assert_refused(w, "in the archive itself");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s", w->f.root);
    assert_refused(w, "neither empty nor a backup");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/none/copy", w->f.root);
    assert_int_equal(backup_world_try(w, NULL, NULL), -ENOENT);

    memcpy(w->b.path, backup, sizeof(backup));
    backup_world_shell("mkdir %s && ln -s ../archive/segments %s/segments", backup, backup);
    assert_refused(w, "in the archive itself");
    backup_world_shell("rm -r %s", backup);
    assert_int_equal(archive_create(NULL, w->b.path), 0);
    assert_refused(w, "another archive");
    fixture_open(&w->b, ARCHIVE_WRITE);
    fixture_session(&w->b, "z@x", 0, 1, 100);
    assert_int_equal(store_seal(w->b.archive), 0);
    fixture_close(&w->b);
    backup_world_shell("cd %s && rm -r CASK index state quarantine", backup);
    assert_refused(w, "segments of another archive");
    assert_int_equal(count_files(w->b.path), 1);
}

/* Mail was fetched into the backup. */
static void a_backup_with_mail_of_its_own_is_refused(void **state)
{
    struct backup_world *w = *state;
    backup_world_run(w);
    assert_int_equal(fixture_try_open(&w->b, ARCHIVE_WRITE, true, NULL), 0);
    fixture_session(&w->b, "b@x", 70, 1, 3000);
    fixture_close(&w->b);
    assert_refused(w, "never had");
    assert_int_equal(store_seal(w->f.archive), 0);
    fixture_session(&w->f, "b@x", 71, 1, 3000);
    assert_refused(w, "gone its own way");
}

/* The archive as it was some time ago, put back from elsewhere. */
static void an_older_archive_is_refused(void **state)
{
    struct backup_world *w = *state;
    char path[sizeof(w->f.path)];
    backup_world_run(w);
    backup_world_shell("cp -r %s %s/old", w->b.path, w->f.root);
    assert_int_equal(store_seal(w->f.archive), 0);
    fixture_session(&w->f, "b@x", 71, 1, 3000);
    backup_world_run(w);
    memcpy(path, w->f.path, sizeof(path));
    fixture_close(&w->f);
    (void)snprintf(w->f.path, sizeof(w->f.path), "%s/old", w->f.root);
    assert_int_equal(fixture_try_open(&w->f, ARCHIVE_WRITE, true, NULL), 0);
    assert_refused(w, "never had");
    fixture_session(&w->f, "b@x", 72, 1, 3000);
    assert_refused(w, "gone its own way");
    memcpy(w->f.path, path, sizeof(path));
}

static void only_one_at_a_time(void **state)
{
    struct backup_world *w = *state;
    backup_world_run(w);
    fixture_session(&w->f, "a@x", 80, 1, 3000);
    assert_int_equal(fixture_try_open(&w->b, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(backup_world_try(w, NULL, NULL), ERR_LOCKED);
    fixture_close(&w->b);
    backup_world_run(w);
    backup_world_assert_whole(w);
}

static int stop_soon(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done > total / 2;
}

static void stopped_it_goes_on_later(void **state)
{
    struct backup_world *w = *state;
    assert_int_equal(backup_world_try(w, NULL, stop_soon), ERR_STOPPED);
    uint64_t first = w->summary.segments_copied;
    assert_true(first > 0);
    backup_world_shell("echo >%s/segments/00000077.seg.partial", w->b.path);
    backup_world_run(w);
    backup_world_shell("! ls %s/segments | grep partial", w->b.path);
    assert_int_equal(w->summary.segments_copied, 4 - first);
    backup_world_assert_whole(w);
}

static void damage_is_copied_and_told(void **state)
{
    struct backup_world *w = *state;
    char path[PATH_MAX], other[PATH_MAX];
    backup_world_run(w);
    segment_of(w->f.path, 2, path);
    segment_of(w->b.path, 2, other);
    backup_world_flip(path, 5000);
    backup_world_run(w); /* the sound copy stays */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(backup_world_try(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "2: damaged in the archive, and copied as it is\n");
    backup_world_shell("cmp %s %s", path, other);
    assert_int_equal(w->summary.damaged, 1);
    assert_int_equal(unlink(path), 0);
    backup_world_run(w); /* by its seal it is there */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(backup_world_try(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "2: missing in the archive\n");
}

static void a_damaged_copy_is_replaced(void **state)
{
    struct backup_world *w = *state;
    char path[PATH_MAX];
    static const long places[] = {20, -20}; /* header, trailer */
    backup_world_run(w);
    for (size_t i = 0; i < 2; i++) {
        segment_of(w->b.path, 2, path);
        backup_world_flip(path, places[i]);
        backup_world_run(w);
        assert_int_equal(w->summary.segments_copied, 1);
    }
    assert_int_equal(truncate(path, 3000), 0);
    backup_world_run(w);
    assert_int_equal(w->summary.segments_copied, 1);
    (void)snprintf(path, sizeof(path), "%s/CASK", w->b.path);
    backup_world_flip(path, 40);
    backup_world_run(w);
    backup_world_assert_whole(w);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, backup_world_setup, backup_world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_backup_is_the_archive),
        TEST(what_is_there_is_not_copied_again),
        TEST(what_is_not_durable_is_not_copied),
        TEST(a_backup_that_was_reindexed_goes_on),
        TEST(an_empty_archive_is_backed_up),
        TEST(what_repacking_replaced_goes),
        TEST(nothing_goes_while_its_successor_is_damaged),
        TEST(a_backup_holds_removals),
        TEST(other_folders_are_left_alone),
        TEST(a_backup_with_mail_of_its_own_is_refused),
        TEST(an_older_archive_is_refused),
        TEST(only_one_at_a_time),
        TEST(stopped_it_goes_on_later),
        TEST(damage_is_copied_and_told),
        TEST(a_damaged_copy_is_replaced),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
