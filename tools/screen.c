#include "tools/screen.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Of a terminal that does not know its size. */
#define USUAL_ROWS 24
#define USUAL_COLUMNS 80

#define ENTER                                                                  \
    "\033[?1049h\033[?25l\033[?7l" /* alternate screen, no cursor, no wrapping \
                                    */
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH, SIGCONT};
#define SIGNAL_COUNT (sizeof(signals) / sizeof(signals[0]))

static void enter(struct screen *s)
{
    struct termios modes = s->modes;
    modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    modes.c_cc[VMIN] = 1;
    modes.c_cc[VTIME] = 0;
    if (s->typed)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &modes);
    output_print(s->out, "%s", ENTER);
    output_flush(s->out);
}

static void leave(struct screen *s)
{
    output_print(s->out, "%s", LEAVE);
    output_flush(s->out);
    if (s->typed)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &s->modes);
}

/* From now on signals wait at signal_fd. */
static int hold_signals(struct screen *s)
{
    sigset_t taken;
    (void)sigemptyset(&taken);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        (void)sigaddset(&taken, signals[i]);
    if (sigprocmask(SIG_BLOCK, &taken, &s->mask) != 0)
        return -errno;
    s->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd >= 0)
        return 0;
    int err = -errno;
    (void)sigprocmask(SIG_SETMASK, &s->mask, NULL);
    return err;
}

int screen_open(struct screen *s, struct output *out)
{
    *s = (struct screen){.out = out, .signal_fd = -1};
    int err = display_create(&s->display);
    if (err != 0)
        return err;
    err = hold_signals(s);
    if (err != 0) {
        display_destroy(s->display);
        return err;
    }
    s->typed = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &s->modes) == 0;
    s->keys = s->typed;
    enter(s);
    return 0;
}

void screen_close(struct screen *s)
{
    leave(s);
    (void)close(s->signal_fd);
    (void)sigprocmask(SIG_SETMASK, &s->mask, NULL);
    display_destroy(s->display);
}

static void put_line(struct screen *s, struct span line, size_t columns)
{
    output_print(s->out, "\033[K");
    output_bytes(s->out, line.data, display_fit(s->display, line, columns));
}

void screen_draw(struct screen *s, struct span text)
{
    struct winsize size = {0};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    size_t rows = size.ws_row > 0 ? size.ws_row : USUAL_ROWS;
    size_t columns = size.ws_col > 0 ? size.ws_col : USUAL_COLUMNS;
    output_print(s->out, "\033[H");
    for (size_t row = 0; row < rows && text.size > 0; row++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t length = end != NULL ? (size_t)(end - text.data) : text.size;
        size_t taken = end != NULL ? length + 1 : length;
        if (row > 0)
            output_print(s->out, "\r\n");
        put_line(s, span_of(text.data, length), columns);
        text = span_of(text.data + taken, text.size - taken);
        if (text.size == 0 && row + 1 < rows)
            output_print(s->out, "\r\n\033[J");
    }
    output_flush(s->out);
}

/* Ctrl-Z: the shell gets its screen back until we go on. */
static void stop(struct screen *s)
{
    leave(s);
    (void)raise(SIGSTOP);
    enter(s);
}

static enum screen_event take_signal(struct screen *s)
{
    struct signalfd_siginfo info;
    if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return SCREEN_CHANGED;
    switch (info.ssi_signo) {
    case SIGTSTP:
        stop(s);
        return SCREEN_CHANGED;
    case SIGWINCH:
    case SIGCONT:
        return SCREEN_CHANGED;
    default:
        return SCREEN_END;
    }
}

/* What is typed is forgotten but for q; a terminal that is gone types nothing more. */
static enum screen_event take_key(struct screen *s)
{
    char key = 0;
    ssize_t got = read(STDIN_FILENO, &key, 1);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
        s->keys = false;
    return got == 1 && (key == 'q' || key == 'Q') ? SCREEN_END : SCREEN_CHANGED;
}

enum screen_event screen_wait(struct screen *s, int64_t timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->keys ? STDIN_FILENO : -1, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms > 0 ? (int)timeout_ms : 0) <= 0)
        return SCREEN_TIME;
    return fds[0].revents != 0 ? take_signal(s) : take_key(s);
}
