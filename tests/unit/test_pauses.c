/* What is paused, over a reload and over a restart; and that the scheduler holds it back.
 */
#include "daemon/pauses.h"

#include "archive/error.h"
#include "tests/support/config_files.h"
#include "tests/support/scheduler_world.h"

#include <string.h>

#define FILE_NAME "paused"
#define NOW_S ((int64_t)1800000000)
#define HEAD                                                               \
    "[archive]\npath = /a\n[server s]\nhost = pop.example\npassword = p\n" \
    "[server t]\nhost = pop.example\npassword = p\n[account a b]\nserver = s\n"

static struct pauses *new_pauses(const struct config *config)
{
    struct pauses *p = NULL;
    assert_int_equal(pauses_new(config, &p), 0);
    return p;
}

static void assert_paused(const struct pauses *p, uint32_t account, enum pause_scope by,
                          int64_t since_s)
{
    int64_t got_s = -1;
    assert_int_equal(pauses_of_account(p, account, &got_s), by);
    assert_int_equal(got_s, since_s);
}

static void each_pause_is_lifted_on_its_own(void **state)
{
    struct config *config = files_load_text(*state, HEAD "[account c]\nserver = t\n");
    struct pauses *p = new_pauses(config);
    assert_paused(p, 0, PAUSE_NONE, 0);
    pauses_begin(p, PAUSE_ALL, 0, 10);
    pauses_begin(p, PAUSE_SERVER, 0, 20);
    pauses_begin(p, PAUSE_ACCOUNT, 0, 30);
    pauses_begin(p, PAUSE_ACCOUNT, 0, 40); /* it is, since 30 */
    assert_paused(p, 0, PAUSE_ACCOUNT, 30);
    assert_paused(p, 1, PAUSE_ALL, 10);
    pauses_end(p, PAUSE_ACCOUNT, 0);
    assert_paused(p, 0, PAUSE_SERVER, 20);
    pauses_end(p, PAUSE_SERVER, 0);
    assert_paused(p, 0, PAUSE_ALL, 10);
    pauses_begin(p, PAUSE_SERVER, 1, 50);
    pauses_begin(p, PAUSE_ACCOUNT, 1, 60);
    pauses_end(p, PAUSE_ALL, 0);
    assert_paused(p, 0, PAUSE_NONE, 0);
    assert_paused(p, 1, PAUSE_NONE, 0);
    pauses_free(p);
    config_free(config);
}

static void a_reload_keeps_them_by_name(void **state)
{
    struct config *before = files_load_text(*state, HEAD "[account c]\nserver = t\n");
    struct config *after =
        files_load_text(*state, HEAD "[account aa]\nserver = t\n[account c]\nserver = s\n");
    struct pauses *old = new_pauses(before), *p = new_pauses(after);
    pauses_begin(old, PAUSE_ACCOUNT, 1, 10);
    pauses_begin(old, PAUSE_SERVER, 1, 20);
    pauses_adopt(p, old);
    assert_true(pauses_changed(p));
    assert_paused(p, 0, PAUSE_NONE, 0);     /* a b */
    assert_paused(p, 1, PAUSE_SERVER, 20);  /* aa, new on t */
    assert_paused(p, 2, PAUSE_ACCOUNT, 10); /* c, moved */
    assert_int_equal(pauses_since(p, PAUSE_SERVER, 1), 20);
    pauses_free(old);
    pauses_free(p);
    config_free(before);
    config_free(after);
}

static void what_a_reload_takes_away_is_gone_from_the_file(void **state)
{
    char path[FILES_PATH_SIZE];
    struct config *with = files_load_text(*state, HEAD "[account c]\nserver = t\n");
    struct config *without = files_load_text(*state, HEAD);
    struct pauses *old = new_pauses(with), *p = new_pauses(without);
    files_path(*state, FILE_NAME, path);
    pauses_begin(old, PAUSE_ACCOUNT, 0, NOW_S);
    pauses_begin(old, PAUSE_ACCOUNT, 1, NOW_S);
    assert_int_equal(pauses_save(old, path), 0);
    pauses_adopt(p, old);
    assert_true(pauses_changed(p));
    assert_int_equal(pauses_save(p, path), 0);
    pauses_free(p);
    p = new_pauses(with);
    assert_int_equal(pauses_load(p, path), 0);
    assert_paused(p, 0, PAUSE_ACCOUNT, NOW_S);
    assert_paused(p, 1, PAUSE_NONE, 0);
    files_forget(*state, FILE_NAME);
    pauses_free(old);
    pauses_free(p);
    config_free(with);
    config_free(without);
}

static void a_restart_keeps_them(void **state)
{
    char path[FILES_PATH_SIZE];
    struct config *config = files_load_text(*state, HEAD "[account c]\nserver = t\n");
    struct pauses *p = new_pauses(config);
    files_path(*state, FILE_NAME, path);
    pauses_begin(p, PAUSE_ALL, 0, NOW_S);
    pauses_begin(p, PAUSE_SERVER, 1, NOW_S + 1);
    pauses_begin(p, PAUSE_ACCOUNT, 0, NOW_S + 2);
    assert_true(pauses_changed(p));
    assert_int_equal(pauses_save(p, path), 0);
    assert_false(pauses_changed(p));
    pauses_free(p);
    p = new_pauses(config);
    assert_int_equal(pauses_load(p, path), 0);
    assert_false(pauses_changed(p));
    assert_paused(p, 0, PAUSE_ACCOUNT, NOW_S + 2);
    assert_paused(p, 1, PAUSE_SERVER, NOW_S + 1);
    assert_int_equal(pauses_since(p, PAUSE_ALL, 0), NOW_S);
    assert_int_equal(pauses_since(p, PAUSE_SERVER, 0), 0);
    pauses_end(p, PAUSE_ALL, 0);
    assert_int_equal(pauses_save(p, path), 0);
    pauses_free(p);
    p = new_pauses(config);
    assert_int_equal(pauses_load(p, path), 0);
    assert_paused(p, 0, PAUSE_NONE, 0);
    pauses_free(p);
    config_free(config);
}

static void what_the_file_cannot_mean_is_left_out(void **state)
{
    char path[FILES_PATH_SIZE];
    struct config *config = files_load_text(*state, HEAD "[account c]\nserver = t\n");
    struct pauses *p = new_pauses(config);
    files_path(*state, FILE_NAME, path);
    files_write(
        *state, FILE_NAME, 0600,
        "mailcask pauses 1\naccount 5 nobody\nserver 5 c\naccount 5 s\naccount -5 c\n"
        "account x c\naccount 0 c\n\nall\nall x\naccount\nfoolishness 5 c\n"
        "account 6 a b");
    assert_int_equal(pauses_load(p, path), 0);
    assert_paused(p, 0, PAUSE_ACCOUNT, 6);
    assert_paused(p, 1, PAUSE_NONE, 0);
    files_write(*state, FILE_NAME, 0600, "something else\naccount 5 c\n");
    assert_int_equal(pauses_load(p, path), ERR_SYNTAX);
    assert_paused(p, 1, PAUSE_NONE, 0);
    files_forget(*state, FILE_NAME);
    assert_int_equal(pauses_load(p, path), 0);
    pauses_free(p);
    config_free(config);
}

static void a_paused_account_does_not_run_and_then_at_once(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 2, 2);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    scheduler_pause(w.s, 1, true);
    assert_int_equal(world_state(&w, 1), SCHEDULER_WAITING);
    assert_int_equal(world_take(&w, now), 0);
    world_take_nothing(&w, now);
    assert_int_equal(world_state(&w, 1), SCHEDULER_PAUSED);
    assert_true(scheduler_wait_ms(w.s, now) == SCHEDULER_FOREVER);
    scheduler_hurry(w.s, 1, now);
    world_take_nothing(&w, now);
    scheduler_pause(w.s, 1, false);
    assert_int_equal(scheduler_wait_ms(w.s, now), 0);
    assert_int_equal(world_take(&w, now), 1);
    scheduler_free(w.s);
}

static void a_session_under_way_ends_before_the_pause(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    world_take(&w, now);
    scheduler_pause(w.s, 0, true);
    assert_int_equal(world_state(&w, 0), SCHEDULER_RUNNING);
    scheduler_done(w.s, 0, &ended_more, now);
    world_take_nothing(&w, now);
    assert_int_equal(world_state(&w, 0), SCHEDULER_PAUSED);
    scheduler_free(w.s);
}

static void a_pause_lifted_in_time_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1, 1, 1);
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t due = world_due(&w, 0);
    scheduler_pause(w.s, 0, true);
    scheduler_pause(w.s, 0, false);
    assert_int_equal(world_due(&w, 0), due);
    world_take(&w, due);
    scheduler_free(w.s);
}

/* Three accounts of one mailbox: one runs, two are parked, and one of these is paused. */
static void pass_the_mailbox_on(bool pause_lower)
{
    struct world w;
    world_make(&w, 1, 3, 3);
    for (int i = 0; i < 3; i++)
        w.accounts[i].user = "same";
    world_start(&w, SCHEDULER_SERVICE);
    uint64_t now = world_after_spread();
    uint32_t first = world_take(&w, now);
    world_take_nothing(&w, now);
    uint32_t lower = first == 0 ? 1 : 0, upper = 3 - first - lower;
    uint32_t paused = pause_lower ? lower : upper;
    assert_int_equal(world_state(&w, paused), SCHEDULER_PARKED);
    scheduler_pause(w.s, paused, true);
    scheduler_done(w.s, first, &ended_good, now);
    uint32_t next = world_take(&w, now);
    assert_int_equal(next, 3 - first - paused);
    scheduler_done(w.s, next, &ended_good, now);
    world_take_nothing(&w, now);
    assert_int_equal(world_state(&w, paused), SCHEDULER_PAUSED);
    scheduler_free(w.s);
}

static void who_is_paused_passes_the_mailbox_on(void **state)
{
    (void)state;
    pass_the_mailbox_on(true);
    pass_the_mailbox_on(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pause_is_lifted_on_its_own),
        cmocka_unit_test(a_reload_keeps_them_by_name),
        cmocka_unit_test(what_a_reload_takes_away_is_gone_from_the_file),
        cmocka_unit_test(a_restart_keeps_them),
        cmocka_unit_test(what_the_file_cannot_mean_is_left_out),
        cmocka_unit_test(a_paused_account_does_not_run_and_then_at_once),
        cmocka_unit_test(a_session_under_way_ends_before_the_pause),
        cmocka_unit_test(a_pause_lifted_in_time_changes_nothing),
        cmocka_unit_test(who_is_paused_passes_the_mailbox_on),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
