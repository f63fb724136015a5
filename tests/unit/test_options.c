#include "archive/error.h"
#include "tools/exits.h"
#include "tools/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 12

struct line {
    struct options options;
    char *argv[WORDS_MAX];
    char text[512];
    int rc;
};

/* Parses "mailcask" and the words of text, which are separated by single spaces. */
static void parse(struct line *l, const char *text)
{
    int argc = 0;
    assert_true(strlen(text) < sizeof(l->text));
    strcpy(l->text, text);
    static char program[] = "mailcask";
    l->argv[argc++] = program;
    for (char *word = strtok(l->text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX - 1);
        l->argv[argc++] = word;
    }
    l->argv[argc] = NULL;
    l->rc = options_parse(&l->options, argc, l->argv);
}

static void global_options_go_before_or_after_the_command(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "--archive /a list --account bob",
        "list --archive /a --account=bob",
        "list --account bob --archive=/a",
    };
    for (size_t i = 0; i < 3; i++) {
        struct line l;
        parse(&l, lines[i]);
        assert_int_equal(l.rc, 0);
        assert_int_equal(l.options.word_count, 1);
        assert_string_equal(l.options.words[0], "list");
        assert_string_equal(l.options.values[OPTION_ARCHIVE], "/a");
        assert_string_equal(l.options.values[OPTION_ACCOUNT], "bob");
        options_free(&l.options);
    }
}

static void ids_are_kept_in_order(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "restore --id a/1 --id=b/2 --id a/3");
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.options.id_count, 3);
    assert_string_equal(l.options.ids[0], "a/1");
    assert_string_equal(l.options.ids[1], "b/2");
    assert_string_equal(l.options.ids[2], "a/3");
    options_free(&l.options);
}

static void a_value_may_hold_an_equals_sign(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "list --account=a=b");
    assert_int_equal(l.rc, 0);
    assert_string_equal(l.options.values[OPTION_ACCOUNT], "a=b");
    options_free(&l.options);
}

static void nothing_behind_two_dashes_is_an_option(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "show -- --json");
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.options.word_count, 2);
    assert_string_equal(l.options.words[1], "--json");
    assert_false(option_given(&l.options, OPTION_JSON));
    options_free(&l.options);
}

static void faults_are_told_and_the_command_is_known_all_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *error;
    } cases[] = {
        {"list --acount=bob", "is --account meant?"},
        {"list --frobnicate", "there is no option --frobnicate"},
        {"list --account", "--account needs a value"},
        {"list --account=", "--account needs a value"},
        {"list --json=yes", "--json takes no value"},
        {"list --json --json", "--json is given twice"},
        {"list --account a --account b", "--account is given twice"},
        {"list -j", "there is no option -j"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line l;
        parse(&l, cases[i].line);
        assert_int_equal(l.rc, ERR_SYNTAX);
        if (strstr(l.options.error, cases[i].error) == NULL)
            fail_msg("%s: said '%s'", cases[i].line, l.options.error);
        assert_string_equal(l.options.words[0], "list");
        options_free(&l.options);
    }
}

static void the_first_fault_is_the_one_told(void **state)
{
    (void)state;
    struct line l;
    parse(&l, "list --json --json --account");
    assert_non_null(strstr(l.options.error, "twice"));
    options_free(&l.options);
}

static void a_name_without_end_is_no_danger(void **state)
{
    (void)state;
    struct line l;
    char text[400] = "list --";
    memset(text + 7, 'x', 300);
    text[307] = '\0';
    parse(&l, text);
    assert_int_equal(l.rc, ERR_SYNTAX);
    assert_true(strlen(l.options.error) < OPTIONS_ERROR_MAX);
    options_free(&l.options);
}

static void near_names_are_found_and_far_ones_are_not(void **state)
{
    (void)state;
    static const char *const names[] = {"list", "ledger", "restore", "verify", "reindex"};
    assert_string_equal(nearest_name("lsit", names, 5), "list");
    assert_string_equal(nearest_name("lis", names, 5), "list");
    assert_string_equal(nearest_name("resotre", names, 5), "restore");
    assert_string_equal(nearest_name("verfy", names, 5), "verify");
    assert_null(nearest_name("status", names, 5));
    assert_null(nearest_name("", names, 5));
}

static void the_worst_of_two_statuses_is_kept(void **state)
{
    (void)state;
    assert_int_equal(exit_worse(EXIT_DONE, EXIT_PART), EXIT_PART);
    assert_int_equal(exit_worse(EXIT_DAMAGE, EXIT_PART), EXIT_DAMAGE);
    assert_int_equal(exit_worse(EXIT_PART, EXIT_DAMAGE), EXIT_DAMAGE);
    assert_int_equal(exit_worse(EXIT_DAMAGE, EXIT_CANNOT), EXIT_CANNOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global_options_go_before_or_after_the_command),
        cmocka_unit_test(ids_are_kept_in_order),
        cmocka_unit_test(a_value_may_hold_an_equals_sign),
        cmocka_unit_test(nothing_behind_two_dashes_is_an_option),
        cmocka_unit_test(faults_are_told_and_the_command_is_known_all_the_same),
        cmocka_unit_test(the_first_fault_is_the_one_told),
        cmocka_unit_test(a_name_without_end_is_no_danger),
        cmocka_unit_test(near_names_are_found_and_far_ones_are_not),
        cmocka_unit_test(the_worst_of_two_statuses_is_kept),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
