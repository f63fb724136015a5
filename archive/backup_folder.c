#include "archive/backup_internal.h"
#include "archive/error.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTIAL_SUFFIX ".seg.partial"

static int join(const char *path, const char *name, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/%s", path, name);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Where path is, or would be made. */
static int resolve(const char *path, char out[PATH_MAX])
{
    char parent[PATH_MAX];
    if (realpath(path, out) != NULL)
        return 0;
    if (errno != ENOENT)
        return -errno;
    int n = snprintf(parent, sizeof(parent), "%s", path);
    if (n < 0 || (size_t)n >= sizeof(parent))
        return -ENAMETOOLONG;
    for (size_t size = (size_t)n; size > 1 && parent[size - 1] == '/'; size--)
        parent[size - 1] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        (void)snprintf(parent, sizeof(parent), ".");
    else
        slash[slash == parent ? 1 : 0] = '\0';
    return realpath(parent, out) != NULL ? 0 : -errno;
}

/* Is path the archive, or in it? */
static int refuse_inside(struct backup *b, const char *path)
{
    char archive[PATH_MAX], target[PATH_MAX];
    if (realpath(b->archive->path, archive) == NULL)
        return -errno;
    int err = resolve(path, target);
    size_t size = strlen(archive);
    if (err == 0 && strncmp(archive, target, size) == 0 &&
        (target[size] == '/' || target[size] == '\0'))
        return backup_refuse(b, "it is in the archive itself");
    return err;
}

/* What a first backup that was interrupted leaves, and what a new file system has. */
static bool is_expected(const char *name)
{
    static const char *const names[] = {".",        "..",   "CASK.new",
                                        "segments", "lock", "lost+found"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* A folder without CASK: nothing of somebody else's may be in it. */
static int refuse_foreign(struct backup *b)
{
    DIR *folder = opendir(b->to);
    if (folder == NULL)
        return -errno;
    const struct dirent *entry;
    bool foreign = false;
    while (!foreign && (entry = readdir(folder)) != NULL)
        foreign = !is_expected(entry->d_name);
    closedir(folder);
    return foreign ? backup_refuse(b, "it is neither empty nor a backup") : 0;
}

/* Whose folder is it? */
static int look_at(struct backup *b)
{
    struct cask cask;
    int err = cask_load(b->archive->ops, b->to, &cask);
    if (err == ERR_FORMAT) {
        b->begun_anew = true;
        return refuse_foreign(b);
    }
    if (err == ERR_DAMAGED) /* the segments will tell, and CASK is written anew */
        b->begun_anew = true;
    else if (err == 0 && memcmp(cask.uuid, b->cask.uuid, UUID_SIZE) != 0)
        return backup_refuse(b, "it holds another archive, or a backup of one");
    return err == ERR_DAMAGED ? 0 : err;
}

/* name: in `to`, or "" for itself. */
static int make_folder(struct backup *b, const char *name)
{
    const struct file_ops *ops = b->archive->ops;
    char path[PATH_MAX], parent[PATH_MAX];
    int err = join(b->to, name, path);
    if (err == 0)
        err = join(path, "..", parent);
    if (err != 0)
        return err;
    err = ops->mkdir(ops->ctx, path, 0700);
    /* One that an interrupted run made may not be durable yet. */
    return err != 0 && err != -EEXIST ? err : file_sync_folder(ops, parent);
}

static bool is_partial(const char *name)
{
    size_t size = strlen(name), suffix = strlen(PARTIAL_SUFFIX);
    return size > suffix && strcmp(name + size - suffix, PARTIAL_SUFFIX) == 0;
}

static int clear_partials(struct backup *b)
{
    char partial[PATH_MAX], segments[PATH_MAX];
    int err = join(b->to, "segments", segments);
    if (err != 0)
        return err;
    DIR *entries = opendir(segments);
    if (entries == NULL)
        return -errno;
    const struct dirent *entry;
    while (err == 0 && (entry = readdir(entries)) != NULL) {
        if (!is_partial(entry->d_name))
            continue;
        err = join(segments, entry->d_name, partial);
        if (err == 0)
            err = b->archive->ops->unlink(b->archive->ops->ctx, partial);
    }
    closedir(entries);
    return err;
}

int backup_folder_open(struct backup *b)
{
    char segments[PATH_MAX];
    int err = join(b->to, "segments", segments);
    if (err == 0)
        err = refuse_inside(b, b->to);
    if (err == 0)
        err = make_folder(b, "");
    if (err == 0)
        err = look_at(b);
    if (err == 0)
        err = refuse_inside(b, segments); /* a link may lead there */
    if (err == 0)
        err = make_folder(b, "segments");
    if (err == 0)
        err = archive_lock(b->to, &b->lock_fd);
    return err != 0 ? err : clear_partials(b);
}

int backup_folder_sync(struct backup *b)
{
    char path[PATH_MAX];
    int err = join(b->to, "segments", path);
    return err != 0 ? err : file_sync_folder(b->archive->ops, path);
}
