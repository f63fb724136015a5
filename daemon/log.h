/* What the daemon says while it runs: one line an event, on a file descriptor. Where that
 * is a terminal, one more line can stand below the last, which is drawn anew: the status.
 * One thread. */
#ifndef MAILCASK_DAEMON_LOG_H
#define MAILCASK_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>

#define LOG_LINE_SIZE \
    2048 /* bytes of a line with its newline; longer is cut, ends in "..." */

struct log {
    int fd;
    bool terminal;
    bool status; /* it stands there now */
};

/* fd: borrowed. */
void log_init(struct log *log, int fd);

/* Write one line; a newline is added. What cannot be written is lost. */
void log_line(struct log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Draw the status, cut to the terminal's width; "" takes it away. Does nothing where there
 * is no terminal. */
void log_status(struct log *log, const char *text);

/* Copy text so that it is one harmless line of UTF-8: control characters, line separators,
 * marks that change the direction of writing, and bytes that are not UTF-8 become \xNN.
 * Ends in "..." where it had to be cut. to_size: 8 or more. Returns its length. */
size_t log_clean(char *to, size_t to_size, const char *text);

#endif
