#include "archive/error.h"
#include "tools/folders.h"
#include "tools/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEMP_NAME ".mailcask.partial"

struct target {
    int folder_fd; /* locked */
    struct new_files files;
};

static void eml_name(const struct target_message *m, char out[TARGET_NAME_MAX])
{
    (void)snprintf(out, TARGET_NAME_MAX, "%" PRIu64 ".eml", m->n);
}

static int eml_open(const char *path, struct target **out)
{
    struct target *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    int rc = folder_open(AT_FDCWD, path, &t->folder_fd);
    if (rc != 0) {
        free(t);
        return rc;
    }
    rc = folder_lock(t->folder_fd);
    if (rc != 0) {
        (void)close(t->folder_fd);
        free(t);
        return rc;
    }
    new_files_open(&t->files, t->folder_fd, TEMP_NAME, t->folder_fd);
    *out = t;
    return 0;
}

static int eml_begin(struct target *t, unsigned lane, const struct target_message *m)
{
    char name[TARGET_NAME_MAX];
    eml_name(m, name);
    return new_file_begin(&t->files.lanes[lane], name, m);
}

static int eml_write(struct target *t, unsigned lane, const uint8_t *data, size_t size)
{
    return new_file_write(&t->files.lanes[lane], data, size);
}

static int eml_commit(struct target *t, unsigned lane)
{
    return new_file_commit(&t->files.lanes[lane]);
}

static int eml_cancel(struct target *t, unsigned lane)
{
    return new_file_cancel(&t->files.lanes[lane]);
}

static int eml_finish(struct target *t)
{
    (void)t;
    return 0;
}

static void eml_close(struct target *t)
{
    new_files_close(&t->files);
    (void)close(t->folder_fd);
    free(t);
}

const struct target_kind target_eml = {
    .name = "eml",
    .branch = "",
    .whole = false,
    .open = eml_open,
    .begin = eml_begin,
    .write = eml_write,
    .commit = eml_commit,
    .cancel = eml_cancel,
    .finish = eml_finish,
    .close = eml_close,
};
