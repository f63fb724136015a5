/* Is an image of a disk what an archive may be after a power cut? */
#ifndef MAILCASK_TESTS_CRASH_CHECK_H
#define MAILCASK_TESTS_CRASH_CHECK_H

#include "tests/crash/event_log.h"
#include "tests/crash/mail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct check {
    const struct mail *mail;
    const struct event_log *log; /* its marks say what was promised */
    size_t point;                /* before this event of the log */
    char folder[128];            /* the image; it is changed by checking */
    char scratch[128];           /* a folder for images of recovery itself */
    uint64_t seed;               /* decides what is tried besides */
    unsigned again;              /* images of recovery itself to check: killed, cut again */
    unsigned long recoveries;    /* counted: images of recovery itself */
    char why[4096];              /* what is wrong */
};

/* Open, which recovers; then every promise must hold: what was acknowledged is restored
 * exact, nothing is there twice, nothing is damaged, what was deleted from the server had a
 * durable intent. Recovering again, with the index rebuilt, killed on the way or cut off by
 * another power cut, says the same; fetching goes on. False: why says what is wrong. */
bool check_image(struct check *c);

#endif
