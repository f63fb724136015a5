#include "tests/crash/recorder.h"

#include "tests/crash/image.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Descriptors above are not looked at; a test has a handful. */
#define FDS_MAX 256

struct open_file {
    uint32_t inode; /* 0: not below the root */
    bool synced;    /* O_DSYNC */
    bool index;
};

/* The C library's functions take no context, so here alone state is the program's. */
static struct recorder {
    struct event_log *log; /* NULL: nothing is recorded */
    struct call_fault *fault;
    size_t root_size;
    char root[PATH_MAX];
    bool in_table;
    bool killed;
    uint64_t random;
    long ticks; /* microseconds of its own clock */
    struct open_file files[FDS_MAX];
} recorder;

void recorder_start(const char *root, struct event_log *log, struct call_fault *fault)
{
    recorder.root_size = strlen(root);
    assert(recorder.root_size < sizeof(recorder.root));
    memcpy(recorder.root, root, recorder.root_size + 1);
    memset(recorder.files, 0, sizeof(recorder.files));
    recorder.log = log;
    recorder.fault = fault;
    recorder.killed = false;
    /* A recovery comes after what the image was made of. */
    recorder.random = log->count;
    recorder.ticks = (long)log->count * 1000000;
}

void recorder_stop(void)
{
    recorder.log = NULL;
    recorder.fault = NULL;
}

void recorder_kill(void)
{
    recorder.killed = true;
}

void recorder_revive(void)
{
    recorder.killed = false;
}

/* The path from the root on, NULL if it is not below. */
static const char *below_root(const char *path)
{
    const char *rest = path + recorder.root_size;
    if (recorder.log == NULL || strncmp(path, recorder.root, recorder.root_size) != 0 ||
        (*rest != '/' && *rest != '\0'))
        return NULL;
    return rest;
}

static struct open_file *file_of(int fd)
{
    if (recorder.log == NULL || fd < 0 || fd >= FDS_MAX || recorder.files[fd].inode == 0)
        return NULL;
    return &recorder.files[fd];
}

static struct event *logged(struct event *e)
{
    e->by_table = recorder.in_table;
    return e;
}

/* Is this the call that the fault waits for? */
static bool strikes(unsigned kind, bool index)
{
    struct call_fault *f = recorder.fault;
    if (recorder.killed)
        return true;
    if (f == NULL || (f->kinds & kind) == 0 || (f->index_only && !index))
        return false;
    f->calls++;
    bool now = f->at != 0 && f->calls >= f->at && f->calls - f->at <= f->again;
    if (f->calls == f->at)
        f->event = recorder.log->count;
    recorder.killed = now && f->kill;
    return now;
}

static bool fails(unsigned kind, bool index)
{
    if (!strikes(kind, index))
        return false;
    if (!recorder.killed && recorder.fault->short_write)
        return false;
    errno = recorder.killed ? EIO : recorder.fault->error;
    return true;
}

static bool is_index(const char *below)
{
    return strstr(below, "/index") != NULL;
}

static int recorded_open(const char *path, int flags, ...)
{
    struct entry at = {0};
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    const char *below = below_root(path);
    uint32_t inode = 0;
    if (below != NULL)
        inode = event_log_resolve(recorder.log, below, &at.folder, at.name);
    bool makes = below != NULL && inode == 0 && (flags & O_CREAT);
    bool empties = inode != 0 && (flags & O_TRUNC);
    if ((makes || empties) && fails(CALL_NAME, is_index(below)))
        return -1;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0 || fd >= FDS_MAX || recorder.log == NULL)
        return fd;
    if (makes)
        inode = logged(event_log_create(recorder.log, at.folder, at.name, false))->inode;
    else if (empties)
        logged(event_log_add(recorder.log, EVENT_RESIZE, inode));
    recorder.files[fd] =
        (struct open_file){inode, (flags & O_DSYNC) != 0, below != NULL && is_index(below)};
    return fd;
}

static int recorded_close(int fd)
{
    if (file_of(fd) != NULL)
        recorder.files[fd].inode = 0;
    return (int)syscall(SYS_close, fd);
}

static ssize_t write_vector(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t done = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = (ssize_t)syscall(SYS_pwrite64, fd, parts[i].iov_base, parts[i].iov_len,
                                     offset + done);
        if (n < 0)
            return done > 0 ? done : -1;
        done += n;
        if ((size_t)n < parts[i].iov_len)
            break;
    }
    return done;
}

static void log_write(const struct open_file *file, const struct iovec *parts, int count,
                      off_t offset, size_t written)
{
    uint8_t *data = malloc(written + 1);
    size_t at = 0;
    assert(data != NULL);
    for (int i = 0; i < count && at < written; i++) {
        size_t n = parts[i].iov_len < written - at ? parts[i].iov_len : written - at;
        memcpy(data + at, parts[i].iov_base, n);
        at += n;
    }
    struct event *e =
        logged(event_log_write(recorder.log, file->inode, (uint64_t)offset, data, written));
    e->synced = file->synced;
    free(data);
}

/* All writing calls come to this. */
static ssize_t recorded_vector(int fd, const struct iovec *parts, int count, off_t offset)
{
    const struct open_file *file = file_of(fd);
    if (file == NULL)
        return write_vector(fd, parts, count, offset);
    struct iovec half = {parts[0].iov_base, (parts[0].iov_len + 1) / 2};
    if (strikes(CALL_WRITE, file->index)) {
        if (recorder.killed || !recorder.fault->short_write) {
            errno = recorder.killed ? EIO : recorder.fault->error;
            return -1;
        }
        parts = &half;
        count = 1;
    }
    ssize_t n = write_vector(fd, parts, count, offset);
    if (n > 0)
        log_write(file, parts, count, offset, (size_t)n);
    return n;
}

static ssize_t recorded_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return recorded_vector(fd, parts, count, offset);
}

static ssize_t recorded_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    union {
        const void *given;
        void *any;
    } bytes = {.given = data};
    const struct iovec part = {bytes.any, size};
    return recorded_vector(fd, &part, 1, offset);
}

/* Where the descriptor stands, and then behind what was written. */
static ssize_t recorded_writev(int fd, const struct iovec *parts, int count)
{
    if (file_of(fd) == NULL)
        return (ssize_t)syscall(SYS_writev, fd, parts, count);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t n = recorded_vector(fd, parts, count, offset);
    if (n > 0)
        lseek(fd, offset + n, SEEK_SET);
    return n;
}

static ssize_t recorded_write(int fd, const void *data, size_t size)
{
    union {
        const void *given;
        void *any;
    } bytes = {.given = data};
    const struct iovec part = {bytes.any, size};
    if (file_of(fd) == NULL)
        return (ssize_t)syscall(SYS_write, fd, data, size);
    return recorded_writev(fd, &part, 1);
}

static int recorded_sync(int fd)
{
    const struct open_file *file = file_of(fd);
    if (file == NULL)
        return (int)syscall(SYS_fsync, fd);
    bool failed = fails(CALL_SYNC, file->index);
    if (recorder.killed)
        return -1;
    logged(
        event_log_add(recorder.log, failed ? EVENT_SYNC_FAILED : EVENT_SYNC, file->inode));
    return failed ? -1 : 0;
}

static int recorded_ftruncate(int fd, off_t size)
{
    const struct open_file *file = file_of(fd);
    if (file != NULL && fails(CALL_NAME, file->index))
        return -1;
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && file != NULL)
        logged(event_log_add(recorder.log, EVENT_RESIZE, file->inode))->offset =
            (uint64_t)size;
    return rc;
}

static int recorded_rename(const char *from, const char *to)
{
    const char *below_from = below_root(from), *below_to = below_root(to);
    struct entry a = {0}, b = {0};
    if (below_from != NULL && fails(CALL_NAME, is_index(below_from)))
        return -1;
    int rc = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (rc != 0 || below_from == NULL)
        return rc;
    assert(below_to != NULL);
    event_log_resolve(recorder.log, below_from, &a.folder, a.name);
    event_log_resolve(recorder.log, below_to, &b.folder, b.name);
    logged(event_log_rename(recorder.log, &a, &b));
    return 0;
}

static int remove_name(const char *path, int flags)
{
    const char *below = below_root(path);
    struct entry at = {0};
    if (below != NULL && fails(CALL_NAME, is_index(below)))
        return -1;
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    if (rc == 0 && below != NULL) {
        event_log_resolve(recorder.log, below, &at.folder, at.name);
        logged(event_log_remove(recorder.log, at.folder, at.name));
    }
    return rc;
}

static int recorded_unlink(const char *path)
{
    return remove_name(path, 0);
}

static int recorded_rmdir(const char *path)
{
    return remove_name(path, AT_REMOVEDIR);
}

static int recorded_mkdir(const char *path, mode_t mode)
{
    const char *below = below_root(path);
    struct entry at = {0};
    if (below != NULL && fails(CALL_NAME, is_index(below)))
        return -1;
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (rc == 0 && below != NULL && *below != '\0') {
        event_log_resolve(recorder.log, below, &at.folder, at.name);
        logged(event_log_create(recorder.log, at.folder, at.name, true));
    }
    return rc;
}

/* An index is believed only in the very file that it was made as. An image of a disk is a
 * copy, but stands for that file: all of them are the same one here. */
static int recorded_stat(const char *path, struct stat *out)
{
    static const char name[] = "/index/data.mdb";
    size_t size = strlen(path);
    int rc = fstatat(AT_FDCWD, path, out, 0);
    if (rc == 0 && size >= sizeof(name) - 1 &&
        strcmp(path + size - (sizeof(name) - 1), name) == 0) {
        out->st_dev = 1;
        out->st_ino = 1;
    }
    return rc;
}

/* Some morning. */
#define CLOCK_START_S 1772442000

static int recorded_clock(clockid_t clock, struct timespec *out)
{
    if (recorder.log == NULL || clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, out);
    recorder.ticks++;
    out->tv_sec = CLOCK_START_S + recorder.ticks / 1000000;
    out->tv_nsec = recorder.ticks % 1000000 * 1000;
    return 0;
}

static int recorded_random(unsigned char *out, int size)
{
    if (recorder.log == NULL)
        return (int)syscall(SYS_getrandom, out, size, 0) == size;
    for (int i = 0; i < size; i++)
        out[i] = (unsigned char)random_next(&recorder.random);
    return 1;
}

/* The names by which the C library's functions are called, with and without
 * _FILE_OFFSET_BITS. */
#define STANDS_FOR(function, symbol)                                    \
    extern __typeof__(function) function##_as_##symbol __asm__(#symbol) \
        __attribute__((alias(#function), visibility("default")))

STANDS_FOR(recorded_open, open);
STANDS_FOR(recorded_open, open64);
STANDS_FOR(recorded_close, close);
STANDS_FOR(recorded_pwrite, pwrite);
STANDS_FOR(recorded_pwrite, pwrite64);
STANDS_FOR(recorded_pwritev, pwritev);
STANDS_FOR(recorded_pwritev, pwritev64);
STANDS_FOR(recorded_write, write);
STANDS_FOR(recorded_writev, writev);
STANDS_FOR(recorded_sync, fsync);
STANDS_FOR(recorded_sync, fdatasync);
STANDS_FOR(recorded_ftruncate, ftruncate);
STANDS_FOR(recorded_ftruncate, ftruncate64);
STANDS_FOR(recorded_rename, rename);
STANDS_FOR(recorded_unlink, unlink);
STANDS_FOR(recorded_rmdir, rmdir);
STANDS_FOR(recorded_mkdir, mkdir);
STANDS_FOR(recorded_stat, stat);
STANDS_FOR(recorded_stat, stat64);
STANDS_FOR(recorded_clock, clock_gettime);
STANDS_FOR(recorded_random, RAND_bytes);

#define THROUGH_TABLE(call)          \
    do {                             \
        recorder.in_table = true;    \
        int err = system_files.call; \
        recorder.in_table = false;   \
        return err;                  \
    } while (0)

static int table_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    THROUGH_TABLE(open(ctx, path, flags, mode, out_fd));
}

static int table_pwrite(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                        size_t *out_written)
{
    THROUGH_TABLE(pwrite(ctx, fd, data, size, offset, out_written));
}

static int table_fdatasync(void *ctx, int fd)
{
    THROUGH_TABLE(fdatasync(ctx, fd));
}

static int table_fsync(void *ctx, int fd)
{
    THROUGH_TABLE(fsync(ctx, fd));
}

static int table_ftruncate(void *ctx, int fd, uint64_t size)
{
    THROUGH_TABLE(ftruncate(ctx, fd, size));
}

static int table_rename(void *ctx, const char *from, const char *to)
{
    THROUGH_TABLE(rename(ctx, from, to));
}

static int table_unlink(void *ctx, const char *path)
{
    THROUGH_TABLE(unlink(ctx, path));
}

static int table_mkdir(void *ctx, const char *path, mode_t mode)
{
    THROUGH_TABLE(mkdir(ctx, path, mode));
}

static int table_rmdir(void *ctx, const char *path)
{
    THROUGH_TABLE(rmdir(ctx, path));
}

struct file_ops recorder_table(void)
{
    struct file_ops ops = system_files;
    ops.open = table_open;
    ops.pwrite = table_pwrite;
    ops.fdatasync = table_fdatasync;
    ops.fsync = table_fsync;
    ops.ftruncate = table_ftruncate;
    ops.rename = table_rename;
    ops.unlink = table_unlink;
    ops.mkdir = table_mkdir;
    ops.rmdir = table_rmdir;
    return ops;
}
