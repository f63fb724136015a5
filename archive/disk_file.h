/* A file read from the disk itself, never from what the page cache remembers of it: what
 * stands between a message and its deletion elsewhere is what the disk holds. Two ways:
 * direct reads (O_DIRECT), where the kernel vouches that they reach the disk; else the page
 * cache is told to let go of the range and is seen to have done so, and after the read to
 * hold it again (a file system with a cache of its own shows itself by that). What lies
 * behind the file system (a drive's cache, a file server's) is out of reach. One thread at
 * a time. */
#ifndef MAILCASK_ARCHIVE_DISK_FILE_H
#define MAILCASK_ARCHIVE_DISK_FILE_H

#include "archive/files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that one read asks for at most; each open file has so much memory. */
#define DISK_READ_SIZE ((size_t)256 << 10)

struct disk_file;

/* 0; -ENOMEM; what opening gave. */
int disk_file_open(const struct file_ops *ops, const char *path, struct disk_file **out);
/* NULL is fine. */
void disk_file_close(struct disk_file *f);

/* Exactly size bytes, each read from the disk after this call began; they must have been
 * made durable before. 0; ERR_DAMAGED if the file ends before; ERR_NOT_FROM_DISK if there
 * is no way past the cache here; -errno. */
int disk_file_read(struct disk_file *f, void *data, size_t size, uint64_t offset);

/* For fstat(). Reading from it may need aligned memory. */
int disk_file_fd(const struct disk_file *f);

#endif
