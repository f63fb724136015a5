/* The store: where one segment ends and the next begins, and the seal between. */
#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/segment.h"
#include "tests/support/archive_fixture.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#define FILLER_SIZE ((uint64_t)2 << 20)
#define SPARSE_SIZE ((size_t)1 << 20)
#define COMMIT_SIZE (RECORD_HEADER_SIZE + 8)
#define READERS_MAX 2048
/* No rows come of it, and nobody reads it here. */
#define SOME_TYPE ((enum record_type)RECORD_TYPE_MAX)

/* Of what is large only the last byte reaches the disk: nobody reads it here. */
static int write_sparse(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                        size_t *out_written)
{
    const uint8_t *bytes = data;
    size_t skip = size >= SPARSE_SIZE ? size - 1 : 0;
    int err =
        system_files.pwrite(ctx, fd, bytes + skip, size - skip, offset + skip, out_written);
    *out_written += err == 0 ? skip : 0;
    return err;
}

static int setup(void **state)
{
    static struct file_ops ops;
    struct fixture *f = malloc(sizeof(*f));
    ops = system_files;
    ops.pwrite = write_sparse;
    fixture_setup(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, false, &ops), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

/* A record that takes `size` bytes of a segment. */
static struct record *record_of(uint64_t size)
{
    struct record *r = record_create(SOME_TYPE, 0, 1);
    assert_non_null(r);
    r->header.body_size = r->header.body_raw_size = size - RECORD_HEADER_SIZE;
    r->body = calloc(1, r->header.body_size + 1);
    assert_non_null(r->body);
    assert_int_equal(record_prepare(r, NULL), 0);
    assert_int_equal(record_size(&r->header), size);
    return r;
}

/* 0: it is not there. */
static uint64_t segment_size(const struct fixture *f, uint64_t id)
{
    struct stat st;
    char path[PATH_MAX];
    assert_int_equal(segment_path(f->path, id, path), 0);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A batch, committed, behind which the segment has room for `left` bytes. */
static void fill_up_to(struct fixture *f, uint64_t left)
{
    uint64_t to_fill = SEGMENT_SIZE_MAX - SEGMENT_HEADER_SIZE - COMMIT_SIZE - left;
    while (to_fill > 0) {
        uint64_t size = to_fill > 2 * FILLER_SIZE ? FILLER_SIZE : to_fill;
        assert_int_equal(store_append(f->archive, record_of(size)), 0);
        to_fill -= size;
    }
    assert_int_equal(store_commit(f->archive), 0);
    assert_int_equal(segment_size(f, 1), SEGMENT_SIZE_MAX - left);
}

static void assert_goes_into(struct fixture *f, uint64_t segment, uint64_t size)
{
    assert_int_equal(store_append(f->archive, record_of(size)), 0);
    assert_int_equal(store_commit(f->archive), 0);
    assert_int_equal(store_failure(f->archive), 0);
    assert_true((segment_size(f, 2) > 0) == (segment == 2));
}

static void a_segment_is_filled_to_its_end(void **state)
{
    fill_up_to(*state, 1000 + COMMIT_SIZE);
    assert_goes_into(*state, 1, 1000);
    assert_int_equal(segment_size(*state, 1), SEGMENT_SIZE_MAX);
}

static void what_finds_no_room_begins_the_next(void **state)
{
    fill_up_to(*state, 1000);
    assert_goes_into(*state, 2, 1001);
}

/* There is room for the record, until its batch has begun. */
static void a_commit_may_take_the_last_room(void **state)
{
    fill_up_to(*state, 1000);
    assert_goes_into(*state, 2, 1000);
}

static void a_commit_may_leave_one_byte_too_few(void **state)
{
    fill_up_to(*state, 1000 + COMMIT_SIZE - 1);
    assert_goes_into(*state, 2, 1000);
}

/* A trailer names its predecessor's: without it there would be a seal that verify calls
 * wrong for ever. */
static void nothing_is_sealed_behind_an_unreadable_segment_row(void **state)
{
    struct fixture *f = *state;
    struct index_txn *readers[READERS_MAX];
    size_t count = 0;
    fixture_session(f, "a@x", 0, 1, 700);
    assert_int_equal(store_seal(f->archive), 0);
    fixture_session(f, "a@x", 1, 1, 700);
    while (count < READERS_MAX && index_begin_read(f->archive->index, &readers[count]) == 0)
        count++;
    assert_true(count < READERS_MAX);
    assert_int_not_equal(store_seal(f->archive), 0);
    assert_int_not_equal(store_failure(f->archive), 0);
    while (count > 0)
        index_abort(readers[--count]);
    fixture_crash(f);
    fixture_open(f, ARCHIVE_WRITE);
    struct verify_summary s = fixture_verify(f, false);
    assert_false(verify_found_damage(&s));
    assert_int_equal(s.messages, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_segment_is_filled_to_its_end),
        TEST(what_finds_no_room_begins_the_next),
        TEST(a_commit_may_take_the_last_room),
        TEST(a_commit_may_leave_one_byte_too_few),
        TEST(nothing_is_sealed_behind_an_unreadable_segment_row),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
