#include "archive/utf8.h"
#include "tools/display.h"
#include "tools/output.h"
#include "tools/progress.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state)
{
    struct display *d = NULL;
    int err = display_create(&d);
    *state = d;
    return err;
}

static int tear_down(void **state)
{
    display_destroy(*state);
    return 0;
}

static void assert_span(const struct buffer *b, const char *expected)
{
    assert_false(b->failed);
    assert_int_equal(b->size, strlen(expected));
    if (b->size > 0)
        assert_memory_equal(b->data, expected, b->size);
}

static void encoded_words_and_raw_bytes_become_utf8(void **state)
{
    static const struct {
        const char *field;
        const char *expected;
    } cases[] = {
        {"plain", "plain"},
        {"=?utf-8?q?J=C3=B6rg?= <j@x>", "Jörg <j@x>"},
        {"=?iso-8859-1?Q?a=E4?= =?iso-8859-1?Q?=F6?=", "aäö"},
        {"=?UTF-8?B?w6TDtg==?=", "äö"},
        {"Gr\xC3\xBC\xC3\x9F"
         "e",
         "Grüße"},
        {"Gr\xFC\xDF"
         "e",
         "Grüße"},
        {"=?utf-8?q?cut", "=?utf-8?q?cut"},
        {"", ""},
    };
    struct buffer out = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        display_decode(*state, span_text(cases[i].field), &out);
        assert_span(&out, cases[i].expected);
    }
    buffer_free(&out);
}

static void a_nul_within_a_field_does_not_end_it(void **state)
{
    struct buffer out = {0};
    display_decode(*state, span_of("a\0b", 3), &out);
    assert_span(&out, "a b");
    buffer_free(&out);
}

static void what_an_encoded_word_smuggles_in_never_reaches_a_terminal(void **state)
{
    struct buffer decoded = {0};
    struct buffer clean = {0};
    display_decode(*state,
                   span_text("=?utf-8?q?a=1B[2Jb=0D=0Ac=C2=9B31m=E2=80=AEd=7F?= e\x07"),
                   &decoded);
    utf8_clean(&clean, span_of(decoded.data, decoded.size));
    assert_true(clean.size > 0);
    for (size_t at = 0; at < clean.size;) {
        uint32_t c;
        at += utf8_next(clean.data + at, clean.size - at, &c);
        assert_false(utf8_unsafe(c));
    }
    buffer_free(&decoded);
    buffer_free(&clean);
}

static void dates_are_read_leniently(void **state)
{
    static const struct {
        const char *field;
        int64_t time_s;
    } good[] = {
        {"Sun, 22 Nov 2026 00:47:12 +0000", 1795308432},
        {"22 Nov 2026 01:47:12 +0100", 1795308432},
        {"Sun, 22 Nov 2026 00:47:12 GMT (a comment)", 1795308432},
        {"Sun Nov 22 00:47:12 2026", 1795308432},
        {"Sat, 21 Nov 2026 19:47:12 EST", 1795308432},
    };
    static const char *const bad[] = {"",         "yesterday", "-",
                                      "\xFF\xFE", ",,,,",      "99999999999999999999"};
    int64_t time_s;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(display_date(*state, span_text(good[i].field), &time_s));
        assert_int_equal(time_s, good[i].time_s);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(display_date(*state, span_text(bad[i]), &time_s));
}

static void columns_are_counted_as_a_terminal_does(void **state)
{
    struct span wide = span_text("日本e\xCC\x81x");
    assert_int_equal(display_width(*state, wide), 6);
    assert_int_equal(display_fit(*state, wide, 3), 3);
    assert_int_equal(display_fit(*state, wide, 4), 6);
    assert_int_equal(display_fit(*state, wide, 5), 9);
    assert_int_equal(display_fit(*state, wide, 100), wide.size);
}

static void bytes_that_are_not_utf8_are_replaced_one_by_one(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xC0\x80",
        "\xC3",
        "\xE0\x80\x80",
        "\xED\xA0\x80",
        "\xF4\x90\x80\x80",
        "\xF8\x88\x80\x80",
        "\xFF",
        "\xE2\x82",
        "\xF0\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t c;
        assert_int_equal(utf8_next((const uint8_t *)bad[i], strlen(bad[i]), &c), 1);
        assert_int_equal(c, UTF8_REPLACEMENT);
    }
}

static void every_code_point_is_read_back(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10FFFF; c++) {
        char bytes[UTF8_SIZE_MAX];
        uint32_t back;
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        size_t size = utf8_put(c, bytes);
        if (utf8_next((const uint8_t *)bytes, size, &back) != size || back != c)
            fail_msg("code point %x", c);
    }
}

static void white_space_becomes_one_space(void **state)
{
    (void)state;
    struct buffer clean = {0};
    utf8_clean(&clean, span_text("a\r\n\t b\x1B[0m"));
    assert_span(&clean, "a b\xEF\xBF\xBD[0m");
    buffer_free(&clean);
}

static void json_is_valid_whatever_comes_in(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    struct output out = {.file = open_memstream(&text, &size)};
    static const char *const words[] = {"first", "second", "third"};
    static const char bytes[] = "a\"\\\n\x1B\0\xFFé\xC2\x9B\xE2\x80\xAE\xF3\xA0\x80\x81";
    struct json j;
    json_begin(&j, &out);
    json_string(&j, "s", span_of(bytes, sizeof(bytes) - 1));
    json_string_or_null(&j, "empty", span_text(""));
    json_number(&j, "n", UINT64_MAX);
    json_signed(&j, "i", -5);
    json_bool(&j, "b", true);
    json_time(&j, "t", 1795308432);
    json_time_us(&j, "never", 0);
    json_hex(&j, "h", (const uint8_t *)"\x01\xAB", 2);
    json_words(&j, "w", 5, words, 3);
    json_end(&j);
    assert_int_equal(output_finish(&out), 0);
    (void)fclose(out.file);
    assert_string_equal(
        text, "{\"s\":"
              "\"a\\\"\\\\\\u000a\\u001b\\u0000\xEF\xBF\xBDé\\u009b\\u202e\\udb40\\udc01\","
              "\"empty\":null,\"n\":18446744073709551615,\"i\":-5,\"b\":true,"
              "\"t\":\"2026-11-22T00:47:12Z\",\"never\":null,\"h\":\"01ab\","
              "\"w\":[\"first\",\"third\"]}\n");
    free(text);
}

static void an_output_that_fails_says_so_once_and_for_all(void **state)
{
    (void)state;
    struct output out = {.file = fopen("/dev/full", "w")};
    assert_non_null(out.file);
    (void)setvbuf(out.file, NULL, _IONBF, 0);
    output_print(&out, "x");
    assert_int_equal(out.error, -ENOSPC);
    output_bytes(&out, "y", 1);
    assert_int_equal(output_finish(&out), -ENOSPC);
    (void)fclose(out.file);
}

static void an_output_that_fails_at_the_end_is_noticed(void **state)
{
    (void)state;
    struct output out = {.file = fopen("/dev/full", "w")};
    assert_non_null(out.file);
    output_print(&out, "x");
    assert_int_equal(out.error, 0);
    assert_int_equal(output_finish(&out), -ENOSPC);
    (void)fclose(out.file);
}

static void progress_tells_what_can_be_known(void **state)
{
    (void)state;
    char text[PROGRESS_TEXT_MAX];
    progress_text(text, 1500000, 0, 100);
    assert_string_equal(text, "1.5 MB");
    progress_text(text, 1500000, 6000000, 100);
    assert_string_equal(text, "1.5 MB, 25 %");
    progress_text(text, 1500000, 6000000, 30000);
    assert_string_equal(text, "1.5 MB, 25 %, 50.0 kB/s, 1 min 30 s left");
    progress_text(text, 9000000, 6000000, 30000); /* the total had grown */
    assert_string_equal(text, "9.0 MB, 100 %, 300 kB/s, 0 s left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoded_words_and_raw_bytes_become_utf8),
        cmocka_unit_test(a_nul_within_a_field_does_not_end_it),
        cmocka_unit_test(what_an_encoded_word_smuggles_in_never_reaches_a_terminal),
        cmocka_unit_test(dates_are_read_leniently),
        cmocka_unit_test(columns_are_counted_as_a_terminal_does),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced_one_by_one),
        cmocka_unit_test(every_code_point_is_read_back),
        cmocka_unit_test(white_space_becomes_one_space),
        cmocka_unit_test(json_is_valid_whatever_comes_in),
        cmocka_unit_test(an_output_that_fails_says_so_once_and_for_all),
        cmocka_unit_test(an_output_that_fails_at_the_end_is_noticed),
        cmocka_unit_test(progress_tells_what_can_be_known),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
