#include "tools/new_file.h"

#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0600
#define READ_SIZE (256u << 10)

int fd_write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int hash_file(int fd, uint8_t out[SHA256_SIZE])
{
    uint8_t *piece = malloc(READ_SIZE);
    struct sha256 *hash = sha256_create();
    int rc = piece != NULL && hash != NULL ? 0 : -ENOMEM;
    while (rc == 0) {
        ssize_t n = read(fd, piece, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = n < 0 ? -errno : 0;
            break;
        }
        sha256_add(hash, piece, (size_t)n);
    }
    if (rc == 0)
        sha256_finish(hash, out);
    sha256_destroy(hash);
    free(piece);
    return rc;
}

int new_file_look(int folder_fd, const char *name, const struct target_message *m)
{
    struct stat st;
    uint8_t hash[SHA256_SIZE];
    int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : errno == ELOOP || errno == ENXIO ? ERR_EXISTS : -errno;
    int rc = fstat(fd, &st) == 0 ? 0 : -errno;
    bool equal = false;
    if (rc == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == m->size) {
        rc = hash_file(fd, hash);
        equal = rc == 0 && memcmp(hash, m->sha256, SHA256_SIZE) == 0;
    }
    (void)close(fd);
    if (rc != 0)
        return rc;
    return equal ? TARGET_PRESENT : ERR_EXISTS;
}

void new_files_open(struct new_files *f, int temp_fd, const char *temp, int final_fd)
{
    for (unsigned i = 0; i < TARGET_LANES_MAX; i++) {
        struct new_file *file = &f->lanes[i];
        *file = (struct new_file){.temp_fd = temp_fd, .final_fd = final_fd, .fd = -1};
        if (i == 0)
            (void)snprintf(file->temp_name, sizeof(file->temp_name), "%s", temp);
        else
            (void)snprintf(file->temp_name, sizeof(file->temp_name), "%s.%u", temp, i);
        (void)unlinkat(temp_fd, file->temp_name, 0);
    }
    f->open = true;
}

void new_files_close(struct new_files *f)
{
    for (unsigned i = 0; f->open && i < TARGET_LANES_MAX; i++)
        (void)new_file_cancel(&f->lanes[i]);
    f->open = false;
}

static int open_temp(const struct new_file *f)
{
    return openat(f->temp_fd, f->temp_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                  FILE_MODE);
}

int new_file_begin(struct new_file *f, const char *name, const struct target_message *m)
{
    int rc = new_file_look(f->final_fd, name, m);
    if (rc != 0)
        return rc;
    f->fd = open_temp(f);
    if (f->fd < 0 && errno == EEXIST && unlinkat(f->temp_fd, f->temp_name, 0) == 0)
        f->fd = open_temp(f);
    if (f->fd < 0)
        return -errno;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    f->time_s = m->time_s;
    return 0;
}

int new_file_write(struct new_file *f, const uint8_t *data, size_t size)
{
    return fd_write_all(f->fd, data, size);
}

int new_file_rename(int from_fd, const char *from, int to_fd, const char *to)
{
    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST)
        return ERR_EXISTS;
    /* File systems without RENAME_NOREPLACE (NFS) say EINVAL: a link does not replace
     * either. */
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (linkat(from_fd, from, to_fd, to, 0) != 0)
        return errno == EEXIST ? ERR_EXISTS : -errno;
    return unlinkat(from_fd, from, 0) == 0 ? 0 : -errno;
}

int new_file_commit(struct new_file *f)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)f->time_s}};
    /* A date that the file system cannot hold is not worth a message. */
    (void)futimens(f->fd, times);
    /* Network file systems report a full disk here. */
    int rc = close(f->fd) == 0 ? 0 : -errno;
    f->fd = -1;
    if (rc == 0)
        rc = new_file_rename(f->temp_fd, f->temp_name, f->final_fd, f->name);
    if (rc != 0)
        (void)unlinkat(f->temp_fd, f->temp_name, 0);
    return rc;
}

int new_file_cancel(struct new_file *f)
{
    if (f->fd < 0)
        return 0;
    (void)close(f->fd);
    f->fd = -1;
    return unlinkat(f->temp_fd, f->temp_name, 0) == 0 ? 0 : -errno;
}
