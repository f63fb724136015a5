/* A restore under way: the accounts it is about, one after the other, each into its own
 * target. */
#ifndef MAILCASK_TOOLS_RESTORE_H
#define MAILCASK_TOOLS_RESTORE_H

#include "archive/reader.h"
#include "tools/options.h"
#include "tools/period.h"
#include "tools/progress.h"
#include "tools/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One account's part. */
struct restore_job {
    uint32_t account;
    char name[NAME_SIZE_MAX + 1];
    uint64_t messages; /* all that it has; highest: of these */
    uint64_t highest;
    uint64_t bytes; /* of all its messages; 0 where only some are wanted */
    bool chosen;    /* only these messages, else all */
    uint64_t *ns;   /* ascending, each once */
    size_t n_count;
};

struct restore_jobs {
    struct restore_job *jobs;
    size_t count;
    bool several; /* the command line is about several accounts: each gets a folder of its
                     name */
};

/* What --account, --all or --id ask for. An exit status: EXIT_DONE; EXIT_PART when some of
 * it does not exist (said), and the rest is in *out; EXIT_USAGE, EXIT_CANNOT.
 * restore_jobs_free() in any case. */
int restore_jobs_find(struct archive *a, const struct options *o, struct restore_jobs *out);
void restore_jobs_free(struct restore_jobs *jobs);

struct restore_counts {
    uint64_t written;
    uint64_t written_bytes;
    uint64_t present; /* were there already, equal */
};

struct restore {
    struct reader *reader;
    const struct target_kind *kind;
    const char *path;
    bool several;
    struct period period;
    struct message_times times;
    struct progress progress;
    uint64_t done_bytes;
    struct restore_counts counts;
    int status; /* the worst so far */
    bool over;  /* stopped by the user, by the service or by a write that failed: said, and
                   in the status */
};

/* Restore a job into the target at PATH, or at PATH/NAME where there are several accounts.
 * What fails is said and noted in r->status. */
void restore_account(struct restore *r, const struct restore_job *job);

/* Say that writing below path failed; sets r->over. */
void restore_fail(struct restore *r, const char *path, int err);

#endif
