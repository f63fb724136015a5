/* What a maildrop's listings show of deletions, and which of them are believed. */
#include "tests/support/table_drop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const struct drop_line three[] = {
    {"a", "first"}, {"b", "second"}, {"c", "third one"}};

static void a_deletion_is_confirmed_by_two_later_listings(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    assert_int_equal(drop_fetch(&f, three, 3).deletable, 0); /* just fetched */
    assert_int_equal(drop_fetch(&f, three, 3).deletable, 3);
    struct drop_result r = drop_delete_some(&f, three, 3, 2, DELETION_ACCEPTED);
    assert_int_equal(r.planned, 2);
    assert_int_equal(r.session.deleted, 2);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ACCEPTED);
    assert_int_equal(drop_state_of(&f, 3), DELETION_NONE);
    r = drop_fetch(&f, three + 2, 1);
    assert_int_equal(r.session.vanished, 0);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ABSENT);
    drop_fetch(&f, three + 2, 1);
    assert_int_equal(drop_state_of(&f, 1), DELETION_CONFIRMED);
    assert_int_equal(drop_state_of(&f, 2), DELETION_CONFIRMED);
    fixture_teardown(&f);
}

/* Its own listing came before its DELEs. */
static void a_delete_session_confirms_nothing_of_its_own(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_delete_all(&f, three, 3, DELETION_ACCEPTED);
    assert_int_equal(drop_state_of(&f, 2), DELETION_ACCEPTED);
    fixture_teardown(&f);
}

static void absence_from_an_untrusted_listing_confirms_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_delete_some(&f, three, 3, 1, DELETION_UNKNOWN);
    drop_fetch_some(&f, three + 1, 2, false, DROP_LINES_MAX);
    drop_fetch_some(&f, three + 1, 2, false, DROP_LINES_MAX);
    assert_int_equal(drop_state_of(&f, 1), DELETION_UNKNOWN);
    fixture_teardown(&f);
}

static void a_poll_is_quiet_if_nothing_at_all_has_changed(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    assert_false(drop_fetch(&f, three, 3).quiet);
    assert_true(drop_fetch(&f, three, 3).quiet);
    assert_false(drop_fetch_some(&f, three, 3, false, DROP_LINES_MAX).quiet);
    assert_false(drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED).quiet);
    assert_false(drop_fetch(&f, three + 1, 2).quiet); /* absent */
    assert_false(drop_fetch(&f, three + 1, 2).quiet); /* confirmed */
    assert_true(drop_fetch(&f, three + 1, 2).quiet);
    fixture_teardown(&f);
}

static void an_untrusted_listing_deletes_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    assert_int_equal(drop_fetch_some(&f, three, 3, false, DROP_LINES_MAX).deletable, 0);
    fixture_teardown(&f);
}

static void make_lines(struct drop_line *lines, char (*text)[2][32], size_t count,
                       const char *name)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(text[i][0], sizeof(text[i][0]), "%s-%u", name, (unsigned)i);
        snprintf(text[i][1], sizeof(text[i][1]), "message %u", (unsigned)i);
        lines[i] = (struct drop_line){text[i][0], text[i][1]};
    }
}

/* Q7 */
static void new_uidls_for_old_messages_store_nothing_twice(void **state)
{
    struct fixture f;
    struct drop_line before[100], after[100];
    char old[100][2][32], new[100][2][32];
    (void)state;
    make_lines(before, old, 100, "old");
    make_lines(after, new, 100, "new");
    fixture_setup(&f);
    drop_fetch(&f, before, 100);
    struct drop_result r = drop_fetch_some(&f, after, 100, true, 40);
    assert_int_equal(r.deduplicated, 40);
    assert_int_equal(r.deletable, 0);
    assert_int_equal(r.session.flags & (SESSION_RENUMBERED | SESSION_DOUBTED),
                     SESSION_RENUMBERED | SESSION_DOUBTED);
    r = drop_fetch(&f, after, 100);
    assert_int_equal(r.deduplicated, 60);
    assert_int_equal(r.deletable, 0);
    assert_int_equal(r.session.flags & (SESSION_RENUMBERED | SESSION_DOUBTED),
                     SESSION_RENUMBERED);
    assert_int_equal(drop_highest(&f), 100);
    r = drop_fetch(&f, after, 100); /* all is quiet again */
    assert_int_equal(r.known, 100);
    assert_int_equal(r.session.flags & SESSION_RENUMBERED, 0);
    assert_int_equal(r.deletable, 100);
    r = drop_delete_all(&f, after, 100, DELETION_ACCEPTED);
    assert_int_equal(r.compared, 100); /* but no UIDL here is believed any more */
    fixture_teardown(&f);
}

/* Q13 */
static void a_passing_empty_listing_changes_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    drop_delete_some(&f, three, 3, 1, DELETION_ACCEPTED);
    struct drop_result r = drop_fetch(&f, three, 0);
    assert_int_equal(r.session.flags & SESSION_DOUBTED, SESSION_DOUBTED);
    assert_int_equal(r.session.doubts, 1);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ACCEPTED);
    r = drop_fetch(&f, three + 1, 2);
    assert_int_equal(r.known, 2);
    assert_int_equal(r.session.doubts, 0);
    assert_int_equal(drop_state_of(&f, 1), DELETION_ABSENT);
    fixture_teardown(&f);
}

static void the_third_empty_listing_is_believed(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f);
    drop_fetch(&f, three, 3);
    assert_int_equal(drop_fetch(&f, three, 0).session.doubts, 1);
    assert_int_equal(drop_fetch(&f, three, 0).session.doubts, 2);
    struct drop_result r = drop_fetch(&f, three, 0);
    assert_int_equal(r.session.flags & SESSION_NAMES, SESSION_NAMES);
    assert_int_equal(drop_fetch(&f, three, 0).session.flags & SESSION_DOUBTED, 0);
    assert_int_equal(drop_fetch(&f, three, 3).again, 3);
    fixture_teardown(&f);
}

/* Q44: a window on the newest 150, out of which new mail pushes the old. */
static void a_window_on_a_larger_mailbox_confirms_nothing(void **state)
{
    struct fixture f;
    struct drop_line lines[160];
    char text[160][2][32];
    (void)state;
    make_lines(lines, text, 160, "u");
    fixture_setup(&f);
    drop_fetch(&f, lines, 150);
    drop_delete_all(&f, lines, 150, DELETION_ACCEPTED);
    for (size_t i = 1; i <= 5; i++) {
        drop_fetch(&f, lines + i * 2, 150);
        assert_int_equal(drop_state_of(&f, 1), DELETION_ACCEPTED);
    }
    fixture_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deletion_is_confirmed_by_two_later_listings),
        cmocka_unit_test(a_delete_session_confirms_nothing_of_its_own),
        cmocka_unit_test(absence_from_an_untrusted_listing_confirms_nothing),
        cmocka_unit_test(a_poll_is_quiet_if_nothing_at_all_has_changed),
        cmocka_unit_test(an_untrusted_listing_deletes_nothing),
        cmocka_unit_test(new_uidls_for_old_messages_store_nothing_twice),
        cmocka_unit_test(a_passing_empty_listing_changes_nothing),
        cmocka_unit_test(the_third_empty_listing_is_believed),
        cmocka_unit_test(a_window_on_a_larger_mailbox_confirms_nothing),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
