#include "tests/support/faulty_files.h"

#include <fcntl.h>
#include <unistd.h>

/* What to do with this call: true if it must not be made, with its result in *out_err. */
static bool strikes(struct faults *f, int *out_err)
{
    bool now = ++f->calls == f->at;
    *out_err = 0;
    if (!now)
        return false;
    if (f->kind == FAULT_KILL || f->kind == FAULT_KILL_MIDWAY)
        _exit(0);
    *out_err = f->error;
    return f->kind == FAULT_ERROR;
}

static int done(struct faults *f, int err)
{
    if (f->calls == f->at && f->kind == FAULT_KILL_AFTER)
        _exit(0);
    return err;
}

static int faulty_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    struct faults *f = ctx;
    int err = 0;
    if ((flags & O_CREAT) == 0)
        return system_files.open(NULL, path, flags, mode, out_fd);
    return strikes(f, &err) ? err
                            : done(f, system_files.open(NULL, path, flags, mode, out_fd));
}

static int faulty_pwrite(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                         size_t *out_written)
{
    struct faults *f = ctx;
    int err = 0;
    bool now = f->calls + 1 == f->at;
    if (now && f->kind == FAULT_KILL_MIDWAY)
        system_files.pwrite(NULL, fd, data, size / 2, offset, out_written);
    if (strikes(f, &err))
        return err;
    if (now && f->kind == FAULT_SHORT && size > 1)
        size /= 2;
    return done(f, system_files.pwrite(NULL, fd, data, size, offset, out_written));
}

static int faulty_fdatasync(void *ctx, int fd)
{
    struct faults *f = ctx;
    int err = 0;
    f->syncs++;
    return strikes(f, &err) ? err : done(f, system_files.fdatasync(NULL, fd));
}

static int faulty_fsync(void *ctx, int fd)
{
    int err = 0;
    return strikes(ctx, &err) ? err : done(ctx, system_files.fsync(NULL, fd));
}

static int faulty_ftruncate(void *ctx, int fd, uint64_t size)
{
    int err = 0;
    return strikes(ctx, &err) ? err : done(ctx, system_files.ftruncate(NULL, fd, size));
}

static int faulty_rename(void *ctx, const char *from, const char *to)
{
    int err = 0;
    return strikes(ctx, &err) ? err : done(ctx, system_files.rename(NULL, from, to));
}

static int faulty_unlink(void *ctx, const char *path)
{
    int err = 0;
    return strikes(ctx, &err) ? err : done(ctx, system_files.unlink(NULL, path));
}

void faults_init(struct faults *f, enum fault_kind kind, unsigned long at, int error)
{
    *f = (struct faults){.kind = kind, .at = at, .error = error, .ops = system_files};
    f->ops.ctx = f;
    f->ops.open = faulty_open;
    f->ops.pwrite = faulty_pwrite;
    f->ops.fdatasync = faulty_fdatasync;
    f->ops.fsync = faulty_fsync;
    f->ops.ftruncate = faulty_ftruncate;
    f->ops.rename = faulty_rename;
    f->ops.unlink = faulty_unlink;
}
