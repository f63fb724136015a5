/* Repacking beside fetching: what arrives meanwhile is neither lost nor hidden, and what it
 * leans on stays. */
#include "archive/error.h"
#include "archive/reader.h"
#include "archive/repack.h"
#include "archive/repack_choice.h"
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define POLLS 6
#define LARGE_SIZE ((size_t)2500000)
#define STEPS_MAX 8
#define DESCRIPTORS 256

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    for (int i = 0; i < POLLS; i++) {
        fixture_session(f, i % 2 == 0 ? "a@x" : "b@x", i, 1, 3000);
        if (i % 2 == 1) {
            fixture_close(f);
            fixture_open(f, ARCHIVE_WRITE);
        }
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

static int in_store(void *arg, int (*work)(void *work_arg), void *work_arg)
{
    (void)arg;
    return work(work_arg);
}

/* Fetches a little at each step of repacking. */
struct fetching {
    struct fixture *fixture;
    int steps;
};

static int fetch_a_little(void *arg, uint64_t done, uint64_t total)
{
    struct fetching *g = arg;
    (void)done;
    (void)total;
    if (g->steps < STEPS_MAX) {
        fixture_session(g->fixture, g->steps % 2 == 0 ? "a@x" : "late@x", 100 + g->steps, 2,
                        3000);
        g->steps++;
    }
    return 0;
}

static struct repack_summary repack_beside(struct fixture *f, struct fetching *fetching)
{
    struct repack_summary s;
    const struct repack_options options = {
        .remove_now = true,
        .in_store = in_store,
        .progress = fetching != NULL ? fetch_a_little : NULL,
        .arg = fetching,
    };
    lookup_rest(f->lookup);
    assert_int_equal(archive_repack(f->archive, &options, &s), 0);
    return s;
}

static void repack_alone(struct fixture *f)
{
    struct repack_summary s;
    const struct repack_options options = {.remove_now = true};
    lookup_rest(f->lookup);
    assert_int_equal(archive_repack(f->archive, &options, &s), 0);
}

static void assert_sound(struct fixture *f)
{
    lookup_rest(f->lookup);
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s) || s.healed > 0)
        fail_msg("%s", f->notes);
}

/* As it is, and with an index that was built anew (P4). */
static void assert_sound_and_rebuilt_equal(struct fixture *f)
{
    assert_sound(f);
    char *before = fixture_dump(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(f->damage_notes, 0);
    char *after = fixture_dump(f);
    assert_string_equal(before, after);
    assert_sound(f);
    free(before);
    free(after);
}

static uint64_t messages(struct fixture *f, const char *name)
{
    struct account_info info;
    return archive_find_account(f->archive, name, &info) == 0 ? info.messages : 0;
}

static void what_is_fetched_meanwhile_is_kept(void **state)
{
    struct fixture *f = *state;
    struct fetching fetching = {.fixture = f};
    struct repack_summary s = repack_beside(f, &fetching);
    assert_int_equal(fetching.steps, STEPS_MAX);
    assert_int_equal(s.segments_read, POLLS / 2);
    assert_int_equal(s.segments_removed, POLLS / 2);
    /* Two new messages each time; every second session overlaps by nothing. */
    assert_int_equal(messages(f, "a@x"), POLLS / 2 + STEPS_MAX);
    assert_int_equal(messages(f, "late@x"), STEPS_MAX);
    fixture_session(f, "a@x", 0, 1, 3000); /* known */
    assert_int_equal(messages(f, "a@x"), POLLS / 2 + STEPS_MAX);
    assert_sound_and_rebuilt_equal(f);
}

/* Segments are sealed in the order of their ids, whichever lane they are in: verify looks
 * at the chain. */
static void two_open_segments_are_sealed_in_order(void **state)
{
    struct fixture *f = *state;
    struct fetching fetching = {.fixture = f};
    repack_beside(f, &fetching);
    fetching.steps = 0;
    repack_beside(f, &fetching);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(f->damage_notes, 0);
    assert_sound(f);
}

/* Nobody asked: what is being written stays as it is, and a few segments are not worth it.
 */
static void in_passing_it_takes_what_is_sealed(void **state)
{
    struct fixture *f = *state;
    struct repack_summary s;
    const struct repack_options options = {.in_passing = true, .in_store = in_store};
    lookup_rest(f->lookup);
    assert_int_equal(archive_repack(f->archive, &options, &s), 0);
    assert_int_equal(s.segments_read, 0);
    for (unsigned i = 0; i < REPACK_SMALL_MIN; i++) {
        fixture_session(f, "a@x", 100 + (int)i, 1, 3000);
        assert_int_equal(store_seal(f->archive), 0);
    }
    fixture_session(f, "a@x", 200, 1, 3000);
    lookup_rest(f->lookup);
    assert_int_equal(archive_repack(f->archive, &options, &s), 0);
    assert_int_equal(s.segments_read, POLLS / 2 + REPACK_SMALL_MIN);
    assert_int_equal(s.segments_kept, s.segments_read);
    assert_sound_and_rebuilt_equal(f);
}

/* How many files of this process are removed. */
static unsigned removed_but_open(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        struct stat st;
        count += fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0;
    }
    return count;
}

static void what_was_removed_is_closed(void **state)
{
    struct fixture *f = *state;
    struct message_meta m;
    struct account_info info;
    unsigned before = removed_but_open(); /* of the test program */
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(reader_message(lookup_reader(f->lookup), info.number, 1, &m), 0);
    repack_beside(f, NULL);
    assert_int_equal(removed_but_open(), before + 1);
    lookup_rest(f->lookup);
    assert_int_equal(removed_but_open(), before);
    assert_int_equal(reader_message(lookup_reader(f->lookup), info.number, 1, &m), 0);
    assert_int_equal(reader_message(lookup_reader(f->lookup), info.number, 2, &m), 0);
}

/* Half of a large message is in a segment that is repacked; then comes the rest. */
static void chunks_of_a_message_under_way_stay(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(LARGE_SIZE + 256);
    size_t size = fixture_message("large@x", 1, LARGE_SIZE, text), got = 0;
    enum intake_result result;
    int err = 0;
    struct intake *in = fixture_intake(f, "large@x");
    assert_int_equal(intake_begin(in, span_text("u1"), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, size - 1000), 0);
    repack_beside(f, NULL);
    assert_int_equal(intake_add(in, (const uint8_t *)text + size - 1000, 1000), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
    fixture_finish(f, in);
    char *back = fixture_restore(f, "large@x", 1, &got, &err);
    assert_int_equal(err, 0);
    assert_int_equal(got, size);
    assert_memory_equal(back, text, size);
    assert_sound_and_rebuilt_equal(f);
    free(back);
    free(text);
}

/* A message whose attachment depends on `what` alone. */
static size_t attachment_message(int what, size_t size, char *out)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = (size_t)sprintf(out, "Subject: attachment\r\n\r\n");
    unsigned seed = (unsigned)what * 2654435761u + 99;
    for (size_t k = 0; k < size / 3 * 4; k++) {
        seed = seed * 1103515245u + 12345;
        out[at++] = digits[seed >> 16 & 63];
        if (k % 76 == 75) {
            out[at++] = '\r';
            out[at++] = '\n';
        }
    }
    return at + (size_t)sprintf(out + at, "\r\n--end\r\n");
}

/* It was left over from a message that was not archived; a session has met it again. */
static void a_part_that_a_session_has_looked_up_stays(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(400000);
    size_t size = attachment_message(7, 150000, text), got = 0;
    enum intake_result result;
    int err = 0;
    struct intake *in = fixture_intake(f, "p@x");
    assert_int_equal(intake_begin(in, span_text("broken"), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, size), 0);
    intake_abort(in);
    fixture_finish(f, in);
    in = fixture_intake(f, "p@x");
    assert_int_equal(intake_begin(in, span_text("whole"), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, size), 0);
    repack_beside(f, NULL);
    assert_int_equal(intake_end(in, 0, &result), 0);
    fixture_finish(f, in);
    char *back = fixture_restore(f, "p@x", 1, &got, &err);
    assert_int_equal(err, 0);
    assert_int_equal(got, size);
    assert_memory_equal(back, text, size);
    assert_sound_and_rebuilt_equal(f);
    free(back);
    free(text);
}

/* The END is in a segment that is left as it is for damage: the chunks are named still. */
static void chunks_stay_whose_end_is_elsewhere(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(LARGE_SIZE + 256);
    size_t size = fixture_message("large@x", 1, LARGE_SIZE, text), got = 0;
    enum intake_result result;
    int err = 0;
    struct intake *in = fixture_intake(f, "large@x");
    assert_int_equal(intake_begin(in, span_text("u1"), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, size - 1000), 0);
    assert_int_equal(store_seal(f->archive), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text + size - 1000, 1000), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
    fixture_finish(f, in);
    fixture_session(f, "b@x", 50, 1, 3000);
    assert_int_equal(store_seal(f->archive), 0);
    fixture_flip_in_body(f, POLLS / 2 + 2, RECORD_BLOCK);
    repack_alone(f);
    char *back = fixture_restore(f, "large@x", 1, &got, &err);
    assert_int_equal(err, 0);
    assert_int_equal(got, size);
    assert_memory_equal(back, text, size);
    free(back);
    free(text);
}

/* Repacking and fetching in a child that dies at its call `at`: false at its end. */
static bool killed(struct fixture *f, enum fault_kind kind, unsigned long at)
{
    pid_t child = fork();
    if (child == 0) {
        struct faults faults;
        faults_init(&faults, kind, at, 0);
        if (fixture_try_open(f, ARCHIVE_WRITE, false, &faults.ops) != 0)
            _exit(4);
        struct fetching fetching = {.fixture = f, .steps = STEPS_MAX - 3};
        repack_beside(f, &fetching);
        fixture_close(f);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 4);
    return WEXITSTATUS(status) == 0;
}

static void killed_anywhere(struct fixture *f, enum fault_kind kind)
{
    uint64_t had = 0;
    fixture_close(f);
    for (unsigned long at = 1; killed(f, kind, at); at++) {
        fixture_open(f, ARCHIVE_WRITE);
        assert_int_equal(f->damage_notes, 0);
        assert_true(messages(f, "a@x") >= had);
        had = messages(f, "a@x");
        if (at % 8 == 0)
            assert_sound_and_rebuilt_equal(f);
        else
            assert_sound(f);
        fixture_close(f);
    }
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(messages(f, "a@x"), POLLS / 2 + 2);
    assert_int_equal(messages(f, "late@x"), 4);
    assert_sound_and_rebuilt_equal(f);
}

static void killed_in_place_of_each_call(void **state)
{
    killed_anywhere(*state, FAULT_KILL);
}

static void killed_midway_through_each_write(void **state)
{
    killed_anywhere(*state, FAULT_KILL_MIDWAY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_fetched_meanwhile_is_kept),
        TEST(two_open_segments_are_sealed_in_order),
        TEST(what_was_removed_is_closed),
        TEST(in_passing_it_takes_what_is_sealed),
        TEST(chunks_of_a_message_under_way_stay),
        TEST(a_part_that_a_session_has_looked_up_stays),
        TEST(chunks_stay_whose_end_is_elsewhere),
        TEST(killed_in_place_of_each_call),
        TEST(killed_midway_through_each_write),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
