/* Backing up while things fail: whole behind every kill and every error. */
#include "archive/error.h"
#include "archive/segment.h"
#include "tests/support/backup_world.h"
#include "tests/support/faulty_files.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What repacking beside fetching writes in backup_world's archive: fetching's open segment
 * is the one before. */
#define REPACKED_SEGMENT 6

static int lying_pwrite(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                        size_t *out_written)
{
    uint8_t *copy = malloc(size);
    (void)ctx;
    memcpy(copy, data, size);
    copy[size / 2] ^= 1;
    int err = system_files.pwrite(NULL, fd, copy, size, offset, out_written);
    free(copy);
    return err;
}

static void a_disk_that_writes_wrong_bytes_is_noticed(void **state)
{
    struct backup_world *w = *state;
    struct file_ops ops = system_files;
    ops.pwrite = lying_pwrite;
    assert_int_equal(backup_world_try(w, &ops, NULL), -EIO);
    assert_int_equal(w->summary.segments_copied, 0);
    backup_world_run(w);
    backup_world_assert_whole(w);
}

/* The state before each kill: a backup, and behind it a repacking and new mail. */
static void prepare_second(struct backup_world *w)
{
    backup_world_run(w);
    backup_world_repack(w);
    fixture_session(&w->f, "a@x", 90, 2, 3000);
}

/* A backup in a child that dies, or fails, at its call `at`: its exit status, or -1. */
static int faulty_backup(struct backup_world *w, enum fault_kind kind, unsigned long at,
                         int error)
{
    pid_t child = fork();
    if (child == 0) {
        struct faults faults;
        faults_init(&faults, kind, at, error);
        int err = backup_world_try(w, &faults.ops, NULL);
        _exit(err == 0 ? 3 : err == error ? 5 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 4);
    return WEXITSTATUS(status);
}

/* What was in the backup before is in it still: every message, in a copy that is opened. */
static void assert_old_mail(struct backup_world *w, const char *before)
{
    struct backup_world copy = {.f = w->f};
    struct account_info info;
    static const char *const names[] = {"a@x", "b@x"};
    (void)snprintf(copy.f.path, sizeof(copy.f.path), "%s/look", w->f.root);
    copy.f.lookup = NULL;
    backup_world_shell("rm -rf %s; cp -r %s %s", copy.f.path, w->b.path, copy.f.path);
    assert_int_equal(fixture_try_open(&copy.f, ARCHIVE_WRITE, true, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(archive_find_account(copy.f.archive, names[i], &info), 0);
        assert_true(info.messages >= (unsigned long)before[i]);
        for (uint64_t n = 1; n <= (uint64_t)before[i]; n++) {
            size_t size = 0;
            int err = 0;
            free(fixture_restore(&copy.f, names[i], n, &size, &err));
            assert_int_equal(err, 0);
        }
    }
    fixture_close(&copy.f);
}

/* Without CASK it is no archive; with it, it is whole. */
static void assert_whole_or_none(struct backup_world *w)
{
    const struct archive_options how = {.mode = ARCHIVE_READ, .without_index = true};
    int err = archive_open(w->b.path, &how, &w->b.archive);
    if (err == ERR_FORMAT)
        return;
    assert_int_equal(err, 0);
    archive_close(w->b.archive);
    struct verify_summary s = backup_world_verify(w);
    assert_false(verify_found_damage(&s));
    assert_int_equal(s.messages, BACKUP_WORLD_A + BACKUP_WORLD_B);
}

static void killed_anywhere(struct backup_world *w, enum fault_kind kind, bool second)
{
    static const char before[] = {BACKUP_WORLD_A, BACKUP_WORLD_B};
    char keep[PATH_MAX];
    (void)snprintf(keep, sizeof(keep), "%s/keep", w->f.root);
    if (second) {
        prepare_second(w);
        backup_world_shell("cp -r %s %s", w->b.path, keep);
    }
    for (unsigned long at = 1;; at++) {
        if (faulty_backup(w, kind, at, 0) == 3)
            break;
        if (!second)
            assert_whole_or_none(w);
        else if (at % 3 == 0)
            assert_old_mail(w, before);
        backup_world_run(w);
        struct verify_summary s = backup_world_verify(w);
        assert_false(verify_found_damage(&s));
        backup_world_shell("ls %s/segments | grep -q partial && exit 1 || exit 0",
                           w->b.path);
        backup_world_shell(second ? "rm -r %s; cp -r %s %s" : "rm -r %s", w->b.path, keep,
                           w->b.path);
    }
    backup_world_assert_whole(w);
}

static void a_first_backup_killed_at_each_call(void **state)
{
    killed_anywhere(*state, FAULT_KILL, false);
}

static void a_second_one_killed_at_each_call(void **state)
{
    killed_anywhere(*state, FAULT_KILL, true);
}

static void a_second_one_killed_midway_through_each_write(void **state)
{
    killed_anywhere(*state, FAULT_KILL_MIDWAY, true);
}

/* Repacking beside fetching, and what is done while both have a segment open. */
struct both_open {
    struct backup_world *world;
    char keep[PATH_MAX]; /* the backup before the one that is killed */
    int steps;
    unsigned long kills;
};

static int in_store(void *arg, int (*work)(void *work_arg), void *work_arg)
{
    (void)arg;
    return work(work_arg);
}

/* Each time from the same state: the killed one's copy is sound as it stands. */
static void kill_and_verify(struct both_open *o)
{
    struct backup_world *w = o->world;
    for (unsigned long at = 1; faulty_backup(w, FAULT_KILL, at, 0) != 3; at++) {
        struct verify_summary s = backup_world_verify(w);
        if (verify_found_damage(&s))
            fail_msg("killed at %lu: %lu in structure", at, (unsigned long)s.structure);
        backup_world_shell("rm -r %s; cp -r %s %s", w->b.path, o->keep, w->b.path);
        o->kills++;
    }
}

static bool has_repacked(const char *path)
{
    char segment[PATH_MAX];
    assert_int_equal(segment_path(path, REPACKED_SEGMENT, segment), 0);
    return access(segment, F_OK) == 0;
}

/* The first time that both are open, and again when the older one has grown. */
static int back_up_at_steps(void *arg, uint64_t done, uint64_t total)
{
    struct both_open *o = arg;
    struct backup_world *w = o->world;
    (void)done;
    (void)total;
    fixture_session(&w->f, "a@x", 100 + 2 * o->steps++, 2, 3000);
    if (has_repacked(w->b.path)) {
        if (o->kills == 0)
            kill_and_verify(o);
    } else if (has_repacked(w->f.path)) {
        assert_int_equal(faulty_backup(w, FAULT_NONE, 0, 0), 3);
        backup_world_shell("rm -rf %s; cp -r %s %s", o->keep, w->b.path, o->keep);
    }
    return 0;
}

/* Both are sealed in the backup, and the older one's seal changes with what it takes: the
 * younger one must not name the old seal at any time. */
static void killed_while_two_segments_are_open(void **state)
{
    struct backup_world *w = *state;
    struct both_open o = {.world = w};
    struct repack_summary s;
    const struct repack_options options = {
        .in_store = in_store, .progress = back_up_at_steps, .arg = &o};
    (void)snprintf(o.keep, sizeof(o.keep), "%s/keep", w->f.root);
    lookup_rest(w->f.lookup);
    assert_int_equal(archive_repack(w->f.archive, &options, &s), 0);
    assert_true(o.kills > 0);
    backup_world_run(w);
    backup_world_assert_whole(w);
}

static void no_space_at_any_call(void **state)
{
    struct backup_world *w = *state;
    static const char before[] = {BACKUP_WORLD_A, BACKUP_WORLD_B};
    prepare_second(w);
    backup_world_shell("cp -r %s %s/keep", w->b.path, w->f.root);
    for (unsigned long at = 1; faulty_backup(w, FAULT_ERROR, at, -ENOSPC) == 5; at++) {
        if (at % 4 == 0)
            assert_old_mail(w, before);
        backup_world_shell("ls %s/segments | grep -q partial && exit 1 || exit 0",
                           w->b.path);
        backup_world_run(w);
        struct verify_summary s = backup_world_verify(w);
        assert_false(verify_found_damage(&s));
        backup_world_shell("rm -r %s; cp -r %s/keep %s", w->b.path, w->f.root, w->b.path);
    }
    for (unsigned long at = 1; at < 8; at++)
        assert_int_equal(faulty_backup(w, FAULT_SHORT, at, 0), 3);
    backup_world_assert_whole(w);
}

int main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, backup_world_setup, backup_world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_disk_that_writes_wrong_bytes_is_noticed),
        TEST(a_first_backup_killed_at_each_call),
        TEST(a_second_one_killed_at_each_call),
        TEST(a_second_one_killed_midway_through_each_write),
        TEST(killed_while_two_segments_are_open),
        TEST(no_space_at_any_call),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
