/* What an account's next session is: daemon/deletes.h. */
#include "daemon/deletes.h"

#include "tests/support/config_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SERVER "[server s]\nhost = h.example\npassword = p\n"
#define ALICE "[account a]\nserver = s\nuser = u\n"
#define ON "[archive]\npath = /a\ndeletes = on\n"
#define OFF "[archive]\npath = /a\ndeletes = off\n"

static struct deletes *new_deletes(const struct config *config)
{
    struct deletes *d = NULL;
    assert_int_equal(deletes_new(config, 1000, &d), 0);
    return d;
}

static struct session_end fetched(uint64_t deletable)
{
    return (struct session_end){
        .held = true, .kind = POOL_FETCH, .counts = {.deletable = deletable}};
}

static struct session_end deleted(uint64_t count, uint64_t left)
{
    return (struct session_end){
        .held = true, .kind = POOL_DELETE, .counts = {.deleted = count, .deletable = left}};
}

static void a_delete_session_follows_when_there_is_something_to_delete(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(0);
    assert_int_equal(deletes_kind(d, 0), POOL_FETCH);
    assert_false(deletes_ended(d, &end, 1));
    end = fetched(3);
    assert_true(deletes_ended(d, &end, 2));
    assert_int_equal(deletes_kind(d, 0), POOL_DELETE);
    end = deleted(3, 0);
    assert_false(deletes_ended(d, &end, 3));
    assert_int_equal(deletes_kind(d, 0), POOL_FETCH);
    deletes_free(d);
    config_free(c);
}

/* It has not looked for anything to delete, nor for new UIDLs (Q7). */
static void a_session_that_did_not_list_concludes_nothing(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(3), glance = fetched(0);
    glance.unlisted = true;
    end.renumbered = true;
    end.outcome.more = true;
    assert_false(deletes_ended(d, &end, 1));
    assert_false(deletes_ended(d, &glance, 2));
    end = fetched(3);
    assert_false(deletes_ended(d, &end, 3)); /* of the pass that met new UIDLs */
    assert_true(deletes_ended(d, &end, 4));
    deletes_free(d);
    config_free(c);
}

static void not_while_there_is_more_to_fetch(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(3);
    end.outcome.more = true;
    assert_false(deletes_ended(d, &end, 1));
    end = fetched(3);
    outcome_set(&end.outcome, SCOPE_MAILBOX, RETRY_BACKOFF, "cut");
    assert_false(deletes_ended(d, &end, 2));
    deletes_free(d);
    config_free(c);
}

static void a_pass_that_met_new_uidls_deletes_nothing(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(0);
    end.renumbered = end.outcome.more = true;
    assert_true(deletes_renumbered_news(d, &end));
    assert_false(deletes_ended(d, &end, 1));
    end = fetched(9);
    assert_false(deletes_renumbered_news(d, &end));
    assert_false(deletes_ended(d, &end, 2)); /* the same pass */
    assert_true(deletes_ended(d, &end, 3));
    deletes_free(d);
    config_free(c);
}

static void off_in_the_file_holds_at_once(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(3);
    assert_true(deletes_ended(d, &end, 1));
    files_write(*state, "c.ini", 0600, OFF SERVER ALICE "delete = archived\n");
    assert_false(deletes_on(d));
    assert_int_equal(deletes_kind(d, 0), POOL_FETCH);
    files_write(*state, "c.ini", 0600, ON "oops\n" SERVER);
    files_forget(*state, "c.ini");
    assert_false(deletes_on(d));
    deletes_free(d);
    config_free(c);
}

/* The rules that belong to it are those of the same file. */
static void on_needs_a_reload(void **state)
{
    struct config *c = files_load_text(*state, OFF SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    files_write(*state, "c.ini", 0600, ON SERVER ALICE "delete = never\n");
    assert_false(deletes_on(d));
    deletes_free(d);
    config_free(c);
}

static void sessions_that_fail_back_off(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end failed = deleted(0, 0), end = fetched(3);
    uint64_t now_ms = 1;
    outcome_set(&failed.outcome, SCOPE_MAILBOX, RETRY_BACKOFF, "QUIT is missing");
    for (uint64_t wait_ms = DELETES_BACKOFF_MS; wait_ms <= DELETES_AGAIN_MS; wait_ms *= 2) {
        assert_true(deletes_ended(d, &end, now_ms));
        assert_false(deletes_ended(d, &failed, now_ms));
        assert_false(deletes_ended(d, &end, now_ms + wait_ms - 1));
        now_ms += wait_ms;
    }
    assert_true(deletes_ended(d, &end, now_ms));
    assert_false(deletes_ended(d, &failed, now_ms));
    assert_true(deletes_ended(d, &end, now_ms + DELETES_AGAIN_MS)); /* at most */
    struct session_end good = deleted(3, 0);
    assert_false(deletes_ended(d, &good, now_ms));
    assert_true(deletes_ended(d, &end, now_ms));
    deletes_free(d);
    config_free(c);
}

static void what_could_not_be_deleted_is_left_for_a_day(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(3), more = fetched(4), nothing = deleted(0, 0);
    assert_true(deletes_ended(d, &end, 1));
    assert_false(deletes_ended(d, &nothing, 1));
    assert_false(deletes_ended(d, &end, 2));
    assert_true(deletes_ended(d, &more, 3)); /* something else may go */
    assert_false(deletes_ended(d, &nothing, 3));
    assert_false(deletes_ended(d, &more, 2 + DELETES_AGAIN_MS));
    assert_true(deletes_ended(d, &more, 3 + DELETES_AGAIN_MS));
    deletes_free(d);
    config_free(c);
}

static void a_session_left_over_some_and_another_follows(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = archived\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(1202), some = deleted(500, 702),
                       none = deleted(0, 202);
    assert_true(deletes_ended(d, &end, 1));
    assert_true(deletes_ended(d, &some, 2));
    assert_true(deletes_ended(d, &none, 3)); /* it goes on behind them */
    deletes_free(d);
    config_free(c);
}

static void a_clock_that_jumps_stops_deletion(void **state)
{
    struct config *c = files_load_text(*state, ON SERVER ALICE "delete = after 30d\n");
    struct deletes *d = new_deletes(c);
    struct session_end end = fetched(3);
    bool news = false;
    assert_true(deletes_clock_right(d, 1000 + DELETES_CLOCK_JUMP_S, &news));
    assert_true(deletes_clock_right(d, 1000 + 2 * DELETES_CLOCK_JUMP_S, &news));
    assert_string_equal(deletes_word(d), "on");
    assert_false(deletes_clock_right(d, 1000, &news));
    assert_true(news);
    assert_false(deletes_clock_right(d, 1000, &news));
    assert_false(news);
    assert_string_equal(deletes_word(d), "suspended");
    assert_false(deletes_ended(d, &end, 1));
    struct deletes *reloaded = new_deletes(c);
    deletes_adopt(reloaded, d);
    assert_string_equal(deletes_word(reloaded), "on");
    assert_true(deletes_ended(reloaded, &end, 1));
    deletes_free(reloaded);
    deletes_free(d);
    config_free(c);
}

static void the_rule_is_a_time(void **state)
{
    struct config *c = files_load_text(
        *state, ON SERVER ALICE "delete = after 30d\n[account b]\nserver = s\nuser = v\n"
                                "[account c]\nserver = s\nuser = w\ndelete = archived\n");
    struct deletes *d = new_deletes(c);
    int64_t day_us = INT64_C(86400000000);
    assert_true(deletes_before_us(d, 0, 40 * day_us) == 10 * day_us);
    assert_true(deletes_before_us(d, 1, 40 * day_us) == 0);
    assert_true(deletes_before_us(d, 2, 40 * day_us) == INT64_MAX);
    deletes_free(d);
    config_free(c);
}

static void a_mailbox_of_two_accounts_is_not_deleted_from(void **state)
{
    files_refused_text(
        *state, ON SERVER ALICE "[account b]\nserver = s\nuser = u\ndelete = archived\n",
        "c.ini:10: account 'b' may delete from the mailbox of account 'a', "
        "which may not have fetched it; allowed: delete = never for both, or "
        "one account for a mailbox");
    config_free(files_load_text(*state, ON SERVER ALICE
                                "[account b]\nserver = s\nuser = u2\ndelete = archived\n"));
    config_free(
        files_load_text(*state, ON SERVER ALICE "[account b]\nserver = s\nuser = u\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delete_session_follows_when_there_is_something_to_delete),
        cmocka_unit_test(a_session_that_did_not_list_concludes_nothing),
        cmocka_unit_test(not_while_there_is_more_to_fetch),
        cmocka_unit_test(a_pass_that_met_new_uidls_deletes_nothing),
        cmocka_unit_test(off_in_the_file_holds_at_once),
        cmocka_unit_test(on_needs_a_reload),
        cmocka_unit_test(sessions_that_fail_back_off),
        cmocka_unit_test(what_could_not_be_deleted_is_left_for_a_day),
        cmocka_unit_test(a_session_left_over_some_and_another_follows),
        cmocka_unit_test(a_clock_that_jumps_stops_deletion),
        cmocka_unit_test(the_rule_is_a_time),
        cmocka_unit_test(a_mailbox_of_two_accounts_is_not_deleted_from),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
