/* Reads passwords in threads of its own, because a file may be slow and a command may take
 * SECRET_COMMAND_TIMEOUT_MS. Files and commands do not wait for each other; of each a
 * limited number is read at once, the others queue. */
#ifndef MAILCASK_DAEMON_SECRET_READERS_H
#define MAILCASK_DAEMON_SECRET_READERS_H

#include "daemon/config.h"
#include "daemon/secret.h"

#include <stdbool.h>

#define SECRET_READERS_FILES 2 /* threads at most */
#define SECRET_READERS_COMMANDS 16

struct secret_readers;

/* Called once for each secret_readers_ask(), from a thread of the readers, or from within
 * it where the password stands in the configuration; must not block.
 * secret is the callee's from here on, to be given to secret_free(); empty if it could not
 * be read: then error says why, borrowed. err: secret_read()'s. */
typedef void secret_readers_fn(void *arg, struct secret *secret, int err,
                               const struct secret_error *error);

/* Threads are made when they are first needed. 0 or -ENOMEM. */
int secret_readers_create(struct secret_readers **out);

/* The account is not needed after return. 0; -ENOMEM, -EAGAIN (no thread can be made):
 * then `done` is not called. */
int secret_readers_ask(struct secret_readers *r, const struct config_account *account,
                       secret_readers_fn *done, void *arg);

/* Drops what is queued, without a call of `done`, and waits up to patience_ms for what is
 * being read. True: all is freed. False: a command still runs; `done` may be called at any
 * time until the process ends, which does not wait for it. */
bool secret_readers_destroy(struct secret_readers *r, unsigned patience_ms);

#endif
