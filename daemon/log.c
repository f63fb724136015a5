#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ESCAPE_SIZE 4      /* \xNN */
#define COLUMNS_DEFAULT 80 /* of a terminal that does not tell */
#define WRITE_WAIT_MS 1000 /* for a reader that does not take a line */
#define ERASE "\r\033[K"

void log_init(struct log *log, int fd)
{
    *log = (struct log){.fd = fd, .terminal = isatty(fd) == 1};
}

/* The bytes of the valid UTF-8 character at text (RFC 3629), 0 if there is none. */
static size_t decode(const unsigned char *text, uint32_t *out_code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = text[0];
    size_t size = first < 0x80             ? 1
                  : (first & 0xe0) == 0xc0 ? 2
                  : (first & 0xf0) == 0xe0 ? 3
                  : (first & 0xf8) == 0xf0 ? 4
                                           : 0;
    if (size == 0)
        return 0;
    uint32_t code = size == 1 ? first : first & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0; /* the NUL at the end too */
        code = code << 6 | (text[i] & 0x3fu);
    }
    if (code < lowest[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *out_code = code;
    return size;
}

/* Whether a terminal or a viewer would do more with it than show it. */
static bool unsafe(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c ||
           code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t log_clean(char *to, size_t to_size, const char *text)
{
    static const char hex[] = "0123456789abcdef", cut[] = "...";
    size_t used = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        uint32_t code = 0;
        size_t size = decode(at, &code);
        bool escaped = size == 0 || unsafe(code);
        size_t taken = size == 0 ? 1 : size;
        size_t room = escaped ? taken * ESCAPE_SIZE : taken;
        if (used + room + sizeof(cut) > to_size) {
            memcpy(to + used, cut, sizeof(cut));
            return used + sizeof(cut) - 1;
        }
        for (size_t i = 0; i < taken && escaped; i++, used += ESCAPE_SIZE) {
            const char one[ESCAPE_SIZE] = {'\\', 'x', hex[at[i] >> 4], hex[at[i] & 15]};
            memcpy(to + used, one, ESCAPE_SIZE);
        }
        if (!escaped) {
            memcpy(to + used, at, taken);
            used += taken;
        }
        at += taken;
    }
    to[used] = '\0';
    return used;
}

/* A descriptor made non-blocking by whoever shares it is waited for, but not for ever. */
static void put(const struct log *log, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(log->fd, data, size);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = log->fd, .events = POLLOUT};
            if (poll(&room, 1, WRITE_WAIT_MS) <= 0)
                return;
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

void log_line(struct log *log, const char *format, ...)
{
    char text[LOG_LINE_SIZE], line[LOG_LINE_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0)
        return;
    log_status(log, "");
    /* One byte of the line is its newline. */
    size_t size = log_clean(line, sizeof(line) - 1, text);
    line[size] = '\n';
    put(log, line, size + 1);
}

static size_t columns(int fd)
{
    struct winsize window;
    if (ioctl(fd, TIOCGWINSZ, &window) != 0 || window.ws_col < 2)
        return COLUMNS_DEFAULT;
    return window.ws_col;
}

void log_status(struct log *log, const char *text)
{
    if (!log->terminal || (text[0] == '\0' && !log->status))
        return;
    char line[LOG_LINE_SIZE];
    char clean[LOG_LINE_SIZE - sizeof(ERASE)];
    (void)log_clean(clean, sizeof(clean), text);
    int width = (int)columns(log->fd) - 1;
    int n = snprintf(line, sizeof(line), ERASE "%.*s", width, clean);
    if (n > 0)
        put(log, line, (size_t)n);
    log->status = text[0] != '\0';
}
