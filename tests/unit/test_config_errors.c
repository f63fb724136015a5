#include "daemon/config.h"

#include "archive/error.h"
#include "daemon/config_keys.h"
#include "tests/support/config_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HEX_32 "00112233445566778899aabbccddeeff"

/* What most cases need and do not look at: 3 lines of archive, 3 of server. */
#define ARCHIVE "[archive]\npath = a\n\n"
#define SERVER "[server s]\nhost = h\npassword-file = p\n"
#define ACCOUNT "[account x@y]\nserver = s\n"

/* key = value, in its section; what is allowed is what the table of keys says. */
static void bad_value(const struct config_files *f, enum config_key_id id,
                      const char *value)
{
    const struct config_key *key = &config_keys[id];
    const char *section = (key->sections & SECTION_ARCHIVE) != 0  ? "[archive]"
                          : (key->sections & SECTION_SERVER) != 0 ? "[server s]"
                                                                  : "[account x]";
    char text[512], message[CONFIG_ERROR_SIZE];
    snprintf(text, sizeof(text), "%s\n%s = %s\n", section, key->name, value);
    snprintf(message, sizeof(message), "c.ini:2: bad value '%s' for '%s'; allowed: %s",
             value, key->name, key->allowed);
    files_refused_text(f, text, message);
}

static void bad_values(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        enum config_key_id id;
        const char *values[10];
    } cases[] = {
        {KEY_DELETES, {"yes", "ON", "1", "off;"}},
        {KEY_REQUIRE_REASON, {"on", "YES", "1", "no;"}},
        {KEY_LOG_LEVEL, {"warn", "INFO", "3", "trace"}},
        {KEY_MAX_MEMORY,
         {"31M", "1025G", "512", "1T", "1MB", "M", "-1G", "1.5G", "99999999999999999999G"}},
        {KEY_HOST, {"a b", "h:995", "[::1]", "h/x", "-h", ".h", "b\xc3\xbc.example"}},
        {KEY_PORT, {"0", "65536", "995x", "-1", "pop3s", "18446744073709551617"}},
        {KEY_TLS, {"none", "Implicit", "stls"}},
        {KEY_TLS_MIN, {"1", "1.4", "TLSv1.2", "2", "ssl3"}},
        {KEY_FINGERPRINT,
         {"sha1:" HEX_32, HEX_32 HEX_32, "sha256:" HEX_32, "sha256:" HEX_32 HEX_32 "0",
          "sha256:" HEX_32 HEX_32 ":", "sha256::" HEX_32 HEX_32, "sha256:0:0" HEX_32 HEX_32,
          "sha256:g" HEX_32 HEX_32}},
        {KEY_MAX_CONNECTIONS, {"0", "1001", "many"}},
        {KEY_AVOID, {"pipelinig", "capa,utf8", "stls", "none"}},
        {KEY_METRICS,
         {"9995", "127.0.0.1", "0.0.0.0:9995", "localhost:9995", "[::]:9995", "::1:9995",
          "127.0.0.1:0", "127.0.0.1:65536", "[127.0.0.1]:9995"}},
        {KEY_SERVER, {".s", "a/b"}},
        {KEY_USER, {"%x", "%", "a%", "100% b"}},
        {KEY_PASSWORD_FILE, {"secrets/%n", "%"}},
        {KEY_PASSWORD_COMMAND, {"date +%s", "pass %A"}},
        {KEY_POLL, {"15", "0s", "31d", "1w", "m", "1h30m", "-1h", "1 h"}},
        {KEY_DAILY_BYTES, {"1025G", "1T", "none", "-1"}},
        {KEY_DELETE,
         {"always", "after", "after30d", "after 30", "after 0d", "after 3651d",
          "after 1d 1h", "Never"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t j = 0; j < 10 && cases[i].values[j] != NULL; j++)
            bad_value(f, cases[i].id, cases[i].values[j]);
}

static void unknown_keys_and_sections(void **state)
{
    const struct config_files *f = *state;
    files_refused_text(
        f, "[account x]\npasword-file = x\n",
        "c.ini:2: unknown key 'pasword-file'; did you mean 'password-file'?");
    files_refused_text(
        f, "[server x]\nmax_connections = 3\n",
        "c.ini:2: unknown key 'max_connections'; did you mean 'max-connections'?");
    files_refused_text(
        f, "[archive]\n\ncolour = red\n",
        "c.ini:3: unknown key 'colour'; allowed in [archive]: path, deletes, max-memory, "
        "require-reason, metrics, log-level");
    files_refused_text(
        f, "[account x]\nhost = h\n",
        "c.ini:2: key 'host' belongs into [server]; allowed in [account]: server, user, "
        "password-file, password-command, password, poll, poll-quiet, daily-bytes, trace, "
        "delete");
    files_refused_text(
        f, "[server x]\nserver = y\n",
        "c.ini:2: key 'server' belongs into [account]; allowed in [server]: preset, host, "
        "port, tls, tls-min, ca-file, fingerprint, max-connections, avoid, accounts-file, "
        "user, "
        "password-file, "
        "password-command, password, poll, poll-quiet, daily-bytes, trace, delete");
    files_refused_text(f,
                       "[archive]\npath = a\n[server s]\nhost = h\npassword = x\n"
                       "poll-quiet = 1h\n[account a]\nserver = s\npoll = 2h\n",
                       "c.ini:6: poll-quiet of account 'a' is shorter than its poll; "
                       "allowed: a duration from poll to 12h, such as 30m, 1h, 6h");
    files_refused_text(f, "[acount x]\n",
                       "c.ini:1: unknown section 'acount'; did you mean 'account'?");
    files_refused_text(f, "[mailbox x]\n",
                       "c.ini:1: unknown section 'mailbox'; allowed: [archive], "
                       "[server NAME], [account NAME]");
    files_refused_text(f, "\npath = x\n",
                       "c.ini:2: key 'path' outside a section; allowed first: [archive], "
                       "[server NAME], [account NAME]");
}

static void lines_that_are_nothing(void **state)
{
    const struct config_files *f = *state;
    files_refused_text(f, "[archive\npath = x\n",
                       "c.ini:1: a section without its ']'; allowed: [archive], "
                       "[server NAME], [account NAME]");
    files_refused_text(f, "[archive] # mine\n",
                       "c.ini:1: a section without its ']'; allowed: [archive], "
                       "[server NAME], [account NAME]");
    files_refused_text(
        f, "[archive]\npath\n",
        "c.ini:2: neither a section nor a key with its value; allowed: [section], key = "
        "value, and comments on lines of their own");
    files_refused_text(
        f, "[archive]\n= x\n",
        "c.ini:2: neither a section nor a key with its value; allowed: [section], key = "
        "value, and comments on lines of their own");
    files_refused_text(f, "[archive]\rpath = x\r",
                       "c.ini:1: a carriage return inside a line; allowed: lines "
                       "that end in LF or CRLF");
    files_refused_text(f, "[]\n",
                       "c.ini:1: unknown section ''; allowed: [archive], [server NAME], "
                       "[account NAME]");
}

static void text_that_is_not_utf8(void **state)
{
    const struct config_files *f = *state;
    static const char message[] = "c.ini:2: text that is not UTF-8; save the file as UTF-8";
    files_refused_text(f, "[archive]\npath = caf\xe9\n", message);
    files_refused_text(f, "[archive]\npath = \xc0\xaf\n", message);
    files_refused_text(f, "[archive]\npath = \xe0\x80\xaf\n", message);
    files_refused_text(f, "[archive]\npath = \xed\xa0\x80\n", message);
    files_refused_text(f, "[archive]\npath = \xf4\x90\x80\x80\n", message);
    files_refused_text(f, "[archive]\npath = \xe2\x82", message);
    files_write_bytes(f, "c.ini", 0600, "[archive]\npath\0= x\n", 19);
    files_refused(f, "c.ini", ERR_SYNTAX,
                  "c.ini:2: a NUL byte; allowed: text in UTF-8, no NUL");
}

static void bad_names(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        const char *section, *what, *shown;
    } cases[] = {{"[account a/b]", "account", "a/b"},
                 {"[account .a]", "account", ".a"},
                 {"[account]", "account", ""},
                 {"[account ..]", "account", ".."},
                 {"[account a\x01z]", "account", "a?z"},
                 {"[account a\tz]", "account", "a?z"},
                 {"[account a\x7fz]", "account", "a?z"},
                 {"[server]", "server", ""},
                 {"[account a\xc2\x9bz]", "account", "a\xc2\x9bz"},
                 {"[server a/b]", "server", "a/b"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char message[256];
        snprintf(message, sizeof(message),
                 "c.ini:1: bad %s name '%s'; allowed: 1 to 255 bytes without '/', control "
                 "characters or a leading dot",
                 cases[i].what, cases[i].shown);
        files_refused_text(f, cases[i].section, message);
    }
    files_refused_text(f, "[archive main]\n",
                       "c.ini:1: section [archive] with a name; allowed: [archive]");
}

static void duplicates(void **state)
{
    const struct config_files *f = *state;
    files_refused_text(
        f, "[archive]\npath = a\npath = b\n",
        "c.ini:3: key 'path' is there twice, first in line 2; allowed: once");
    files_refused_text(
        f, "[archive]\npath =\npath = b\n",
        "c.ini:3: key 'path' is there twice, first in line 2; allowed: once");
    files_refused_text(
        f, ARCHIVE "[archive]\n",
        "c.ini:4: section [archive] is there twice, first in line 1; allowed: once");
    files_refused_text(
        f, ARCHIVE SERVER SERVER,
        "c.ini:7: server 's' is there twice, first at c.ini:4; allowed: once");
    files_refused_text(
        f, ARCHIVE SERVER ACCOUNT "[account b]\nserver=s\n" ACCOUNT,
        "c.ini:11: account 'x@y' is there twice, first at c.ini:7; allowed: once");
    files_write(f, "t.csv", 0644, "account\nb\nx@y\n");
    files_refused_text(
        f, ARCHIVE SERVER "accounts-file = t.csv\n" ACCOUNT,
        "t.csv:3: account 'x@y' is there twice, first at c.ini:8; allowed: once");
}

static void what_must_be_there(void **state)
{
    const struct config_files *f = *state;
    files_refused_text(
        f, "",
        "c.ini:1: no path of an archive; allowed: a section [archive] with 'path = "
        "FOLDER'");
    files_refused_text(f, "\n[archive]\npath =\n",
                       "c.ini:2: no path of an archive; allowed: a section "
                       "[archive] with 'path = FOLDER'");
    files_refused_text(
        f, ARCHIVE "[server s]\nport = 995\n",
        "c.ini:4: server 's' has no host; allowed: 'host = NAME', a host name or an IP "
        "address, without a port");
    files_refused_text(
        f, ARCHIVE SERVER "[account x]\nuser = u\n",
        "c.ini:7: account 'x' has no server; allowed: 'server = NAME' of a [server NAME] "
        "section");
    files_refused_text(
        f, ARCHIVE SERVER "[account x]\nserver = other\n",
        "c.ini:8: unknown server 'other'; allowed: the name of a [server] section");
    files_refused_text(f, ARCHIVE "[server acme]\nhost = h\n[account x]\n\nserver = amce\n",
                       "c.ini:8: unknown server 'amce'; did you mean 'acme'?");
    files_refused_text(
        f, ARCHIVE "[server s]\nhost = h\n" ACCOUNT,
        "c.ini:6: account 'x@y' has no password; allowed: one of password-file, "
        "password-command, password");
    files_refused_text(f,
                       ARCHIVE SERVER ACCOUNT "password-command = c\npassword-file = f\n",
                       "c.ini:10: two passwords for 'x@y'; allowed: one of password-file, "
                       "password-command, password");
    files_refused_text(
        f, ARCHIVE SERVER "password-command = c\n",
        "c.ini:7: two passwords for 's'; allowed: one of password-file, password-command, "
        "password");
}

static void missing_files(void **state)
{
    const struct config_files *f = *state;
    files_refused(
        f, "none.ini", -ENOENT,
        "none.ini: the configuration file cannot be read: No such file or directory");
    files_refused_text(
        f, ARCHIVE SERVER "accounts-file = none.csv\n",
        "c.ini:7: accounts-file none.csv cannot be read: No such file or directory; "
        "allowed: a CSV file with a header row");
    files_refused_text(
        f, ARCHIVE SERVER "ca-file = none.pem\n",
        "c.ini:7: ca-file none.pem cannot be read: No such file or directory; allowed: a "
        "file in PEM form");
    char path[FILES_PATH_SIZE];
    files_path(f, "d.ini", path);
    assert_int_equal(mkdir(path, 0700), 0);
    files_refused(f, "d.ini", -EISDIR,
                  "d.ini: the configuration file cannot be read: Is a directory");
    files_path(f, "fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    files_refused(f, "fifo", -EINVAL,
                  "fifo: the configuration file cannot be read: not a regular file");
}

static void limits_are_named(void **state)
{
    const struct config_files *f = *state;
    char path[FILES_PATH_SIZE];
    files_write(f, "large.csv", 0600, "account\n");
    files_path(f, "large.csv", path);
    assert_int_equal(truncate(path, (off_t)256 * 1024 * 1024 + 1), 0);
    files_refused_text(
        f, ARCHIVE SERVER "accounts-file = large.csv\n",
        "c.ini:7: accounts-file large.csv cannot be read: larger than 256 MiB; "
        "allowed: a CSV file with a header row");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("account\n", file);
    for (unsigned i = 0; i <= CONFIG_ACCOUNTS_MAX; i++)
        fprintf(file, "%u\n", i);
    assert_int_equal(fclose(file), 0);
    files_refused_text(f, ARCHIVE SERVER "accounts-file = large.csv\n",
                       "large.csv:500002: too many accounts; allowed: 500000");
    files_forget(f, "large.csv");
}

static void names_do_not_reach_the_shell_as_code(void **state)
{
    const struct config_files *f = *state;
    static const char *const names[] = {"a;b", "a b", "$(id)", "a'b", "-rf", "a`b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[256], message[512];
        snprintf(text, sizeof(text),
                 ARCHIVE "[server s]\nhost = h\npassword-command = get %%a\n"
                         "[account %s]\nserver = s\n",
                 names[i]);
        snprintf(
            message, sizeof(message),
            "c.ini:6: account name '%s' in 'password-command' is not one plain word to "
            "the shell; allowed: letters, digits and @ + = : , . _ -, no leading -",
            names[i]);
        files_refused_text(f, text, message);
    }
    struct config *c =
        files_load_text(f, ARCHIVE "[server s]\nhost = h\npassword-command = get\n"
                                   "[account a;b]\nserver = s\n");
    assert_string_equal(c->accounts[0].password, "get");
    config_free(c);
}

static void passwords_want_a_private_file(void **state)
{
    const struct config_files *f = *state;
    static const mode_t modes[] = {0640, 0604, 0620, 0601};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        files_write(f, "c.ini", modes[i], ARCHIVE SERVER ACCOUNT "password = pw\n");
        files_refused(
            f, "c.ini", ERR_SYNTAX,
            "c.ini:9: a password in a file that others may open; run: chmod 600 c.ini");
    }
    files_write(f, "t.csv", 0640, "account,password\na,pw\n");
    files_refused_text(
        f, ARCHIVE SERVER "accounts-file = t.csv\n",
        "t.csv:1: a column 'password' in a file that others may open; run: chmod 600 "
        "t.csv");
    files_write(f, "t.csv", 0600, "account,password\na,\" p,w \"\n");
    struct config *c = files_load_text(f, ARCHIVE SERVER "accounts-file = t.csv\n");
    assert_int_equal(c->accounts[0].password_kind, CONFIG_PASSWORD_TEXT);
    assert_string_equal(c->accounts[0].password, " p,w ");
    config_free(c);
}

static void credentials_with_line_ends_are_refused(void **state)
{
    const struct config_files *f = *state;
    static const char *const breaks[] = {"\r", "\n"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof(text), "account,password\na,\"secret%sx\"\n", breaks[i]);
        files_write(f, "t.csv", 0600, text);
        files_refused_text(
            f, ARCHIVE SERVER "accounts-file = t.csv\n",
            "t.csv:2: bad value for 'password'; allowed: text without CR, LF or NUL");
        snprintf(text, sizeof(text), "account,user\na,\"u%sx\"\n", breaks[i]);
        files_write(f, "t.csv", 0600, text);
        files_refused_text(
            f, ARCHIVE SERVER "accounts-file = t.csv\n",
            "t.csv:2: bad value 'u?x' for 'user'; allowed: text without control "
            "characters; of '%' only %a, %u, %d and %%");
    }
}

static void bad_rows(void **state)
{
    const struct config_files *f = *state;
    static const struct {
        const char *csv, *message;
    } cases[] = {
        {"account,poll\na,15\n",
         "t.csv:2: bad value '15' for 'poll'; allowed: a duration from "
         "1s to 30d, such as 30s, 15m, 1h, 1d"},
        {"account,user\n,u\n",
         "t.csv:2: bad account name ''; allowed: 1 to 255 bytes without "
         "'/', control characters or a leading dot"},
        {"account\n\n.x\n",
         "t.csv:3: bad account name '.x'; allowed: 1 to 255 bytes without "
         "'/', control characters or a leading dot"},
        {"account,server\na,q\n",
         "t.csv:2: unknown server 'q'; allowed: the name of a [server] section"},
        {"account,user\na\n", "t.csv:2: 1 fields; allowed: 2, as in the header row"},
        {"account\ncaf\xe9\n", "t.csv:2: text that is not UTF-8; save the file as UTF-8"},
        {"account,password-file,password-command\na,b,c\n",
         "t.csv:2: two passwords for 'a'; allowed: one of password-file, password-command, "
         "password"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        files_write(f, "t.csv", 0644, cases[i].csv);
        files_refused_text(
            f, ARCHIVE "[server zz]\nhost = h\npassword-file = p\naccounts-file = t.csv\n",
            cases[i].message);
    }
}

static void a_message_is_one_line_and_says_when_it_is_cut(void **state)
{
    const struct config_files *f = *state;
    char text[4096] = "[archive]\nmax-memory = \x1b[31m";
    memset(text + strlen(text), 'x', 2000);
    files_write(f, "c.ini", 0600, text);
    char path[FILES_PATH_SIZE];
    files_path(f, "c.ini", path);
    struct config *config = NULL;
    struct config_error error;
    assert_int_equal(config_load(path, &config, &error), ERR_SYNTAX);
    assert_int_equal(strlen(error.text), CONFIG_ERROR_SIZE - 1);
    assert_string_equal(error.text + CONFIG_ERROR_SIZE - 4, "...");
    assert_null(strpbrk(error.text, "\x1b\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_values),
        cmocka_unit_test(unknown_keys_and_sections),
        cmocka_unit_test(lines_that_are_nothing),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(what_must_be_there),
        cmocka_unit_test(missing_files),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(names_do_not_reach_the_shell_as_code),
        cmocka_unit_test(passwords_want_a_private_file),
        cmocka_unit_test(credentials_with_line_ends_are_refused),
        cmocka_unit_test(bad_rows),
        cmocka_unit_test(a_message_is_one_line_and_says_when_it_is_cut),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
