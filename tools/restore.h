/* A restore under way: what it is about, its lanes (each a thread with a reader of its own)
 * and how far it has come. */
#ifndef MAILCASK_TOOLS_RESTORE_H
#define MAILCASK_TOOLS_RESTORE_H

#include "archive/reader.h"
#include "tools/options.h"
#include "tools/period.h"
#include "tools/progress.h"
#include "tools/target.h"

#include <pthread.h>
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

/* What a thread has for itself. */
struct restore_lane {
    struct reader *reader;
    struct message_times times;
};

/* Lanes may change only what stands behind the mutex, and hold it for that. */
struct restore {
    const struct options *options; /* of the command line */
    const struct archive *archive;
    const struct target_kind *kind;
    const char *path;
    bool several;
    struct period period;
    unsigned lane_count;
    struct restore_lane lanes[TARGET_LANES_MAX];
    pthread_mutex_t mutex;
    struct progress progress;
    uint64_t done_bytes;
    struct restore_counts counts;
    int status; /* the worst so far */
    bool over;  /* stopped by the user, by the service or by a write that failed: said, and
                   in the status */
};

/* Open so many lanes (1..TARGET_LANES_MAX): 0; else what creating a reader returned.
 * restore_close() in any case. */
int restore_open(struct restore *r, struct archive *a, unsigned lanes);
void restore_close(struct restore *r);

/* Restore every job. What fails is said and noted in r->status. restore_in_order(): a job
 * is one lane's, its messages by N. restore_files(): messages of all jobs in the order in
 * which they are on disk. */
void restore_in_order(struct restore *r, const struct restore_jobs *jobs);
void restore_files(struct restore *r, const struct restore_jobs *jobs);

/* Say that writing below path failed; sets r->over. Only the first is said. */
void restore_fail(struct restore *r, const char *path, int err);
/* False once it is over; notices that the user wants to stop. */
bool restore_goes_on(struct restore *r, const char *path);

/* Put on record who is given the job's messages, before they are. False if the service
 * refuses: that was said, and it is over. */
bool restore_tell(struct restore *r, const struct restore_job *job);

/* A job with its target open. */
struct restore_box {
    struct restore *restore;
    const struct restore_job *job;
    char *path;
    struct target *target;
    struct restore_counts counts; /* guarded by the restore's mutex */
};

/* Open the job's target at PATH, or at PATH/NAME where there are several accounts: true;
 * else what is wrong was said. */
bool restore_box_open(struct restore *r, const struct restore_job *job,
                      struct restore_box *out);
/* All its messages were given, or the restore is over. */
void restore_box_close(struct restore_box *b);
/* Restore message n by this lane. */
void restore_message(struct restore_box *b, unsigned lane, uint64_t n);
/* Look up which messages the job is about, by N, and call each for every one; it ends when
 * that returns false or the restore is over. */
void restore_box_walk(struct restore_box *b, unsigned lane,
                      bool (*each)(void *arg, const struct message_place *m), void *arg);

#endif
