/* The archive as a whole: what goes in comes back, twice is once, and what an opened
 * archive says. */
#include "archive/error.h"
#include "archive/reader.h"
#include "tests/support/archive_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

static void assert_message(struct fixture *f, const char *name, uint64_t n,
                           const void *data, size_t size)
{
    size_t got_size = 0;
    int err = 0;
    char *got = fixture_restore(f, name, n, &got_size, &err);
    assert_int_equal(err, 0);
    assert_int_equal(got_size, size);
    assert_memory_equal(got, data, size);
    free(got);
}

static void assert_sound(struct fixture *f)
{
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s))
        fail_msg("%s", f->notes);
}

static void messages_come_back_exact(void **state)
{
    struct fixture *f = *state;
    char text[3000];
    fixture_session(f, "a@x", 0, 200, 2000);
    fixture_session(f, "b@x", 0, 10, 100);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++)
            assert_message(f, "a@x", (uint64_t)i + 1, text,
                           fixture_message("a@x", i, 2000, text));
        assert_message(f, "b@x", 10, text, fixture_message("b@x", 9, 100, text));
        assert_sound(f);
        fixture_close(f);
        fixture_open(f, round == 0 ? ARCHIVE_READ : ARCHIVE_WRITE);
    }
}

static void odd_bytes_come_back_exact(void **state)
{
    struct fixture *f = *state;
    static const char nul[] = "a\0b\r\n\0\0";
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    fixture_take(in, "1", "", 0, &result);
    fixture_take(in, "2", nul, sizeof(nul), &result);
    fixture_take(in, "3", "no newline", 10, &result);
    fixture_take(in, "4", "\r\r\n\n\r", 5, &result);
    fixture_finish(f, in);
    assert_message(f, "a@x", 1, "", 0);
    assert_message(f, "a@x", 2, nul, sizeof(nul));
    assert_message(f, "a@x", 3, "no newline", 10);
    assert_message(f, "a@x", 4, "\r\r\n\n\r", 5);
    assert_sound(f);
}

struct expected {
    const char *text;
    size_t size;
};

static int compare(void *arg, const uint8_t *data, size_t size)
{
    struct expected *e = arg;
    assert_true(size <= e->size);
    assert_memory_equal(data, e->text, size);
    e->text += size;
    e->size -= size;
    return 0;
}

/* Of a block it decompresses now more, now less than before. */
static void a_reader_for_one_gives_every_message(void **state)
{
    static const uint64_t order[] = {1, 200, 199, 2, 100, 101, 100, 201, 3, 200};
    struct fixture *f = *state;
    struct account_info info;
    struct reader *reader = NULL;
    char *text = malloc(1500000);
    fixture_session(f, "a@x", 0, 200, 2000);
    fixture_session(f, "a@x", 200, 1, 1400000);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(reader_create_for_one(f->archive, &reader), 0);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        size_t wanted = order[i] == 201 ? 1400000 : 2000;
        struct expected e = {
            .text = text, .size = fixture_message("a@x", (int)order[i] - 1, wanted, text)};
        assert_int_equal(reader_body(reader, info.number, order[i], compare, &e), 0);
        assert_int_equal(e.size, 0);
    }
    assert_int_equal(reader_body(reader, info.number, 202, compare, NULL), ERR_NOT_FOUND);
    reader_destroy(reader);
    free(text);
}

/* Sizes around a block's and a chunk's limits, each fed in pieces. */
static void large_messages_come_back_exact(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {
        CHUNK_RAW_MAX - 1, CHUNK_RAW_MAX, CHUNK_RAW_MAX + 1, 300000, 900000,
        3 * CHUNK_RAW_MAX, 5000001};
    char *text = malloc(6000000), uidl[24];
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fixture_message("a@x", (int)i, sizes[i] + 2, text);
        snprintf(uidl, sizeof(uidl), "%zu", i);
        assert_int_equal(intake_begin(in, span_text(uidl), sizes[i]), 0);
        for (size_t at = 0, step = 70001; at < sizes[i]; at += step)
            assert_int_equal(intake_add(in, (const uint8_t *)text + at,
                                        sizes[i] - at < step ? sizes[i] - at : step),
                             0);
        assert_int_equal(intake_end(in, 0, &result), 0);
        assert_true(intake_memory(in) < 3u << 20);
    }
    fixture_finish(f, in);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fixture_message("a@x", (int)i, sizes[i] + 2, text);
        assert_message(f, "a@x", i + 1, text, sizes[i]);
    }
    free(text);
    assert_sound(f);
}

static void an_aborted_message_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(3000000);
    enum intake_result result;
    struct account_info info;
    struct intake *in = fixture_intake(f, "a@x");
    fixture_message("a@x", 7, 2500000, text);
    fixture_take(in, "1", "first\r\n", 7, &result);
    assert_int_equal(intake_begin(in, span_text("2"), 100), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, 100), 0);
    intake_abort(in);
    assert_int_equal(intake_begin(in, span_text("3"), 2500000), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)text, 2500000), 0);
    intake_abort(in);
    fixture_take(in, "4", "second\r\n", 8, &result);
    fixture_finish(f, in);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 2);
    assert_message(f, "a@x", 1, "first\r\n", 7);
    assert_message(f, "a@x", 2, "second\r\n", 8);
    free(text);
    assert_sound(f);
}

static void a_second_session_wants_nothing(void **state)
{
    struct fixture *f = *state;
    struct account_info before, after;
    fixture_session(f, "a@x", 0, 50, 500);
    assert_int_equal(archive_find_account(f->archive, "a@x", &before), 0);
    fixture_session(f, "a@x", 0, 50, 500);
    assert_int_equal(archive_find_account(f->archive, "a@x", &after), 0);
    assert_int_equal(before.messages, 50);
    assert_int_equal(after.messages, 50);
    assert_int_equal(after.highest, 50);
}

/* P3: two equal messages listed at once are two, and their body is stored once. */
static void equal_messages_are_two_with_one_body(void **state)
{
    struct fixture *f = *state;
    struct archive_stats one, two;
    char *text = malloc(600256);
    enum intake_result result;
    size_t size = fixture_message("a@x", 1, 600000, text);
    struct intake *in = fixture_intake(f, "a@x");
    fixture_take(in, "1", text, size, &result);
    fixture_finish(f, in);
    assert_int_equal(archive_stats(f->archive, &one), 0);
    in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("1"), size), INTAKE_KNOWN);
    for (int i = 2; i < 6; i++) {
        char uidl[2] = {(char)('0' + i), 0};
        assert_int_equal(fixture_take(in, uidl, text, size, &result), INTAKE_WANTED);
        assert_int_equal(result, INTAKE_ARCHIVED);
    }
    fixture_finish(f, in);
    assert_int_equal(archive_stats(f->archive, &two), 0);
    assert_int_equal(two.messages, 5);
    assert_true(two.segment_bytes < one.segment_bytes + 20000);
    for (uint64_t n = 1; n <= 5; n++)
        assert_message(f, "a@x", n, text, size);
    free(text);
    assert_sound(f);
}

/* Equal bodies within one session: in the open block, behind it, and as streams. */
static void equal_messages_of_one_session_share(void **state)
{
    struct fixture *f = *state;
    struct archive_stats stats;
    char *text = malloc(3000256), uidl[16];
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    size_t size = fixture_message("a@x", 1, 400000, text);
    for (int i = 0; i < 6; i++) {
        snprintf(uidl, sizeof(uidl), "s%d", i);
        fixture_take(in, uidl, text, size, &result);
        if (i == 2)
            assert_int_equal(intake_flush(in), 0);
    }
    size_t large = fixture_message("a@x", 2, 3000000, text);
    for (int i = 0; i < 3; i++) {
        snprintf(uidl, sizeof(uidl), "L%d", i);
        fixture_take(in, uidl, text, large, &result);
    }
    fixture_finish(f, in);
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    assert_int_equal(stats.messages, 9);
    for (uint64_t n = 7; n <= 9; n++)
        assert_message(f, "a@x", n, text, large);
    fixture_message("a@x", 1, 400000, text);
    for (uint64_t n = 1; n <= 6; n++)
        assert_message(f, "a@x", n, text, size);
    free(text);
    assert_sound(f);
}

/* Q7: the server renumbers; the content keeps second copies out. */
static void renumbered_uidls_add_nothing(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    char text[1000], uidl[16];
    enum intake_result result;
    fixture_session(f, "a@x", 0, 20, 500);
    struct intake *in = fixture_intake(f, "a@x");
    for (int i = 0; i < 20; i++) {
        size_t size = fixture_message("a@x", i, 500, text);
        snprintf(uidl, sizeof(uidl), "new%d", i);
        assert_int_equal(fixture_take(in, uidl, text, size, &result), INTAKE_WANTED);
        assert_int_equal(result, INTAKE_DEDUPLICATED);
    }
    fixture_finish(f, in);
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 20);
    in = fixture_intake(f, "a@x");
    for (int i = 0; i < 20; i++) {
        snprintf(uidl, sizeof(uidl), "new%d", i);
        assert_int_equal(
            intake_judge(in, span_text(uidl), fixture_message("a@x", i, 500, text)),
            INTAKE_KNOWN);
    }
    intake_close(in);
    assert_sound(f);
}

/* Not on the strength of an untrusted listing: then each is a message of its own. */
static void an_untrusted_listing_deduplicates_nothing(void **state)
{
    struct fixture *f = *state;
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    fixture_take(in, "1", "same\r\n", 6, &result);
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    intake_listed(in, false);
    fixture_take(in, "2", "same\r\n", 6, &result);
    assert_int_equal(result, INTAKE_ARCHIVED);
    fixture_finish(f, in);
    assert_message(f, "a@x", 2, "same\r\n", 6);
}

/* Q6: the same UIDL twice is two messages, also in the next listing. */
static void q06_one_uidl_for_two_messages(void **state)
{
    struct fixture *f = *state;
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("u"), 6), INTAKE_WANTED);
    assert_int_equal(intake_judge(in, span_text("u"), 6), INTAKE_WANTED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(intake_begin(in, span_text("u"), 6), 0);
        assert_int_equal(
            intake_add(in, (const uint8_t *)(i == 0 ? "one1\r\n" : "two2\r\n"), 6), 0);
        assert_int_equal(intake_end(in, 0, &result), 0);
    }
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("u"), 6), INTAKE_KNOWN);
    assert_int_equal(intake_judge(in, span_text("u"), 6), INTAKE_KNOWN);
    assert_int_equal(intake_judge(in, span_text("u"), 6), INTAKE_WANTED);
    intake_close(in);
}

/* Q8: a known UIDL with another size is another message; equal bytes only add the size. */
static void q08_a_known_uidl_with_another_size(void **state)
{
    struct fixture *f = *state;
    enum intake_result result;
    struct intake *in = fixture_intake(f, "a@x");
    fixture_take(in, "17", "first\r\n", 7, &result);
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    assert_int_equal(fixture_take(in, "17", "another\r\n", 9, &result), INTAKE_WANTED);
    assert_int_equal(result, INTAKE_ARCHIVED);
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("17"), 1234), INTAKE_WANTED);
    assert_int_equal(intake_begin(in, span_text("17"), 1234), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)"first\r\n", 7), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
    assert_int_equal(result, INTAKE_DEDUPLICATED);
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("17"), 1234), INTAKE_KNOWN);
    intake_close(in);
    assert_message(f, "a@x", 1, "first\r\n", 7);
    assert_message(f, "a@x", 2, "another\r\n", 9);
    assert_sound(f);
}

/* Q1, Q3: no UIDL: the bytes decide, each pass anew. */
static void q01_without_uidl_the_content_decides(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    enum intake_result result;
    for (int pass = 0; pass < 3; pass++) {
        struct intake *in = fixture_intake(f, "a@x");
        intake_listed(in, false);
        fixture_take(in, "", "same\r\n", 6, &result);
        fixture_take(in, "", "same\r\n", 6, &result);
        fixture_take(in, "", "other\r\n", 7, &result);
        assert_int_equal(result, pass == 0 ? INTAKE_ARCHIVED : INTAKE_DEDUPLICATED);
        fixture_finish(f, in);
    }
    assert_int_equal(archive_find_account(f->archive, "a@x", &info), 0);
    assert_int_equal(info.messages, 3);
}

static void a_quarantined_message_is_not_wanted_again(void **state)
{
    struct fixture *f = *state;
    struct intake *in = fixture_intake(f, "a@x");
    assert_int_equal(intake_quarantine(in, span_text("big"), 5, "over max-message-size"),
                     0);
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    assert_int_equal(intake_judge(in, span_text("big"), 5), INTAKE_QUARANTINED);
    assert_int_equal(intake_judge(in, span_text("big"), 6), INTAKE_WANTED);
    intake_close(in);
    assert_sound(f);
}

/* A migrated account: the small-integer UIDLs of the new server hide nothing. */
static void a_new_source_starts_empty(void **state)
{
    struct fixture *f = *state;
    struct intake_config config = {
        .archive = f->archive, .lookup = f->lookup, .codec = f->codec};
    struct intake *in = NULL;
    uint32_t first_source = 0;
    fixture_session(f, "a@x", 0, 3, 100);
    assert_int_equal(store_origin(f->archive, span_text("a@x"), span_text("pop.example"),
                                  span_text("a@x"), &config.account, &first_source),
                     0);
    assert_int_equal(store_origin(f->archive, span_text("a@x"), span_text("new.example"),
                                  span_text("a@x"), &config.account, &config.source),
                     0);
    assert_int_not_equal(config.source, first_source);
    assert_int_equal(store_commit(f->archive), 0);
    lookup_rest(f->lookup);
    assert_int_equal(intake_open(&config, &in), 0);
    assert_int_equal(intake_judge(in, span_text("u0"), SIZE_UNKNOWN), INTAKE_WANTED);
    intake_close(in);
}

static void a_second_writer_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    const struct archive_options options = {.mode = ARCHIVE_WRITE};
    struct archive *second = NULL;
    pid_t holder = 0;
    assert_int_equal(archive_open(f->path, &options, &second), ERR_LOCKED);
    assert_int_equal(archive_lock_holder(f->path, &holder), 0);
    assert_int_equal(holder, getpid());
    fixture_close(f);
    assert_int_equal(archive_lock_holder(f->path, &holder), 0);
    assert_int_equal(holder, 0);
}

static int rmdir_in_a_folder_of_others(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return -EACCES;
}

static void an_empty_folder_in_one_of_others_is_taken(void **state)
{
    struct fixture *f = *state;
    struct file_ops ops = system_files;
    struct stat st;
    char path[128];
    ops.rmdir = rmdir_in_a_folder_of_others;
    snprintf(path, sizeof(path), "%s/given", f->root);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(archive_create(&ops, path), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(archive_create(&ops, path), ERR_EXISTS);
}

static void what_is_no_archive_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct archive_options options = {.mode = ARCHIVE_READ};
    struct archive *a = NULL;
    struct stat st;
    char path[128];
    assert_int_equal(archive_create(NULL, f->path), ERR_EXISTS);
    assert_int_equal(archive_open(f->root, &options, &a), ERR_FORMAT);
    snprintf(path, sizeof(path), "%s/CASK", f->path);
    assert_int_equal(truncate(path, 50), 0);
    fixture_close(f);
    assert_int_equal(archive_open(f->path, &options, &a), ERR_DAMAGED);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void many_accounts_in_one_batch(void **state)
{
    struct fixture *f = *state;
    char name[32];
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 1; i <= 1000; i++) {
            uint32_t account = 0, source = 0;
            snprintf(name, sizeof(name), "user%u@x", i);
            assert_int_equal(store_origin(f->archive, span_text(name), span_text("h"),
                                          span_text(name), &account, &source),
                             0);
            assert_int_equal(account, i);
            assert_int_equal(source, 1);
        }
    assert_int_equal(store_commit(f->archive), 0);
    struct archive_stats stats;
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    assert_int_equal(stats.accounts, 1000);
}

static void an_account_name_out_of_bounds_is_refused(void **state)
{
    struct fixture *f = *state;
    static char name[NAME_SIZE_MAX + 2];
    uint32_t account = 0, source = 0;
    memset(name, 'n', sizeof(name) - 1);
    assert_int_equal(store_origin(f->archive, span_text(name), span_text("h"),
                                  span_text("l"), &account, &source),
                     ERR_TOO_LARGE);
    assert_int_equal(store_origin(f->archive, span_text(""), span_text("h"), span_text("l"),
                                  &account, &source),
                     ERR_TOO_LARGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(messages_come_back_exact),
        TEST(odd_bytes_come_back_exact),
        TEST(a_reader_for_one_gives_every_message),
        TEST(large_messages_come_back_exact),
        TEST(an_aborted_message_leaves_nothing),
        TEST(a_second_session_wants_nothing),
        TEST(equal_messages_are_two_with_one_body),
        TEST(equal_messages_of_one_session_share),
        TEST(renumbered_uidls_add_nothing),
        TEST(an_untrusted_listing_deduplicates_nothing),
        TEST(q06_one_uidl_for_two_messages),
        TEST(q08_a_known_uidl_with_another_size),
        TEST(q01_without_uidl_the_content_decides),
        TEST(a_quarantined_message_is_not_wanted_again),
        TEST(a_new_source_starts_empty),
        TEST(a_second_writer_is_refused_by_name),
        TEST(an_empty_folder_in_one_of_others_is_taken),
        TEST(what_is_no_archive_is_refused),
        TEST(many_accounts_in_one_batch),
        TEST(an_account_name_out_of_bounds_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
