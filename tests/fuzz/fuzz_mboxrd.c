/* tools/mboxrd.h: quoting taken away again gives the message back, however it was cut.
 * Input: number of cuts, the cuts, the message. */
#include "tests/fuzz/fuzz.h"
#include "tools/mboxrd.h"

#define FROM "From "

static int keep(void *arg, const void *data, size_t size)
{
    if (size > 0)
        buffer_put(arg, data, size);
    return 0;
}

static bool is_from(const uint8_t *line, const uint8_t *end)
{
    while (line < end && *line == '>')
        line++;
    return (size_t)(end - line) >= strlen(FROM) && memcmp(line, FROM, strlen(FROM)) == 0;
}

/* As a reader of mboxrd does; data begins behind the From_ line. */
static void unquote(struct span data, struct buffer *out)
{
    const uint8_t *at = data.data, *end = data.data + data.size;
    while (at < end) {
        const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));
        const uint8_t *next = lf != NULL ? lf + 1 : end;
        bool quoted = is_from(at, next);
        FUZZ_CHECK(!quoted || *at == '>');
        at += quoted;
        buffer_put(out, at, (size_t)(next - at));
        at = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = fuzz_input(data, size);
    struct cursor cuts = fuzz_cuts(&c);
    struct span message = span_of(c.at, cursor_left(&c));
    struct buffer mbox = {0}, back = {0};
    struct mboxrd m = {.emit = keep, .arg = &mbox};
    FUZZ_CHECK(mboxrd_begin(&m, 0) == 0);
    size_t from_size = mbox.size;
    for (size_t done = 0; done < message.size;) {
        size_t piece = fuzz_piece(&cuts, message.size - done);
        FUZZ_CHECK(mboxrd_add(&m, message.data + done, piece) == 0);
        done += piece;
    }
    FUZZ_CHECK(mboxrd_end(&m) == 0);
    FUZZ_CHECK(from_size > 0 && mbox.data[from_size - 1] == '\n');
    unquote(span_of(mbox.data + from_size, mbox.size - from_size), &back);
    /* A line end where there was none, and the blank line between messages. */
    size_t added = back.size - message.size;
    FUZZ_CHECK(back.size > message.size && added <= 4);
    FUZZ_CHECK(span_equal(message, span_of(back.data, message.size)));
    for (size_t i = message.size; i < back.size; i++)
        FUZZ_CHECK(back.data[i] == '\n' || back.data[i] == '\r');
    buffer_free(&mbox);
    buffer_free(&back);
    return 0;
}
