#include "archive/error.h"
#include "tools/mboxrd.h"
#include "tools/target.h"

#include <fcntl.h>
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

#define TEXT_MAX 4096

struct collected {
    char text[TEXT_MAX];
    size_t size;
    size_t limit; /* more than this fails */
};

static int collect(void *arg, const void *data, size_t size)
{
    struct collected *c = arg;
    if (c->size + size > c->limit)
        return ERR_TOO_LARGE;
    memcpy(c->text + c->size, data, size);
    c->size += size;
    return 0;
}

/* The message as mboxrd has it, without the From_ line, given in pieces of `step` bytes. */
static void quote(struct collected *c, const char *message, size_t step)
{
    struct mboxrd m = {.emit = collect, .arg = c};
    *c = (struct collected){.limit = TEXT_MAX};
    assert_int_equal(mboxrd_begin(&m, 0), 0);
    size_t from_line = c->size;
    for (size_t at = 0, size = strlen(message); at < size; at += step) {
        size_t piece = size - at < step ? size - at : step;
        assert_int_equal(mboxrd_add(&m, (const uint8_t *)message + at, piece), 0);
    }
    assert_int_equal(mboxrd_end(&m), 0);
    c->size -= from_line;
    memmove(c->text, c->text + from_line, c->size);
    c->text[c->size] = '\0';
}

static void every_line_that_looks_like_from_is_quoted_once_more(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        const char *expected;
    } cases[] = {
        {"From me\r\n", ">From me\r\n\n"},
        {"a\nFrom b\n>From c\n>>From d\n", "a\n>From b\n>>From c\n>>>From d\n\n"},
        {"From: x\r\nFro\nFromage\n", "From: x\r\nFro\nFromage\n\n"},
        {" From x\n> From y\n>\n>>\n", " From x\n> From y\n>\n>>\n\n"},
        {"x From y\n>x From\nFFrom \n", "x From y\n>x From\nFFrom \n\n"},
        {">F\n>Fr>From \nF\n\nFrom \n", ">F\n>Fr>From \nF\n\n>From \n\n"},
        {"From", "From\n\n"},
        {"F>From \n", "F>From \n\n"},
        {"From \rFrom \r\n", ">From \rFrom \r\n\n"},
        {"", "\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step <= strlen(cases[i].message) + 1; step++) {
            struct collected c;
            quote(&c, cases[i].message, step);
            assert_string_equal(c.text, cases[i].expected);
        }
    }
}

static void the_from_line_names_nobody_and_the_time_in_utc(void **state)
{
    (void)state;
    struct collected c = {.limit = TEXT_MAX};
    struct mboxrd m = {.emit = collect, .arg = &c};
    assert_int_equal(mboxrd_begin(&m, 1795308432), 0);
    c.text[c.size] = '\0';
    assert_string_equal(c.text, "From MAILER-DAEMON Sun Nov 22 00:47:12 2026\n");
    c.size = 0;
    assert_int_equal(mboxrd_begin(&m, INT64_MAX), 0);
    c.text[c.size] = '\0';
    assert_string_equal(c.text, "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n");
}

static void a_write_that_fails_is_passed_on(void **state)
{
    (void)state;
    static const char message[] = "x\nFrom y\nFro";
    size_t whole =
        strlen("From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nx\n>From y\nFro\n\n");
    for (size_t limit = 0; limit < whole; limit++) {
        struct collected c = {.limit = limit};
        struct mboxrd m = {.emit = collect, .arg = &c};
        int rc = mboxrd_begin(&m, 0);
        if (rc == 0)
            rc = mboxrd_add(&m, (const uint8_t *)message, sizeof(message) - 1);
        if (rc == 0)
            rc = mboxrd_end(&m);
        assert_int_equal(rc, ERR_TOO_LARGE);
        assert_true(c.size <= limit);
    }
}

struct folder {
    char path[64];
    char file[96];
    char partial[112];
};

static int make_folder(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -1;
    strcpy(f->path, "/tmp/mailcask-mbox-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    (void)snprintf(f->file, sizeof(f->file), "%s/all.mbox", f->path);
    (void)snprintf(f->partial, sizeof(f->partial), "%s.partial", f->file);
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *f = *state;
    (void)unlink(f->file);
    (void)unlink(f->partial);
    int rc = rmdir(f->path);
    free(f);
    return rc;
}

/* One message into an open mbox. */
static void add(struct target *t, const char *text)
{
    struct target_message m = {.n = 1, .size = strlen(text)};
    assert_int_equal(target_mbox.begin(t, 0, &m), 0);
    assert_int_equal(target_mbox.write(t, 0, (const uint8_t *)text, strlen(text)), 0);
    assert_int_equal(target_mbox.commit(t, 0), 0);
}

static int write_mbox(const char *path, const char *text)
{
    struct target *t = NULL;
    assert_int_equal(target_mbox.open(path, &t), 0);
    if (text != NULL)
        add(t, text);
    int rc = target_mbox.finish(t);
    target_mbox.close(t);
    return rc;
}

static void assert_content(const char *path, const char *expected)
{
    char text[TEXT_MAX];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    assert_string_equal(text, expected);
}

#define FROM_EPOCH "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"

static void an_mbox_gets_its_name_when_it_is_whole(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    struct stat st;
    assert_int_equal(target_mbox.open(f->file, &t), 0);
    add(t, "a: b\r\n\r\nx\r\n");
    assert_int_equal(access(f->file, F_OK), -1);
    assert_int_equal(target_mbox.finish(t), 0);
    target_mbox.close(t);
    assert_content(f->file, FROM_EPOCH "a: b\r\n\r\nx\r\n\n");
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(access(f->partial, F_OK), -1);
}

static void an_mbox_of_no_messages_is_an_empty_file(void **state)
{
    struct folder *f = *state;
    assert_int_equal(write_mbox(f->file, NULL), 0);
    assert_content(f->file, "");
}

static void an_equal_mbox_is_present_and_another_is_left_alone(void **state)
{
    struct folder *f = *state;
    assert_int_equal(write_mbox(f->file, "one\n"), 0);
    assert_int_equal(write_mbox(f->file, "one\n"), TARGET_PRESENT);
    assert_int_equal(write_mbox(f->file, "two\n"), ERR_EXISTS);
    assert_int_equal(write_mbox(f->file, "longer\n"), ERR_EXISTS);
    assert_content(f->file, FROM_EPOCH "one\n\n");
    assert_int_equal(access(f->partial, F_OK), -1);
}

static void a_partial_file_left_over_is_begun_anew(void **state)
{
    struct folder *f = *state;
    FILE *file = fopen(f->partial, "w");
    assert_non_null(file);
    assert_true(fputs("a long leftover of a restore that was killed", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(write_mbox(f->file, "m\n"), 0);
    assert_content(f->file, FROM_EPOCH "m\n\n");
}

static void two_restores_into_one_mbox_are_refused(void **state)
{
    struct folder *f = *state;
    struct target *first = NULL;
    struct target *second = NULL;
    assert_int_equal(target_mbox.open(f->file, &first), 0);
    assert_int_equal(target_mbox.open(f->file, &second), ERR_LOCKED);
    add(first, "m\n");
    assert_int_equal(target_mbox.finish(first), 0);
    target_mbox.close(first);
    assert_content(f->file, FROM_EPOCH "m\n\n");
}

static void a_cancelled_message_leaves_no_trace(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    size_t size = 1u << 20; /* more than is gathered: some of it is in the file */
    uint8_t *big = malloc(size);
    assert_non_null(big);
    memset(big, 'x', size);
    struct target_message m = {.n = 2, .size = size};
    assert_int_equal(target_mbox.open(f->file, &t), 0);
    add(t, "one\n");
    assert_int_equal(target_mbox.begin(t, 0, &m), 0);
    assert_int_equal(target_mbox.write(t, 0, big, size), 0);
    assert_int_equal(target_mbox.cancel(t, 0), 0);
    assert_int_equal(target_mbox.begin(t, 0, &m), 0);
    assert_int_equal(target_mbox.write(t, 0, big, 3), 0);
    assert_int_equal(target_mbox.cancel(t, 0), 0);
    add(t, "three\n");
    assert_int_equal(target_mbox.finish(t), 0);
    target_mbox.close(t);
    free(big);
    assert_content(f->file, FROM_EPOCH "one\n\n" FROM_EPOCH "three\n\n");
}

static void a_restore_that_ends_early_leaves_nothing(void **state)
{
    struct folder *f = *state;
    struct target *t = NULL;
    assert_int_equal(target_mbox.open(f->file, &t), 0);
    add(t, "m\n");
    target_mbox.close(t);
    assert_int_equal(access(f->file, F_OK), -1);
    assert_int_equal(access(f->partial, F_OK), -1);
}

static void a_link_is_never_written_through(void **state)
{
    struct folder *f = *state;
    char victim[96];
    struct target *t = NULL;
    (void)snprintf(victim, sizeof(victim), "%s/victim", f->path);
    assert_int_equal(write_mbox(victim, "v\n"), 0);
    assert_int_equal(symlink(victim, f->partial), 0);
    assert_int_not_equal(target_mbox.open(f->file, &t), 0);
    assert_int_equal(unlink(f->partial), 0);
    assert_int_equal(link(victim, f->partial), 0);
    assert_int_equal(target_mbox.open(f->file, &t), ERR_LOCKED);
    assert_int_equal(unlink(f->partial), 0);
    assert_int_equal(symlink(victim, f->file), 0);
    assert_int_equal(write_mbox(f->file, "v\n"), ERR_EXISTS);
    assert_content(victim, FROM_EPOCH "v\n\n");
    assert_int_equal(unlink(victim), 0);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_that_looks_like_from_is_quoted_once_more),
        cmocka_unit_test(the_from_line_names_nobody_and_the_time_in_utc),
        cmocka_unit_test(a_write_that_fails_is_passed_on),
        IN_FOLDER(an_mbox_gets_its_name_when_it_is_whole),
        IN_FOLDER(an_mbox_of_no_messages_is_an_empty_file),
        IN_FOLDER(an_equal_mbox_is_present_and_another_is_left_alone),
        IN_FOLDER(a_partial_file_left_over_is_begun_anew),
        IN_FOLDER(two_restores_into_one_mbox_are_refused),
        IN_FOLDER(a_cancelled_message_leaves_no_trace),
        IN_FOLDER(a_restore_that_ends_early_leaves_nothing),
        IN_FOLDER(a_link_is_never_written_through),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
