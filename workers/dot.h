/* The body of a RETR reply (RFC 1939, section 3) as a byte-driven machine: takes out the
 * stuffed dots, finds the terminator however the bytes are split, and passes on slices of
 * the caller's buffer without copying. What it delivers includes the line end before the
 * terminator, not the terminator.
 *
 * 1. A line begins at the start of the body and after CRLF. After a bare LF only while the
 * whole reply, status line included, has used nothing but bare LF (Q24).
 * 2. CRLF "." CRLF ends the body; LF "." LF only as in 1. No other form does: ending early
 * would let a sender forge replies.
 * 3. Two dots at the start of a line lose one. A single one that is not the terminator
 * stays (Q20).
 * 4. Everything else passes as it is: bare CR, bare LF (Q25), NUL (Q26), lines of any
 * length (Q27). */
#ifndef MAILCASK_WORKERS_DOT_H
#define MAILCASK_WORKERS_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dot_state {
    DOT_LINE_START,
    DOT_TEXT,
    DOT_CR,      /* the last byte was CR */
    DOT_SEEN,    /* "." at the start of a line, not delivered yet */
    DOT_SEEN_CR, /* ".\r" at the start of a line, not delivered yet */
    DOT_ENDED,
};

/* Set by dot_start(); the counters may be read at any time. */
struct dot {
    enum dot_state state;
    bool lf_only;     /* no CRLF in this reply so far */
    uint64_t removed; /* dots taken out */
    uint64_t kept;    /* lines that began with a single dot and kept it (Q20) */
};

/* Begin a body. status_bare_lf: the status line before it ended in a bare LF. */
void dot_start(struct dot *d, bool status_bare_lf);

/* Take some of data (size > 0, body not ended). Returns how many bytes were used; each call
 * uses bytes, delivers a slice, or both. *out_slice, *out_size: bytes of the message
 * (*out_size may be 0), within data or in constant memory, valid as long as data is. Call
 * again until data is used up or dot_ended(); what is left then belongs to the next reply.
 */
size_t dot_next(struct dot *d, const char *data, size_t size, const char **out_slice,
                size_t *out_size);

/* The terminator has been used. */
bool dot_ended(const struct dot *d);

#endif
