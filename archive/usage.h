/* What each account's mail takes, by month: read from the segments, headers and metas only,
 * beside a running service, too. The index does not know it. */
#ifndef MAILCASK_ARCHIVE_USAGE_H
#define MAILCASK_ARCHIVE_USAGE_H

#include "archive/archive.h"

#include <stddef.h>
#include <stdint.h>

/* One account in one month of UTC, in which its messages were fetched. */
struct usage_row {
    uint32_t account;
    int32_t month; /* YYYYMM */
    uint64_t messages;
    uint64_t message_bytes; /* as received */
    uint64_t stored_bytes;  /* records of the account; of one with messages of several
                               months each has its share, by what they keep of their own */
};

/* A part that several messages name counts, in the account and the month, to the one that
 * was fetched first; of two of one moment to the lower account number. So a month that is
 * over changes only by what is done to its own mail: repacking, healing, loss.
 *
 * What counts to nobody: the index, heads and ends of segments, COMMITs, what disks
 * allocate beyond a file's length, garbage, and segments that repacking has replaced. */
struct archive_usage {
    struct usage_row *rows; /* by account, then month */
    size_t count;
    struct archive_stats stats; /* as it was when the survey began */
    int64_t nobody_bytes; /* segments and index less every row's; below 0 only where the
                             disk itself compresses */
    uint64_t missing;     /* messages left out because their records cannot be read */
};

/* progress: NULL, or told now and then how many bytes of segments lie behind. Memory: about
 * 170 bytes for each part of the archive. 0, and archive_usage_free() it; -EAGAIN: a
 * segment was replaced and removed meanwhile, so begin anew; ERR_NO_INDEX; ERR_INDEX;
 * ERR_VERSION; -errno. */
int archive_usage(struct archive *a,
                  void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total),
                  void *arg, struct archive_usage *out);
void archive_usage_free(struct archive_usage *u);

#endif
