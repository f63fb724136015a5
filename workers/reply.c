#include "workers/reply.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_FIRST_CAPACITY ((size_t)256)

void line_reader_free(struct line_reader *r)
{
    free(r->data);
    *r = (struct line_reader){0};
}

static bool line_append(struct line_reader *r, const char *data, size_t size)
{
    size_t capacity = r->capacity > 0 ? r->capacity : LINE_FIRST_CAPACITY;
    while (capacity < r->size + size)
        capacity *= 2;
    if (capacity > r->capacity) {
        char *bigger = realloc(r->data, capacity);
        if (bigger == NULL)
            return false;
        r->data = bigger;
        r->capacity = capacity;
    }
    memcpy(r->data + r->size, data, size);
    r->size += size;
    return true;
}

static void line_set(struct line *out, const char *data, size_t size)
{
    size_t end = size - 1;
    out->bare_lf = end == 0 || data[end - 1] != '\r';
    out->data = data;
    out->size = out->bare_lf ? end : end - 1;
}

enum line_result line_next(struct line_reader *r, size_t limit, const char *data,
                           size_t size, size_t *out_used, struct line *out)
{
    *out_used = 0;
    if (r->taken)
        line_reader_free(r);
    size_t room = limit - r->size;
    const char *lf = memchr(data, '\n', size < room ? size : room);
    if (lf == NULL && size >= room)
        return LINE_TOO_LONG;

    size_t used = lf != NULL ? (size_t)(lf - data) + 1 : size;
    *out_used = used;
    if (lf != NULL && r->size == 0) {
        line_set(out, data, used);
        return LINE_READY;
    }
    if (used > 0 && !line_append(r, data, used))
        return LINE_NO_MEMORY;
    if (lf == NULL)
        return LINE_NONE;
    r->taken = true;
    line_set(out, r->data, r->size);
    return LINE_READY;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Status words end at the first byte that is neither letter nor digit. */
static bool has_word(const struct line *line, const char *word)
{
    size_t n = strlen(word);
    return line->size >= n && strncasecmp(line->data, word, n) == 0 &&
           (line->size == n || !isalnum((unsigned char)line->data[n]));
}

static enum reply_code find_code(const char *text, size_t size)
{
    static const struct {
        const char *name;
        enum reply_code code;
    } codes[] = {
        {"IN-USE", REPLY_CODE_IN_USE},     {"LOGIN-DELAY", REPLY_CODE_LOGIN_DELAY},
        {"SYS/TEMP", REPLY_CODE_SYS_TEMP}, {"SYS/PERM", REPLY_CODE_SYS_PERM},
        {"AUTH", REPLY_CODE_AUTH},
    };
    const char *close = size > 0 && text[0] == '[' ? memchr(text, ']', size) : NULL;
    if (close == NULL)
        return REPLY_CODE_NONE;
    size_t name_size = (size_t)(close - text) - 1;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strlen(codes[i].name) == name_size &&
            strncasecmp(codes[i].name, text + 1, name_size) == 0)
            return codes[i].code;
    return REPLY_CODE_OTHER;
}

void reply_parse(const struct line *line, struct reply *out)
{
    *out = (struct reply){.status = REPLY_OTHER, .bare_lf = line->bare_lf};
    size_t word = 0;
    if (has_word(line, "+OK")) {
        out->status = REPLY_OK;
        word = strlen("+OK");
    } else if (has_word(line, "-ERR")) {
        out->status = REPLY_ERR;
        word = strlen("-ERR");
    } else if (line->size > 0 && line->data[0] == '+' &&
               (line->size == 1 || is_blank(line->data[1]))) {
        out->status = REPLY_CONTINUE;
        word = 1;
    }
    while (word > 0 && word < line->size && is_blank(line->data[word]))
        word++;
    out->text = line->data + word;
    out->text_size = line->size - word;
    if (out->status == REPLY_OK || out->status == REPLY_ERR)
        out->code = find_code(out->text, out->text_size);
}

bool reply_text_contains(const char *text, size_t size, const char *needle,
                         size_t needle_size)
{
    if (needle_size == 0)
        return false;
    for (size_t i = 0; i + needle_size <= size; i++)
        if (strncasecmp(text + i, needle, needle_size) == 0)
            return true;
    return false;
}

bool reply_speaks_of_lock(const struct reply *reply)
{
    const char *text = reply->text;
    for (size_t i = 0; i + 4 <= reply->text_size; i++)
        if (strncasecmp(text + i, "lock", 4) == 0 &&
            (i == 0 || tolower((unsigned char)text[i - 1]) != 'b'))
            return true;
    return false;
}
