/* Repacking beside fetching (archive/repack.h): a thread for each run, that works in the
 * background and ends when it is told to. What changes the store is done by the writer.
 *
 * A run that was asked for takes all that gains by it, at REPACKER_ASKED_RATE. One in
 * passing takes what repack_choice.h says, at REPACKER_PASSING_RATE, with lower priority,
 * and waits while more than REPACKER_BUSY_RATE is being archived. Either ends with -ENOSPC
 * when there is no room. */
#ifndef MAILCASK_WORKERS_REPACKER_H
#define MAILCASK_WORKERS_REPACKER_H

#include "archive/archive.h"
#include "archive/repack.h"
#include "workers/writer.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes a second that are read, copied or checked. */
#define REPACKER_ASKED_RATE ((uint64_t)64 << 20)
#define REPACKER_PASSING_RATE ((uint64_t)16 << 20)
/* Bytes a second that the writer makes durable for others. */
#define REPACKER_BUSY_RATE ((uint64_t)256 << 10)

struct repacker;

struct repacker_config {
    struct archive *archive; /* as the writer, it outlives the repacker */
    struct writer *writer;
    /* Is there room on the disk for so many bytes more? May be NULL. Called, as is
     * changed(), in the run's thread. */
    bool (*room)(void *arg, uint64_t bytes);
    /* A run has found something to do, or has ended. Must not block. May be NULL. */
    void (*changed)(void *arg);
    void *arg;
};

struct repacker_state {
    uint64_t run; /* the run under way, or the last one: counts from 1; 0: none yet */
    bool running;
    bool asked, remove_now;
    bool waiting;      /* until less is being archived */
    uint64_t segments; /* chosen by it; 0: it has not got that far, or found none */
    uint64_t bytes;    /* of these */
    uint64_t done_bytes, total_bytes; /* work */
    /* Once it has ended: archive_repack()'s. */
    int err;
    struct repack_summary summary;
};

/* 0 or -ENOMEM. config is copied. */
int repacker_create(const struct repacker_config *config, struct repacker **out);

/* From any thread; the others as well. Begin a run: 0; -EBUSY: one is under way; -EAGAIN:
 * no thread; ERR_STOPPED: repacker_end() was called. */
int repacker_begin(struct repacker *r, bool asked, bool remove_now);
/* The run under way, if any, ends soon. */
void repacker_stop(struct repacker *r);
void repacker_look(struct repacker *r, struct repacker_state *out);

/* As repacker_stop(), and none begins any more. */
void repacker_end(struct repacker *r);
/* The same, and wait for its end: within the work on a block or the writer's on a batch.
 * Before the writer ends. NULL is allowed. */
void repacker_destroy(struct repacker *r);

/* How long to wait, now that a run has done so many bytes in elapsed_ms. */
uint64_t repacker_pause_ms(uint64_t done_bytes, uint64_t elapsed_ms, uint64_t rate);

#endif
