#include "tools/output.h"

#include "archive/digest.h"
#include "archive/error.h"
#include "archive/utf8.h"
#include "tools/dates.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#define HEX_STEP 32 /* bytes; a SHA-256 has so many */

static void note_error(struct output *o)
{
    if (o->error == 0 && ferror(o->file))
        o->error = errno != 0 ? -errno : -EIO;
}

void output_bytes(struct output *o, const void *data, size_t size)
{
    if (o->error != 0 || size == 0)
        return;
    (void)fwrite(data, 1, size, o->file);
    note_error(o);
}

void output_print(struct output *o, const char *format, ...)
{
    if (o->error != 0)
        return;
    va_list args;
    va_start(args, format);
    (void)vfprintf(o->file, format, args);
    va_end(args);
    note_error(o);
}

void output_clean(struct output *o, struct span text)
{
    struct buffer clean = {0};
    utf8_clean(&clean, text);
    if (clean.failed && o->error == 0)
        o->error = -ENOMEM;
    output_bytes(o, clean.data, clean.size);
    buffer_free(&clean);
}

void output_flush(struct output *o)
{
    if (o->error == 0 && fflush(o->file) != 0)
        o->error = -errno;
}

int output_finish(struct output *o)
{
    output_flush(o);
    if (o->error != 0 && o->error != -EPIPE)
        say("cannot write the output: %s", error_text(o->error));
    return o->error;
}

void json_begin(struct json *j, struct output *o)
{
    j->output = o;
    j->more = false;
    output_print(o, "{");
}

void json_end(struct json *j)
{
    output_print(j->output, "}\n");
}

/* name: NULL in an array. */
static void name_of(struct json *j, const char *name)
{
    output_print(j->output, "%s", j->more ? "," : "");
    if (name != NULL)
        output_print(j->output, "\"%s\":", name);
    j->more = true;
}

void json_open(struct json *j, const char *name, char bracket)
{
    name_of(j, name);
    output_print(j->output, "%c", bracket);
    j->more = false;
}

void json_close(struct json *j, char bracket)
{
    output_print(j->output, "%c", bracket);
    j->more = true;
}

static void escape(struct output *o, uint32_t c)
{
    if (c >= 0x10000) {
        c -= 0x10000;
        output_print(o, "\\u%04x\\u%04x", 0xD800u + (c >> 10), 0xDC00u + (c & 0x3FFu));
    } else {
        output_print(o, "\\u%04x", c);
    }
}

/* So many bytes may stand in a string as they are. */
static size_t plain_ascii(const uint8_t *data, size_t size)
{
    size_t n = 0;
    while (n < size && data[n] >= ' ' && data[n] < 0x7F && data[n] != '"' &&
           data[n] != '\\')
        n++;
    return n;
}

static void quoted(struct output *o, struct span value)
{
    output_print(o, "\"");
    for (size_t at = 0; at < value.size;) {
        uint32_t c;
        size_t plain = plain_ascii(value.data + at, value.size - at);
        if (plain > 0) {
            output_bytes(o, value.data + at, plain);
            at += plain;
            continue;
        }
        at += utf8_next(value.data + at, value.size - at, &c);
        if (c == '"' || c == '\\') {
            output_print(o, "\\%c", (char)c);
        } else if (utf8_unsafe(c)) {
            escape(o, c);
        } else {
            char bytes[UTF8_SIZE_MAX];
            output_bytes(o, bytes, utf8_put(c, bytes));
        }
    }
    output_print(o, "\"");
}

void json_string(struct json *j, const char *name, struct span value)
{
    name_of(j, name);
    quoted(j->output, value);
}

void json_string_or_null(struct json *j, const char *name, struct span value)
{
    if (value.size == 0)
        json_null(j, name);
    else
        json_string(j, name, value);
}

void json_number(struct json *j, const char *name, uint64_t value)
{
    name_of(j, name);
    output_print(j->output, "%" PRIu64, value);
}

void json_signed(struct json *j, const char *name, int64_t value)
{
    name_of(j, name);
    output_print(j->output, "%" PRId64, value);
}

void json_bool(struct json *j, const char *name, bool value)
{
    name_of(j, name);
    output_print(j->output, value ? "true" : "false");
}

void json_null(struct json *j, const char *name)
{
    name_of(j, name);
    output_print(j->output, "null");
}

void json_time(struct json *j, const char *name, int64_t time_s)
{
    char text[TIME_TEXT_MAX];
    if (time_text_utc(time_s, text))
        json_string(j, name, span_text(text));
    else
        json_null(j, name);
}

void json_time_us(struct json *j, const char *name, int64_t time_us)
{
    if (time_us == 0)
        json_null(j, name);
    else
        json_time(j, name, seconds_of(time_us));
}

void json_hex(struct json *j, const char *name, const uint8_t *data, size_t size)
{
    char text[2 * HEX_STEP + 1];
    name_of(j, name);
    output_print(j->output, "\"");
    for (size_t at = 0; at < size; at += HEX_STEP) {
        size_t step = size - at < HEX_STEP ? size - at : HEX_STEP;
        hex_encode(data + at, step, text);
        output_bytes(j->output, text, 2 * step);
    }
    output_print(j->output, "\"");
}

void json_words(struct json *j, const char *name, unsigned mask, const char *const *words,
                size_t count)
{
    name_of(j, name);
    bool more = false;
    output_print(j->output, "[");
    for (size_t i = 0; i < count; i++) {
        if ((mask >> i & 1u) == 0)
            continue;
        output_print(j->output, "%s", more ? "," : "");
        quoted(j->output, span_text(words[i]));
        more = true;
    }
    output_print(j->output, "]");
}
