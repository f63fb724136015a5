/* The fields for display, however the header is cut into pieces. */
#include "archive/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char header[] = "Received: from a.example by b.example\r\n"
                             "\twith ESMTP; Subject: not this one\r\n"
                             "DATE : Mon, 2 Mar 2026 10:00:00 +0100\r\n"
                             "X-Subject-Of-Something-Else: no\r\n"
                             "Subject: Lunch\r\n"
                             " at noon\r\n"
                             "Subject: a second one\r\n"
                             "X-UIDL: forged\r\n"
                             "From:   a@a.example  \r\n"
                             "no field\r\n"
                             "To: b@b.example\n"
                             "Message-ID: <1@a.example>\r\n"
                             "\r\n"
                             "Subject: in the body\r\n";

static void assert_field(const struct envelope *e, int field, const char *want)
{
    struct span got = envelope_field(e, field);
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

static void assert_header_read(const struct envelope *e)
{
    assert_field(e, FIELD_DATE, "Mon, 2 Mar 2026 10:00:00 +0100");
    assert_field(e, FIELD_SUBJECT, "Lunch at noon");
    assert_field(e, FIELD_FROM, "a@a.example");
    assert_field(e, FIELD_TO, "b@b.example");
    assert_field(e, FIELD_MESSAGE_ID, "<1@a.example>");
    assert_field(e, ENVELOPE_X_UIDL, "forged");
}

static void test_fields_are_found_wherever_the_header_is_split(void **state)
{
    (void)state;
    const uint8_t *data = (const uint8_t *)header;
    const size_t size = sizeof(header) - 1;
    struct envelope *e = malloc(sizeof(*e));
    assert_non_null(e);
    for (size_t cut = 0; cut <= size; cut++) {
        envelope_start(e);
        envelope_add(e, data, cut);
        envelope_add(e, data + cut, size - cut);
        assert_header_read(e);
    }
    envelope_start(e);
    for (size_t i = 0; i < size; i++)
        envelope_add(e, data + i, 1);
    assert_header_read(e);
    free(e);
}

/* A line that nobody asked for and a field behind it: by how far it reaches. */
static void look_behind(struct envelope *e, size_t filler, size_t piece)
{
    static const char field[] = "\nSubject: x\n\n";
    size_t size = filler + sizeof(field) - 1;
    uint8_t *data = malloc(size);
    assert_non_null(data);
    memset(data, 'f', filler);
    memcpy(data, "X:", 2);
    memcpy(data + filler, field, sizeof(field) - 1);
    envelope_start(e);
    for (size_t at = 0; at < size; at += piece)
        envelope_add(e, data + at, size - at < piece ? size - at : piece);
    free(data);
}

static void test_no_more_than_the_limit_is_looked_at(void **state)
{
    (void)state;
    static const size_t needed = sizeof("\nSubject: x") - 1;
    static const size_t pieces[] = {4096, 1000, ENVELOPE_SCAN_MAX * 2};
    struct envelope *e = malloc(sizeof(*e));
    assert_non_null(e);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        look_behind(e, ENVELOPE_SCAN_MAX - needed, pieces[i]);
        assert_field(e, FIELD_SUBJECT, "x");
        look_behind(e, ENVELOPE_SCAN_MAX - needed + 1, pieces[i]);
        assert_field(e, FIELD_SUBJECT, "");
        look_behind(e, ENVELOPE_SCAN_MAX + 100, pieces[i]);
        assert_true(e->done);
        assert_field(e, FIELD_SUBJECT, "");
    }
    free(e);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_are_found_wherever_the_header_is_split),
        cmocka_unit_test(test_no_more_than_the_limit_is_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
