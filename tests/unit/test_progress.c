#include "daemon/progress.h"

#include "archive/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void count_is(uint64_t count, const char *text)
{
    char out[COUNT_TEXT_SIZE];
    count_text(out, count);
    assert_string_equal(out, text);
}

static void counts_are_grouped_by_three(void **state)
{
    (void)state;
    count_is(0, "0");
    count_is(999, "999");
    count_is(1000, "1,000");
    count_is(123456, "123,456");
    count_is(1234567, "1,234,567");
    count_is(UINT64_MAX, "18,446,744,073,709,551,615");
}

static void summary_is(const struct tally *t, const char *text)
{
    char out[PROGRESS_TEXT_SIZE];
    tally_summary(out, t);
    assert_string_equal(out, text);
}

static void the_summary_names_what_there_is(void **state)
{
    (void)state;
    summary_is(&(struct tally){.accounts = 4,
                               .complete = 3,
                               .failed = 1,
                               .fetched = 1234,
                               .bytes = 56700000,
                               .known = 12},
               "3 of 4 accounts complete, 1,234 messages archived (56.7 MB), 12 known");
    summary_is(&(struct tally){.accounts = 1, .complete = 1, .fetched = 1, .bytes = 1},
               "1 of 1 account complete, 1 message archived (1 B), 0 known");
    summary_is(&(struct tally){.accounts = 9,
                               .complete = 2,
                               .failed = 3,
                               .deduplicated = 4,
                               .healed = 5,
                               .refused = 6,
                               .quarantined = 7,
                               .aside = 8},
               "2 of 9 accounts complete, 0 messages archived (0 B), 0 known, "
               "4 known by content, 5 damaged copies replaced, 6 refused by the server, "
               "7 quarantined, 8 quarantined before, 4 accounts not tried to the end");
}

static void the_largest_summary_fits(void **state)
{
    (void)state;
    struct tally t;
    char out[PROGRESS_TEXT_SIZE];
    memset(&t, 0x7f, sizeof(t));
    t.complete = t.failed = 0;
    tally_summary(out, &t);
    const char end[] = "accounts not tried to the end";
    assert_string_equal(out + strlen(out) - strlen(end), end);
}

static void sessions_of_one_account_add_up(void **state)
{
    (void)state;
    struct tally t = {.accounts = 1};
    struct account_tally account = {.listed = false};
    const struct pool_counts failed = {.listed = SIZE_UNKNOWN};
    const struct pool_counts first = {.listed = 510,
                                      .known = 3,
                                      .fetched = 500,
                                      .refused = 2,
                                      .deduplicated = 1,
                                      .healed = 2,
                                      .quarantined = 4,
                                      .aside = 5,
                                      .bytes = 10};
    /* It lists again what the first has fetched, and asks again for what was refused. */
    const struct pool_counts second = {
        .listed = 510, .known = 503, .fetched = 6, .refused = 1, .aside = 9, .bytes = 1};
    tally_add(&t, &account, &failed);
    tally_add(&t, &account, &first);
    tally_add(&t, &account, &second);
    tally_add(&t, &account, &failed);
    assert_int_equal(t.known, 3);
    assert_int_equal(t.fetched, 506);
    assert_int_equal(t.bytes, 11);
    assert_int_equal(t.refused, 1);
    assert_int_equal(t.deduplicated, 1);
    assert_int_equal(t.healed, 2);
    assert_int_equal(t.quarantined, 4);
    assert_int_equal(t.aside, 5);

    assert_int_equal(account.refused, 1);
    assert_int_equal(account.quarantined, 4);

    struct account_tally other = {.listed = false};
    tally_add(&t, &other, &first);
    assert_int_equal(t.known, 6);
    assert_int_equal(t.refused, 3);
}

static void progress_has_a_rate_after_a_second(void **state)
{
    (void)state;
    struct tally t = {.accounts = 50, .complete = 10};
    char out[PROGRESS_TEXT_SIZE];
    tally_progress(out, &t, 1234, 56700000, 999);
    assert_string_equal(out, "10 of 50 accounts, 1,234 messages, 56.7 MB");
    t.failed = 2;
    tally_progress(out, &t, 1234, 56700000, 7000);
    assert_string_equal(out, "12 of 50 accounts, 1,234 messages, 56.7 MB, 8.1 MB/s, "
                             "about 22 s left, 2 failed");
    t.accounts = 1000; /* too few to tell */
    tally_progress(out, &t, 1234, 56700000, 7000);
    assert_string_equal(
        out, "12 of 1,000 accounts, 1,234 messages, 56.7 MB, 8.1 MB/s, 2 failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_grouped_by_three),
        cmocka_unit_test(the_summary_names_what_there_is),
        cmocka_unit_test(the_largest_summary_fits),
        cmocka_unit_test(sessions_of_one_account_add_up),
        cmocka_unit_test(progress_has_a_rate_after_a_second),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
