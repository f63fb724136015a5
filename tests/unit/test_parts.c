/* Attachments are stored once across all accounts, and every message still comes back
 * exact, however its base64 runs lie. */
#include "archive/archive_internal.h"
#include "archive/index_rows.h"
#include "archive/packer.h"
#include "archive/part_cache.h"
#include "archive/parts.h"
#include "archive/reader.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PICTURE 200000
#define KIB 1024u
/* Encoded, without line ends, just what counts as a run. */
#define SHORTEST_RUN (BASE64_MINIMUM / 4 * 3)

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

/* A message of some text and the attachment. */
static struct buffer letter(unsigned number, const struct attachment *a)
{
    struct buffer m = {0};
    char subject[32];
    snprintf(subject, sizeof(subject), "letter %u", number);
    mail_header(&m, "someone", subject);
    mail_lines(&m, number, 300);
    if (a != NULL)
        mail_attach(&m, a);
    buffer_put(&m, "\r\n--\r\n", 6); /* that is no more base64 */
    return m;
}

static enum intake_result take(struct intake *in, const char *uidl, const struct buffer *m)
{
    enum intake_result result = INTAKE_ARCHIVED;
    assert_int_equal(fixture_take(in, uidl, m->data, m->size, &result), INTAKE_WANTED);
    return result;
}

static void assert_restored(struct fixture *f, const char *name, uint64_t n,
                            const struct buffer *m)
{
    size_t size = 0;
    int err = 0;
    char *got = fixture_restore(f, name, n, &size, &err);
    assert_int_equal(err, 0);
    assert_int_equal(size, m->size);
    if (size > 0)
        assert_memory_equal(got, m->data, size);
    free(got);
}

static void assert_sound(struct fixture *f)
{
    struct verify_summary s = fixture_verify(f, true);
    if (!verify_found_damage(&s))
        s = fixture_verify(f, false);
    if (verify_found_damage(&s) || s.healed > 0)
        fail_msg("%s", f->notes);
}

/* One account per message, "0", "1" and so on; each comes back. */
static void each_comes_back(struct fixture *f, struct buffer *messages, unsigned count)
{
    char name[16];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%u", i);
        struct intake *in = fixture_intake(f, name);
        take(in, "u", &messages[i]);
        fixture_finish(f, in);
    }
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%u", i);
        assert_restored(f, name, 1, &messages[i]);
        buffer_free(&messages[i]);
    }
    assert_sound(f);
}

/* Stored once */

static void an_attachment_is_kept_once_across_accounts(void **state)
{
    struct fixture *f = *state;
    struct archive_stats stats;
    char name[16], uidl[16];
    for (unsigned account = 0; account < 5; account++) {
        snprintf(name, sizeof(name), "%u", account);
        struct intake *in = fixture_intake(f, name);
        for (unsigned i = 0; i < 4; i++) {
            struct buffer m = letter(account * 4 + i, &picture);
            snprintf(uidl, sizeof(uidl), "u%u", i);
            take(in, uidl, &m);
            buffer_free(&m);
        }
        fixture_finish(f, in);
    }
    struct record_sum parts = records_sum(f, RECORD_PART);
    assert_int_equal(parts.count, 1);
    struct record_sum blocks = records_sum(f, RECORD_BLOCK);
    assert_true(blocks.bytes < 20 * 500); /* texts, and where the picture belongs */
    for (unsigned account = 0; account < 5; account++)
        for (unsigned i = 0; i < 4; i++) {
            struct buffer m = letter(account * 4 + i, &picture);
            snprintf(name, sizeof(name), "%u", account);
            assert_restored(f, name, i + 1, &m);
            buffer_free(&m);
        }
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    assert_int_equal(stats.parts, 1);
    assert_int_equal(stats.parts_kept_bytes, PICTURE);
    assert_int_equal(stats.parts_named_bytes, 20 * PICTURE);
    assert_sound(f);
}

/* Two sessions of one worker, neither committed yet. */
static void sessions_that_meet_a_new_part_keep_one(void **state)
{
    struct fixture *f = *state;
    struct buffer one = letter(1, &picture), two = letter(2, &picture);
    struct intake *a = fixture_intake(f, "a@x"), *b = fixture_intake(f, "b@x");
    enum intake_result result;
    assert_int_equal(intake_begin(a, span_text("u"), one.size), 0);
    assert_int_equal(intake_add(a, one.data, one.size / 2), 0);
    take(b, "u", &two);
    assert_int_equal(intake_add(a, one.data + one.size / 2, one.size - one.size / 2), 0);
    assert_int_equal(intake_end(a, 0, &result), 0);
    fixture_finish(f, a);
    fixture_finish(f, b);
    assert_int_equal(records_sum(f, RECORD_PART).count, 1);
    assert_restored(f, "a@x", 1, &one);
    assert_restored(f, "b@x", 1, &two);
    assert_sound(f);
    buffer_free(&one);
    buffer_free(&two);
}

/* Each worker has look-ups of its own: the store has the last word. */
static void workers_that_meet_a_new_part_keep_one(struct fixture *f, bool committed)
{
    struct buffer one = letter(1, &picture), two = letter(2, &picture);
    struct lookup *first = f->lookup, *second = NULL;
    assert_int_equal(lookup_create(f->archive, &second), 0);
    struct intake *a = fixture_intake(f, "a@x");
    f->lookup = second;
    struct intake *b = fixture_intake(f, "b@x");
    /* From here on the second worker sees the index as it is now. */
    assert_int_equal(intake_judge(b, span_text("u"), two.size), INTAKE_WANTED);
    take(a, "u", &one);
    if (committed) {
        assert_int_equal(intake_flush(a), 0);
        assert_int_equal(store_commit(f->archive), 0);
    }
    take(b, "u", &two);
    fixture_finish(f, b);
    f->lookup = first;
    fixture_finish(f, a);
    lookup_destroy(second);
    assert_int_equal(records_sum(f, RECORD_PART).count, 1);
    assert_restored(f, "a@x", 1, &one);
    assert_restored(f, "b@x", 1, &two);
    assert_sound(f);
    buffer_free(&one);
    buffer_free(&two);
}

static void workers_that_meet_a_new_part_in_one_batch_keep_one(void **state)
{
    workers_that_meet_a_new_part_keep_one(*state, false);
}

static void workers_that_meet_a_part_just_committed_keep_one(void **state)
{
    workers_that_meet_a_new_part_keep_one(*state, true);
}

static void a_part_that_does_not_shrink_is_stored_as_it_is(void **state)
{
    struct fixture *f = *state;
    static const struct attachment table = {
        .seed = 2, .size = PICTURE, .text = true, .line_length = 76};
    uint8_t sha256[SHA256_SIZE];
    struct buffer messages[] = {letter(1, &picture), letter(2, &table)};
    each_comes_back(f, messages, 2);
    attachment_part(&picture, 0, sha256);
    struct seen_record r = records_part(f, sha256);
    assert_int_equal(r.header.codec, CODEC_STORED);
    assert_int_equal(r.header.body_size, PICTURE);
    attachment_part(&table, 0, sha256);
    r = records_part(f, sha256);
    assert_int_equal(r.header.codec, CODEC_ZSTD);
    assert_true(r.header.body_size < PICTURE / 2);
}

/* Exact */

static void runs_of_every_size_come_back(void **state)
{
    static const size_t sizes[] = {
        SHORTEST_RUN - 3,     SHORTEST_RUN,         SHORTEST_RUN + 1,
        PART_RAW_MAX - 1,     PART_RAW_MAX,         PART_RAW_MAX + 1,
        2 * PART_RAW_MAX - 1, 2 * PART_RAW_MAX + 2, 5 * PART_RAW_MAX + 7,
    };
    static const unsigned parts[] = {0, 1, 1, 1, 1, 2, 2, 3, 6};
    struct fixture *f = *state;
    struct buffer messages[sizeof(sizes) / sizeof(sizes[0])];
    unsigned expected = 0, count = sizeof(sizes) / sizeof(sizes[0]);
    for (unsigned i = 0; i < count; i++) {
        const struct attachment a = {.seed = 10 + i, .size = sizes[i]};
        messages[i] = letter(i, &a);
        expected += parts[i];
    }
    each_comes_back(f, messages, count);
    assert_int_equal(records_sum(f, RECORD_PART).count, expected);
}

static void runs_of_every_shape_come_back(void **state)
{
    static const struct attachment shapes[] = {
        {.seed = 1, .size = 50000, .line_length = 76},
        {.seed = 1, .size = 50001, .line_length = 64},
        {.seed = 1, .size = 50002, .line_length = 60, .line_end = "\n"},
        {.seed = 1, .size = PART_RAW_MAX + 1, .line_length = 76, .line_end = "\n"},
        {.seed = 1, .size = 50000, .line_length = 4},
        {.seed = 1, .size = 50000, .line_length = 8000},
    };
    struct fixture *f = *state;
    unsigned count = sizeof(shapes) / sizeof(shapes[0]);
    struct buffer messages[sizeof(shapes) / sizeof(shapes[0])];
    for (unsigned i = 0; i < count; i++)
        messages[i] = letter(i, &shapes[i]);
    each_comes_back(f, messages, count);
    /* 50,000 bytes are the same part in whatever lines they came. */
    assert_int_equal(records_sum(f, RECORD_PART).count, 5);
}

static void runs_anywhere_in_a_message_come_back(void **state)
{
    struct fixture *f = *state;
    const struct attachment more = {.seed = 3, .size = 9000, .line_length = 76};
    struct buffer messages[6] = {{0}};
    mail_attach(&messages[0], &picture); /* nothing but a run */
    mail_attach(&messages[1], &picture); /* at the very start */
    buffer_put(&messages[1], "\r\nbehind it", 11);
    mail_lines(&messages[2], 1, 100); /* at the very end */
    mail_attach(&messages[2], &picture);
    for (unsigned i = 0; i < 20; i++) { /* many, back to back but for a line */
        const struct attachment a = {.seed = i % 3, .size = 5000 + i, .line_length = 76};
        mail_attach(&messages[3], &a);
        buffer_put(&messages[3], "\r\n", 2);
        mail_lines(&messages[3], i, 72);
    }
    mail_attach(&messages[4], &more); /* two with nothing but a line end between */
    buffer_put(&messages[4], "\r\n", 2);
    mail_attach(&messages[4], &picture);
    mail_attach(&messages[5], &more); /* padded in the middle */
    buffer_put(&messages[5], "\r\n=\r\n", 5);
    mail_attach(&messages[5], &more);
    each_comes_back(f, messages, 6);
    assert_true(records_sum(f, RECORD_PART).count >= 2 + 20);
}

/* What a message keeps of its own may need a stream of chunks, whatever its runs. */
static void runs_within_a_stream_come_back(void **state)
{
    struct fixture *f = *state;
    struct buffer messages[3] = {{0}};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned k = 0; k < 3; k++) {
            const struct attachment a = {
                .seed = 40 + k, .size = 700000 + i, .line_length = 76};
            /* The second: a run just where the first chunk ends. */
            mail_lines(&messages[i], 9 * i + k,
                       i == 1 ? CHUNK_RAW_MAX / 72 * 72 : 500000 * (i + 1));
            while (i == 1 && messages[i].size < CHUNK_RAW_MAX)
                buffer_put(&messages[i], messages[i].size == CHUNK_RAW_MAX - 1 ? "\n" : " ",
                           1);
            mail_attach(&messages[i], &a);
            buffer_put(&messages[i], "\r\n", 2);
        }
    each_comes_back(f, messages, 3);
    assert_int_equal(records_sum(f, RECORD_END).count, 3);
    assert_true(records_sum(f, RECORD_CHUNK).count >= 6);
    assert_int_equal(records_sum(f, RECORD_PART).count, 9);
}

/* P3: two equal messages that are listed at once are two, with one body. */
static void equal_messages_share_their_runs(void **state)
{
    struct fixture *f = *state;
    struct buffer m = letter(7, &picture);
    struct intake *in = fixture_intake(f, "a@x");
    take(in, "u1", &m);
    take(in, "u2", &m); /* of the open block: the same slice */
    assert_int_equal(intake_flush(in), 0);
    take(in, "u3", &m); /* of a block that is closed */
    fixture_finish(f, in);
    in = fixture_intake(f, "a@x");
    for (unsigned i = 1; i <= 3; i++) {
        char uidl[8];
        snprintf(uidl, sizeof(uidl), "u%u", i);
        assert_int_equal(intake_judge(in, span_text(uidl), m.size), INTAKE_KNOWN);
    }
    take(in, "u4", &m); /* of an earlier session */
    fixture_finish(f, in);
    assert_int_equal(records_sum(f, RECORD_PART).count, 1);
    for (uint64_t n = 1; n <= 4; n++)
        assert_restored(f, "a@x", n, &m);
    assert_sound(f);
    buffer_free(&m);
}

static void parts_of_a_message_that_broke_off_are_no_damage(void **state)
{
    struct fixture *f = *state;
    struct buffer m = letter(1, &picture), later = letter(2, &picture);
    struct intake *in = fixture_intake(f, "a@x");
    assert_int_equal(intake_begin(in, span_text("u"), m.size), 0);
    assert_int_equal(intake_add(in, m.data, m.size - 1), 0);
    intake_abort(in);
    fixture_finish(f, in);
    assert_int_equal(records_sum(f, RECORD_PART).count, 1);
    assert_sound(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(f->damage_notes, 0);
    assert_sound(f);
    in = fixture_intake(f, "b@x");
    take(in, "u", &later);
    fixture_finish(f, in);
    assert_int_equal(records_sum(f, RECORD_PART).count, 1); /* it has its use now */
    assert_restored(f, "b@x", 1, &later);
    buffer_free(&m);
    buffer_free(&later);
}

/* The index */

/* Every row of the parts' table, and both sums. */
static struct buffer part_rows(struct fixture *f)
{
    struct buffer rows = {0};
    struct index_txn *t = NULL;
    struct span key = {0}, value;
    uint8_t from[SHA256_SIZE + 1];
    uint64_t sums[2];
    assert_int_equal(index_begin_read(f->archive->index, &t), 0);
    while (index_seek(t, TABLE_PARTS, &key, &value) == 0) {
        assert_true(key.size <= SHA256_SIZE);
        buffer_put_span(&rows, key);
        buffer_put_span(&rows, value);
        memcpy(from, key.data, key.size);
        from[key.size] = 0; /* the next key there may be */
        key = span_of(from, key.size + 1);
    }
    assert_int_equal(row_get_number(t, INFO_PARTS_NAMED, &sums[0]), 0);
    assert_int_equal(row_get_number(t, INFO_PARTS_KEPT, &sums[1]), 0);
    buffer_put(&rows, sums, sizeof(sums));
    index_abort(t);
    return rows;
}

static void the_parts_are_indexed_again_equal(void **state)
{
    struct fixture *f = *state;
    struct buffer messages[12];
    for (unsigned i = 0; i < 12; i++) {
        const struct attachment a = {
            .seed = i % 5, .size = i % 3 == 0 ? 1500000 : 20000, .line_length = 76};
        messages[i] = letter(i, &a);
    }
    each_comes_back(f, messages, 12);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    char *dump = fixture_dump(f);
    fixture_close(f);
    fixture_open(f, ARCHIVE_READ);
    struct buffer rows = part_rows(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    char *again = fixture_dump(f);
    assert_string_equal(dump, again);
    fixture_close(f);
    fixture_open(f, ARCHIVE_READ);
    struct buffer rows_again = part_rows(f);
    assert_true(rows.size > 12 * SHA256_SIZE);
    assert_int_equal(rows.size, rows_again.size);
    assert_memory_equal(rows.data, rows_again.data, rows.size);
    assert_sound(f);
    buffer_free(&rows);
    buffer_free(&rows_again);
    free(dump);
    free(again);
}

/* Bounds */

static int drop_record(void *arg, struct record *r)
{
    unsigned *count = arg;
    record_destroy(r);
    ++*count;
    return 0;
}

static void a_message_has_only_so_many_runs(void **state)
{
    struct fixture *f = *state;
    unsigned records = 0;
    const struct base64_run run = {.size = 3};
    struct packer *packer = packer_create(1, f->codec, drop_record, &records);
    struct parts *parts = parts_create(packer, f->lookup, NULL, 0);
    parts_begin(parts);
    for (uint64_t i = 0; i < MESSAGE_RUNS_MAX; i++) {
        assert_false(parts_full(parts));
        assert_int_equal(parts_add(parts, (const uint8_t *)"abc", 3), 0);
        assert_int_equal(parts_run_end(parts, &run, i), 0);
    }
    assert_true(parts_full(parts));
    assert_true(parts_runs(parts).size < META_STORED_MAX); /* all of them fit */
    assert_int_equal(records, 1);
    parts_begin(parts);
    assert_false(parts_full(parts));
    parts_destroy(parts);
    packer_destroy(packer);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static int drop_bytes(void *arg, const uint8_t *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
    return 0;
}

/* However many it reads: PART_CACHE_SLOTS of them, one as it is stored, and the message. */
static void a_reader_keeps_only_so_many_parts(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3 * PART_CACHE_SLOTS };
    struct intake *in = fixture_intake(f, "a@x");
    for (unsigned i = 0; i < COUNT; i++) {
        const struct attachment a = {
            .seed = 100 + i, .size = PART_RAW_MAX, .line_length = 76};
        char uidl[8];
        struct buffer m = letter(i, &a);
        snprintf(uidl, sizeof(uidl), "u%u", i);
        take(in, uidl, &m);
        buffer_free(&m);
    }
    fixture_finish(f, in);
    struct account_info account;
    struct reader *reader = NULL;
    assert_int_equal(archive_find_account(f->archive, "a@x", &account), 0);
    size_t before = heap_bytes();
    assert_int_equal(reader_create(f->archive, &reader), 0);
    for (uint64_t n = 1; n <= COUNT; n++)
        assert_int_equal(reader_body(reader, account.number, n, drop_bytes, NULL), 0);
    assert_in_range(heap_bytes() - before, 0,
                    (PART_CACHE_SLOTS + 1 + 3) * (size_t)PART_RAW_MAX);
    reader_destroy(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_attachment_is_kept_once_across_accounts),
        TEST(sessions_that_meet_a_new_part_keep_one),
        TEST(workers_that_meet_a_new_part_in_one_batch_keep_one),
        TEST(workers_that_meet_a_part_just_committed_keep_one),
        TEST(a_part_that_does_not_shrink_is_stored_as_it_is),
        TEST(runs_of_every_size_come_back),
        TEST(runs_of_every_shape_come_back),
        TEST(runs_anywhere_in_a_message_come_back),
        TEST(runs_within_a_stream_come_back),
        TEST(equal_messages_share_their_runs),
        TEST(parts_of_a_message_that_broke_off_are_no_damage),
        TEST(the_parts_are_indexed_again_equal),
        TEST(a_message_has_only_so_many_runs),
        TEST(a_reader_keeps_only_so_many_parts),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
