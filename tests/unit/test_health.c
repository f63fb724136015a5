#include "daemon/health.h"

#include "tests/support/config_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

static uint32_t server(const struct config *config, const char *name)
{
    const struct config_server *found = config_find_server(config, name);
    assert_non_null(found);
    return (uint32_t)(found - config->servers);
}

static struct health *new_health(const struct config *config)
{
    struct health *h = NULL;
    assert_int_equal(health_new(config, &h), 0);
    return h;
}

static struct config *two_accounts(void **state)
{
    return files_load_text(*state, SERVERS "[account a]\nserver = one\nuser = u\n"
                                           "[account b]\nserver = one\nuser = v\n");
}

static enum health_event account_event(struct health *h, uint32_t i, const char *text,
                                       int64_t now_s)
{
    return health_account_news(h, i, text, false, now_s).event;
}

static enum health_event server_event(struct health *h, uint32_t i, const char *text,
                                      int64_t now_s)
{
    return health_server_news(h, i, text, now_s).event;
}

static void a_failure_is_told_when_it_begins_and_ends(void **state)
{
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    uint32_t a = account(config, "a"), b = account(config, "b");
    assert_int_equal(account_event(h, a, "", 1), HEALTH_NOTHING); /* nothing was wrong */
    assert_int_equal(account_event(h, a, "wrong password", 2), HEALTH_FAILS);
    assert_int_equal(account_event(h, a, "wrong password", 3), HEALTH_NOTHING);
    assert_int_equal(account_event(h, b, "wrong password", 4), HEALTH_FAILS);
    assert_int_equal(account_event(h, a, "in use", 5), HEALTH_FAILS);
    struct health_news news = health_account_news(h, a, "", false, 62);
    assert_int_equal(news.event, HEALTH_WORKS);
    assert_int_equal(news.failures, 3);
    assert_int_equal(news.since_s, 2);
    assert_int_equal(account_event(h, a, "", 63), HEALTH_NOTHING);
    assert_int_equal(server_event(h, server(config, "one"), "refused", 8), HEALTH_FAILS);
    assert_int_equal(server_event(h, server(config, "one"), "refused", 9), HEALTH_NOTHING);
    assert_int_equal(server_event(h, server(config, "two"), "refused", 10), HEALTH_FAILS);
    health_free(h);
    config_free(config);
}

static void a_failure_that_lasts_is_told_at_growing_intervals(void **state)
{
    static const int64_t told[] = {0, 3600, 10800, 25200, 54000, 111600, 198000, 284400};
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    size_t count = 0;
    for (int64_t s = 0; s <= 284400; s += 60) {
        char text[64];
        (void)snprintf(text, sizeof(text), "refused, id %d of a@b", (int)s);
        struct health_news news = health_account_news(h, 0, text, false, 1000 + s);
        assert_string_equal(health_account(h, 0)->text, text); /* the newest */
        if (news.event == HEALTH_NOTHING)
            continue;
        assert_int_equal(news.event, s == 0 ? HEALTH_FAILS : HEALTH_STILL);
        assert_int_equal(s, told[count++]);
        assert_int_equal(news.failures, s / 60 + 1);
        assert_int_equal(news.since_s, 1000);
    }
    assert_int_equal(count, sizeof(told) / sizeof(told[0]));
    /* A clock put back ends the wait. */
    assert_int_equal(account_event(h, 0, "refused, id 1 of c@d", 5), HEALTH_STILL);
    health_free(h);
    config_free(config);
}

static void a_failure_that_comes_and_goes_is_told_once_a_minute(void **state)
{
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    assert_int_equal(server_event(h, 0, "refused", 100), HEALTH_FAILS);
    assert_int_equal(server_event(h, 0, "", 101), HEALTH_WORKS);
    assert_int_equal(server_event(h, 0, "refused", 102), HEALTH_NOTHING);
    assert_int_equal(health_server(h, 0)->since_s, 102);
    assert_int_equal(server_event(h, 0, "", 103), HEALTH_NOTHING);
    assert_int_equal(server_event(h, 0, "refused", 104), HEALTH_NOTHING);
    assert_int_equal(server_event(h, 0, "refused", 100 + HEALTH_QUIET_S), HEALTH_FAILS);
    /* It is told at once where it will not be tried again. */
    assert_int_equal(account_event(h, 0, "wrong password", 200), HEALTH_FAILS);
    assert_int_equal(account_event(h, 0, "", 201), HEALTH_WORKS);
    assert_int_equal(health_account_news(h, 0, "wrong password", true, 202).event,
                     HEALTH_FAILS);
    health_free(h);
    config_free(config);
}

static void a_problem_is_as_old_as_its_first_failure(void **state)
{
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    uint32_t a = account(config, "a");
    assert_null(health_account(h, a)->text);
    (void)health_account_news(h, a, "timed out", false, 10);
    (void)health_account_news(h, a, "timed out", false, 20);
    (void)health_account_news(h, a, "in use", false, 30);
    assert_string_equal(health_account(h, a)->text, "in use");
    assert_int_equal(health_account(h, a)->since_s, 10);
    (void)health_account_news(h, a, "", false, 40);
    assert_null(health_account(h, a)->text);
    assert_int_equal(health_account(h, a)->since_s, 0);
    (void)health_server_news(h, 0, "refused", 50);
    assert_string_equal(health_server(h, 0)->text, "refused");
    assert_int_equal(health_server(h, 0)->since_s, 50);
    health_free(h);
    config_free(config);
}

static void a_long_text_is_cut_and_news_once(void **state)
{
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    char text[HEALTH_TEXT_SIZE + 100];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(account_event(h, 0, text, 1), HEALTH_FAILS);
    assert_int_equal(strlen(health_account(h, 0)->text), HEALTH_TEXT_SIZE - 1);
    assert_int_equal(account_event(h, 0, text, 2), HEALTH_NOTHING);
    health_free(h);
    config_free(config);
}

static void the_last_complete_poll_is_kept(void **state)
{
    struct config *config = two_accounts(state);
    struct health *h = new_health(config);
    assert_int_equal(health_polls(h, 0)->complete_s, 0);
    assert_true(health_polls(h, 0)->listed == HEALTH_LISTED_UNKNOWN);
    health_complete(h, 0, HEALTH_LISTED_UNKNOWN, 100);
    assert_int_equal(health_polls(h, 0)->complete_s, 100);
    health_complete(h, 0, 7, 200);
    health_complete(h, 0, 8, 150); /* an older one */
    assert_int_equal(health_polls(h, 0)->complete_s, 200);
    assert_int_equal(health_polls(h, 0)->listed, 7);
    assert_int_equal(health_polls(h, 1)->complete_s, 0);
    health_free(h);
    config_free(config);
}

/* Something is known of everything; reload with this text, and look at account a. */
static void after_reload(void **state, const char *text, bool server_kept,
                         bool mailbox_kept)
{
    struct config *before = two_accounts(state);
    struct health *old = new_health(before);
    (void)health_account_news(old, account(before, "a"), "said", false, 10);
    (void)health_server_news(old, server(before, "one"), "said", 20);
    health_complete(old, account(before, "a"), 3, 30);

    struct config *after = files_load_text(*state, text);
    struct health *h = new_health(after);
    health_adopt(h, old);
    health_free(old);
    config_free(before);
    uint32_t a = account(after, "a");
    assert_int_equal(health_account(h, a)->since_s, mailbox_kept ? 10 : 0);
    assert_int_equal(health_server(h, server(after, "one"))->since_s, server_kept ? 20 : 0);
    assert_int_equal(health_polls(h, a)->complete_s, mailbox_kept ? 30 : 0);
    assert_int_equal(account_event(h, a, "said", 40),
                     mailbox_kept ? HEALTH_NOTHING : HEALTH_FAILS);
    health_free(h);
    config_free(after);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_told_when_it_begins_and_ends),
        cmocka_unit_test(a_failure_that_lasts_is_told_at_growing_intervals),
        cmocka_unit_test(a_failure_that_comes_and_goes_is_told_once_a_minute),
        cmocka_unit_test(a_problem_is_as_old_as_its_first_failure),
        cmocka_unit_test(a_long_text_is_cut_and_news_once),
        cmocka_unit_test(the_last_complete_poll_is_kept),
        cmocka_unit_test(a_reload_keeps_what_still_holds),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
