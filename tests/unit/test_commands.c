/* The commands of mailcask on a small real archive. */
#include "archive/error.h"
#include "archive/intake.h"
#include "archive/store.h"
#include "tools/command.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS_MAX 16
#define PATH_TEXT_MAX 512
#define NOISE_SIZE 4096

struct world {
    char root[64];
    char archive[96];
    char noise[NOISE_SIZE + 1];
    char *text; /* what the last command printed */
    size_t text_size;
};

static const char *const messages[] = {
    "Date: Tue, 10 Mar 2026 12:00:00 +0000\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@x.example>\r\n"
    "Subject: one\r\n\r\nFrom the start\r\n",
    NULL, /* the noise */
    "Subject: =?utf-8?q?no_date=1B[2J=07?=\r\n\r\nthree\r\n",
    "Date: Wed, 11 Mar 2026 12:00:00 +0000\r\nSubject: four\r\n\r\n.\r\n>From quoted\r\n",
};
#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

static const char *message(const struct world *w, size_t i)
{
    return messages[i] != NULL ? messages[i] : w->noise;
}

/* What zstd cannot compress stands in the segment as it is, so that a test can find and
 * hurt it. */
static void make_noise(struct world *w)
{
    uint32_t x = 1;
    int head = snprintf(w->noise, sizeof(w->noise),
                        "Date: Thu, 12 Mar 2026 12:00:00 +0000\r\n\r\n");
    for (size_t i = (size_t)head; i < NOISE_SIZE; i++) {
        x = x * 1664525 + 1013904223;
        w->noise[i] = (char)(1 + (x >> 8) % 255);
    }
    memcpy(w->noise + NOISE_SIZE - 2, "\r\n", 3);
}

static int take_record(void *arg, struct record *r)
{
    return store_append(arg, r);
}

static void add_messages(const struct world *w, struct intake *in)
{
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        char uidl[16];
        enum intake_result result;
        const char *text = message(w, i);
        (void)snprintf(uidl, sizeof(uidl), "uidl-%zu", i + 1);
        assert_int_equal(intake_begin(in, span_text(uidl), strlen(text)), 0);
        assert_int_equal(intake_add(in, (const uint8_t *)text, strlen(text)), 0);
        assert_int_equal(intake_end(in, 0, &result), 0);
        assert_int_equal(intake_flush(in), 0);
    }
}

static void add_account(const struct world *w, struct archive *a, const char *name,
                        bool mail)
{
    struct lookup *lookup = NULL;
    struct intake *in = NULL;
    struct intake_config config = {.archive = a, .emit = take_record, .arg = a};
    assert_int_equal(store_origin(a, span_text(name), span_text("pop.example"),
                                  span_text("login"), &config.account, &config.source),
                     0);
    assert_int_equal(store_commit(a), 0);
    assert_int_equal(lookup_create(a, &lookup), 0);
    config.lookup = lookup;
    config.codec = codec_create();
    assert_int_equal(intake_open(&config, &in), 0);
    intake_listed(in, true);
    if (mail) {
        struct session_meta session = {.state = SESSION_PARTIAL,
                                       .trusted = 1,
                                       .began_us = 1,
                                       .ended_us = INT64_C(1795308432000000),
                                       .listed = MESSAGE_COUNT + 1,
                                       .fetched = MESSAGE_COUNT,
                                       .text = span_text("connection\x1B[2J lost")};
        add_messages(w, in);
        assert_int_equal(intake_session(in, &session), 0);
    }
    assert_int_equal(store_commit(a), 0);
    intake_close(in);
    codec_destroy(config.codec);
    lookup_destroy(lookup);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct archive *a = NULL;
    assert_non_null(w);
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    *state = w;
    strcpy(w->root, "/tmp/mailcask-commands-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    (void)snprintf(w->archive, sizeof(w->archive), "%s/archive", w->root);
    make_noise(w);
    assert_int_equal(archive_create(NULL, w->archive), 0);
    assert_int_equal(
        archive_open(w->archive, &(struct archive_options){.mode = ARCHIVE_WRITE}, &a), 0);
    add_account(w, a, "alice@x.example", true);
    add_account(w, a, "never@x.example", false);
    assert_int_equal(archive_close(a), 0);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    int rc = nftw(w->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(w->text);
    free(w);
    return rc;
}

/* Run a command on the archive: words are separated by spaces, "@" stands for the root. The
 * exit status; what it printed is in w->text. */
static int run(struct world *w, const struct command *c, const char *line)
{
    char words[WORDS_MAX][PATH_TEXT_MAX];
    char *argv[WORDS_MAX + 1] = {0};
    int argc = 0;
    char copy[PATH_TEXT_MAX];
    (void)snprintf(copy, sizeof(copy), "mailcask %s --archive @/archive %s", c->name, line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        const char *at = strstr(word, "@/");
        assert_true(argc < WORDS_MAX);
        if (at != NULL)
            (void)snprintf(words[argc], PATH_TEXT_MAX, "%.*s%s%s", (int)(at - word), word,
                           w->root, at + 1);
        else
            (void)snprintf(words[argc], PATH_TEXT_MAX, "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    struct options options;
    assert_int_equal(options_parse(&options, argc, argv), 0);
    free(w->text);
    w->text = NULL;
    struct output out = {.file = open_memstream(&w->text, &w->text_size)};
    assert_non_null(out.file);
    int status = c->run(&options, &out);
    assert_int_equal(output_finish(&out), 0);
    (void)fclose(out.file);
    options_free(&options);
    return status;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void assert_printed(const struct world *w, const char *part)
{
    if (strstr(w->text, part) == NULL)
        fail_msg("'%s' is not in: %s", part, w->text);
}

static void assert_no_controls(const struct world *w)
{
    for (size_t i = 0; i < w->text_size; i++)
        assert_true(w->text[i] == '\n' || (unsigned char)w->text[i] >= 0x20);
}

/* The content of a file below the root, NULL if there is none; free() it. */
static char *content(const struct world *w, const char *name)
{
    char path[PATH_TEXT_MAX];
    char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", w->root, name);
    return file_load(&system_files, path, 1u << 20, &text, &size) == 0 ? text : NULL;
}

static void assert_content(const struct world *w, const char *name, const char *expected)
{
    char *text = content(w, name);
    if (text == NULL)
        fail_msg("%s is not there", name);
    assert_string_equal(text, expected);
    free(text);
}

static void hurt_noise(const struct world *w)
{
    char path[PATH_TEXT_MAX];
    char *segment = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/segments/00000001.seg", w->archive);
    assert_int_equal(file_load(&system_files, path, 1u << 20, &segment, &size), 0);
    const char *at = memmem(segment, size, w->noise + NOISE_SIZE / 2, 64);
    assert_non_null(at);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, at - segment), 1);
    (void)close(fd);
    free(segment);
}

static void list_shows_decoded_fields_and_no_control_character(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_list, "--account alice@x.example"), EXIT_DONE);
    assert_int_equal(count_lines(w->text), MESSAGE_COUNT);
    assert_printed(w, "alice@x.example/1  2026-03-10 ");
    assert_printed(w, "Jörg <j@x.example>");
    assert_printed(w, "  no date");
    assert_no_controls(w);
}

static void list_json_has_a_line_for_each_message(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_list, "--account alice@x.example --json"), EXIT_DONE);
    assert_int_equal(count_lines(w->text), MESSAGE_COUNT);
    assert_printed(w,
                   "{\"id\":\"alice@x.example/1\",\"account\":\"alice@x.example\",\"n\":1,"
                   "\"date\":\"2026-03-10T12:00:00Z\",\"fetched\":\"20");
    assert_printed(w, "\"uidl\":\"uidl-1\",\"from\":\"Jörg <j@x.example>\",\"to\":null,"
                      "\"subject\":\"one\",\"message_id\":null,\"flags\":[]}\n");
    assert_printed(w, "\"n\":3,\"date\":null");
    assert_printed(w, "\"subject\":\"no date\\u001b[2J\\u0007\"");
    assert_no_controls(w);
}

static void a_period_includes_both_ends_and_goes_by_fetching_where_there_is_no_date(
    void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_list,
                         "--account alice@x.example --since 2026-03-10 --until 2026-03-11"),
                     EXIT_DONE);
    assert_int_equal(count_lines(w->text), 2);
    char line[128];
    char today[16];
    time_t now = time(NULL);
    struct tm tm;
    assert_non_null(localtime_r(&now, &tm));
    assert_int_not_equal(strftime(today, sizeof(today), "%F", &tm), 0);
    (void)snprintf(line, sizeof(line), "--account alice@x.example --since %s", today);
    assert_int_equal(run(w, &command_list, line), EXIT_DONE);
    assert_printed(w, "alice@x.example/3 ");
    assert_int_equal(run(w, &command_list, "--account alice@x.example --until 2026-02-30"),
                     EXIT_USAGE);
    assert_int_equal(run(w, &command_list,
                         "--account alice@x.example --since 2026-03-11 --until 2026-03-10"),
                     EXIT_USAGE);
}

static void show_prints_what_was_fetched(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        char id[64];
        (void)snprintf(id, sizeof(id), "alice@x.example/%zu", i + 1);
        assert_int_equal(run(w, &command_show, id), EXIT_DONE);
        assert_string_equal(w->text, message(w, i));
    }
    assert_int_equal(run(w, &command_show, "alice@x.example/9"), EXIT_PART);
    assert_int_equal(run(w, &command_show, "bob@x.example/1"), EXIT_PART);
    assert_int_equal(run(w, &command_show, "alice@x.example"), EXIT_USAGE);
}

static void a_damaged_message_is_never_shown(void **state)
{
    struct world *w = *state;
    hurt_noise(w);
    assert_int_equal(run(w, &command_show, "alice@x.example/2"), EXIT_DAMAGE);
    assert_string_equal(w->text, "");
}

static void accounts_tell_how_the_last_session_went(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_accounts, ""), EXIT_DONE);
    assert_int_equal(count_lines(w->text), 2);
    assert_printed(w, "partial: connection");
    assert_printed(w, "never polled\n");
    assert_no_controls(w);
    assert_int_equal(run(w, &command_accounts, "--json"), EXIT_DONE);
    assert_printed(w, "{\"account\":\"alice@x.example\",\"messages\":4,");
    assert_printed(w, "\"state\":\"partial\",\"text\":\"connection\\u001b[2J lost\","
                      "\"last_session\":\"2026-11-22T00:47:12Z\"}\n");
    assert_printed(
        w, "{\"account\":\"never@x.example\",\"messages\":0,\"bytes\":0,\"highest\":0,"
           "\"first\":null,\"last\":null,\"state\":\"never polled\",\"text\":null,"
           "\"last_session\":null}\n");
}

static void the_ledger_tells_of_sessions_and_of_messages(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_ledger, "--account alice@x.example"), EXIT_DONE);
    assert_printed(w, "partial   5 listed, 0 known, 4 fetched");
    assert_printed(w, "login at pop.example");
    assert_no_controls(w);
    assert_int_equal(run(w, &command_ledger, "--account alice@x.example --json"),
                     EXIT_DONE);
    assert_printed(w, "{\"type\":\"session\",\"account\":\"alice@x.example\",\"lsn\":");
    assert_int_equal(run(w, &command_ledger, "--message alice@x.example/4 --json"),
                     EXIT_DONE);
    assert_printed(w, "\"id\":\"alice@x.example/4\",\"n\":4,");
    assert_printed(w, "\"host\":\"pop.example\",\"login\":\"login\",\"uidl\":\"uidl-4\"");
    assert_int_equal(run(w, &command_ledger, "--message alice@x.example/5"), EXIT_PART);
    assert_int_equal(run(w, &command_ledger, ""), EXIT_USAGE);
}

static void stats_count_and_pin_the_chain(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_stats, "--json"), EXIT_DONE);
    assert_int_equal(count_lines(w->text), 1);
    assert_printed(w, "\"accounts\":2,\"messages\":4,");
    assert_printed(w, "\"head_segment\":1,\"head\":\"");
    assert_int_equal(run(w, &command_stats, ""), EXIT_DONE);
}

static void restore_all_gives_each_account_a_folder(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_restore, "--all --to eml:@/out"), EXIT_DONE);
    assert_content(w, "out/alice@x.example/1.eml", messages[0]);
    assert_content(w, "out/alice@x.example/2.eml", w->noise);
    assert_content(w, "out/alice@x.example/4.eml", messages[3]);
    char path[PATH_TEXT_MAX];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/out/never@x.example", w->root);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    (void)snprintf(path, sizeof(path), "%s/out/alice@x.example/1.eml", w->root);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mtime, 1773144000);
}

static void restoring_again_goes_on_and_leaves_what_differs(void **state)
{
    struct world *w = *state;
    char path[PATH_TEXT_MAX];
    static const char line[] = "--account alice@x.example --to eml:@/out";
    assert_int_equal(run(w, &command_restore, line), EXIT_DONE);
    (void)snprintf(path, sizeof(path), "%s/out/1.eml", w->root);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/out/4.eml", w->root);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "mine", 4), 4);
    (void)close(fd);
    assert_int_equal(run(w, &command_restore, line), EXIT_PART);
    assert_string_equal(strstr(w->text, "restored 1 message ("), w->text);
    assert_printed(w, "2 were there already");
    assert_content(w, "out/1.eml", messages[0]);
    assert_content(w, "out/4.eml", "mine");
}

#define FROM_TENTH "From MAILER-DAEMON Tue Mar 10 12:00:00 2026\n"
#define FROM_ELEVENTH "From MAILER-DAEMON Wed Mar 11 12:00:00 2026\n"

static void an_mbox_quotes_from_lines(void **state)
{
    struct world *w = *state;
    assert_int_equal(
        run(w, &command_restore,
            "--id alice@x.example/4 --id alice@x.example/1 --to mbox:@/m.mbox"),
        EXIT_DONE);
    assert_content(w, "m.mbox",
                   FROM_TENTH
                   "Date: Tue, 10 Mar 2026 12:00:00 +0000\r\n"
                   "From: =?utf-8?q?J=C3=B6rg?= <j@x.example>\r\nSubject: one\r\n\r\n"
                   ">From the start\r\n\n" FROM_ELEVENTH
                   "Date: Wed, 11 Mar 2026 12:00:00 +0000\r\nSubject: four\r\n\r\n"
                   ".\r\n>>From quoted\r\n\n");
}

static void damage_is_named_and_the_rest_is_restored(void **state)
{
    struct world *w = *state;
    hurt_noise(w);
    static const char *const lines[] = {
        "--account alice@x.example --to eml:@/eml",
        "--account alice@x.example --to maildir:@/maildir",
        "--account alice@x.example --to mbox:@/mbox",
    };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run(w, &command_restore, lines[i]), EXIT_DAMAGE);
        assert_string_equal(strstr(w->text, "restored 3 messages"), w->text);
    }
    assert_null(content(w, "eml/2.eml"));
    assert_content(w, "eml/4.eml", messages[3]);
    char *mbox = content(w, "mbox");
    assert_non_null(mbox);
    assert_null(strstr(mbox, "12 Mar 2026"));
    assert_non_null(strstr(mbox, "Subject: four"));
    free(mbox);
}

static void what_is_not_there_does_not_keep_the_rest_back(void **state)
{
    struct world *w = *state;
    assert_int_equal(
        run(w, &command_restore,
            "--id bob/1 --id alice@x.example/1 --id alice@x.example/9 --to eml:@/o"),
        EXIT_PART);
    assert_content(w, "o/alice@x.example/1.eml", messages[0]);
    assert_int_equal(run(w, &command_restore, "--id nonsense --to eml:@/o"), EXIT_USAGE);
    assert_int_equal(run(w, &command_restore, "--all --to zip:@/o"), EXIT_USAGE);
    assert_int_equal(run(w, &command_restore, "--all --id a/1 --to eml:@/o"), EXIT_USAGE);
}

static void an_interrupted_restore_leaves_no_half_file_and_can_go_on(void **state)
{
    struct world *w = *state;
    static const char *const lines[] = {
        "--account alice@x.example --to eml:@/eml",
        "--account alice@x.example --to mbox:@/mbox",
    };
    sigset_t set;
    assert_int_equal(sigemptyset(&set), 0);
    assert_int_equal(sigaddset(&set, SIGINT), 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(raise(SIGINT), 0);
        assert_int_equal(run(w, &command_restore, lines[i]), EXIT_PART);
        assert_int_equal(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGINT);
        assert_null(content(w, "eml/1.eml"));
        assert_null(content(w, "mbox"));
        assert_null(content(w, "mbox.partial"));
    }
    assert_int_equal(run(w, &command_restore, lines[0]), EXIT_DONE);
    assert_content(w, "eml/1.eml", messages[0]);
}

static void verify_finds_damage_and_reindex_brings_the_index_back(void **state)
{
    struct world *w = *state;
    char path[PATH_TEXT_MAX];
    assert_int_equal(run(w, &command_verify, ""), EXIT_DONE);
    assert_printed(w, "all is well");
    (void)snprintf(path, sizeof(path), "%s/index/data.mdb", w->archive);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run(w, &command_list, "--account alice@x.example"), EXIT_CANNOT);
    assert_int_equal(run(w, &command_verify, "--quick"), EXIT_DONE);
    assert_int_equal(run(w, &command_reindex, ""), EXIT_DONE);
    assert_int_equal(run(w, &command_list, "--account alice@x.example"), EXIT_DONE);
    hurt_noise(w);
    assert_int_equal(run(w, &command_verify, ""), EXIT_DAMAGE);
    assert_printed(w, "alice@x.example/2: ");
    assert_printed(w, "segment 1 at ");
}

static void reindex_waits_for_nobody(void **state)
{
    struct world *w = *state;
    char path[PATH_TEXT_MAX];
    (void)snprintf(path, sizeof(path), "%s/lock", w->archive);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(run(w, &command_reindex, ""), EXIT_CANNOT);
    assert_int_equal(run(w, &command_stats, ""), EXIT_DONE);
    (void)close(fd);
}

static void init_takes_only_a_new_or_empty_folder(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, &command_init, "@/archive"), EXIT_USAGE);
    assert_int_equal(run(w, &command_init, "@/no/parent"), EXIT_USAGE);
    assert_int_equal(run(w, &command_init, "@/second"), EXIT_DONE);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(list_shows_decoded_fields_and_no_control_character),
        IN_WORLD(list_json_has_a_line_for_each_message),
        IN_WORLD(a_period_includes_both_ends_and_goes_by_fetching_where_there_is_no_date),
        IN_WORLD(show_prints_what_was_fetched),
        IN_WORLD(a_damaged_message_is_never_shown),
        IN_WORLD(accounts_tell_how_the_last_session_went),
        IN_WORLD(the_ledger_tells_of_sessions_and_of_messages),
        IN_WORLD(stats_count_and_pin_the_chain),
        IN_WORLD(restore_all_gives_each_account_a_folder),
        IN_WORLD(restoring_again_goes_on_and_leaves_what_differs),
        IN_WORLD(an_mbox_quotes_from_lines),
        IN_WORLD(damage_is_named_and_the_rest_is_restored),
        IN_WORLD(what_is_not_there_does_not_keep_the_rest_back),
        IN_WORLD(an_interrupted_restore_leaves_no_half_file_and_can_go_on),
        IN_WORLD(verify_finds_damage_and_reindex_brings_the_index_back),
        IN_WORLD(reindex_waits_for_nobody),
        IN_WORLD(init_takes_only_a_new_or_empty_folder),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
