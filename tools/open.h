/* Which archive a command is about, opening it, and what to say when that fails. */
#ifndef MAILCASK_TOOLS_OPEN_H
#define MAILCASK_TOOLS_OPEN_H

#include "archive/archive.h"
#include "tools/options.h"

/* --config, else MAILCASK_CONFIG; NULL if neither is set. */
const char *config_file(const struct options *o);

/* The archive's path: --archive, else [archive] path of --config, else of MAILCASK_CONFIG.
 * EXIT_DONE with *out_path to be freed; else what is wrong was said, and an exit status. */
int find_archive(const struct options *o, char **out_path);

/* Find and open. EXIT_DONE with *out to be closed; else it was said why not, and an exit
 * status. */
int open_archive(const struct options *o, const struct archive_options *how,
                 struct archive **out);

/* Say why archive_open() failed with err; the exit status that goes with it. */
int say_open_failed(const struct options *o, const char *path, int err);

/* To read, beside a running service too. */
int open_to_read(const struct options *o, struct archive **out);

/* The account of this name in *out: EXIT_DONE; EXIT_PART when there is none, EXIT_CANNOT,
 * both said. */
int open_account(struct archive *a, const char *name, struct account_info *out);

/* Say that something failed with a code of the error space; the exit status that goes with
 * it. */
int say_failed(const char *what, int err);

/* The words of a command line, quoted for a shell, with `sudo -u user` before them: for
 * someone to copy. config: NULL, or a file to name with --config because sudo drops the
 * environment. To be freed; NULL without memory. */
char *sudo_line(const char *user, char *const *argv, const char *config);

#endif
