/* A folder of configuration files for one test binary: cmocka's group state. */
#ifndef MAILCASK_TESTS_SUPPORT_CONFIG_FILES_H
#define MAILCASK_TESTS_SUPPORT_CONFIG_FILES_H

#include "daemon/config.h"

#include <stddef.h>
#include <sys/types.h>

#define FILES_PATH_SIZE 512

struct config_files;

/* Setup and teardown of a group; *state is then a struct config_files. */
int files_setup(void **state);
int files_teardown(void **state);

/* The full path of a file in the folder. */
void files_path(const struct config_files *f, const char *name, char out[FILES_PATH_SIZE]);

void files_write_bytes(const struct config_files *f, const char *name, mode_t mode,
                       const char *data, size_t size);
void files_write(const struct config_files *f, const char *name, mode_t mode,
                 const char *text);
void files_forget(const struct config_files *f, const char *name);

/* Load a configuration, which must succeed: a file of the folder; this text as c.ini, mode
 * 0600. */
struct config *files_load(const struct config_files *f, const char *name);
struct config *files_load_text(const struct config_files *f, const char *text);

/* It must fail, with exactly this message; the folder is left out of it wherever it stands.
 */
void files_refused(const struct config_files *f, const char *name, int expected,
                   const char *message);
void files_refused_text(const struct config_files *f, const char *text,
                        const char *message);

/* path, which must be in the folder, from there on. */
const char *files_inside(const struct config_files *f, const char *path);

/* Leave the folder out of a text, wherever it stands. */
void files_shorten(const struct config_files *f, char *text);

#endif
