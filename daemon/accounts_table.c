#include "daemon/accounts_table.h"

#include "archive/error.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define LIST_SIZE 256 /* bytes for the list of all columns in a message */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool at_line_end(const struct accounts_table *t)
{
    return t->at >= t->end || *t->at == '\n' || (t->at[0] == '\r' && t->at[1] == '\n');
}

static void skip_blanks(struct accounts_table *t)
{
    /* The text ends in a NUL, which is no blank. */
    while (is_blank(*t->at))
        t->at++;
}

static void skip_line_end(struct accounts_table *t)
{
    if (t->at < t->end && *t->at == '\r')
        t->at++;
    if (t->at < t->end) {
        t->at++;
        t->line++;
    }
}

/* The inside of a quoted field, made plain in place. *out_end: where its NUL goes, which
 * must wait until the separator has been looked at. */
static int read_quoted(struct accounts_table *t, char **out_text, char **out_end,
                       struct config_error *error)
{
    unsigned first_line = t->line;
    char *to = ++t->at;
    *out_text = to;
    for (;; t->at++) {
        if (t->at >= t->end)
            return config_error_set(
                error, t->file, first_line,
                "a quoted field that does not end; allowed: \"...\", with "
                "\"\" for a quote inside");
        if (t->at[0] == '"') {
            if (t->at[1] != '"')
                break;
            t->at++;
        }
        t->line += *t->at == '\n';
        *to++ = *t->at;
    }
    t->at++;
    skip_blanks(t);
    *out_end = to;
    if (!at_line_end(t) && *t->at != t->separator)
        return config_error_set(
            error, t->file, t->line,
            "text behind a quoted field; allowed: \"...\", with \"\" for a "
            "quote inside");
    return 0;
}

static int read_plain(struct accounts_table *t, char **out_text, char **out_end,
                      struct config_error *error)
{
    *out_text = t->at;
    while (!at_line_end(t) && *t->at != t->separator) {
        if (*t->at == '"')
            return config_error_set(
                error, t->file, t->line,
                "a quote inside a field without quotes; write \"a\"\"b\" "
                "for a\"b");
        if (*t->at == '\r')
            return config_error_set(
                error, t->file, t->line,
                "a carriage return inside a line; allowed: lines that end "
                "in LF or CRLF");
        t->at++;
    }
    *out_end = t->at;
    while (*out_end > *out_text && is_blank((*out_end)[-1]))
        (*out_end)--;
    return 0;
}

/* One field and what ends it. *out_last: it was the last of its row. */
static int read_field(struct accounts_table *t, char **out_text, bool *out_last,
                      struct config_error *error)
{
    char *end = NULL;
    skip_blanks(t);
    int err = *t->at == '"' ? read_quoted(t, out_text, &end, error)
                            : read_plain(t, out_text, &end, error);
    if (err != 0)
        return err;
    *out_last = at_line_end(t);
    if (*out_last)
        skip_line_end(t);
    else
        t->at++;
    *end = '\0';
    return 0;
}

static void skip_blank_lines(struct accounts_table *t)
{
    while (t->at < t->end) {
        char *from = t->at;
        skip_blanks(t);
        if (t->at >= t->end)
            return;
        if (!at_line_end(t)) {
            t->at = from;
            return;
        }
        skip_line_end(t);
    }
}

/* No name of a column holds a comma or a semicolon, so the first of them is the separator.
 */
static char find_separator(const struct accounts_table *t)
{
    const char *first = strpbrk(t->at, ",;\n");
    return first != NULL && *first == ';' ? ';' : ',';
}

static int add_column(struct accounts_table *t, const char *name,
                      struct config_error *error)
{
    const struct config_key *key = config_key_find(SECTION_TABLE, name);
    if (key == NULL) {
        const char *near = config_key_near(SECTION_TABLE, name);
        char list[LIST_SIZE];
        config_key_list(SECTION_TABLE, list, sizeof(list));
        if (near != NULL)
            return config_error_set(error, t->file, t->header_line,
                                    "unknown column '%s'; did you mean '%s'?", name, near);
        return config_error_set(error, t->file, t->header_line,
                                "unknown column '%s'; allowed: %s", name, list);
    }
    for (size_t i = 0; i < t->column_count; i++)
        if (t->columns[i] == key)
            return config_error_set(error, t->file, t->header_line,
                                    "column '%s' is there twice; allowed: once", name);
    t->columns[t->column_count++] = key;
    return 0;
}

int accounts_table_open(struct accounts_table *t, const char *file, char *text, size_t size,
                        struct config_error *error)
{
    assert(text[size] == '\0');
    *t = (struct accounts_table){.file = file, .at = text, .end = text + size, .line = 1};
    skip_blank_lines(t);
    t->header_line = t->line;
    t->separator = find_separator(t);
    bool last = t->at >= t->end, has_name = false;
    while (!last) {
        char *name = NULL;
        int err = read_field(t, &name, &last, error);
        if (err == 0)
            err = add_column(t, name, error);
        if (err != 0)
            return err;
        has_name |= strcmp(name, config_keys[KEY_ACCOUNT].name) == 0;
    }
    if (!has_name)
        return config_error_set(error, file, t->header_line,
                                "the header row names no column 'account'; it holds the "
                                "accounts' names");
    return 0;
}

/* One row, blank or not. *out_empty: nothing in any field. */
static int read_row(struct accounts_table *t, struct accounts_row *row, bool *out_empty,
                    struct config_error *error)
{
    *row = (struct accounts_row){.line = t->line};
    *out_empty = true;
    size_t count = 0;
    for (bool last = false; !last; count++) {
        char *text = NULL;
        int err = read_field(t, &text, &last, error);
        if (err != 0)
            return err;
        if (*text == '\0')
            continue;
        *out_empty = false;
        if (count < t->column_count)
            row->text[config_key_id(t->columns[count])] = text;
    }
    if (!*out_empty && count != t->column_count)
        return config_error_set(error, t->file, row->line,
                                "%zu fields; allowed: %zu, as in the header row", count,
                                t->column_count);
    return 0;
}

int accounts_table_next(struct accounts_table *t, struct accounts_row *out_row,
                        struct config_error *error)
{
    bool empty = true;
    while (empty) {
        skip_blank_lines(t);
        if (t->at >= t->end)
            return 0;
        int err = read_row(t, out_row, &empty, error);
        if (err != 0) {
            t->at = t->end;
            return err;
        }
    }
    return 1;
}
