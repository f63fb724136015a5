#include "workers/pop3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LONGEST 8192

/* What was traced, a line each, and what is sent goes nowhere. */
struct talk {
    struct pop3 *pop3;
    char lines[LONGEST];
};

static void on_wire(void *arg, const char *text)
{
    struct talk *t = arg;
    size_t used = strlen(t->lines);
    assert_true(strlen(text) < POP3_WIRE_SIZE);
    assert_null(strchr(text, '\n'));
    (void)snprintf(t->lines + used, sizeof(t->lines) - used, "%s\n", text);
}

static enum listing_verdict judge(void *arg, uint32_t number, uint64_t size,
                                  const char *uidl, size_t uidl_size)
{
    (void)arg;
    (void)number;
    (void)size;
    (void)uidl;
    (void)uidl_size;
    return LISTING_WANT;
}

static void listing_done(void *arg, const struct listing *listing)
{
    (void)arg;
    (void)listing;
}

static void message_begin(void *arg, const struct listing_entry *entry, uint64_t octets)
{
    (void)arg;
    (void)entry;
    (void)octets;
}

static void message_data(void *arg, const char *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
}

static void message_end(void *arg, const struct listing_entry *entry, unsigned flags)
{
    (void)arg;
    (void)entry;
    (void)flags;
}

static void message_discard(void *arg, const struct listing_entry *entry,
                            enum pop3_discard why)
{
    (void)arg;
    (void)entry;
    (void)why;
}

static void fetched_all(void *arg)
{
    (void)arg;
}

static const struct pop3_callbacks callbacks = {.judge = judge,
                                                .listing_done = listing_done,
                                                .message_begin = message_begin,
                                                .message_data = message_data,
                                                .message_end = message_end,
                                                .message_discard = message_discard,
                                                .fetched_all = fetched_all,
                                                .wire = on_wire};

static void begin(struct talk *t, bool wire, const char *password)
{
    const struct pop3_config config = {.user = "al\xc3\xbc"
                                               "e",
                                       .password = password,
                                       .implicit_tls = true,
                                       .wire = wire,
                                       .limits = pop3_limits_default};
    t->lines[0] = '\0';
    assert_int_equal(pop3_create(&config, &callbacks, t, &t->pop3), 0);
    pop3_connected(t->pop3, 0);
}

static void server(struct talk *t, const char *text)
{
    const char *data;
    pop3_output_consume(t->pop3, pop3_output(t->pop3, &data));
    t->lines[0] = '\0';
    (void)pop3_input(t->pop3, 1, text, strlen(text));
}

static void traced(struct talk *t, const char *text, const char *expected)
{
    server(t, text);
    assert_string_equal(t->lines, expected);
}

static void end(struct talk *t)
{
    pop3_free(t->pop3);
}

static void what_is_said_is_told_without_secrets(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, true, "pass word");
    traced(&t, "+OK \x1b[2J\r\n", "S: +OK \\x1b[2J\nC: CAPA\n");
    traced(&t, "-ERR\r\n",
           "S: -ERR\nC: USER al\\xc3\\xbc"
           "e\n");
    traced(&t, "+OK\r\n", "S: +OK\nC: PASS (left out)\n");
    traced(&t, "-ERR 'pass word' is wrong\r\n", "S: (left out: it repeats the password)\n");
    end(&t);
}

static void a_secret_that_welcomes_is_left_out(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, true, "pass word");
    server(&t, "+OK\r\n");
    server(&t, "-ERR\r\n");
    server(&t, "+OK\r\n");
    server(&t, "+OK 'pass word' is right\r\n");
    assert_non_null(strstr(t.lines, "S: (left out: it repeats the password)\n"));
    assert_null(strstr(t.lines, "pass word"));
    end(&t);
}

static void credentials_of_auth_are_left_out(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, true, "password");
    server(&t, "+OK\r\n");
    traced(&t, "+OK\r\nSASL PLAIN\r\n.\r\n",
           "S: +OK\nS: SASL PLAIN\nS: .\nC: AUTH PLAIN\n");
    traced(&t, "+ \r\n", "S: + \nC: (the credentials, left out)\n");
    traced(&t, "+ \r\n", "S: + \nC: *\n");
    end(&t);
}

static void log_in(struct talk *t, const char *capabilities)
{
    begin(t, true, "password");
    server(t, "+OK\r\n");
    server(t, capabilities);
    server(t, "+OK\r\n");
    server(t, "+OK\r\n");
}

static void of_a_listing_the_first_lines_and_the_last_are_told(void **state)
{
    (void)state;
    struct talk t;
    log_in(&t, "-ERR\r\n");
    assert_string_equal(t.lines, "S: +OK\nC: STAT\n");
    traced(&t, "+OK 8 80\r\n", "S: +OK 8 80\nC: LIST\n");
    traced(&t,
           "+OK\r\n1 10\r\n2 10\r\n3 10\r\n4 10\r\n5 10\r\n6 10\r\n7 10\r\n8 10\r\n.\r\n",
           "S: +OK\nS: 1 10\nS: 2 10\nS: 3 10\nS: 4 10\nS: 5 10\nS: (2 more lines)\n"
           "S: 8 10\nS: .\nC: UIDL\n");
    traced(&t, "+OK\r\n1 a\r\n2 b\r\n3 c\r\n4 d\r\n5 e\r\n6 f\r\n.\r\n",
           "S: +OK\nS: 1 a\nS: 2 b\nS: 3 c\nS: 4 d\nS: 5 e\nS: 6 f\nS: .\nC: RETR 1\n");
    end(&t);
}

static void of_a_message_the_size_is_told(void **state)
{
    (void)state;
    struct talk t;
    log_in(&t, "-ERR\r\n");
    server(&t, "+OK 1 20\r\n");
    server(&t, "+OK\r\n1 20\r\n.\r\n");
    server(&t, "+OK\r\n1 a\r\n.\r\n");
    traced(&t, "+OK 20 octets\r\nSubject: ", "S: +OK 20 octets\n");
    traced(&t, "secret\r\n\r\n.\r\n", "S: (19 bytes of a message)\nC: NOOP\n");
    end(&t);

    log_in(&t, "-ERR\r\n");
    server(&t, "+OK 1 20\r\n");
    server(&t, "+OK\r\n1 20\r\n.\r\n");
    server(&t, "+OK\r\n1 a\r\n.\r\n");
    server(&t, "+OK 20 octets\r\nSubject: ");
    t.lines[0] = '\0';
    pop3_eof(t.pop3, 2, false);
    assert_string_equal(t.lines, "S: (9 bytes of a message, and no more)\n");
    end(&t);
}

static void nothing_is_told_unasked(void **state)
{
    (void)state;
    struct talk t;
    begin(&t, false, "password");
    traced(&t, "+OK\r\n", "");
    traced(&t, "-ERR\r\n", "");
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_told_without_secrets),
        cmocka_unit_test(a_secret_that_welcomes_is_left_out),
        cmocka_unit_test(credentials_of_auth_are_left_out),
        cmocka_unit_test(of_a_listing_the_first_lines_and_the_last_are_told),
        cmocka_unit_test(of_a_message_the_size_is_told),
        cmocka_unit_test(nothing_is_told_unasked),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
