#include "tests/pop3d/mailbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHAINS 4096
#define PASSWORD_SUFFIX ".password"
#define NS_A_SECOND 1000000000

struct mailboxes {
    const char *dir;
    const char *password;
    enum line_ends line_ends;
    struct mailbox *chains[CHAINS];
};

struct mailboxes *mailboxes_new(const char *dir, const char *password,
                                enum line_ends line_ends)
{
    struct mailboxes *mailboxes = memory_new(sizeof *mailboxes);
    mailboxes->dir = dir;
    mailboxes->password = password;
    mailboxes->line_ends = line_ends;
    return mailboxes;
}

void mailboxes_free(struct mailboxes *mailboxes)
{
    for (size_t i = 0; i < CHAINS; i++) {
        struct mailbox *next;
        for (struct mailbox *mailbox = mailboxes->chains[i]; mailbox != NULL;
             mailbox = next) {
            next = mailbox->next;
            listing_release(mailbox->listing);
            free(mailbox->user);
            free(mailbox);
        }
    }
    free(mailboxes);
}

/* FNV-1a: user names are few and ours. */
static size_t chain_of(const char *user)
{
    uint32_t hash = 2166136261u;
    for (; *user != '\0'; user++)
        hash = (hash ^ (unsigned char)*user) * 16777619u;
    return hash % CHAINS;
}

static bool is_user_name(const char *user)
{
    size_t size = strlen(user), suffix = strlen(PASSWORD_SUFFIX);
    if (size == 0 || user[0] == '.' || strchr(user, '/') != NULL)
        return false;
    return size < suffix || strcmp(user + size - suffix, PASSWORD_SUFFIX) != 0;
}

static int path_of(const struct mailboxes *mailboxes, const char *user, const char *rest,
                   char out_path[PATH_MAX])
{
    int size = snprintf(out_path, PATH_MAX, "%s/%s%s", mailboxes->dir, user, rest);
    return size >= 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

struct mailbox *mailboxes_find(struct mailboxes *mailboxes, const char *user)
{
    char path[PATH_MAX];
    struct stat status;

    if (!is_user_name(user) || path_of(mailboxes, user, "", path) != 0)
        return NULL;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return NULL;
    struct mailbox **chain = &mailboxes->chains[chain_of(user)];
    for (struct mailbox *mailbox = *chain; mailbox != NULL; mailbox = mailbox->next)
        if (strcmp(mailbox->user, user) == 0)
            return mailbox;
    struct mailbox *mailbox = memory_new(sizeof *mailbox);
    mailbox->user = memory_copy_string(user);
    mailbox->next = *chain;
    *chain = mailbox;
    return mailbox;
}

bool mailbox_password_is(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                         const char *password)
{
    char path[PATH_MAX], line[1024];
    FILE *file = NULL;

    if (path_of(mailboxes, mailbox->user, PASSWORD_SUFFIX, path) == 0)
        file = fopen(path, "re");
    if (file == NULL)
        return strcmp(mailboxes->password, password) == 0;
    bool right = false;
    if (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        right = strcmp(line, password) == 0;
    }
    fclose(file);
    return right;
}

/* Names one after the other, each with its NUL. */
static int read_names(DIR *folder, struct buffer *names, size_t *out_count)
{
    *out_count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            return -errno;
        if (entry->d_name[0] == '.')
            continue;
        if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN)
            continue;
        buffer_add(names, entry->d_name, strlen(entry->d_name) + 1);
        ++*out_count;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct message *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static struct listing *listing_new(struct buffer *names, size_t count)
{
    struct listing *listing = memory_new(sizeof *listing);
    listing->references = 1;
    listing->count = count;
    listing->messages = memory_new(count * sizeof *listing->messages);
    listing->names = names->data;
    const char *name = names->data;
    for (size_t i = 0; i < count; i++) {
        listing->messages[i].name = name;
        name += strlen(name) + 1;
    }
    *names = (struct buffer){0};
    qsort(listing->messages, count, sizeof *listing->messages, by_name);
    return listing;
}

/* Octets cost a read of the whole file, so they are taken from the last listing if the file
 * is still the one it was. */
static int measure(const struct mailboxes *mailboxes, int folder,
                   const struct listing *before, struct message *message)
{
    struct stat status;
    if (fstatat(folder, message->name, &status, 0) != 0)
        return -errno;
    message->file_size = (uint64_t)status.st_size;
    message->changed_ns =
        status.st_mtim.tv_sec * (int64_t)NS_A_SECOND + status.st_mtim.tv_nsec;
    const struct message *known = NULL;
    if (before != NULL)
        known = bsearch(message, before->messages, before->count, sizeof *message, by_name);
    if (known != NULL && known->file_size == message->file_size &&
        known->changed_ns == message->changed_ns) {
        message->octets = known->octets;
        return 0;
    }
    int fd = openat(folder, message->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = body_octets(fd, mailboxes->line_ends, &message->octets);
    close(fd);
    return err;
}

/* A file that vanished since readdir() is left out. */
static void measure_all(const struct mailboxes *mailboxes, int folder,
                        const struct listing *before, struct listing *listing)
{
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++)
        if (measure(mailboxes, folder, before, &listing->messages[i]) == 0)
            listing->messages[kept++] = listing->messages[i];
    listing->count = kept;
}

int mailbox_list(const struct mailboxes *mailboxes, struct mailbox *mailbox,
                 struct listing **out_listing)
{
    char path[PATH_MAX];
    struct buffer names = {0};
    size_t count;

    int err = path_of(mailboxes, mailbox->user, "", path);
    if (err != 0)
        return err;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -errno;
    err = read_names(folder, &names, &count);
    if (err == 0) {
        struct listing *listing = listing_new(&names, count);
        measure_all(mailboxes, dirfd(folder), mailbox->listing, listing);
        listing_release(mailbox->listing);
        mailbox->listing = listing;
        listing->references++;
        *out_listing = listing;
    }
    buffer_free(&names);
    closedir(folder);
    return err;
}

void listing_release(struct listing *listing)
{
    if (listing == NULL || --listing->references > 0)
        return;
    free(listing->messages);
    free(listing->names);
    free(listing);
}

static int message_path(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                        const char *name, char out_path[PATH_MAX])
{
    char rest[NAME_MAX + 2];
    snprintf(rest, sizeof rest, "/%s", name);
    return path_of(mailboxes, mailbox->user, rest, out_path);
}

int mailbox_open_message(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                         const char *name)
{
    char path[PATH_MAX];
    int err = message_path(mailboxes, mailbox, name, path);
    if (err != 0)
        return err;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int mailbox_delete_message(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                           const char *name)
{
    char path[PATH_MAX];
    int err = message_path(mailboxes, mailbox, name, path);
    if (err != 0)
        return err;
    return unlink(path) == 0 ? 0 : -errno;
}
