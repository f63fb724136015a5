#include "tools/display.h"

#include "tools/utf8.h"

#include <gmime/gmime.h>
#include <stdlib.h>

struct display {
    GMimeParserOptions *options;
    struct buffer text; /* the field that is being decoded, NUL-terminated */
};

struct display *display_create(void)
{
    struct display *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    g_mime_init();
    d->options = g_mime_parser_options_new();
    return d;
}

void display_destroy(struct display *d)
{
    if (d == NULL)
        return;
    g_mime_parser_options_free(d->options);
    buffer_free(&d->text);
    free(d);
    /* No g_mime_shutdown(): GMime cannot be set up again after it. */
}

/* GMime wants C strings: a NUL within the field becomes a space. NULL without memory. */
static const char *c_string(struct display *d, struct span field)
{
    buffer_clear(&d->text);
    uint8_t *to = buffer_reserve(&d->text, field.size + 1);
    if (to == NULL)
        return NULL;
    for (size_t i = 0; i < field.size; i++)
        to[i] = field.data[i] != 0 ? field.data[i] : (uint8_t)' ';
    to[field.size] = 0;
    return (const char *)to;
}

void display_decode(struct display *d, struct span field, struct buffer *out)
{
    buffer_clear(out);
    const char *text = c_string(d, field);
    if (text == NULL) {
        out->failed = true;
        return;
    }
    char *decoded = g_mime_utils_header_decode_text(d->options, text);
    if (decoded != NULL)
        buffer_put(out, decoded, strlen(decoded));
    g_free(decoded);
}

bool display_date(struct display *d, struct span field, int64_t *out_s)
{
    const char *text = field.size > 0 ? c_string(d, field) : NULL;
    GDateTime *date = text != NULL ? g_mime_utils_header_decode_date(text) : NULL;
    if (date == NULL)
        return false;
    *out_s = g_date_time_to_unix(date);
    g_date_time_unref(date);
    return true;
}

static size_t width_of(uint32_t c)
{
    if (g_unichar_iszerowidth(c))
        return 0;
    return g_unichar_iswide(c) ? 2 : 1;
}

size_t display_width(struct span text)
{
    size_t width = 0;
    for (size_t at = 0; at < text.size;) {
        uint32_t c;
        at += utf8_next(text.data + at, text.size - at, &c);
        width += width_of(c);
    }
    return width;
}

size_t display_fit(struct span text, size_t columns)
{
    size_t at = 0;
    while (at < text.size) {
        uint32_t c;
        size_t size = utf8_next(text.data + at, text.size - at, &c);
        if (width_of(c) > columns)
            break;
        columns -= width_of(c);
        at += size;
    }
    return at;
}
