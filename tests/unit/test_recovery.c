/* Recovery: the process is killed at every call that changes a file, in fetching and in
 * recovery itself; faults; torn tails; and the index thrown away. */
#include "archive/error.h"
#include "archive/index.h"
#include "archive/segment.h"
#include "tests/support/archive_fixture.h"
#include "tests/support/attachments.h"
#include "tests/support/faulty_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MESSAGES 6
#define MESSAGE_SIZE 300000

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    fixture_close(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

/* The i-th message of a@x, as fixture_message(). */
typedef size_t make_message(const char *name, int i, size_t size, char *out);

/* Text of its own, an attachment that it shares with the next, and one that all share. */
static size_t attached_message(const char *name, int i, size_t size, char *out)
{
    const struct attachment pair = {
        .seed = (unsigned)i / 2, .size = 30000, .line_length = 76};
    const struct attachment all = {
        .seed = 99, .size = 40000, .text = true, .line_length = 76};
    struct buffer m = {0};
    size_t text = fixture_message(name, i, 500, out);
    buffer_put(&m, out, text);
    mail_attach(&m, &pair);
    buffer_put(&m, "\r\n--\r\n", 6);
    mail_attach(&m, &all);
    buffer_put(&m, "\r\n", 2);
    assert_true(m.size <= size);
    memcpy(out, m.data, m.size);
    text = m.size;
    buffer_free(&m);
    return text;
}

/* Put MESSAGES messages in, a commit behind each second one; *acknowledged (shared memory)
 * counts those whose commit returned 0. */
static void fetch(struct fixture *f, make_message *make, volatile unsigned *acknowledged)
{
    char uidl[16], *text = malloc(MESSAGE_SIZE + 256);
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(uidl, sizeof(uidl), "u%d", i);
        fixture_take(in, uidl, text, make("a@x", i, MESSAGE_SIZE, text), &result);
        if (i % 2 == 0)
            continue;
        if (intake_flush(in) != 0 || store_commit(f->archive) != 0)
            break;
        *acknowledged = (unsigned)i + 1;
    }
    fixture_finish(f, in);
    free(text);
}

static void assert_messages(struct fixture *f, make_message *make, unsigned at_least)
{
    struct account_info info = {0};
    char *text = malloc(MESSAGE_SIZE + 256);
    if (archive_find_account(f->archive, "a@x", &info) != 0)
        info.messages = 0;
    assert_true(info.messages >= at_least);
    assert_int_equal(info.messages, info.highest);
    for (uint64_t n = 1; n <= info.messages; n++) {
        size_t size = 0;
        int err = 0;
        char *got = fixture_restore(f, "a@x", n, &size, &err);
        assert_int_equal(err, 0);
        assert_int_equal(size, make("a@x", (int)n - 1, MESSAGE_SIZE, text));
        assert_memory_equal(got, text, size);
        free(got);
    }
    free(text);
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s) || s.healed > 0)
        fail_msg("%s", f->notes);
}

static void wait_for(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Run the fetch in a child that dies at call `at`; false when it came to its end. */
static bool killed_fetch(struct fixture *f, make_message *make, enum fault_kind kind,
                         unsigned long at, volatile unsigned *shared)
{
    shared[0] = shared[1] = 0;
    pid_t child = fork();
    if (child == 0) {
        struct faults faults;
        faults_init(&faults, kind, at, 0);
        if (fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops) == 0)
            fetch(f, make, &shared[0]);
        archive_close(f->archive);
        shared[1] = 1;
        _exit(0);
    }
    wait_for(child);
    return shared[1] == 0;
}

/* Recovery, killed at each of its calls in turn until it gets through; then once more. */
static void recover_through_kills(struct fixture *f, enum fault_kind kind)
{
    for (unsigned long at = 1;; at++) {
        pid_t child = fork();
        if (child == 0) {
            struct faults faults;
            faults_init(&faults, kind, at, 0);
            int err = fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops);
            _exit(err == 0 ? 3 : 4);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 4);
        if (WEXITSTATUS(status) == 3)
            return;
        assert_true(at < 200);
    }
}

static void fresh(struct fixture *f)
{
    fixture_teardown(f);
    fixture_setup(f);
    fixture_close(f);
}

static void killed_at_each_call(void **state, make_message *make, enum fault_kind kind,
                                bool kill_recovery)
{
    struct fixture *f = *state;
    volatile unsigned *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned long at = 1, step = kill_recovery ? 3 : 1;
    while (killed_fetch(f, make, kind, at, shared)) {
        if (kill_recovery)
            recover_through_kills(f, kind);
        fixture_open(f, ARCHIVE_WRITE);
        assert_int_equal(f->damage_notes, 0);
        fixture_session(f, "b@x", 0, 2,
                        100); /* a new account takes no number that is in use */
        assert_messages(f, make, shared[0]);
        char *first = fixture_dump(f);
        fixture_crash(f);
        fixture_open(f, ARCHIVE_WRITE); /* I7: once more changes nothing */
        char *second = fixture_dump(f);
        assert_string_equal(first, second);
        free(first);
        free(second);
        unsigned ignored = 0;
        fetch(f, make, &ignored); /* and a pass to the end completes it, without doubles */
        assert_messages(f, make, MESSAGES);
        struct account_info info;
        assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
        assert_int_equal(info.messages, MESSAGES);
        assert_int_equal(archive_find_account(f->archive, "b@x", &info), 0);
        assert_int_equal(info.messages, 2);
        fresh(f);
        at += step;
    }
    assert_true(at > 10);
    munmap((void *)(uintptr_t)shared, 4096);
}

static void killed_in_place_of_each_call(void **state)
{
    killed_at_each_call(state, fixture_message, FAULT_KILL, false);
}

static void killed_after_each_call(void **state)
{
    killed_at_each_call(state, fixture_message, FAULT_KILL_AFTER, false);
}

static void killed_midway_through_each_write(void **state)
{
    killed_at_each_call(state, fixture_message, FAULT_KILL_MIDWAY, false);
}

static void killed_again_at_each_call_of_recovery(void **state)
{
    killed_at_each_call(state, fixture_message, FAULT_KILL_MIDWAY, true);
}

static void killed_with_attachments_midway_through_each_write(void **state)
{
    killed_at_each_call(state, attached_message, FAULT_KILL_MIDWAY, false);
}

static void killed_with_attachments_again_in_recovery(void **state)
{
    killed_at_each_call(state, attached_message, FAULT_KILL_MIDWAY, true);
}

/* Each call fails in turn: what was acknowledged stays, nothing is acknowledged after the
 * failure, and opening again recovers. */
static void each_call_fails(struct fixture *f, int error)
{
    for (unsigned long at = 1;; at++) {
        struct faults faults;
        unsigned acknowledged = 0;
        faults_init(&faults, FAULT_ERROR, at, error);
        int err = fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops);
        if (err == 0) {
            char uidl[16];
            uint32_t account = 0, source = 0;
            for (int i = 0; i < 3; i++) {
                if (store_origin(f->archive, span_text("a@x"), span_text("h"),
                                 span_text("l"), &account, &source) != 0)
                    break;
                struct record *r = record_create(RECORD_SEEN, account, 1);
                snprintf(uidl, sizeof(uidl), "f%d", i);
                const struct seen_meta seen = {
                    .n = 1, .source = source, .uidl = span_text(uidl)};
                seen_meta_encode(&r->meta, &seen);
                assert_int_equal(record_prepare(r, NULL), 0);
                if (store_append(f->archive, r) != 0 || store_commit(f->archive) != 0)
                    break;
                acknowledged++;
            }
            if (store_failure(f->archive) != 0) {
                assert_int_equal(store_failure(f->archive), error);
                assert_int_equal(store_commit(f->archive), ERR_FAILED);
            }
            bool struck = faults.calls >= at;
            fixture_crash(f);
            if (!struck) {
                assert_int_equal(acknowledged, 3);
                return;
            }
        }
        fixture_open(f, ARCHIVE_WRITE);
        struct verify_summary s = fixture_verify(f, false);
        if (verify_found_damage(&s))
            fail_msg("call %lu: %s", at, f->notes);
        fresh(f);
    }
}

static void each_call_fails_with_eio(void **state)
{
    each_call_fails(*state, -EIO);
}

static void each_call_fails_with_enospc(void **state)
{
    each_call_fails(*state, -ENOSPC);
}

static void short_writes_are_continued(void **state)
{
    struct fixture *f = *state;
    for (unsigned long at = 1; at < 20; at++) {
        struct faults faults;
        unsigned acknowledged = 0;
        faults_init(&faults, FAULT_SHORT, at, 0);
        assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops), 0);
        fetch(f, fixture_message, &acknowledged);
        assert_int_equal(acknowledged, MESSAGES);
        assert_messages(f, fixture_message, MESSAGES);
        fresh(f);
    }
}

static void crash_with_torn_tail(struct fixture *f)
{
    char path[PATH_MAX];
    unsigned acknowledged = 0;
    fixture_open(f, ARCHIVE_WRITE);
    fetch(f, fixture_message, &acknowledged);
    fixture_crash(f);
    assert_int_equal(segment_path(f->path, 1, path), 0);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "half a record", 13), 13);
    close(fd);
}

/* What was written behind the last commit and never finished is cut, and kept for a person
 * to see. */
static void a_torn_tail_is_put_aside(void **state)
{
    struct fixture *f = *state;
    char command[256];
    crash_with_torn_tail(f);
    fixture_open(f, ARCHIVE_WRITE);
    assert_non_null(strstr(f->notes, "torn tail of 13 bytes"));
    assert_int_equal(f->damage_notes, 0);
    assert_messages(f, fixture_message, MESSAGES);
    snprintf(command, sizeof(command), "grep -q 'half a record' '%s'/quarantine/tail-*",
             f->path);
    assert_int_equal(system(command), 0);
}

/* A backup that was put in the archive's place: CASK and segments/, and then a crash. */
static void a_copy_without_the_other_folders_recovers(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX], command[256];
    crash_with_torn_tail(f);
    snprintf(command, sizeof(command), "cd '%s' && rm -r state quarantine index lock",
             f->path);
    assert_int_equal(system(command), 0);
    fixture_open(f, ARCHIVE_WRITE);
    assert_non_null(strstr(f->notes, "torn tail of 13 bytes"));
    assert_messages(f, fixture_message, MESSAGES);
    struct stat st;
    snprintf(path, sizeof(path), "%s/state", f->path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

/* Damage below what was acknowledged is not a torn tail: nothing is cut. */
static void damage_below_the_durable_offset_is_not_cut(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat before, after;
    unsigned acknowledged = 0;
    fixture_open(f, ARCHIVE_WRITE);
    fetch(f, fixture_message, &acknowledged);
    fixture_crash(f);
    assert_int_equal(segment_path(f->path, 1, path), 0);
    assert_int_equal(stat(path, &before), 0);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, SEGMENT_HEADER_SIZE + 400), 1);
    close(fd);
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(f->damage_notes, 1);
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_size > before.st_size); /* the seal was added */
    struct account_info info;
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, MESSAGES);
}

/* A read that fails once. */
struct bad_read {
    unsigned long at, calls;
};

static int read_badly(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                      size_t *out_read)
{
    struct bad_read *bad = ctx;
    return ++bad->calls == bad->at
               ? -EIO
               : system_files.pread(NULL, fd, data, size, offset, out_read);
}

/* Behind damage reading goes on; that a read failed does not mean that nothing follows. */
static void a_failing_read_hides_nothing_behind_damage(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct account_info info;
    struct bad_read bad = {.at = 1};
    struct file_ops ops = system_files;
    ops.ctx = &bad;
    ops.pread = read_badly;
    fixture_open(f, ARCHIVE_WRITE);
    for (int i = 0; i < 3; i++)
        fixture_session(f, "a@x", i, 1, 700);
    fixture_close(f);
    assert_int_equal(segment_path(f->path, 1, path), 0);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, SEGMENT_HEADER_SIZE + 20), 1); /* in a COMMIT */
    close(fd);
    for (bool failed = true; failed; bad.at++) {
        bad.calls = 0;
        int err = fixture_try_open(f, ARCHIVE_WRITE, true, &ops);
        failed = bad.calls >= bad.at;
        if (err != 0)
            continue;
        assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
        assert_int_equal(info.messages, 3);
        fixture_close(f);
    }
    assert_true(bad.at > 10);
}

/* The segment's nth record (from 0) of a type can no longer be read. */
static void hurt(struct fixture *f, uint64_t segment, uint8_t type, unsigned nth)
{
    char path[PATH_MAX];
    struct segment_file file;
    struct record_view v = {0};
    uint64_t offset = SEGMENT_HEADER_SIZE;
    assert_int_equal(
        segment_open(&system_files, f->path, segment, archive_uuid(f->archive), &file), 0);
    for (;; offset += record_size(&v.header)) {
        assert_int_equal(segment_read(&file, offset, file.size, f->codec, &v), 0);
        if (v.header.type == type && nth-- == 0)
            break;
    }
    record_view_free(&v);
    segment_file_close(&file);
    assert_int_equal(segment_path(f->path, segment, path), 0);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "\xff", 1, (off_t)offset + 9), 1); /* its header's size */
    close(fd);
}

static void rebuild(struct fixture *f)
{
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(f->damage_notes, 1);
}

/* Also where the record is damaged that used it, and the index had to be built anew. */
static void a_number_is_not_given_out_again(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    fixture_open(f, ARCHIVE_WRITE);
    for (int i = 0; i < 3; i++)
        fixture_session(f, "a@x", i, 1, 700);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    hurt(f, 1, RECORD_BLOCK, 2);
    rebuild(f);
    fixture_session(f, "a@x", 10, 1, 700);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 3);
    assert_int_equal(info.highest, 4);
}

/* An account whose name is lost comes under its number, not under another's name. */
static void an_account_number_is_not_given_out_again(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "a@x", 0, 1, 700);
    fixture_session(f, "b@x", 0, 2, 700);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    hurt(f, 1, RECORD_ACCOUNT, 1);
    rebuild(f);
    fixture_session(f, "new@x", 0, 1, 700);
    assert_int_equal(archive_find_account(f->archive, "new@x", &info), 0);
    assert_int_equal(info.number, 3);
    assert_int_equal(info.messages, 1);
    assert_int_equal(archive_find_account(f->archive, "#2", &info), 0);
    assert_int_equal(info.messages, 2);
}

/* Nor do the UIDLs of a source that is lost hide what another one has. */
static void a_source_number_is_not_given_out_again(void **state)
{
    struct fixture *f = *state;
    uint32_t account = 0, source = 0;
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "a@x", 0, 2, 700);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    hurt(f, 1, RECORD_SOURCE, 0);
    rebuild(f);
    assert_int_equal(store_origin(f->archive, span_text("a@x"), span_text("other.example"),
                                  span_text("a@x"), &account, &source),
                     0);
    assert_int_equal(source, 2);
}

/* P4 */
static void the_index_is_rebuilt_equal(void **state)
{
    struct fixture *f = *state;
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "a@x", 0, 100, 3000);
    fixture_session(f, "b@x", 0, 3, 2000000);
    fixture_session(f, "a@x", 50, 100, 3000);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "c@x", 0, 10, 100);
    char *before = fixture_dump(f);
    fixture_close(f);
    assert_int_equal(index_remove(f->path), 0);
    assert_int_equal(fixture_try_open(f, ARCHIVE_READ, false, NULL), ERR_NO_INDEX);
    fixture_open(f, ARCHIVE_WRITE); /* the service mends it by itself */
    assert_non_null(strstr(f->notes, "rebuilding"));
    char *after = fixture_dump(f);
    assert_string_equal(before, after);
    free(after);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    after = fixture_dump(f);
    assert_string_equal(before, after);
    struct verify_summary s = fixture_verify(f, false);
    assert_false(verify_found_damage(&s));
    free(before);
    free(after);
}

/* With the index gone and the process killed, the last batch is still found and kept. */
static void killed_and_the_index_gone(void **state)
{
    struct fixture *f = *state;
    unsigned acknowledged = 0;
    fixture_open(f, ARCHIVE_WRITE);
    fetch(f, fixture_message, &acknowledged);
    char *before = fixture_dump(f);
    fixture_crash(f);
    assert_int_equal(index_remove(f->path), 0);
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(f->damage_notes, 0);
    char *after = fixture_dump(f);
    assert_string_equal(before, after);
    fixture_crash(f);
    assert_int_equal(index_remove(f->path), 0);
    fixture_open(f, ARCHIVE_WRITE);
    free(after);
    after = fixture_dump(f);
    assert_string_equal(before, after);
    assert_messages(f, fixture_message, MESSAGES);
    free(before);
    free(after);
}

/* A copied index may be older than the segments beside it. */
static void a_copied_index_is_not_trusted(void **state)
{
    struct fixture *f = *state;
    char command[600];
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "a@x", 0, 10, 100);
    fixture_close(f);
    snprintf(command, sizeof(command),
             "cp -r '%s' '%s/copy' && rm -r '%s' && mv '%s/copy' '%s'", f->path, f->root,
             f->path, f->root, f->path);
    assert_int_equal(system(command), 0);
    assert_int_equal(fixture_try_open(f, ARCHIVE_READ, false, NULL), ERR_NO_INDEX);
    fixture_open(f, ARCHIVE_WRITE);
    struct account_info info;
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 10);
}

/* A garbled index is rebuilt, not believed. */
static void an_unusable_index_is_rebuilt(void **state)
{
    struct fixture *f = *state;
    char path[200];
    fixture_open(f, ARCHIVE_WRITE);
    fixture_session(f, "a@x", 0, 10, 100);
    fixture_close(f);
    snprintf(path, sizeof(path), "%s/index/data.mdb", f->path);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "garbage", 7), 7);
    close(fd);
    fixture_open(f, ARCHIVE_WRITE);
    struct account_info info;
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(killed_in_place_of_each_call),
        TEST(killed_after_each_call),
        TEST(killed_midway_through_each_write),
        TEST(killed_again_at_each_call_of_recovery),
        TEST(killed_with_attachments_midway_through_each_write),
        TEST(killed_with_attachments_again_in_recovery),
        TEST(each_call_fails_with_eio),
        TEST(each_call_fails_with_enospc),
        TEST(short_writes_are_continued),
        TEST(a_torn_tail_is_put_aside),
        TEST(a_copy_without_the_other_folders_recovers),
        TEST(damage_below_the_durable_offset_is_not_cut),
        TEST(a_failing_read_hides_nothing_behind_damage),
        TEST(a_number_is_not_given_out_again),
        TEST(an_account_number_is_not_given_out_again),
        TEST(a_source_number_is_not_given_out_again),
        TEST(the_index_is_rebuilt_equal),
        TEST(killed_and_the_index_gone),
        TEST(a_copied_index_is_not_trusted),
        TEST(an_unusable_index_is_rebuilt),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
