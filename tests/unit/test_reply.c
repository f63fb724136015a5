/* Lines, status words, response codes, capabilities, and the text of outcomes. */
#include "archive/error.h"
#include "workers/capabilities.h"
#include "workers/outcome.h"
#include "workers/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct reply parse(const char *text)
{
    struct line line = {.data = text, .size = strlen(text)};
    struct reply reply;
    reply_parse(&line, &reply);
    return reply;
}

static void lines_come_whole_at_every_split(void **state)
{
    (void)state;
    static const char in[] = "+OK one\r\n\r\n-ERR two\nthree\r four\r\n";
    static const char want[] = "[+OK one/0][/0][-ERR two/1][three\r four/0]";
    for (size_t split = 0; split < sizeof(in); split++) {
        struct line_reader reader = {0};
        char got[128] = "";
        size_t at = 0;
        while (at < sizeof(in) - 1) {
            size_t end = at < split ? split : sizeof(in) - 1;
            size_t used;
            struct line line;
            enum line_result rc =
                line_next(&reader, REPLY_LINE_MAX, in + at, end - at, &used, &line);
            at += used;
            if (rc == LINE_READY)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), "[%.*s/%d]",
                         (int)line.size, line.data, line.bare_lf);
            else
                assert_int_equal(rc, LINE_NONE);
        }
        line_reader_free(&reader);
        assert_string_equal(got, want);
    }
}

static void a_line_of_8_kib_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    static char in[REPLY_LINE_MAX + 1];
    for (size_t extra = 0; extra < 2; extra++) {
        size_t size = REPLY_LINE_MAX + extra;
        memset(in, 'x', sizeof(in));
        in[size - 1] = '\n';
        for (size_t split = 0; split < size; split += 511) {
            struct line_reader reader = {0};
            struct line line;
            size_t used = 0;
            enum line_result rc = LINE_NONE;
            if (split > 0)
                rc = line_next(&reader, REPLY_LINE_MAX, in, split, &used, &line);
            assert_int_equal(rc, LINE_NONE);
            rc = line_next(&reader, REPLY_LINE_MAX, in + split, size - split, &used, &line);
            assert_int_equal(rc, extra == 0 ? LINE_READY : LINE_TOO_LONG);
            line_reader_free(&reader);
        }
    }
}

static void an_endless_line_is_known_without_its_end(void **state)
{
    (void)state;
    char chunk[1000];
    memset(chunk, 'x', sizeof(chunk));
    struct line_reader reader = {0};
    struct line line;
    size_t used;
    enum line_result rc = LINE_NONE;
    unsigned chunks = 0;
    for (; rc == LINE_NONE; chunks++)
        rc = line_next(&reader, REPLY_LINE_MAX, chunk, sizeof(chunk), &used, &line);
    assert_int_equal(rc, LINE_TOO_LONG);
    assert_int_equal(chunks, 9);
    line_reader_free(&reader);
}

static void q48_status_words_in_any_case_and_without_text(void **state)
{
    (void)state;
    assert_int_equal(parse("+OK").status, REPLY_OK);
    assert_int_equal(parse("+ok done").status, REPLY_OK);
    assert_int_equal(parse("-eRr\tno").status, REPLY_ERR);
    assert_int_equal(parse("-ERR").status, REPLY_ERR);
    assert_int_equal(parse("+OKAY").status, REPLY_OTHER);
    assert_int_equal(parse("").status, REPLY_OTHER);
    assert_int_equal(parse(" +OK").status, REPLY_OTHER);
    struct reply reply = parse("+OK  3 120 ");
    assert_int_equal(reply.text_size, 6);
    assert_memory_equal(reply.text, "3 120 ", 6);
}

static void q51_a_challenge_is_a_plus_alone_or_before_a_blank(void **state)
{
    (void)state;
    assert_int_equal(parse("+").status, REPLY_CONTINUE);
    assert_int_equal(parse("+ ").status, REPLY_CONTINUE);
    assert_int_equal(parse("+ YWJj").status, REPLY_CONTINUE);
    assert_int_equal(parse("+YWJj").status, REPLY_OTHER);
}

static void response_codes_count_at_the_start_of_the_text(void **state)
{
    (void)state;
    assert_int_equal(parse("-ERR [IN-USE] busy").code, REPLY_CODE_IN_USE);
    assert_int_equal(parse("-ERR [in-use]").code, REPLY_CODE_IN_USE);
    assert_int_equal(parse("-ERR [LOGIN-DELAY] wait").code, REPLY_CODE_LOGIN_DELAY);
    assert_int_equal(parse("-ERR [SYS/TEMP] x").code, REPLY_CODE_SYS_TEMP);
    assert_int_equal(parse("-ERR [SYS/PERM] x").code, REPLY_CODE_SYS_PERM);
    assert_int_equal(parse("-ERR [AUTH] x").code, REPLY_CODE_AUTH);
    assert_int_equal(parse("-ERR [FOO/BAR] x").code, REPLY_CODE_OTHER);
    assert_int_equal(parse("-ERR see [AUTH]").code, REPLY_CODE_NONE);
    assert_int_equal(parse("-ERR [AUTH").code, REPLY_CODE_NONE);
}

static void q38_lock_is_not_block(void **state)
{
    (void)state;
    struct reply locked = parse("-ERR mailbox is Locked by another session");
    struct reply dotlock = parse("-ERR cannot create dotlock");
    struct reply blocked = parse("-ERR your address is blocked");
    assert_true(reply_speaks_of_lock(&locked));
    assert_true(reply_speaks_of_lock(&dotlock));
    assert_false(reply_speaks_of_lock(&blocked));
}

static int add(struct capabilities *c, const char *line)
{
    return capabilities_add(c, line, strlen(line));
}

static void q49_capabilities_are_read_tolerantly(void **state)
{
    (void)state;
    struct capabilities c;
    capabilities_clear(&c);
    static const char *const lines[] = {"TOP",  "uidl ",   "PIPELINING  ",   "SASL",
                                        "USER", "X-THING", "LOGIN-DELAY 90", "EXPIRENEVER",
                                        "",     "STLS"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(add(&c, lines[i]), 0);
    assert_true(c.uidl && c.pipelining && c.user && c.stls);
    assert_false(c.sasl_plain || c.utf8);
    assert_int_equal(c.login_delay_s, 90);
    assert_int_equal(c.expire_days, CAPABILITIES_EXPIRE_NEVER);
    add(&c, "SASL CRAM-MD5 plain");
    add(&c, "EXPIRE 0 USER");
    add(&c, "UTF8 USER");
    assert_true(c.sasl_plain && c.utf8);
    assert_int_equal(c.expire_days, 0);
    add(&c, "LOGIN-DELAY 99999999999999999999");
    assert_int_equal(c.login_delay_s, INT32_MAX);
}

static void capabilities_end_at_100_lines_and_16_kib(void **state)
{
    (void)state;
    struct capabilities c;
    capabilities_clear(&c);
    for (unsigned i = 0; i < CAPABILITIES_LINES_MAX; i++)
        assert_int_equal(add(&c, "X"), 0);
    assert_int_equal(add(&c, "X"), ERR_TOO_LARGE);

    static char line[CAPABILITIES_BYTES_MAX / 2];
    memset(line, 'X', sizeof(line));
    capabilities_clear(&c);
    assert_int_equal(capabilities_add(&c, line, sizeof(line) - 2), 0);
    assert_int_equal(capabilities_add(&c, line, sizeof(line) - 2), 0);
    assert_int_equal(add(&c, ""), ERR_TOO_LARGE);
}

static void control_characters_are_escaped(void **state)
{
    (void)state;
    char out[32];
    outcome_escape(out, sizeof(out), "a\x1b[0m\\\x80\0z", 9);
    assert_string_equal(out, "a\\x1b[0m\\\\\\x80\\x00z");
    outcome_escape(out, 12, "0123456789abcdef", 16);
    assert_string_equal(out, "01234567...");
    outcome_escape(out, 12, "\x01\x02\x03\x04", 4);
    assert_string_equal(out, "\\x01\\x02...");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_whole_at_every_split),
        cmocka_unit_test(a_line_of_8_kib_passes_and_one_byte_more_does_not),
        cmocka_unit_test(an_endless_line_is_known_without_its_end),
        cmocka_unit_test(q48_status_words_in_any_case_and_without_text),
        cmocka_unit_test(q51_a_challenge_is_a_plus_alone_or_before_a_blank),
        cmocka_unit_test(response_codes_count_at_the_start_of_the_text),
        cmocka_unit_test(q38_lock_is_not_block),
        cmocka_unit_test(q49_capabilities_are_read_tolerantly),
        cmocka_unit_test(capabilities_end_at_100_lines_and_16_kib),
        cmocka_unit_test(control_characters_are_escaped),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
