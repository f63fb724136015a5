#include "daemon/secret.h"

#include "archive/error.h"
#include "tests/support/config_files.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 60000     /* for commands that end by themselves */
#define SHORT_TIMEOUT_MS 100 /* for those that do not */
#define PATIENCE_S 20        /* what killing them may take */

static void file_gives(const struct config_files *f, const char *data, size_t size,
                       const char *password)
{
    char path[FILES_PATH_SIZE];
    files_path(f, "secret", path);
    files_write_bytes(f, "secret", 0600, data, size);
    struct config_account account = {.password_kind = CONFIG_PASSWORD_FILE,
                                     .password = path};
    struct secret secret;
    struct secret_error error;
    assert_int_equal(secret_read(&account, &secret, &error), 0);
    assert_string_equal(secret.text, password);
    assert_int_equal(secret.size, strlen(password));
    secret_free(&secret);
    assert_null(secret.text);
    assert_int_equal(secret_check(&account, &error), 0);
}

static void file_refused(const struct config_files *f, const char *name, int expected,
                         const char *message)
{
    char path[FILES_PATH_SIZE];
    files_path(f, name, path);
    struct config_account account = {.password_kind = CONFIG_PASSWORD_FILE,
                                     .password = path};
    struct secret secret;
    struct secret_error error = {"none"};
    assert_int_equal(secret_read(&account, &secret, &error), expected);
    assert_null(secret.text);
    files_shorten(f, error.text);
    assert_string_equal(error.text, message);
    assert_int_equal(secret_check(&account, &error), expected);
}

static void the_first_line_of_a_file(void **state)
{
    static const struct {
        const char *data, *password;
    } cases[] = {{"pw", "pw"},
                 {"pw\n", "pw"},
                 {"pw\r\n", "pw"},
                 {"pw\nmore\n", "pw"},
                 {" p w \n", " p w "},
                 {"\xef\xbb\xbfpw\n", "pw"},
                 {"p\xc3\xa4ss\n", "p\xc3\xa4ss"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        file_gives(*state, cases[i].data, strlen(cases[i].data), cases[i].password);
}

static void the_longest_password(void **state)
{
    char data[SECRET_SIZE_MAX + 4], password[SECRET_SIZE_MAX + 1];
    memset(password, 'x', SECRET_SIZE_MAX);
    password[SECRET_SIZE_MAX] = '\0';
    snprintf(data, sizeof(data), "%s\r\n", password);
    file_gives(*state, data, SECRET_SIZE_MAX + 2, password);
    snprintf(data, sizeof(data), "%sx\n", password);
    files_write(*state, "secret", 0600, data);
    file_refused(*state, "secret", ERR_TOO_LARGE,
                 "password-file secret: its first line is longer than 4096 bytes");
}

static void files_without_a_password(void **state)
{
    static const char empty[] =
        "password-file secret: its first line is empty; it must be the password";
    static const char control[] = "password-file secret: a CR or NUL in the password";
    static const char *const blank[] = {"", "\n", "\r\n", "\npw\n", "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof(blank) / sizeof(blank[0]); i++) {
        files_write(*state, "secret", 0600, blank[i]);
        file_refused(*state, "secret", ERR_SYNTAX, empty);
    }
    files_write(*state, "secret", 0600, "a\rb\n");
    file_refused(*state, "secret", ERR_SYNTAX, control);
    files_write_bytes(*state, "secret", 0600, "a\0b\n", 4);
    file_refused(*state, "secret", ERR_SYNTAX, control);
}

static void files_open_to_others(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        files_write(*state, "secret", modes[i], "pw\n");
        file_refused(*state, "secret", ERR_OWNER,
                     "password-file secret: others may open it; run: chmod 600 secret");
    }
}

static void files_that_cannot_be_read(void **state)
{
    char path[FILES_PATH_SIZE];
    files_path(*state, "fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    file_refused(*state, "none", -ENOENT, "password-file none: No such file or directory");
    file_refused(*state, "fifo", -EINVAL, "password-file fifo: not a regular file");
    file_refused(*state, ".", -EINVAL, "password-file .: not a regular file");
}

static int read_credential(const char *name, struct secret *out, struct secret_error *error)
{
    const struct config_account account = {.password_kind = CONFIG_PASSWORD_CREDENTIAL,
                                           .password = name};
    int err = secret_read(&account, out, error);
    assert_int_equal(secret_check(&account, error),
                     getenv("CREDENTIALS_DIRECTORY") != NULL ? err : 0);
    return err;
}

static void credentials_of_the_service_manager(void **state)
{
    char folder[FILES_PATH_SIZE];
    struct secret secret;
    struct secret_error error;
    files_path(*state, "", folder);
    /* systemd's mode: the user's right is an ACL, whose mask are the group's bits. */
    files_write(*state, "c1", 0440, "pw\n");
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(read_credential("c1", &secret, &error), -ENXIO);
    assert_non_null(strstr(error.text, "credential c1: there are none outside"));
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    assert_int_equal(read_credential("c1", &secret, &error), 0);
    assert_string_equal(secret.text, "pw");
    secret_free(&secret);
    assert_int_equal(read_credential("c2", &secret, &error), -ENOENT);
    assert_string_equal(error.text, "credential c2: No such file or directory");
    files_write(*state, "c1", 0444, "pw\n");
    assert_int_equal(read_credential("c1", &secret, &error), ERR_OWNER);
    unsetenv("CREDENTIALS_DIRECTORY");
}

static void a_changed_file_is_another_secret(void **state)
{
    char path[FILES_PATH_SIZE], other[FILES_PATH_SIZE];
    const struct config_account account = {.password_kind = CONFIG_PASSWORD_FILE,
                                           .password = path};
    struct secret secret;
    struct secret_error error;
    files_path(*state, "changing", path);
    files_path(*state, "other", other);
    files_write(*state, "changing", 0600, "one\n");
    assert_int_equal(secret_read(&account, &secret, &error), 0);
    uint64_t stamp = secret.stamp;
    secret_free(&secret);
    assert_true(stamp != 0);
    assert_false(secret_changed(&account, stamp));
    files_write(*state, "other", 0600, "two\n");
    assert_int_equal(rename(other, path), 0);
    assert_true(secret_changed(&account, stamp));
    files_forget(*state, "changing");
    assert_false(secret_changed(&account, stamp));
    const struct config_account text = {.password_kind = CONFIG_PASSWORD_TEXT,
                                        .password = "pw"};
    assert_int_equal(secret_read(&text, &secret, &error), 0);
    assert_true(secret.stamp == 0);
    secret_free(&secret);
    assert_false(secret_changed(&text, 1));
}

static void a_password_in_the_configuration(void **state)
{
    (void)state;
    struct config_account account = {.password_kind = CONFIG_PASSWORD_TEXT,
                                     .password = " p w "};
    struct secret secret;
    struct secret_error error;
    assert_int_equal(secret_read(&account, &secret, &error), 0);
    assert_string_equal(secret.text, " p w ");
    assert_int_equal(secret.size, 5);
    secret_free(&secret);
    secret_free(&secret);
}

static void command_gives(const char *command, const char *password)
{
    struct secret secret;
    struct secret_error error = {"none"};
    if (secret_command(command, TIMEOUT_MS, &secret, &error) != 0)
        fail_msg("%s: %s", command, error.text);
    assert_string_equal(secret.text, password);
    assert_int_equal(secret.size, strlen(password));
    secret_free(&secret);
}

static void the_first_line_of_a_command(void **state)
{
    (void)state;
    command_gives("echo pw", "pw");
    command_gives("printf 'p w\\r\\nmore\\n'", "p w");
    command_gives("printf p; sleep 0.05; printf w", "pw");
    command_gives("echo pw; exec >&-; sleep 0.05", "pw");
    /* Its input is empty, and a pipe full of output does not stop it. */
    command_gives("cat; echo pw; head -c 300000 /dev/zero", "pw");
    struct config_account account = {.password_kind = CONFIG_PASSWORD_COMMAND,
                                     .password = "echo pw"};
    struct secret secret;
    struct secret_error error;
    assert_int_equal(secret_read(&account, &secret, &error), 0);
    assert_string_equal(secret.text, "pw");
    secret_free(&secret);
}

/* Every user can list the arguments of every process. */
static void a_command_is_not_among_the_arguments(void **state)
{
    (void)state;
    command_gives("grep -l hunte[r]2 /proc/[0-9]*/cmdline 2>/dev/null | head -n 1; "
                  "echo none; : hunter2",
                  "none");
}

static void command_fails(const char *command, unsigned timeout_ms, int expected,
                          const char *message)
{
    struct secret secret;
    struct secret_error error = {"none"};
    assert_int_equal(secret_command(command, timeout_ms, &secret, &error), expected);
    assert_null(secret.text);
    assert_string_equal(error.text, message);
}

static void commands_that_fail(void **state)
{
    (void)state;
    command_fails("echo pw; exit 3", TIMEOUT_MS, ERR_FAILED,
                  "password-command: it ended with exit status 3");
    command_fails("kill -TERM $$", TIMEOUT_MS, ERR_FAILED,
                  "password-command: it was ended by signal 15");
    command_fails("true", TIMEOUT_MS, ERR_SYNTAX,
                  "password-command: its first line is empty; it must be the password");
    command_fails("head -c 5000 /dev/zero | tr '\\0' x", TIMEOUT_MS, ERR_TOO_LARGE,
                  "password-command: its first line is longer than 4096 bytes");
}

static void commands_that_do_not_end_are_killed(void **state)
{
    (void)state;
    static const char message[] = "password-command: no end after 100 ms";
    time_t before = time(NULL);
    command_fails("sleep 30", SHORT_TIMEOUT_MS, -ETIMEDOUT, message);
    command_fails("echo pw; exec >&-; sleep 30", SHORT_TIMEOUT_MS, -ETIMEDOUT, message);
    command_fails("trap '' TERM; sleep 30 & wait", SHORT_TIMEOUT_MS, -ETIMEDOUT, message);
    command_fails("yes", SHORT_TIMEOUT_MS, -ETIMEDOUT, message);
    assert_true(time(NULL) - before < PATIENCE_S);
}

/* The whole group: else `sleep` lives on and holds the file that it was given. */
static void the_children_of_a_killed_command_die_too(void **state)
{
    char path[FILES_PATH_SIZE], command[2 * FILES_PATH_SIZE];
    files_path(*state, "pid", path);
    snprintf(command, sizeof(command), "sleep 30 & echo $! >%s; wait", path);
    command_fails(command, 1500, -ETIMEDOUT, "password-command: no end after 1500 ms");
    FILE *file = fopen(path, "r");
    int pid = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    fclose(file);
    char name[64], status[256] = "";
    snprintf(name, sizeof(name), "/proc/%d/stat", pid);
    for (int i = 0; i < 100 * PATIENCE_S; i++) {
        file = fopen(name, "r");
        if (file == NULL)
            return;
        bool zombie =
            fgets(status, sizeof(status), file) != NULL && strstr(status, ") Z") != NULL;
        fclose(file);
        if (zombie)
            return;
        usleep(10000);
    }
    fail_msg("still there: %s", status);
}

static void blocked_signals_are_not_inherited(void **state)
{
    (void)state;
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, &before), 0);
    command_fails("kill -TERM $$; echo pw", TIMEOUT_MS, ERR_FAILED,
                  "password-command: it was ended by signal 15");
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_line_of_a_file),
        cmocka_unit_test(the_longest_password),
        cmocka_unit_test(files_without_a_password),
        cmocka_unit_test(files_open_to_others),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(credentials_of_the_service_manager),
        cmocka_unit_test(a_changed_file_is_another_secret),
        cmocka_unit_test(a_password_in_the_configuration),
        cmocka_unit_test(the_first_line_of_a_command),
        cmocka_unit_test(a_command_is_not_among_the_arguments),
        cmocka_unit_test(commands_that_fail),
        cmocka_unit_test(commands_that_do_not_end_are_killed),
        cmocka_unit_test(the_children_of_a_killed_command_die_too),
        cmocka_unit_test(blocked_signals_are_not_inherited),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
