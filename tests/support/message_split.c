#include "tests/support/message_split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char *const line_ends[] = {"", "\r\n", "\n"};

void split_free(struct split *sp)
{
    assert_false(sp->bytes.failed || sp->segments.failed);
    buffer_free(&sp->bytes);
    buffer_free(&sp->segments);
}

size_t segment_count(const struct split *sp)
{
    return sp->segments.size / sizeof(struct segment);
}

struct segment segment_at(const struct split *sp, size_t i)
{
    struct segment segment;
    assert_true(i < segment_count(sp));
    memcpy(&segment, sp->segments.data + i * sizeof(segment), sizeof(segment));
    return segment;
}

static int on_text(void *arg, const uint8_t *data, size_t size)
{
    struct split *sp = arg;
    assert_true(size > 0 && sp->run_size == 0);
    if (++sp->calls == sp->fail_at)
        return SPLIT_ERROR;
    struct segment segment = {0};
    size_t count = segment_count(sp);
    if (count > 0 && !segment_at(sp, count - 1).is_run) {
        segment = segment_at(sp, count - 1);
        sp->segments.size -= sizeof(segment);
    }
    segment.size += size;
    buffer_put(&sp->segments, &segment, sizeof(segment));
    buffer_put(&sp->bytes, data, size);
    return 0;
}

static int on_decoded(void *arg, const uint8_t *data, size_t size)
{
    struct split *sp = arg;
    assert_true(size > 0);
    if (++sp->calls == sp->fail_at)
        return SPLIT_ERROR;
    sp->run_size += size;
    buffer_put(&sp->bytes, data, size);
    return 0;
}

static int on_run_end(void *arg, const struct base64_run *run)
{
    struct split *sp = arg;
    if (++sp->calls == sp->fail_at)
        return SPLIT_ERROR;
    assert_true(base64_run_valid(run));
    assert_int_equal(run->size, sp->run_size);
    struct segment segment = {true, *run, sp->run_size};
    sp->run_size = 0;
    buffer_put(&sp->segments, &segment, sizeof(segment));
    return 0;
}

struct base64_sink split_sink(struct split *sp)
{
    return (struct base64_sink){on_text, on_decoded, on_run_end, sp};
}

/* Decode a group of 4 as the text of RFC 4648 has it: bytes, 0 if it is not canonical. */
static size_t reference_quantum(const uint8_t *at, uint8_t out[3])
{
    uint32_t bits = 0;
    size_t pads = 0;
    for (size_t i = 0; i < 4; i++) {
        const char *c = at[i] != 0 ? strchr(alphabet, at[i]) : NULL;
        if (c == NULL && (at[i] != '=' || i < 2))
            return 0;
        if (c != NULL && pads > 0)
            return 0;
        pads += c == NULL;
        bits = bits << 6 | (c != NULL ? (uint32_t)(c - alphabet) : 0);
    }
    if ((bits & ((1u << 8 * pads) - 1)) != 0)
        return 0;
    for (size_t i = 0; i < 3; i++)
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    return 3 - pads;
}

/* The longest run at the beginning of m with this line length and line end; returns the
 * size of its encoded form. */
static size_t reference_run(struct span m, struct base64_run *run, struct buffer *out)
{
    size_t at = 0;
    for (size_t chars = 0;; chars += 4) {
        bool line_end = run->line_length > 0 && chars > 0 && chars % run->line_length == 0;
        const char *gap = line_ends[line_end ? run->line_end : BASE64_LINE_NONE];
        size_t gap_size = strlen(gap);
        uint8_t bytes[3];
        if (m.size - at < gap_size + 4 || memcmp(m.data + at, gap, gap_size) != 0)
            return at;
        size_t n = reference_quantum(m.data + at + gap_size, bytes);
        if (n == 0)
            return at;
        buffer_put(out, bytes, n);
        run->size += n;
        at += gap_size + 4;
        if (n < 3)
            return at;
    }
}

/* Tries without lines, then with the length of the first line. */
static size_t reference_best(struct span m, struct base64_run *out_run, struct buffer *out)
{
    size_t first = 0;
    while (first < m.size && m.data[first] != '\r' && m.data[first] != '\n')
        first++;
    size_t best = 0;
    for (int end = BASE64_LINE_NONE; end < BASE64_LINE_END_COUNT; end++) {
        struct base64_run run = {.line_end = (enum base64_line_end)end};
        if (end != BASE64_LINE_NONE)
            run.line_length = (uint32_t)first;
        if (end != BASE64_LINE_NONE && (first == 0 || first % 4 != 0 || first > 65532))
            continue;
        struct buffer bytes = {0};
        size_t size = reference_run(m, &run, &bytes);
        if (size > best) {
            best = size;
            *out_run = run;
            out->size = 0;
            buffer_put(out, bytes.data, bytes.size);
        }
        buffer_free(&bytes);
    }
    return best;
}

struct split reference_split(struct span m, size_t minimum)
{
    struct split sp = {0};
    bool line_start = true;
    size_t at = 0;
    while (at < m.size) {
        struct base64_run run = {0};
        struct buffer out = {0};
        size_t size = 0;
        if (line_start)
            size = reference_best(span_of(m.data + at, m.size - at), &run, &out);
        if (size >= minimum) {
            on_decoded(&sp, out.data, out.size);
            on_run_end(&sp, &run);
        } else {
            size = size > 0 ? size : 1;
            on_text(&sp, m.data + at, size);
        }
        at += size;
        line_start = m.data[at - 1] == '\n';
        buffer_free(&out);
    }
    return sp;
}

void assert_same_split(const struct split *a, struct split *b)
{
    assert_int_equal(segment_count(a), segment_count(b));
    for (size_t i = 0; i < segment_count(a); i++) {
        struct segment x = segment_at(a, i);
        struct segment y = segment_at(b, i);
        assert_int_equal(x.is_run, y.is_run);
        assert_int_equal(x.size, y.size);
        assert_int_equal(x.run.line_length, y.run.line_length);
        assert_int_equal(x.run.line_end, y.run.line_end);
    }
    assert_int_equal(a->bytes.size, b->bytes.size);
    if (a->bytes.size > 0)
        assert_memory_equal(a->bytes.data, b->bytes.data, a->bytes.size);
    split_free(b);
}
