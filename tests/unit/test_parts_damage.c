/* Damage to attachments: every message that names a hurt part is named, in every account,
 * and no other; and one of them fetched again heals it for all. */
#include "archive/damage.h"
#include "archive/error.h"
#include "archive/segment.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FLIPS 300
#define ACCOUNTS 3
#define MESSAGES 6
#define NO_PICTURE UINT_MAX

static const char *const names[ACCOUNTS] = {"a@x", "b@x", "c@x"};

static const struct attachment pictures[] = {
    {.seed = 1, .size = 9000, .line_length = 76},
    {.seed = 2, .size = 7000, .line_length = 76},
    {.seed = 3, .size = PART_RAW_MAX + 500, .text = true, .line_length = 76},
};

/* Which pictures the messages carry. */
static const struct {
    unsigned first, second;
} carried[ACCOUNTS][MESSAGES] = {
    {{0, NO_PICTURE},
     {NO_PICTURE, NO_PICTURE},
     {1, NO_PICTURE},
     {1, 0},
     {2, NO_PICTURE},
     {NO_PICTURE, NO_PICTURE}},
    {{NO_PICTURE, NO_PICTURE},
     {0, 1},
     {2, NO_PICTURE},
     {1, NO_PICTURE},
     {0, 0},
     {1, NO_PICTURE}},
    {{1, NO_PICTURE},
     {1, NO_PICTURE},
     {NO_PICTURE, NO_PICTURE},
     {0, NO_PICTURE},
     {NO_PICTURE, 1},
     {1, 1}},
};

static bool carries(unsigned account, unsigned i, unsigned picture)
{
    return carried[account][i].first == picture || carried[account][i].second == picture;
}

static void attach(struct buffer *m, unsigned picture)
{
    if (picture == NO_PICTURE)
        return;
    mail_attach(m, &pictures[picture]);
    buffer_put(m, "\r\n--\r\n", 6);
}

static struct buffer make_letter(unsigned account, unsigned i)
{
    struct buffer m = {0};
    char subject[32];
    snprintf(subject, sizeof(subject), "letter %u", i);
    mail_header(&m, names[account], subject);
    mail_lines(&m, account * MESSAGES + i, 300);
    attach(&m, carried[account][i].first);
    mail_lines(&m, account * MESSAGES + i, 72);
    attach(&m, carried[account][i].second);
    return m;
}

struct world {
    struct fixture fixture;
    struct buffer letters[ACCOUNTS][MESSAGES];
};

/* Take in message i if it is wanted; true if that healed. */
static bool take(const struct world *w, struct intake *in, unsigned account, unsigned i)
{
    char uidl[16];
    const struct buffer *m = &w->letters[account][i];
    enum intake_result result = INTAKE_ARCHIVED;
    snprintf(uidl, sizeof(uidl), "u%u", i);
    enum intake_verdict verdict = fixture_take(in, uidl, m->data, m->size, &result);
    return verdict == INTAKE_WANTED && result == INTAKE_HEALED;
}

static void fetch_all(struct world *w)
{
    for (unsigned account = 0; account < ACCOUNTS; account++) {
        struct intake *in = fixture_intake(&w->fixture, names[account]);
        for (unsigned i = 0; i < MESSAGES; i++)
            take(w, in, account, i);
        fixture_finish(&w->fixture, in);
    }
}

static int setup(void **state)
{
    struct world *w = malloc(sizeof(*w));
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++)
            w->letters[account][i] = make_letter(account, i);
    fixture_setup(&w->fixture);
    fetch_all(w);
    fixture_close(&w->fixture);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    fixture_teardown(&w->fixture);
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++)
            buffer_free(&w->letters[account][i]);
    free(w);
    return 0;
}

/* 0 or ERR_DAMAGED; nothing wrong is ever given. */
static int restore(struct world *w, unsigned account, unsigned i)
{
    size_t size = 0;
    int err = 0;
    char *got = fixture_restore(&w->fixture, names[account], (uint64_t)i + 1, &size, &err);
    if (got != NULL) {
        assert_int_equal(size, w->letters[account][i].size);
        assert_memory_equal(got, w->letters[account][i].data, size);
    } else
        assert_int_equal(err, ERR_DAMAGED);
    free(got);
    return err;
}

/* Of a finding among f->notes. */
static bool named(const struct fixture *f, unsigned account, unsigned i)
{
    char line[64];
    snprintf(line, sizeof(line), "%d %s/%u ", (int)FINDING_MESSAGE, names[account], i + 1);
    return strstr(f->notes, line) != NULL;
}

/* Just the messages with this picture are hurt. */
static void assert_hurt(struct world *w, unsigned picture)
{
    struct fixture *f = &w->fixture;
    struct verify_summary s = fixture_verify(f, false);
    unsigned hurt = 0;
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++) {
            bool expected = carries(account, i, picture);
            if (named(f, account, i) != expected)
                fail_msg("%s/%u:\n%s", names[account], i + 1, f->notes);
            assert_int_equal(restore(w, account, i), expected ? ERR_DAMAGED : 0);
            hurt += expected;
        }
    assert_true(hurt > 1);
    assert_int_equal(s.messages_hurt, hurt);
    assert_true(s.structure >= 1);
}

static void assert_all_sound(struct world *w)
{
    struct fixture *f = &w->fixture;
    struct verify_summary s = fixture_verify(f, false);
    if (verify_found_damage(&s))
        fail_msg("%s", f->notes);
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++)
            assert_int_equal(restore(w, account, i), 0);
}

enum spot { IN_HEADER, IN_META, IN_BODY };

/* The newest copy. Returns it, its offset that of the bit, to be flipped back. */
static struct seen_record hurt_part(struct fixture *f, unsigned picture, size_t part,
                                    enum spot spot)
{
    uint8_t sha256[SHA256_SIZE];
    attachment_part(&pictures[picture], part, sha256);
    struct seen_record r = records_part(f, sha256);
    uint64_t at = r.place.offset + 30;
    if (spot != IN_HEADER)
        at = r.place.offset + RECORD_HEADER_SIZE + 5;
    if (spot == IN_BODY)
        at += r.header.meta_size + r.header.body_size / 2;
    segment_flip(f, r.place.segment, at, 3);
    r.place.offset = at;
    return r;
}

/* Hurt, found, and healed by fetching a single message again. */
static void one_heals_all(struct world *w, unsigned picture, size_t part, enum spot spot,
                          unsigned account, unsigned i)
{
    struct fixture *f = &w->fixture;
    fixture_open(f, ARCHIVE_READ);
    hurt_part(f, picture, part, spot);
    assert_hurt(w, picture);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    assert_true(carries(account, i, picture));
    struct intake *in = fixture_intake(f, names[account]);
    assert_true(take(w, in, account, i));
    fixture_finish(f, in);
    assert_all_sound(w);
    struct verify_summary s = fixture_verify(f, false);
    assert_int_equal(s.healed, 1);
    in = fixture_intake(f, names[account]); /* and that is that */
    assert_false(take(w, in, account, i));
    fixture_finish(f, in);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    assert_all_sound(w);
}

static void a_body_heals_for_all(void **state)
{
    one_heals_all(*state, 0, 0, IN_BODY, 0, 0);
}

static void a_meta_heals_for_all(void **state)
{
    one_heals_all(*state, 0, 0, IN_META, 1, 1);
}

static void a_header_heals_for_all(void **state)
{
    one_heals_all(*state, 1, 0, IN_HEADER, 2, 5);
}

static void a_run_of_two_parts_heals_for_all(void **state)
{
    one_heals_all(*state, 2, 0, IN_BODY, 1, 2);
}

static void its_last_part_heals_for_all(void **state)
{
    one_heals_all(*state, 2, 1, IN_META, 0, 4);
}

/* A message whose text is its own, in an account that never had the part, brings it back as
 * well. */
static void a_new_message_heals_for_all(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    fixture_open(f, ARCHIVE_READ);
    hurt_part(f, 0, 0, IN_BODY);
    assert_hurt(w, 0);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    struct buffer m = {0};
    enum intake_result result = INTAKE_HEALED;
    mail_header(&m, "d@x", "new");
    attach(&m, 0);
    struct intake *in = fixture_intake(f, "d@x");
    assert_int_equal(fixture_take(in, "u", m.data, m.size, &result), INTAKE_WANTED);
    assert_int_equal(result, INTAKE_ARCHIVED);
    fixture_finish(f, in);
    assert_all_sound(w);
    buffer_free(&m);
}

/* The process that stored the part is still running, and remembers it. */
static void a_part_just_stored_heals_too(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    fixture_teardown(f);
    fixture_setup(f);
    fetch_all(w);
    assert_int_equal(store_seal(f->archive), 0);
    hurt_part(f, 0, 0, IN_BODY);
    assert_hurt(w, 0);
    struct intake *in = fixture_intake(f, names[0]);
    assert_true(take(w, in, 0, 0));
    fixture_finish(f, in);
    assert_all_sound(w);
}

static void quick_numbers_are_those_of_the_full_count(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    struct archive_stats full, quick;
    fixture_open(f, ARCHIVE_READ);
    assert_int_equal(archive_stats(f->archive, &full), 0);
    assert_int_equal(archive_quick_stats(f->archive, &quick), 0);
    assert_true(quick.parts > 0 && quick.parts_named_bytes > quick.parts_kept_bytes);
    assert_int_equal(quick.parts, full.parts);
    assert_int_equal(quick.parts_kept_bytes, full.parts_kept_bytes);
    assert_int_equal(quick.parts_named_bytes, full.parts_named_bytes);
    assert_int_equal(quick.unconfirmed, full.unconfirmed);
}

/* A copy that came back to life (from a backup, say) is not the one that is read. */
static void a_sound_older_copy_hides_no_damage(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    fixture_open(f, ARCHIVE_WRITE);
    struct seen_record first = hurt_part(f, 0, 0, IN_BODY);
    struct damage_count damage;
    assert_hurt(w, 0);
    assert_int_equal(damage_count(f->archive, &damage), 0);
    assert_int_equal(damage.parts, 1);
    struct intake *in = fixture_intake(f, names[0]);
    assert_true(take(w, in, 0, 0));
    fixture_finish(f, in);
    assert_int_equal(damage_count(f->archive, &damage), 0);
    assert_int_equal(damage.parts, 0);
    assert_all_sound(w);
    segment_flip(f, first.place.segment, first.place.offset, 3);
    assert_all_sound(w);
    hurt_part(f, 0, 0, IN_BODY);
    assert_hurt(w, 0);
    in = fixture_intake(f, names[1]);
    assert_true(take(w, in, 1, 1));
    fixture_finish(f, in);
    assert_all_sound(w);
}

/* All who have it fetch it at once, before a commit. */
static void fetched_by_all_at_once_it_is_stored_once_more(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    struct intake *in[ACCOUNTS];
    fixture_open(f, ARCHIVE_WRITE);
    hurt_part(f, 1, 0, IN_BODY);
    assert_hurt(w, 1);
    unsigned before = records_sum(f, RECORD_PART).count;
    for (unsigned account = 0; account < ACCOUNTS; account++)
        in[account] = fixture_intake(f, names[account]);
    for (unsigned i = 0; i < MESSAGES; i++)
        for (unsigned account = 0; account < ACCOUNTS; account++)
            assert_int_equal(take(w, in[account], account, i), carries(account, i, 1));
    for (unsigned account = 0; account < ACCOUNTS; account++)
        fixture_finish(f, in[account]);
    assert_all_sound(w);
    /* The damaged one counts: its header and meta can be read. */
    assert_int_equal(records_sum(f, RECORD_PART).count, before + 1);
}

/* A segment that holds nothing of a message but its parts. */
static void a_removed_segment_of_parts_is_found_and_heals(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    char path[PATH_MAX];
    fixture_teardown(f);
    fixture_setup(f);
    for (unsigned account = 0; account < ACCOUNTS; account++)
        fixture_finish(f, fixture_intake(f, names[account]));
    assert_int_equal(store_seal(f->archive), 0);
    const struct buffer *m = &w->letters[0][0]; /* with picture 0, and it breaks off */
    struct intake *in = fixture_intake(f, names[0]);
    assert_int_equal(intake_begin(in, span_text("u"), m->size), 0);
    assert_int_equal(intake_add(in, m->data, m->size - 1), 0);
    intake_abort(in);
    intake_close(in);
    assert_int_equal(store_seal(f->archive), 0);
    fetch_all(w);
    fixture_close(f);
    fixture_open(f, ARCHIVE_READ);
    assert_int_equal(segment_path(f->path, 2, path), 0);
    assert_int_equal(unlink(path), 0);
    assert_hurt(w, 0);
    assert_non_null(strstr(f->notes, "the segment is missing"));
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    in = fixture_intake(f, names[2]);
    assert_true(take(w, in, 2, 3));
    fixture_finish(f, in);
    struct verify_summary s = fixture_verify(f, false);
    assert_int_equal(s.messages_hurt, 0);
    assert_int_equal(s.structure, 1); /* that segment */
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    s = fixture_verify(f, false);
    assert_int_equal(s.messages_hurt, 0);
    assert_int_equal(s.index_differences, 0);
}

/* --quick looks at checksums, and at every part that is named. */
static void quick_names_them_too(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    fixture_open(f, ARCHIVE_READ);
    hurt_part(f, 2, 1, IN_BODY);
    struct verify_summary s = fixture_verify(f, true);
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++)
            assert_int_equal(named(f, account, i), carries(account, i, 2));
    assert_int_equal(s.structure, 1);
}

static void each_flipped_bit_is_found(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->fixture;
    uint64_t size = segment_file_size(f, 1);
    srandom(20260302);
    for (unsigned k = 0; k < FLIPS; k++) {
        uint64_t at = (uint64_t)random() % size;
        unsigned bit = (unsigned)random() % 8, refused = 0;
        segment_flip(f, 1, at, bit);
        fixture_open(f, ARCHIVE_READ);
        struct verify_summary s = fixture_verify(f, false);
        if (!verify_found_damage(&s))
            fail_msg("byte %lu: not found", (unsigned long)at);
        for (unsigned account = 0; account < ACCOUNTS; account++)
            for (unsigned i = 0; i < MESSAGES; i++)
                if (restore(w, account, i) != 0) {
                    refused++;
                    assert_true(named(f, account, i));
                }
        assert_true(refused <= s.messages_hurt);
        fixture_close(f);
        segment_flip(f, 1, at, bit);
    }
    fixture_open(f, ARCHIVE_READ);
    assert_all_sound(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_body_heals_for_all),
        TEST(a_meta_heals_for_all),
        TEST(a_header_heals_for_all),
        TEST(a_run_of_two_parts_heals_for_all),
        TEST(its_last_part_heals_for_all),
        TEST(a_new_message_heals_for_all),
        TEST(a_part_just_stored_heals_too),
        TEST(a_sound_older_copy_hides_no_damage),
        TEST(fetched_by_all_at_once_it_is_stored_once_more),
        TEST(a_removed_segment_of_parts_is_found_and_heals),
        TEST(quick_numbers_are_those_of_the_full_count),
        TEST(quick_names_them_too),
        TEST(each_flipped_bit_is_found),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
