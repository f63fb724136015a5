#include "daemon/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define WATCHDOG_MS 3000
#define TEXT_SIZE 1024

/* A service manager: a socket that takes one message at a time. */
struct manager {
    char folder[32];
    struct sockaddr_un address;
    int fd;
};

static int begin(void **state)
{
    static struct manager manager;
    struct manager *m = &manager;
    *m = (struct manager){.folder = "/tmp/mailcask-notify-XXXXXX"};
    m->address.sun_family = AF_UNIX;
    assert_non_null(mkdtemp(m->folder));
    snprintf(m->address.sun_path, sizeof(m->address.sun_path), "%.*s/s",
             (int)sizeof(m->folder) - 1, m->folder);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(m->fd, (const struct sockaddr *)&m->address, sizeof(m->address)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", m->address.sun_path, 1), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "3000000", 1), 0);
    *state = m;
    return 0;
}

static int end(void **state)
{
    struct manager *m = *state;
    close(m->fd);
    unlink(m->address.sun_path);
    rmdir(m->folder);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    return 0;
}

static void assert_told(const struct manager *m, const char *expected)
{
    char text[TEXT_SIZE] = "";
    ssize_t n = recv(m->fd, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    assert_string_equal(text, expected);
}

static void assert_told_nothing(const struct manager *m)
{
    char text[TEXT_SIZE];
    assert_int_equal(recv(m->fd, text, sizeof(text), 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void life_reload_and_stop_are_told(void **state)
{
    notify_ready();
    assert_told(*state, "READY=1");
    char text[TEXT_SIZE] = "";
    unsigned long long us = 0;
    notify_reloading();
    assert_true(recv(((struct manager *)*state)->fd, text, sizeof(text) - 1, 0) > 0);
    assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
    assert_true(us > 0);
    notify_stopping();
    assert_told(*state, "STOPPING=1");
}

static void the_watchdog_hears_us_at_half_its_interval(void **state)
{
    struct notify n;
    notify_init(&n, 1000);
    assert_int_equal(n.watchdog_ms, WATCHDOG_MS);
    assert_int_equal(notify_wait_ms(&n, 1000), WATCHDOG_MS / 2);
    notify_alive(&n, 2499);
    assert_told_nothing(*state);
    assert_int_equal(notify_wait_ms(&n, 2499), 1);
    notify_alive(&n, 2500);
    assert_told(*state, "WATCHDOG=1");
    assert_int_equal(notify_wait_ms(&n, 2500), WATCHDOG_MS / 2);
}

static void long_work_asks_for_time_and_gives_it_back(void **state)
{
    struct notify n;
    notify_init(&n, 0);
    notify_long_work(&n);
    assert_told(*state, "WATCHDOG_USEC=86400000000");
    notify_long_work(&n);
    assert_told_nothing(*state);
    assert_int_equal(notify_wait_ms(&n, 1), 0);
    notify_alive(&n, 1);
    assert_told(*state, "WATCHDOG_USEC=3000000");
    assert_told(*state, "WATCHDOG=1");
    notify_alive(&n, 2);
    assert_told_nothing(*state);
}

static void a_status_is_told_once_and_not_too_often(void **state)
{
    struct notify n;
    notify_init(&n, 0);
    notify_status(&n, 5000, "one\nREADY=1");
    assert_told(*state, "STATUS=one\\x0aREADY=1");
    notify_status(&n, 9000, "one\nREADY=1");
    assert_told_nothing(*state);
    notify_status(&n, 9000, "two");
    assert_told(*state, "STATUS=two");
    notify_status(&n, 9999, "three");
    assert_told_nothing(*state);
    notify_status(&n, 10000, "three");
    assert_told(*state, "STATUS=three");
}

static void without_a_watchdog_there_is_nothing_to_wait_for(void **state)
{
    struct notify n;
    unsetenv("WATCHDOG_USEC");
    notify_init(&n, 0);
    notify_long_work(&n);
    notify_alive(&n, 1000000);
    assert_told_nothing(*state);
    assert_true(notify_wait_ms(&n, 1000000) == NOTIFY_FOREVER);
}

static void without_a_manager_nothing_happens(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    struct notify n;
    notify_init(&n, 0);
    notify_status(&n, 5000, "one");
    notify_ready();
    notify_reloading();
    notify_stopping();
    assert_told_nothing(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(life_reload_and_stop_are_told, begin, end),
        cmocka_unit_test_setup_teardown(the_watchdog_hears_us_at_half_its_interval, begin,
                                        end),
        cmocka_unit_test_setup_teardown(long_work_asks_for_time_and_gives_it_back, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_status_is_told_once_and_not_too_often, begin,
                                        end),
        cmocka_unit_test_setup_teardown(without_a_watchdog_there_is_nothing_to_wait_for,
                                        begin, end),
        cmocka_unit_test_setup_teardown(without_a_manager_nothing_happens, begin, end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
