/* The scanner against the reference of message_split.h, over random messages and every cut
 * of short ones; the encoder against the message itself. */
#include "tests/support/message_split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEED 20240607u
#define SHORT_MESSAGES 3000
#define SHORT_MAX 40
#define LONG_MESSAGES 250
#define LONG_RUN_MAX 20000
#define LONG_CUT_MAX 5000

static void put(struct buffer *b, const void *data, size_t size)
{
    if (size > 0)
        buffer_put(b, data, size);
}

static struct base64_scanner *scanner_into(struct split *sp, size_t minimum)
{
    struct base64_sink sink = split_sink(sp);
    struct base64_scanner *s = base64_scanner_create(minimum, &sink);
    assert_non_null(s);
    return s;
}

/* A piece in a block of its own: a sanitizer sees a read beyond it. */
static int scan_copy(struct base64_scanner *s, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, data, size);
    int err = base64_scan(s, copy + 1, size);
    free(copy);
    return err;
}

static struct split split_at(struct span m, size_t minimum, size_t cut)
{
    struct split sp = {0};
    struct base64_scanner *s = scanner_into(&sp, minimum);
    assert_int_equal(scan_copy(s, m.data, cut), 0);
    assert_int_equal(scan_copy(s, m.data + cut, m.size - cut), 0);
    assert_int_equal(base64_scan_end(s), 0);
    base64_scanner_destroy(s);
    return sp;
}

static struct split split_whole(struct span m, size_t minimum)
{
    return split_at(m, minimum, m.size);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static size_t random_below(uint32_t *seed, size_t n)
{
    return next_random(seed) % n;
}

/* Pieces of 1..piece_max bytes. */
static struct split split_randomly(struct span m, size_t minimum, size_t piece_max,
                                   uint32_t *seed)
{
    struct split sp = {0};
    struct base64_scanner *s = scanner_into(&sp, minimum);
    for (size_t at = 0; at < m.size;) {
        size_t piece = 1 + random_below(seed, piece_max);
        piece = piece < m.size - at ? piece : m.size - at;
        assert_int_equal(scan_copy(s, m.data + at, piece), 0);
        at += piece;
    }
    assert_int_equal(base64_scan_end(s), 0);
    base64_scanner_destroy(s);
    return sp;
}

/* Encode a run, its bytes given in random pieces. */
static void encode(const struct base64_run *run, const uint8_t *data, uint32_t *seed,
                   struct buffer *out)
{
    struct base64_encoder e;
    size_t before = out->size;
    size_t size = (size_t)run->size;
    base64_encode_start(&e, run);
    for (size_t at = 0; at < size;) {
        size_t piece = random_below(seed, random_below(seed, 8) > 0 ? 9 : LONG_RUN_MAX);
        piece = piece < size - at ? piece : size - at;
        size_t room = base64_encode_room(&e, piece);
        assert_true(room <= 2 * piece + 16);
        uint8_t *encoded = malloc(room); /* exactly, for the sanitizer */
        assert_non_null(encoded);
        size_t n = base64_encode_add(&e, data + at, piece, encoded);
        assert_true(n < room);
        put(out, encoded, n);
        free(encoded);
        at += piece;
    }
    uint8_t end[BASE64_ENCODE_END_MAX];
    put(out, end, base64_encode_end(&e, end));
    assert_int_equal(out->size - before, base64_run_encoded_size(run));
}

static void assert_gives_back(const struct split *sp, struct span m, uint32_t *seed)
{
    struct buffer out = {0};
    size_t at = 0;
    for (size_t i = 0; i < segment_count(sp); i++) {
        struct segment segment = segment_at(sp, i);
        if (segment.is_run)
            encode(&segment.run, sp->bytes.data + at, seed, &out);
        else
            buffer_put(&out, sp->bytes.data + at, segment.size);
        at += segment.size;
    }
    assert_int_equal(at, sp->bytes.size);
    assert_int_equal(out.size, m.size);
    if (m.size > 0)
        assert_memory_equal(out.data, m.data, m.size);
    buffer_free(&out);
}

/* Every split in two, and byte by byte, is as the reference has it. */
static void assert_every_split(struct span m, size_t minimum, uint32_t *seed)
{
    struct split expected = reference_split(m, minimum);
    assert_gives_back(&expected, m, seed);
    for (size_t cut = 0; cut <= m.size; cut++) {
        struct split sp = split_at(m, minimum, cut);
        assert_same_split(&expected, &sp);
    }
    struct split bytewise = split_randomly(m, minimum, 1, seed);
    assert_same_split(&expected, &bytewise);
    split_free(&expected);
}

static void random_short_messages_at_every_split(void **state)
{
    (void)state;
    static const char *const vocabulary[] = {
        "A", "AAAA", "Zm9v", "+/8=", "Zg==", "Zh==",         "=",      "\r",
        "-", "\n",   "\r\n", "\r\n", "\n",   "AAAAAAAA\r\n", "AAAA\n", " ",
    };
    uint32_t seed = SEED;
    for (int i = 0; i < SHORT_MESSAGES; i++) {
        struct buffer m = {0};
        size_t minimum = 4 + random_below(&seed, 13);
        size_t size = random_below(&seed, SHORT_MAX);
        assert_non_null(buffer_reserve(&m, SHORT_MAX));
        while (m.size < size) {
            const char *word = vocabulary[random_below(&seed, 16)];
            buffer_put(&m, word, strlen(word));
        }
        assert_every_split(span_of(m.data, m.size), minimum, &seed);
        buffer_free(&m);
    }
}

/* A run of random bytes; now and then one of its characters is spoilt. */
static void put_random_run(struct buffer *m, size_t size_max, uint32_t *seed)
{
    static const uint32_t lengths[] = {4, 8, 60, 64, 72, 76, 76, 128, 1000, 8192, 65532};
    static const char junk[] = "=-\r\n \0_.A/";
    struct base64_run run = {.size = 1 + random_below(seed, size_max)};
    if (random_below(seed, 8) > 0) {
        run.line_length = lengths[random_below(seed, 11)];
        run.line_end = random_below(seed, 2) > 0 ? BASE64_LINE_CRLF : BASE64_LINE_LF;
    }
    uint8_t *bytes = malloc(run.size);
    assert_non_null(bytes);
    for (size_t i = 0; i < run.size; i++)
        bytes[i] = (uint8_t)next_random(seed);
    size_t before = m->size;
    encode(&run, bytes, seed, m);
    free(bytes);
    size_t at = before + random_below(seed, m->size - before);
    if (random_below(seed, 2) == 0)
        m->data[at] = (uint8_t)junk[random_below(seed, sizeof(junk) - 1)];
}

static void put_random_text(struct buffer *m, uint32_t *seed)
{
    static const char *const texts[] = {
        "",         "\r\n",    "\n",   "\r\n\r\n--b\r\nContent-Type: x\r\n\r\n",
        "Regards,", "Zg==",    "AB==", "=\r\n",
        "   \r\n",  "A\r\n\n", "\r",   "Rubbish/of+the+alphabet\r\n",
    };
    for (size_t words = random_below(seed, 4); words > 0; words--) {
        const char *text = texts[random_below(seed, 12)];
        put(m, text, strlen(text));
    }
}

static void random_long_messages_at_random_splits(void **state)
{
    (void)state;
    static const size_t minimums[] = {4, 100, 4096, 4096, 20000};
    uint32_t seed = SEED;
    for (int i = 0; i < LONG_MESSAGES; i++) {
        struct buffer b = {0};
        size_t minimum = minimums[random_below(&seed, 5)];
        for (size_t runs = 1 + random_below(&seed, 4); runs > 0; runs--) {
            put_random_text(&b, &seed);
            put_random_run(&b, random_below(&seed, 4) > 0 ? LONG_RUN_MAX : 100, &seed);
        }
        put_random_text(&b, &seed);
        struct span m = span_of(b.data, b.size);
        struct split expected = reference_split(m, minimum);
        assert_gives_back(&expected, m, &seed);
        struct split whole = split_whole(m, minimum);
        assert_same_split(&expected, &whole);
        for (size_t piece_max = 3; piece_max <= LONG_CUT_MAX; piece_max *= 11) {
            struct split sp = split_randomly(m, minimum, piece_max, &seed);
            assert_same_split(&expected, &sp);
        }
        split_free(&expected);
        buffer_free(&b);
    }
}

/* Splits `message` with minimum 8 and compares with what is expected, e.g. "T3 R6/4CRLF
 * T2": 3 bytes of text, 6 decoded bytes in lines of 4 with CRLF, 2 bytes of text. */
static void assert_splits(const char *message, const char *expected)
{
    static const char *const names[] = {"", "CRLF", "LF"};
    struct span m = span_text(message);
    uint32_t seed = SEED;
    struct split sp = split_whole(m, 8);
    char got[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < segment_count(&sp); i++) {
        struct segment segment = segment_at(&sp, i);
        int n = snprintf(got + used, sizeof(got) - used, "%s%c%zu", i > 0 ? " " : "",
                         segment.is_run ? 'R' : 'T', segment.size);
        used += (size_t)n;
        if (segment.run.line_length > 0)
            n = snprintf(got + used, sizeof(got) - used, "/%u%s", segment.run.line_length,
                         names[segment.run.line_end]);
        used += segment.run.line_length > 0 ? (size_t)n : 0;
    }
    assert_string_equal(got, expected);
    assert_gives_back(&sp, m, &seed);
    split_free(&sp);
    assert_every_split(m, 8, &seed);
}

static void begins_only_at_the_start_of_a_line(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFy", "R6");
    assert_splits("\nZm9vYmFy", "T1 R6");
    assert_splits("x:\r\nZm9vYmFy", "T4 R6");
    assert_splits(" Zm9vYmFy", "T9");
    assert_splits("\rZm9vYmFy", "T9");
}

static void the_line_end_behind_the_last_character_is_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFy\r\nZm9v\r\n", "R9/8CRLF T2");
    assert_splits("Zm9vYmFy\nZm9v\n\n--", "R9/8LF T4");
    assert_splits("Zm9vYmFy\r\nZm9vYmFy\r\n", "R12/8CRLF T2");
    assert_splits("Zm9vYmFy\r\nZm9v", "R9/8CRLF");
}

static void one_line_has_no_line_length(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFy\r\n", "R6 T2");
    assert_splits("Zm9vYmFy\r\n.\r\n", "R6 T5");
}

static void the_first_line_fixes_the_length(void **state)
{
    (void)state;
    assert_splits("Zm9v\nZm9vYmFy\nZm9v", "R6/4LF T9");
    assert_splits("Zm9vYmFy\nZm9v\nZm9vYmFy", "R9/8LF T1 R6");
}

static void a_line_length_is_a_multiple_of_four(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFyZm\nZm9vYmFyZm\n", "R6 T3 R6 T3");
    assert_splits("Zm9vY\nZm9vY\n", "T12");
}

static void another_line_end_ends_it(void **state)
{
    (void)state;
    assert_splits("Zm9v\r\nZm9v\nZm9v", "R6/4CRLF T5");
    assert_splits("Zm9v\nZm9v\r\nZm9v", "R6/4LF T6");
    assert_splits("Zm9vYmFy\rZm9v", "R6 T5");
}

static void padding_ends_it(void **state)
{
    (void)state;
    assert_splits("Zm9vYg==", "R4");
    assert_splits("Zm9vYmE=", "R5");
    assert_splits("Zm9vYg==Zm9v", "R4 T4");
    assert_splits("Zm9vYg==\r\nZm9v", "R4 T6");
}

static void an_equals_sign_elsewhere_is_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFyZ=9v", "R6 T4");
    assert_splits("Zm9vYmFyZm=v", "R6 T4");
    assert_splits("Zm9vYmFy====", "R6 T4");
    assert_splits("Zm9vYmFyZ===", "R6 T4");
    assert_splits("=Zm9vYmFy", "T9");
}

static void pad_bits_that_are_not_zero_are_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFyYh==", "R6 T4");
    assert_splits("Zm9vYmFyYmF=", "R6 T4");
    assert_splits("Zm9vYmFy\r\nYh==", "R6 T6");
}

static void left_over_characters_are_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFyA", "R6 T1");
    assert_splits("Zm9vYmFyAA", "R6 T2");
    assert_splits("Zm9vYmFyAAA", "R6 T3");
    assert_splits("Zm9vYmFy\r\nAAA", "R6 T5");
    assert_splits("Zm9vYmFy\r\n", "R6 T2");
}

static void other_alphabets_are_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFy-___", "R6 T4");
    assert_splits("Zm9vYmFy\xc3\xa4zz", "R6 T4");
    assert_splits("+/+/+/+/", "R6");
}

static void blanks_are_text(void **state)
{
    (void)state;
    assert_splits("Zm9vYmFy \r\nZm9vYmFy", "R6 T3 R6");
    assert_splits("Zm9v Zm9v", "T9");
    assert_splits("Zm9v\n\nZm9v", "T10");
}

static void what_is_too_short_is_text(void **state)
{
    (void)state;
    assert_splits("Zm9v", "T4");
    assert_splits("Zm9v\r\n", "T6");
    assert_splits("Zg==\r\nZm9vYmFy", "T6 R6");
    assert_splits("Zm9v\nYg==", "R4/4LF");
}

static void line_ends_count_towards_the_minimum(void **state)
{
    (void)state;
    uint32_t seed = SEED;
    struct span m = span_text("Zm9v\r\nZm9v");
    struct split sp = split_whole(m, 10);
    assert_int_equal(segment_count(&sp), 1);
    assert_true(segment_at(&sp, 0).is_run);
    split_free(&sp);
    sp = split_whole(m, 11);
    assert_int_equal(segment_count(&sp), 1);
    assert_false(segment_at(&sp, 0).is_run);
    split_free(&sp);
    assert_every_split(m, 10, &seed);
    assert_every_split(m, 11, &seed);
}

static void no_run_begins_inside_what_is_too_short(void **state)
{
    (void)state;
    uint32_t seed = SEED;
    struct span m = span_text("Zm9v\nZm9vYmFyYmF6\nZm9vYmFyYmF6");
    struct split sp = split_whole(m, 12);
    assert_int_equal(segment_count(&sp), 2);
    assert_int_equal(segment_at(&sp, 0).size, 18);
    assert_int_equal(segment_at(&sp, 1).run.size, 9);
    split_free(&sp);
    assert_every_split(m, 12, &seed);
}

static void nul_is_text(void **state)
{
    (void)state;
    static const char m[] = "Zm9vYmFy\0Zm9";
    uint32_t seed = SEED;
    assert_every_split(span_of(m, sizeof(m)), 8, &seed);
    struct split sp = split_whole(span_of(m, sizeof(m)), 8);
    assert_int_equal(segment_count(&sp), 2);
    assert_int_equal(segment_at(&sp, 0).size, 6);
    split_free(&sp);
}

/* `lines` lines of `length` characters and LF. */
static struct buffer repeated_lines(size_t length, size_t lines)
{
    struct buffer b = {0};
    for (size_t line = 0; line < lines; line++) {
        uint8_t *at = buffer_reserve(&b, length + 1);
        assert_non_null(at);
        memset(at, 'Q', length);
        at[length] = '\n';
        b.size += length + 1;
    }
    return b;
}

static void lines_may_have_65532_characters_and_no_more(void **state)
{
    (void)state;
    uint32_t seed = SEED;
    struct buffer b = repeated_lines(BASE64_LINE_MAX, 3);
    struct split sp = split_randomly(span_of(b.data, b.size), 4096, LONG_CUT_MAX, &seed);
    assert_int_equal(segment_count(&sp), 2);
    assert_int_equal(segment_at(&sp, 0).run.line_length, BASE64_LINE_MAX);
    split_free(&sp);
    buffer_free(&b);

    b = repeated_lines(BASE64_LINE_MAX + 4, 3);
    sp = split_randomly(span_of(b.data, b.size), 4096, LONG_CUT_MAX, &seed);
    assert_int_equal(segment_count(&sp), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(segment_at(&sp, i).is_run, i % 2 == 0);
        assert_int_equal(segment_at(&sp, i).run.line_length, 0);
    }
    assert_gives_back(&sp, span_of(b.data, b.size), &seed);
    split_free(&sp);
    buffer_free(&b);
}

static void one_line_may_be_endless(void **state)
{
    (void)state;
    uint32_t seed = SEED;
    struct buffer b = repeated_lines(1500000, 1);
    struct split sp = split_randomly(span_of(b.data, b.size), 4096, 40000, &seed);
    assert_int_equal(segment_count(&sp), 2);
    assert_int_equal(segment_at(&sp, 0).size, 1500000 / 4 * 3);
    assert_int_equal(segment_at(&sp, 0).run.line_end, BASE64_LINE_NONE);
    assert_gives_back(&sp, span_of(b.data, b.size), &seed);
    split_free(&sp);
    buffer_free(&b);
}

/* Text comes out as it goes in, not when the message is over. */
static void only_what_may_be_a_run_is_kept(void **state)
{
    (void)state;
    struct split sp = {0};
    struct base64_scanner *s = scanner_into(&sp, 4096);
    assert_int_equal(scan_copy(s, (const uint8_t *)"Subject: x\r\nYmFy", 16), 0);
    assert_int_equal(sp.bytes.size, 12);
    assert_int_equal(scan_copy(s, (const uint8_t *)"----", 4), 0);
    assert_int_equal(sp.bytes.size, 20);
    assert_int_equal(base64_scan_end(s), 0);
    assert_int_equal(sp.bytes.size, 20);
    base64_scanner_destroy(s);
    split_free(&sp);
}

static void an_empty_message_is_nothing(void **state)
{
    (void)state;
    struct split sp = {0};
    struct base64_scanner *s = scanner_into(&sp, 4096);
    assert_int_equal(base64_scan(s, NULL, 0), 0);
    assert_int_equal(base64_scan_end(s), 0);
    assert_int_equal(sp.calls, 0);
    base64_scanner_destroy(s);
    split_free(&sp);
}

static void the_next_message_starts_afresh(void **state)
{
    (void)state;
    struct split sp = {0};
    struct base64_scanner *s = scanner_into(&sp, 8);
    assert_int_equal(scan_copy(s, (const uint8_t *)"text", 4), 0);
    assert_int_equal(base64_scan_end(s), 0);
    assert_int_equal(scan_copy(s, (const uint8_t *)"Zm9vYmFyYm", 10), 0);
    base64_scan_reset(s);
    assert_int_equal(scan_copy(s, (const uint8_t *)"Zm9vYg==", 8), 0);
    assert_int_equal(base64_scan_end(s), 0);
    assert_int_equal(segment_count(&sp), 2);
    assert_int_equal(segment_at(&sp, 1).size, 4);
    assert_memory_equal(sp.bytes.data, "textfoob", 8);
    base64_scanner_destroy(s);
    split_free(&sp);
}

static void what_the_sink_returns_stops_the_scan(void **state)
{
    (void)state;
    static const uint8_t m[] = "a\r\nZm9vYmFyYmF6\r\nb\r\nZm9vZm9vZm9v";
    for (int fail_at = 1; fail_at <= 6; fail_at++) {
        struct split sp = {.fail_at = fail_at};
        struct base64_scanner *s = scanner_into(&sp, 8);
        int err = base64_scan(s, m, sizeof(m) - 1);
        if (err == 0)
            err = base64_scan_end(s);
        assert_int_equal(err, SPLIT_ERROR);
        assert_int_equal(sp.calls, fail_at);
        base64_scanner_destroy(s);
        split_free(&sp);
    }
}

static void runs_from_a_disk_are_checked(void **state)
{
    (void)state;
    static const struct {
        struct base64_run run;
        bool valid;
    } cases[] = {
        {{1, 0, BASE64_LINE_NONE}, true},
        {{1, 76, BASE64_LINE_CRLF}, true},
        {{BASE64_RUN_SIZE_MAX, BASE64_LINE_MAX, BASE64_LINE_LF}, true},
        {{0, 76, BASE64_LINE_CRLF}, false},
        {{BASE64_RUN_SIZE_MAX + 1, 76, BASE64_LINE_CRLF}, false},
        {{1, 76, BASE64_LINE_NONE}, false},
        {{1, 0, BASE64_LINE_LF}, false},
        {{1, 78, BASE64_LINE_LF}, false},
        {{1, BASE64_LINE_MAX + 4, BASE64_LINE_LF}, false},
        {{1, 76, BASE64_LINE_END_COUNT}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(base64_run_valid(&cases[i].run), cases[i].valid);
}

static void encoded_sizes(void **state)
{
    (void)state;
    assert_int_equal(base64_run_encoded_size(&(struct base64_run){1, 0, 0}), 4);
    assert_int_equal(
        base64_run_encoded_size(&(struct base64_run){57, 76, BASE64_LINE_CRLF}), 76);
    assert_int_equal(
        base64_run_encoded_size(&(struct base64_run){58, 76, BASE64_LINE_CRLF}), 82);
    assert_int_equal(
        base64_run_encoded_size(&(struct base64_run){1 << 20, 76, BASE64_LINE_LF}),
        1416500);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_short_messages_at_every_split),
        cmocka_unit_test(random_long_messages_at_random_splits),
        cmocka_unit_test(begins_only_at_the_start_of_a_line),
        cmocka_unit_test(the_line_end_behind_the_last_character_is_text),
        cmocka_unit_test(one_line_has_no_line_length),
        cmocka_unit_test(the_first_line_fixes_the_length),
        cmocka_unit_test(a_line_length_is_a_multiple_of_four),
        cmocka_unit_test(another_line_end_ends_it),
        cmocka_unit_test(padding_ends_it),
        cmocka_unit_test(an_equals_sign_elsewhere_is_text),
        cmocka_unit_test(pad_bits_that_are_not_zero_are_text),
        cmocka_unit_test(left_over_characters_are_text),
        cmocka_unit_test(other_alphabets_are_text),
        cmocka_unit_test(blanks_are_text),
        cmocka_unit_test(what_is_too_short_is_text),
        cmocka_unit_test(line_ends_count_towards_the_minimum),
        cmocka_unit_test(no_run_begins_inside_what_is_too_short),
        cmocka_unit_test(nul_is_text),
        cmocka_unit_test(lines_may_have_65532_characters_and_no_more),
        cmocka_unit_test(one_line_may_be_endless),
        cmocka_unit_test(only_what_may_be_a_run_is_kept),
        cmocka_unit_test(an_empty_message_is_nothing),
        cmocka_unit_test(the_next_message_starts_afresh),
        cmocka_unit_test(what_the_sink_returns_stops_the_scan),
        cmocka_unit_test(runs_from_a_disk_are_checked),
        cmocka_unit_test(encoded_sizes),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
