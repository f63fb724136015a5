/* Checking a whole archive: CASK, the chain of segments, every record's header, meta and
 * body, every message's SHA-256, every account's numbers without a gap, and the index
 * against all of that. */
#ifndef MAILCASK_ARCHIVE_VERIFY_H
#define MAILCASK_ARCHIVE_VERIFY_H

#include "archive/archive.h"

#include <stdbool.h>
#include <stdint.h>

enum finding_kind {
    FINDING_STRUCTURE, /* a segment, its header, a record, its trailer, the chain */
    FINDING_MESSAGE,   /* a message that cannot be restored */
    FINDING_INDEX,  /* the index differs from the segments: `mailcask reindex` mends it */
    FINDING_HEALED, /* a damaged record, all of whose messages have sound later copies */
    FINDING_LOST,   /* damage that the operator has acknowledged */
};

struct finding {
    enum finding_kind kind;
    uint64_t segment;    /* 0: none in particular */
    uint64_t offset;     /* within it */
    const char *account; /* of a message: its name, or NULL if that is lost as well */
    uint32_t account_number;
    uint64_t n;       /* 0: not a message */
    const char *text; /* what is wrong, a sentence fragment */
};

struct verify_options {
    bool quick; /* structure and checksums, nothing decompressed but metas */
    void (*report)(void *arg, const struct finding *f); /* each finding, once */
    /* Now and then, for a progress line; may be NULL. The total is an estimate at first. A
     * non-zero return ends the check, with ERR_STOPPED. */
    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    void *arg;
};

struct verify_summary {
    uint64_t segments, records, messages, bytes;                        /* bytes read */
    uint64_t structure, messages_hurt, index_differences, healed, lost; /* findings */
    bool with_index; /* false: there is none, the segments alone were checked */
};

/* Check an archive that was opened to read (without_index allowed) or to write. Findings
 * are not errors: 0 whenever the check ran to its end, else ERR_STOPPED, with what was
 * found so far in *out, or -errno. A full check notes the
 * messages it found hurt in state/damaged, so that the service fetches them again if the
 * server still has them; where the folder cannot be written, it does not. */
int archive_verify(struct archive *a, const struct verify_options *options,
                   struct verify_summary *out);

/* True if the summary holds damage: exit status 3. */
bool verify_found_damage(const struct verify_summary *s);

#endif
