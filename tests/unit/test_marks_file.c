#include "daemon/marks.h"

#include "archive/files.h"
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

#include <cmocka.h>

#define FILE_NAME "marks"
#define NOW_S ((int64_t)1800000000)

#define ONE_SERVER "[archive]\npath = /a\n[server s]\nhost = Pop.example\npassword = p\n"
#define TWO_ACCOUNTS \
    ONE_SERVER "[account a b]\nserver = s\nuser = u\n[account c]\nserver = s\nuser = v\n"

static struct marks *new_marks(const struct config *config)
{
    struct marks *m = NULL;
    assert_int_equal(marks_new(config, &m), 0);
    return m;
}

/* Account 0 knows everything there is to know. */
static void save_all(void **state)
{
    char path[FILES_PATH_SIZE];
    struct config *config = files_load_text(*state, TWO_ACCOUNTS);
    struct marks *m = new_marks(config);
    struct pool_marks marks = {.trouble = 0xfedcba9876543210, .trouble_count = 2};
    marks.address = 0x123456789abcdef0;
    marks.pop3.no_capa = true;
    marks.pop3.login_delay_s = 60;
    marks.pop3.blank_from = UINT32_MAX;
    assert_false(marks_changed(m));
    marks_put(m, 0, &marks);
    assert_true(marks_changed(m));
    files_path(*state, FILE_NAME, path);
    assert_int_equal(marks_save(m, path, NOW_S), 0);
    assert_false(marks_changed(m));
    marks_free(m);
    config_free(config);
}

/* What this account of the configuration knows from the file. */
static struct pool_marks load(void **state, const char *text, uint32_t account,
                              int64_t now_s)
{
    char path[FILES_PATH_SIZE];
    struct pool_marks out;
    struct config *config = files_load_text(*state, text);
    struct marks *m = new_marks(config);
    files_path(*state, FILE_NAME, path);
    marks_load(m, path, now_s);
    assert_false(marks_changed(m));
    marks_get(m, account, &out);
    marks_free(m);
    config_free(config);
    return out;
}

static void assert_nothing(const struct pool_marks *marks)
{
    assert_int_equal(marks->trouble, 0);
    assert_int_equal(marks->trouble_count, 0);
    assert_int_equal(marks->address, 0);
    assert_false(marks->pop3.no_capa);
    assert_false(marks->pop3.window_one);
    assert_int_equal(marks->pop3.login_delay_s, 0);
    assert_int_equal(marks->pop3.blank_from, 0);
}

static void what_is_known_outlives_the_process(void **state)
{
    save_all(state);
    struct pool_marks out = load(state, TWO_ACCOUNTS, 0, NOW_S);
    assert_int_equal(out.trouble, 0xfedcba9876543210);
    assert_int_equal(out.trouble_count, 2);
    assert_true(out.pop3.no_capa);
    assert_false(out.pop3.window_one);
    assert_int_equal(out.pop3.login_delay_s, 60);
    assert_int_equal(out.pop3.blank_from, UINT32_MAX);
    assert_int_equal(out.address, 0x123456789abcdef0);
    out = load(state, TWO_ACCOUNTS, 1, NOW_S);
    assert_true(out.pop3.no_capa);
    assert_int_equal(out.trouble, 0);
}

static void q45_what_was_fetched_today_outlives_the_process(void **state)
{
    static const char text[] = ONE_SERVER "daily-bytes = 100M\n[account a b]\nserver = s\n"
                                          "user = u\n[account c]\nserver = s\n"
                                          "daily-bytes = 0\n";
    const uint64_t limit = 100u << 20, spent = 30u << 20;
    char path[FILES_PATH_SIZE];
    struct config *config = files_load_text(*state, text);
    struct marks *m = new_marks(config);
    files_path(*state, FILE_NAME, path);
    marks_spend(m, 1, NOW_S, spent);
    assert_false(marks_changed(m)); /* it has no limit */
    marks_spend(m, 0, NOW_S, spent);
    assert_true(marks_changed(m));
    assert_int_equal(marks_save(m, path, NOW_S), 0);
    marks_free(m);
    m = new_marks(config);
    marks_load(m, path, NOW_S);
    assert_int_equal(day_bytes_left(marks_day(m, 0), NOW_S, limit), limit - spent);
    assert_int_equal(day_bytes_left(marks_day(m, 1), NOW_S, limit), limit);
    marks_free(m);
    config_free(config);
}

static void only_what_is_known_has_a_line(void **state)
{
    char path[FILES_PATH_SIZE];
    char *text = NULL;
    size_t size = 0, lines = 0;
    struct stat st;
    save_all(state);
    files_path(*state, FILE_NAME, path);
    assert_int_equal(file_load(&system_files, path, MARKS_FILE_MAX, &text, &size), 0);
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 3);
    assert_null(strstr(text, " c\n"));
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void another_server_or_mailbox_knows_nothing(void **state)
{
    save_all(state);
    struct pool_marks out =
        load(state, ONE_SERVER "[account a b]\nserver = s\nuser = other\n", 0, NOW_S);
    assert_int_equal(out.trouble, 0);
    assert_true(out.pop3.no_capa);
    out = load(state,
               "[archive]\npath = /a\n[server s]\nhost = pop.example\nport = 1995\n"
               "password = p\n[account a b]\nserver = s\nuser = u\n",
               0, NOW_S);
    assert_nothing(&out);
    out = load(state,
               "[archive]\npath = /a\n[server s]\nhost = pop.EXAMPLE\npassword = p\n"
               "[account a b]\nserver = s\nuser = u\n",
               0, NOW_S);
    assert_int_equal(out.trouble_count, 2);
}

static void what_is_known_of_a_server_is_doubted_after_a_while(void **state)
{
    save_all(state);
    struct pool_marks out = load(state, TWO_ACCOUNTS, 0, NOW_S + MARKS_SERVER_KEPT_S);
    assert_true(out.pop3.no_capa);
    out = load(state, TWO_ACCOUNTS, 0, NOW_S + MARKS_SERVER_KEPT_S + 1);
    assert_false(out.pop3.no_capa);
    assert_int_equal(out.trouble_count, 2);
    out = load(state, TWO_ACCOUNTS, 0, NOW_S - 1); /* the clock went back */
    assert_false(out.pop3.no_capa);
}

static void a_file_that_makes_no_sense_is_empty(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "something else\naccount 0 1 2 3 4 5 a b\n",
        "mailcask marks 2\n",
        "mailcask marks 1",
        "mailcask marks 1\naccount\nserver\n\n\naccount zz 1 2 3 4 5 a b",
        "mailcask marks 1\naccount 0 1 2 3 4 5 a b\nserver 0 0 1 1 s\n",
        "mailcask marks 1\naccount 0 1 2 3 4\naccount 0 1 99999999999999999999 3 4 5 a b\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        files_write(*state, FILE_NAME, 0600, texts[i]);
        struct pool_marks out = load(state, TWO_ACCOUNTS, 0, NOW_S);
        assert_nothing(&out);
    }
    files_forget(*state, FILE_NAME);
    struct pool_marks out = load(state, TWO_ACCOUNTS, 0, NOW_S);
    assert_nothing(&out);
}

static void a_cut_file_holds_what_is_whole(void **state)
{
    char path[FILES_PATH_SIZE];
    char *text = NULL;
    size_t size = 0;
    save_all(state);
    files_path(*state, FILE_NAME, path);
    assert_int_equal(file_load(&system_files, path, MARKS_FILE_MAX, &text, &size), 0);
    for (size_t cut = 0; cut < size; cut++) {
        files_write_bytes(*state, FILE_NAME, 0600, text, cut);
        struct pool_marks out = load(state, TWO_ACCOUNTS, 0, NOW_S);
        assert_true(out.trouble_count == (cut == size - 1 ? 2 : 0));
    }
    free(text);
}

static void what_cannot_be_saved_stays_to_be_saved(void **state)
{
    char path[FILES_PATH_SIZE];
    struct config *config = files_load_text(*state, TWO_ACCOUNTS);
    struct marks *m = new_marks(config);
    const struct pool_marks marks = {.trouble = 1, .trouble_count = 1};
    marks_put(m, 0, &marks);
    files_path(*state, "no/such/folder", path);
    assert_int_equal(marks_save(m, path, NOW_S), -ENOENT);
    assert_true(marks_changed(m));
    marks_put(m, 0, &marks);
    assert_true(marks_changed(m));
    marks_free(m);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_known_outlives_the_process),
        cmocka_unit_test(q45_what_was_fetched_today_outlives_the_process),
        cmocka_unit_test(only_what_is_known_has_a_line),
        cmocka_unit_test(another_server_or_mailbox_knows_nothing),
        cmocka_unit_test(what_is_known_of_a_server_is_doubted_after_a_while),
        cmocka_unit_test(a_file_that_makes_no_sense_is_empty),
        cmocka_unit_test(a_cut_file_holds_what_is_whole),
        cmocka_unit_test(what_cannot_be_saved_stays_to_be_saved),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
