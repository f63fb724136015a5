/* What each account's mail takes, by month: everything counts once, to somebody or to
 * nobody, and it adds up. */
#include "archive/codec.h"
#include "archive/error.h"
#include "archive/repack.h"
#include "archive/segment.h"
#include "archive/store.h"
#include "archive/usage.h"
#include "archive/usage_tally.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PICTURE 200000
#define DAY_US ((int64_t)24 * 3600 * 1000000)
#define JANUARY_2026_US ((int64_t)1767225600 * 1000000) /* its first microsecond */

static const struct attachment picture = {.seed = 1, .size = PICTURE, .line_length = 76};

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

static void take_picture(struct fixture *f, const char *name, const char *uidl)
{
    struct buffer m = {0};
    enum intake_result result;
    struct intake *in = fixture_intake(f, name);
    mail_header(&m, name, uidl);
    mail_attach(&m, &picture);
    buffer_put(&m, "\r\n--\r\n", 6);
    fixture_take(in, uidl, m.data, m.size, &result);
    fixture_finish(f, in);
    buffer_free(&m);
}

static struct archive_usage usage(struct fixture *f)
{
    struct archive_usage u;
    lookup_rest(f->lookup);
    assert_int_equal(archive_usage(f->archive, NULL, NULL, &u), 0);
    return u;
}

static uint32_t number(struct fixture *f, const char *name)
{
    struct account_info info;
    assert_int_equal(archive_find_account(f->archive, name, &info), 0);
    return info.number;
}

/* All months of an account. */
static struct usage_row sum(struct fixture *f, const struct archive_usage *u,
                            const char *name)
{
    struct usage_row s = {.account = number(f, name)};
    for (size_t i = 0; i < u->count; i++) {
        if (u->rows[i].account != s.account)
            continue;
        s.messages += u->rows[i].messages;
        s.message_bytes += u->rows[i].message_bytes;
        s.stored_bytes += u->rows[i].stored_bytes;
    }
    return s;
}

static int assert_account(void *arg, const struct account_info *info)
{
    struct fixture *f = arg;
    struct archive_usage u = usage(f);
    struct usage_row s = sum(f, &u, info->name);
    assert_int_equal(s.messages, info->messages);
    assert_int_equal(s.message_bytes, info->bytes);
    archive_usage_free(&u);
    return 0;
}

static void add_stored(void *arg, const struct seen_record *r)
{
    uint64_t *bytes = arg;
    if (r->header.account != 0 || r->header.type == RECORD_PART ||
        r->header.type == RECORD_PACK)
        *bytes += record_size(&r->header);
}

/* Accounts as the index has them; records each once; with nobody's the whole. */
static void assert_adds_up(struct fixture *f, uint64_t nobodys_records)
{
    struct archive_usage u = usage(f);
    struct archive_stats stats;
    uint64_t rows = 0, records = 0;
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    for (size_t i = 0; i < u.count; i++)
        rows += u.rows[i].stored_bytes;
    records_each(f, add_stored, &records);
    assert_int_equal(rows, records - nobodys_records);
    assert_int_equal((int64_t)rows + u.nobody_bytes,
                     stats.segment_bytes + stats.index_bytes);
    assert_true(u.nobody_bytes > 0);
    assert_int_equal(u.missing, 0);
    archive_usage_free(&u);
    lookup_rest(f->lookup);
    assert_int_equal(archive_each_account(f->archive, assert_account, f), 0);
}

/* Many polls in several segments, a stream, equal bodies, attachments. */
static void fill(struct fixture *f)
{
    for (int i = 0; i < 30; i++) {
        fixture_session(f, i % 2 == 0 ? "a@x" : "b@x", i, 1, 3000);
        if (i % 10 == 9) {
            fixture_close(f);
            fixture_open(f, ARCHIVE_WRITE);
        }
    }
    fixture_session(f, "large@x", 0, 2, 2500000);
    take_picture(f, "a@x", "p1");
    take_picture(f, "b@x", "p2");
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
}

static void it_adds_up(void **state)
{
    struct fixture *f = *state;
    struct archive_usage u = usage(f);
    assert_int_equal(u.count, 0);
    assert_true(u.nobody_bytes > 0); /* the index */
    archive_usage_free(&u);
    fill(f);
    assert_adds_up(f, 0);
}

/* Also while replaced segments wait to be removed, and once they are. */
static void repacking_changes_stored_only(void **state)
{
    struct fixture *f = *state;
    struct repack_summary done;
    struct repack_options options = {0};
    fill(f);
    struct archive_usage before = usage(f);
    uint64_t replaced = 0;
    records_each(f, add_stored, &replaced);
    assert_int_equal(archive_repack(f->archive, &options, &done), 0);
    assert_true(done.segments_kept > 0);
    assert_adds_up(f, replaced);
    options.remove_now = true;
    assert_int_equal(archive_repack(f->archive, &options, &done), 0);
    assert_adds_up(f, 0);
    struct archive_usage after = usage(f);
    assert_int_equal(after.count, before.count);
    for (size_t i = 0; i < after.count; i++) {
        assert_int_equal(after.rows[i].account, before.rows[i].account);
        assert_int_equal(after.rows[i].month, before.rows[i].month);
        assert_int_equal(after.rows[i].messages, before.rows[i].messages);
    }
    assert_true(sum(f, &after, "a@x").stored_bytes < sum(f, &before, "a@x").stored_bytes);
    archive_usage_free(&before);
    archive_usage_free(&after);
}

/* The one that was fetched first has it, whichever the message is called or stored first.
 */
static void an_attachment_counts_to_the_first(void **state)
{
    struct fixture *f = *state;
    fixture_session(f, "z@x", 0, 1, 100);
    take_picture(f, "b@x", "1");
    take_picture(f, "a@x", "1");
    take_picture(f, "z@x", "1");
    take_picture(f, "b@x", "2");
    struct archive_usage u = usage(f);
    assert_true(sum(f, &u, "b@x").stored_bytes > PICTURE);
    assert_true(sum(f, &u, "b@x").stored_bytes < PICTURE + 10000);
    assert_true(sum(f, &u, "a@x").stored_bytes < 10000);
    assert_true(sum(f, &u, "z@x").stored_bytes < 10000);
    archive_usage_free(&u);
    assert_adds_up(f, 0);
}

/* A piece that no message names counts to nobody. */
static void garbage_counts_to_nobody(void **state)
{
    struct fixture *f = *state;
    struct buffer m = {0};
    take_picture(f, "a@x", "1");
    mail_attach(&m, &(struct attachment){.seed = 9, .size = PICTURE, .line_length = 76});
    struct intake *in = fixture_intake(f, "a@x");
    assert_int_equal(intake_begin(in, span_text("2"), m.size), 0);
    assert_int_equal(intake_add(in, m.data, m.size), 0);
    intake_abort(in);
    fixture_finish(f, in);
    buffer_free(&m);
    assert_int_equal(records_sum(f, RECORD_PART).count, 2);
    assert_adds_up(f, records_sum(f, RECORD_PART).bytes / 2);
}

/* A BLOCK of two messages, of size bytes each: fetched in January and in March. */
static void append_months(struct fixture *f, const char *name, size_t size)
{
    struct block_meta_writer w;
    uint32_t account, source;
    uint8_t *body = calloc(2, size);
    assert_int_equal(store_origin(f->archive, span_text(name), span_text("h"),
                                  span_text("l"), &account, &source),
                     0);
    struct record *r = record_create(RECORD_BLOCK, account, JANUARY_2026_US + 90 * DAY_US);
    block_meta_begin(&w, &r->meta);
    for (uint64_t n = 1; n <= 2; n++) {
        const struct message_meta m = {
            .n = n,
            .source = source,
            .listed_size = size,
            .size = size,
            .place = (n - 1) * size,
            .fetched_us = JANUARY_2026_US + (n == 1 ? 31 : 60) * DAY_US - (n == 1)};
        block_meta_add(&w, &m);
    }
    block_meta_end(&w, 2);
    assert_int_equal(record_fill_body(r, f->codec, CODEC_FETCH, body, 2 * size), 0);
    assert_int_equal(record_prepare(r, f->codec), 0);
    assert_int_equal(store_append(f->archive, r), 0);
    assert_int_equal(store_commit(f->archive), 0);
    free(body);
}

static void a_block_of_two_months_is_shared(void **state)
{
    struct fixture *f = *state;
    append_months(f, "a@x", 500001);
    struct archive_usage u = usage(f);
    uint64_t block = records_sum(f, RECORD_BLOCK).bytes;
    const struct usage_row *january = &u.rows[0], *march = &u.rows[1];
    assert_int_equal(january->month, 202601);
    assert_int_equal(march->month, 202603);
    assert_int_equal(january->messages, 1);
    assert_int_equal(march->message_bytes, 500001);
    assert_int_equal(january->stored_bytes + march->stored_bytes, block);
    assert_in_range(january->stored_bytes, block / 2 - 1, block / 2 + 1);
    archive_usage_free(&u);
    assert_adds_up(f, 0); /* its account's and source's records are of today */
}

static void what_is_lost_is_no_mail(void **state)
{
    struct fixture *f = *state;
    fixture_session(f, "a@x", 0, 10, 1000);
    const struct lost_meta lost = {
        .segment = 1, .first = 3, .last = 5, .reason = span_text("disk failed")};
    struct record *r = record_create(RECORD_LOST, number(f, "a@x"), 1);
    lost_meta_encode(&r->meta, &lost);
    assert_int_equal(record_prepare(r, NULL), 0);
    assert_int_equal(store_append(f->archive, r), 0);
    assert_int_equal(store_commit(f->archive), 0);
    struct archive_usage u = usage(f);
    assert_int_equal(sum(f, &u, "a@x").messages, 7);
    archive_usage_free(&u);
    assert_adds_up(f, 0);
}

static void find_block(void *arg, const struct seen_record *r)
{
    struct place *place = arg;
    if (r->header.type == RECORD_BLOCK && place->segment == 0)
        *place = r->place;
}

static void what_cannot_be_read_is_missed(void **state)
{
    struct fixture *f = *state;
    struct place block = {0};
    fixture_session(f, "a@x", 0, 10, 1000);
    fixture_session(f, "b@x", 0, 5, 1000);
    records_each(f, find_block, &block);
    segment_flip(f, block.segment, block.offset + 20, 3);
    struct archive_usage u = usage(f);
    assert_int_equal(u.missing, 10);
    assert_int_equal(sum(f, &u, "a@x").messages, 0);
    assert_int_equal(sum(f, &u, "b@x").messages, 5);
    archive_usage_free(&u);
}

static void a_missing_segment_is_missed(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    fixture_session(f, "a@x", 0, 10, 1000);
    fixture_close(f);
    assert_int_equal(segment_path(f->path, 1, path), 0);
    assert_int_equal(remove(path), 0);
    fixture_open(f, ARCHIVE_READ);
    struct archive_usage u;
    assert_int_equal(archive_usage(f->archive, NULL, NULL, &u), 0);
    assert_int_equal(u.missing, 10);
    archive_usage_free(&u);
}

static void repack_now(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct fixture *f = arg;
    struct repack_summary done;
    const struct repack_options options = {.remove_now = true};
    assert_true(bytes_done <= bytes_total);
    assert_int_equal(archive_repack(f->archive, &options, &done), 0);
}

/* What it had not yet read is not there any more: it says so, and counts nothing half. */
static void removal_beside_it_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct archive_usage u;
    fill(f);
    lookup_rest(f->lookup);
    assert_int_equal(archive_usage(f->archive, repack_now, f, &u), -EAGAIN);
    assert_null(u.rows);
    assert_adds_up(f, 0);
}

static int32_t month_of(int64_t time_us)
{
    struct tally t;
    struct archive_usage u = {0};
    tally_begin(&t, 1);
    tally_stored(&t, 1, time_us, 1);
    assert_int_equal(tally_end(&t, &u), 0);
    int32_t month = u.rows[0].month;
    archive_usage_free(&u);
    return month;
}

static void months_are_of_utc(void **state)
{
    (void)state;
    setenv("TZ", "Pacific/Kiritimati", 1);
    assert_int_equal(month_of(JANUARY_2026_US), 202601);
    assert_int_equal(month_of(JANUARY_2026_US - 1), 202512);
    assert_int_equal(month_of(0), 197001);
    assert_int_equal(month_of(-1), 196912);
    assert_int_equal(month_of(JANUARY_2026_US + 58 * DAY_US), 202602);
    assert_int_equal(month_of(JANUARY_2026_US + 59 * DAY_US), 202603);
    unsetenv("TZ");
}

/* Rows stay in order whatever order mail comes in. */
static void rows_are_in_order(void **state)
{
    (void)state;
    struct tally t;
    struct archive_usage u = {0};
    tally_begin(&t, 3);
    for (int64_t i = 0; i < 600; i++)
        tally_stored(&t, (uint32_t)(1 + i % 3), i * 7919 % 600 * 31 * DAY_US, 1);
    tally_stored(&t, 0, 0, 99); /* nobody's */
    tally_stored(&t, 4, 0, 99);
    assert_int_equal(tally_end(&t, &u), 0);
    uint64_t stored = u.rows[0].stored_bytes;
    for (size_t i = 1; i < u.count; i++) {
        assert_true(u.rows[i].account > u.rows[i - 1].account ||
                    (u.rows[i].account == u.rows[i - 1].account &&
                     u.rows[i].month > u.rows[i - 1].month));
        stored += u.rows[i].stored_bytes;
    }
    assert_int_equal(stored, 600);
    archive_usage_free(&u);
}

/* A repacking that was killed leaves copies behind. */
static void a_message_counts_once(void **state)
{
    (void)state;
    struct tally t;
    struct archive_usage u = {0};
    tally_begin(&t, 2);
    assert_true(tally_message(&t, 1, 7, 5, 100));
    assert_false(tally_message(&t, 1, 7, 5, 100));
    assert_false(tally_message(&t, 1, 7, 90 * DAY_US, 100));
    assert_true(tally_message(&t, 2, 7, 5, 100));
    assert_true(tally_message(&t, 1, 8, 5, 100));
    assert_int_equal(tally_end(&t, &u), 0);
    assert_int_equal(u.rows[0].messages, 2);
    assert_int_equal(u.rows[0].message_bytes, 200);
    archive_usage_free(&u);
}

static void a_part_goes_to_the_earliest_then_lowest(void **state)
{
    (void)state;
    static const uint8_t part[SHA256_SIZE] = {7};
    static const struct {
        uint32_t account;
        int64_t time_us;
    } names[] = {{3, 5}, {1, 9}, {2, 5}, {4, 5}};
    for (size_t first = 0; first < 4; first++) {
        struct tally t;
        struct archive_usage u = {0};
        tally_begin(&t, 4);
        tally_part(&t, part, 100);
        for (size_t i = 0; i < 4; i++)
            tally_name(&t, part, names[(first + i) % 4].account,
                       names[(first + i) % 4].time_us);
        tally_part(&t, part, 20); /* another copy of it */
        assert_int_equal(tally_end(&t, &u), 0);
        assert_int_equal(u.count, 1);
        assert_int_equal(u.rows[0].account, 2);
        assert_int_equal(u.rows[0].stored_bytes, 120);
        archive_usage_free(&u);
    }
}

static void portions_add_up(void **state)
{
    (void)state;
    for (uint64_t whole = 0; whole < 5000000; whole = whole * 3 + 1) {
        struct portions p = {.whole = whole};
        uint64_t given = 0;
        for (uint64_t i = 1; i <= 77; i++)
            p.weight += i * i;
        for (uint64_t i = 1; i <= 77; i++)
            given += portion(&p, i * i);
        assert_int_equal(given, whole);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_adds_up),
        TEST(repacking_changes_stored_only),
        TEST(an_attachment_counts_to_the_first),
        TEST(garbage_counts_to_nobody),
        TEST(a_block_of_two_months_is_shared),
        TEST(what_is_lost_is_no_mail),
        TEST(what_cannot_be_read_is_missed),
        TEST(a_missing_segment_is_missed),
        TEST(removal_beside_it_is_noticed),
        cmocka_unit_test(months_are_of_utc),
        cmocka_unit_test(rows_are_in_order),
        cmocka_unit_test(a_message_counts_once),
        cmocka_unit_test(a_part_goes_to_the_earliest_then_lowest),
        cmocka_unit_test(portions_add_up),
    };
#undef TEST
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
