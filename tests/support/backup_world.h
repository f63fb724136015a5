/* An archive that is open to write, and a backup of it. */
#ifndef MAILCASK_TESTS_SUPPORT_BACKUP_WORLD_H
#define MAILCASK_TESTS_SUPPORT_BACKUP_WORLD_H

#include "archive/backup.h"
#include "archive/repack.h"
#include "tests/support/archive_fixture.h"

struct backup_world {
    struct fixture f;  /* the archive: accounts a@x and b@x, three sealed segments */
    struct fixture b;  /* the backup: only its path, until it is opened */
    char damage[1024]; /* what the last backup reported, a line each: "ID: text" */
    struct backup_summary summary;
};

#define BACKUP_WORLD_A 16 /* messages of a@x */
#define BACKUP_WORLD_B 13

/* As cmocka's setup and teardown. */
int backup_world_setup(void **state);
int backup_world_teardown(void **state);

/* A backup. ops, progress: as for archive_backup(), NULL is fine. */
int backup_world_try(struct backup_world *w, const struct file_ops *ops,
                     int (*progress)(void *, uint64_t, uint64_t));
/* One that comes to its end and meets no damage. */
void backup_world_run(struct backup_world *w);
/* Repack the archive, removing at once what was replaced. */
struct repack_summary backup_world_repack(struct backup_world *w);

/* Verify the backup as it stands, read only, with an index or without. */
struct verify_summary backup_world_verify(struct backup_world *w);
/* It is sound, and once reindexed it says and gives just what the archive does. */
void backup_world_assert_whole(struct backup_world *w);
void backup_world_assert_equal(struct backup_world *w); /* the second half */

/* Run a command line; it must succeed. */
void backup_world_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Flip a bit of the byte at this place of a file; below 0: from its end. */
void backup_world_flip(const char *path, long at);

#endif
