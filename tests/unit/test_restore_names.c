#include "archive/error.h"
#include "tools/maildir_names.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/target.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
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

#define PATH_TEXT_MAX 256

static void an_id_is_split_at_its_last_slash(void **state)
{
    (void)state;
    struct message_id id;
    assert_int_equal(message_id_parse("alice@acme.example/17", &id), 0);
    assert_string_equal(id.account, "alice@acme.example");
    assert_int_equal(id.n, 17);
    assert_int_equal(message_id_parse("a/b/18446744073709551615", &id), 0);
    assert_string_equal(id.account, "a/b");
    assert_true(id.n == UINT64_MAX);
}

static void what_is_no_id_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "alice",
        "alice/",
        "/1",
        "alice/0",
        "alice/01",
        "alice/-1",
        "alice/1x",
        "a/ 1",
        "a/+1",
        "alice/18446744073709551616",
        "a/99999999999999999999999",
    };
    struct message_id id;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(message_id_parse(bad[i], &id), ERR_SYNTAX);
    char text[NAME_SIZE_MAX + 8];
    memset(text, 'a', NAME_SIZE_MAX + 1);
    strcpy(text + NAME_SIZE_MAX + 1, "/1");
    assert_int_equal(message_id_parse(text, &id), ERR_SYNTAX);
    assert_int_equal(message_id_parse(text + 1, &id), 0);
}

static void an_account_that_would_leave_its_folder_is_refused(void **state)
{
    (void)state;
    assert_true(account_is_folder("alice@acme.example"));
    assert_true(account_is_folder("Jörg Müller"));
    static const char *const bad[] = {"",    ".",    "..",   ".ssh",
                                      "a/b", "../x", "a\nb", "a\x7F"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(account_is_folder(bad[i]));
}

static void names_are_the_same_at_every_restore_and_sort_by_n(void **state)
{
    (void)state;
    struct target_message m = {.n = 17};
    for (size_t i = 0; i < SHA256_SIZE; i++)
        m.sha256[i] = (uint8_t)(i + 0xA0);
    char name[TARGET_NAME_MAX];
    maildir_name(&m, name);
    assert_string_equal(name, "0000000017.a0a1a2a3a4a5a6a7.mailcask:2,S");
    m.n = UINT64_MAX;
    maildir_name(&m, name);
    assert_string_equal(name, "18446744073709551615.a0a1a2a3a4a5a6a7.mailcask:2,S");
}

static void targets_are_named_by_what_stands_before_the_colon(void **state)
{
    (void)state;
    const char *path = NULL;
    assert_ptr_equal(target_parse("maildir:/x:y", &path), &target_maildir);
    assert_string_equal(path, "/x:y");
    assert_ptr_equal(target_parse("mbox:f", &path), &target_mbox);
    assert_ptr_equal(target_parse("eml:.", &path), &target_eml);
    static const char *const bad[] = {"",   "eml", "eml:",     "mboxrd:f",
                                      "/x", ":x",  "Maildir:x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_null(target_parse(bad[i], &path));
}

static void the_line_to_use_can_be_pasted(void **state)
{
    (void)state;
    static char words[][24] = {"mailcask", "list", "--account", "it's me", ""};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4], NULL};
    char *line = sudo_line("mailcask", argv, "/etc/m c.conf");
    assert_string_equal(line, "sudo -u mailcask mailcask list --account 'it'\\''s me' '' "
                              "--config '/etc/m c.conf'");
    free(line);
}

struct folder {
    char path[64];
    char inner[96]; /* the target, not made yet */
};

static int make_folder(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    strcpy(f->path, "/tmp/mailcask-names-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    (void)snprintf(f->inner, sizeof(f->inner), "%s/target", f->path);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int remove_folder(void **state)
{
    struct folder *f = *state;
    int rc = nftw(f->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return rc;
}

static struct target_message message(const char *text)
{
    struct target_message m = {.n = 5, .size = strlen(text), .time_s = 1000000000};
    sha256_of(text, strlen(text), m.sha256);
    return m;
}

/* Begin; write and commit if asked for the bytes. */
static int give(const struct target_kind *kind, struct target *t, const char *text)
{
    struct target_message m = message(text);
    int rc = kind->begin(t, 0, &m);
    if (rc != 0)
        return rc;
    assert_int_equal(kind->write(t, 0, (const uint8_t *)text, strlen(text)), 0);
    return kind->commit(t, 0);
}

static size_t count_files(const char *folder, const char *sub)
{
    char path[PATH_TEXT_MAX];
    size_t count = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, sub);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            count++;
    (void)closedir(dir);
    return count;
}

static void message_path(const struct folder *f, const char *text, char path[PATH_TEXT_MAX])
{
    char name[TARGET_NAME_MAX];
    struct target_message m = message(text);
    maildir_name(&m, name);
    (void)snprintf(path, PATH_TEXT_MAX, "%s/cur/%s", f->inner, name);
}

static void a_maildir_message_is_seen_dated_and_private(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    struct stat st;
    char path[PATH_TEXT_MAX];
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(give(&target_maildir, t, "hello"), 0);
    assert_int_equal(target_maildir.finish(t), 0);
    target_maildir.close(t);
    message_path(f, "hello", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_mtime, 1000000000);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(stat(f->inner, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(count_files(f->inner, "tmp"), 0);
    assert_int_equal(count_files(f->inner, "new"), 0);
}

static void an_equal_message_is_skipped(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(give(&target_maildir, t, "hello"), 0);
    assert_int_equal(give(&target_maildir, t, "hello"), TARGET_PRESENT);
    target_maildir.close(t);
}

static void a_message_whose_flags_were_changed_is_known_again(void **state)
{
    struct folder *f = *state;
    static const char *const flags[] = {":2,RS", ",S=5:2,", ""};
    struct target *t = NULL;
    char path[PATH_TEXT_MAX];
    char changed[PATH_TEXT_MAX + 16];
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(give(&target_maildir, t, "hello"), 0);
    target_maildir.close(t);
    message_path(f, "hello", path);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(changed, sizeof(changed), "%.*s%s",
                       (int)(strlen(path) - strlen(":2,S")), path, flags[i]);
        assert_int_equal(rename(path, changed), 0);
        assert_int_equal(target_maildir.open(f->inner, &t), 0);
        assert_int_equal(give(&target_maildir, t, "hello"), TARGET_PRESENT);
        assert_int_equal(give(&target_maildir, t, "other"), 0);
        target_maildir.close(t);
        assert_int_equal(rename(changed, path), 0);
        message_path(f, "other", changed);
        assert_int_equal(unlink(changed), 0);
    }
}

static void a_file_that_differs_is_never_overwritten(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    char path[PATH_TEXT_MAX];
    char text[8] = "";
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(give(&target_maildir, t, "hello"), 0);
    message_path(f, "hello", path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "J", 1, 0), 1); /* of the same size */
    assert_int_equal(give(&target_maildir, t, "hello"), ERR_EXISTS);
    assert_int_equal(pread(fd, text, 5, 0), 5);
    assert_string_equal(text, "Jello");
    (void)close(fd);
    target_maildir.close(t);
}

static void a_name_taken_while_the_message_is_written_is_not_taken_back(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    struct target_message m = message("hello");
    char path[PATH_TEXT_MAX];
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(target_maildir.begin(t, 0, &m), 0);
    assert_int_equal(target_maildir.write(t, 0, (const uint8_t *)"hello", 5), 0);
    message_path(f, "hello", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(target_maildir.commit(t, 0), ERR_EXISTS);
    target_maildir.close(t);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(count_files(f->inner, "tmp"), 0);
}

static void folders_and_links_in_the_way_are_reported(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    char path[PATH_TEXT_MAX];
    assert_int_equal(target_eml.open(f->inner, &t), 0);
    (void)snprintf(path, sizeof(path), "%s/5.eml", f->inner);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(give(&target_eml, t, "hello"), ERR_EXISTS);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/nowhere", path), 0);
    assert_int_equal(give(&target_eml, t, "hello"), ERR_EXISTS);
    target_eml.close(t);
}

static void a_cancelled_message_and_a_leftover_are_cleared_away(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    struct target_message m = message("hello");
    char path[PATH_TEXT_MAX];
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    (void)snprintf(path, sizeof(path), "%s/tmp/mailcask.partial", f->inner);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(target_maildir.begin(t, 0, &m), 0);
    assert_int_equal(target_maildir.cancel(t, 0), 0);
    assert_int_equal(count_files(f->inner, "tmp"), 0);
    assert_int_equal(target_maildir.begin(t, 0, &m), 0);
    target_maildir.close(t); /* stopped in the middle */
    assert_int_equal(count_files(f->inner, "tmp"), 0);
    assert_int_equal(count_files(f->inner, "cur"), 0);
}

static void lanes_write_at_the_same_time(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    struct target_message m[TARGET_LANES_MAX];
    char path[PATH_TEXT_MAX];
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    for (unsigned i = 0; i < TARGET_LANES_MAX; i++) {
        m[i] = message("hello");
        m[i].n = i + 1;
        assert_int_equal(target_maildir.begin(t, i, &m[i]), 0);
    }
    assert_int_equal(count_files(f->inner, "tmp"), TARGET_LANES_MAX);
    for (unsigned i = 0; i < TARGET_LANES_MAX; i++)
        assert_int_equal(target_maildir.write(t, i, (const uint8_t *)"hello", 5), 0);
    for (unsigned i = 1; i < TARGET_LANES_MAX; i++)
        assert_int_equal(target_maildir.commit(t, i), 0);
    assert_int_equal(count_files(f->inner, "cur"), TARGET_LANES_MAX - 1);
    target_maildir.close(t);
    assert_int_equal(count_files(f->inner, "tmp"), 0);

    /* What a kill leaves behind, in any lane. */
    (void)snprintf(path, sizeof(path), "%s/tmp/mailcask.partial.%u", f->inner,
                   TARGET_LANES_MAX - 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(target_maildir.open(f->inner, &t), 0);
    assert_int_equal(count_files(f->inner, "tmp"), 0);
    assert_int_equal(target_maildir.begin(t, 0, &m[1]), TARGET_PRESENT);
    target_maildir.close(t);
}

static void two_restores_into_one_folder_are_refused(void **state)
{
    struct folder *f = *state;
    struct target *first = NULL;
    struct target *second = NULL;
    assert_int_equal(target_eml.open(f->inner, &first), 0);
    assert_int_equal(target_eml.open(f->inner, &second), ERR_LOCKED);
    target_eml.close(first);
    assert_int_equal(target_eml.open(f->inner, &second), 0);
    target_eml.close(second);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_split_at_its_last_slash),
        cmocka_unit_test(what_is_no_id_is_refused),
        cmocka_unit_test(an_account_that_would_leave_its_folder_is_refused),
        cmocka_unit_test(names_are_the_same_at_every_restore_and_sort_by_n),
        cmocka_unit_test(targets_are_named_by_what_stands_before_the_colon),
        cmocka_unit_test(the_line_to_use_can_be_pasted),
        IN_FOLDER(a_maildir_message_is_seen_dated_and_private),
        IN_FOLDER(an_equal_message_is_skipped),
        IN_FOLDER(a_message_whose_flags_were_changed_is_known_again),
        IN_FOLDER(a_file_that_differs_is_never_overwritten),
        IN_FOLDER(a_name_taken_while_the_message_is_written_is_not_taken_back),
        IN_FOLDER(folders_and_links_in_the_way_are_reported),
        IN_FOLDER(a_cancelled_message_and_a_leftover_are_cleared_away),
        IN_FOLDER(lanes_write_at_the_same_time),
        IN_FOLDER(two_restores_into_one_folder_are_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
