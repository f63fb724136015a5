/* Damage: every flipped bit is found, nothing wrong is ever given out as right, and what
 * the server still has heals. */
#include "archive/damage.h"
#include "archive/error.h"
#include "archive/index.h"
#include "archive/record.h"
#include "archive/segment.h"
#include "tests/support/archive_fixture.h"

#include <errno.h>
#include <fcntl.h>
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

#define FLIPS 1000
#define ACCOUNTS 3
#define MESSAGES 40

static const char *const names[ACCOUNTS] = {"a@x", "b@x", "c@x"};

/* Three sealed segments: small messages of three accounts, and one that needs chunks. */
static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    for (int i = 0; i < ACCOUNTS; i++) {
        fixture_session(f, names[i], 0, MESSAGES, 700);
        if (i == 1)
            fixture_session(f, "large@x", 0, 1, 2500000);
        fixture_close(f);
        fixture_open(f, ARCHIVE_WRITE);
    }
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

static void target_path(struct fixture *f, unsigned which, char path[PATH_MAX])
{
    if (which == 0)
        snprintf(path, PATH_MAX, "%s/CASK", f->path);
    else
        assert_int_equal(segment_path(f->path, which, path), 0);
}

static void flip(const char *path, off_t at, uint8_t bit)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (uint8_t)(1u << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Every message either comes back exact or is refused. Returns how many were refused. */
static unsigned assert_right_or_refused(struct fixture *f)
{
    char text[2048];
    unsigned refused = 0;
    for (int a = 0; a < ACCOUNTS; a++)
        for (int i = 0; i < MESSAGES; i++) {
            size_t size = 0;
            int err = 0;
            char *got = fixture_restore(f, names[a], (uint64_t)i + 1, &size, &err);
            refused += got == NULL;
            if (got != NULL) {
                assert_int_equal(size, fixture_message(names[a], i, 700, text));
                assert_memory_equal(got, text, size);
            }
            free(got);
        }
    return refused;
}

static void found(struct fixture *f, unsigned which, off_t at)
{
    int err = fixture_try_open(f, ARCHIVE_READ, false, NULL);
    if (which == 0) {
        assert_int_equal(err, ERR_DAMAGED);
        return;
    }
    assert_int_equal(err, 0);
    struct verify_summary s = fixture_verify(f, false);
    if (!verify_found_damage(&s))
        fail_msg("segment %u, byte %ld: not found", which, (long)at);
    unsigned refused = assert_right_or_refused(f);
    if (refused > s.messages_hurt)
        fail_msg("segment %u, byte %ld: %u refused, %lu named:\n%s", which, (long)at,
                 refused, (unsigned long)s.messages_hurt, f->notes);
    fixture_close(f);
}

static void each_flipped_bit_is_found(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat st;
    srandom(20260302);
    for (unsigned i = 0; i < FLIPS; i++) {
        unsigned which = (unsigned)random() % 4;
        if (which == 2 && i % 16 != 0)
            which = 1; /* the large one: fewer */
        target_path(f, which, path);
        assert_int_equal(stat(path, &st), 0);
        /* One in four within header, seal and trailer: small places that chance would miss.
         */
        off_t at = random() % st.st_size;
        if (i % 8 == 0)
            at = random() % SEGMENT_HEADER_SIZE % st.st_size;
        if (i % 8 == 4)
            at = st.st_size - 1 - random() % 400 % st.st_size;
        uint8_t bit = (uint8_t)(random() % 8);
        flip(path, at, bit);
        found(f, which, at);
        flip(path, at, bit);
    }
    fixture_open(f, ARCHIVE_READ);
    struct verify_summary s = fixture_verify(f, false);
    assert_false(verify_found_damage(&s));
    assert_int_equal(assert_right_or_refused(f), 0);
}

/* --quick finds every one as well: all that is stored has a checksum. */
static void quick_finds_them_too(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat st;
    for (unsigned i = 0; i < 200; i++) {
        target_path(f, 1, path);
        assert_int_equal(stat(path, &st), 0);
        off_t at = st.st_size * (off_t)i / 200;
        flip(path, at, (uint8_t)(i % 8));
        fixture_open(f, ARCHIVE_READ);
        struct verify_summary s = fixture_verify(f, true);
        assert_true(verify_found_damage(&s));
        fixture_close(f);
        flip(path, at, (uint8_t)(i % 8));
    }
}

/* With the index rebuilt from the damaged segments, damage is still found, and nothing
 * wrong given. */
static void flips_are_found_after_reindex(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat st;
    for (unsigned i = 0; i < 60; i++) {
        target_path(f, 1, path);
        assert_int_equal(stat(path, &st), 0);
        off_t at = st.st_size * (off_t)i / 60;
        flip(path, at, (uint8_t)(i % 8));
        if (fixture_try_open(f, ARCHIVE_WRITE, true, NULL) == 0) {
            struct verify_summary s = fixture_verify(f, false);
            /* A flip in the trailer alone is mended: the same seal is written again. */
            if (!verify_found_damage(&s) && at < st.st_size - SEGMENT_TRAILER_SIZE)
                fail_msg("byte %ld: not found", (long)at);
            assert_right_or_refused(f);
            fixture_crash(f);
        }
        teardown(state);
        setup(state);
        f = *state;
    }
}

static void a_removed_segment_is_found(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX], aside[PATH_MAX];
    snprintf(aside, sizeof(aside), "%s/aside", f->root);
    for (unsigned id = 1; id <= 3; id++) {
        target_path(f, id, path);
        assert_int_equal(rename(path, aside), 0);
        fixture_open(f, ARCHIVE_READ);
        struct verify_summary s = fixture_verify(f, false);
        assert_true(s.structure >= 1);
        assert_true(s.messages_hurt >= MESSAGES);
        fixture_close(f);
        assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
        assert_true(f->damage_notes >= 1);
        s = fixture_verify(f, false);
        assert_true(s.structure >= 1);
        assert_non_null(strstr(f->notes, "the segment is missing"));
        fixture_close(f);
        assert_int_equal(rename(aside, path), 0);
        assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
        assert_int_equal(f->damage_notes, 0);
        s = fixture_verify(f, false);
        assert_false(verify_found_damage(&s));
        fixture_close(f);
    }
}

/* A segment exchanged for another sound one breaks the chain. */
static void an_exchanged_segment_is_found(void **state)
{
    struct fixture *f = *state;
    char command[PATH_MAX * 3];
    fixture_open(f, ARCHIVE_WRITE);
    fixture_close(f);
    snprintf(command, sizeof(command),
             "cp '%s/segments/00000001.seg' '%s/segments/00000003.seg'", f->path, f->path);
    assert_int_equal(system(command), 0);
    fixture_open(f, ARCHIVE_READ);
    struct verify_summary s = fixture_verify(f, false);
    assert_true(s.structure >= 1);
    fixture_close(f);
}

/* Where the first record of a type in segment id lies. */
static uint64_t find_record(struct fixture *f, uint64_t id, uint8_t type,
                            struct record_header *out)
{
    struct segment_file file;
    struct record_view view = {0};
    uint64_t offset = SEGMENT_HEADER_SIZE;
    assert_int_equal(
        segment_open(&system_files, f->path, id, archive_uuid(f->archive), &file), 0);
    for (;;) {
        assert_int_equal(segment_read(&file, offset, file.size, f->codec, &view), 0);
        if (view.header.type == type)
            break;
        offset += record_size(&view.header);
    }
    *out = view.header;
    record_view_free(&view);
    segment_file_close(&file);
    return offset;
}

/* Fetch again from a server that still has everything, as the service would. */
static void fetch_again(struct fixture *f, const char *name, int count, size_t size,
                        int expected_healed)
{
    char uidl[32], *text = malloc(size + 256);
    int healed = 0;
    struct intake *in = fixture_intake(f, name);
    for (int i = 0; i < count; i++) {
        enum intake_result result = INTAKE_ARCHIVED;
        snprintf(uidl, sizeof(uidl), "u%d", i);
        if (fixture_take(in, uidl, text, fixture_message(name, i, size, text), &result) ==
            INTAKE_WANTED)
            healed += result == INTAKE_HEALED;
    }
    fixture_finish(f, in);
    free(text);
    assert_int_equal(healed, expected_healed);
}

static void assert_counted(const struct fixture *f, uint64_t messages)
{
    struct damage_count damage;
    assert_int_equal(damage_count(f->archive, &damage), 0);
    assert_int_equal(damage.messages, messages);
}

static void heals(struct fixture *f, uint64_t id, uint8_t type, bool in_meta,
                  const char *name, int count, size_t size)
{
    char path[PATH_MAX];
    struct record_header h;
    struct account_info before, after;
    fixture_open(f, ARCHIVE_READ);
    uint64_t offset = find_record(f, id, type, &h);
    assert_int_equal(archive_find_account(f->archive, name, &before), 0);
    fixture_close(f);
    target_path(f, (unsigned)id, path);
    flip(path, (off_t)(offset + RECORD_HEADER_SIZE + (in_meta ? 5 : h.meta_size + 5)), 3);
    fixture_open(f, ARCHIVE_READ);
    struct verify_summary s = fixture_verify(f, false);
    assert_int_equal(s.messages_hurt, count);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    assert_counted(f, (uint64_t)count);
    fetch_again(f, name, count, size, count);
    assert_counted(f, 0); /* before the next check */
    s = fixture_verify(f, false);
    if (verify_found_damage(&s))
        fail_msg("%s", f->notes);
    assert_true(s.healed >= 1);
    fetch_again(f, name, count, size, 0);
    assert_int_equal(archive_find_account(f->archive, name, &after), 0);
    assert_int_equal(after.messages, before.messages); /* under the same numbers */
    assert_int_equal(after.highest, before.highest);
    char *dump = fixture_dump(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    char *again = fixture_dump(f);
    if (!in_meta)
        assert_string_equal(dump, again);
    s = fixture_verify(f, false);
    if (verify_found_damage(&s))
        fail_msg("%s", f->notes);
    free(dump);
    free(again);
}

static void a_damaged_block_heals(void **state)
{
    heals(*state, 1, RECORD_BLOCK, false, "a@x", MESSAGES, 700);
}

static void a_damaged_meta_heals(void **state)
{
    heals(*state, 1, RECORD_BLOCK, true, "a@x", MESSAGES, 700);
}

static void a_damaged_chunk_heals(void **state)
{
    heals(*state, 2, RECORD_CHUNK, false, "large@x", 1, 2500000);
}

/* Reading what touches these bytes of the file behind `fd` fails. */
struct bad_sector {
    ino_t file;
    uint64_t from, to;
};

static int read_with_bad_sector(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                                size_t *out_read)
{
    const struct bad_sector *bad = ctx;
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (st.st_ino == bad->file && offset < bad->to && offset + size > bad->from)
        return -EIO;
    return system_files.pread(NULL, fd, data, size, offset, out_read);
}

/* A disk that cannot read what it has is damage as any other: what is hurt is known, and
 * nothing else. */
static void a_bad_sector_is_damage(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat st;
    struct record_header h;
    struct bad_sector bad;
    struct file_ops ops = system_files;
    fixture_open(f, ARCHIVE_READ);
    uint64_t offset = find_record(f, 1, RECORD_BLOCK, &h);
    fixture_close(f);
    target_path(f, 1, path);
    assert_int_equal(stat(path, &st), 0);
    bad = (struct bad_sector){.file = st.st_ino, .from = offset, .to = offset + 512};
    ops.ctx = &bad;
    ops.pread = read_with_bad_sector;
    assert_int_equal(fixture_try_open(f, ARCHIVE_READ, false, &ops), 0);
    struct verify_summary s = fixture_verify(f, false);
    assert_int_equal(s.messages_hurt, MESSAGES);
    assert_true(s.messages > 0);
    assert_non_null(strstr(f->notes, "Input/output error"));
    fixture_close(f);
}

/* The index says what the segments do not: found, and mended by reindexing. */
static void a_wrong_index_is_found(void **state)
{
    struct fixture *f = *state;
    struct index *ix = NULL;
    struct index_txn *t = NULL;
    uint8_t uuid[UUID_SIZE];
    fixture_open(f, ARCHIVE_READ);
    memcpy(uuid, archive_uuid(f->archive), sizeof(uuid));
    fixture_close(f);
    static const enum index_table tables[] = {TABLE_MESSAGES, TABLE_UIDLS, TABLE_HASHES,
                                              TABLE_CHUNKS, TABLE_LEDGER};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        struct span key = {0}, value;
        assert_int_equal(index_open(f->path, uuid, INDEX_WRITE, &ix), 0);
        assert_int_equal(index_begin_write(ix, &t), 0);
        assert_int_equal(index_seek(t, tables[i], &key, &value), 0);
        index_delete(t, tables[i], key);
        assert_int_equal(index_commit(t), 0);
        index_close(ix);
        fixture_open(f, ARCHIVE_READ);
        struct verify_summary s = fixture_verify(f, false);
        assert_true(s.index_differences > 0);
        assert_int_equal(s.structure, 0);
        fixture_close(f);
        assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
        s = fixture_verify(f, false);
        assert_false(verify_found_damage(&s));
        fixture_close(f);
    }
}

/* A backup has no index: the segments alone are checked. */
static void verify_works_without_an_index(void **state)
{
    struct fixture *f = *state;
    const struct archive_options options = {.mode = ARCHIVE_READ, .without_index = true};
    assert_int_equal(index_remove(f->path), 0);
    assert_int_equal(archive_open(f->path, &options, &f->archive), 0);
    struct verify_summary s = fixture_verify(f, false);
    assert_false(verify_found_damage(&s));
    assert_false(s.with_index);
    assert_int_equal(s.messages, ACCOUNTS * MESSAGES + 1);
    char path[PATH_MAX];
    struct stat st;
    target_path(f, 1, path);
    assert_int_equal(stat(path, &st), 0);
    flip(path, st.st_size / 2, 0);
    s = fixture_verify(f, false);
    assert_int_equal(s.messages_hurt, MESSAGES);
    assert_non_null(strstr(f->notes, "a@x/17 ")); /* by its name */
    flip(path, st.st_size / 2, 0);
    flip(path, st.st_size - 40, 0); /* the trailer of a segment that is not the newest */
    s = fixture_verify(f, false);
    assert_true(verify_found_damage(&s));
}

/* Killed before the header of a new segment was written: nothing in it was acknowledged. */
static void a_stillborn_segment_is_no_damage(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    struct stat st;
    target_path(f, ACCOUNTS + 1, path);
    for (off_t size = 0; size <= SEGMENT_HEADER_SIZE; size += SEGMENT_HEADER_SIZE) {
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, size), 0);
        close(fd);
        fixture_open(f, ARCHIVE_READ);
        struct verify_summary s = fixture_verify(f, false);
        assert_false(verify_found_damage(&s));
        assert_int_equal(s.segments, ACCOUNTS);
        fixture_close(f);
    }
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(stat(path, &st), -1);
    fixture_close(f);
    target_path(f, ACCOUNTS, path); /* which is named in CASK */
    assert_int_equal(truncate(path, 0), 0);
    fixture_open(f, ARCHIVE_READ);
    struct verify_summary s = fixture_verify(f, false);
    assert_true(verify_found_damage(&s));
}

/* Damage that the operator has acknowledged is told, but no longer fails the check. */
static void acknowledged_losses_are_not_damage(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    char path[PATH_MAX];
    target_path(f, 1, path);
    assert_int_equal(unlink(path), 0);
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    const struct lost_meta metas[] = {
        {.segment = 1, .reason = span_text("disk failed")},
        {.segment = 1, .first = 1, .last = MESSAGES, .reason = span_text("disk failed")}};
    for (size_t i = 0; i < 2; i++) {
        struct record *r = record_create(RECORD_LOST, i == 0 ? 0 : info.number, 1);
        lost_meta_encode(&r->meta, &metas[i]);
        assert_int_equal(record_prepare(r, NULL), 0);
        assert_int_equal(store_append(f->archive, r), 0);
    }
    assert_int_equal(store_commit(f->archive), 0);
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s))
        fail_msg("%s", f->notes);
    assert_int_equal(s.lost, MESSAGES + 1);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 0);
    assert_int_equal(info.highest, MESSAGES);
}

/* A service that comes, fetches and goes while we read: once. */
struct visit {
    struct fixture *fixture;
    bool over;
};

static int visited(void *arg, uint64_t done, uint64_t total)
{
    struct visit *v = arg;
    (void)total;
    if (v->over || done == 0)
        return 0;
    v->over = true;
    pid_t child = fork();
    if (child == 0) {
        fixture_open(v->fixture, ARCHIVE_WRITE);
        fixture_session(v->fixture, "a@x", MESSAGES, 3, 700);
        fixture_session(v->fixture, "late@x", 0, 3, 700);
        fixture_close(v->fixture);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return 0;
}

static void what_is_fetched_meanwhile_is_no_difference(void **state)
{
    struct fixture *f = *state;
    struct visit visit = {.fixture = f};
    struct verify_summary s;
    const struct verify_options options = {.progress = visited, .arg = &visit};
    fixture_open(f, ARCHIVE_READ);
    assert_int_equal(archive_verify(f->archive, &options, &s), 0);
    assert_true(visit.over);
    assert_false(verify_found_damage(&s));
    fixture_close(f);
    fixture_open(f, ARCHIVE_READ);
    assert_int_equal(archive_verify(f->archive, &options, &s), 0);
    assert_false(verify_found_damage(&s));
    assert_int_equal(s.messages, ACCOUNTS * MESSAGES + 1 + 6);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_flipped_bit_is_found),
        TEST(quick_finds_them_too),
        TEST(flips_are_found_after_reindex),
        TEST(a_removed_segment_is_found),
        TEST(an_exchanged_segment_is_found),
        TEST(a_bad_sector_is_damage),
        TEST(a_damaged_block_heals),
        TEST(a_damaged_meta_heals),
        TEST(a_damaged_chunk_heals),
        TEST(a_wrong_index_is_found),
        TEST(verify_works_without_an_index),
        TEST(a_stillborn_segment_is_no_damage),
        TEST(acknowledged_losses_are_not_damage),
        TEST(what_is_fetched_meanwhile_is_no_difference),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
