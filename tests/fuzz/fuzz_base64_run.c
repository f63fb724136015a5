/* archive/base64_run.h: what a message is split into is the same however it is cut, runs
 * are as the header says, encoding them again gives the message back, and what was encoded
 * is found. Input: minimum, size of a repeated line, number of cuts, the cuts, the message;
 * a byte of REPEAT in the message stands for the line REPEAT_TIMES, so that short inputs
 * make long runs. */
#include "tests/fuzz/fuzz.h"

#include "archive/base64_run.h"

#define REPEAT 0x01
#define REPEAT_TIMES 20
#define MARK_SIZE 21
#define MESSAGE_MAX ((size_t)32 << 10)

struct result {
    struct buffer bytes; /* of all segments */
    struct buffer marks; /* a run's end: where in bytes, size, line length, line end */
    struct buffer again; /* the message put together */
    struct buffer run;   /* decoded bytes of the run that has not ended */
    size_t minimum;
    struct cursor cuts; /* for the encoder */
};

static int on_text(void *arg, const uint8_t *data, size_t size)
{
    struct result *r = arg;
    FUZZ_CHECK(size > 0 && r->run.size == 0);
    buffer_put(&r->bytes, data, size);
    buffer_put(&r->again, data, size);
    return 0;
}

static int on_decoded(void *arg, const uint8_t *data, size_t size)
{
    struct result *r = arg;
    FUZZ_CHECK(size > 0);
    buffer_put(&r->run, data, size);
    return 0;
}

/* In pieces, each into a block that has just the room that was asked for. */
static void encode(const struct base64_run *run, const uint8_t *data, struct cursor *cuts,
                   struct buffer *to)
{
    struct base64_encoder e;
    uint8_t end[BASE64_ENCODE_END_MAX];
    base64_encode_start(&e, run);
    for (size_t at = 0; at < run->size;) {
        size_t piece = fuzz_piece(cuts, (size_t)run->size - at);
        size_t room = base64_encode_room(&e, piece);
        uint8_t *out = malloc(room);
        FUZZ_CHECK(out != NULL && room <= 2 * piece + 16);
        size_t size = base64_encode_add(&e, data + at, piece, out);
        FUZZ_CHECK(size < room);
        if (size > 0)
            buffer_put(to, out, size);
        free(out);
        at += piece;
    }
    size_t size = base64_encode_end(&e, end);
    FUZZ_CHECK(size < sizeof(end));
    if (size > 0)
        buffer_put(to, end, size);
}

static int on_run_end(void *arg, const struct base64_run *run)
{
    struct result *r = arg;
    size_t before = r->again.size;
    FUZZ_CHECK(base64_run_valid(run) && run->size == r->run.size);
    FUZZ_CHECK(before == 0 || r->again.data[before - 1] == '\n');
    encode(run, r->run.data, &r->cuts, &r->again);
    FUZZ_CHECK(r->again.size - before == base64_run_encoded_size(run));
    FUZZ_CHECK(r->again.size - before >= r->minimum);
    buffer_put_u64(&r->marks, before);
    buffer_put_u64(&r->marks, run->size);
    buffer_put_u32(&r->marks, run->line_length);
    buffer_put_u8(&r->marks, (uint8_t)run->line_end);
    buffer_put(&r->bytes, r->run.data, r->run.size);
    buffer_clear(&r->run);
    return 0;
}

static struct result scan(struct span message, size_t minimum, struct cursor cuts)
{
    struct result r = {.minimum = minimum, .cuts = cuts};
    struct base64_sink sink = {on_text, on_decoded, on_run_end, &r};
    struct base64_scanner *s = base64_scanner_create(minimum, &sink);
    FUZZ_CHECK(s != NULL);
    for (size_t at = 0; at < message.size;) {
        size_t piece = fuzz_piece(&cuts, message.size - at);
        uint8_t *copy = fuzz_copy(message.data + at, piece);
        FUZZ_CHECK(base64_scan(s, copy, piece) == 0);
        free(copy);
        at += piece;
    }
    FUZZ_CHECK(base64_scan_end(s) == 0);
    base64_scanner_destroy(s);
    FUZZ_CHECK(span_equal(span_of(r.again.data, r.again.size), message));
    return r;
}

static void result_free(struct result *r)
{
    buffer_free(&r->bytes);
    buffer_free(&r->marks);
    buffer_free(&r->again);
    buffer_free(&r->run);
}

static void compare(const struct result *a, struct result b)
{
    FUZZ_CHECK(span_equal(span_of(a->bytes.data, a->bytes.size),
                          span_of(b.bytes.data, b.bytes.size)));
    FUZZ_CHECK(span_equal(span_of(a->marks.data, a->marks.size),
                          span_of(b.marks.data, b.marks.size)));
    result_free(&b);
}

/* What was encoded is one run again, the one it was. */
static void encode_and_scan(struct span bytes, uint32_t line_length, size_t minimum,
                            struct cursor cuts)
{
    struct base64_run run = {bytes.size, line_length, BASE64_LINE_CRLF};
    if (line_length % 8 == 0)
        run.line_end = BASE64_LINE_LF;
    if (base64_run_encoded_size(&run) <= line_length)
        run = (struct base64_run){bytes.size, 0, BASE64_LINE_NONE};
    struct buffer message = {0};
    buffer_put(&message, "x\n", 2);
    encode(&run, bytes.data, &cuts, &message);
    buffer_put(&message, "\r\n--", 4);
    struct result r = scan(span_of(message.data, message.size), minimum, cuts);
    if (base64_run_encoded_size(&run) < minimum) {
        FUZZ_CHECK(r.marks.size == 0);
    } else {
        FUZZ_CHECK(r.marks.size == MARK_SIZE);
        struct cursor mark = cursor_over(r.marks.data, r.marks.size);
        FUZZ_CHECK(take_u64(&mark) == 2 && take_u64(&mark) == run.size);
        FUZZ_CHECK(take_u32(&mark) == run.line_length && take_u8(&mark) == run.line_end);
        FUZZ_CHECK(memcmp(r.bytes.data + 2, bytes.data, bytes.size) == 0);
    }
    result_free(&r);
    buffer_free(&message);
}

static struct buffer expand(struct cursor *c, size_t line_size)
{
    struct buffer message = {0};
    if (line_size > cursor_left(c))
        line_size = cursor_left(c);
    struct span line = span_of(c->at, line_size);
    while (cursor_left(c) > 0) {
        uint8_t byte = take_u8(c);
        if (byte != REPEAT)
            buffer_put_u8(&message, byte);
        for (int i = 0; byte == REPEAT && line.size > 0 && i < REPEAT_TIMES; i++)
            if (message.size < MESSAGE_MAX)
                buffer_put(&message, line.data, line.size);
    }
    return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t minimums[] = {4, 5, 8, 11, 16, 64, 300, 4096};
    static const uint8_t ones[512]; /* cuts of one byte each */
    struct cursor c = fuzz_input(data, size);
    size_t minimum = minimums[take_u8(&c) % 8];
    size_t line_size = take_u8(&c);
    struct cursor cuts = fuzz_cuts(&c);
    struct buffer message = expand(&c, line_size);
    struct span m = span_of(message.data, message.size);
    struct result whole = scan(m, minimum, cursor_over(ones, 0));
    compare(&whole, scan(m, minimum, cursor_over(ones, sizeof(ones))));
    compare(&whole, scan(m, minimum, cuts));
    result_free(&whole);
    if (m.size > 0)
        encode_and_scan(m, 4 * (uint32_t)(line_size + 1), minimum, cuts);
    buffer_free(&message);
    return 0;
}
