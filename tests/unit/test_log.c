#include "daemon/log.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
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
        cmocka_unit_test(no_status_where_there_is_no_terminal),
        cmocka_unit_test(a_line_takes_the_status_away),
        cmocka_unit_test(what_cannot_be_written_is_lost),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
