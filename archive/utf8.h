/* UTF-8 from and for the outside, in the tools and in the daemon alike: anything may come
 * in, nothing that steers a terminal goes out. */
#ifndef MAILCASK_ARCHIVE_UTF8_H
#define MAILCASK_ARCHIVE_UTF8_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xFFFDu
#define UTF8_SIZE_MAX 4

/* The code point at the start of size (>= 1) bytes, and how many bytes it took (RFC 3629).
 * 0 where that is not UTF-8: overlong forms, surrogates and cut sequences too. */
size_t utf8_valid(const uint8_t *data, size_t size, uint32_t *out);

/* The same, but what is not UTF-8 is UTF8_REPLACEMENT, a byte at a time. */
size_t utf8_next(const uint8_t *data, size_t size, uint32_t *out);

/* Writes a code point; returns its bytes. */
size_t utf8_put(uint32_t c, char out[UTF8_SIZE_MAX]);

/* True for code points that a terminal may act on or that hide or reorder text: C0 and C1
 * controls, line and paragraph separators, bidirectional and other invisible formatting. */
bool utf8_unsafe(uint32_t c);

/* Append text to out, fit for a terminal: valid UTF-8, runs of white space and line ends
 * one space each, every other unsafe code point UTF8_REPLACEMENT. */
void utf8_clean(struct buffer *out, struct span text);

#endif
