#include "daemon/metrics.h"

#include "daemon/metrics_source.h"
#include "tests/support/config_files.h"
#include "tests/support/scheduler_turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BEGAN_S 1000
#define HEAD                                           \
    "[archive]\npath = /a\nmax-memory = 64M\n"         \
    "[server one]\nhost = one.example\npassword = p\n" \
    "[server two]\nhost = two.example\npassword = p\n"

/* ---- the text --------------------------------------------------------------------------
 */

/* The value of a series as it stands there, "" if it is not there. */
static const char *value(const char *text, const char *series)
{
    static char found[64];
    size_t size = strlen(series);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, series, size) != 0 || line[size] != ' ')
            continue;
        (void)snprintf(found, sizeof(found), "%.*s", (int)strcspn(line + size + 1, "\n"),
                       line + size + 1);
        return found;
    }
    return "";
}

static void assert_value(const char *text, const char *series, const char *want)
{
    if (strcmp(value(text, series), want) != 0)
        fail_msg("%s is '%s', not '%s'", series, value(text, series), want);
}

static char *text_of(const struct metrics *m, struct buffer *out)
{
    buffer_clear(out);
    metrics_text(m, out);
    buffer_put_u8(out, '\0');
    assert_false(out->failed);
    return (char *)out->data;
}

static void every_series_has_a_family_of_its_own(void **state)
{
    (void)state;
    const struct metrics_of_server servers[] = {{.name = "a", .oldest_s = 1},
                                                {.name = "b", .oldest_s = 2}};
    const struct metrics m = {
        .oldest_s = 1, .server_count = 2, .servers = servers, .archive_known = true};
    struct buffer out = {0};
    char name[128] = "";
    unsigned families = 0;
    for (char *line = strtok(text_of(&m, &out), "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + 7, " "),
                           line + 7);
            assert_true(strncmp(name, "mailcask_", 9) == 0);
            assert_true(line[strlen(line) - 1] == '.');
            families++;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            bool counter = strstr(line, " counter") != NULL;
            size_t size = strlen(name);
            assert_true(strncmp(line + 7, name, size) == 0 && line[7 + size] == ' ');
            assert_true(counter == (strcmp(name + size - 6, "_total") == 0));
        } else {
            assert_true(strncmp(line, name, strlen(name)) == 0);
        }
    }
    assert_true(families > 30);
    buffer_free(&out);
}

static void commits_add_up_to_a_histogram(void **state)
{
    (void)state;
    struct metrics m = {.oldest_s = 0};
    struct latency *l = &m.work.commit_latency;
    struct buffer out = {0};
    l->counts[0] = 3;
    l->counts[1] = 2;
    l->counts[LATENCY_BOUNDS] = 1;
    l->sum_us = 12345678;
    const char *text = text_of(&m, &out);
    assert_value(text, "mailcask_commit_duration_seconds_bucket{le=\"0.001\"}", "3");
    assert_value(text, "mailcask_commit_duration_seconds_bucket{le=\"0.0025\"}", "5");
    assert_value(text, "mailcask_commit_duration_seconds_bucket{le=\"10\"}", "5");
    assert_value(text, "mailcask_commit_duration_seconds_bucket{le=\"+Inf\"}", "6");
    assert_value(text, "mailcask_commit_duration_seconds_count", "6");
    assert_value(text, "mailcask_commit_duration_seconds_sum", "12.345678");
    buffer_free(&out);
}

static void a_name_cannot_break_its_line(void **state)
{
    (void)state;
    char name[CONFIG_NAME_MAX + 1];
    const struct metrics_of_server servers[] = {
        {.name = "q\"u\\ote\n", .up = true}, {.name = "\xff"}, {.name = name}};
    const struct metrics m = {.server_count = 3, .servers = servers};
    struct buffer out = {0};
    memset(name, 0x80, sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    const char *text = text_of(&m, &out);
    assert_value(text, "mailcask_server_up{server=\"q\\\"u\\\\ote\\\\x0a\"}", "1");
    assert_value(text, "mailcask_server_up{server=\"\\\\xff\"}", "0");
    const char *last = strstr(text, "mailcask_server_up{server=\"\\\\x80");
    assert_non_null(last);
    size_t size = strlen("mailcask_server_up{server=\"") + 5 * (size_t)CONFIG_NAME_MAX;
    assert_memory_equal(last + size, "\"} 0\n", 5);
    buffer_free(&out);
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    const struct metrics m = {.archive_known = false, .server_count = 5000};
    struct buffer out = {0};
    const char *text = text_of(&m, &out);
    assert_null(strstr(text, "mailcask_damaged"));
    assert_null(strstr(text, "mailcask_deletions_unconfirmed"));
    assert_null(strstr(text, "mailcask_oldest"));
    assert_null(strstr(text, "mailcask_server_"));
    assert_value(text, "mailcask_servers", "5000");
    buffer_free(&out);
}

static void sessions_are_counted_by_what_came_of_them(void **state)
{
    (void)state;
    struct metrics m = {.oldest_s = 0};
    struct buffer out = {0};
    const struct session_end ends[] = {
        {.counts = {.fetched = 3, .bytes = 500, .deduplicated = 2}},
        {.outcome = {.scope = SCOPE_ACCOUNT}},
        {.outcome = {.scope = SCOPE_SERVER}, .counts = {.fetched = 1, .bytes = 20}},
        {.outcome = {.scope = SCOPE_PROCESS}, .stopped = true},
        {.outcome = {.scope = SCOPE_MESSAGE}, .counts = {.quarantined = 1, .healed = 4}},
        {.counts = {.refused = 6, .deleted = 7, .kept = 8}},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        metrics_count(&m.counts, &ends[i]);
    const char *text = text_of(&m, &out);
    assert_value(text, "mailcask_sessions_ended_total", "6");
    assert_value(text, "mailcask_session_errors_total{class=\"account\"}", "1");
    assert_value(text, "mailcask_session_errors_total{class=\"server\"}", "1");
    assert_value(text, "mailcask_session_errors_total{class=\"message\"}", "1");
    assert_value(text, "mailcask_session_errors_total{class=\"mailbox\"}", "0");
    assert_value(text, "mailcask_session_errors_total{class=\"process\"}", "0");
    assert_value(text, "mailcask_session_errors_total{class=\"none\"}", "");
    assert_value(text, "mailcask_messages_total{result=\"archived\"}", "4");
    assert_value(text, "mailcask_messages_total{result=\"known_by_content\"}", "2");
    assert_value(text, "mailcask_messages_total{result=\"healed\"}", "4");
    assert_value(text, "mailcask_messages_total{result=\"refused\"}", "6");
    assert_value(text, "mailcask_messages_total{result=\"quarantined\"}", "1");
    assert_value(text, "mailcask_messages_deleted_total", "7");
    assert_value(text, "mailcask_messages_not_deleted_total", "8");
    assert_value(text, "mailcask_message_bytes_total", "520");
    buffer_free(&out);
}

/* ---- the service -----------------------------------------------------------------------
 */

struct world {
    struct rounds rounds;
    struct signals signals;
    struct status status;
    struct metrics_source source;
    struct buffer out;
};

static void begin(struct world *w, struct config *config)
{
    struct rounds *r = &w->rounds;
    *w = (struct world){.signals = {.fd = -1}};
    w->status = (struct status){
        .rounds = r, .signals = &w->signals, .began_s = BEGAN_S, .problem = ""};
    w->source = (struct metrics_source){.status = &w->status};
    r->config = config;
    assert_int_equal(sessions_create(&r->sessions), 0);
    assert_int_equal(pauses_new(config, &r->pauses), 0);
    assert_int_equal(health_new(config, &r->health), 0);
    assert_int_equal(scheduler_new(config, NULL, SCHEDULER_SERVICE, 1, 0, &r->scheduler),
                     0);
}

static void end(struct world *w)
{
    struct rounds *r = &w->rounds;
    sessions_destroy(r->sessions);
    scheduler_free(r->scheduler);
    health_free(r->health);
    pauses_free(r->pauses);
    config_free(r->config);
    buffer_free(&w->out);
}

static const char *look(struct world *w)
{
    buffer_clear(&w->out);
    metrics_source_text(&w->source, &w->out);
    buffer_put_u8(&w->out, '\0');
    assert_false(w->out.failed);
    return (const char *)w->out.data;
}

/* Accounts a, b and c: the last one on the second server. */
static struct config *three(void **state)
{
    return files_load_text(*state, HEAD "[account a]\nserver = one\n"
                                        "[account b]\nserver = one\n"
                                        "[account c]\nserver = two\n");
}

static void the_poll_longest_ago_is_told(void **state)
{
    struct world w;
    begin(&w, three(state));
    struct health *h = w.rounds.health;
    health_complete(h, 0, 1, 9000);
    health_complete(h, 1, 1, 8000);
    const char *text = look(&w);
    /* c never had one */
    assert_value(text, "mailcask_oldest_complete_poll_timestamp_seconds", "1000");
    assert_value(text,
                 "mailcask_server_oldest_complete_poll_timestamp_seconds{server=\"one\"}",
                 "8000");
    assert_value(text,
                 "mailcask_server_oldest_complete_poll_timestamp_seconds{server=\"two\"}",
                 "1000");
    health_complete(h, 2, 1, 8500);
    text = look(&w);
    assert_value(text, "mailcask_oldest_complete_poll_timestamp_seconds", "8000");
    assert_value(text, "mailcask_start_time_seconds", "1000");
    assert_value(text, "mailcask_memory_limit_bytes", "67108864");
    assert_null(strstr(text, "example")); /* no host */
    end(&w);
}

static void accounts_are_counted_by_their_state(void **state)
{
    struct world w;
    begin(&w, three(state));
    struct rounds *r = &w.rounds;
    struct outcome denied = {.scope = SCOPE_ACCOUNT, .retry = RETRY_NEVER};
    uint64_t later_ms = (uint64_t)24 * 3600 * 1000;
    uint32_t account = 0;
    assert_true(turns_next(r->scheduler, later_ms, &account));
    scheduler_done(r->scheduler, account, &denied, later_ms);
    (void)health_account_news(r->health, account, "wrong password", false, 5);
    assert_true(turns_next(r->scheduler, later_ms, &account));
    pauses_begin(r->pauses, PAUSE_SERVER, 0, 6);
    const char *text = look(&w);
    assert_value(text, "mailcask_accounts{state=\"suspended\"}", "1");
    assert_value(text, "mailcask_accounts{state=\"running\"}", "1");
    assert_value(text, "mailcask_accounts{state=\"finished\"}", "");
    assert_value(text, "mailcask_accounts_failing", "1");
    assert_value(text, "mailcask_server_accounts{server=\"one\"}", "2");
    end(&w);
}

static void a_server_that_fails_is_not_up(void **state)
{
    struct world w;
    begin(&w, three(state));
    (void)health_server_news(w.rounds.health, 1, "gone", 5);
    const char *text = look(&w);
    assert_value(text, "mailcask_server_up{server=\"one\"}", "1");
    assert_value(text, "mailcask_server_up{server=\"two\"}", "0");
    assert_value(text, "mailcask_servers_failing", "1");
    (void)health_server_news(w.rounds.health, 1, "", 6);
    assert_value(look(&w), "mailcask_server_up{server=\"two\"}", "1");
    end(&w);
}

static void why_nothing_is_fetched_is_told(void **state)
{
    struct world w;
    begin(&w, three(state));
    const char *text = look(&w);
    assert_value(text, "mailcask_fetching_stopped{reason=\"archive_failed\"}", "1");
    assert_value(text, "mailcask_fetching_stopped{reason=\"disk_full\"}", "0");
    w.rounds.space.low = true;
    text = look(&w);
    assert_value(text, "mailcask_fetching_stopped{reason=\"archive_failed\"}", "0");
    assert_value(text, "mailcask_fetching_stopped{reason=\"disk_full\"}", "1");
    end(&w);
}

static void many_servers_are_only_counted(void **state)
{
    struct world w;
    char *text = malloc((size_t)1 << 20);
    assert_non_null(text);
    for (unsigned more = 0; more < 2; more++) {
        size_t size = (size_t)sprintf(text, "[archive]\npath = /a\n");
        for (unsigned i = 0; i < METRICS_SERVERS_MAX + more; i++)
            size += (size_t)sprintf(text + size, "[server s%u]\nhost = h%u\n", i, i);
        begin(&w, files_load_text(*state, text));
        assert_value(look(&w), "mailcask_servers", more ? "1001" : "1000");
        assert_value(look(&w), "mailcask_server_up{server=\"s999\"}", more ? "" : "1");
        end(&w);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_series_has_a_family_of_its_own),
        cmocka_unit_test(commits_add_up_to_a_histogram),
        cmocka_unit_test(a_name_cannot_break_its_line),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(sessions_are_counted_by_what_came_of_them),
        cmocka_unit_test(the_poll_longest_ago_is_told),
        cmocka_unit_test(accounts_are_counted_by_their_state),
        cmocka_unit_test(a_server_that_fails_is_not_up),
        cmocka_unit_test(why_nothing_is_fetched_is_told),
        cmocka_unit_test(many_servers_are_only_counted),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
