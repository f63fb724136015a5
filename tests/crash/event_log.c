#include "tests/crash/event_log.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void event_log_init(struct event_log *log)
{
    *log = (struct event_log){.last_inode = ROOT_INODE};
}

void event_log_free(struct event_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free(log->events[i].data);
    free(log->events);
    entries_free(&log->live);
    *log = (struct event_log){0};
}

struct event *event_log_add(struct event_log *log, enum event_type type, uint32_t inode)
{
    if (log->count == log->room) {
        log->room = log->room == 0 ? 1024 : 2 * log->room;
        log->events = realloc(log->events, log->room * sizeof(*log->events));
        assert(log->events != NULL);
    }
    struct event *e = &log->events[log->count++];
    *e = (struct event){.type = type, .inode = inode};
    return e;
}

static struct entry entry_of(uint32_t folder, const char *name)
{
    struct entry entry = {.folder = folder};
    assert(strlen(name) < sizeof(entry.name));
    memcpy(entry.name, name, strlen(name) + 1);
    return entry;
}

struct event *event_log_create(struct event_log *log, uint32_t folder, const char *name,
                               bool is_folder)
{
    struct event *e = event_log_add(log, EVENT_CREATE, ++log->last_inode);
    e->from = entry_of(folder, name);
    e->folder = is_folder;
    entries_set(&log->live, folder, name, e->inode);
    return e;
}

struct event *event_log_write(struct event_log *log, uint32_t inode, uint64_t offset,
                              const void *data, size_t size)
{
    struct event *e = event_log_add(log, EVENT_WRITE, inode);
    e->offset = offset;
    e->size = size;
    e->data = malloc(size + 1);
    assert(e->data != NULL);
    memcpy(e->data, data, size);
    return e;
}

struct event *event_log_rename(struct event_log *log, const struct entry *from,
                               const struct entry *to)
{
    uint32_t inode = entries_get(&log->live, from->folder, from->name);
    struct event *e = event_log_add(log, EVENT_RENAME, inode);
    e->from = *from;
    e->to = *to;
    entries_set(&log->live, from->folder, from->name, 0);
    entries_set(&log->live, to->folder, to->name, inode);
    return e;
}

struct event *event_log_remove(struct event_log *log, uint32_t folder, const char *name)
{
    uint32_t inode = entries_get(&log->live, folder, name);
    struct event *e = event_log_add(log, EVENT_REMOVE, inode);
    e->from = entry_of(folder, name);
    entries_set(&log->live, folder, name, 0);
    return e;
}

void event_log_mark(struct event_log *log, const struct mark *mark)
{
    event_log_add(log, EVENT_MARK, 0)->mark = *mark;
}

/* Enough for the depth of an archive's folders. */
#define DEPTH_MAX 16

uint32_t event_log_resolve(const struct event_log *log, const char *path,
                           uint32_t *out_folder, char out_name[ENTRY_NAME_SIZE])
{
    uint32_t above[DEPTH_MAX], inode = ROOT_INODE, folder = 0;
    size_t depth = 0;
    char name[ENTRY_NAME_SIZE] = "";
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        if (length >= sizeof(name) || depth == DEPTH_MAX || inode == 0) {
            inode = folder = 0;
            break;
        }
        memcpy(name, path, length);
        name[length] = '\0';
        path += length + (path[length] == '/');
        if (strcmp(name, "..") == 0) {
            inode = depth > 0 ? above[--depth] : 0;
            folder = 0;
        } else if (length > 0 && strcmp(name, ".") != 0) {
            above[depth++] = folder = inode;
            inode = entries_get(&log->live, folder, name);
        }
    }
    if (out_folder != NULL)
        *out_folder = folder;
    if (out_name != NULL)
        memcpy(out_name, name, sizeof(name));
    return inode;
}

static void import_file(struct event_log *log, uint32_t folder, const char *name,
                        const char *path, const struct stat *st)
{
    uint32_t inode = event_log_create(log, folder, name, false)->inode;
    size_t size = (size_t)st->st_size;
    uint8_t *data = malloc(size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert(data != NULL && fd >= 0 && pread(fd, data, size, 0) == (ssize_t)size);
    close(fd);
    event_log_write(log, inode, 0, data, size);
    free(data);
    event_log_add(log, EVENT_SYNC, inode);
}

static void import_folder(struct event_log *log, uint32_t inode, const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *d;
    assert(dir != NULL);
    while ((d = readdir(dir)) != NULL) {
        char below[PATH_MAX];
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, d->d_name);
        if (stat(below, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            import_folder(log, event_log_create(log, inode, d->d_name, true)->inode, below);
        else
            import_file(log, inode, d->d_name, below, &st);
    }
    closedir(dir);
    event_log_add(log, EVENT_SYNC, inode);
}

void event_log_import(struct event_log *log, const char *folder)
{
    import_folder(log, ROOT_INODE, folder);
    log->base = log->count;
}

void event_text(const struct event *e, char *out, size_t size)
{
    static const char *const names[] = {"create",      "write",  "resize", "sync",
                                        "failed sync", "rename", "remove", "mark"};
    static const char *const marks[] = {"created", "acknowledged", "DELE"};
    const char *name = names[e->type];
    if (e->type == EVENT_MARK)
        snprintf(out, size, "%s %s/%" PRIu64, marks[e->mark.type], e->mark.account,
                 e->mark.n);
    else if (e->type == EVENT_WRITE)
        snprintf(out, size, "%s #%u %zu bytes at %" PRIu64, name, e->inode, e->size,
                 e->offset);
    else if (e->type == EVENT_RESIZE)
        snprintf(out, size, "%s #%u to %" PRIu64, name, e->inode, e->offset);
    else
        snprintf(out, size, "%s #%u %s%s%s", name, e->inode, e->from.name,
                 e->type == EVENT_RENAME ? " to " : "", e->to.name);
}
