#include "daemon/marks.h"

#include "tests/support/config_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS                                        \
    "[archive]\npath = /a\n"                           \
    "[server one]\nhost = one.example\npassword = p\n" \
    "[server two]\nhost = two.example\npassword = p\n"

static uint32_t account(const struct config *config, const char *name)
{
    const struct config_account *found = config_find_account(config, name);
    assert_non_null(found);
    return (uint32_t)(found - config->accounts);
}

static struct marks *new_marks(const struct config *config)
{
    struct marks *m = NULL;
    assert_int_equal(marks_new(config, &m), 0);
    return m;
}

static struct config *three_accounts(void **state)
{
    return files_load_text(*state, SERVERS "[account a]\nserver = one\nuser = u\n"
                                           "[account b]\nserver = one\nuser = v\n"
                                           "[account c]\nserver = two\nuser = u\n");
}

static void a_servers_marks_hold_for_all_its_accounts(void **state)
{
    struct config *config = three_accounts(state);
    struct marks *m = new_marks(config);
    struct pool_marks marks = {.trouble = 7, .trouble_count = 2};
    marks.pop3.no_capa = true;
    marks.pop3.login_delay_s = 60;
    marks_put(m, account(config, "a"), &marks);

    struct pool_marks out;
    marks_get(m, account(config, "a"), &out);
    assert_true(out.pop3.no_capa);
    assert_false(out.pop3.window_one);
    assert_int_equal(out.pop3.login_delay_s, 60);
    assert_int_equal(out.trouble, 7);
    assert_int_equal(out.trouble_count, 2);
    marks_get(m, account(config, "b"), &out);
    assert_true(out.pop3.no_capa);
    assert_int_equal(out.pop3.login_delay_s, 0);
    assert_int_equal(out.trouble, 0);
    marks_get(m, account(config, "c"), &out);
    assert_false(out.pop3.no_capa);
    marks_free(m);
    config_free(config);
}

static void a_session_that_began_before_does_not_clear_them(void **state)
{
    struct config *config = three_accounts(state);
    struct marks *m = new_marks(config);
    struct pool_marks marks = {.trouble = 0};
    marks.pop3.window_one = true;
    marks_put(m, account(config, "a"), &marks);
    marks.pop3.window_one = false;
    marks_put(m, account(config, "b"), &marks);
    struct pool_marks out;
    marks_get(m, account(config, "a"), &out);
    assert_true(out.pop3.window_one);
    marks_free(m);
    config_free(config);
}

/* The session under way still believes in what it was given. */
static void a_listing_that_is_asked_for_is_that_of_the_next_session(void **state)
{
    struct config *config = three_accounts(state);
    struct marks *m = new_marks(config);
    uint32_t a = account(config, "a"), b = account(config, "b");
    struct pool_marks marks = {.run.glance.lsn = 7}, out;
    marks_put(m, a, &marks);
    marks_put(m, b, &marks);
    marks_get(m, a, &out);
    assert_int_equal(out.run.glance.lsn, 7);
    marks_ask_listing(m, a);
    marks_put(m, a, &out);
    marks_get(m, a, &out);
    assert_int_equal(out.run.glance.lsn, 0);
    marks_put(m, a, &marks);
    marks_get(m, a, &out);
    assert_int_equal(out.run.glance.lsn, 7);
    marks_get(m, b, &out);
    assert_int_equal(out.run.glance.lsn, 7);
    marks_free(m);
    config_free(config);
}

/* Those that no record has yet. */
static int take_run(void *arg, uint32_t account, const struct pool_run *run)
{
    uint64_t *polls = arg;
    (void)account;
    *polls += run->complete.count + run->unlisted.count;
    return 0;
}

static void polls_that_did_not_list_are_written_down_too(void **state)
{
    struct config *config = three_accounts(state);
    struct marks *m = new_marks(config);
    struct pool_marks marks = {.run.unlisted.count = 3};
    uint64_t polls = 0;
    marks_put(m, account(config, "a"), &marks);
    marks.run.complete.count = 2;
    marks_put(m, account(config, "b"), &marks);
    marks_each_run(m, take_run, &polls);
    assert_int_equal(polls, 8);
    marks_each_run(m, take_run, &polls);
    assert_int_equal(polls, 8);
    marks_free(m);
    config_free(config);
}

/* Put a mark on everything, reload with this text, and look at account a of the new one. */
static void after_reload(void **state, const char *text, bool server_kept,
                         bool mailbox_kept)
{
    struct config *before = three_accounts(state);
    struct marks *old = new_marks(before);
    struct pool_marks marks = {.trouble_count = 1};
    marks.pop3.no_capa = true;
    marks.pop3.no_glance = true;
    marks.run.glance.lsn = 7;
    marks.run.begun = true;
    for (uint32_t i = 0; i < before->account_count; i++)
        marks_put(old, i, &marks);

    struct config *after = files_load_text(*state, text);
    struct marks *m = new_marks(after);
    marks_adopt(m, old);
    struct pool_marks out;
    marks_get(m, account(after, "a"), &out);
    assert_int_equal(out.pop3.no_capa, server_kept);
    assert_int_equal(out.trouble_count, mailbox_kept);
    assert_int_equal(out.run.begun, mailbox_kept);
    assert_int_equal(out.run.glance.lsn, 0); /* it is listed, and may be glanced at anew */
    assert_false(out.pop3.no_glance);
    marks_free(m);
    marks_free(old);
    config_free(after);
    config_free(before);
}

static void a_reload_keeps_what_still_holds(void **state)
{
    /* An account more in front: the numbers change. */
    after_reload(state,
                 SERVERS "[account 0]\nserver = two\nuser = x\n"
                         "[account a]\nserver = one\nuser = u\n",
                 true, true);
    after_reload(state, SERVERS "[account a]\nserver = one\nuser = other\n", true, false);
    after_reload(state,
                 "[archive]\npath = /a\n[server one]\nhost = new.example\npassword = p\n"
                 "[account a]\nserver = one\nuser = u\n",
                 false, false);
    after_reload(state,
                 "[archive]\npath = /a\n[server one]\nhost = one.example\nport = 1995\n"
                 "password = p\n[account a]\nserver = one\nuser = u\n",
                 false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_servers_marks_hold_for_all_its_accounts),
        cmocka_unit_test(a_session_that_began_before_does_not_clear_them),
        cmocka_unit_test(a_listing_that_is_asked_for_is_that_of_the_next_session),
        cmocka_unit_test(polls_that_did_not_list_are_written_down_too),
        cmocka_unit_test(a_reload_keeps_what_still_holds),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
