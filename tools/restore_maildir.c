#include "archive/error.h"
#include "tools/folders.h"
#include "tools/maildir_names.h"
#include "tools/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define TEMP_NAME "mailcask.partial"

struct target {
    int folder_fd; /* locked */
    int cur_fd, new_fd, tmp_fd;
    struct maildir_flagged flagged;
    struct new_files files;
};

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static void maildir_close(struct target *t)
{
    new_files_close(&t->files);
    maildir_flagged_free(&t->flagged);
    close_fd(t->tmp_fd);
    close_fd(t->new_fd);
    close_fd(t->cur_fd);
    close_fd(t->folder_fd);
    free(t);
}

static int maildir_open(const char *path, struct target **out)
{
    struct target *t = malloc(sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    *t = (struct target){.folder_fd = -1, .cur_fd = -1, .new_fd = -1, .tmp_fd = -1};
    int rc = folder_open(AT_FDCWD, path, &t->folder_fd);
    if (rc == 0)
        rc = folder_lock(t->folder_fd);
    if (rc == 0)
        rc = folder_open(t->folder_fd, "tmp", &t->tmp_fd);
    if (rc == 0)
        rc = folder_open(t->folder_fd, "new", &t->new_fd);
    if (rc == 0)
        rc = folder_open(t->folder_fd, "cur", &t->cur_fd);
    if (rc == 0)
        rc = maildir_flagged_read(t->cur_fd, &t->flagged);
    if (rc != 0) {
        maildir_close(t);
        return rc;
    }
    new_files_open(&t->files, t->tmp_fd, TEMP_NAME, t->cur_fd);
    *out = t;
    return 0;
}

static int maildir_begin(struct target *t, unsigned lane, const struct target_message *m)
{
    char name[TARGET_NAME_MAX];
    maildir_name(m, name);
    const char *flagged = maildir_flagged_find(&t->flagged, name);
    if (flagged != NULL && new_file_look(t->cur_fd, flagged, m) == TARGET_PRESENT)
        return TARGET_PRESENT;
    return new_file_begin(&t->files.lanes[lane], name, m);
}

static int maildir_write(struct target *t, unsigned lane, const uint8_t *data, size_t size)
{
    return new_file_write(&t->files.lanes[lane], data, size);
}

static int maildir_commit(struct target *t, unsigned lane)
{
    return new_file_commit(&t->files.lanes[lane]);
}

static int maildir_cancel(struct target *t, unsigned lane)
{
    return new_file_cancel(&t->files.lanes[lane]);
}

static int maildir_finish(struct target *t)
{
    (void)t;
    return 0;
}

const struct target_kind target_maildir = {
    .name = "maildir",
    .branch = "",
    .whole = false,
    .open = maildir_open,
    .begin = maildir_begin,
    .write = maildir_write,
    .commit = maildir_commit,
    .cancel = maildir_cancel,
    .finish = maildir_finish,
    .close = maildir_close,
};
