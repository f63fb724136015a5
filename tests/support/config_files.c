#include "tests/support/config_files.h"

#include "archive/error.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct config_files {
    char folder[sizeof("/tmp/mailcask-config-XXXXXX")];
};

int files_setup(void **state)
{
    struct config_files *f = malloc(sizeof(*f));
    if (f == NULL)
        return -1;
    *f = (struct config_files){"/tmp/mailcask-config-XXXXXX"};
    *state = f;
    return mkdtemp(f->folder) == NULL ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int files_teardown(void **state)
{
    struct config_files *f = *state;
    int rc = nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return rc;
}

void files_path(const struct config_files *f, const char *name, char out[FILES_PATH_SIZE])
{
    int n = snprintf(out, FILES_PATH_SIZE, "%s/%s", f->folder, name);
    assert_in_range(n, 1, FILES_PATH_SIZE - 1);
}

void files_write_bytes(const struct config_files *f, const char *name, mode_t mode,
                       const char *data, size_t size)
{
    char path[FILES_PATH_SIZE];
    files_path(f, name, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

void files_write(const struct config_files *f, const char *name, mode_t mode,
                 const char *text)
{
    files_write_bytes(f, name, mode, text, strlen(text));
}

void files_forget(const struct config_files *f, const char *name)
{
    char path[FILES_PATH_SIZE];
    files_path(f, name, path);
    unlink(path);
}

struct config *files_load(const struct config_files *f, const char *name)
{
    char path[FILES_PATH_SIZE];
    struct config *config = NULL;
    struct config_error error = {"none"};
    files_path(f, name, path);
    if (config_load(path, &config, &error) != 0)
        fail_msg("%s", error.text);
    return config;
}

struct config *files_load_text(const struct config_files *f, const char *text)
{
    files_write(f, "c.ini", 0600, text);
    return files_load(f, "c.ini");
}

void files_shorten(const struct config_files *f, char *text)
{
    size_t size = strlen(f->folder) + 1;
    char *at;
    while ((at = strstr(text, f->folder)) != NULL)
        memmove(at, at + size, strlen(at + size) + 1);
}

void files_refused(const struct config_files *f, const char *name, int expected,
                   const char *message)
{
    char path[FILES_PATH_SIZE];
    struct config *config = NULL;
    struct config_error error = {"none"};
    files_path(f, name, path);
    int err = config_load(path, &config, &error);
    config_free(config);
    files_shorten(f, error.text);
    assert_string_equal(error.text, message);
    assert_int_equal(err, expected);
}

void files_refused_text(const struct config_files *f, const char *text, const char *message)
{
    files_write(f, "c.ini", 0600, text);
    files_refused(f, "c.ini", ERR_SYNTAX, message);
}

const char *files_inside(const struct config_files *f, const char *path)
{
    assert_memory_equal(path, f->folder, strlen(f->folder));
    return path + strlen(f->folder) + 1;
}
