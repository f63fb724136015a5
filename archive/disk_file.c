#include "archive/disk_file.h"

#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Direct reads are in units of at least a common page, and at most: */
#define UNIT_MIN ((size_t)4 << 10)
#define UNIT_MAX ((size_t)64 << 10) /* also the largest page that Linux runs with */
#define EVICT_TRIES 3

_Static_assert(DISK_READ_SIZE % UNIT_MAX == 0, "reads are whole units");

struct disk_file {
    const struct file_ops *ops;
    int fd;
    bool direct;
    size_t unit;     /* of offsets and sizes; divides UNIT_MAX */
    uint8_t *window; /* DISK_READ_SIZE bytes, aligned to UNIT_MAX */
};

/* Do reads by this descriptor, opened with O_DIRECT, reach the disk? Tried at the end of
 * the file, where file systems differ. */
static bool works_directly(struct disk_file *f)
{
    const struct file_ops *ops = f->ops;
    uint32_t unit = 0;
    struct stat st;
    size_t got = 0;
    if (ops->direct_unit(ops->ctx, f->fd, &unit) != 0 || unit == 0 ||
        UNIT_MAX % unit != 0 || ops->fstat(ops->ctx, f->fd, &st) != 0)
        return false;
    f->unit = unit > UNIT_MIN ? unit : UNIT_MIN;
    uint64_t size = (uint64_t)st.st_size;
    return ops->pread(ops->ctx, f->fd, f->window, f->unit, size - size % f->unit, &got) ==
           0;
}

/* Any failure but of the file itself leaves the other way to be tried. */
static int open_way(struct disk_file *f, const char *path)
{
    int err = f->ops->open(f->ops->ctx, path, O_RDONLY | O_DIRECT, 0, &f->fd);
    if (err == 0) {
        f->direct = works_directly(f);
        if (f->direct)
            return 0;
        f->ops->close(f->ops->ctx, f->fd);
        f->fd = -1;
    }
    f->unit = UNIT_MAX;
    return f->ops->open(f->ops->ctx, path, O_RDONLY, 0, &f->fd);
}

int disk_file_open(const struct file_ops *ops, const char *path, struct disk_file **out)
{
    struct disk_file *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -ENOMEM;
    f->ops = ops;
    f->fd = -1;
    f->window = aligned_alloc(UNIT_MAX, DISK_READ_SIZE);
    int err = f->window == NULL ? -ENOMEM : open_way(f, path);
    if (err != 0) {
        disk_file_close(f);
        return err;
    }
    *out = f;
    return 0;
}

void disk_file_close(struct disk_file *f)
{
    if (f == NULL)
        return;
    if (f->fd >= 0)
        f->ops->close(f->ops->ctx, f->fd);
    free(f->window);
    free(f);
}

int disk_file_fd(const struct disk_file *f)
{
    return f->fd;
}

/* Fill the window after the page cache was seen to be without it. */
static int read_evicted(struct disk_file *f, size_t size, uint64_t start, size_t *out_got)
{
    const struct file_ops *ops = f->ops;
    for (int i = 0; i < EVICT_TRIES; i++) {
        size_t before = 0, after = 0;
        /* A large folio that the range cuts stays whole: then the whole file goes. */
        uint64_t from = i == 0 ? start : 0, count = i == 0 ? size : 0;
        if (ops->evict(ops->ctx, f->fd, from, count) != 0 ||
            ops->count_cached(ops->ctx, f->fd, start, size, &before) != 0)
            return ERR_NOT_FROM_DISK;
        if (before > 0)
            continue;
        int err = ops->pread(ops->ctx, f->fd, f->window, size, start, out_got);
        if (err != 0 || *out_got == 0)
            return err;
        if (ops->count_cached(ops->ctx, f->fd, start, *out_got, &after) != 0)
            return ERR_NOT_FROM_DISK;
        if (after > 0)
            return 0;
    }
    return ERR_NOT_FROM_DISK;
}

static int fill_window(struct disk_file *f, size_t size, uint64_t start, size_t *out_got)
{
    *out_got = 0;
    if (!f->direct)
        return read_evicted(f, size, start, out_got);
    return f->ops->pread(f->ops->ctx, f->fd, f->window, size, start, out_got);
}

int disk_file_read(struct disk_file *f, void *data, size_t size, uint64_t offset)
{
    uint8_t *to = data;
    while (size > 0) {
        size_t skip = (size_t)(offset % f->unit), got = 0;
        size_t want = size < DISK_READ_SIZE - skip ? skip + size : DISK_READ_SIZE;
        int err =
            fill_window(f, (want + f->unit - 1) / f->unit * f->unit, offset - skip, &got);
        if (err != 0)
            return err;
        if (got < want)
            return ERR_DAMAGED;
        memcpy(to, f->window + skip, want - skip);
        to += want - skip;
        offset += want - skip;
        size -= want - skip;
    }
    return 0;
}
