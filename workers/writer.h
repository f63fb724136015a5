/* The archive's writer: one thread that appends what all workers hand it, in the order in
 * which it came, makes it durable in groups, and only then says so.
 *
 * 1. An item is done with err 0 only after a store_commit() that began after it was
 *    appended has returned 0 (I1).
 * 2. After the store's first failure every item, appended or not, is done with that
 *    failure.
 * 3. The store's functions are called in this thread only. What waits here is bounded by
 *    the budget it was claimed from. */
#ifndef MAILCASK_WORKERS_WRITER_H
#define MAILCASK_WORKERS_WRITER_H

#include "archive/archive.h"
#include "archive/record.h"
#include "workers/budget.h"
#include "workers/latency.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* What was submitted is appended and committed when it has so many bytes, or its oldest
 * item is so old, or it holds an urgent item. */
#define WRITER_GROUP_BYTES ((uint64_t)4 * 1024 * 1024)
#define WRITER_GROUP_MS 50
/* An open segment of this age is sealed at the next quiet moment. */
#define WRITER_SEGMENT_AGE_S ((int64_t)24 * 60 * 60)

struct writer;

enum writer_kind {
    WRITER_RECORD,  /* append `record` */
    WRITER_ORIGIN,  /* find or give out `account` and `source` */
    WRITER_BARRIER, /* done once all that came before is */
    WRITER_CALL,    /* run `call`, which may call the store's functions */
};

/* Filled in by the owner, who keeps it, and the spans of an origin, until done(). */
struct writer_item {
    enum writer_kind kind;
    bool urgent;
    struct record *record; /* goes to the writer */
    uint64_t memory; /* passed with budget_pass(); returned to the budget before done() */
    struct span name, host, login;
    int (*call)(void *arg);
    void *call_arg;
    /* In the writer's thread; must not block. The item is its owner's again. */
    void (*done)(void *arg);
    void *arg;
    uint32_t account, source; /* of an origin, with err 0 */
    int err; /* 0; the store's failure; ERR_TOO_LARGE: of an origin only; what `call`
                returned */
    STAILQ_ENTRY(writer_item) link;
};

/* archive: opened with ARCHIVE_WRITE; it and the budget outlive the writer. Returns 0,
 * -ENOMEM, -EAGAIN (no thread). */
int writer_create(struct archive *archive, struct budget *budget,
                  struct writer **out_writer);

/* Ends the thread after everything submitted is done. NULL is allowed. */
void writer_destroy(struct writer *w);

/* From any thread. Never blocks on the disk, never refuses. */
void writer_submit(struct writer *w, struct writer_item *item);

/* From any thread but the writer's: returns once all that was submitted before is done. */
void writer_wait(struct writer *w);

/* As writer_wait(), and call(arg) is run in the writer's thread: what it returns, or the
 * store's failure, with which it may not have been run. */
int writer_call(struct writer *w, int (*call)(void *arg), void *arg);

/* From any thread. The failure after which nothing is written any more; 0: none. */
int writer_failure(const struct writer *w);
uint64_t writer_commits(const struct writer *w);
/* Bytes of records made durable. */
uint64_t writer_stored_bytes(const struct writer *w);
/* How long commits took that had something to write, failed ones included. */
struct latency writer_commit_latency(const struct writer *w);
/* Submitted and not done. */
uint64_t writer_waiting(const struct writer *w);

#endif
