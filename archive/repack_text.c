#include "archive/repack.h"
#include "archive/size_text.h"

#include <inttypes.h>
#include <stdio.h>

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static int put_rewritten(const struct repack_summary *s, char *out, size_t size)
{
    char before[SIZE_TEXT_MAX], after[SIZE_TEXT_MAX];
    if (s->segments_read == 0)
        return snprintf(out, size, "nothing to repack");
    size_text(s->bytes_before, before);
    size_text(s->bytes_after, after);
    return snprintf(out, size, "repacked %" PRIu64 " segment%s: %s became %s",
                    s->segments_read, plural(s->segments_read), before, after);
}

void repack_text(const struct repack_summary *s, char out[REPACK_TEXT_MAX])
{
    int at = put_rewritten(s, out, REPACK_TEXT_MAX);
    if (s->segments_removed > 0)
        at += snprintf(out + at, REPACK_TEXT_MAX - (size_t)at,
                       "; removed %" PRIu64 " that %s replaced", s->segments_removed,
                       s->segments_removed == 1 ? "was" : "were");
    if (s->segments_kept > 0)
        (void)snprintf(out + at, REPACK_TEXT_MAX - (size_t)at,
                       "; %" PRIu64 " that %s replaced %s %s", s->segments_kept,
                       s->segments_kept == 1 ? "was" : "were",
                       s->segments_kept == 1 ? "stays" : "stay",
                       s->removal_held ? "while a backup or verify runs" : "for a day");
}
