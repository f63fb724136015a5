#include "tools/folders.h"

#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_MODE 0700

static int make_one(const char *path)
{
    struct stat st;
    if (mkdir(path, FOLDER_MODE) == 0)
        return 0;
    int err = errno;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    return -err;
}

/* Each prefix of path that ends before a '/', then, if whole, path itself. */
static int make_prefixes(const char *path, bool whole)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return -ENOMEM;
    int rc = 0;
    for (char *at = copy + 1; rc == 0 && copy[0] != '\0' && *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        rc = make_one(copy);
        *at = '/';
    }
    if (rc == 0 && whole)
        rc = make_one(copy);
    free(copy);
    return rc;
}

int folder_make(const char *path)
{
    return make_prefixes(path, true);
}

int folder_make_parent(const char *path)
{
    return make_prefixes(path, false);
}

int folder_open(int parent_fd, const char *name, int *out_fd)
{
    if (mkdirat(parent_fd, name, FOLDER_MODE) != 0 && errno != EEXIST)
        return -errno;
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *out_fd = fd;
    return 0;
}

/* The real path of what is there of path. */
static bool resolve(const char *path, char out[PATH_MAX])
{
    char *copy = strdup(path);
    bool found = false;
    while (copy != NULL && !found && copy[0] != '\0') {
        found = realpath(copy, out) != NULL;
        char *slash = strrchr(copy, '/');
        *(slash != NULL ? slash : copy) = '\0';
    }
    free(copy);
    return found || realpath(path[0] == '/' ? "/" : ".", out) != NULL;
}

bool folder_holds(const char *folder, const char *path)
{
    char inner[PATH_MAX], outer[PATH_MAX];
    if (realpath(folder, outer) == NULL || !resolve(path, inner))
        return false;
    size_t size = strlen(outer);
    return strncmp(inner, outer, size) == 0 && (inner[size] == '\0' || inner[size] == '/');
}

int folder_lock(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? ERR_LOCKED : 0;
}

int folder_sync(int fd)
{
    return syncfs(fd) == 0 ? 0 : -errno;
}
