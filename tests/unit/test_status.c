#include "daemon/requests.h"

#include "daemon/clock.h"
#include "tests/support/archive_fixture.h"
#include "tests/support/config_files.h"
#include "tests/support/scheduler_turns.h"
#include "tools/control_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define HEAD                                           \
    "[archive]\npath = /a\n"                           \
    "[server one]\nhost = one.example\npassword = p\n" \
    "[server two]\nhost = two.example\nport = 1995\npassword = p\n"
#define TEXT_SIZE ((size_t)1 << 20)

struct world {
    struct rounds rounds;
    struct signals signals;
    struct status status;
    struct buffer out;
};

static void use(struct world *w, struct config *config)
{
    struct rounds *r = &w->rounds;
    scheduler_free(r->scheduler);
    health_free(r->health);
    pauses_free(r->pauses);
    marks_free(r->marks);
    deletes_free(r->deletes);
    config_free(r->config);
    r->config = config;
    assert_int_equal(deletes_new(config, 0, &r->deletes), 0);
    assert_int_equal(marks_new(config, &r->marks), 0);
    assert_int_equal(pauses_new(config, &r->pauses), 0);
    assert_int_equal(health_new(config, &r->health), 0);
    assert_int_equal(scheduler_new(config, NULL, SCHEDULER_SERVICE, 1, 0, &r->scheduler),
                     0);
}

/* Accounts a00001 to a.....: each step-th. */
static struct config *many(struct config_files *files, unsigned count, unsigned step)
{
    char *text = malloc(TEXT_SIZE);
    assert_non_null(text);
    size_t size = (size_t)snprintf(text, TEXT_SIZE, HEAD);
    for (unsigned i = 1; i <= count; i += step)
        size += (size_t)snprintf(text + size, TEXT_SIZE - size,
                                 "[account a%05u]\nserver = one\n", i);
    struct config *config = files_load_text(files, text);
    free(text);
    return config;
}

static void begin(struct world *w, struct config *config)
{
    *w = (struct world){.signals = {.fd = -1}};
    w->status = (struct status){
        .rounds = &w->rounds, .signals = &w->signals, .began_s = 100, .problem = "no room"};
    assert_int_equal(sessions_create(&w->rounds.sessions), 0);
    use(w, config);
}

static void end(struct world *w)
{
    sessions_destroy(w->rounds.sessions);
    scheduler_free(w->rounds.scheduler);
    health_free(w->rounds.health);
    pauses_free(w->rounds.pauses);
    marks_free(w->rounds.marks);
    deletes_free(w->rounds.deletes);
    config_free(w->rounds.config);
    buffer_free(&w->out);
}

/* One more piece of the answer. True: the last. */
static bool take_piece(struct world *w, struct control_request *request)
{
    struct buffer piece = {0};
    bool last = requests_answer(&w->status, request, &piece);
    assert_false(piece.failed);
    assert_in_range(piece.size, 1, CONTROL_PIECE_SIZE + 8192);
    buffer_put(&w->out, piece.data, piece.size);
    buffer_free(&piece);
    return last;
}

static struct span ask(struct world *w, const char *line)
{
    struct control_request request = {.step = 0};
    (void)snprintf(request.line, sizeof(request.line), "%s", line);
    buffer_clear(&w->out);
    while (!take_piece(w, &request))
        continue;
    return span_of(w->out.data, w->out.size);
}

/* The first object of this kind whose name, in the field of the same name, is this. */
static struct answer_object find(struct span answer, const char *kind, const char *name)
{
    struct answer_object o;
    while (answer_next(&answer, &o))
        if (answer_is(&o, kind) &&
            (name == NULL || span_equal(answer_text(&o, kind), span_text(name))))
            return o;
    fail_msg("no %s", kind);
    return o;
}

static void assert_text(const struct answer_object *o, const char *field, const char *want)
{
    struct span got = answer_text(o, field);
    if (!span_equal(got, span_text(want)))
        fail_msg("%s: '%.*s', not '%s'", field, (int)got.size, (const char *)got.data,
                 want);
}

static void assert_ends(const struct answer_object *o, const char *field, const char *want)
{
    struct span got = answer_text(o, field);
    size_t size = strlen(want);
    if (got.size < size || memcmp(got.data + got.size - size, want, size) != 0)
        fail_msg("%s: '%.*s', not '...%s'", field, (int)got.size, (const char *)got.data,
                 want);
}

static void the_state_of_the_archive_is_told(void **state)
{
    struct world w;
    begin(&w, many(*state, 1, 1));
    w.status.problem_since_s = 200;
    w.status.next_try_s = 300;
    struct answer_object o = find(ask(&w, "status"), "service", NULL);
    assert_text(&o, "state", "failed");
    assert_text(&o, "problem", "no room");
    assert_int_equal(answer_time(&o, "problem_since"), 200);
    assert_int_equal(answer_time(&o, "next_try"), 300);
    w.rounds.space.low = true;
    o = find(ask(&w, "status"), "service", NULL);
    assert_text(&o, "state", "disk-full");
    char path[FILES_PATH_SIZE];
    files_path(*state, "archive", path);
    assert_int_equal(archive_create(NULL, path), 0);
    assert_int_equal(archive_open(path, &(struct archive_options){.mode = ARCHIVE_READ},
                                  &w.rounds.archive),
                     0);
    w.rounds.damage_found = 3;
    o = find(ask(&w, "status"), "service", NULL);
    assert_text(&o, "state", "running");
    assert_text(&o, "problem", "");
    assert_int_equal(answer_time(&o, "problem_since"), 0);
    assert_int_equal(answer_time(&o, "since"), 100);
    assert_int_equal(answer_number(&o, "account_count"), 1);
    assert_int_equal(answer_number(&o, "recovery_damage"), 3);
    assert_text(&o, "config_error", "");
    assert_text(&o, "deletes", "off");
    w.status.refused = "line 7 is wrong";
    w.status.refused_since_s = 400;
    o = find(ask(&w, "status"), "service", NULL);
    assert_text(&o, "config_error", "line 7 is wrong");
    assert_int_equal(answer_time(&o, "config_error_since"), 400);
    w.signals.stop = true;
    o = find(ask(&w, "status"), "service", NULL);
    assert_text(&o, "state", "stopping");
    assert_int_equal(archive_close(w.rounds.archive), 0);
    end(&w);
}

static void a_server_that_fails_is_told(void **state)
{
    struct world w;
    begin(&w, many(*state, 2, 1));
    struct rounds *r = &w.rounds;
    struct outcome down = {.scope = SCOPE_SERVER, .retry = RETRY_BACKOFF};
    uint64_t now_ms = (uint64_t)24 * 3600 * 1000;
    uint32_t account;
    assert_true(turns_next(r->scheduler, now_ms, &account));
    struct answer_object o = find(ask(&w, "status"), "server", "one");
    assert_int_equal(answer_number(&o, "sessions"), 1);
    assert_int_equal(answer_time(&o, "held_until"), 0);
    assert_text(&o, "error", "");
    o = find(ask(&w, "status"), "account", r->config->accounts[account].name);
    assert_text(&o, "state", "running");
    scheduler_done(r->scheduler, account, &down, now_ms);
    (void)health_server_news(r->health, 0, "it is\ngone", 500);
    o = find(ask(&w, "status"), "server", "one");
    assert_int_equal(answer_number(&o, "sessions"), 0);
    assert_true(answer_time(&o, "held_until") > 0);
    assert_text(&o, "error", "it is\\x0agone");
    assert_int_equal(answer_time(&o, "error_since"), 500);
    o = find(ask(&w, "status"), "server", "two");
    assert_text(&o, "host", "two.example");
    assert_int_equal(answer_number(&o, "port"), 1995);
    assert_text(&o, "error", "");
    end(&w);
}

static void an_account_is_told(void **state)
{
    struct world w;
    begin(&w, many(*state, 1, 1));
    struct rounds *r = &w.rounds;
    struct outcome denied = {.scope = SCOPE_ACCOUNT, .retry = RETRY_NEVER};
    uint64_t now_ms = (uint64_t)24 * 3600 * 1000;
    uint32_t account;
    struct answer_object o = find(ask(&w, "status"), "account", "a00001");
    assert_text(&o, "state", "waiting");
    assert_true(answer_time(&o, "due") > 0);
    assert_int_equal(answer_time(&o, "last_complete"), 0);
    assert_true(turns_next(r->scheduler, now_ms, &account));
    scheduler_done(r->scheduler, account, &denied, now_ms);
    (void)health_account_news(r->health, account, "wrong password", false, 700);
    health_complete(r->health, account, 12, 600);
    o = find(ask(&w, "status"), "account", "a00001");
    assert_text(&o, "server", "one");
    assert_text(&o, "state", "suspended");
    assert_int_equal(answer_time(&o, "due"), 0);
    assert_int_equal(answer_number(&o, "failures"), 1);
    assert_int_equal(answer_time(&o, "last_complete"), 600);
    assert_int_equal(answer_number(&o, "listed"), 12);
    assert_text(&o, "error", "wrong password");
    assert_int_equal(answer_time(&o, "error_since"), 700);
    end(&w);
}

static unsigned number_of(const struct answer_object *o)
{
    char name[16];
    struct span text = answer_text(o, "account");
    (void)snprintf(name, sizeof(name), "%.*s", (int)text.size, (const char *)text.data);
    return (unsigned)atoi(name + 1);
}

static void a_reload_within_an_answer_loses_and_repeats_none(void **state)
{
    struct world w;
    struct control_request request = {.line = "status"};
    struct answer_object o;
    begin(&w, many(*state, 3000, 2)); /* 1, 3, 5, ... */
    for (unsigned pieces = 1; !take_piece(&w, &request); pieces++)
        if (pieces == 5)
            use(&w, many(*state, 3000, 1)); /* 1, 2, 3, ... */
    struct span rest = span_of(w.out.data, w.out.size);
    unsigned last = 0, odd = 0, all = 0;
    while (answer_next(&rest, &o)) {
        if (!answer_is(&o, "account"))
            continue;
        unsigned number = number_of(&o);
        if (all == 0 && number == 2 * odd + 1)
            odd++;
        else
            all++;
        if (all > 0)
            assert_int_equal(number, last + 1);
        last = number;
    }
    assert_true(odd > 0 && all > 0);
    assert_int_equal(last, 3000);
    end(&w);
}

static void a_suspended_account_is_polled_on_request(void **state)
{
    struct world w;
    begin(&w, many(*state, 2, 1));
    struct rounds *r = &w.rounds;
    struct outcome denied = {.scope = SCOPE_ACCOUNT, .retry = RETRY_NEVER};
    uint64_t now_ms = clock_now_ms();
    uint32_t account;
    now_ms += (uint64_t)3600 * 1000;
    while (turns_next(r->scheduler, now_ms, &account))
        scheduler_done(r->scheduler, account, &denied, now_ms);
    assert_false(turns_next(r->scheduler, now_ms + 1000, &account));
    struct answer_object o = find(ask(&w, "poll a00002"), "account", "a00002");
    assert_text(&o, "state", "waiting");
    assert_true(turns_next(r->scheduler, now_ms + 1000, &account));
    assert_string_equal(r->config->accounts[account].name, "a00002");
    assert_false(turns_next(r->scheduler, now_ms + 1000, &account));
    (void)find(ask(&w, "poll a00002"), "service", NULL);
    o = find(ask(&w, "poll nobody"), "error", NULL);
    assert_text(&o, "cause", "not-found");
    w.status.once = true;
    o = find(ask(&w, "poll a00002"), "error", NULL);
    assert_text(&o, "cause", "refused");
    end(&w);
}

static void a_pause_is_told_and_keeps_from_polling(void **state)
{
    struct world w;
    begin(&w, many(*state, 2, 1));
    struct rounds *r = &w.rounds;
    uint64_t later_ms = clock_now_ms() + (uint64_t)3600 * 1000;
    uint32_t account;
    struct answer_object o = find(ask(&w, "pause account a00001"), "account", "a00001");
    assert_text(&o, "state", "paused");
    assert_text(&o, "paused_by", "account");
    assert_int_equal(answer_time(&o, "due"), 0);
    assert_true(answer_time(&o, "paused") > 0);
    o = find(span_of(w.out.data, w.out.size), "pause", NULL);
    assert_int_equal(answer_number(&o, "saved"), 0); /* there is no archive */
    o = find(ask(&w, "poll a00001"), "error", NULL);
    assert_text(&o, "cause", "refused");
    assert_true(turns_next(r->scheduler, later_ms, &account));
    assert_int_equal(account, 1);
    assert_false(turns_next(r->scheduler, later_ms, &account));
    o = find(ask(&w, "pause server one"), "server", "one");
    assert_true(answer_time(&o, "paused") > 0);
    o = find(ask(&w, "status"), "account", "a00002");
    assert_text(&o, "state", "running");
    assert_text(&o, "paused_by", "server");
    o = find(ask(&w, "resume account a00001"), "account", "a00001");
    assert_text(&o, "paused_by", "server");
    o = find(ask(&w, "pause all"), "service", NULL);
    assert_true(answer_time(&o, "paused") > 0);
    assert_false(turns_next(r->scheduler, later_ms, &account));
    o = find(ask(&w, "resume all"), "service", NULL);
    assert_int_equal(answer_time(&o, "paused"), 0);
    o = find(ask(&w, "status"), "account", "a00001");
    assert_text(&o, "paused_by", "");
    assert_true(turns_next(r->scheduler, later_ms, &account));
    assert_int_equal(account, 0);
    end(&w);
}

static void a_pause_of_nothing_is_refused(void **state)
{
    static const char *const wrong[] = {"pause server three", "resume account nobody",
                                        "pause account "};
    struct world w;
    begin(&w, many(*state, 1, 1));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct answer_object o = find(ask(&w, wrong[i]), "error", NULL);
        assert_text(&o, "cause", "not-found");
    }
    struct answer_object o = find(ask(&w, "pause everything"), "error", NULL);
    assert_text(&o, "cause", "unknown");
    w.status.once = true;
    o = find(ask(&w, "pause all"), "error", NULL);
    assert_text(&o, "cause", "refused");
    end(&w);
}

static void what_is_not_known_is_refused(void **state)
{
    struct world w;
    begin(&w, many(*state, 1, 1));
    struct answer_object o = find(ask(&w, "dance with\x1b me"), "error", NULL);
    assert_text(&o, "cause", "unknown");
    assert_true(memmem(answer_text(&o, "text").data, answer_text(&o, "text").size,
                       "dance with\\x1b me", 16) != NULL);
    end(&w);
}

static void what_the_archive_cannot_take_is_refused_with_the_reason(void **state)
{
    static const char *const asked[] = {"access show\ta00001\t1\t1\t1\tu\t\t", "repack"};
    struct world w;
    begin(&w, many(*state, 1, 1));
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        struct answer_object o = find(ask(&w, asked[i]), "error", NULL);
        assert_text(&o, "cause", "archive");
        assert_ends(&o, "text", " cannot be written: no room");
    }
    end(&w);
}

static void an_account_the_archive_does_not_have_is_not_found(void **state)
{
    static const char asked[] = "access show\ta00001\t1\t1\t1\tu\t\t";
    struct fixture f;
    struct world w;
    fixture_setup(&f);
    begin(&w, many(*state, 1, 1));
    w.rounds.archive = f.archive;
    struct answer_object o = find(ask(&w, asked), "error", NULL);
    assert_text(&o, "cause", "not-found");
    fixture_session(&f, "a00001", 1, 1, 10);
    o = find(ask(&w, asked), "error", NULL); /* nothing is running that could write */
    assert_text(&o, "cause", "archive");
    assert_ends(&o, "text", ": stopped");
    end(&w);
    fixture_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_of_the_archive_is_told),
        cmocka_unit_test(a_server_that_fails_is_told),
        cmocka_unit_test(an_account_is_told),
        cmocka_unit_test(a_reload_within_an_answer_loses_and_repeats_none),
        cmocka_unit_test(a_suspended_account_is_polled_on_request),
        cmocka_unit_test(a_pause_is_told_and_keeps_from_polling),
        cmocka_unit_test(a_pause_of_nothing_is_refused),
        cmocka_unit_test(what_is_not_known_is_refused),
        cmocka_unit_test(what_the_archive_cannot_take_is_refused_with_the_reason),
        cmocka_unit_test(an_account_the_archive_does_not_have_is_not_found),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
