/* What servers list, and what is believed of it. */
#include "archive/digest.h"
#include "archive/error.h"
#include "workers/listing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct listing_limits limits;
    struct listing *listing;
    char judged[1024]; /* "1:uidl:size " for every call */
    const char *known; /* this UIDL is skipped */
};

static enum listing_verdict judge(void *arg, uint32_t number, uint64_t size,
                                  const char *uidl, size_t uidl_size)
{
    struct fixture *f = arg;
    assert_true(uidl_size > 0);
    size_t used = strlen(f->judged);
    snprintf(f->judged + used, sizeof(f->judged) - used, "%u:%.*s:%lld ", number,
             (int)(uidl_size < 100 ? uidl_size : 100), uidl, (long long)size);
    bool known = f->known != NULL && strlen(f->known) == uidl_size &&
                 memcmp(f->known, uidl, uidl_size) == 0;
    return known ? LISTING_SKIP : LISTING_WANT;
}

static void start_from(struct fixture *f, const char *stat, uint32_t blank_from)
{
    assert_int_equal(listing_create(&f->limits, blank_from, judge, f, &f->listing), 0);
    if (stat != NULL)
        listing_stat(f->listing, stat, strlen(stat));
}

static void start(struct fixture *f, const char *stat)
{
    start_from(f, stat, 0);
}

/* Lines separated by LF. */
static int give(struct listing *l, int (*line)(struct listing *, const char *, size_t),
                const char *lines)
{
    int rc = 0;
    while (rc == 0 && *lines != '\0') {
        size_t size = strcspn(lines, "\n");
        rc = line(l, lines, size);
        lines += size + (lines[size] == '\n');
    }
    return rc;
}

static const struct listing_summary *complete(struct fixture *f, const char *stat,
                                              const char *list, const char *uidl)
{
    start(f, stat);
    assert_int_equal(give(f->listing, listing_list_line, list), 0);
    listing_list_end(f->listing);
    assert_int_equal(give(f->listing, listing_uidl_line, uidl), 0);
    listing_uidl_end(f->listing);
    assert_int_equal(listing_finish(f->listing), 0);
    return listing_summary(f->listing);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->limits = listing_limits_default;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    listing_free(f->listing);
    free(f);
    return 0;
}

static void a_consistent_listing_is_trusted(void **state)
{
    struct fixture *f = *state;
    f->known = "bb";
    const struct listing_summary *s =
        complete(f, "3 600", "1 100\n2 200\n3 300", "1 aa\n2 bb\n3 cc");
    assert_int_equal(s->trust, LISTING_TRUSTED);
    assert_int_equal(s->stat_count, 3);
    assert_int_equal(s->stat_bytes, 600);
    assert_int_equal(s->list_count, 3);
    assert_int_equal(s->uidl_count, 3);
    assert_int_equal(s->skipped, 1);
    assert_int_equal(s->wanted, 2);
    assert_int_equal(listing_wanted_count(f->listing), 2);
    struct listing_entry e = listing_wanted(f->listing, 1);
    assert_int_equal(e.number, 3);
    assert_int_equal(e.size, 300);
    assert_int_equal(e.uidl_size, 2);
    assert_memory_equal(e.uidl, "cc", 2);
    assert_string_equal(f->judged, "1:aa:100 2:bb:200 3:cc:300 ");
}

static void an_empty_mailbox_is_trusted(void **state)
{
    assert_int_equal(complete(*state, "0 0", "", "")->trust, LISTING_TRUSTED);
}

static void the_digest_knows_ids_and_sizes_not_numbers(void **state)
{
    struct fixture *f = *state;
    uint8_t first[LISTING_DIGEST_SIZE];
    memcpy(first, complete(f, "2 3", "1 1\n2 2", "1 a\n2 b")->digest, sizeof(first));
    listing_free(f->listing);
    assert_memory_equal(complete(f, "2 3", "4 1\n7 2", "4 a\n7 b")->digest, first,
                        sizeof(first));
    listing_free(f->listing);
    assert_memory_not_equal(complete(f, "2 3", "1 1\n2 3", "1 a\n2 b")->digest, first,
                            sizeof(first));
    listing_free(f->listing);
    assert_memory_not_equal(complete(f, "2 3", "1 1\n2 2", "1 a\n2 c")->digest, first,
                            sizeof(first));
}

/* Its bytes are on record: they must not change with how they are put together. */
static void the_digest_is_that_of_all_entries_in_a_row(void **state)
{
    struct fixture *f = *state;
    char uidl[LISTING_UIDL_MAX + 1], line[LISTING_UIDL_MAX + 16];
    uint8_t want[SHA256_SIZE];
    struct sha256 *h = sha256_create();
    assert_non_null(h);
    start(f, NULL);
    for (unsigned i = 1; i <= 500; i++) {
        uint64_t size = i == 7 ? UINT64_MAX - 1 : i * i;
        int n = i % 9 == 0
                    ? snprintf(line, sizeof(line), "%u ?", i)
                    : snprintf(line, sizeof(line), "%u %llu", i, (unsigned long long)size);
        assert_int_equal(listing_list_line(f->listing, line, (size_t)n), 0);
    }
    listing_list_end(f->listing);
    for (unsigned i = 1; i <= 500; i++) {
        char entry[LISTING_UIDL_MAX + 64];
        uint64_t size = i == 7 ? UINT64_MAX - 1 : i * i;
        memset(uidl, 'a' + (int)(i % 26), sizeof(uidl));
        uidl[i == 250 ? LISTING_UIDL_MAX : 1 + i * 37 % 200] = '\0';
        int n = snprintf(line, sizeof(line), "%u %s", i, uidl);
        assert_int_equal(listing_uidl_line(f->listing, line, (size_t)n), 0);
        n = i % 9 == 0 ? snprintf(entry, sizeof(entry), "%s%c-\n", uidl, '\0')
                       : snprintf(entry, sizeof(entry), "%s%c%llu\n", uidl, '\0',
                                  (unsigned long long)size);
        sha256_add(h, entry, (size_t)n);
        f->judged[0] = '\0';
    }
    listing_uidl_end(f->listing);
    assert_int_equal(listing_finish(f->listing), 0);
    sha256_finish(h, want);
    sha256_destroy(h);
    assert_memory_equal(listing_summary(f->listing)->digest, want, sizeof(want));
}

static void q1_without_uidl_all_of_list_is_wanted(void **state)
{
    struct fixture *f = *state;
    start(f, "2 300");
    give(f->listing, listing_list_line, "1 100\n2 200");
    listing_list_end(f->listing);
    assert_int_equal(listing_no_uidl(f->listing), 0);
    assert_int_equal(listing_finish(f->listing), 0);
    assert_int_equal(listing_summary(f->listing)->trust, LISTING_NO_UIDL);
    assert_int_equal(listing_wanted_count(f->listing), 2);
    assert_int_equal(listing_wanted(f->listing, 1).size, 200);
    assert_int_equal(listing_wanted(f->listing, 1).uidl_size, 0);
    assert_string_equal(f->judged, "");
}

static void q1_messages_without_id_go_on_where_the_last_session_stopped(void **state)
{
    struct fixture *f = *state;
    start_from(f, "4 4", 3);
    give(f->listing, listing_list_line, "1 1\n2 1\n3 1\n4 1");
    listing_list_end(f->listing);
    assert_int_equal(listing_no_uidl(f->listing), 0);
    assert_int_equal(listing_finish(f->listing), 0);
    assert_int_equal(listing_summary(f->listing)->postponed, 2);
    assert_int_equal(listing_wanted(f->listing, 0).number, 3);
}

static void q3_blank_ids_are_wanted_and_not_trusted(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "3 6", "1 1\n2 2\n3 3", "1 \n2\n3 c");
    assert_int_equal(s->trust, LISTING_BLANK_UIDL);
    assert_int_equal(s->blank, 2);
    assert_int_equal(s->wanted, 3);
    assert_int_equal(listing_wanted(f->listing, 0).uidl_size, 0);
    assert_string_equal(f->judged, "3:c:3 ");
}

static void q4_blanks_and_ok_before_lines_are_tolerated(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s =
        complete(f, "3 6", "+OK 1 1\n  2   2\n+ok\t3 3", "1    a b \t\n+OK 2 b  \n3\tc");
    assert_int_equal(s->trust, LISTING_TRUSTED);
    assert_string_equal(f->judged, "1:a b:1 2:b:2 3:c:3 ");
}

static void q5_an_id_is_opaque(void **state)
{
    struct fixture *f = *state;
    char line[600] = "1 ";
    memset(line + 2, 'U', 500);
    memcpy(line + 100, " \xff\x01y", 4);
    assert_int_equal(complete(f, "1 9", "1 9", line)->trust, LISTING_TRUSTED);
    struct listing_entry e = listing_wanted(f->listing, 0);
    assert_int_equal(e.uidl_size, 500);
    assert_memory_equal(e.uidl, line + 2, 500);
}

static void q6_the_same_id_twice_is_judged_twice(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "2 3", "1 1\n2 2", "1 a\n2 a");
    assert_int_equal(s->trust, LISTING_TRUSTED);
    assert_int_equal(s->wanted, 2);
}

static void q10_couriers_error_entry_is_ignored(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "2 9", "1 5\n2 4", "1 ENOMEM-1234");
    assert_int_equal(s->trust, LISTING_DISK_FULL);
    assert_int_equal(s->wanted, 0);
    assert_string_equal(f->judged, "");
}

static void q11_gaps_and_disorder_do_not_matter(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s =
        complete(f, "5 100", "5 50\n1 10\n3 30", "3 c\n5 e\n1 a");
    assert_int_equal(s->trust, LISTING_OTHER_COUNT);
    assert_string_equal(f->judged, "3:c:30 5:e:50 1:a:10 ");
    listing_free(f->listing);
    s = complete(f, "3 60", "3 30\n1 10\n2 20", "1 a\n2 b\n3 c");
    assert_int_equal(s->trust, LISTING_TRUSTED);
    assert_int_equal(s->wanted, 3);
}

static void q11_a_number_above_stat_is_fetched_and_not_trusted(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "2 3", "1 1\n7 2", "1 a\n7 b");
    assert_int_equal(s->trust, LISTING_ABOVE_STAT);
    assert_int_equal(s->wanted, 2);
    assert_int_equal(s->refused, 0);
}

static void q15_stat_that_disagrees_is_not_trusted(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(complete(f, "3 3", "1 1\n2 2", "1 a\n2 b")->trust,
                     LISTING_OTHER_COUNT);
    listing_free(f->listing);
    assert_int_equal(complete(f, "hello", "1 1", "1 a")->trust, LISTING_NO_STAT);
    listing_free(f->listing);
    assert_int_equal(complete(f, NULL, "1 1", "1 a")->trust, LISTING_NO_STAT);
}

static void list_and_uidl_that_disagree_are_not_trusted(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "2 3", "1 1\n2 2", "1 a");
    assert_int_equal(s->trust, LISTING_OTHER_NUMBERS);
    listing_free(f->listing);
    s = complete(f, "3 3", "1 1\n2 2", "1 a\n3 c");
    assert_int_equal(s->trust, LISTING_OTHER_NUMBERS);
    assert_int_equal(s->wanted, 3);
    assert_int_equal(listing_wanted(f->listing, 1).size, LISTING_SIZE_UNKNOWN);
}

static void q3_what_only_list_names_is_wanted_without_an_id(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "3 6", "1 1\n2 2\n3 3", "1 a\n3 c");
    assert_int_equal(s->trust, LISTING_OTHER_NUMBERS);
    assert_int_equal(s->blank, 1);
    assert_int_equal(s->wanted, 3);
    struct listing_entry entry = listing_wanted(f->listing, 2);
    assert_int_equal(entry.number, 2);
    assert_int_equal(entry.size, 2);
    assert_int_equal(entry.uidl_size, 0);
}

static void refused_list_leaves_sizes_unknown(void **state)
{
    struct fixture *f = *state;
    start(f, "2 3");
    give(f->listing, listing_uidl_line, "2 b\n1 a");
    listing_uidl_end(f->listing);
    assert_int_equal(listing_finish(f->listing), 0);
    assert_int_equal(listing_summary(f->listing)->trust, LISTING_NO_LIST);
    assert_string_equal(f->judged, "2:b:-1 1:a:-1 ");
}

static void q17_sizes_may_be_anything(void **state)
{
    struct fixture *f = *state;
    complete(f, "5 1 third", "1 0\n2 9999999999\n3 junk\n4\n5 77 extra\n",
             "1 a\n2 b\n3 c\n4 d\n5 e");
    assert_int_equal(listing_summary(f->listing)->trust, LISTING_TRUSTED);
    assert_string_equal(f->judged, "1:a:0 2:b:9999999999 3:c:-1 4:d:-1 5:e:77 ");
}

static void impossible_numbers_are_refused(void **state)
{
    static const char *const bad[] = {
        "0 x",        "-1 x", "abc x",       "", "18446744073709551617 x",
        "16777217 x", "1x x", "4294967297 x"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start(f, "1 1");
        assert_int_equal(listing_list_line(f->listing, "1 1", 3), 0);
        assert_int_equal(listing_list_line(f->listing, bad[i], strlen(bad[i])), 0);
        listing_list_end(f->listing);
        assert_int_equal(listing_uidl_line(f->listing, "1 a", 3), 0);
        assert_int_equal(listing_uidl_line(f->listing, bad[i], strlen(bad[i])), 0);
        listing_uidl_end(f->listing);
        assert_int_equal(listing_finish(f->listing), 0);
        const struct listing_summary *s = listing_summary(f->listing);
        assert_int_equal(s->trust, LISTING_BAD_NUMBER);
        assert_int_equal(s->refused, 2);
        assert_int_equal(s->wanted, 1);
        listing_free(f->listing);
        f->listing = NULL;
    }
}

static void repeated_numbers_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct listing_summary *s = complete(f, "2 3", "1 1\n2 2", "1 a\n2 b\n1 c");
    assert_int_equal(s->trust, LISTING_REPEATED);
    assert_int_equal(s->refused, 1);
    assert_string_equal(f->judged, "1:a:1 2:b:2 ");
}

static void a_uidl_over_the_limit_counts_as_none(void **state)
{
    struct fixture *f = *state;
    static char line[LISTING_UIDL_MAX + 3] = "1 ";
    memset(line + 2, 'u', LISTING_UIDL_MAX + 1);
    start(f, "1 1");
    listing_list_line(f->listing, "1 1", 3);
    listing_list_end(f->listing);
    assert_int_equal(listing_uidl_line(f->listing, line, sizeof(line)), 0);
    listing_uidl_end(f->listing);
    assert_int_equal(listing_finish(f->listing), 0);
    assert_int_equal(listing_summary(f->listing)->trust, LISTING_LONG_UIDL);
    assert_int_equal(listing_wanted(f->listing, 0).uidl_size, 0);
    listing_free(f->listing);

    line[LISTING_UIDL_MAX + 2] = '\0';
    complete(f, "1 1", "1 1", line);
    assert_int_equal(listing_summary(f->listing)->trust, LISTING_TRUSTED);
    assert_int_equal(listing_wanted(f->listing, 0).uidl_size, LISTING_UIDL_MAX);
}

static void entries_beyond_stat_and_slack_are_refused(void **state)
{
    struct fixture *f = *state;
    f->limits.stat_slack = 2;
    const struct listing_summary *s =
        complete(f, "1 1", "1 1\n2 1\n3 1\n4 1", "1 a\n2 b\n3 c\n4 d");
    assert_int_equal(s->wanted, 3);
    assert_int_equal(s->refused, 2);
    assert_int_not_equal(s->trust, LISTING_TRUSTED);
}

static void entries_beyond_the_limit_are_refused(void **state)
{
    struct fixture *f = *state;
    f->limits.entries_max = 2;
    const struct listing_summary *s = complete(f, "3 3", "1 1\n2 1\n3 1", "1 a\n2 b\n3 c");
    assert_int_equal(s->wanted, 2);
    assert_int_equal(s->trust, LISTING_TOO_MANY);
}

static void a_flood_of_bytes_ends_the_session(void **state)
{
    struct fixture *f = *state;
    f->limits.bytes_max = 20;
    start(f, "9 9");
    assert_int_equal(give(f->listing, listing_list_line, "1 1\n2 1\n3 1\n4 1"), 0);
    assert_int_equal(give(f->listing, listing_list_line, "5 1"), ERR_TOO_LARGE);
}

static void wanted_entries_beyond_one_session_are_only_counted(void **state)
{
    struct fixture *f = *state;
    f->limits.wanted_max = 2;
    const struct listing_summary *s = complete(f, "3 3", "1 1\n2 1\n3 1", "1 a\n2 b\n3 c");
    assert_int_equal(s->trust, LISTING_TRUSTED);
    assert_int_equal(s->wanted, 3);
    assert_int_equal(listing_wanted_count(f->listing), 2);
}

/* Numbers far apart take memory for all that are between. */
static void memory_is_told_whatever_the_numbers(void **state)
{
    struct fixture *f = *state;
    start(f, "3 3");
    assert_int_equal(listing_memory(f->listing), 0);
    give(f->listing, listing_list_line, "1 1\n2 1");
    assert_in_range(listing_memory(f->listing), 2 * 12, 2048);
    give(f->listing, listing_list_line, "16777216 1");
    listing_list_end(f->listing);
    assert_in_range(listing_memory(f->listing), LISTING_NUMBER_MAX / 8, 5 << 20);
    give(f->listing, listing_uidl_line, "1 a\n2 b\n16777216 c");
    listing_uidl_end(f->listing);
    assert_in_range(listing_memory(f->listing), LISTING_NUMBER_MAX / 4, 10 << 20);
    assert_int_equal(listing_finish(f->listing), 0);
    assert_in_range(listing_memory(f->listing), 3 * sizeof(struct listing_entry), 4096);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_consistent_listing_is_trusted),
        TEST(an_empty_mailbox_is_trusted),
        TEST(the_digest_knows_ids_and_sizes_not_numbers),
        TEST(the_digest_is_that_of_all_entries_in_a_row),
        TEST(q1_without_uidl_all_of_list_is_wanted),
        TEST(q1_messages_without_id_go_on_where_the_last_session_stopped),
        TEST(q3_blank_ids_are_wanted_and_not_trusted),
        TEST(q4_blanks_and_ok_before_lines_are_tolerated),
        TEST(q5_an_id_is_opaque),
        TEST(q6_the_same_id_twice_is_judged_twice),
        TEST(q10_couriers_error_entry_is_ignored),
        TEST(q11_gaps_and_disorder_do_not_matter),
        TEST(q11_a_number_above_stat_is_fetched_and_not_trusted),
        TEST(q15_stat_that_disagrees_is_not_trusted),
        TEST(list_and_uidl_that_disagree_are_not_trusted),
        TEST(q3_what_only_list_names_is_wanted_without_an_id),
        TEST(refused_list_leaves_sizes_unknown),
        TEST(q17_sizes_may_be_anything),
        TEST(impossible_numbers_are_refused),
        TEST(repeated_numbers_are_refused),
        TEST(a_uidl_over_the_limit_counts_as_none),
        TEST(entries_beyond_stat_and_slack_are_refused),
        TEST(entries_beyond_the_limit_are_refused),
        TEST(a_flood_of_bytes_ends_the_session),
        TEST(memory_is_told_whatever_the_numbers),
        TEST(wanted_entries_beyond_one_session_are_only_counted),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
