/* An account's password, for as long as a login needs it. These functions block: call them
 * off the loops. */
#ifndef MAILCASK_DAEMON_SECRET_H
#define MAILCASK_DAEMON_SECRET_H

#include "daemon/config.h"

#include <stddef.h>

#define SECRET_SIZE_MAX 4096            /* bytes of a password; longer is refused */
#define SECRET_COMMAND_TIMEOUT_MS 30000 /* of a password-command */
#define SECRET_ERROR_SIZE 1024

struct secret {
    char *text; /* a NUL behind it; no CR, LF or NUL in it (Q54); blanks count */
    size_t size;
};

struct secret_error {
    char text[SECRET_ERROR_SIZE]; /* one line; names the file or command's fault, never the
                                     secret */
};

/* Read the account's password: the first line of its file, which must be open to its owner
 * only, the text in the configuration, or the first line that its command prints. 0 with
 * *out to be given to secret_free(); else -errno or ERR_SYNTAX (there, but no password),
 * ERR_OWNER (open to others), ERR_TOO_LARGE, -ETIMEDOUT, ERR_FAILED (the command), and
 * *error. */
int secret_read(const struct config_account *account, struct secret *out,
                struct secret_error *error);

/* Wipe and free; the struct is empty afterwards. Harmless on an empty one. */
void secret_free(struct secret *secret);

/* What secret_read() would say of a password-file. */
int secret_check_file(const char *path, struct secret_error *error);

/* The first line of what `/bin/sh -c command` prints; the whole process group is killed
 * after timeout_ms. Its standard input is empty, its standard error is ours. */
int secret_command(const char *command, unsigned timeout_ms, struct secret *out,
                   struct secret_error *error);

#endif
