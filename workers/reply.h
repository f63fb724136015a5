/* Lines from a POP3 server and what they say: a line splitter, the status words (RFC 1939),
 * the response codes (RFC 2449, RFC 3206). Free text is never interpreted (Q48), but for
 * Q38. */
#ifndef MAILCASK_WORKERS_REPLY_H
#define MAILCASK_WORKERS_REPLY_H

#include <stdbool.h>
#include <stddef.h>

/* A status or listing line, its line end included. */
#define REPLY_LINE_MAX ((size_t)8 * 1024)
/* A SASL challenge. */
#define REPLY_CHALLENGE_MAX ((size_t)64 * 1024)

/* Keeps the beginning of a line that the next input ends. Zeroed: empty, no memory held;
 * memory is held only from a split line's first part until the call after its last. */
struct line_reader {
    char *data;
    size_t size;
    size_t capacity;
    bool taken; /* data was handed out as a line: the next call starts afresh */
};

struct line {
    const char *data; /* without its line end; within the input or the reader */
    size_t size;
    bool bare_lf; /* ended in LF instead of CRLF */
};

enum line_result { LINE_NONE, LINE_READY, LINE_TOO_LONG, LINE_NO_MEMORY };

/* Take the next line from data. *out_used: how many bytes of data were used; all of them
 * with LINE_NONE, up to the line's end with LINE_READY. *out: valid until the next call,
 * and while data is. limit: of a line in bytes, line end included; LINE_TOO_LONG as soon as
 * it is known, however the bytes are split. NUL and lone CR are ordinary bytes. */
enum line_result line_next(struct line_reader *r, size_t limit, const char *data,
                           size_t size, size_t *out_used, struct line *out);

/* Gives back the memory; the reader is empty again. */
void line_reader_free(struct line_reader *r);

enum reply_status {
    REPLY_OK,
    REPLY_ERR,
    REPLY_CONTINUE, /* "+" alone or before a blank: a SASL challenge (Q51) */
    REPLY_OTHER,    /* not a reply at all (Q21) */
};

enum reply_code {
    REPLY_CODE_NONE,
    REPLY_CODE_IN_USE,
    REPLY_CODE_LOGIN_DELAY,
    REPLY_CODE_SYS_TEMP,
    REPLY_CODE_SYS_PERM,
    REPLY_CODE_AUTH,
    REPLY_CODE_OTHER, /* one this program does not know */
};

struct reply {
    enum reply_status status;
    enum reply_code code;
    const char *text; /* behind the status word and blanks, a code included; borrowed from
                         the line */
    size_t text_size;
    bool bare_lf; /* of the line */
};

/* Status words and codes count in any case (Q48); a code counts only at the start of the
 * text. */
void reply_parse(const struct line *line, struct reply *out);

/* The text speaks of a lock (Q38: the mailbox is in use), not of a block. */
bool reply_speaks_of_lock(const struct reply *reply);

/* needle occurs in text, ASCII letters in any case. An empty needle does not. */
bool reply_text_contains(const char *text, size_t size, const char *needle,
                         size_t needle_size);

#endif
