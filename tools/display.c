#include "tools/display.h"

#include "archive/utf8.h"

#include <dlfcn.h>
#include <errno.h>
#include <gmime/gmime.h>
#include <stddef.h>
#include <stdlib.h>

/* What we call of GMime and GLib. With what they need themselves they are fifteen
 * libraries, and loading these takes longer than all that most commands do: so no program
 * is linked with them, and only who displays something waits for them. */
#define CALLS(X)                                    \
    X(init, g_mime_init)                            \
    X(options_new, g_mime_parser_options_new)       \
    X(options_free, g_mime_parser_options_free)     \
    X(decode_text, g_mime_utils_header_decode_text) \
    X(decode_date, g_mime_utils_header_decode_date) \
    X(text_free, g_free)                            \
    X(date_to_unix, g_date_time_to_unix)            \
    X(date_unref, g_date_time_unref)                \
    X(is_zero_width, g_unichar_iszerowidth)         \
    X(is_wide, g_unichar_iswide)

#define MEMBER(member, name) __typeof__(name) *(member);
struct calls {
    CALLS(MEMBER)
};
#undef MEMBER

#define SYMBOL(member, name) {#name, offsetof(struct calls, member)},
static const struct symbol {
    const char *name;
    size_t at; /* of the pointer in struct calls */
} symbols[] = {CALLS(SYMBOL)};
#undef SYMBOL

struct display {
    struct calls calls;
    GMimeParserOptions *options;
    struct buffer text; /* the field that is being decoded, NUL-terminated */
};

/* Never unloaded: GMime cannot be set up again after g_mime_shutdown(). GLib's symbols are
 * found through GMime, which needs it. */
static int load(struct calls *out)
{
    void *library = dlopen(DISPLAY_LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL)
        return -ELIBACC;
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (symbol == NULL)
            return -ELIBACC;
        memcpy((char *)out + symbols[i].at, &symbol, sizeof(symbol));
    }
    return 0;
}

int display_create(struct display **out)
{
    struct display *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return -ENOMEM;
    int err = load(&d->calls);
    if (err != 0) {
        free(d);
        return err;
    }
    d->calls.init();
    d->options = d->calls.options_new();
    *out = d;
    return 0;
}

void display_destroy(struct display *d)
{
    if (d == NULL)
        return;
    d->calls.options_free(d->options);
    buffer_free(&d->text);
    free(d);
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
    char *decoded = d->calls.decode_text(d->options, text);
    if (decoded != NULL)
        buffer_put(out, decoded, strlen(decoded));
    d->calls.text_free(decoded);
}

bool display_date(struct display *d, struct span field, int64_t *out_s)
{
    const char *text = field.size > 0 ? c_string(d, field) : NULL;
    GDateTime *date = text != NULL ? d->calls.decode_date(text) : NULL;
    if (date == NULL)
        return false;
    *out_s = d->calls.date_to_unix(date);
    d->calls.date_unref(date);
    return true;
}

static size_t width_of(const struct display *d, uint32_t c)
{
    if (c < 0x80) /* clean text: nothing that steers */
        return 1;
    if (d->calls.is_zero_width(c))
        return 0;
    return d->calls.is_wide(c) ? 2 : 1;
}

size_t display_width(const struct display *d, struct span text)
{
    size_t width = 0;
    for (size_t at = 0; at < text.size;) {
        uint32_t c;
        at += utf8_next(text.data + at, text.size - at, &c);
        width += width_of(d, c);
    }
    return width;
}

size_t display_fit(const struct display *d, struct span text, size_t columns)
{
    size_t at = 0;
    while (at < text.size) {
        uint32_t c;
        size_t size = utf8_next(text.data + at, text.size - at, &c);
        if (width_of(d, c) > columns)
            break;
        columns -= width_of(d, c);
        at += size;
    }
    return at;
}
