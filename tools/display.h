/* Header fields for a person's eyes. The door to GMime and GLib, which are loaded when the
 * first display is created, and not with the program. */
#ifndef MAILCASK_TOOLS_DISPLAY_H
#define MAILCASK_TOOLS_DISPLAY_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISPLAY_LIBRARY "libgmime-3.0.so.0"

/* Sets GMime up for the process: all are created by one thread; then each is used by one
 * thread at a time. */
struct display;

/* 0; -ENOMEM; -ELIBACC: DISPLAY_LIBRARY cannot be loaded, or is another one by now. */
int display_create(struct display **out);
void display_destroy(struct display *d);

/* A field as received, unfolded: RFC 2047 words are decoded, raw 8-bit text is taken as
 * UTF-8 or else ISO 8859-1. What comes out may hold any code point, control characters too:
 * json_string() escapes them, utf8_clean() takes them away. Replaces the contents of out;
 * out->failed without memory. */
void display_decode(struct display *d, struct span field, struct buffer *out);

/* The time that a Date field names, as leniently as mail needs; false if there is none to
 * be read. */
bool display_date(struct display *d, struct span field, int64_t *out_s);

/* How many columns of a terminal clean text takes. */
size_t display_width(const struct display *d, struct span text);
/* How many of its first bytes fit into columns. */
size_t display_fit(const struct display *d, struct span text, size_t columns);

#endif
