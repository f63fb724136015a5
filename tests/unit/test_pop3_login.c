/* Greeting, capabilities, TLS and login. */
#include "archive/error.h"
#include "tests/support/pop3_script.h"
#include "workers/pop3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Greeting, CAPA, TLS. */

static void a_greeting_that_is_no_welcome_is_the_servers_matter(void **state)
{
    (void)state;
    const struct script err = {.steps = {STEP("", "-ERR too many\r\n")}};
    assert_outcome(perform(&err), SCOPE_SERVER, RETRY_BACKOFF, "too many");
    const struct script smtp = {.steps = {STEP("", "220 mail ESMTP\r\n")}};
    assert_outcome(perform(&smtp), SCOPE_SERVER, RETRY_BACKOFF, "220 mail");
    const struct script closed = {.steps = {{"", "", CLOSE}}};
    assert_outcome(perform(&closed), SCOPE_SERVER, RETRY_BACKOFF, "greeting");
    const struct script hung = {.steps = {{"", "+OK", HANG}}};
    assert_outcome(perform(&hung), SCOPE_SERVER, RETRY_BACKOFF, "greeting");
}

static void q53_surplus_lines_drop_the_session(void **state)
{
    (void)state;
    static struct play y;
    const struct script script = {.steps = {STEP("", "+OK ready\r\n+OK again\r\n")}};
    play(&y, &script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "again");
    assert_string_equal(y.sent.data, "");
}

static void q50_a_server_that_hangs_or_closes_at_capa_is_remembered(void **state)
{
    (void)state;
    struct script script = {.steps = {GREETING, {"CAPA", "", CLOSE}}};
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "CAPA");
    assert_true(y->memory.no_capa);
    script.steps[1].after = HANG;
    script.steps[1].reply = "+OK\r\nUIDL\r\n";
    y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "CAPA");
    assert_true(y->memory.no_capa);

    const struct script next = {
        .steps = {GREETING, LOGIN, ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .memory = {.no_capa = true},
    };
    assert_success(perform(&next));
}

/* A connection may be lost anywhere. */
static void q50_a_server_that_answered_before_is_asked_once_more(void **state)
{
    (void)state;
    struct script script = {
        .steps = {GREETING, {"CAPA", "", CLOSE}},
        .memory = {.announced = {.known = true}},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "once more");
    assert_false(y->memory.no_capa);
    script.memory = y->memory;
    y = perform(&script);
    assert_outcome(y, SCOPE_SERVER, RETRY_NOW, "not asked");
    assert_true(y->memory.no_capa);
}

static void q50_neither_is_it_asked_after_stls(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, STEP("STLS", "+OK\r\n"), LOGIN, ONE,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .memory = {.no_capa = true},
        .stls = true,
    };
    assert_success(perform(&script));
}

static void endless_capa_ends_the_session(void **state)
{
    (void)state;
    static char reply[2048];
    strcpy(reply, "+OK\r\n");
    for (unsigned i = 0; i <= CAPABILITIES_LINES_MAX; i++)
        strcat(reply, "X-Y\r\n");
    const struct script script = {.steps = {GREETING, STEP("CAPA", reply)}};
    assert_outcome(perform(&script), SCOPE_SERVER, RETRY_BACKOFF, "100 lines");
}

static void stls_starts_tls_and_forgets_what_was_learnt(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("STLS\r\nSASL PLAIN\r\nPIPELINING\r\n"),
                  STEP("STLS", "+OK go\r\n"), CAPA("USER\r\n"), LOGIN, CAPA("UIDL\r\n"),
                  ONE, STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
        .stls = true,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_int_equal(y->stats.round_trips, y->stats.commands);
}

static void no_secret_goes_out_without_tls(void **state)
{
    (void)state;
    const struct script missing = {.steps = {GREETING, CAPA("USER\r\n")}, .stls = true};
    const struct play *y = perform(&missing);
    assert_outcome(y, SCOPE_SERVER, RETRY_BACKOFF, "does not offer STLS");
    assert_string_equal(y->sent.data, "CAPA\r\n");
    const struct script refused = {
        .steps = {GREETING, NO_CAPA, STEP("STLS", "-ERR no\r\n")},
        .stls = true,
    };
    y = perform(&refused);
    assert_outcome(y, SCOPE_SERVER, RETRY_BACKOFF, "refused STLS");
    assert_string_equal(y->sent.data, "CAPA\r\nSTLS\r\n");
    const struct script forgetful = {
        .steps = {GREETING, STEP("STLS", "-ERR no\r\n")},
        .stls = true,
        .memory = {.no_capa = true},
    };
    assert_outcome(perform(&forgetful), SCOPE_SERVER, RETRY_BACKOFF, "refused STLS");
}

static void plaintext_behind_stls_is_an_injection(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("STLS\r\n"), STEP("STLS", "+OK\r\n+OK injected\r\n")},
        .stls = true,
    };
    static struct play y;
    play(&y, &script, SIZE_MAX, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "injecting");
    play(&y, &script, 1, 0);
    assert_outcome(&y, SCOPE_SERVER, RETRY_BACKOFF, "injecting");
    assert_string_equal(y.sent.data, "CAPA\r\nSTLS\r\n");
}

/* Login. */

static void sasl_plain_goes_in_two_steps(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("SASL LOGIN PLAIN\r\n"), STEP("AUTH PLAIN", "+ \r\n"),
                  STEP("AHUAcHc5", "+OK\r\n"), CAPA("UIDL\r\n"), ONE,
                  STEP("RETR 1", "+OK\r\nx\r\n.\r\n"), NOOP, BYE},
    };
    assert_success(perform(&script));
}

static void q51_bare_ok_is_a_challenge_after_auth_only(void **state)
{
    (void)state;
    const struct script bare = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "+OK\r\n"),
                  STEP("AHUAcHc5", "-ERR [AUTH] no\r\n")},
    };
    assert_outcome(perform(&bare), SCOPE_ACCOUNT, RETRY_NEVER, "wrong");
    const struct script text = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "+OK welcome\r\n")},
    };
    assert_outcome(perform(&text), SCOPE_SERVER, RETRY_BACKOFF, "welcome");
}

static void a_refused_mechanism_falls_back_to_user_and_pass(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "-ERR off\r\n"),
                  STEP("USER u", "+OK\r\n"), STEP("PASS pw9", "-ERR [AUTH]\r\n")},
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_NEVER, "password is wrong");
}

static void sasl_rounds_end(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "+\r\n"),
                  STEP("AHUAcHc5", "+ eA==\r\n"), STEP("*", "+ eA==\r\n"),
                  STEP("*", "+ eA==\r\n"), STEP("*", "+ eA==\r\n")},
    };
    assert_outcome(perform(&script), SCOPE_SERVER, RETRY_BACKOFF, "more than 4");
}

static void a_sasl_challenge_ends_at_64_kib(void **state)
{
    (void)state;
    static struct play y;
    for (unsigned extra = 0; extra < 2; extra++) {
        size_t size = 64 * 1024 + extra;
        char *challenge = malloc(size);
        memset(challenge, 'x', size);
        memcpy(challenge, "+ ", 2);
        memcpy(challenge + size - 2, "\r\n", 2);
        const struct script script = {
            .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "")},
        };
        play_open(&y, &script);
        while (play_feed(&y, SIZE_MAX, 0))
            ;
        (void)pop3_input(y.pop3, y.now, challenge, 100);
        (void)pop3_input(y.pop3, y.now, challenge + 100, size - 100);
        assert_int_equal(pop3_state(y.pop3), extra == 0 ? POP3_AUTH_RESPONSE : POP3_DONE);
        play_close(&y);
        free(challenge);
    }
}

static void q22_utf8_goes_before_login(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("UTF8\r\n"), STEP("UTF8", "-ERR no\r\n"),
                  STEP("USER u", "-ERR [AUTH]\r\n")},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_ACCOUNT, RETRY_NEVER, "");
    assert_false(y->surprised);
}

struct refusal {
    const char *reply;
    enum scope scope;
    enum retry retry;
    const char *word;
};

static void refuse_login(const struct refusal *r)
{
    const struct script script = {
        .steps = {GREETING, NO_CAPA, STEP("USER u", "+OK\r\n"), STEP("PASS pw9", r->reply)},
        .memory = {.login_delay_s = 900},
    };
    assert_outcome(perform(&script), r->scope, r->retry, r->word);
}

static void q38_a_mailbox_in_use_is_no_login_failure(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR [IN-USE] busy\r\n", SCOPE_MAILBOX, RETRY_BACKOFF,
                                   "in use"});
    refuse_login(&(struct refusal){"-ERR Unable to LOCK maildrop\r\n", SCOPE_MAILBOX,
                                   RETRY_BACKOFF, "in use"});
}

static void q39_login_delay_is_handed_out(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("LOGIN-DELAY 300\r\n"), STEP("USER u", "+OK\r\n"),
                  STEP("PASS pw9", "-ERR [LOGIN-DELAY] wait\r\n")},
        .memory = {.login_delay_s = 60},
    };
    const struct play *y = perform(&script);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "300 s");
    assert_int_equal(y->outcome.delay_s, 300);
    assert_int_equal(y->memory.login_delay_s, 300);
}

static void q40_codes_decide_about_the_next_try(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR [SYS/TEMP] x\r\n", SCOPE_SERVER, RETRY_BACKOFF,
                                   "temporary"});
    refuse_login(
        &(struct refusal){"-ERR [SYS/PERM] x\r\n", SCOPE_ACCOUNT, RETRY_NEVER, "for good"});
    refuse_login(
        &(struct refusal){"-ERR [AUTH] x\r\n", SCOPE_ACCOUNT, RETRY_NEVER, "wrong"});
    refuse_login(
        &(struct refusal){"-ERR denied\r\n", SCOPE_ACCOUNT, RETRY_BACKOFF, "denied"});
}

static void q42_a_close_after_pass_leaves_the_login_uncertain(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, NO_CAPA, STEP("USER u", "+OK\r\n"), {"PASS pw9", "", CLOSE}},
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_BACKOFF, "not known");
}

static void without_login_it_leaves_where_the_login_would_begin(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\nUTF8\r\n"), STEP("QUIT", "+OK\r\n")},
        .no_login = true,
    };
    assert_outcome(perform(&script), SCOPE_NONE, RETRY_NONE, "");
    const struct script silent = {
        .steps = {GREETING, NO_CAPA, {"QUIT", "", CLOSE}},
        .no_login = true,
    };
    assert_outcome(perform(&silent), SCOPE_NONE, RETRY_NONE, "");
}

static void q54_credentials_with_line_ends_are_refused(void **state)
{
    (void)state;
    struct pop3_config config = {
        .user = "a\nb", .password = "p", .limits = pop3_limits_default};
    struct pop3 *p;
    assert_int_equal(pop3_create(&config, &play_callbacks, NULL, &p), ERR_SYNTAX);
    config.user = "a";
    config.password = "p\rq";
    assert_int_equal(pop3_create(&config, &play_callbacks, NULL, &p), ERR_SYNTAX);
    static char longest[POP3_CREDENTIAL_MAX + 2];
    memset(longest, 'x', POP3_CREDENTIAL_MAX + 1);
    config.password = longest;
    assert_int_equal(pop3_create(&config, &play_callbacks, NULL, &p), ERR_TOO_LARGE);
}

static void q54_blanks_and_utf8_in_credentials_count(void **state)
{
    (void)state;
    const struct script script = {
        .steps = {GREETING, NO_CAPA, STEP("USER  j\xc3\xb6 ", "+OK\r\n"),
                  STEP("PASS  a  b ", "-ERR [AUTH]\r\n")},
        .user = " j\xc3\xb6 ",
        .password = " a  b ",
    };
    assert_outcome(perform(&script), SCOPE_ACCOUNT, RETRY_NEVER, "");
}

static void a_secret_that_the_server_repeats_is_left_out(void **state)
{
    (void)state;
    const struct script pass = {
        .steps = {GREETING, NO_CAPA, STEP("USER u", "+OK\r\n"),
                  STEP("PASS hunter2", "-ERR no such password: HUNTER2\r\n")},
        .password = "hunter2",
    };
    const struct play *y = perform(&pass);
    assert_outcome(y, SCOPE_ACCOUNT, RETRY_BACKOFF, "left out");
    assert_null(strstr(y->outcome.text, "HUNTER2"));
    const struct script sasl = {
        .steps = {GREETING, CAPA("SASL PLAIN\r\n"), STEP("AUTH PLAIN", "+\r\n"),
                  STEP("AHUAaHVudGVyMg==", "-ERR unknown: AHUAaHVudGVyMg\r\n")},
        .password = "hunter2",
    };
    assert_outcome(perform(&sasl), SCOPE_ACCOUNT, RETRY_BACKOFF, "left out");
}

static void control_characters_of_the_server_are_escaped(void **state)
{
    (void)state;
    refuse_login(&(struct refusal){"-ERR \x1b[31mred\x07\r\n", SCOPE_ACCOUNT, RETRY_BACKOFF,
                                   "\\x1b[31mred\\x07"});
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_that_is_no_welcome_is_the_servers_matter),
        cmocka_unit_test(q53_surplus_lines_drop_the_session),
        cmocka_unit_test(q50_a_server_that_hangs_or_closes_at_capa_is_remembered),
        cmocka_unit_test(q50_a_server_that_answered_before_is_asked_once_more),
        cmocka_unit_test(q50_neither_is_it_asked_after_stls),
        cmocka_unit_test(endless_capa_ends_the_session),
        cmocka_unit_test(stls_starts_tls_and_forgets_what_was_learnt),
        cmocka_unit_test(no_secret_goes_out_without_tls),
        cmocka_unit_test(plaintext_behind_stls_is_an_injection),
        cmocka_unit_test(sasl_plain_goes_in_two_steps),
        cmocka_unit_test(q51_bare_ok_is_a_challenge_after_auth_only),
        cmocka_unit_test(a_refused_mechanism_falls_back_to_user_and_pass),
        cmocka_unit_test(sasl_rounds_end),
        cmocka_unit_test(a_sasl_challenge_ends_at_64_kib),
        cmocka_unit_test(q22_utf8_goes_before_login),
        cmocka_unit_test(q38_a_mailbox_in_use_is_no_login_failure),
        cmocka_unit_test(q39_login_delay_is_handed_out),
        cmocka_unit_test(q40_codes_decide_about_the_next_try),
        cmocka_unit_test(q42_a_close_after_pass_leaves_the_login_uncertain),
        cmocka_unit_test(without_login_it_leaves_where_the_login_would_begin),
        cmocka_unit_test(q54_credentials_with_line_ends_are_refused),
        cmocka_unit_test(q54_blanks_and_utf8_in_credentials_count),
        cmocka_unit_test(a_secret_that_the_server_repeats_is_left_out),
        cmocka_unit_test(control_characters_of_the_server_are_escaped),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
