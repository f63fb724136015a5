#include "archive/removal.h"

#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int lock_segments(const char *archive, int how, int *out_fd)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/segments", archive);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc;
    do
        rc = flock(fd, how);
    while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        int err = errno == EWOULDBLOCK ? ERR_LOCKED : -errno;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

int removal_hold(const char *archive, int *out_fd)
{
    return lock_segments(archive, LOCK_SH, out_fd);
}

int removal_begin(const char *archive, int *out_fd)
{
    return lock_segments(archive, LOCK_EX | LOCK_NB, out_fd);
}

void removal_release(int fd)
{
    if (fd >= 0)
        close(fd);
}
