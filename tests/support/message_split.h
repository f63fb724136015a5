/* What a message is split into (archive/base64_run.h): a sink that gathers it, and a
 * reference that sees the whole message at once and tries each line length and line end.
 * Failures are cmocka's. */
#ifndef MAILCASK_TESTS_SUPPORT_MESSAGE_SPLIT_H
#define MAILCASK_TESTS_SUPPORT_MESSAGE_SPLIT_H

#include "archive/base64_run.h"
#include "archive/bytes.h"

#define SPLIT_ERROR 77

/* Text, or a run: then size counts its decoded bytes. */
struct segment {
    bool is_run;
    struct base64_run run;
    size_t size;
};

/* Neighbouring text is one segment. Zero-initialised is empty. */
struct split {
    struct buffer bytes;    /* of all segments */
    struct buffer segments; /* struct segment */
    size_t run_size;        /* decoded bytes of the run that has not ended */
    int fail_at;            /* the call of the sink that returns SPLIT_ERROR; 0: none */
    int calls;
};

/* Gathers into sp. */
struct base64_sink split_sink(struct split *sp);
void split_free(struct split *sp);

size_t segment_count(const struct split *sp);
struct segment segment_at(const struct split *sp, size_t i);

/* What the header of base64_run says of this message. */
struct split reference_split(struct span message, size_t minimum);

/* Frees b. */
void assert_same_split(const struct split *a, struct split *b);

#endif
