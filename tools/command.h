/* A subcommand of mailcask: what its help says and the function that runs it. */
#ifndef MAILCASK_TOOLS_COMMAND_H
#define MAILCASK_TOOLS_COMMAND_H

#include "tools/exits.h"
#include "tools/options.h"
#include "tools/output.h"

#include <stddef.h>

struct command {
    const char *name;
    const char *summary;  /* one line of `mailcask --help` */
    const char *usage;    /* behind "mailcask NAME " */
    const char *about;    /* what it does, paragraphs of its --help */
    const char *statuses; /* its exit statuses, a line each */
    const char *example;  /* lines */
    unsigned options;     /* OPTION_BIT of each it takes besides OPTIONS_GLOBAL */
    size_t words;         /* how many words it needs behind its name, exactly */
    /* Returns an exit status. The output is flushed, and its errors told, by the caller. */
    int (*run)(const struct options *o, struct output *out);
};

extern const struct command command_init;
extern const struct command command_accounts;
extern const struct command command_list;
extern const struct command command_show;
extern const struct command command_restore;
extern const struct command command_verify;
extern const struct command command_reindex;
extern const struct command command_repack;
extern const struct command command_backup;
extern const struct command command_ledger;
extern const struct command command_deletions;
extern const struct command command_quarantine;
extern const struct command command_stats;
extern const struct command command_status;
extern const struct command command_poll;
extern const struct command command_pause;
extern const struct command command_resume;
extern const struct command command_probe;

#endif
