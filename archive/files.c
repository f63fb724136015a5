#include "archive/files.h"

#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages that one look at the page cache counts. */
#define COUNTED_AT_ONCE 256

static int result(int rc)
{
    return rc < 0 ? -errno : 0;
}

static int sys_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    (void)ctx;
    int fd = open(path, flags | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    *out_fd = fd;
    return 0;
}

static int sys_close(void *ctx, int fd)
{
    (void)ctx;
    /* Never retried: on Linux the descriptor is gone whatever close says. */
    return result(close(fd));
}

static int sys_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                     size_t *out_read)
{
    (void)ctx;
    char *to = data;
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, to + done, size - done, (off_t)(offset + done));
        if (n < 0) {
            if (errno == EINTR)
                continue;
            /* A direct read went to the end of a file that has grown since: behind it no
             * unit begins. */
            if (errno == EINVAL && done > 0)
                break;
            return -errno;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_read = done;
    return 0;
}

static int sys_pwrite(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                      size_t *out_written)
{
    (void)ctx;
    ssize_t n;
    do
        n = pwrite(fd, data, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    *out_written = (size_t)n;
    return 0;
}

static int sys_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return result(fdatasync(fd));
}

static int sys_fsync(void *ctx, int fd)
{
    (void)ctx;
    return result(fsync(fd));
}

static int sys_ftruncate(void *ctx, int fd, uint64_t size)
{
    (void)ctx;
    return result(ftruncate(fd, (off_t)size));
}

static int sys_fstat(void *ctx, int fd, struct stat *out_stat)
{
    (void)ctx;
    return result(fstat(fd, out_stat));
}

static int sys_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return result(rename(from, to));
}

static int sys_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return result(unlink(path));
}

static int sys_mkdir(void *ctx, const char *path, mode_t mode)
{
    (void)ctx;
    return result(mkdir(path, mode));
}

static int sys_rmdir(void *ctx, const char *path)
{
    (void)ctx;
    return result(rmdir(path));
}

static int sys_direct_unit(void *ctx, int fd, uint32_t *out_unit)
{
    (void)ctx;
#ifdef STATX_DIOALIGN
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0)
        return -errno;
    if ((st.stx_mask & STATX_DIOALIGN) != 0 && st.stx_dio_offset_align != 0) {
        *out_unit = st.stx_dio_offset_align > st.stx_dio_mem_align ? st.stx_dio_offset_align
                                                                   : st.stx_dio_mem_align;
        return 0;
    }
#else
    (void)fd;
    (void)out_unit;
#endif
    return -EOPNOTSUPP;
}

static int sys_evict(void *ctx, int fd, uint64_t offset, uint64_t size)
{
    (void)ctx;
    /* The last page may have been written to again since it was synced; dirty pages stay.
     * Where this fails, they are counted. */
    sync_file_range(fd, (off_t)offset, (off_t)size,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    return -posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

static int sys_count_cached(void *ctx, int fd, uint64_t offset, size_t size,
                            size_t *out_pages)
{
    (void)ctx;
    unsigned char held[COUNTED_AT_ONCE];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *out_pages = 0;
    while (size > 0) {
        size_t step = size < page * COUNTED_AT_ONCE ? size : page * COUNTED_AT_ONCE;
        void *at = mmap(NULL, step, PROT_READ, MAP_SHARED, fd, (off_t)offset);
        if (at == MAP_FAILED)
            return -errno;
        int err = result(mincore(at, step, held));
        munmap(at, step);
        if (err != 0)
            return err;
        for (size_t i = 0; i < (step + page - 1) / page; i++)
            *out_pages += held[i] & 1;
        offset += step;
        size -= step;
    }
    return 0;
}

const struct file_ops system_files = {
    .open = sys_open,
    .close = sys_close,
    .pread = sys_pread,
    .pwrite = sys_pwrite,
    .fdatasync = sys_fdatasync,
    .fsync = sys_fsync,
    .ftruncate = sys_ftruncate,
    .fstat = sys_fstat,
    .rename = sys_rename,
    .unlink = sys_unlink,
    .mkdir = sys_mkdir,
    .rmdir = sys_rmdir,
    .direct_unit = sys_direct_unit,
    .evict = sys_evict,
    .count_cached = sys_count_cached,
};

int file_write_all(const struct file_ops *ops, int fd, const void *data, size_t size,
                   uint64_t offset)
{
    const char *from = data;
    while (size > 0) {
        size_t written = 0;
        int err = ops->pwrite(ops->ctx, fd, from, size, offset, &written);
        if (err != 0)
            return err;
        if (written == 0)
            return -ENOSPC;
        from += written;
        size -= written;
        offset += written;
    }
    return 0;
}

int file_read_exact(const struct file_ops *ops, int fd, void *data, size_t size,
                    uint64_t offset)
{
    size_t got = 0;
    int err = ops->pread(ops->ctx, fd, data, size, offset, &got);
    if (err != 0)
        return err;
    return got == size ? 0 : ERR_DAMAGED;
}

int file_sync_folder(const struct file_ops *ops, const char *path)
{
    int fd = -1;
    int err = ops->open(ops->ctx, path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (err != 0)
        return err;
    err = ops->fsync(ops->ctx, fd);
    ops->close(ops->ctx, fd);
    return err;
}

/* The folder part of path, "." if there is none, into out[PATH_MAX]. */
static int folder_of(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    if (len >= PATH_MAX)
        return -ENAMETOOLONG;
    if (slash == NULL)
        memcpy(out, ".", 2);
    else if (len == 0)
        memcpy(out, "/", 2);
    else {
        memcpy(out, path, len);
        out[len] = '\0';
    }
    return 0;
}

int file_replace(const struct file_ops *ops, const char *path, const void *data,
                 size_t size, mode_t mode)
{
    char temporary[PATH_MAX], folder[PATH_MAX];
    int n = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof(temporary))
        return -ENAMETOOLONG;
    int err = folder_of(path, folder);
    if (err != 0)
        return err;

    int fd = -1;
    err = ops->open(ops->ctx, temporary, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd);
    if (err != 0)
        return err;
    err = file_write_all(ops, fd, data, size, 0);
    if (err == 0)
        err = ops->fsync(ops->ctx, fd);
    int close_err = ops->close(ops->ctx, fd);
    if (err == 0)
        err = close_err;
    if (err == 0)
        err = ops->rename(ops->ctx, temporary, path);
    if (err != 0) {
        ops->unlink(ops->ctx, temporary);
        return err;
    }
    return file_sync_folder(ops, folder);
}

int file_load(const struct file_ops *ops, const char *path, size_t max_size,
              char **out_data, size_t *out_size)
{
    int fd = -1;
    int err = ops->open(ops->ctx, path, O_RDONLY, 0, &fd);
    if (err != 0)
        return err;
    struct stat st;
    char *data = NULL;
    err = ops->fstat(ops->ctx, fd, &st);
    if (err == 0 && !S_ISREG(st.st_mode))
        err = -EINVAL;
    if (err == 0 && (uint64_t)st.st_size > max_size)
        err = ERR_TOO_LARGE;
    if (err == 0 && (data = malloc((size_t)st.st_size + 1)) == NULL)
        err = -ENOMEM;
    size_t got = 0;
    if (err == 0)
        err = ops->pread(ops->ctx, fd, data, (size_t)st.st_size, 0, &got);
    ops->close(ops->ctx, fd);
    if (err != 0) {
        free(data);
        return err;
    }
    data[got] = '\0';
    *out_data = data;
    *out_size = got;
    return 0;
}
