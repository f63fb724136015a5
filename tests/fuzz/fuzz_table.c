/* A table of accounts (daemon/accounts_table.h) of any contents. Rows that it gives are
 * written as CSV again, every field quoted, and must read the same. */
#include "archive/error.h"
#include "daemon/accounts_table.h"
#include "tests/fuzz/fuzz.h"

#define FILE_NAME "accounts.csv"

static void check_error(const struct config_error *error)
{
    size_t size = strnlen(error->text, sizeof(error->text));
    FUZZ_CHECK(size > strlen(FILE_NAME) && size < sizeof(error->text));
    FUZZ_CHECK(strncmp(error->text, FILE_NAME ":", strlen(FILE_NAME) + 1) == 0);
    for (size_t i = 0; i < size; i++)
        FUZZ_CHECK((unsigned char)error->text[i] >= ' ' && error->text[i] != 0x7f);
}

static void put_quoted(struct buffer *out, const char *text)
{
    buffer_put_u8(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"')
            buffer_put_u8(out, '"');
        buffer_put_u8(out, (uint8_t)*text);
    }
    buffer_put_u8(out, '"');
}

static void put_header(struct buffer *out, const struct accounts_table *table)
{
    for (size_t i = 0; i < table->column_count; i++) {
        if (i > 0)
            buffer_put_u8(out, ',');
        buffer_put(out, table->columns[i]->name, strlen(table->columns[i]->name));
    }
    buffer_put_u8(out, '\n');
}

static void put_row(struct buffer *out, const struct accounts_table *table,
                    const struct accounts_row *row)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const char *text = row->text[config_key_id(table->columns[i])];
        if (i > 0)
            buffer_put_u8(out, ',');
        if (text != NULL)
            put_quoted(out, text);
    }
    buffer_put_u8(out, '\n');
}

/* Read all of it, and write down what was read. True if it was read to its end. */
static bool read_table(struct span text, struct buffer *out)
{
    struct accounts_table table;
    struct accounts_row row;
    struct config_error error = {"none"};
    unsigned line = 0;
    char *copy = malloc(text.size + 1);
    FUZZ_CHECK(copy != NULL);
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    int err = accounts_table_open(&table, FILE_NAME, copy, text.size, &error);
    if (err == 0) {
        put_header(out, &table);
        while ((err = accounts_table_next(&table, &row, &error)) == 1) {
            FUZZ_CHECK(row.line > line);
            line = row.line;
            put_row(out, &table, &row);
        }
    }
    FUZZ_CHECK(err == 0 || err == ERR_SYNTAX);
    if (err != 0)
        check_error(&error);
    free(copy);
    return err == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer once = {0}, twice = {0};
    /* The file's reader lets no NUL pass. */
    if (size == 0 || memchr(data, 0, size) != NULL)
        return 0;
    if (read_table(span_of(data, size), &once)) {
        FUZZ_CHECK(read_table(span_of(once.data, once.size), &twice));
        FUZZ_CHECK(
            span_equal(span_of(once.data, once.size), span_of(twice.data, twice.size)));
    }
    buffer_free(&once);
    buffer_free(&twice);
    return 0;
}
