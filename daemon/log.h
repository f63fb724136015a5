/* What the daemon says while it runs: one line an event, on a file descriptor, as
 *
 *     level=warning msg="the session failed" account=alice server=acme session=17
 * error="..."
 *
 * (logfmt: keys without quotes; a value stands in double quotes where it holds a blank, one
 * of " = \, or nothing, with \ before " and \). Every value went through log_clean(). Where
 * the descriptor is the journal's (JOURNAL_STREAM of systemd.exec(5)) the line begins with
 * its priority, "<4>" (sd-daemon(3)).
 *
 * Where it is a terminal, one more line can stand below the last, which is drawn anew: the
 * status. One thread, but for log_wire(). */
#ifndef MAILCASK_DAEMON_LOG_H
#define MAILCASK_DAEMON_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_SIZE 4096 /* bytes of a line with its newline */

enum log_level {
    LEVEL_ERROR,   /* nothing goes on, or not before somebody acts */
    LEVEL_WARNING, /* something failed; it is tried again, or the rest goes on */
    LEVEL_INFO,
    LEVEL_DEBUG, /* each session */
};
#define LOG_LEVELS "error, warning, info, debug"

struct log {
    int fd;
    enum log_level level; /* the least urgent that is written; LEVEL_INFO at first */
    bool level_fixed;     /* by the command line: a configuration does not change it */
    bool journal;
    bool terminal;
    pthread_mutex_t lock;
    bool status; /* it stands there now; guarded by the lock, as is what is written */
};

/* fd: borrowed. */
void log_init(struct log *log, int fd);

/* One of LOG_LEVELS: 0, or ERR_SYNTAX. */
int log_level_from_name(const char *name, enum log_level *out);

/* The configuration's level, unless it is fixed. */
void log_configure(struct log *log, enum log_level level);

/* A line that is being put together: log_begin(), its fields in the order in which they are
 * to stand, log_end(). */
struct log_event {
    struct log *log;
    bool muted; /* its level is not written */
    size_t size;
    char text[LOG_LINE_SIZE];
};

/* message: what happened, the same words for each event of a kind; what differs is a field.
 */
void log_begin(struct log_event *e, struct log *log, enum log_level level,
               const char *message);
/* NULL and "" leave the field out. A value that is too long for the line is cut and ends in
 * "..."; fields that have no room at all are left out: the longest goes last. */
void log_text(struct log_event *e, const char *key, const char *value);
void log_number(struct log_event *e, const char *key, uint64_t value);
/* seconds since the epoch, as 2026-05-31T14:05:09+0200. */
void log_time(struct log_event *e, const char *key, int64_t time_s);
/* Write the line. What cannot be written is lost. */
void log_end(struct log_event *e);

/* An event without fields, or with error="..." if error is neither NULL nor "". */
void log_say(struct log *log, enum log_level level, const char *message, const char *error);

/* A line of a wire trace, whatever the level: what account's session says or hears, at_ms
 * after it began. From any thread. */
void log_wire(struct log *log, const char *account, uint64_t session, uint64_t at_ms,
              const char *text);

/* Write a sentence (printf's rules) to whoever typed the command: what is wrong with the
 * options or the configuration. Of LEVEL_ERROR. */
void log_line(struct log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Draw the status, cut to the terminal's width; "" takes it away. Does nothing where there
 * is no terminal. */
void log_status(struct log *log, const char *text);

/* Copy text so that it is one harmless line of UTF-8: what utf8_unsafe() names, and bytes
 * that are not UTF-8, become \xNN.
 * Ends in "..." where it had to be cut. to_size: 8 or more. Returns its length. */
size_t log_clean(char *to, size_t to_size, const char *text);

#endif
