#include "daemon/accounts_table.h"

#include "archive/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A table in memory of its own size, so that a sanitizer sees every step beyond it. */
struct sample {
    struct accounts_table table;
    struct config_error error;
    char *text;
    int opened;
};

static struct sample sample_of(const char *csv)
{
    struct sample s = {.text = strdup(csv)};
    assert_non_null(s.text);
    s.opened = accounts_table_open(&s.table, "t.csv", s.text, strlen(s.text), &s.error);
    return s;
}

static struct accounts_row next_row(struct sample *s)
{
    struct accounts_row row;
    assert_int_equal(s->opened, 0);
    assert_int_equal(accounts_table_next(&s->table, &row, &s->error), 1);
    return row;
}

static void no_more_rows(struct sample *s)
{
    struct accounts_row row;
    assert_int_equal(accounts_table_next(&s->table, &row, &s->error), 0);
    free(s->text);
}

static void header_fails(const char *csv, const char *message)
{
    struct sample s = sample_of(csv);
    assert_int_equal(s.opened, ERR_SYNTAX);
    assert_string_equal(s.error.text, message);
    free(s.text);
}

/* The last row fails; those before do not. */
static void row_fails(const char *csv, const char *message)
{
    struct sample s = sample_of(csv);
    struct accounts_row row;
    int got = s.opened == 0 ? 1 : s.opened;
    while (got == 1)
        got = accounts_table_next(&s.table, &row, &s.error);
    assert_int_equal(got, ERR_SYNTAX);
    assert_string_equal(s.error.text, message);
    assert_int_equal(accounts_table_next(&s.table, &row, &s.error), 0);
    free(s.text);
}

static void plain_rows(void **state)
{
    (void)state;
    struct sample s = sample_of("account,user,poll\na@x,alice,30s\nb@x,bob,1h\n");
    struct accounts_row row = next_row(&s);
    assert_int_equal(row.line, 2);
    assert_string_equal(row.text[KEY_ACCOUNT], "a@x");
    assert_string_equal(row.text[KEY_USER], "alice");
    assert_string_equal(row.text[KEY_POLL], "30s");
    assert_null(row.text[KEY_PASSWORD]);
    row = next_row(&s);
    assert_int_equal(row.line, 3);
    assert_string_equal(row.text[KEY_ACCOUNT], "b@x");
    assert_string_equal(row.text[KEY_USER], "bob");
    no_more_rows(&s);
}

static void columns_in_any_order(void **state)
{
    (void)state;
    struct sample s =
        sample_of("delete,password-command,server,password-file,password,account\n"
                  "never,cmd,srv,file,pw,a\n");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_DELETE], "never");
    assert_string_equal(row.text[KEY_PASSWORD_COMMAND], "cmd");
    assert_string_equal(row.text[KEY_SERVER], "srv");
    assert_string_equal(row.text[KEY_PASSWORD_FILE], "file");
    assert_string_equal(row.text[KEY_PASSWORD], "pw");
    assert_string_equal(row.text[KEY_ACCOUNT], "a");
    no_more_rows(&s);
}

static void semicolons_when_the_header_has_them(void **state)
{
    (void)state;
    struct sample s = sample_of("account;password\r\na;x,y\r\n");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_PASSWORD], "x,y");
    no_more_rows(&s);
    s = sample_of("account,password\na,x;y\n");
    row = next_row(&s);
    assert_string_equal(row.text[KEY_PASSWORD], "x;y");
    no_more_rows(&s);
}

static void one_column_is_enough(void **state)
{
    (void)state;
    struct sample s = sample_of("account\na;b\nc");
    assert_string_equal(next_row(&s).text[KEY_ACCOUNT], "a;b");
    assert_string_equal(next_row(&s).text[KEY_ACCOUNT], "c");
    no_more_rows(&s);
}

static void crlf_and_no_line_end_at_the_end(void **state)
{
    (void)state;
    struct sample s = sample_of("account,user\r\na,b\r\nc,d");
    assert_string_equal(next_row(&s).text[KEY_USER], "b");
    assert_string_equal(next_row(&s).text[KEY_USER], "d");
    no_more_rows(&s);
    s = sample_of("account,user\na,");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_ACCOUNT], "a");
    assert_null(row.text[KEY_USER]);
    no_more_rows(&s);
}

static void quotes_hold_separators_quotes_and_line_ends(void **state)
{
    (void)state;
    struct sample s = sample_of("account,password,user\n"
                                "\"a\",\"x,y;z\",u\n"
                                "\"b\",\"say \"\"hi\"\"\",u\n"
                                "\"c\",\"two\r\nlines\n\",u\n"
                                "\"d\",\"\"\"\",u\n"
                                "e,pw,\"u\"");
    assert_string_equal(next_row(&s).text[KEY_PASSWORD], "x,y;z");
    assert_string_equal(next_row(&s).text[KEY_PASSWORD], "say \"hi\"");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_PASSWORD], "two\r\nlines\n");
    assert_int_equal(row.line, 4);
    row = next_row(&s);
    assert_string_equal(row.text[KEY_PASSWORD], "\"");
    assert_int_equal(row.line, 7);
    assert_string_equal(next_row(&s).text[KEY_USER], "u");
    no_more_rows(&s);
}

static void blanks_count_inside_quotes_only(void **state)
{
    (void)state;
    struct sample s = sample_of(" account ,\tpassword\n a , in side \nb , \" kept \" \n");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_ACCOUNT], "a");
    assert_string_equal(row.text[KEY_PASSWORD], "in side");
    assert_string_equal(next_row(&s).text[KEY_PASSWORD], " kept ");
    no_more_rows(&s);
}

static void quoted_header(void **state)
{
    (void)state;
    struct sample s = sample_of("\"account\";\"user\"\n\"a\";\"b\"\n");
    assert_string_equal(next_row(&s).text[KEY_USER], "b");
    no_more_rows(&s);
}

static void blank_and_empty_rows_are_skipped_but_counted(void **state)
{
    (void)state;
    struct sample s = sample_of("\n \r\naccount,user\n\n\t\n,\n\"\",\na,b\n\n,,,\n  ");
    struct accounts_row row = next_row(&s);
    assert_string_equal(row.text[KEY_ACCOUNT], "a");
    assert_int_equal(row.line, 8);
    no_more_rows(&s);
}

static void empty_fields_are_not_there(void **state)
{
    (void)state;
    struct sample s = sample_of("account,user,poll\na,,\"\"\n,u,\n");
    struct accounts_row row = next_row(&s);
    assert_null(row.text[KEY_USER]);
    assert_null(row.text[KEY_POLL]);
    row = next_row(&s);
    assert_null(row.text[KEY_ACCOUNT]);
    assert_string_equal(row.text[KEY_USER], "u");
    no_more_rows(&s);
}

static void a_header_without_rows(void **state)
{
    (void)state;
    struct sample s = sample_of("account,user");
    assert_int_equal(s.opened, 0);
    no_more_rows(&s);
}

#define COLUMNS                                                                            \
    "account, server, user, password-file, password-command, password, poll, poll-quiet, " \
    "daily-bytes, trace, delete"

static void unknown_columns(void **state)
{
    (void)state;
    header_fails("account,pasword\n", "t.csv:1: unknown column 'pasword'; did you mean "
                                      "'password'?");
    header_fails("account,password_file\n",
                 "t.csv:1: unknown column 'password_file'; did you "
                 "mean 'password-file'?");
    header_fails("\n\naccount,colour\n",
                 "t.csv:3: unknown column 'colour'; allowed: " COLUMNS);
    header_fails("account,host\n", "t.csv:1: unknown column 'host'; allowed: " COLUMNS);
    header_fails("account,\n", "t.csv:1: unknown column ''; allowed: " COLUMNS);
}

static void bad_headers(void **state)
{
    (void)state;
    static const char none[] =
        "t.csv:1: the header row names no column 'account'; it holds the accounts' names";
    header_fails("", none);
    header_fails("user,poll\n", none);
    header_fails("account,user,user\n",
                 "t.csv:1: column 'user' is there twice; allowed: once");
}

static void wrong_number_of_fields(void **state)
{
    (void)state;
    row_fails("account,user\na,b\nc\n",
              "t.csv:3: 1 fields; allowed: 2, as in the header row");
    row_fails("account,user\n\"a\n\",b\n\nc,d,e\n",
              "t.csv:5: 3 fields; allowed: 2, as in the header row");
}

static void bad_quotes(void **state)
{
    (void)state;
    row_fails(
        "account,user\na,b\n\"c,d\ne,f\n",
        "t.csv:3: a quoted field that does not end; allowed: \"...\", with \"\" for a "
        "quote inside");
    row_fails(
        "account,user\n\"a\"b,c\n",
        "t.csv:2: text behind a quoted field; allowed: \"...\", with \"\" for a quote "
        "inside");
    row_fails("account,user\na,b\"c\n",
              "t.csv:2: a quote inside a field without quotes; write \"a\"\"b\" for a\"b");
    row_fails("account,user\na,\"", "t.csv:2: a quoted field that does not end; allowed: "
                                    "\"...\", with \"\" for a quote inside");
}

static void lone_carriage_return(void **state)
{
    (void)state;
    row_fails("account,user\na,b\rc\n",
              "t.csv:2: a carriage return inside a line; allowed: lines that end in LF or "
              "CRLF");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_rows),
        cmocka_unit_test(columns_in_any_order),
        cmocka_unit_test(semicolons_when_the_header_has_them),
        cmocka_unit_test(one_column_is_enough),
        cmocka_unit_test(crlf_and_no_line_end_at_the_end),
        cmocka_unit_test(quotes_hold_separators_quotes_and_line_ends),
        cmocka_unit_test(blanks_count_inside_quotes_only),
        cmocka_unit_test(quoted_header),
        cmocka_unit_test(blank_and_empty_rows_are_skipped_but_counted),
        cmocka_unit_test(empty_fields_are_not_there),
        cmocka_unit_test(a_header_without_rows),
        cmocka_unit_test(unknown_columns),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(wrong_number_of_fields),
        cmocka_unit_test(bad_quotes),
        cmocka_unit_test(lone_carriage_return),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
