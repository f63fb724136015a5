/* File operations that read past the bad places of a disk: what cannot be read (-EIO) is
 * given as zeros, which no checksum takes for what was there, and what stands behind it can
 * be read. For those who look for damage, and who neither repair nor conclude that nothing
 * follows. */
#ifndef MAILCASK_ARCHIVE_SALVAGE_H
#define MAILCASK_ARCHIVE_SALVAGE_H

#include "archive/files.h"

#include <stdbool.h>
#include <stdint.h>

struct salvage {
    struct file_ops ops; /* to open, read and close files; the rest is not there */
    const struct file_ops *base;
    bool failed;        /* something could not be read since this was last set to false, */
    uint64_t failed_at; /* first what is here in its file */
};

/* base outlives s, which is not moved while its ops are used. */
void salvage_init(struct salvage *s, const struct file_ops *base);

#endif
