#include "archive/error.h"
#include "tools/folders.h"
#include "tools/mboxrd.h"
#include "tools/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0600
#define GATHER_SIZE (256u << 10) /* bytes gathered before they are written */

struct target {
    char *path;
    char *partial; /* path with ".partial" behind it */
    int fd;        /* of the partial file, locked; -1 once it is gone */
    struct mboxrd format;
    uint64_t written;       /* bytes of the file */
    uint64_t message_start; /* of the message that was begun */
    size_t gathered;
    uint8_t gather[GATHER_SIZE];
};

static int flush(struct target *t)
{
    int rc = fd_write_all(t->fd, t->gather, t->gathered);
    t->written += t->gathered;
    t->gathered = 0;
    return rc;
}

static int emit(void *arg, const void *data, size_t size)
{
    struct target *t = arg;
    if (size > GATHER_SIZE - t->gathered) {
        int rc = flush(t);
        if (rc != 0)
            return rc;
    }
    if (size > GATHER_SIZE) {
        t->written += size;
        return fd_write_all(t->fd, data, size);
    }
    memcpy(t->gather + t->gathered, data, size);
    t->gathered += size;
    return 0;
}

static void mbox_close(struct target *t)
{
    if (t->fd >= 0) {
        (void)unlink(t->partial);
        (void)close(t->fd);
    }
    free(t->partial);
    free(t->path);
    free(t);
}

/* True if path still names this file, an ordinary one with no other name. */
static bool is_still(int fd, const char *path)
{
    struct stat opened;
    struct stat named;
    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 && S_ISREG(opened.st_mode) &&
           opened.st_nlink == 1 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* A partial file that is there is a leftover, unless a running restore holds its lock. One
 * that finished between our open and our lock has given this very file its final name:
 * hence is_still(). */
static int open_partial(struct target *t)
{
    int fd = open(t->partial, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    int rc = folder_lock(fd);
    if (rc == 0 && !is_still(fd, t->partial))
        rc = ERR_LOCKED;
    if (rc == 0 && (fchmod(fd, FILE_MODE) != 0 || ftruncate(fd, 0) != 0))
        rc = -errno;
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    t->fd = fd;
    return 0;
}

static int mbox_open(const char *path, struct target **out)
{
    struct target *t = malloc(sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    memset(t, 0, offsetof(struct target, gather));
    t->fd = -1;
    t->format = (struct mboxrd){.emit = emit, .arg = t};
    t->path = strdup(path);
    int rc =
        t->path != NULL && asprintf(&t->partial, "%s.partial", path) >= 0 ? 0 : -ENOMEM;
    if (rc == 0)
        rc = open_partial(t);
    if (rc != 0) {
        mbox_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

static int mbox_begin(struct target *t, unsigned lane, const struct target_message *m)
{
    (void)lane;
    t->message_start = t->written + t->gathered;
    return mboxrd_begin(&t->format, m->time_s);
}

static int mbox_write(struct target *t, unsigned lane, const uint8_t *data, size_t size)
{
    (void)lane;
    return mboxrd_add(&t->format, data, size);
}

static int mbox_commit(struct target *t, unsigned lane)
{
    (void)lane;
    return mboxrd_end(&t->format);
}

static int mbox_cancel(struct target *t, unsigned lane)
{
    (void)lane;
    if (t->message_start >= t->written) {
        t->gathered = (size_t)(t->message_start - t->written);
        return 0;
    }
    t->gathered = 0;
    t->written = t->message_start;
    if (ftruncate(t->fd, (off_t)t->written) != 0 ||
        lseek(t->fd, (off_t)t->written, SEEK_SET) < 0)
        return -errno;
    return 0;
}

/* Up to size bytes, less only at the end: the count or -errno. */
static ssize_t read_full(int fd, uint8_t *to, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int compare_contents(int a, int b)
{
    enum { PIECE = 64 << 10 };
    uint8_t *pieces = malloc(2 * (size_t)PIECE);
    if (pieces == NULL)
        return -ENOMEM;
    int rc = 0;
    for (uint64_t at = 0; rc == 0; at += PIECE) {
        ssize_t x = read_full(a, pieces, PIECE, at);
        ssize_t y = read_full(b, pieces + PIECE, PIECE, at);
        if (x < 0 || y < 0)
            rc = (int)(x < 0 ? x : y);
        else if (x != y || memcmp(pieces, pieces + PIECE, (size_t)x) != 0)
            rc = ERR_EXISTS;
        else if (x < PIECE)
            rc = TARGET_PRESENT;
    }
    free(pieces);
    return rc;
}

/* What has the final name: TARGET_PRESENT if equal to the partial file, else ERR_EXISTS or
 * -errno. */
static int compare(struct target *t)
{
    struct stat st;
    int fd = open(t->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? ERR_EXISTS : -errno;
    int rc = ERR_EXISTS;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == t->written)
        rc = compare_contents(t->fd, fd);
    (void)close(fd);
    return rc;
}

static int mbox_finish(struct target *t)
{
    int rc = flush(t);
    if (rc != 0)
        return rc;
    rc = new_file_rename(AT_FDCWD, t->partial, AT_FDCWD, t->path);
    if (rc == ERR_EXISTS)
        return compare(t);
    if (rc != 0)
        return rc;
    rc = close(t->fd) == 0 ? 0 : -errno;
    t->fd = -1;
    return rc;
}

const struct target_kind target_mbox = {
    .name = "mbox",
    .branch = "/mbox",
    .whole = true,
    .open = mbox_open,
    .begin = mbox_begin,
    .write = mbox_write,
    .commit = mbox_commit,
    .cancel = mbox_cancel,
    .finish = mbox_finish,
    .close = mbox_close,
};
