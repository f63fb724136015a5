/* Which maildrops need no listing, as far as the archive knows: maildrop_settled() and
 * maildrop_comparable(). */
#include "archive/archive_internal.h"
#include "archive/damage.h"
#include "archive/error.h"
#include "tests/support/archive_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALICE "alice@example.com"
#define WINDOW 120

struct line {
    const char *uidl;
    const char *body;
};

struct result {
    bool quiet;
    uint64_t comparable;
    uint64_t deleted;
};

static const struct line three[] = {{"a", "first"}, {"b", "second"}, {"c", "third one"}};

static void fetch_line(struct intake *in, const struct line *line)
{
    enum intake_result result = INTAKE_ARCHIVED;
    size_t size = strlen(line->body);
    assert_int_equal(intake_begin(in, span_text(line->uidl), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)line->body, size), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
}

static void mark_accepted(struct fixture *f, struct intake *in)
{
    struct deletion_plan *plan = intake_plan(in);
    for (size_t i = 0; i < plan->count; i++)
        plan->items[i].proven = true;
    assert_int_equal(intake_intend(in), 0);
    assert_int_equal(store_commit(f->archive), 0);
    for (size_t i = 0; i < plan->count; i++)
        plan->items[i].state = DELETION_ACCEPTED;
}

/* fetch: what is wanted; delete the first so many. */
static struct result session(struct fixture *f, const struct line *lines, size_t count,
                             bool trusted, bool fetch, size_t delete)
{
    bool wanted[WINDOW];
    struct session_meta m = {.listed = count, .trusted = trusted, .began_us = 1};
    struct result r = {0};
    struct intake *in = fixture_open_intake(f, ALICE);
    assert_true(intake_may_delete(in, INT64_MAX, INT64_MAX - INTAKE_CLOCK_SLACK_US));
    for (size_t i = 0; i < count; i++) {
        wanted[i] = intake_judge(in, span_text(lines[i].uidl), strlen(lines[i].body)) ==
                    INTAKE_WANTED;
        if (i < delete)
            (void)intake_offer(in, (uint32_t)i + 1);
    }
    intake_listed(in, trusted);
    for (size_t i = 0; i < count; i++)
        if (wanted[i] && fetch)
            fetch_line(in, &lines[i]);
    mark_accepted(f, in);
    assert_int_equal(intake_conclude(in, &m, &r.quiet), 0);
    r.comparable = intake_comparable(in);
    r.deleted = m.deleted;
    assert_int_equal(intake_session(in, &m), 0);
    assert_int_equal(store_commit(f->archive), 0);
    intake_close(in);
    lookup_rest(f->lookup);
    return r;
}

static struct result fetch(struct fixture *f, const struct line *lines, size_t count)
{
    return session(f, lines, count, true, true, 0);
}

static uint64_t settled(struct fixture *f)
{
    struct intake *in = fixture_open_intake(f, ALICE);
    uint64_t lsn = intake_settled(in);
    intake_close(in);
    lookup_rest(f->lookup);
    return lsn;
}

static void a_maildrop_that_is_archived_whole_is_settled(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(settled(f), 0); /* never listed */
    fetch(f, three, 3);
    uint64_t lsn = settled(f);
    assert_int_not_equal(lsn, 0);
    struct result r = fetch(f, three, 3);
    assert_true(r.quiet);
    assert_int_equal(r.comparable, lsn);
    assert_true(settled(f) > lsn); /* it names the session whose listing it was */
    fetch(f, three, 0);
    fetch(f, three, 0);
    fetch(f, three, 0); /* believed by now (Q13) */
    assert_int_not_equal(fetch(f, three, 0).comparable, 0);
}

static void a_line_that_is_not_archived_is_not_compared_with(void **state)
{
    struct fixture *f = *state;
    fetch(f, three, 2);
    assert_int_equal(session(f, three, 3, true, false, 0).comparable, 0);
    assert_int_equal(fetch(f, three, 3).comparable, 0); /* it was not there when judged */
    assert_int_not_equal(fetch(f, three, 3).comparable, 0);
    const struct line among[] = {three[0], {"new", "x"}, three[1], three[2]};
    assert_int_equal(session(f, among, 4, true, false, 0).comparable, 0);
}

static void an_untrusted_listing_is_not_compared_with(void **state)
{
    struct fixture *f = *state;
    fetch(f, three, 3);
    assert_int_equal(session(f, three, 3, false, true, 0).comparable, 0);
}

/* What comes would stand before it, and not be seen. */
static void the_last_line_is_the_newest_message(void **state)
{
    static const struct line reversed[] = {
        {"c", "third one"}, {"b", "second"}, {"a", "first"}};
    static const struct line twins[] = {{"a", "first"}, {"b", "same"}, {"b", "same"}};
    struct fixture *f = *state;
    fetch(f, three, 3);
    assert_int_equal(fetch(f, reversed, 3).comparable, 0);
    assert_int_not_equal(fetch(f, three, 3).comparable, 0);
    fixture_teardown(f);
    fixture_setup(f);
    fetch(f, twins, 3);
    assert_int_equal(fetch(f, twins, 3).comparable, 0);
}

static void a_deletion_that_is_not_confirmed_wants_listings(void **state)
{
    struct fixture *f = *state;
    fetch(f, three, 3);
    assert_int_equal(session(f, three, 3, true, false, 1).deleted, 1);
    assert_int_equal(settled(f), 0); /* accepted */
    assert_int_equal(fetch(f, three + 1, 2).comparable, 0);
    assert_int_equal(settled(f), 0); /* absent */
    (void)fetch(f, three + 1, 2);
    assert_int_not_equal(settled(f), 0); /* confirmed */
    assert_int_not_equal(fetch(f, three + 1, 2).comparable, 0);
}

static void q7_q8_weak_uidls_want_listings(void **state)
{
    static const struct line reused[] = {{"a", "first"}, {"b", "another"}};
    struct fixture *f = *state;
    fetch(f, three, 2);
    assert_int_not_equal(settled(f), 0);
    fetch(f, reused, 2);
    assert_int_equal(settled(f), 0);
}

static void q13_a_doubted_listing_wants_listings(void **state)
{
    struct fixture *f = *state;
    fetch(f, three, 3);
    assert_int_equal(fetch(f, three + 2, 1).comparable, 0);
    assert_int_equal(settled(f), 0);
    fetch(f, three, 3);
    assert_int_not_equal(settled(f), 0);
}

static void q44_the_count_of_a_window_is_not_compared_with(void **state)
{
    static char uidls[WINDOW + 1][8];
    static struct line lines[WINDOW + 1];
    struct fixture *f = *state;
    for (size_t i = 0; i <= WINDOW; i++) {
        (void)snprintf(uidls[i], sizeof(uidls[i]), "m%zu", i);
        lines[i] = (struct line){.uidl = uidls[i], .body = uidls[i]};
    }
    fetch(f, lines, WINDOW - 1);
    assert_int_equal(session(f, lines, WINDOW - 1, true, false, 1).deleted, 1);
    /* One is gone, another has come into view. The deletion stays open for it. */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fetch(f, lines + 1, WINDOW - 1).comparable, 0);
    /* Fewer: it is confirmed. Then as many again. */
    for (unsigned i = 0; i < 3; i++)
        fetch(f, lines + 1, WINDOW - 2);
    assert_int_not_equal(fetch(f, lines + 1, WINDOW - 2).comparable, 0);
    fetch(f, lines + 1, WINDOW - 1);
    assert_int_not_equal(settled(f), 0);
    assert_int_equal(fetch(f, lines + 1, WINDOW - 1).comparable, 0);
}

static void damage_wants_listings_until_it_has_healed(void **state)
{
    struct fixture *f = *state;
    fetch(f, three, 3);
    struct damaged_message hurt = {.n = 2};
    struct account_info info;
    struct message_row row;
    struct index_txn *t = NULL;
    assert_int_equal(archive_find_account(f->archive, ALICE, &info), 0);
    hurt.account = info.number;
    assert_int_equal(index_begin_read(f->archive->index, &t), 0);
    assert_int_equal(row_get_message(t, info.number, 2, &row), 0);
    index_abort(t);
    hurt.place = row.place;
    assert_int_equal(damage_save(f->archive, &hurt, 1, NULL, 0), 0);
    assert_int_equal(settled(f), 0);
    hurt.place.offset++; /* its row leads elsewhere by now */
    assert_int_equal(damage_save(f->archive, &hurt, 1, NULL, 0), 0);
    assert_int_not_equal(settled(f), 0);
}

static void an_acknowledged_loss_wants_listings(void **state)
{
    struct fixture *f = *state;
    struct account_info info;
    fetch(f, three, 3);
    assert_int_equal(archive_find_account(f->archive, ALICE, &info), 0);
    const struct lost_meta lost = {
        .segment = 1, .first = 2, .last = 2, .reason = span_text("disk failed")};
    struct record *r = record_create(RECORD_LOST, info.number, 1);
    lost_meta_encode(&r->meta, &lost);
    assert_int_equal(record_prepare(r, NULL), 0);
    assert_int_equal(store_append(f->archive, r), 0);
    assert_int_equal(store_commit(f->archive), 0);
    assert_int_equal(settled(f), 0);
}

/* Neither complete polls nor listings. */
static void polls_that_did_not_list_are_evidence_of_nothing(void **state)
{
    struct fixture *f = *state;
    struct session_run_meta run = {.polls = 3, .first_us = 5, .last_us = INT64_MAX};
    struct account_info before, after;
    fetch(f, three, 3);
    fetch(f, three, 1); /* doubted */
    uint64_t lsn = settled(f);
    assert_int_equal(archive_find_account(f->archive, ALICE, &before), 0);
    struct intake *in = fixture_open_intake(f, ALICE);
    assert_int_equal(intake_run(in, RECORD_UNLISTED_RUN, &run), 0);
    assert_int_equal(store_commit(f->archive), 0);
    intake_close(in);
    assert_int_equal(archive_find_account(f->archive, ALICE, &after), 0);
    assert_int_equal(after.session_us, before.session_us);
    assert_int_equal(after.session_state, before.session_state);
    assert_int_equal(settled(f), lsn);
    struct verify_summary s = fixture_verify(f, false);
    assert_false(verify_found_damage(&s));
    char *said = fixture_dump(f);
    fixture_close(f);
    assert_int_equal(fixture_try_open(f, ARCHIVE_WRITE, true, NULL), 0);
    char *again = fixture_dump(f);
    assert_string_equal(said, again);
    free(said);
    free(again);
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_maildrop_that_is_archived_whole_is_settled),
        TEST(a_line_that_is_not_archived_is_not_compared_with),
        TEST(an_untrusted_listing_is_not_compared_with),
        TEST(the_last_line_is_the_newest_message),
        TEST(a_deletion_that_is_not_confirmed_wants_listings),
        TEST(q7_q8_weak_uidls_want_listings),
        TEST(q13_a_doubted_listing_wants_listings),
        TEST(q44_the_count_of_a_window_is_not_compared_with),
        TEST(damage_wants_listings_until_it_has_healed),
        TEST(an_acknowledged_loss_wants_listings),
        TEST(polls_that_did_not_list_are_evidence_of_nothing),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
