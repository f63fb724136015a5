#include "archive/salvage.h"

#include <errno.h>
#include <string.h>

/* What a disk fails to read is a sector at least, and its kernel a page. */
#define UNIT 4096u

static int salvage_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    const struct file_ops *base = ((struct salvage *)ctx)->base;
    return base->open(base->ctx, path, flags, mode, out_fd);
}

static int salvage_close(void *ctx, int fd)
{
    const struct file_ops *base = ((struct salvage *)ctx)->base;
    return base->close(base->ctx, fd);
}

static int salvage_fstat(void *ctx, int fd, struct stat *out_stat)
{
    const struct file_ops *base = ((struct salvage *)ctx)->base;
    return base->fstat(base->ctx, fd, out_stat);
}

/* Up to the next multiple of UNIT; *out_read: what is there of it. */
static int read_unit(struct salvage *s, int fd, uint8_t *data, size_t size, uint64_t offset,
                     size_t *out_read)
{
    const struct file_ops *base = s->base;
    struct stat st;
    int err = base->pread(base->ctx, fd, data, size, offset, out_read);
    if (err != -EIO)
        return err;
    err = base->fstat(base->ctx, fd, &st);
    if (err != 0)
        return err;
    uint64_t left = (uint64_t)st.st_size > offset ? (uint64_t)st.st_size - offset : 0;
    *out_read = left < size ? (size_t)left : size;
    memset(data, 0, *out_read);
    if (!s->failed)
        s->failed_at = offset;
    s->failed = true;
    return 0;
}

static int salvage_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                         size_t *out_read)
{
    struct salvage *s = ctx;
    uint8_t *to = data;
    int err = s->base->pread(s->base->ctx, fd, data, size, offset, out_read);
    if (err != -EIO)
        return err;
    *out_read = 0;
    while (size > 0) {
        size_t step = UNIT - (size_t)(offset % UNIT), got = 0;
        step = step < size ? step : size;
        err = read_unit(s, fd, to + *out_read, step, offset, &got);
        if (err != 0)
            return err;
        *out_read += got;
        if (got < step)
            break;
        offset += step;
        size -= step;
    }
    return 0;
}

void salvage_init(struct salvage *s, const struct file_ops *base)
{
    *s = (struct salvage){.ops = {.ctx = s,
                                  .open = salvage_open,
                                  .close = salvage_close,
                                  .pread = salvage_pread,
                                  .fstat = salvage_fstat},
                          .base = base};
}
