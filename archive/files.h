/* Every file call of the archive goes through one table, so that tests can record writes
 * and syncs, and fail the Nth call. All functions return 0 or a negated errno; they may be
 * called from any thread. `ctx` is passed back untouched. Paths are the caller's, as for
 * the system call. */
#ifndef MAILCASK_ARCHIVE_FILES_H
#define MAILCASK_ARCHIVE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct file_ops {
    void *ctx;
    int (*open)(void *ctx, const char *path, int flags, mode_t mode, int *out_fd);
    int (*close)(void *ctx, int fd);
    /* Up to size bytes; *out_read is less only at the end of the file, which may have grown
     * meanwhile. */
    int (*pread)(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                 size_t *out_read);
    /* May write less than size, as the system call may: see file_write_all(). */
    int (*pwrite)(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                  size_t *out_written);
    int (*fdatasync)(void *ctx, int fd);
    int (*fsync)(void *ctx, int fd);
    int (*ftruncate)(void *ctx, int fd, uint64_t size);
    int (*fstat)(void *ctx, int fd, struct stat *out_stat);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path, mode_t mode);
    int (*rmdir)(void *ctx, const char *path);
    /* For reading past the page cache (disk_file.h). The unit of offsets, sizes and memory
     * in which reads of a file opened with O_DIRECT reach the disk; -EOPNOTSUPP where the
     * kernel does not vouch for that (it may take O_DIRECT and answer from its cache). */
    int (*direct_unit)(void *ctx, int fd, uint32_t *out_unit);
    /* Ask the page cache to let go of these bytes (size 0: to the end of the file), written
     * out before. What it kept, count_cached() tells. */
    int (*evict)(void *ctx, int fd, uint64_t offset, uint64_t size);
    /* Pages of this range that the page cache holds. offset: a multiple of the page size.
     */
    int (*count_cached)(void *ctx, int fd, uint64_t offset, size_t size, size_t *out_pages);
};

/* The operating system's own. */
extern const struct file_ops system_files;

/* Write all of data, or fail: a short write is continued, a write of nothing is -ENOSPC. */
int file_write_all(const struct file_ops *ops, int fd, const void *data, size_t size,
                   uint64_t offset);

/* Read exactly size bytes; ERR_DAMAGED if the file ends before. */
int file_read_exact(const struct file_ops *ops, int fd, void *data, size_t size,
                    uint64_t offset);

/* fsync the folder itself, so that entries made or renamed in it are durable. */
int file_sync_folder(const struct file_ops *ops, const char *path);

/* Replace path by these bytes atomically and durably: temporary file, fsync, rename, folder
 * fsync. After an error the old file is still there. mode: of the new file. */
int file_replace(const struct file_ops *ops, const char *path, const void *data,
                 size_t size, mode_t mode);

/* The whole of a small file into fresh memory (free() it), with a NUL behind it that is not
 * counted. ERR_TOO_LARGE beyond max_size bytes. */
int file_load(const struct file_ops *ops, const char *path, size_t max_size,
              char **out_data, size_t *out_size);

#endif
