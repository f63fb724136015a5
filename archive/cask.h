/* CASK: the file that says what an archive is. Replaced atomically when a segment is made.
 */
#ifndef MAILCASK_ARCHIVE_CASK_H
#define MAILCASK_ARCHIVE_CASK_H

#include "archive/files.h"
#include "archive/format.h"

#include <stdint.h>

struct cask {
    uint8_t uuid[UUID_SIZE];
    int64_t created_us;
    uint64_t
        highest_segment; /* the highest id ever made: a newest segment gone missing shows */
};

/* 0; ERR_FORMAT (no archive here); ERR_VERSION; ERR_DAMAGED; -errno. */
int cask_load(const struct file_ops *ops, const char *archive, struct cask *out);
int cask_save(const struct file_ops *ops, const char *archive, const struct cask *cask);

#endif
