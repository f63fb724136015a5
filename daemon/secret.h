/* An account's password, for as long as a login needs it. These functions block: call them
 * off the loops. */
#ifndef MAILCASK_DAEMON_SECRET_H
#define MAILCASK_DAEMON_SECRET_H

#include "daemon/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECRET_SIZE_MAX 4096            /* bytes of a password; longer is refused */
#define SECRET_COMMAND_TIMEOUT_MS 30000 /* of a password-command */
#define SECRET_ERROR_SIZE 1024

struct secret {
    char *text; /* a NUL behind it; no CR, LF or NUL in it (Q54); blanks count */
    size_t size;
    uint64_t stamp; /* of the file it is from, see secret_changed(); 0: of no file */
};

struct secret_error {
    char text[SECRET_ERROR_SIZE]; /* one line; names the file or command's fault, never the
                                     secret */
};

/* Read the account's password: the first line of its file, which must be open to its owner
 * only (a credential: not to everybody; systemd gives it to a user by its ACL, which shows
 * as the group's mode), the text in the configuration, or the first line that its command
 * prints. 0 with *out to be given to secret_free(); else -errno or ERR_SYNTAX (there, but
 * no password), ERR_OWNER (open to others), ERR_TOO_LARGE, -ETIMEDOUT, ERR_FAILED (the
 * command), and *error. */
int secret_read(const struct config_account *account, struct secret *out,
                struct secret_error *error);

/* Wipe and free; the struct is empty afterwards. Harmless on an empty one. */
void secret_free(struct secret *secret);

/* What secret_read() would say of a file; 0 for a command or a text, and for a credential
 * where there are none, because they are given to the service only. */
int secret_check(const struct config_account *account, struct secret_error *error);

/* Whether the account's file has been written or replaced since a secret with this stamp
 * was read from it. Not while there is none. A look at the file's state only. */
bool secret_changed(const struct config_account *account, uint64_t stamp);

/* The first line of what a shell prints that runs this command; the whole process group is
 * killed after timeout_ms. Its standard input is empty, its standard error is ours. The
 * command may hold a secret: it is not among the arguments, which every user can list. */
int secret_command(const char *command, unsigned timeout_ms, struct secret *out,
                   struct secret_error *error);

#endif
