#include "tools/maildir_names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_DIGITS 16
#define MARK ".mailcask"
#define FLAGS ":2,S"

void maildir_name(const struct target_message *m, char out[TARGET_NAME_MAX])
{
    char hash[2 * SHA256_SIZE + 1];
    hex_encode(m->sha256, sizeof(m->sha256), hash);
    (void)snprintf(out, TARGET_NAME_MAX, "%010" PRIu64 ".%.*s" MARK FLAGS, m->n,
                   HASH_DIGITS, hash);
}

/* Bytes of a name up to the end of its mark; 0 if it has none. */
static size_t base_size(const char *name)
{
    const char *mark = strstr(name, MARK);
    return mark != NULL ? (size_t)(mark - name) + strlen(MARK) : 0;
}

/* Ours, but not under the name we gave. */
static bool is_flagged(const char *name)
{
    size_t base = base_size(name);
    char next = base > 0 ? name[base] : '.';
    return (next == ':' || next == ',' || next == '\0') && strcmp(name + base, FLAGS) != 0;
}

static int add_name(struct maildir_flagged *f, const char *name)
{
    /* Doubled whenever the count reaches a power of two. */
    if ((f->count & (f->count - 1)) == 0) {
        size_t room = f->count == 0 ? 1 : 2 * f->count;
        char **grown = reallocarray(f->names, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        f->names = grown;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return -ENOMEM;
    f->names[f->count++] = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int maildir_flagged_read(int cur_fd, struct maildir_flagged *out)
{
    *out = (struct maildir_flagged){0};
    int fd = openat(cur_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int err = errno;
        if (fd >= 0)
            (void)close(fd);
        return -err;
    }
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (errno = 0, entry = readdir(dir)) != NULL)
        if (is_flagged(entry->d_name))
            rc = add_name(out, entry->d_name);
    if (rc == 0)
        rc = -errno;
    (void)closedir(dir);
    if (out->count > 1)
        qsort(out->names, out->count, sizeof(*out->names), compare_names);
    return rc;
}

static int compare_base(const void *key, const void *element)
{
    const char *name = key;
    return strncmp(name, *(char *const *)element, base_size(name));
}

const char *maildir_flagged_find(const struct maildir_flagged *f, const char *name)
{
    if (f->count == 0)
        return NULL;
    char **found = bsearch(name, f->names, f->count, sizeof(*f->names), compare_base);
    return found != NULL ? *found : NULL;
}

void maildir_flagged_free(struct maildir_flagged *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->names[i]);
    free(f->names);
    *f = (struct maildir_flagged){0};
}
