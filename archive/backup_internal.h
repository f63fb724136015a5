/* What backup.c (which segments), backup_folder.c (where to) and backup_copy.c (copying one
 * and checking it) share. */
#ifndef MAILCASK_ARCHIVE_BACKUP_INTERNAL_H
#define MAILCASK_ARCHIVE_BACKUP_INTERNAL_H

#include "archive/archive_internal.h"
#include "archive/backup.h"

/* Bytes moved at a time. */
#define BACKUP_STEP (1u << 20)

/* A segment of the archive, as the index has it. */
struct backup_segment {
    uint64_t id;
    uint64_t size; /* of the sealed file, or of what is durable of the open one */
    bool sealed;
    bool wanted;  /* the backup does not have it, or not all of it */
    bool checked; /* read back by this run, and sound */
    /* The trailer's, if sealed; if open, of its seal in the backup, zeros: none. */
    uint8_t hash[SHA256_SIZE];
    uint8_t previous[SHA256_SIZE]; /* if open: what that seal names as its predecessor */
    uint64_t seal_there; /* where the backup's seal begins, if it is not the archive's; 0:
                            none */
};

/* A segment that the backup had when this run began. */
struct backup_there {
    uint64_t id;
    bool replaced; /* by repacking, in the archive */
};

struct backup {
    struct archive *archive;
    const char *to;
    const struct backup_options *options;
    struct backup_summary *summary;
    struct cask cask; /* the archive's, read behind the index */
    bool begun_anew;  /* there is no CASK in `to`: only segments tell whose it is */
    int hold_fd;
    int lock_fd;
    uint8_t *window; /* 2 * BACKUP_STEP */
    struct record_view view;
    struct backup_segment *segments; /* by id; without those that repacking has replaced */
    size_t count;
    struct backup_there *there; /* by id */
    size_t there_count;
    uint64_t done_bytes;
    uint64_t total_bytes;
};

/* Damage: counted and reported. */
void backup_damage(struct backup *b, uint64_t segment, const char *text);
/* Set summary->refused; returns ERR_EXISTS. */
int backup_refuse(struct backup *b, const char *why);

/* Make sure that `to` may be written to, make what is missing, take its lock, and clear
 * away what an earlier run left unfinished. */
int backup_folder_open(struct backup *b);
/* The folder of its segments is on disk. */
int backup_folder_sync(struct backup *b);

/* Copy one segment, or as much of it as the index knows; 0 also where it cannot be read,
 * which is reported. */
int backup_copy(struct backup *b, struct backup_segment *s);

/* Do the two files hold the same bytes up to size? 0, with *out_equal; false where either
 * ends before; -errno where one cannot be read. */
int backup_compare(struct backup *b, const char *path, const char *other, uint64_t size,
                   bool *out_equal);

/* Walk all records of this file: is each of them sound, and the seal, if there is one?
 * hash: the trailer's that it must have; NULL: any, or none. seal: what was found on the
 * way, to be freed by the caller in any case. 0, with *out_sound; -errno. */
int backup_check(struct backup *b, const char *path, uint64_t id, const uint8_t *hash,
                 struct seal *seal, bool *out_sound);

#endif
