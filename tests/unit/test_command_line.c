#include "daemon/command_line.h"

#include "archive/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 8
#define WORD_SIZE 64

/* A command line and what it borrows from. */
struct parsed {
    struct command_line line;
    char words[WORDS_MAX][WORD_SIZE];
};

/* Parse what follows the program's name: words up to a NULL. */
static int parse(struct parsed *p, const char *first, ...)
{
    static char program[] = "mailcaskd";
    char *argv[WORDS_MAX + 1] = {program};
    int argc = 1;
    va_list words;
    va_start(words, first);
    for (const char *word = first; word != NULL; word = va_arg(words, const char *)) {
        assert_true(argc < WORDS_MAX && strlen(word) < WORD_SIZE);
        strcpy(p->words[argc], word);
        argv[argc] = p->words[argc];
        argc++;
    }
    va_end(words);
    return command_line_parse(&p->line, argc, argv);
}

static void refused(const char *message, const char *first, const char *second)
{
    struct parsed p;
    assert_int_equal(parse(&p, first, second, NULL), ERR_SYNTAX);
    assert_string_equal(p.line.error, message);
    command_line_free(&p.line);
}

static void options_stand_in_any_order(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(
        parse(&p, "--account", "b", "--once", "--account=a=b", "--config", "/c.conf", NULL),
        0);
    assert_true(p.line.once);
    assert_false(p.line.check_config);
    assert_string_equal(p.line.config, "/c.conf");
    assert_int_equal(p.line.account_count, 2);
    assert_string_equal(p.line.accounts[0], "b");
    assert_string_equal(p.line.accounts[1], "a=b");
    command_line_free(&p.line);
}

static void nothing_at_all_is_fine(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, NULL), 0);
    assert_null(p.line.config);
    assert_false(p.line.once || p.line.check_config || p.line.help || p.line.version);
    command_line_free(&p.line);
}

static void flags_are_taken(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--check-config", "--help", "--version", NULL), 0);
    assert_true(p.line.check_config && p.line.help && p.line.version);
    assert_false(p.line.once);
    command_line_free(&p.line);
}

static void unknown_options_get_a_hint(void **state)
{
    (void)state;
    refused("there is no option --onec; did you mean --once?", "--onec", NULL);
    refused("there is no option --check_confg; did you mean --check-config?",
            "--check_confg", NULL);
    refused("there is no option --conf; did you mean --config?", "--conf=x", NULL);
    refused("there is no option --daemonize; mailcaskd --help lists them", "--daemonize",
            NULL);
    refused("'once' is no option; mailcaskd --help lists them", "once", NULL);
    refused("'-h' is no option; mailcaskd --help lists them", "-h", NULL);
    refused("'--' is no option; mailcaskd --help lists them", "--", NULL);
}

static void values_are_checked(void **state)
{
    (void)state;
    refused("--config needs a value: --config FILE", "--config", NULL);
    refused("--config needs a value: --config FILE", "--config=", NULL);
    refused("--config is given twice", "--config=a", "--config=b");
    refused("--once takes no value", "--once=yes", NULL);
}

static void the_log_level_is_one_of_four(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--once", NULL), 0);
    assert_false(p.line.has_log_level);
    command_line_free(&p.line);
    assert_int_equal(parse(&p, "--log-level", "debug", NULL), 0);
    assert_true(p.line.has_log_level);
    assert_int_equal(p.line.log_level, LEVEL_DEBUG);
    command_line_free(&p.line);
    refused("--log-level: allowed: error, warning, info, debug", "--log-level=warn", NULL);
}

static void options_that_do_not_go_together(void **state)
{
    (void)state;
    refused("--account goes with --once", "--account", "a");
    refused("--once and --check-config exclude each other", "--once", "--check-config");
    refused("--server goes with --probe", "--server=s", NULL);
    refused("--trace goes with --once and --account", "--once", "--trace");
    refused("--timeout goes with --probe", "--timeout=1", "--once");
    refused("--probe and --once exclude each other", "--probe", "--once");
    refused("--probe and --check-config exclude each other", "--check-config", "--probe");
    refused("--probe needs one --account or one --server", "--probe", NULL);
}

static void a_probe_is_of_one_account_or_server(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--probe", "--account=a", "--timeout", "5", NULL), 0);
    assert_true(p.line.probe);
    assert_int_equal(p.line.timeout_s, 5);
    command_line_free(&p.line);
    assert_int_equal(parse(&p, "--probe", "--server", "s", NULL), 0);
    assert_string_equal(p.line.server, "s");
    assert_int_equal(p.line.timeout_s, 0);
    command_line_free(&p.line);
    assert_int_equal(parse(&p, "--probe", "--server=s", "--account=a", NULL), ERR_SYNTAX);
    command_line_free(&p.line);
    assert_int_equal(parse(&p, "--probe", "--account=a", "--account=b", NULL), ERR_SYNTAX);
    command_line_free(&p.line);
    refused("--timeout: allowed: 1 to 3600 seconds", "--timeout=0", NULL);
    refused("--timeout: allowed: 1 to 3600 seconds", "--timeout=3601", NULL);
    refused("--timeout: allowed: 1 to 3600 seconds", "--timeout=1m", NULL);
}

static void help_counts_beside_a_fault(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--wrong", "--help", NULL), ERR_SYNTAX);
    assert_true(p.line.help);
    command_line_free(&p.line);
}

static void help_names_every_option(void **state)
{
    (void)state;
    char text[4096] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");
    assert_non_null(out);
    command_line_help(out);
    fclose(out);
    const char *const names[] = {
        "--config FILE", "--once",        "--account NAME",    "--check-config",
        "--help",        "--version",     "MAILCASK_CONFIG",   "MAILCASK_LOOP",
        "--probe",       "--server NAME", "--timeout SECONDS", "--help-config"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(text, names[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_in_any_order),
        cmocka_unit_test(nothing_at_all_is_fine),
        cmocka_unit_test(flags_are_taken),
        cmocka_unit_test(unknown_options_get_a_hint),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(the_log_level_is_one_of_four),
        cmocka_unit_test(options_that_do_not_go_together),
        cmocka_unit_test(a_probe_is_of_one_account_or_server),
        cmocka_unit_test(help_counts_beside_a_fault),
        cmocka_unit_test(help_names_every_option),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
