/* Messages as mboxrd has them: a From_ line before, a blank line behind, and every line
 * that would read as a From_ line, quoted or not (^>*From ), with one '>' more. Taking one
 * away again gives the message back exactly. */
#ifndef MAILCASK_TOOLS_MBOXRD_H
#define MAILCASK_TOOLS_MBOXRD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Takes what is to be written: 0, or anything else to stop, which is returned to the
 * caller. */
typedef int mboxrd_emit(void *arg, const void *data, size_t size);

struct mboxrd {
    mboxrd_emit *emit;
    void *arg;
    bool quotes;    /* in a line's leading '>'s, or at its start */
    size_t matched; /* bytes of "From " seen and held back */
    bool line_open; /* the last byte given was not a line end */
};

/* The From_ line, and ready for a message. */
int mboxrd_begin(struct mboxrd *m, int64_t time_s);
/* The next bytes of the message, cut anywhere. */
int mboxrd_add(struct mboxrd *m, const uint8_t *data, size_t size);
/* The message's end. One that does not end its last line (POP3 delivers none such) gets a
 * line end. */
int mboxrd_end(struct mboxrd *m);

#endif
