/* The content of a multi-line reply on its way out: read in pieces from a message file (or
 * from bytes in memory), line ends converted, dots stuffed (RFC 1939, 3). A message is
 * never held whole. */
#ifndef MAILCASK_POP3D_BODY_H
#define MAILCASK_POP3D_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/pop3d/buffer.h"

enum line_ends {
    LINE_ENDS_CRLF, /* a bare LF becomes CRLF, as Dovecot does */
    LINE_ENDS_ASIS
};

enum stuffing {
    STUFF_ALL,
    STUFF_NOT_FIRST, /* the first line is left as it is (Q20) */
    STUFF_NOT_LONE,  /* a line of one dot is left as it is (Q21) */
    STUFF_NONE
};

#define BODY_ALL_LINES UINT64_MAX

struct body {
    int fd; /* owned; -1: the content is text */
    uint64_t offset;
    struct bytes text;
    enum line_ends line_ends;
    enum stuffing stuffing;
    bool keep_last_line; /* no CRLF is added to a last line without a line end (Q23) */
    uint64_t lines_left; /* TOP: lines to send after the header */
    bool in_header;
    bool at_line_start;
    bool first_line;
    bool after_cr;
    bool line_blank;
    bool ends_open; /* what was sent does not end in CRLF */
    bool finished;
};

/* Over a file, whose descriptor the body takes over, or over text, which stays the
 * caller's. The fields line_ends, stuffing, keep_last_line and lines_left may be set before
 * the first fill. */
void body_from_file(struct body *body, int fd);
void body_from_text(struct body *body, struct bytes text);

/* Append the next piece to out, about 16 KiB. Returns false when nothing is left (or the
 * file could not be read to its end: what came is then all there is). */
bool body_fill(struct body *body, struct buffer *out);
void body_close(struct body *body);

/* How many octets the file is on the wire, unstuffed, with the CRLF that may be added at
 * its end. 0, or a negated errno. */
int body_octets(int fd, enum line_ends line_ends, uint64_t *out_octets);

#endif
