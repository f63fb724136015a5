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
    struct new_file file;
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
    t->file.fd = -1;
    t->file.place = (struct new_file_place){
        .temp_fd = t->folder_fd, .temp_name = TEMP_NAME, .final_fd = t->folder_fd};
    *out = t;
    return 0;
}

static int eml_begin(struct target *t, const struct target_message *m)
{
    char name[TARGET_NAME_MAX];
    eml_name(m, name);
    return new_file_begin(&t->file, name, m);
}

static int eml_write(struct target *t, const uint8_t *data, size_t size)
{
    return new_file_write(&t->file, data, size);
}

static int eml_commit(struct target *t)
{
    return new_file_commit(&t->file);
}

static int eml_cancel(struct target *t)
{
    return new_file_cancel(&t->file);
}

static int eml_finish(struct target *t)
{
    (void)t;
    return 0;
}

static void eml_close(struct target *t)
{
    (void)new_file_cancel(&t->file);
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
