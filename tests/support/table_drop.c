#include "tests/support/table_drop.h"

#include "archive/deletion.h"
#include "archive/index_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void drop_close(struct fixture *f, struct intake *in, struct drop_result *r)
{
    assert_int_equal(intake_flush(in), 0);
    assert_int_equal(store_commit(f->archive), 0);
    assert_int_equal(intake_conclude(in, &r->session, &r->quiet), 0);
    assert_int_equal(intake_session(in, &r->session), 0);
    r->session.named = (struct span){0};
    assert_int_equal(store_commit(f->archive), 0);
    intake_close(in);
    lookup_rest(f->lookup);
}

void drop_fetch_line(struct intake *in, const struct drop_line *line, struct drop_result *r)
{
    enum intake_result result = INTAKE_ARCHIVED;
    size_t size = strlen(line->body);
    assert_int_equal(intake_begin(in, span_text(line->uidl), size), 0);
    assert_int_equal(intake_add(in, (const uint8_t *)line->body, size), 0);
    assert_int_equal(intake_end(in, 0, &result), 0);
    r->archived += result == INTAKE_ARCHIVED;
    r->deduplicated += result == INTAKE_DEDUPLICATED;
    r->again += result == INTAKE_AGAIN;
}

struct drop_result drop_fetch_some(struct fixture *f, const struct drop_line *lines,
                                   size_t count, bool trusted, size_t limit)
{
    struct drop_result r = {
        .session = {.listed = count, .trusted = trusted, .began_us = 1}};
    bool wanted[DROP_LINES_MAX];
    struct intake *in = fixture_open_intake(f, DROP_ACCOUNT);
    assert_true(intake_may_delete(in, INT64_MAX, INT64_MAX - INTAKE_CLOCK_SLACK_US));
    for (size_t i = 0; i < count; i++) {
        wanted[i] = intake_judge(in, span_text(lines[i].uidl), strlen(lines[i].body)) ==
                    INTAKE_WANTED;
        r.known += !wanted[i];
    }
    intake_listed(in, trusted);
    for (size_t i = 0; i < count && limit > 0; i++)
        if (wanted[i]) {
            drop_fetch_line(in, &lines[i], &r);
            limit--;
        }
    r.deletable = intake_deletable(in);
    drop_close(f, in, &r);
    return r;
}

struct drop_result drop_fetch(struct fixture *f, const struct drop_line *lines,
                              size_t count)
{
    return drop_fetch_some(f, lines, count, true, DROP_LINES_MAX);
}

struct drop_result drop_delete_some(struct fixture *f, const struct drop_line *lines,
                                    size_t count, size_t may, enum deletion_state state)
{
    struct drop_result r = {
        .session = {
            .listed = count, .trusted = 1, .began_us = 1, .flags = SESSION_DELETES}};
    bool compare[DROP_LINES_MAX] = {false};
    struct intake *in = fixture_open_intake(f, DROP_ACCOUNT);
    assert_true(intake_may_delete(in, INT64_MAX, INT64_MAX - INTAKE_CLOCK_SLACK_US));
    for (size_t i = 0; i < count; i++)
        if (intake_judge(in, span_text(lines[i].uidl), strlen(lines[i].body)) ==
                INTAKE_KNOWN &&
            i < may)
            compare[i] = intake_offer(in, (uint32_t)i + 1) == INTAKE_COMPARE;
    intake_listed(in, true);
    for (size_t i = 0; i < count; i++)
        if (compare[i])
            drop_fetch_line(in, &lines[i], &r);
    struct deletion_plan *plan = intake_plan(in);
    for (size_t i = 0; i < plan->count; i++) {
        plan->items[i].proven = true;
        r.compared += plan->items[i].compared;
    }
    assert_int_equal(intake_intend(in), 0);
    r.planned = (unsigned)plan->count;
    assert_int_equal(store_commit(f->archive), 0);
    for (size_t i = 0; i < plan->count; i++)
        plan->items[i].state = (uint8_t)state;
    drop_close(f, in, &r);
    return r;
}

struct drop_result drop_delete_all(struct fixture *f, const struct drop_line *lines,
                                   size_t count, enum deletion_state state)
{
    return drop_delete_some(f, lines, count, count, state);
}

enum deletion_state drop_state_of(struct fixture *f, uint64_t n)
{
    struct index_txn *t = NULL;
    struct account_info info;
    lookup_rest(f->lookup);
    assert_int_equal(archive_find_account(f->archive, DROP_ACCOUNT, &info), 0);
    assert_int_equal(lookup_txn(f->lookup, &t), 0);
    return row_deletion_state(t, info.number, 1, n);
}

uint64_t drop_highest(struct fixture *f)
{
    struct account_info info;
    assert_int_equal(archive_find_account(f->archive, DROP_ACCOUNT, &info), 0);
    return info.highest;
}
