#include "daemon/log.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void cleaned(const char *text, const char *expected)
{
    char out[256];
    assert_int_equal(log_clean(out, sizeof(out), text), strlen(expected));
    assert_string_equal(out, expected);
}

static void plain_text_and_utf8_stay(void **state)
{
    (void)state;
    cleaned("", "");
    cleaned("a line \\ with \"quotes\"", "a line \\ with \"quotes\"");
    cleaned("J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x93\xac", "J\xc3\xbcrgen \xe2\x82\xac "
                                                           "\xf0\x9f\x93\xac");
}

static void control_characters_are_escaped(void **state)
{
    (void)state;
    cleaned("a\nb\r\tc\x1b[2J\x7f", "a\\x0ab\\x0d\\x09c\\x1b[2J\\x7f");
    cleaned("\xc2\x9b\x31m", "\\xc2\\x9b1m");     /* CSI as one character */
    cleaned("\xe2\x80\xae!", "\\xe2\\x80\\xae!"); /* right to left */
    cleaned("\xe2\x80\xa8!", "\\xe2\\x80\\xa8!"); /* line separator */
    cleaned("\xe2\x81\xa6\xd8\x9c", "\\xe2\\x81\\xa6\\xd8\\x9c");
    cleaned("\xe2\x80\x8b\xef\xbb\xbf", "\\xe2\\x80\\x8b\\xef\\xbb\\xbf"); /* not seen */
}

static void bytes_that_are_not_utf8_are_escaped(void **state)
{
    (void)state;
    cleaned("\xff-\x80", "\\xff-\\x80");
    cleaned("\xc3", "\\xc3"); /* cut off */
    cleaned("\xe2\x82!", "\\xe2\\x82!");
    cleaned("\xc0\xaf", "\\xc0\\xaf");                   /* longer than need be */
    cleaned("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* a surrogate */
    cleaned("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char out[10];
    assert_int_equal(log_clean(out, sizeof(out), "123456"), 6);
    assert_string_equal(out, "123456");
    assert_int_equal(log_clean(out, sizeof(out), "1234567890"), 9);
    assert_string_equal(out, "123456...");
    assert_int_equal(log_clean(out, sizeof(out), "12345\xc3\xbc 67"), 8);
    assert_string_equal(out, "12345...");
    assert_int_equal(log_clean(out, sizeof(out), "123\n4567"), 6);
    assert_string_equal(out, "123...");
}

static size_t read_some(int fd, char *out, size_t size)
{
    ssize_t n = read(fd, out, size - 1);
    assert_true(n >= 0);
    out[n] = '\0';
    return (size_t)n;
}

static void a_line_is_one_line(void **state)
{
    (void)state;
    int fds[2];
    char out[2 * LOG_LINE_SIZE];
    struct log log;
    assert_int_equal(pipe(fds), 0);
    log_init(&log, fds[1]);
    assert_false(log.terminal);
    log_line(&log, "%s: %d\n%s", "account", 5, "secret\r\n+OK");
    read_some(fds[0], out, sizeof(out));
    assert_string_equal(out, "account: 5\\x0asecret\\x0d\\x0a+OK\n");

    char longest[2 * LOG_LINE_SIZE];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    log_line(&log, "%s", longest);
    size_t size = read_some(fds[0], out, sizeof(out));
    assert_true(size <= LOG_LINE_SIZE);
    assert_ptr_equal(strchr(out, '\n'), out + size - 1);
    close(fds[0]);
    close(fds[1]);
}

/* A log whose lines can be read back. */
struct piped {
    struct log log;
    int fds[2];
    char line[2 * LOG_LINE_SIZE];
};

static void piped_open(struct piped *p)
{
    assert_int_equal(pipe2(p->fds, O_NONBLOCK), 0);
    log_init(&p->log, p->fds[1]);
}

static void piped_close(struct piped *p)
{
    close(p->fds[0]);
    close(p->fds[1]);
}

/* "" for none. */
static const char *piped_line(struct piped *p)
{
    ssize_t n = read(p->fds[0], p->line, sizeof(p->line) - 1);
    p->line[n > 0 ? n : 0] = '\0';
    return p->line;
}

static void an_event_is_keys_and_values(void **state)
{
    (void)state;
    struct piped p;
    struct log_event e;
    piped_open(&p);
    log_begin(&e, &p.log, LEVEL_WARNING, "the account failed");
    log_text(&e, "account", "alice@acme.example");
    log_text(&e, "server", "");
    log_text(&e, "source", NULL);
    log_number(&e, "session", UINT64_MAX);
    log_text(&e, "error", "10% \"refused\" by C:\\ and\r\nme");
    log_end(&e);
    assert_string_equal(piped_line(&p),
                        "level=warning msg=\"the account failed\" "
                        "account=alice@acme.example session=18446744073709551615 "
                        "error=\"10% \\\"refused\\\" by C:\\\\ and\\\\x0d\\\\x0ame\"\n");
    log_say(&p.log, LEVEL_ERROR, "stopped", "a=b");
    assert_string_equal(piped_line(&p), "level=error msg=stopped error=\"a=b\"\n");
    log_say(&p.log, LEVEL_INFO, "stopped", NULL);
    assert_string_equal(piped_line(&p), "level=info msg=stopped\n");
    piped_close(&p);
}

static void a_time_is_local_with_its_offset(void **state)
{
    (void)state;
    struct piped p;
    struct log_event e;
    piped_open(&p);
    assert_int_equal(setenv("TZ", "TST-2", 1), 0);
    tzset();
    log_begin(&e, &p.log, LEVEL_INFO, "m");
    log_time(&e, "since", 86399);
    log_end(&e);
    assert_string_equal(piped_line(&p),
                        "level=info msg=m since=1970-01-02T01:59:59+0200\n");
    piped_close(&p);
}

static void a_long_value_is_cut_and_its_quotes_closed(void **state)
{
    (void)state;
    struct piped p;
    struct log_event e;
    char longest[2 * LOG_LINE_SIZE];
    piped_open(&p);
    for (size_t i = 0; i < 2; i++) {
        memset(longest, i == 0 ? 'x' : '"', sizeof(longest) - 1);
        longest[0] = ' ';
        longest[sizeof(longest) - 1] = '\0';
        log_begin(&e, &p.log, LEVEL_INFO, "m");
        log_text(&e, "error", longest);
        log_text(&e, "more", longest);
        log_text(&e, "last", longest); /* is left out */
        log_end(&e);
        const char *line = piped_line(&p);
        size_t size = strlen(line);
        assert_in_range(size, LOG_LINE_SIZE - 64, LOG_LINE_SIZE);
        assert_string_equal(line + size - 5, "...\"\n");
        assert_int_equal(line[size - 6], longest[1]);
        assert_null(strstr(line, "last"));
    }
    piped_close(&p);
}

static void less_urgent_events_than_the_level_are_not_written(void **state)
{
    (void)state;
    struct piped p;
    piped_open(&p);
    log_say(&p.log, LEVEL_DEBUG, "m", NULL);
    assert_string_equal(piped_line(&p), "");
    assert_int_equal(log_level_from_name("warning", &p.log.level), 0);
    log_say(&p.log, LEVEL_INFO, "m", NULL);
    assert_string_equal(piped_line(&p), "");
    log_say(&p.log, LEVEL_WARNING, "m", NULL);
    assert_string_equal(piped_line(&p), "level=warning msg=m\n");
    assert_int_equal(log_level_from_name("debug", &p.log.level), 0);
    log_say(&p.log, LEVEL_DEBUG, "m", NULL);
    assert_string_equal(piped_line(&p), "level=debug msg=m\n");
    assert_int_not_equal(log_level_from_name("warn", &p.log.level), 0);
    piped_close(&p);
}

static void the_journal_is_given_priorities(void **state)
{
    (void)state;
    struct piped p;
    struct stat st;
    char name[64];
    assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
    piped_open(&p);
    assert_false(p.log.journal); /* it is another stream's */
    assert_int_equal(fstat(p.fds[1], &st), 0);
    snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", name, 1), 0);
    log_init(&p.log, p.fds[1]);
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_say(&p.log, LEVEL_ERROR, "m", NULL);
    assert_string_equal(piped_line(&p), "<3>level=error msg=m\n");
    log_say(&p.log, LEVEL_WARNING, "m", NULL);
    assert_string_equal(piped_line(&p), "<4>level=warning msg=m\n");
    log_say(&p.log, LEVEL_INFO, "m", NULL);
    assert_string_equal(piped_line(&p), "<6>level=info msg=m\n");
    log_line(&p.log, "wrong: %d", 5);
    assert_string_equal(piped_line(&p), "<3>wrong: 5\n");
    piped_close(&p);
}

static void no_status_where_there_is_no_terminal(void **state)
{
    (void)state;
    int fds[2];
    char out[64];
    struct log log;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_init(&log, fds[1]);
    log_status(&log, "1 of 2");
    assert_int_equal(read(fds[0], out, sizeof(out)), -1);
    close(fds[0]);
    close(fds[1]);
}

/* What a terminal shows may come in pieces. */
static void assert_shown(int screen, const char *expected)
{
    char out[256] = "";
    size_t size = 0;
    while (size < strlen(expected)) {
        ssize_t n = read(screen, out + size, sizeof(out) - 1 - size);
        assert_true(n > 0);
        size += (size_t)n;
    }
    assert_string_equal(out, expected);
}

static void a_line_takes_the_status_away(void **state)
{
    (void)state;
    int screen, terminal;
    struct log log;
    struct winsize window = {.ws_row = 5, .ws_col = 8};
    assert_int_equal(openpty(&screen, &terminal, NULL, NULL, &window), 0);
    log_init(&log, terminal);
    assert_true(log.terminal);
    log_status(&log, "");
    log_status(&log, "1 of 20 accounts");
    assert_shown(screen, "\r\033[K1 of 20");
    log_line(&log, "event");
    log_line(&log, "another");
    assert_shown(screen, "\r\033[Kevent\r\nanother\r\n");
    close(terminal);
    close(screen);
}

static void what_cannot_be_written_is_lost(void **state)
{
    (void)state;
    int fds[2];
    struct log log;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_init(&log, fds[1]);
    char block[4096] = "";
    while (write(fds[1], block, sizeof(block)) > 0)
        continue;
    log_line(&log, "nobody reads this"); /* returns after a while */
    log_init(&log, -1);
    log_line(&log, "nowhere to write");
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_and_utf8_stay),
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_are_escaped),
        cmocka_unit_test(long_text_is_cut_between_characters),
        cmocka_unit_test(a_line_is_one_line),
        cmocka_unit_test(an_event_is_keys_and_values),
        cmocka_unit_test(a_time_is_local_with_its_offset),
        cmocka_unit_test(a_long_value_is_cut_and_its_quotes_closed),
        cmocka_unit_test(less_urgent_events_than_the_level_are_not_written),
        cmocka_unit_test(the_journal_is_given_priorities),
        cmocka_unit_test(no_status_where_there_is_no_terminal),
        cmocka_unit_test(a_line_takes_the_status_away),
        cmocka_unit_test(what_cannot_be_written_is_lost),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
