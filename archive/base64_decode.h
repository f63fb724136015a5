/* Whole groups of 4 base64 characters to bytes, with the widest instructions that the
 * processor has. Part of archive/base64_run.c, for nobody else. */
#ifndef MAILCASK_ARCHIVE_BASE64_DECODE_H
#define MAILCASK_ARCHIVE_BASE64_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* What a decoder may write behind its last byte. */
#define BASE64_DECODE_SLACK 8

/* Decode `chars` characters (a multiple of 4, at least 4) of the standard alphabet; out has
 * room for BASE64_DECODE_SLACK bytes more than they give. Returns how many bytes they give,
 * chars / 4 * 3. Where one is of no group, or is padding, it returns something else, and
 * what is in out means nothing. */
typedef size_t base64_decoder(uint8_t *out, const uint8_t *in, size_t chars);

/* libmodpbase64's, on every processor. */
base64_decoder base64_decode_plain;

/* The fastest that runs here. */
base64_decoder *base64_decode_choose(void);

#endif
