#include "tests/support/attachments.h"

#include "archive/digest.h"
#include "archive/format.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_LETTERS 70

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* splitmix64 of the byte's place, so that any stretch can be had alone. */
static uint64_t scatter(uint64_t seed, uint64_t at)
{
    uint64_t z = seed * 0xd1342543de82ef95u + (at + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mail_header(struct buffer *out, const char *from, const char *subject)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "Date: Mon, 2 Mar 2026 10:00:00 +0100\r\nFrom: %s\r\nSubject: %s\r\n"
                     "\r\n",
                     from, subject);
    buffer_put(out, text, (size_t)n);
}

void mail_lines(struct buffer *out, unsigned seed, size_t size)
{
    char line[LINE_LETTERS + 2];
    for (size_t at = 0; at < size; at += sizeof(line)) {
        for (size_t i = 0; i < LINE_LETTERS; i++) {
            uint64_t r = scatter(seed, at + i);
            line[i] = r % 7 == 0 ? ' ' : (char)('a' + r / 7 % 26);
        }
        line[LINE_LETTERS] = '\r';
        line[LINE_LETTERS + 1] = '\n';
        buffer_put(out, line, sizeof(line));
    }
}

void attachment_bytes(const struct attachment *a, size_t from, size_t size, uint8_t *out)
{
    for (size_t i = 0; i < size; i++) {
        uint64_t at = from + i;
        out[i] = a->text ? (uint8_t)('a' + scatter(a->seed, at % 97 + at / 997) % 26)
                         : (uint8_t)scatter(a->seed, at);
    }
}

void attachment_part(const struct attachment *a, size_t part, uint8_t *out_sha256)
{
    size_t from = part * PART_RAW_MAX;
    assert(from < a->size);
    size_t size = a->size - from < PART_RAW_MAX ? a->size - from : PART_RAW_MAX;
    uint8_t *data = malloc(size);
    assert(data != NULL);
    attachment_bytes(a, from, size, data);
    sha256_of(data, size, out_sha256);
    free(data);
}

static void put_group(struct buffer *out, const uint8_t *from, size_t size)
{
    uint32_t bits = (uint32_t)from[0] << 16 | (size > 1 ? (uint32_t)from[1] << 8 : 0) |
                    (size > 2 ? from[2] : 0u);
    char letters[4];
    for (unsigned i = 0; i < 4; i++)
        letters[i] = i <= size ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
    buffer_put(out, letters, sizeof(letters));
}

void mail_attach(struct buffer *out, const struct attachment *a)
{
    const char *line_end = a->line_end != NULL ? a->line_end : "\r\n";
    uint8_t *data = malloc(a->size);
    size_t column = 0;
    assert(data != NULL);
    attachment_bytes(a, 0, a->size, data);
    for (size_t at = 0; at < a->size; at += 3) {
        if (a->line_length > 0 && column == a->line_length) {
            buffer_put(out, line_end, strlen(line_end));
            column = 0;
        }
        put_group(out, data + at, a->size - at < 3 ? a->size - at : 3);
        column += 4;
    }
    free(data);
}
