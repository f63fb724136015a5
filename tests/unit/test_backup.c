/* Backing up beside a writer: exact, incremental, whole behind every kill and error; it
 * holds removals, takes over what repacking does, and touches nothing that is not its own.
 */
#include "archive/backup.h"
#include "archive/error.h"
#include "archive/repack.h"
#include "archive/segment.h"
#include "tests/support/archive_fixture.h"
#include "tests/support/faulty_files.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct fixture f; /* the archive, open to write */
    struct fixture b; /* the backup */
    char damage[1024];
    struct backup_summary summary;
};

/* Three sealed segments, and an open one with a stream and small mail. */
static void fill(struct fixture *f)
{
    for (int i = 0; i < 3; i++) {
        fixture_session(f, "a@x", i * 10, 5, 3000);
        fixture_session(f, "b@x", i * 10, 3, 40000);
        assert_int_equal(store_seal(f->archive), 0);
    }
    fixture_session(f, "a@x", 30, 1, 1500000);
    fixture_session(f, "b@x", 30, 4, 2000);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    fixture_setup(&w->f);
    fill(&w->f);
    w->b.codec = w->f.codec;
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/backup", w->f.root);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    fixture_teardown(&w->f);
    free(w);
    return 0;
}

static void note_damage(void *arg, uint64_t segment, const char *text)
{
    struct world *w = arg;
    size_t used = strlen(w->damage);
    (void)snprintf(w->damage + used, sizeof(w->damage) - used, "%u: %s\n",
                   (unsigned)segment, text);
}

static int back_up_with(struct world *w, const struct file_ops *ops,
                        int (*progress)(void *, uint64_t, uint64_t))
{
    struct archive *a = NULL;
    const struct archive_options how = {.mode = ARCHIVE_READ, .ops = ops};
    const struct backup_options options = {
        .progress = progress, .report = note_damage, .arg = w};
    w->damage[0] = '\0';
    /* A process has one reader table of an index: the writer's reader gives way. */
    lookup_destroy(w->f.lookup);
    w->f.lookup = NULL;
    assert_int_equal(archive_open(w->f.path, &how, &a), 0);
    int err = archive_backup(a, w->b.path, &options, &w->summary);
    archive_close(a);
    if (w->f.archive != NULL)
        assert_int_equal(lookup_create(w->f.archive, &w->f.lookup), 0);
    return err;
}

static void back_up(struct world *w)
{
    assert_int_equal(back_up_with(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "");
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void shell(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* The backup as it stands, without an index, read only. */
static struct verify_summary verify_backup(struct world *w)
{
    struct verify_summary s;
    const struct verify_options options = {0};
    const struct archive_options how = {.mode = ARCHIVE_READ, .without_index = true};
    assert_int_equal(archive_open(w->b.path, &how, &w->b.archive), 0);
    assert_int_equal(archive_verify(w->b.archive, &options, &s), 0);
    archive_close(w->b.archive);
    w->b.archive = NULL;
    return s;
}

/* Reindexed, it says and gives what the archive says. */
static void assert_equal_reindexed(struct world *w)
{
    struct account_info info;
    static const char *const names[] = {"a@x", "b@x"};
    assert_int_equal(fixture_try_open(&w->b, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(w->b.damage_notes, 0);
    char *want = fixture_dump(&w->f), *got = fixture_dump(&w->b);
    assert_string_equal(got, want);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(archive_find_account(w->b.archive, names[i], &info), 0);
        for (uint64_t n = 1; n <= info.highest; n++) {
            size_t size = 0;
            int err = 0;
            free(fixture_restore(&w->b, names[i], n, &size, &err));
            assert_int_equal(err, 0);
        }
    }
    free(want);
    free(got);
    fixture_close(&w->b);
}

static void assert_whole(struct world *w)
{
    struct verify_summary s = verify_backup(w), original = fixture_verify(&w->f, false);
    if (verify_found_damage(&s))
        fail_msg("%lu %lu", (unsigned long)s.structure, (unsigned long)s.messages_hurt);
    assert_int_equal(s.messages, original.messages);
    assert_equal_reindexed(w);
}

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

static void flip(const char *path, long at)
{
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, at, at < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(stream);
    fseek(stream, -1, SEEK_CUR);
    fputc(byte ^ 1, stream);
    fclose(stream);
}

static void a_backup_is_the_archive(void **state)
{
    struct world *w = *state;
    struct stat st;
    char path[PATH_MAX];
    struct archive_stats stats;
    back_up(w);
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
    assert_whole(w);
}

static void what_is_there_is_not_copied_again(void **state)
{
    struct world *w = *state;
    struct stat before, after;
    char first[PATH_MAX], last[PATH_MAX];
    back_up(w);
    segment_of(w->b.path, 1, first);
    segment_of(w->b.path, 4, last);
    assert_int_equal(stat(first, &before), 0);
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 0);
    fixture_session(&w->f, "a@x", 40, 2, 3000); /* the open segment grows */
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 1);
    assert_whole(w);
    assert_int_equal(store_seal(w->f.archive), 0);
    back_up(w); /* sealed just there: the same bytes */
    assert_int_equal(w->summary.segments_copied, 0);
    fixture_session(&w->f, "b@x", 40, 2, 3000); /* a new one is begun, */
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 1);
    fixture_session(&w->f, "b@x", 50, 2, 3000); /* grows, is sealed, */
    assert_int_equal(store_seal(w->f.archive), 0);
    fixture_session(&w->f, "b@x", 60, 2, 3000); /* and has a successor */
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 2);
    assert_int_equal(w->summary.segments, 6);
    assert_int_equal(w->summary.head_segment, 5);
    assert_whole(w);
    assert_int_equal(stat(first, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

/* Reindexing it for a look must not stand in the way of the next backup. */
static void a_backup_that_was_reindexed_goes_on(void **state)
{
    struct world *w = *state;
    back_up(w);
    assert_equal_reindexed(w);
    size_t files = count_files(w->b.path);
    fixture_session(&w->f, "a@x", 50, 3, 3000);
    back_up(w);
    assert_int_equal(count_files(w->b.path), files);
    assert_whole(w);
}

static void an_empty_archive_is_backed_up(void **state)
{
    struct world *w = *state;
    (void)snprintf(w->f.path, sizeof(w->f.path), "%s/empty", w->f.root);
    assert_int_equal(archive_create(NULL, w->f.path), 0);
    back_up(w);
    assert_int_equal(w->summary.segments, 0);
    struct verify_summary s = verify_backup(w);
    assert_false(verify_found_damage(&s));
}

static struct repack_summary repack(struct world *w)
{
    struct repack_summary s;
    const struct repack_options options = {.remove_now = true};
    if (w->f.lookup != NULL)
        lookup_rest(w->f.lookup);
    assert_int_equal(archive_repack(w->f.archive, &options, &s), 0);
    return s;
}

static void what_repacking_replaced_goes(void **state)
{
    struct world *w = *state;
    for (int round = 0; round < 3; round++) {
        back_up(w);
        assert_int_equal(repack(w).removal_held, false);
        fixture_session(&w->f, "b@x", 60 + round, 1, 3000);
        back_up(w);
        assert_true(w->summary.segments_removed > 0);
        assert_int_equal(w->summary.segments, count_files(w->f.path));
        assert_whole(w);
    }
}

/* What replaces it is not sound in the backup: nothing goes. */
static void nothing_goes_while_its_successor_is_damaged(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX];
    back_up(w);
    repack(w);
    segment_of(w->f.path, 5, path);
    flip(path, 2000);
    assert_int_equal(back_up_with(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "5: damaged in the archive, and copied as it is\n");
    assert_int_equal(w->summary.segments_removed, 0);
    assert_int_equal(back_up_with(w, NULL, NULL), 0); /* and not the next time */
    assert_string_equal(w->damage,
                        "5: damaged in the backup: what it replaces stays there\n");
    assert_int_equal(count_files(w->b.path), 5);
    flip(path, 2000);
    segment_of(w->b.path, 5, path);
    flip(path, 2000);
    back_up(w);
    assert_int_equal(w->summary.segments_removed, 4);
    assert_whole(w);
}

static int repack_meanwhile(void *arg, uint64_t done, uint64_t total)
{
    struct world *w = arg;
    (void)total;
    if (done < 200000)
        return 0;
    struct repack_summary s = repack(w);
    assert_true(s.removal_held);
    assert_int_equal(s.segments_removed, 0);
    return 0;
}

static void a_backup_holds_removals(void **state)
{
    struct world *w = *state;
    assert_int_equal(back_up_with(w, NULL, repack_meanwhile), 0);
    assert_string_equal(w->damage, "");
    struct verify_summary s = verify_backup(w);
    assert_false(verify_found_damage(&s));
    assert_true(repack(w).segments_removed > 3);
    back_up(w);
    assert_whole(w);
}

static void assert_refused(struct world *w, const char *part)
{
    assert_int_equal(back_up_with(w, NULL, NULL), ERR_EXISTS);
    if (strstr(w->summary.refused, part) == NULL)
        fail_msg("%s", w->summary.refused);
}

static void other_folders_are_left_alone(void **state)
{
    struct world *w = *state;
    char backup[sizeof(w->b.path)];
    memcpy(backup, w->b.path, sizeof(backup));
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/archive", w->f.root);
    assert_refused(w, "in the archive itself");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/archive/state/../copy/", w->f.root);
    assert_refused(w, "in the archive itself");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s", w->f.root);
    assert_refused(w, "neither empty nor a backup");
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/none/copy", w->f.root);
    assert_int_equal(back_up_with(w, NULL, NULL), -ENOENT);

    memcpy(w->b.path, backup, sizeof(backup));
    shell("mkdir %s && ln -s ../archive/segments %s/segments", backup, backup);
    assert_refused(w, "in the archive itself");
    shell("rm -r %s", backup);
    assert_int_equal(archive_create(NULL, w->b.path), 0);
    assert_refused(w, "another archive");
    fixture_open(&w->b, ARCHIVE_WRITE);
    fixture_session(&w->b, "z@x", 0, 1, 100);
    assert_int_equal(store_seal(w->b.archive), 0);
    fixture_close(&w->b);
    shell("cd %s && rm -r CASK index state quarantine", backup);
    assert_refused(w, "segments of another archive");
    assert_int_equal(count_files(w->b.path), 1);
}

/* Mail was fetched into the backup. */
static void a_backup_with_mail_of_its_own_is_refused(void **state)
{
    struct world *w = *state;
    back_up(w);
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
    struct world *w = *state;
    char path[sizeof(w->f.path)];
    back_up(w);
    shell("cp -r %s %s/old", w->b.path, w->f.root);
    assert_int_equal(store_seal(w->f.archive), 0);
    fixture_session(&w->f, "b@x", 71, 1, 3000);
    back_up(w);
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
    struct world *w = *state;
    back_up(w);
    fixture_session(&w->f, "a@x", 80, 1, 3000);
    assert_int_equal(fixture_try_open(&w->b, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(back_up_with(w, NULL, NULL), ERR_LOCKED);
    fixture_close(&w->b);
    back_up(w);
    assert_whole(w);
}

static int stop_soon(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done > total / 2;
}

static void stopped_it_goes_on_later(void **state)
{
    struct world *w = *state;
    assert_int_equal(back_up_with(w, NULL, stop_soon), ERR_STOPPED);
    uint64_t first = w->summary.segments_copied;
    assert_true(first > 0);
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 4 - first);
    assert_whole(w);
}

static void damage_is_copied_and_told(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX], other[PATH_MAX];
    back_up(w);
    segment_of(w->f.path, 2, path);
    segment_of(w->b.path, 2, other);
    flip(path, 5000);
    back_up(w); /* the sound copy stays */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(back_up_with(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "2: damaged in the archive, and copied as it is\n");
    shell("cmp %s %s", path, other);
    assert_int_equal(w->summary.damaged, 1);
    assert_int_equal(unlink(path), 0);
    back_up(w); /* by its seal it is there */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(back_up_with(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "2: missing in the archive\n");
}

static void a_damaged_copy_is_replaced(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX];
    static const long places[] = {20, -20}; /* header, trailer */
    back_up(w);
    for (size_t i = 0; i < 2; i++) {
        segment_of(w->b.path, 2, path);
        flip(path, places[i]);
        back_up(w);
        assert_int_equal(w->summary.segments_copied, 1);
    }
    assert_int_equal(truncate(path, 3000), 0);
    back_up(w);
    assert_int_equal(w->summary.segments_copied, 1);
    (void)snprintf(path, sizeof(path), "%s/CASK", w->b.path);
    flip(path, 40);
    back_up(w);
    assert_whole(w);
}

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
    struct world *w = *state;
    struct file_ops ops = system_files;
    ops.pwrite = lying_pwrite;
    assert_int_equal(back_up_with(w, &ops, NULL), -EIO);
    assert_int_equal(w->summary.segments_copied, 0);
    back_up(w);
    assert_whole(w);
}

/* The state before each kill: a backup, and behind it a repacking and new mail. */
static void prepare_second(struct world *w)
{
    back_up(w);
    repack(w);
    fixture_session(&w->f, "a@x", 90, 2, 3000);
}

/* A backup in a child that dies, or fails, at its call `at`: its exit status, or -1. */
static int faulty_backup(struct world *w, enum fault_kind kind, unsigned long at, int error)
{
    pid_t child = fork();
    if (child == 0) {
        struct faults faults;
        faults_init(&faults, kind, at, error);
        int err = back_up_with(w, &faults.ops, NULL);
        _exit(err == 0 ? 3 : err == error ? 5 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 4);
    return WEXITSTATUS(status);
}

/* What was in the backup before is in it still: every message, in a copy that is opened. */
static void assert_old_mail(struct world *w, const char *before)
{
    struct world copy = {.f = w->f};
    struct account_info info;
    static const char *const names[] = {"a@x", "b@x"};
    (void)snprintf(copy.f.path, sizeof(copy.f.path), "%s/look", w->f.root);
    copy.f.lookup = NULL;
    shell("rm -rf %s; cp -r %s %s", copy.f.path, w->b.path, copy.f.path);
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
static void assert_whole_or_none(struct world *w)
{
    const struct archive_options how = {.mode = ARCHIVE_READ, .without_index = true};
    int err = archive_open(w->b.path, &how, &w->b.archive);
    if (err == ERR_FORMAT)
        return;
    assert_int_equal(err, 0);
    archive_close(w->b.archive);
    struct verify_summary s = verify_backup(w);
    assert_false(verify_found_damage(&s));
    assert_int_equal(s.messages, 29);
}

static void killed_anywhere(struct world *w, enum fault_kind kind, bool second)
{
    static const char before[] = {16, 13};
    char keep[PATH_MAX];
    (void)snprintf(keep, sizeof(keep), "%s/keep", w->f.root);
    if (second) {
        prepare_second(w);
        shell("cp -r %s %s", w->b.path, keep);
    }
    for (unsigned long at = 1;; at++) {
        if (faulty_backup(w, kind, at, 0) == 3)
            break;
        if (!second)
            assert_whole_or_none(w);
        else if (at % 3 == 0)
            assert_old_mail(w, before);
        back_up(w);
        struct verify_summary s = verify_backup(w);
        assert_false(verify_found_damage(&s));
        shell("ls %s/segments | grep -q partial && exit 1 || exit 0", w->b.path);
        shell(second ? "rm -r %s; cp -r %s %s" : "rm -r %s", w->b.path, keep, w->b.path);
    }
    assert_whole(w);
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

static void no_space_at_any_call(void **state)
{
    struct world *w = *state;
    static const char before[] = {16, 13};
    prepare_second(w);
    shell("cp -r %s %s/keep", w->b.path, w->f.root);
    for (unsigned long at = 1; faulty_backup(w, FAULT_ERROR, at, -ENOSPC) == 5; at++) {
        if (at % 4 == 0)
            assert_old_mail(w, before);
        shell("ls %s/segments | grep -q partial && exit 1 || exit 0", w->b.path);
        back_up(w);
        struct verify_summary s = verify_backup(w);
        assert_false(verify_found_damage(&s));
        shell("rm -r %s; cp -r %s/keep %s", w->b.path, w->f.root, w->b.path);
    }
    for (unsigned long at = 1; at < 8; at++)
        assert_int_equal(faulty_backup(w, FAULT_SHORT, at, 0), 3);
    assert_whole(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_backup_is_the_archive),
        TEST(what_is_there_is_not_copied_again),
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
        TEST(a_disk_that_writes_wrong_bytes_is_noticed),
        TEST(a_first_backup_killed_at_each_call),
        TEST(a_second_one_killed_at_each_call),
        TEST(a_second_one_killed_midway_through_each_write),
        TEST(no_space_at_any_call),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
