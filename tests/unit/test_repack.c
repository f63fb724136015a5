/* Repacking: smaller, without garbage, the same mail under the same numbers; killed
 * anywhere it loses and doubles nothing, and readers beside it do not notice. */
#include "archive/error.h"
#include "archive/index.h"
#include "archive/reader.h"
#include "archive/repack.h"
#include "archive/segment.h"
#include "tests/support/archive_fixture.h"
#include "tests/support/faulty_files.h"

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

#define POLLS 60

/* A message with an attachment of `size` bytes that depends on `what` alone. */
static size_t attachment_message(int i, int what, size_t size, char *out)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = (size_t)sprintf(out, "Subject: attachment %d\r\n\r\ntext of %d\r\n", i, i);
    unsigned seed = (unsigned)what * 2654435761u + 99;
    for (size_t k = 0; k < size / 3 * 4; k++) {
        seed = seed * 1103515245u + 12345;
        out[at++] = digits[seed >> 16 & 63];
        if (k % 76 == 75) {
            out[at++] = '\r';
            out[at++] = '\n';
        }
    }
    at += (size_t)sprintf(out + at, "\r\n--end\r\n");
    return at;
}

static void take_attachments(struct fixture *f, const char *name, int first, int count,
                             bool abort_last)
{
    char uidl[32], *text = malloc(400000);
    enum intake_result result;
    struct intake *in = fixture_intake(f, name);
    for (int i = first; i < first + count; i++) {
        snprintf(uidl, sizeof(uidl), "at%d", i);
        fixture_take(in, uidl, text, attachment_message(i, i % 3, 100000, text), &result);
    }
    if (abort_last) { /* its part becomes garbage */
        size_t size = attachment_message(99, 99 + first, 150000, text);
        assert_int_equal(intake_begin(in, span_text("aborted"), size), 0);
        assert_int_equal(intake_add(in, (const uint8_t *)text, size), 0);
        intake_abort(in);
    }
    fixture_finish(f, in);
    free(text);
}

/* Many small polls, attachments, a stream, equal bodies, garbage. */
static void fill(struct fixture *f)
{
    for (int i = 0; i < POLLS; i++) {
        fixture_session(f, i % 2 == 0 ? "a@x" : "b@x", i, 1, 3000);
        if (i % 20 == 19) {
            fixture_close(f);
            fixture_open(f, ARCHIVE_WRITE);
        }
    }
    take_attachments(f, "a@x", 0, 5, true);
    take_attachments(f, "c@x", 0, 7, false);
    fixture_session(f, "large@x", 0, 2, 2500000);
    struct intake *in = fixture_intake(f, "same@x");
    enum intake_result result;
    for (int i = 0; i < 4; i++) {
        char uidl[2] = {(char)('0' + i), 0};
        fixture_take(in, uidl, "equal\r\n", 7, &result);
        if (i == 1)
            assert_int_equal(intake_flush(in), 0);
    }
    fixture_finish(f, in);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    fill(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

static struct repack_summary repack(struct fixture *f, bool remove_now)
{
    struct repack_summary s;
    const struct repack_options options = {.remove_now = remove_now};
    lookup_rest(f->lookup);
    assert_int_equal(archive_repack(f->archive, &options, &s), 0);
    return s;
}

static void assert_sound(struct fixture *f)
{
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s) || s.healed > 0)
        fail_msg("%s", f->notes);
}

/* Every message's bytes, hashed into the dump: what it says is checked when it is read. */
static char *everything(struct fixture *f)
{
    struct account_info info;
    static const char *const names[] = {"a@x", "b@x", "c@x", "large@x", "same@x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(archive_find_account(f->archive, names[i], &info), 0);
        for (uint64_t n = 1; n <= info.highest; n++) {
            size_t size = 0;
            int err = 0;
            free(fixture_restore(f, names[i], n, &size, &err)); /* proved by its SHA-256 */
            assert_int_equal(err, 0);
        }
    }
    return fixture_dump(f);
}

static void assert_same(struct fixture *f, const char *before)
{
    char *now = everything(f);
    assert_string_equal(before, now);
    free(now);
    assert_sound(f);
}

static size_t segment_count(struct fixture *f)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(segment_list(f->path, &ids, &count), 0);
    free(ids);
    return count;
}

static void the_same_mail_in_fewer_bytes(void **state)
{
    struct fixture *f = *state;
    char *before = everything(f);
    size_t segments = segment_count(f);
    struct repack_summary s = repack(f, true);
    assert_int_equal(s.segments_read, segments);
    assert_int_equal(s.segments_removed, segments);
    assert_true(s.bytes_after < s.bytes_before);
    assert_int_equal(segment_count(f), 1);
    assert_same(f, before);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0); /* P4 */
    assert_int_equal(f->damage_notes, 0);
    assert_same(f, before);
    s = repack(f, true); /* and there is nothing left to do */
    assert_int_equal(s.segments_read, 0);
    free(before);
}

/* What was replaced stays for a day, and does no harm there. */
static void replaced_segments_stay_for_a_day(void **state)
{
    struct fixture *f = *state;
    char *before = everything(f);
    size_t segments = segment_count(f);
    struct repack_summary s = repack(f, false);
    assert_int_equal(s.segments_removed, 0);
    assert_int_equal(s.segments_kept, segments);
    assert_int_equal(segment_count(f), segments + 1);
    assert_same(f, before);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    assert_same(f, before);
    s = repack(f, true);
    assert_int_equal(s.segments_removed, segments);
    assert_int_equal(segment_count(f), 1);
    assert_same(f, before);
    free(before);
}

static void no_unreferenced_part_is_left(void **state)
{
    struct fixture *f = *state;
    struct segment_file file;
    struct record_view v = {0};
    uint64_t *ids = NULL, parts = 0;
    size_t count = 0;
    repack(f, true);
    assert_int_equal(segment_list(f->path, &ids, &count), 0);
    for (size_t i = 0; i < count; i++) {
        struct segment_trailer trailer;
        uint64_t offset = SEGMENT_HEADER_SIZE;
        assert_int_equal(
            segment_open(&system_files, f->path, ids[i], archive_uuid(f->archive), &file),
            0);
        assert_int_equal(segment_read_trailer(&file, &trailer), 0);
        while (offset < trailer.seal_offset) {
            assert_int_equal(segment_read(&file, offset, file.size, f->codec, &v), 0);
            parts += v.header.type == RECORD_PART;
            offset += record_size(&v.header);
        }
        segment_file_close(&file);
    }
    assert_int_equal(parts, 3); /* three attachments; the aborted message's is gone */
    record_view_free(&v);
    free(ids);
}

static void later_mail_goes_on(void **state)
{
    struct fixture *f = *state;
    repack(f, true);
    fixture_session(f, "a@x", 0, POLLS, 3000); /* the even ones are known, by UIDL */
    take_attachments(f, "d@x", 0, 3, false);
    char *before = everything(f);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    repack(f, true);
    assert_same(f, before);
    free(before);
}

/* A reader that began before finds what it looks for behind the removal. */
static void a_reader_beside_it_goes_on(void **state)
{
    struct fixture *f = *state;
    const struct archive_options options = {.mode = ARCHIVE_READ};
    struct archive *beside = NULL;
    struct reader *reader = NULL;
    struct account_info info;
    struct message_meta m;
    assert_int_equal(archive_open(f->path, &options, &beside), 0);
    assert_int_equal(reader_create(beside, &reader), 0);
    assert_int_equal(archive_find_account(beside, "c@x", &info), 0);
    assert_int_equal(reader_next(reader, info.number, 0, &m), 0);
    repack(f, true);
    for (uint64_t n = 0; reader_next(reader, info.number, n, &m) == 0; n = m.n)
        assert_int_equal(m.n, n + 1);
    assert_int_equal(m.n, 7);
    reader_destroy(reader);
    archive_close(beside);
}

/* Damage is not repacked away: the segment stays as it is. */
static void a_damaged_segment_is_left(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    assert_int_equal(segment_path(f->path, 1, path), 0);
    fixture_flip_in_body(f, 1, RECORD_BLOCK);
    struct repack_summary s = repack(f, true);
    assert_int_equal(s.segments_skipped, 1);
    assert_int_equal(access(path, F_OK), 0);
    struct verify_summary v = fixture_verify(f, false);
    assert_true(verify_found_damage(&v));
    assert_int_equal(v.messages_hurt, 1);
    /* What heals may be left behind, and then the damage is gone. */
    lookup_destroy(f->lookup);
    assert_int_equal(lookup_create(f->archive, &f->lookup), 0);
    for (int i = 0; i < POLLS; i++)
        fixture_session(f, i % 2 == 0 ? "a@x" : "b@x", i, 1, 3000);
    s = repack(f, true);
    assert_int_equal(s.segments_skipped, 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_sound(f);
}

/* The end of the segment's first `count` records. */
static uint64_t end_of_records(struct fixture *f, uint64_t segment, unsigned count)
{
    struct segment_file file;
    struct record_view v = {0};
    uint64_t offset = SEGMENT_HEADER_SIZE;
    assert_int_equal(
        segment_open(&system_files, f->path, segment, archive_uuid(f->archive), &file), 0);
    while (count-- > 0) {
        assert_int_equal(segment_read(&file, offset, file.size, f->codec, &v), 0);
        offset += record_size(&v.header);
    }
    record_view_free(&v);
    segment_file_close(&file);
    return offset;
}

/* Begun by a COMMIT, of which nothing is needed: so much for the first record. */
static void a_stretch_of_damage_is_more_than_its_first_record(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    uint64_t end = end_of_records(f, 1, 3); /* COMMIT, ACCOUNT, SOURCE */
    assert_int_equal(segment_path(f->path, 1, path), 0);
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, SEGMENT_HEADER_SIZE, SEEK_SET);
    for (uint64_t at = SEGMENT_HEADER_SIZE; at < end; at++)
        fputc(0, stream);
    assert_int_equal(fclose(stream), 0);
    struct repack_summary s = repack(f, true);
    assert_int_equal(s.segments_skipped, 1);
    assert_int_equal(access(path, F_OK), 0);
}

/* A COMMIT alone may be damaged: it says nothing of use any more. */
static void a_damaged_commit_is_left_behind(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    assert_int_equal(segment_path(f->path, 1, path), 0);
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, SEGMENT_HEADER_SIZE + 1, SEEK_SET);
    fputc(0xff, stream);
    assert_int_equal(fclose(stream), 0);
    char *before = everything(f);
    struct repack_summary s = repack(f, true);
    assert_int_equal(s.segments_skipped, 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_same(f, before);
    free(before);
}

/* What the disk has is another thing than what the page cache had: seen when the first
 * segment is let go of. */
struct bad_disk {
    struct fixture *fixture;
    uint8_t type; /* of the record that is hurt in the newest segment */
};

static int evict_and_show(void *ctx, int fd, uint64_t offset, uint64_t size)
{
    struct bad_disk *bad = ctx;
    uint64_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(segment_list(bad->fixture->path, &ids, &count), 0);
    if (bad->type != 0)
        fixture_flip_in_body(bad->fixture, ids[count - 1], bad->type);
    bad->type = 0;
    free(ids);
    return system_files.evict(NULL, fd, offset, size);
}

static void removes_nothing_behind_a_bad(struct fixture *f, uint8_t type)
{
    struct repack_summary s;
    const struct repack_options options = {.remove_now = true};
    struct bad_disk bad = {.fixture = f, .type = type};
    struct file_ops ops = system_files;
    size_t segments = segment_count(f);
    ops.ctx = &bad;
    ops.evict = evict_and_show;
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, false, &ops), 0);
    assert_int_equal(archive_repack(f->archive, &options, &s), ERR_DAMAGED);
    assert_int_equal(bad.type, 0);
    assert_true(segment_count(f) > segments);
    fixture_crash(f); /* before `bad` goes */
    fixture_open(f, ARCHIVE_WRITE);
}

static void a_bad_copy_of_messages_is_found(void **state)
{
    removes_nothing_behind_a_bad(*state, RECORD_BLOCK);
}

/* Also where the messages that name it are elsewhere. */
static void a_bad_copy_of_a_part_is_found(void **state)
{
    removes_nothing_behind_a_bad(*state, RECORD_PART);
}

static void a_bad_copy_of_small_records_is_found(void **state)
{
    removes_nothing_behind_a_bad(*state, RECORD_PACK);
}

/* Repacking in a child that dies at its call `at`: false when it came to its end. */
static bool killed_repack(struct fixture *f, enum fault_kind kind, unsigned long at)
{
    pid_t child = fork();
    if (child == 0) {
        struct faults faults;
        struct repack_summary s;
        const struct repack_options options = {.remove_now = true};
        faults_init(&faults, kind, at, 0);
        if (fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops) != 0 ||
            archive_repack(f->archive, &options, &s) != 0 || archive_close(f->archive) != 0)
            _exit(4);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 4);
    return WEXITSTATUS(status) == 0;
}

static void killed_anywhere(void **state, enum fault_kind kind)
{
    struct fixture *f = *state;
    char *before = everything(f);
    fixture_close(f);
    for (unsigned long at = 1; killed_repack(f, kind, at); at++) {
        fixture_open(f, ARCHIVE_WRITE);
        assert_int_equal(f->damage_notes, 0);
        assert_null(strstr(f->notes, "were kept")); /* copies are not carried */
        assert_same(f, before);
        fixture_close(f);
        if (at % 4 == 0) {
            assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
            assert_same(f, before);
            fixture_close(f);
        }
    }
    fixture_open(f, ARCHIVE_WRITE);
    assert_same(f, before);
    repack(f, true);
    assert_same(f, before);
    free(before);
}

static void killed_in_place_of_each_call(void **state)
{
    killed_anywhere(state, FAULT_KILL);
}

static void killed_midway_through_each_write(void **state)
{
    killed_anywhere(state, FAULT_KILL_MIDWAY);
}

static int stop_soon(void *arg, uint64_t done, uint64_t total)
{
    (void)total;
    uint64_t *limit = arg;
    return done > *limit;
}

static void stopped_by_the_caller_it_goes_on_later(void **state)
{
    struct fixture *f = *state;
    char *before = everything(f);
    for (uint64_t limit = 1; limit < 4000000; limit += 700000) {
        struct repack_summary s;
        const struct repack_options options = {
            .remove_now = true, .progress = stop_soon, .arg = &limit};
        lookup_rest(f->lookup);
        assert_int_equal(archive_repack(f->archive, &options, &s), ERR_STOPPED);
        assert_same(f, before);
    }
    repack(f, true);
    assert_same(f, before);
    assert_int_equal(segment_count(f), 1);
    free(before);
}

static int evict_and_note(void *ctx, int fd, uint64_t offset, uint64_t size)
{
    bool *checking = ctx;
    *checking = true;
    return system_files.evict(NULL, fd, offset, size);
}

static int stop_when_checking(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    const bool *checking = arg;
    return *checking;
}

/* Nobody has read back what it copied: the next run does, before what that was copied from
 * goes. */
static void what_a_stopped_run_has_copied_is_proved_by_the_next(void **state)
{
    struct fixture *f = *state;
    struct repack_summary s;
    bool checking = false;
    struct repack_options options = {
        .remove_now = true, .progress = stop_when_checking, .arg = &checking};
    struct file_ops ops = system_files;
    char path[PATH_MAX], *before = everything(f);
    size_t segments = segment_count(f);
    ops.ctx = &checking;
    ops.evict = evict_and_note;
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, false, &ops), 0);
    assert_int_equal(archive_repack(f->archive, &options, &s), ERR_STOPPED);
    fixture_close(f); /* before `ops` goes */
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(segment_count(f), segments + 1);
    fixture_flip_in_body(f, segments + 1, RECORD_BLOCK);
    options.progress = NULL;
    assert_int_equal(archive_repack(f->archive, &options, &s), ERR_DAMAGED);
    assert_int_equal(segment_count(f), segments + 1); /* before it copies anything */
    /* Without the bad copies all is as it was. */
    fixture_close(f);
    assert_int_equal(segment_path(f->path, segments + 1, path), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    char *after = everything(f);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_same_mail_in_fewer_bytes),
        TEST(replaced_segments_stay_for_a_day),
        TEST(no_unreferenced_part_is_left),
        TEST(later_mail_goes_on),
        TEST(a_reader_beside_it_goes_on),
        TEST(a_damaged_segment_is_left),
        TEST(a_stretch_of_damage_is_more_than_its_first_record),
        TEST(a_damaged_commit_is_left_behind),
        TEST(a_bad_copy_of_messages_is_found),
        TEST(a_bad_copy_of_a_part_is_found),
        TEST(a_bad_copy_of_small_records_is_found),
        TEST(stopped_by_the_caller_it_goes_on_later),
        TEST(what_a_stopped_run_has_copied_is_proved_by_the_next),
        TEST(killed_in_place_of_each_call),
        TEST(killed_midway_through_each_write),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
