/* How a session ended: whom the failure concerns, whether to try again, and one sentence
 * that tells an administrator what happened and what to do. The scheduler reads scope,
 * retry, more and delay_s only; the text is for people. */
#ifndef MAILCASK_WORKERS_OUTCOME_H
#define MAILCASK_WORKERS_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What else would fail in the same way. */
enum scope {
    SCOPE_NONE, /* nothing failed */
    SCOPE_MESSAGE,
    SCOPE_MAILBOX,
    SCOPE_ACCOUNT, /* its name, password or permission */
    SCOPE_SERVER,
    SCOPE_PROCESS, /* this service: memory, disk, a stop */
};

enum retry { RETRY_NONE, RETRY_NOW, RETRY_BACKOFF, RETRY_NEVER };

#define OUTCOME_TEXT_SIZE 512
/* Room for the part of a server's text that is quoted, escaped. */
#define OUTCOME_QUOTE_SIZE 240

struct outcome {
    enum scope scope;
    enum retry retry;
    bool more;                    /* another session has messages to fetch */
    uint32_t delay_s;             /* the server asked for this pause; 0: it did not */
    char text[OUTCOME_TEXT_SIZE]; /* "" if scope is SCOPE_NONE */
};

/* Sets scope, retry and text (printf's rules; cut at OUTCOME_TEXT_SIZE); more and delay_s
 * stay. */
void outcome_set(struct outcome *o, enum scope scope, enum retry retry, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Copies text as printable ASCII: a backslash is doubled, every other byte outside
 * 0x20..0x7e becomes \xNN. Ends with "..." where it had to be cut. to_size: 8 or more. */
void outcome_escape(char *to, size_t to_size, const char *text, size_t size);

/* "mailbox", "backoff"; never NULL. */
const char *scope_name(enum scope scope);
const char *retry_name(enum retry retry);

#endif
