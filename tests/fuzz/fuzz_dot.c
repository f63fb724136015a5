/* workers/dot.h against a reference that sees the whole body at once: the same bytes, end
 * and counts however the body is cut. Input: flags, number of cuts, the cuts, the body. */
#include "tests/fuzz/fuzz.h"
#include "workers/dot.h"

#define STATUS_BARE_LF 1u

struct result {
    struct buffer out;
    size_t used;
    bool ended;
    uint64_t removed;
    uint64_t kept;
};

static bool starts_with(struct span s, const char *prefix)
{
    size_t size = strlen(prefix);
    return s.size >= size && memcmp(s.data, prefix, size) == 0;
}

/* The dot at the start of a line; returns how many bytes of it are taken out. */
static size_t reference_dot(struct result *r, struct span rest, bool lf_only)
{
    if (starts_with(rest, "..")) {
        r->removed++;
        return 1;
    }
    if (starts_with(rest, lf_only ? ".\n" : ".\r\n")) {
        r->ended = true;
        return lf_only ? 2 : 3;
    }
    /* What may still become a terminator is not delivered. */
    if (rest.size == 1 || (rest.size == 2 && rest.data[1] == '\r'))
        return rest.size;
    r->kept++;
    return 0;
}

static struct result reference(bool lf_only, struct span body)
{
    struct result r = {0};
    bool line_start = true;
    while (r.used < body.size && !r.ended) {
        struct span rest = span_of(body.data + r.used, body.size - r.used);
        if (line_start && rest.data[0] == '.') {
            size_t out = reference_dot(&r, rest, lf_only);
            r.used += out;
            rest = span_of(rest.data + out, rest.size - out);
        }
        if (r.ended || rest.size == 0)
            break;
        const uint8_t *lf = memchr(rest.data, '\n', rest.size);
        size_t line = lf != NULL ? (size_t)(lf - rest.data) + 1 : rest.size;
        bool crlf = lf != NULL && lf > body.data && lf[-1] == '\r';
        lf_only = lf_only && !crlf;
        line_start = crlf || (lf != NULL && lf_only);
        buffer_put(&r.out, rest.data, line);
        r.used += line;
    }
    return r;
}

static struct result cut_up(bool lf_only, struct span body, struct cursor cuts)
{
    struct result r = {0};
    struct dot d;
    dot_start(&d, lf_only);
    while (r.used < body.size && !dot_ended(&d)) {
        size_t piece = fuzz_piece(&cuts, body.size - r.used);
        char *copy = fuzz_copy(body.data + r.used, piece);
        size_t used = 0;
        while (used < piece && !dot_ended(&d)) {
            const char *slice = NULL;
            size_t slice_size = 0;
            size_t n = dot_next(&d, copy + used, piece - used, &slice, &slice_size);
            FUZZ_CHECK(n <= piece - used && (n > 0 || slice_size > 0));
            if (slice_size > 0)
                buffer_put(&r.out, slice, slice_size);
            used += n;
        }
        free(copy);
        r.used += used;
    }
    r.ended = dot_ended(&d);
    r.removed = d.removed;
    r.kept = d.kept;
    return r;
}

static void compare(const struct result *a, struct result b)
{
    FUZZ_CHECK(
        span_equal(span_of(a->out.data, a->out.size), span_of(b.out.data, b.out.size)));
    FUZZ_CHECK(a->used == b.used && a->ended == b.ended);
    FUZZ_CHECK(a->removed == b.removed && a->kept == b.kept);
    buffer_free(&b.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t ones[4096]; /* cuts of one byte each */
    struct cursor c = fuzz_input(data, size);
    bool lf_only = (take_u8(&c) & STATUS_BARE_LF) != 0;
    struct cursor cuts = fuzz_cuts(&c);
    struct span body = span_of(c.at, cursor_left(&c));
    struct result whole = reference(lf_only, body);
    compare(&whole, cut_up(lf_only, body, cursor_over(ones, 0)));
    compare(&whole, cut_up(lf_only, body, cursor_over(ones, sizeof(ones))));
    compare(&whole, cut_up(lf_only, body, cuts));
    buffer_free(&whole.out);
    return 0;
}
