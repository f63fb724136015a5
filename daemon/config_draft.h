/* The sections of a configuration as text: every key known, in its place, there once, and
 * its value well-formed; nothing yet brought together. */
#ifndef MAILCASK_DAEMON_CONFIG_DRAFT_H
#define MAILCASK_DAEMON_CONFIG_DRAFT_H

#include "daemon/arena.h"
#include "daemon/config_error.h"
#include "daemon/config_keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One section, or one row of a table. */
struct config_draft {
    const char *name; /* NULL: [archive] */
    const char *file;
    unsigned line;
    uint32_t order;              /* of reading */
    const char *text[KEY_COUNT]; /* NULL: not there, or empty */
    unsigned lines[KEY_COUNT];   /* 0: not there */
};

struct config_drafts {
    struct config_draft *items;
    size_t count, capacity;
};

struct config_reader {
    struct arena *arena; /* holds all text */
    struct config_error *error;
    const char *path;            /* of the configuration file */
    const char *folder;          /* its folder with a '/' behind, or "" */
    struct config_draft archive; /* line 0: no such section */
    struct config_drafts servers, accounts;
};

/* All return 0, ERR_SYNTAX, -ENOMEM or the reason why the file cannot be read;
 * reader->error is then set. reader: arena, error, path and folder set, the rest zero;
 * config_reader_free() it. */

/* Read the configuration file; only: ignore all but this key of [archive]. NULL: read all.
 */
int config_reader_file(struct config_reader *reader, const struct config_key *only);

/* Read the accounts-file of a server, if it names one. */
int config_reader_table(struct config_reader *reader, const struct config_draft *server);

/* path, in the reader's folder if it is relative; NULL without memory. */
char *config_reader_path(struct config_reader *reader, const char *path);

/* Free the drafts, not the arena. */
void config_reader_free(struct config_reader *reader);

/* -ENOMEM, with its sentence in reader->error. */
int config_reader_no_memory(struct config_reader *reader);

/* Sort by name. ERR_SYNTAX if a name is there twice; what: "server", "account". */
int config_drafts_sort(struct config_drafts *drafts, const char *what,
                       struct config_error *error);

/* In sorted drafts; NULL if there is none. */
const struct config_draft *config_drafts_find(const struct config_drafts *drafts,
                                              const char *name);

#endif
