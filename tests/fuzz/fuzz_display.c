/* tools/display.h and archive/utf8.h: whatever a header field holds, what goes to a
 * terminal is UTF-8 without anything that steers it, and fits where it is said to fit.
 * Input: a number of columns, the field. */
#include "archive/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tools/display.h"

static struct display *set_up(void)
{
    static struct display *display;
    if (display == NULL)
        FUZZ_CHECK(display_create(&display) == 0);
    return display;
}

static void check_clean(struct span text)
{
    for (size_t at = 0; at < text.size;) {
        uint32_t c = 0;
        size_t size = utf8_next(text.data + at, text.size - at, &c);
        FUZZ_CHECK(size > 0 && size <= text.size - at);
        /* One that stands for itself takes three bytes, a broken byte one. */
        FUZZ_CHECK(!utf8_unsafe(c) && (c != UTF8_REPLACEMENT || size > 1));
        at += size;
    }
}

static void check_width(const struct display *display, struct span text, size_t columns)
{
    size_t fit = display_fit(display, text, columns);
    FUZZ_CHECK(fit <= text.size);
    FUZZ_CHECK(display_width(display, span_of(text.data, fit)) <= columns);
    FUZZ_CHECK((display_width(display, text) <= columns) == (fit == text.size));
}

/* Clean what is no UTF-8 yet, or may be. */
static void check_cleaning(const struct display *display, struct span text, size_t columns)
{
    struct buffer clean = {0};
    utf8_clean(&clean, text);
    FUZZ_CHECK(!clean.failed);
    uint8_t *copy = fuzz_copy(clean.data, clean.size);
    check_clean(span_of(copy, clean.size));
    check_width(display, span_of(copy, clean.size), columns);
    free(copy);
    buffer_free(&clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct display *display = set_up();
    struct cursor c = fuzz_input(data, size);
    size_t columns = take_u8(&c);
    struct span field = span_of(c.at, cursor_left(&c));
    struct buffer text = {0};
    uint8_t *copy = fuzz_copy(field.data, field.size);
    int64_t time_s = 0;
    display_date(display, span_of(copy, field.size), &time_s);
    display_decode(display, span_of(copy, field.size), &text);
    FUZZ_CHECK(!text.failed);
    check_cleaning(display, span_of(copy, field.size), columns);
    free(copy);
    copy = fuzz_copy(text.data, text.size);
    check_cleaning(display, span_of(copy, text.size), columns);
    free(copy);
    buffer_free(&text);
    return 0;
}
