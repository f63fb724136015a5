/* A configuration file as text: whole, UTF-8, without a byte order mark, without NUL. */
#ifndef MAILCASK_DAEMON_CONFIG_TEXT_H
#define MAILCASK_DAEMON_CONFIG_TEXT_H

#include "daemon/arena.h"
#include "daemon/config_error.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_FILE_MAX_MIB 256 /* larger is reported */

struct config_text {
    char *data; /* in the arena, to be cut up in place; a NUL behind it */
    size_t size;
    bool open_to_others; /* the file's mode has group or other bits */
};

/* A negated errno or ERR_TOO_LARGE if the file cannot be read (*error untouched: the caller
 * knows better who named it), ERR_SYNTAX with *error for what is in it. */
int config_text_load(const char *path, struct arena *arena, struct config_text *out,
                     struct config_error *error);

/* Such an errno or ERR_TOO_LARGE in words. */
const char *config_text_problem(int err);

#endif
