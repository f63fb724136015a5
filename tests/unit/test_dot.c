/* The body's machine against a plain reference, over every short text and every split. */
#include "workers/dot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BODY_MAX 4096

struct body {
    char data[BODY_MAX];
    size_t size;
    size_t used; /* bytes taken, the terminator included */
    bool ended;
    uint64_t kept;
    uint64_t removed;
};

/* Looks at the whole text at once, byte by byte. */
static void reference(const char *in, size_t size, bool lf_only, struct body *out)
{
    *out = (struct body){0};
    bool start = true;
    for (size_t i = 0; i < size; i++) {
        size_t left = size - i;
        if (start && in[i] == '.') {
            const char *end = lf_only ? ".\n" : ".\r\n";
            if (left >= strlen(end) && memcmp(in + i, end, strlen(end)) == 0) {
                out->ended = true;
                out->used = i + strlen(end);
                return;
            }
            if (left > 1 && in[i + 1] == '.') {
                out->removed++;
                i++;
            } else {
                out->kept++;
            }
        }
        out->data[out->size++] = in[i];
        start = false;
        if (in[i] == '\n') {
            bool crlf = i > 0 && in[i - 1] == '\r';
            lf_only = lf_only && !crlf;
            start = crlf || lf_only;
        }
    }
    out->used = size;
}

static void feed(struct dot *d, const char *in, size_t size, struct body *out)
{
    size_t at = 0;
    while (at < size && !dot_ended(d)) {
        const char *slice;
        size_t slice_size;
        size_t used = dot_next(d, in + at, size - at, &slice, &slice_size);
        assert_true(used > 0 || slice_size > 0);
        memcpy(out->data + out->size, slice, slice_size);
        out->size += slice_size;
        at += used;
    }
    out->used += at;
}

/* The two parts lie in buffers of their own, so that a sanitizer sees a read across the
 * split. */
static void run_split(const char *in, size_t size, size_t split, bool lf_only,
                      struct body *out)
{
    char first[BODY_MAX];
    struct dot d;
    *out = (struct body){0};
    dot_start(&d, lf_only);
    memcpy(first, in, split);
    feed(&d, first, split, out);
    memset(first, '.', split);
    if (!dot_ended(&d))
        feed(&d, in + split, size - split, out);
    out->ended = dot_ended(&d);
    out->kept = d.kept;
    out->removed = d.removed;
}

static void assert_same(const struct body *got, const struct body *want)
{
    assert_int_equal(got->ended, want->ended);
    assert_int_equal(got->used, want->used);
    assert_int_equal(got->size, want->size);
    assert_memory_equal(got->data, want->data, want->size);
    assert_int_equal(got->kept, want->kept);
    assert_int_equal(got->removed, want->removed);
}

/* Adds a terminator that ends any text in that mode, so that no byte is still held back. */
static void check_all_splits(const char *text, size_t size, bool lf_only)
{
    char in[BODY_MAX];
    struct body want, got;
    memcpy(in, text, size);
    memcpy(in + size, "\r\n.\r\n", 5);
    reference(in, size + 5, lf_only, &want);
    assert_true(want.ended);
    for (size_t split = 0; split <= size + 5; split++) {
        run_split(in, size + 5, split, lf_only, &got);
        assert_same(&got, &want);
    }
}

static void every_short_text_at_every_split(void **state)
{
    (void)state;
    static const char alphabet[] = {'.', '\r', '\n', 'a'};
    enum { LENGTH = 6, COUNT = 1 << (2 * LENGTH) };
    for (unsigned code = 0; code < COUNT; code++) {
        char text[LENGTH];
        for (unsigned i = 0; i < LENGTH; i++)
            text[i] = alphabet[(code >> (2 * i)) & 3];
        for (size_t size = LENGTH; size > LENGTH - 2; size--) {
            check_all_splits(text, size, false);
            check_all_splits(text, size, true);
        }
    }
}

static void check(const char *in, bool lf_only, const char *want, bool ended)
{
    struct body got;
    size_t size = strlen(in);
    for (size_t split = 0; split <= size; split++) {
        run_split(in, size, split, lf_only, &got);
        assert_int_equal(got.ended, ended);
        got.data[got.size] = '\0';
        assert_string_equal(got.data, want);
    }
}

static void stuffed_dots_lose_one(void **state)
{
    (void)state;
    check("..\r\n...a\r\nb..\r\n.\r\n", false, ".\r\n..a\r\nb..\r\n", true);
}

static void empty_body(void **state)
{
    (void)state;
    check(".\r\n", false, "", true);
    check(".\n", true, "", true);
}

static void bytes_behind_the_terminator_are_left(void **state)
{
    (void)state;
    static const char in[] = "a\r\n.\r\n+OK next\r\n";
    struct body got;
    run_split(in, sizeof(in) - 1, 3, false, &got);
    assert_true(got.ended);
    assert_int_equal(got.used, 6);
}

static void q20_unstuffed_dot_stays_and_is_counted(void **state)
{
    (void)state;
    static const char in[] = ".a\r\n.\rb\r\n.\r\n";
    struct body got;
    for (size_t split = 0; split < sizeof(in); split++) {
        run_split(in, sizeof(in) - 1, split, false, &got);
        assert_true(got.ended);
        assert_int_equal(got.kept, 2);
        assert_int_equal(got.size, 9);
        assert_memory_equal(got.data, ".a\r\n.\rb\r\n", 9);
    }
}

static void q23_dot_without_line_end_before_it_ends_nothing(void **state)
{
    (void)state;
    check("a.\r\n", false, "a.\r\n", false);
}

static void q24_bare_lf_ends_only_where_all_is_bare_lf(void **state)
{
    (void)state;
    check("a\n..b\n.\n", true, "a\n.b\n", true);
    check("a\n.\nb\r\n.\r\n", false, "a\n.\nb\r\n", true);
    check("a\r\nb\n.\nc\r\n.\r\n", true, "a\r\nb\n.\nc\r\n", true);
}

static void q24_mixed_line_ends_around_the_dot_end_nothing(void **state)
{
    (void)state;
    check("a\n.\r\nb\r\n.\r\n", false, "a\n.\r\nb\r\n", true);
    check("a\r\n.\nb\r\n.\r\n", false, "a\r\n.\nb\r\n", true);
    check("a\n.\r\nb\r\n.\r\n", true, "a\n.\r\nb\r\n", true);
}

static void q25_bare_cr_and_bare_lf_stay(void **state)
{
    (void)state;
    check("a\rb\nc\r\r\n\n\r.\r\n.\r\n", false, "a\rb\nc\r\r\n\n\r.\r\n", true);
}

static void q26_nul_is_data(void **state)
{
    (void)state;
    static const char in[] = "a\0b\r\n\0\r\n.\r\n";
    struct body got;
    for (size_t split = 0; split < sizeof(in); split++) {
        run_split(in, sizeof(in) - 1, split, false, &got);
        assert_true(got.ended);
        assert_int_equal(got.size, 8);
        assert_memory_equal(got.data, in, 8);
    }
}

static void q27_a_line_has_any_length(void **state)
{
    (void)state;
    static char line[1 << 16];
    memset(line, 'x', sizeof(line));
    struct dot d;
    dot_start(&d, false);
    for (unsigned i = 0; i < 64; i++) {
        const char *slice;
        size_t size;
        assert_int_equal(dot_next(&d, line, sizeof(line), &slice, &size), sizeof(line));
        assert_ptr_equal(slice, line);
        assert_int_equal(size, sizeof(line));
    }
    assert_false(dot_ended(&d));
}

static void slices_are_the_callers_own_bytes(void **state)
{
    (void)state;
    static const char in[] = "one\r\ntwo\r\n..three\r\n.\r\n";
    struct dot d;
    const char *slice;
    size_t size;
    dot_start(&d, false);
    assert_int_equal(dot_next(&d, in, sizeof(in) - 1, &slice, &size), 10);
    assert_ptr_equal(slice, in);
    assert_int_equal(size, 10);
    assert_int_equal(dot_next(&d, in + 10, sizeof(in) - 11, &slice, &size), 1);
    assert_int_equal(size, 0);
    assert_int_equal(dot_next(&d, in + 11, sizeof(in) - 12, &slice, &size), 8);
    assert_ptr_equal(slice, in + 11);
    assert_int_equal(d.removed, 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_short_text_at_every_split),
        cmocka_unit_test(stuffed_dots_lose_one),
        cmocka_unit_test(empty_body),
        cmocka_unit_test(bytes_behind_the_terminator_are_left),
        cmocka_unit_test(q20_unstuffed_dot_stays_and_is_counted),
        cmocka_unit_test(q23_dot_without_line_end_before_it_ends_nothing),
        cmocka_unit_test(q24_bare_lf_ends_only_where_all_is_bare_lf),
        cmocka_unit_test(q24_mixed_line_ends_around_the_dot_end_nothing),
        cmocka_unit_test(q25_bare_cr_and_bare_lf_stay),
        cmocka_unit_test(q26_nul_is_data),
        cmocka_unit_test(q27_a_line_has_any_length),
        cmocka_unit_test(slices_are_the_callers_own_bytes),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
