/* What may be deleted from a maildrop, and what becomes of it: the archive's side of fetch
 * and delete sessions. What listings show of it is in test_deletion_listings.c. */
#include "archive/deletion.h"
#include "archive/error.h"
#include "tests/support/table_drop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct drop_line three[] = {
    {"a", "first"}, {"b", "second"}, {"c", "third one"}};

/* Q37: it was only hidden. */
static void what_comes_back_is_looked_at_and_deleted_again(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED);
    struct drop_result r = drop_fetch(&f, three, 3);
    assert_int_equal(r.again, 1);
    assert_int_equal(r.archived, 0);
    assert_int_equal(drop_state_of(&f, 1), DELETION_RETURNED);
    r = drop_fetch(&f, three, 3);
    assert_int_equal(r.known, 3);
    r = drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED);
    assert_int_equal(r.compared, 1); /* weak from now on */
    assert_int_equal(r.planned, 1);
    drop_fetch(&f, three, 3);
    assert_int_equal(drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED).planned, 1);
    drop_fetch(&f, three, 3);
    assert_int_equal(drop_fetch(&f, three, 3).deletable, 2); /* three tries are enough */
    assert_int_equal(drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED).planned, 0);
    assert_int_equal(drop_highest(&f), 3);
    fixture_teardown(&f);
}

static void a_uidl_that_comes_back_for_another_message_is_archived(void **state)
{
    static const struct drop_line other[] = {{"a", "fresh"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    drop_delete_all(&f, three, 1, DELETION_ACCEPTED);
    struct drop_result r = drop_fetch(&f, other, 1); /* of the same size */
    assert_int_equal(r.archived, 1);
    assert_int_equal(r.session.flags & SESSION_REUSED, SESSION_REUSED);
    assert_int_equal(drop_highest(&f), 2);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ABSENT);
    assert_int_equal(drop_fetch(&f, other, 1).known, 1);
    assert_int_equal(drop_state_of(&f, 1), DELETION_CONFIRMED);
    fixture_teardown(&f);
}

/* Q8: the server was rebuilt between two polls, and nothing shows it but the bytes. */
static void a_number_reused_while_listed_is_found_before_anything_is_deleted(void **state)
{
    static const struct drop_line before[] = {{"17", "first"}, {"18", "other"}};
    static const struct drop_line after[] = {{"17", "fresh"}, {"18", "other"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, before, 2);
    assert_int_equal(drop_fetch(&f, after, 2).known, 2); /* it cannot be seen */
    struct drop_result r = drop_delete_all(&f, after, 2, DELETION_ACCEPTED);
    assert_int_equal(r.archived, 1);
    assert_int_equal(r.planned, 1);
    assert_int_equal(drop_highest(&f), 3);
    assert_int_equal(drop_state_of(&f, 1), DELETION_NONE);
    assert_int_equal(drop_state_of(&f, 2), DELETION_ACCEPTED);
    fixture_teardown(&f);
}

static void a_message_that_vanished_and_returns_is_looked_at_again(void **state)
{
    static const struct drop_line gone[] = {{"b", "second"}, {"c", "third one"}};
    static const struct drop_line again[] = {
        {"a", "fresh"}, {"b", "second"}, {"c", "third one"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    struct drop_result r = drop_fetch(&f, gone, 2);
    assert_int_equal(r.session.vanished, 1);
    r = drop_fetch(&f, again, 3);
    assert_int_equal(r.known, 2);
    assert_int_equal(r.archived, 1);
    assert_int_equal(drop_highest(&f), 4);
    assert_int_equal(drop_fetch(&f, again, 3).known, 3);
    fixture_teardown(&f);
}

/* What the session's limit left is still doubted in the next. */
static void a_doubt_that_was_not_settled_stays(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_fetch(&f, three + 1, 2);
    assert_int_equal(drop_fetch_some(&f, three, 3, true, 0).known, 2);
    assert_int_equal(drop_fetch_some(&f, three, 3, true, 0).known, 2);
    assert_int_equal(drop_fetch(&f, three, 3).again, 1);
    assert_int_equal(drop_fetch(&f, three, 3).known, 3);
    fixture_teardown(&f);
}

/* Q21: what was listed before is not concerned, nor what came twice. */
static void what_came_in_a_suspect_session_is_looked_at_again(void **state)
{
    (void)state;
    for (int trusted = 0; trusted <= 1; trusted++) {
        struct fixture f;
        struct drop_result r = {.session = {.listed = 3, .trusted = (uint8_t)trusted}};
        fixture_setup(&f);
        drop_fetch(&f, three, 1);
        struct intake *in = fixture_open_intake(&f, DROP_ACCOUNT);
        for (size_t i = 0; i < 3; i++)
            (void)intake_judge(in, span_text(three[i].uidl), strlen(three[i].body));
        intake_listed(in, trusted != 0);
        drop_fetch_line(in, &three[1], &r);
        drop_fetch_line(in, &three[2], &r);
        intake_suspect(in);
        drop_close(&f, in, &r);
        r = drop_fetch(&f, three, 3);
        assert_int_equal(r.known, 1);
        assert_int_equal(r.again, 2);
        assert_int_equal(drop_fetch(&f, three, 3).known, 3);
        assert_int_equal(drop_highest(&f), 3);
        fixture_teardown(&f);
    }
}

static void an_ambiguous_uidl_is_not_deleted(void **state)
{
    static const struct drop_line twice[] = {
        {"a", "first"}, {"a", "other one"}, {"b", "x"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, twice, 3);
    assert_int_equal(drop_highest(&f), 3);
    struct drop_result r = drop_fetch(&f, twice, 3);
    assert_int_equal(r.known, 3);
    assert_int_equal(r.deletable, 1);
    assert_int_equal(drop_delete_all(&f, twice, 3, DELETION_ACCEPTED).planned, 1);
    assert_int_equal(drop_state_of(&f, 3), DELETION_ACCEPTED);
    fixture_teardown(&f);
}

/* Its bytes came under another listed size, and were known: SEEN holds that, too. */
static void a_message_listed_with_two_sizes_by_turns_is_not_ambiguous(void **state)
{
    enum intake_result result = INTAKE_ARCHIVED;
    struct fixture f;
    struct drop_result r = {.session = {.listed = 1, .trusted = 1}};
    const char *body = three[0].body;
    size_t size = strlen(body);
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    struct intake *in = fixture_open_intake(&f, DROP_ACCOUNT);
    assert_int_equal(intake_judge(in, span_text("a"), size + 1), INTAKE_WANTED);
    intake_listed(in, true);
    assert_int_equal(intake_begin(in, span_text("a"), size + 1), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)body, size), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
    assert_int_equal(result, INTAKE_DEDUPLICATED);
    drop_close(&f, in, &r);
    assert_int_equal(drop_fetch(&f, three, 1).deletable, 1);
    fixture_teardown(&f);
}

/* One line is known, the second one new. */
static void a_uidl_listed_twice_is_ambiguous_also_when_one_is_unknown(void **state)
{
    static const struct drop_line twice[] = {{"a", "first"}, {"a", "forged!"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, twice, 1);
    assert_int_equal(drop_delete_all(&f, twice, 2, DELETION_ACCEPTED).planned, 0);
    fixture_teardown(&f);
}

/* Q31, Q9: nothing but equal bytes has shown that the new UIDL or size means it. */
static void a_message_known_by_its_bytes_is_compared(void **state)
{
    static const struct drop_line before[] = {{"a", "first"}, {"b", "second"}};
    static const struct drop_line moved[] = {{"a2", "first"}, {"b", "second"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, before, 2);
    assert_int_equal(drop_fetch(&f, moved, 2).deduplicated, 1);
    struct drop_result r = drop_delete_all(&f, moved, 2, DELETION_ACCEPTED);
    assert_int_equal(r.compared, 1);
    assert_int_equal(r.planned, 2);
    fixture_teardown(&f);
}

/* Sessions that end before they send DELE may be many. */
static void an_attempt_that_sent_nothing_does_not_count(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    for (unsigned i = 0; i < DELETION_ATTEMPTS_MAX + 1; i++)
        assert_int_equal(drop_delete_all(&f, three, 3, DELETION_UNSENT).planned, 3);
    for (unsigned i = 0; i < DELETION_ATTEMPTS_MAX; i++)
        assert_int_equal(drop_delete_all(&f, three, 3, DELETION_REFUSED).planned, 3);
    assert_int_equal(drop_delete_all(&f, three, 3, DELETION_REFUSED).planned, 0);
    fixture_teardown(&f);
}

/* The new one comes first, and has another size. */
static void a_uidl_listed_twice_is_ambiguous_in_any_order(void **state)
{
    static const struct drop_line twice[] = {{"a", "forged, and longer"}, {"a", "first"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, twice + 1, 1);
    assert_int_equal(drop_delete_all(&f, twice, 2, DELETION_ACCEPTED).planned, 0);
    fixture_teardown(&f);
}

/* Q6, Q8: whatever its size was. */
static void a_uidl_that_has_meant_another_message_is_compared(void **state)
{
    static const struct drop_line twice[] = {{"a", "longer than the other"},
                                             {"a", "first"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, twice, 2);
    drop_fetch(&f, twice + 1, 1);
    struct drop_result r = drop_delete_all(&f, twice + 1, 1, DELETION_ACCEPTED);
    assert_int_equal(r.compared, 1);
    assert_int_equal(r.planned, 1);
    fixture_teardown(&f);
}

static void another_size_is_another_message(void **state)
{
    static const struct drop_line grown[] = {{"a", "first and more"}};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    assert_int_equal(drop_delete_all(&f, grown, 1, DELETION_ACCEPTED).planned, 0);
    struct drop_result r = drop_fetch(&f, grown, 1);
    assert_int_equal(r.archived, 1);
    assert_int_equal(r.session.flags & SESSION_REUSED, SESSION_REUSED);
    fixture_teardown(&f);
}

static void a_clock_behind_the_archive_deletes_nothing(void **state)
{
    struct fixture f;
    struct drop_result r = {.session = {.listed = 1, .trusted = 1}};
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    struct intake *in = fixture_open_intake(&f, DROP_ACCOUNT);
    assert_false(intake_may_delete(in, INT64_MAX, INT64_C(1700000000000000)));
    intake_judge(in, span_text("a"), strlen("first"));
    assert_int_equal(intake_offer(in, 1), INTAKE_KEEP);
    intake_listed(in, true);
    assert_int_equal(intake_deletable(in), 0);
    drop_close(&f, in, &r);
    fixture_teardown(&f);
}

static void a_server_that_gives_other_bytes_each_time_fills_no_archive(void **state)
{
    static const char *const bodies[] = {"aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        const struct drop_line line = {"7", bodies[i]};
        drop_fetch(&f, &line, 1);
        assert_int_equal(drop_delete_all(&f, &line, 1, DELETION_ACCEPTED).planned, i == 0);
        if (i == 0)
            drop_fetch(&f, &line, 1); /* it was not deleted after all */
    }
    assert_int_equal(drop_highest(&f), DELETION_MEANINGS_MAX + 1);
    fixture_teardown(&f);
}

static void an_attempt_that_came_to_no_end_does_not_count(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    for (unsigned i = 0; i < 2 * DELETION_ATTEMPTS_MAX; i++) {
        assert_int_equal(drop_delete_all(&f, three, 1, DELETION_UNKNOWN).planned, 1);
        drop_fetch(&f, three, 1);
        assert_int_equal(drop_state_of(&f, 1), DELETION_UNDONE);
    }
    assert_int_equal(drop_delete_all(&f, three, 1, DELETION_ACCEPTED).planned, 1);
    fixture_teardown(&f);
}

/* Nor does it if it was the last that was left. */
static void an_attempt_that_came_to_no_end_leaves_the_last_one(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 1);
    for (unsigned i = 1; i < DELETION_ATTEMPTS_MAX; i++) {
        drop_delete_all(&f, three, 1, DELETION_ACCEPTED);
        drop_fetch(&f, three, 1);
    }
    assert_int_equal(drop_delete_all(&f, three, 1, DELETION_UNKNOWN).planned, 1);
    drop_fetch(&f, three, 1);
    assert_int_equal(drop_fetch(&f, three, 1).deletable, 1);
    assert_int_equal(drop_delete_all(&f, three, 1, DELETION_ACCEPTED).planned, 1);
    drop_fetch(&f, three, 1);
    assert_int_equal(drop_fetch(&f, three, 1).deletable, 0);
    assert_int_equal(drop_delete_all(&f, three, 1, DELETION_ACCEPTED).planned, 0);
    fixture_teardown(&f);
}

/* A report of one size each day, the only message of its mailbox. */
static void a_number_may_be_reused_for_ever_if_each_message_was_deleted(void **state)
{
    static const char *const bodies[] = {"aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"};
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        const struct drop_line line = {"1", bodies[i]};
        drop_fetch(&f, &line, 1);
        assert_int_equal(drop_delete_all(&f, &line, 1, DELETION_ACCEPTED).planned, 1);
    }
    assert_int_equal(drop_highest(&f), 6);
    fixture_teardown(&f);
}

static void a_session_deletes_up_to_its_cap(void **state)
{
    struct deletion_plan plan = {0};
    struct deletion_item item = {.n = 1};
    (void)state;
    for (unsigned i = 0; i < DELETIONS_PER_SESSION; i++)
        assert_int_equal(deletion_plan_add(&plan, &item, span_text("u")), 0);
    assert_false(plan.more);
    assert_int_equal(deletion_plan_add(&plan, &item, span_text("u")), ERR_TOO_LARGE);
    assert_true(plan.more);
    assert_int_equal(plan.count, DELETIONS_PER_SESSION);
    deletion_plan_free(&plan);
}

static void the_journal_is_rebuilt_and_survives_repacking_order(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_delete_some(&f, three, 3, 2, DELETION_ACCEPTED);
    drop_fetch(&f, three + 2, 1);
    fixture_close(&f);
    assert_int_equal(fixture_try_open(&f, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ABSENT);
    drop_fetch(&f, three + 2, 1);
    assert_int_equal(drop_state_of(&f, 2), DELETION_CONFIRMED);
    assert_int_equal(fixture_verify(&f, false).index_differences, 0);
    fixture_teardown(&f);
}

static enum deletion_verdict verdict(uint8_t flags, const char *uidl, uint8_t attempt,
                                     int64_t before_us)
{
    const char *why = NULL;
    const struct message_meta m = {.n = 1, .flags = flags, .fetched_us = 1000};
    const struct deletion_case c = {.message = &m,
                                    .uidl = span_text(uidl),
                                    .deletion = {.attempt = attempt},
                                    .archived_before_us = before_us};
    return deletion_verdict(&c, &why);
}

static void bytes_that_change_are_compared_less_and_less_often(void **state)
{
    const struct message_meta m = {.n = 1, .fetched_us = 1000};
    struct deletion_case c = {.message = &m,
                              .uidl = span_text("abc"),
                              .shared_uidl = true,
                              .meanings = DELETION_MEANINGS_MAX,
                              .newest_us = 1000,
                              .now_us = 1000,
                              .archived_before_us = INT64_MAX};
    const char *why = NULL;
    (void)state;
    assert_int_equal(deletion_verdict(&c, &why), DELETION_COMPARE);
    c.meanings += 2;
    c.now_us += 2 * DELETION_MEANING_US - 1;
    assert_int_equal(deletion_verdict(&c, &why), DELETION_LATER);
    c.now_us++;
    assert_int_equal(deletion_verdict(&c, &why), DELETION_COMPARE);
}

static void each_message_is_judged_by_what_is_known_of_it(void **state)
{
    (void)state;
    assert_int_equal(verdict(0, "abc", 0, INT64_MAX), DELETION_MAY);
    assert_int_equal(verdict(0, "abc", 0, 1000), DELETION_MAY);
    assert_int_equal(verdict(0, "abc", 0, 999), DELETION_LATER);
    assert_int_equal(verdict(0, "123", 0, INT64_MAX), DELETION_COMPARE);
    assert_int_equal(verdict(0, "12a", 0, INT64_MAX), DELETION_MAY);
    assert_int_equal(verdict(MESSAGE_SHORT, "abc", 0, INT64_MAX), DELETION_COMPARE);
    assert_int_equal(verdict(MESSAGE_UNTRUSTED, "abc", 0, INT64_MAX), DELETION_COMPARE);
    assert_int_equal(verdict(MESSAGE_FORGEABLE, "abc", 0, INT64_MAX), DELETION_COMPARE);
    assert_int_equal(verdict(MESSAGE_STAND_IN, "abc", 0, INT64_MAX), DELETION_KEEP);
    assert_int_equal(verdict(MESSAGE_NO_UIDL, "abc", 0, INT64_MAX), DELETION_KEEP);
    assert_int_equal(verdict(0, "abc", DELETION_ATTEMPTS_MAX, INT64_MAX), DELETION_KEEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_back_is_looked_at_and_deleted_again),
        cmocka_unit_test(a_uidl_that_comes_back_for_another_message_is_archived),
        cmocka_unit_test(a_number_reused_while_listed_is_found_before_anything_is_deleted),
        cmocka_unit_test(a_message_that_vanished_and_returns_is_looked_at_again),
        cmocka_unit_test(a_doubt_that_was_not_settled_stays),
        cmocka_unit_test(what_came_in_a_suspect_session_is_looked_at_again),
        cmocka_unit_test(an_ambiguous_uidl_is_not_deleted),
        cmocka_unit_test(a_message_listed_with_two_sizes_by_turns_is_not_ambiguous),
        cmocka_unit_test(a_uidl_listed_twice_is_ambiguous_also_when_one_is_unknown),
        cmocka_unit_test(a_message_known_by_its_bytes_is_compared),
        cmocka_unit_test(an_attempt_that_sent_nothing_does_not_count),
        cmocka_unit_test(a_uidl_listed_twice_is_ambiguous_in_any_order),
        cmocka_unit_test(a_uidl_that_has_meant_another_message_is_compared),
        cmocka_unit_test(another_size_is_another_message),
        cmocka_unit_test(a_clock_behind_the_archive_deletes_nothing),
        cmocka_unit_test(a_server_that_gives_other_bytes_each_time_fills_no_archive),
        cmocka_unit_test(an_attempt_that_came_to_no_end_does_not_count),
        cmocka_unit_test(an_attempt_that_came_to_no_end_leaves_the_last_one),
        cmocka_unit_test(a_number_may_be_reused_for_ever_if_each_message_was_deleted),
        cmocka_unit_test(a_session_deletes_up_to_its_cap),
        cmocka_unit_test(the_journal_is_rebuilt_and_survives_repacking_order),
        cmocka_unit_test(each_message_is_judged_by_what_is_known_of_it),
        cmocka_unit_test(bytes_that_change_are_compared_less_and_less_often),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
