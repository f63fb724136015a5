#include "daemon/config.h"

#include "archive/error.h"
#include "daemon/config_keys.h"
#include "daemon/providers.h"
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

#define MINUTE_MS ((uint64_t)60000)

/* What most cases need and do not look at: 3 lines of archive, 3 of server. */
#define ARCHIVE "[archive]\npath = a\n\n"
#define SERVER "[server s]\nhost = h\npassword-file = p\n"
#define ACCOUNT "[account x@y]\nserver = s\n"

static void the_example_of_the_manual(void **state)
{
    const struct config_files *f = *state;
    files_write(f, "acme.csv", 0644, "account,poll\nbob@acme.example,1h\n");
    struct config *c = files_load_text(f, "[archive]\n"
                                          "path = /var/lib/mailcask\n"
                                          "deletes = off\n"
                                          "max-memory = 512M\n"
                                          "\n"
                                          "# a comment stands on a line of its own\n"
                                          "[server acme]\n"
                                          "host = pop.acme.example\n"
                                          "port = 995\n"
                                          "tls = implicit\n"
                                          "ca-file =\n"
                                          "fingerprint =\n"
                                          "max-connections = 16\n"
                                          "accounts-file = acme.csv\n"
                                          "user = %u\n"
                                          "password-file = secrets/%a\n"
                                          "poll = 15m\n"
                                          "delete = never\n"
                                          "\n"
                                          "[account alice@acme.example]\n"
                                          "server = acme\n"
                                          "user = Alice\n");
    assert_string_equal(c->archive_path, "/var/lib/mailcask");
    assert_false(c->deletes);
    assert_int_equal(c->max_memory_bytes, (uint64_t)512 << 20);
    assert_int_equal(c->server_count, 1);
    const struct config_server *s = config_find_server(c, "acme");
    assert_ptr_equal(s, &c->servers[0]);
    assert_string_equal(s->host, "pop.acme.example");
    assert_int_equal(s->port, 995);
    assert_int_equal(s->tls, CONFIG_TLS_IMPLICIT);
    assert_null(s->ca_file);
    assert_false(s->has_fingerprint);
    assert_int_equal(s->max_connections, 16);

    assert_int_equal(c->account_count, 2);
    const struct config_account *a = config_find_account(c, "alice@acme.example");
    assert_ptr_equal(a, &c->accounts[0]);
    assert_string_equal(a->user, "Alice");
    assert_ptr_equal(a->server, s);
    assert_int_equal(a->password_kind, CONFIG_PASSWORD_FILE);
    assert_string_equal(files_inside(f, a->password), "secrets/alice@acme.example");
    assert_int_equal(a->poll_ms, 15 * MINUTE_MS);
    assert_int_equal(a->delete_rule, CONFIG_DELETE_NEVER);
    assert_string_equal(files_inside(f, a->file), "c.ini");
    assert_int_equal(a->line, 20);

    const struct config_account *b = config_find_account(c, "bob@acme.example");
    assert_ptr_equal(b, &c->accounts[1]);
    assert_string_equal(b->user, "bob");
    assert_string_equal(files_inside(f, b->password), "secrets/bob@acme.example");
    assert_int_equal(b->poll_ms, 60 * MINUTE_MS);
    assert_string_equal(files_inside(f, b->file), "acme.csv");
    assert_int_equal(b->line, 2);
    assert_null(config_find_account(c, "carol@acme.example"));
    assert_null(config_find_server(c, "acm"));
    config_free(c);
}

static void defaults(void **state)
{
    const struct config_files *f = *state;
    struct config *c =
        files_load_text(f, ARCHIVE SERVER "[server t]\nhost = h\ntls = starttls\n" ACCOUNT);
    assert_int_equal(c->max_memory_bytes, (uint64_t)512 << 20);
    assert_false(c->deletes);
    assert_string_equal(files_inside(f, c->archive_path), "a");
    assert_int_equal(c->servers[0].port, 995);
    assert_int_equal(c->servers[0].tls, CONFIG_TLS_IMPLICIT);
    assert_int_equal(c->servers[0].max_connections, 16);
    assert_int_equal(c->servers[1].port, 110);
    assert_int_equal(c->servers[1].tls, CONFIG_TLS_STARTTLS);
    assert_string_equal(c->accounts[0].user, "x@y");
    assert_int_equal(c->accounts[0].poll_ms, 15 * MINUTE_MS);
    assert_int_equal(c->accounts[0].delete_rule, CONFIG_DELETE_NEVER);
    config_free(c);
}

static void presets_fill_in_what_is_left_open(void **state)
{
    const struct config_files *f = *state;
    struct config *c = files_load_text(
        f, ARCHIVE "[server g]\npreset = gmail\npassword = p\n"
                   "[server h]\nhost = pop.googlemail.com\npreset = gmail\nuser = %u\n"
                   "[server w]\npreset = web.de\npassword = p\n"
                   "[account a@g]\nserver = g\n"
                   "[account b@g]\nserver = g\nuser = b\ndaily-bytes = 0\n"
                   "[account c@h]\nserver = h\npassword = p\n"
                   "[account d@w]\nserver = w\n");
    assert_string_equal(c->servers[0].host, "pop.gmail.com");
    assert_int_equal(c->servers[0].port, 995);
    assert_int_equal(c->servers[0].tls, CONFIG_TLS_IMPLICIT);
    assert_string_equal(c->servers[1].host, "pop.googlemail.com");
    assert_string_equal(c->servers[2].host, "pop3.web.de");
    assert_string_equal(c->accounts[0].user, "recent:a@g");
    assert_int_equal(c->accounts[0].daily_bytes, 1250000000);
    assert_string_equal(c->accounts[1].user, "b");
    assert_int_equal(c->accounts[1].daily_bytes, 0);
    assert_string_equal(c->accounts[2].user, "c");
    assert_int_equal(c->accounts[2].daily_bytes, 1250000000);
    assert_string_equal(c->accounts[3].user, "d@w");
    config_free(c);
}

static void every_preset_that_is_named_is_known(void **state)
{
    (void)state;
    char names[] = PROVIDER_PRESETS;
    size_t count = 0;
    for (char *name = strtok(names, ", "); name != NULL; name = strtok(NULL, ", ")) {
        const struct provider *p = provider_by_preset(name);
        assert_non_null(p);
        assert_ptr_equal(provider_by_host(p->hosts[0]), p);
        assert_int_equal(p->advice[strlen(p->advice) - 1], '.');
        count++;
    }
    assert_int_equal(count, 8);
    assert_null(provider_by_preset("Gmail"));
    assert_null(provider_by_host("gmail.com"));
}

static void an_archive_alone_is_a_configuration(void **state)
{
    const struct config_files *f = *state;
    struct config *c = files_load_text(f, "[archive]\npath=/x");
    assert_int_equal(c->server_count, 0);
    assert_int_equal(c->account_count, 0);
    assert_null(config_find_account(c, "x"));
    assert_null(config_find_server(c, "x"));
    config_free(c);
}

static void values_keep_quotes_semicolons_and_hashes(void **state)
{
    const struct config_files *f = *state;
    struct config *c =
        files_load_text(f, ARCHIVE SERVER ACCOUNT "user = a # b ;c = \"d\"\n"
                                                  "password =  p w ; #1=\xc3\xa9 \n");
    assert_string_equal(c->accounts[0].user, "a # b ;c = \"d\"");
    assert_string_equal(c->accounts[0].password, "p w ; #1=\xc3\xa9");
    config_free(c);
}

static void blanks_crlf_and_byte_order_mark(void **state)
{
    const struct config_files *f = *state;
    struct config *c =
        files_load_text(f, "\xef\xbb\xbf  [archive]  \r\n\t path\t=  a b  \r\n\r\n"
                           " ; comment\r\n  # another\r\n[ server   my server ]\r\nhost=h");
    assert_string_equal(files_inside(f, c->archive_path), "a b");
    assert_string_equal(c->servers[0].name, "my server");
    config_free(c);
}

static void long_lines_and_names_are_whole(void **state)
{
    const struct config_files *f = *state;
    char path[3001], name[CONFIG_NAME_MAX + 2], text[8192];
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    memset(name, 'n', CONFIG_NAME_MAX);
    name[CONFIG_NAME_MAX] = '\0';
    snprintf(text, sizeof(text),
             "[archive]\npath = /%s\n" SERVER "[account %s]\nserver = s\n", path, name);
    struct config *c = files_load_text(f, text);
    assert_string_equal(c->archive_path + 1, path);
    assert_string_equal(c->accounts[0].name, name);
    config_free(c);

    strcat(name, "n");
    char message[2048];
    snprintf(text, sizeof(text), "[account %s]\n", name);
    snprintf(message, sizeof(message),
             "c.ini:1: bad account name '%s'; allowed: 1 to 255 bytes without '/', control "
             "characters or a leading dot",
             name);
    files_refused_text(f, text, message);
}

static void server_defaults_and_accounts_of_their_own(void **state)
{
    const struct config_files *f = *state;
    struct config *c = files_load_text(
        f, ARCHIVE "[account a@d.example]\nserver = s\n"
                   "[account b@d.example]\nserver = s\nuser = B\npoll = 1m\n"
                   "password-command = pass mail/%a\n"
                   "[account c@d.example]\nserver = s\nuser =\npassword = %a\n"
                   "[server s]\nhost = h\nuser = %u+%d%%\npoll = 2m\n"
                   "password-file = /run/%d/%u\n");
    const struct config_account *a = &c->accounts[0], *b = &c->accounts[1];
    assert_string_equal(a->user, "a+d.example%");
    assert_int_equal(a->poll_ms, 2 * MINUTE_MS);
    assert_int_equal(a->password_kind, CONFIG_PASSWORD_FILE);
    assert_string_equal(a->password, "/run/d.example/a");
    assert_string_equal(b->user, "B");
    assert_int_equal(b->poll_ms, MINUTE_MS);
    assert_int_equal(b->password_kind, CONFIG_PASSWORD_COMMAND);
    assert_string_equal(b->password, "pass mail/b@d.example");
    assert_string_equal(c->accounts[2].user, "c+d.example%");
    assert_int_equal(c->accounts[2].password_kind, CONFIG_PASSWORD_TEXT);
    assert_string_equal(c->accounts[2].password, "%a");
    config_free(c);
}

static void credentials_are_names_not_paths(void **state)
{
    const struct config_files *f = *state;
    struct config *c = files_load_text(
        f, ARCHIVE "[server s]\nhost = h\npassword-file = credential:pop.%a\n"
                   "[account a]\nserver = s\n"
                   "[account b]\nserver = s\npassword-file = ./credential:b\n");
    assert_int_equal(c->accounts[0].password_kind, CONFIG_PASSWORD_CREDENTIAL);
    assert_string_equal(c->accounts[0].password, "pop.a");
    assert_int_equal(c->accounts[1].password_kind, CONFIG_PASSWORD_FILE);
    assert_string_equal(files_inside(f, c->accounts[1].password), "./credential:b");
    config_free(c);
    files_refused_text(
        f,
        ARCHIVE "[server s]\nhost = h\n[account a]\nserver = s\n"
                "password-file = credential:../a\n",
        "c.ini:8: account 'a': bad name of a credential '../a'; allowed: 1 to 255 bytes "
        "without '/', control characters or a leading dot");
}

static void expansion_of_unusual_names(void **state)
{
    const struct config_files *f = *state;
    struct config *c =
        files_load_text(f, ARCHIVE SERVER "user = %u\n[account plain]\nserver = s\n"
                                          "[account a@b@c]\nserver = s\nuser = %u:%d\n");
    assert_string_equal(c->accounts[0].user, "a@b:c");
    assert_string_equal(c->accounts[1].user, "plain");
    config_free(c);
    files_refused_text(
        f, ARCHIVE SERVER "user = %d\n[account plain]\nserver = s\n",
        "c.ini:7: account 'plain' has no '@', so %d in 'user' stands for nothing; allowed: "
        "%a, %u, %%");
    files_refused_text(
        f, ARCHIVE SERVER "user = %u\n[account @x]\nserver = s\n",
        "c.ini:7: the user of account '@x' comes out empty; allowed: text without control "
        "characters; of '%' only %a, %u, %d and %%");
    files_refused_text(f,
                       "[archive]\npath = a\n[server s]\nhost = h\npassword-command = %d\n"
                       "[account x@]\nserver = s\n",
                       "c.ini:5: the password-command of account 'x@' comes out empty; "
                       "allowed: a shell command; of '%' only %a, %u, %d and %%");
}

static void tables_beside_the_configuration(void **state)
{
    const struct config_files *f = *state;
    char path[FILES_PATH_SIZE];
    files_path(f, "tables", path);
    assert_int_equal(mkdir(path, 0700), 0);
    files_write(f, "tables/t.csv", 0644,
                "\xef\xbb\xbf"
                "account;password-file;server\r\nb;pw/b;\r\na;;t\r\n");
    struct config *c =
        files_load_text(f, ARCHIVE SERVER "accounts-file = tables/t.csv\n"
                                          "[server t]\nhost = h\npassword-file = of-t\n");
    assert_int_equal(c->account_count, 2);
    assert_string_equal(c->accounts[0].server->name, "t");
    assert_string_equal(files_inside(f, c->accounts[0].password), "of-t");
    assert_string_equal(c->accounts[1].server->name, "s");
    /* Relative to the configuration file, not to the table. */
    assert_string_equal(files_inside(f, c->accounts[1].password), "pw/b");
    config_free(c);
}

static void the_archive_is_found_in_a_broken_configuration(void **state)
{
    const struct config_files *f = *state;
    char path[FILES_PATH_SIZE], *found = NULL;
    struct config_error error;
    files_path(f, "c.ini", path);
    files_write(f, "c.ini", 0644,
                "nonsense\n[server s]\nhots = h\naccounts-file = none.csv\n"
                "[account ../x]\npassword = pw\n]\n"
                "[archive]\ndeletes = on\nfuture = key\npath = a/b\n[oops\n");
    assert_int_equal(config_archive_path(path, &found, &error), ERR_SYNTAX);
    files_write(f, "c.ini", 0644,
                "nonsense\n[server s]\nhots = h\naccounts-file = none.csv\n"
                "[archive]\ndeletes = on\nfuture = key\npath = a/b\n"
                "[account ../x]\npassword = pw\n[oops\n");
    assert_int_equal(config_archive_path(path, &found, &error), 0);
    assert_string_equal(files_inside(f, found), "a/b");
    free(found);
}

static void the_archive_of_a_configuration_without_one(void **state)
{
    const struct config_files *f = *state;
    char path[FILES_PATH_SIZE], *found = NULL;
    struct config_error error;
    files_path(f, "c.ini", path);
    files_write(f, "c.ini", 0600, "[server s]\nhost = h\n");
    assert_int_equal(config_archive_path(path, &found, &error), ERR_SYNTAX);
    files_shorten(f, error.text);
    assert_string_equal(error.text, "c.ini:1: no path of an archive; allowed: a section "
                                    "[archive] with 'path = FOLDER'");
    files_path(f, "none.ini", path);
    assert_int_equal(config_archive_path(path, &found, &error), -ENOENT);
    assert_null(found);
}

static void a_path_without_a_folder(void **state)
{
    const struct config_files *f = *state;
    char before[FILES_PATH_SIZE], *found = NULL;
    struct config_error error;
    files_write(f, "c.ini", 0600, ARCHIVE);
    assert_non_null(getcwd(before, sizeof(before)));
    char folder[FILES_PATH_SIZE];
    files_path(f, ".", folder);
    assert_int_equal(chdir(folder), 0);
    int err = config_archive_path("c.ini", &found, &error);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(err, 0);
    assert_string_equal(found, "a");
    free(found);
}

struct problems {
    const struct config_files *files;
    size_t count;
    char text[8][CONFIG_ERROR_SIZE];
};

static void note(void *ctx, const char *problem)
{
    struct problems *problems = ctx;
    assert_in_range(problems->count, 0, 7);
    snprintf(problems->text[problems->count], CONFIG_ERROR_SIZE, "%s", problem);
    files_shorten(problems->files, problems->text[problems->count++]);
}

static void check_reports_what_lies_outside_the_file(void **state)
{
    const struct config_files *f = *state;
    files_forget(f, "missing");
    files_write(f, "open", 0644, "pw\n");
    files_write(f, "empty", 0600, "\n");
    files_write(f, "good", 0600, "pw\n");
    struct config *c =
        files_load_text(f, "[archive]\npath = nowhere\n[server s]\nhost = h\n"
                           "password-file = %a\n"
                           "[account missing]\nserver = s\n[account open]\nserver = s\n"
                           "[account empty]\nserver = s\n[account good]\nserver = s\n"
                           "[account cmd]\nserver = s\npassword-command = false\n");
    struct problems p = {.files = f};
    assert_int_equal(config_check(c, note, &p), 4);
    assert_int_equal(p.count, 4);
    assert_string_equal(p.text[0],
                        "nowhere: the archive's folder does not exist; run: mailcask "
                        "init nowhere");
    assert_string_equal(p.text[1],
                        "c.ini:10: account 'empty': password-file empty: its first "
                        "line is empty; it must be the password");
    assert_string_equal(p.text[2],
                        "c.ini:6: account 'missing': password-file missing: No such "
                        "file or directory");
    assert_string_equal(p.text[3],
                        "c.ini:8: account 'open': password-file open: others may "
                        "open it; run: chmod 600 open");
    config_free(c);
}

static void check_of_a_sound_configuration(void **state)
{
    const struct config_files *f = *state;
    char path[FILES_PATH_SIZE];
    files_path(f, "here", path);
    assert_int_equal(mkdir(path, 0700), 0);
    files_write(f, "p", 0400, "pw");
    struct config *c = files_load_text(f, "[archive]\npath = here\n" SERVER ACCOUNT);
    struct problems p = {.files = f};
    assert_int_equal(config_check(c, note, &p), 0);
    config_free(c);
    files_write(f, "file", 0700, "");
    c = files_load_text(f, "[archive]\npath = file\n");
    assert_int_equal(config_check(c, note, &p), 1);
    assert_string_equal(p.text[0], "file: the archive's path is not a folder");
    config_free(c);
}

/* Rows in descending order, and the same number of sections. */
static void load_many(const struct config_files *f, unsigned count)
{
    char path[FILES_PATH_SIZE];
    files_path(f, "many.csv", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("account,user,poll\n", file);
    for (unsigned i = count; i > 0; i--)
        fprintf(file, "t%06u@acme.example,\"u%u\",%us\n", i - 1, i - 1, i % 60 + 1);
    assert_int_equal(fclose(file), 0);
    files_path(f, "many.ini", path);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(ARCHIVE SERVER "accounts-file = many.csv\n", file);
    for (unsigned i = 0; i < count; i++)
        fprintf(file, "[account s%06u@acme.example]\nserver = s\n", i);
    assert_int_equal(fclose(file), 0);
    struct config *c = files_load(f, "many.ini");
    assert_int_equal(c->account_count, 2 * (size_t)count);
    for (unsigned i = 0; i < count; i += 997) {
        char name[64];
        snprintf(name, sizeof(name), "t%06u@acme.example", i);
        const struct config_account *a = config_find_account(c, name);
        assert_non_null(a);
        snprintf(name, sizeof(name), "u%u", i);
        assert_string_equal(a->user, name);
    }
    config_free(c);
    files_forget(f, "many.csv");
    files_forget(f, "many.ini");
}

static void ten_thousand_accounts(void **state)
{
    const struct config_files *f = *state;
    load_many(f, 10000);
}

static void two_hundred_thousand_accounts(void **state)
{
    const struct config_files *f = *state;
    load_many(f, 100000);
}

static void the_table_of_keys_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        assert_non_null(key->name);
        assert_int_not_equal(key->sections, 0);
        assert_non_null(key->default_text);
        assert_true(strlen(key->allowed) > 0);
        assert_int_equal(key->help[strlen(key->help) - 1], '.');
        assert_int_equal(config_key_id(key), i);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(config_keys[j].name, key->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_manual),
        cmocka_unit_test(defaults),
        cmocka_unit_test(presets_fill_in_what_is_left_open),
        cmocka_unit_test(every_preset_that_is_named_is_known),
        cmocka_unit_test(an_archive_alone_is_a_configuration),
        cmocka_unit_test(values_keep_quotes_semicolons_and_hashes),
        cmocka_unit_test(blanks_crlf_and_byte_order_mark),
        cmocka_unit_test(long_lines_and_names_are_whole),
        cmocka_unit_test(server_defaults_and_accounts_of_their_own),
        cmocka_unit_test(credentials_are_names_not_paths),
        cmocka_unit_test(expansion_of_unusual_names),
        cmocka_unit_test(tables_beside_the_configuration),
        cmocka_unit_test(the_archive_is_found_in_a_broken_configuration),
        cmocka_unit_test(the_archive_of_a_configuration_without_one),
        cmocka_unit_test(a_path_without_a_folder),
        cmocka_unit_test(check_reports_what_lies_outside_the_file),
        cmocka_unit_test(check_of_a_sound_configuration),
        cmocka_unit_test(ten_thousand_accounts),
        cmocka_unit_test(two_hundred_thousand_accounts),
        cmocka_unit_test(the_table_of_keys_is_whole),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
