/* One line on standard error that tells how far a long command is: only where that is a
 * terminal. */
#ifndef MAILCASK_TOOLS_PROGRESS_H
#define MAILCASK_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;   /* is standard error a terminal */
    bool visible; /* the line stands there now */
    const char *verb;
    uint64_t total_bytes; /* 0: not known */
    int64_t began_ms;     /* monotonic */
    int64_t drawn_ms;
};

/* verb: "restoring"; borrowed. */
void progress_start(struct progress *p, const char *verb, uint64_t total_bytes);
/* Draws at most five times a second. */
void progress_update(struct progress *p, uint64_t done_bytes);
/* Both in one, for a callback of archive/: starts at the first call with a zeroed p; the
 * total may change. 1 once a signal that interrupt_hold() holds has come, else 0. */
int progress_step(struct progress *p, const char *verb, uint64_t done_bytes,
                  uint64_t total_bytes);
/* Take the line away, before other lines are written and at the end. */
void progress_hide(struct progress *p);

/* "42 %, 12.0 MB/s, 1 min 5 s left" as far as it can be known. */
#define PROGRESS_TEXT_MAX 128
void progress_text(char out[PROGRESS_TEXT_MAX], uint64_t done_bytes, uint64_t total_bytes,
                   int64_t elapsed_ms);

#endif
