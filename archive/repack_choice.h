/* Which sealed segments are worth rewriting: a rule of their sizes alone. */
#ifndef MAILCASK_ARCHIVE_REPACK_CHOICE_H
#define MAILCASK_ARCHIVE_REPACK_CHOICE_H

#include "archive/format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was packed before is packed again only while it is smaller. */
#define REPACK_SMALL_SIZE (SEGMENT_SIZE_MAX / 4)
/* In passing it is worth it from so many small segments on (a quiet archive makes one a
 * day), or from so many bytes on that were never packed. */
#define REPACK_SMALL_MIN 8u
#define REPACK_UNPACKED_MIN (SEGMENT_SIZE_MAX / 2)
/* And then so many bytes are taken at once, oldest first: for a day the archive takes the
 * space of both. */
#define REPACK_PASSING_MAX (2 * SEGMENT_SIZE_MAX)

struct repack_candidate {
    uint64_t id;
    uint64_t size;
    bool packed; /* repacking made it */
    bool chosen;
};

/* Choose among sealed segments that nothing has replaced, ascending by id. in_passing:
 * nobody asked for it. Returns how many. */
size_t repack_choose(struct repack_candidate *candidates, size_t count, bool in_passing);

#endif
