/* A message put together again: what it keeps of its own, and its base64 runs encoded anew
 * from their parts, hashed on the way. */
#ifndef MAILCASK_ARCHIVE_ASSEMBLE_H
#define MAILCASK_ARCHIVE_ASSEMBLE_H

#include "archive/digest.h"
#include "archive/meta.h"

/* Where decoded parts come from: exactly size bytes, good until the next call.
 * 0; ERR_DAMAGED (missing or hurt); -errno. */
struct part_source {
    int (*get)(void *arg, const uint8_t sha256[SHA256_SIZE], size_t size,
               const uint8_t **out_data);
    void *arg;
};

typedef int assemble_sink(void *arg, const uint8_t *data, size_t size);

struct assembly {
    const struct message_meta *message;
    const struct part_source *source;
    struct sha256 *hash;
    assemble_sink *sink;
    void *arg;
    struct span runs; /* still to come */
    struct run_meta next;
    bool has_next;
    uint64_t own;   /* bytes taken of what the message keeps of its own */
    uint64_t given; /* bytes of the message given out */
};

/* All is borrowed. 0 or ERR_DAMAGED. sink may be NULL: then the bytes are only hashed. */
int assemble_start(struct assembly *as, const struct message_meta *m,
                   const struct part_source *source, struct sha256 *hash,
                   assemble_sink *sink, void *arg);
/* The next of the message's own bytes. 0; ERR_DAMAGED; what sink or source returned. */
int assemble_own(struct assembly *as, const uint8_t *data, size_t size);
/* All own bytes were given: 0 if the whole has the message's size and SHA-256, else
 * ERR_DAMAGED. */
int assemble_end(struct assembly *as);

#endif
