/* A backup: CASK and the segments in another folder, itself an archive without an index
 * (FORMAT.md, "Backup"). It holds what the index of the archive knew to be durable when the
 * backup began. Incremental by segment: one that is there, with the size and the seal that
 * the index knows, is not copied again. */
#ifndef MAILCASK_ARCHIVE_BACKUP_H
#define MAILCASK_ARCHIVE_BACKUP_H

#include "archive/archive.h"

#include <stdint.h>

struct backup_options {
    /* Now and then; a non-zero return ends the backup in order, with ERR_STOPPED: segments
     * that are there stay, and the next call goes on. May be NULL. */
    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    /* Damage that was met: a segment and what is wrong, a sentence fragment. May be NULL.
     */
    void (*report)(void *arg, uint64_t segment, const char *text);
    void *arg;
};

struct backup_summary {
    uint64_t segments;         /* in the backup now */
    uint64_t segments_copied;  /* by this call */
    uint64_t segments_removed; /* by this call: repacking had replaced them */
    uint64_t bytes_copied;     /* by this call */
    uint64_t damaged;          /* findings reported */
    uint64_t head_segment;     /* the newest sealed segment of the archive; 0: none */
    uint8_t head[SHA256_SIZE]; /* its trailer's hash, the same in the backup */
    const char *refused;       /* with ERR_EXISTS: why; never to be freed */
};

/* Bring the folder `to` (its parent must exist; new, empty, or a backup of this archive) up
 * to date. The archive is open with ARCHIVE_READ; a service may run beside it, and
 * repacking removes nothing meanwhile (removal.h). Every segment is read back before it
 * counts.
 *
 * 0, with summary->damaged to be looked at: a damaged segment is copied as it is, a missing
 * one told, and as long as there is any damage nothing is removed from the backup.
 * ERR_EXISTS: `to` is not to be touched, summary->refused says why. ERR_LOCKED: another
 * backup, or whatever has opened the backup to write. ERR_STOPPED. -ENOSPC and others of
 * the file system that holds `to`. -ENOMEM. ERR_INDEX. After any of them, and after having
 * been killed anywhere, the backup holds at least what it held before; call again to go on.
 */
int archive_backup(struct archive *a, const char *to, const struct backup_options *options,
                   struct backup_summary *out);

#endif
