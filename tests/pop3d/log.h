/* The event log that tests read: one line an event, `event USER NAME key=value...`.
 * README.md lists the events. Lines reach the file whenever the server goes back to
 * waiting. */
#ifndef MAILCASK_POP3D_LOG_H
#define MAILCASK_POP3D_LOG_H

#include <stdio.h>

struct log {
    FILE *file; /* NULL: no log is kept */
};

/* A user or file name made safe for one field of a line. */
struct log_field {
    char text[512];
};

void log_line(struct log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void log_flush(struct log *log);

/* name with control characters, blanks and backslashes as \xHH, cut to fit; "-" for NULL or
 * "". Returns field->text. */
const char *log_name(struct log_field *field, const char *name);

#endif
