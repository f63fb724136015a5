/* What a refused login, or a server of another kind, is taken for. */
#include "workers/probe_cause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_cause_has_its_word_meaning_and_remedy(void **state)
{
    (void)state;
    for (int i = 0; i < PROBE_CAUSE_COUNT; i++) {
        enum probe_cause cause = (enum probe_cause)i;
        assert_int_not_equal(strlen(probe_cause_word(cause)), 0);
        assert_int_equal(strspn(probe_cause_word(cause), "abcdefghijklmnopqrstuvwxyz-"),
                         strlen(probe_cause_word(cause)));
        assert_int_equal(probe_cause_meaning(cause)[0] == '\0', cause == PROBE_FINE);
        assert_int_equal(probe_cause_remedy(cause)[0] == '\0', cause == PROBE_FINE);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(probe_cause_word(cause),
                                    probe_cause_word((enum probe_cause)k));
    }
}

static enum probe_cause of(const char *text)
{
    const struct line line = {.data = text, .size = strlen(text)};
    struct reply reply;
    reply_parse(&line, &reply);
    return probe_cause_of_refusal(&reply);
}

/* As these providers word them. */
static void refusals_are_known_by_code_then_by_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum probe_cause cause;
    } cases[] = {
        {"-ERR [AUTH] Username and password not accepted.", PROBE_PASSWORD_REFUSED},
        {"-ERR [AUTH] Application-specific password required", PROBE_APP_PASSWORD},
        {"-ERR [SYS/PERM] Your account is not enabled for POP access. Please visit your "
         "Gmail settings page and enable your account for POP access.",
         PROBE_POP_DISABLED},
        {"-ERR [SYS/TEMP] Account is temporarily unavailable", PROBE_SERVER_FAULT},
        {"-ERR [SYS/PERM] no mailbox", PROBE_ACCOUNT_REFUSED},
        {"-ERR [IN-USE] oauth too many logins", PROBE_MAILBOX_LOCKED},
        {"-ERR [LOGIN-DELAY] disabled pop", PROBE_LOGIN_TOO_OFTEN},
        {"-ERR maildrop already locked", PROBE_MAILBOX_LOCKED},
        {"-ERR Account blocked", PROBE_LOGIN_REFUSED},
        {"-ERR this happens with a wrong password", PROBE_LOGIN_REFUSED},
        {"-ERR Logon failure: unknown user name or bad password.", PROBE_LOGIN_REFUSED},
        {"-ERR Too many concurrent logins", PROBE_LOGIN_TOO_OFTEN},
        {"-ERR POP3-Zugang deaktiviert", PROBE_POP_DISABLED},
        {"-ERR", PROBE_LOGIN_REFUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(probe_cause_word(of(cases[i].text)),
                            probe_cause_word(cases[i].cause));
}

static void servers_are_known_by_their_first_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum probe_cause cause;
    } cases[] = {
        {"+OK ready", PROBE_WANTS_STARTTLS},
        {"-ERR no", PROBE_WANTS_STARTTLS},
        {"* OK IMAP4rev1", PROBE_IMAP_SERVER},
        {"220 mx", PROBE_SMTP_SERVER},
        {"HTTP/1.1 400", PROBE_WEB_SERVER},
        {"<html>", PROBE_WEB_SERVER},
        {"\x15\x03\x03", PROBE_WANTS_IMPLICIT},
        {"SSH-2.0", PROBE_OTHER_SERVER},
        {"+O", PROBE_OTHER_SERVER},
        {"", PROBE_OTHER_SERVER},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(probe_cause_of_bytes(cases[i].bytes, strlen(cases[i].bytes)),
                         cases[i].cause);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cause_has_its_word_meaning_and_remedy),
        cmocka_unit_test(refusals_are_known_by_code_then_by_words),
        cmocka_unit_test(servers_are_known_by_their_first_bytes),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
