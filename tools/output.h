/* Results: lines, tables and JSON to one stream. Errors are sticky: the printing functions
 * are void, and output_finish() tells the first failure. */
#ifndef MAILCASK_TOOLS_OUTPUT_H
#define MAILCASK_TOOLS_OUTPUT_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct output {
    FILE *file;
    int error; /* 0 or the first failure, negated errno */
};

/* Bytes as they are. */
void output_bytes(struct output *o, const void *data, size_t size);
/* printf; for text of our own only. */
void output_print(struct output *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Text from anywhere, through utf8_clean(). */
void output_clean(struct output *o, struct span text);
/* Hand on what was printed so far. */
void output_flush(struct output *o);
/* Flush. The first failure, or 0. Says it on standard error unless the reader went away
 * (EPIPE). */
int output_finish(struct output *o);

/* One JSON object a line (RFC 8259). Strings are valid UTF-8 whatever comes in: bytes that
 * are not UTF-8 become U+FFFD, unsafe code points (utf8_unsafe()) are escaped. Names are
 * ours, plain ASCII. */
struct json {
    struct output *output;
    bool more; /* a comma is due */
};

void json_begin(struct json *j, struct output *o);
void json_end(struct json *j);
/* An object or array within, and its end. In an array the names of members are NULL. */
void json_open(struct json *j, const char *name, char bracket);
void json_close(struct json *j, char bracket);
void json_string(struct json *j, const char *name, struct span value);
/* null where the value is empty. */
void json_string_or_null(struct json *j, const char *name, struct span value);
void json_number(struct json *j, const char *name, uint64_t value);
void json_signed(struct json *j, const char *name, int64_t value);
void json_bool(struct json *j, const char *name, bool value);
void json_null(struct json *j, const char *name);
/* RFC 3339 in UTC; null where seconds are outside the years 0 to 9999. */
void json_time(struct json *j, const char *name, int64_t time_s);
/* Of microseconds, which archive times are; null for 0, "never". */
void json_time_us(struct json *j, const char *name, int64_t time_us);
void json_hex(struct json *j, const char *name, const uint8_t *data, size_t size);
/* The strings whose bit is set in mask, lowest first. */
void json_words(struct json *j, const char *name, unsigned mask, const char *const *words,
                size_t count);

#endif
