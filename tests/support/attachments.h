/* Made-up mail with base64 attachments. All of it follows from the seeds. */
#ifndef MAILCASK_TESTS_SUPPORT_ATTACHMENTS_H
#define MAILCASK_TESTS_SUPPORT_ATTACHMENTS_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attachment {
    unsigned seed;
    size_t size;          /* decoded bytes */
    bool text;            /* they shrink well; else not at all */
    unsigned line_length; /* characters, a multiple of 4; 0: no line ends inside */
    const char *line_end; /* NULL: CRLF */
};

/* Each appends to out. */

/* Header fields, and the empty line behind them. */
void mail_header(struct buffer *out, const char *from, const char *subject);
/* About size bytes of lines, each ended by CRLF. */
void mail_lines(struct buffer *out, unsigned seed, size_t size);
/* The attachment encoded, without a line end behind it. */
void mail_attach(struct buffer *out, const struct attachment *a);

/* The decoded bytes [from, from + size) of the attachment. */
void attachment_bytes(const struct attachment *a, size_t from, size_t size, uint8_t *out);
/* SHA-256 of its part number `part`. */
void attachment_part(const struct attachment *a, size_t part, uint8_t *out_sha256);

#endif
