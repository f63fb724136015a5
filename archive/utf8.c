#include "archive/utf8.h"

struct range {
    uint32_t first;
    uint32_t last;
};

/* Zero-width joiner and non-joiner (U+200C, U+200D) are part of words and of emoji: they
 * stay. */
static const struct range unsafe[] = {
    {0x0000, 0x001F}, {0x007F, 0x009F}, {0x061C, 0x061C},   {0x180E, 0x180E},
    {0x200B, 0x200B}, {0x200E, 0x200F}, {0x2028, 0x202E},   {0x2060, 0x206F},
    {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE0FFF},
};

/* How many bytes a lead byte announces, 0 if it is none; the smallest code point of that
 * length. */
static size_t lead(uint8_t byte, uint32_t *out_bits, uint32_t *out_least)
{
    if (byte >= 0xC2 && byte <= 0xDF) {
        *out_bits = byte & 0x1Fu;
        *out_least = 0x80;
        return 2;
    }
    if (byte >= 0xE0 && byte <= 0xEF) {
        *out_bits = byte & 0x0Fu;
        *out_least = 0x800;
        return 3;
    }
    if (byte >= 0xF0 && byte <= 0xF4) {
        *out_bits = byte & 0x07u;
        *out_least = 0x10000;
        return 4;
    }
    return 0;
}

size_t utf8_valid(const uint8_t *data, size_t size, uint32_t *out)
{
    *out = data[0];
    if (data[0] < 0x80)
        return 1;
    uint32_t c = 0;
    uint32_t least = 0;
    size_t length = lead(data[0], &c, &least);
    if (length == 0 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((data[i] & 0xC0u) != 0x80)
            return 0;
        c = c << 6 | (data[i] & 0x3Fu);
    }
    if (c < least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *out = c;
    return length;
}

size_t utf8_next(const uint8_t *data, size_t size, uint32_t *out)
{
    size_t length = utf8_valid(data, size, out);
    if (length > 0)
        return length;
    *out = UTF8_REPLACEMENT;
    return 1;
}

static char continuation(uint32_t bits)
{
    return (char)(0x80u | (bits & 0x3Fu));
}

size_t utf8_put(uint32_t c, char out[UTF8_SIZE_MAX])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0u | c >> 6);
        out[1] = continuation(c);
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0u | c >> 12);
        out[1] = continuation(c >> 6);
        out[2] = continuation(c);
        return 3;
    }
    out[0] = (char)(0xF0u | c >> 18);
    out[1] = continuation(c >> 12);
    out[2] = continuation(c >> 6);
    out[3] = continuation(c);
    return 4;
}

bool utf8_unsafe(uint32_t c)
{
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
        if (c >= unsafe[i].first && c <= unsafe[i].last)
            return true;
    return false;
}

static bool is_space(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x2028 || c == 0x2029;
}

/* So many bytes are visible ASCII: most of most texts, and as they should be. */
static size_t visible_ascii(const uint8_t *data, size_t size)
{
    size_t n = 0;
    while (n < size && data[n] > ' ' && data[n] < 0x7F)
        n++;
    return n;
}

void utf8_clean(struct buffer *out, struct span text)
{
    bool spaced = false;
    for (size_t at = 0; at < text.size;) {
        uint32_t c;
        size_t plain = visible_ascii(text.data + at, text.size - at);
        if (plain > 0) {
            buffer_put(out, text.data + at, plain);
            at += plain;
            spaced = false;
            continue;
        }
        at += utf8_next(text.data + at, text.size - at, &c);
        if (is_space(c)) {
            if (!spaced)
                buffer_put_u8(out, ' ');
            spaced = true;
            continue;
        }
        spaced = false;
        char bytes[UTF8_SIZE_MAX];
        buffer_put(out, bytes, utf8_put(utf8_unsafe(c) ? UTF8_REPLACEMENT : c, bytes));
    }
}
