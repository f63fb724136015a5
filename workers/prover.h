/* The prover: one thread that reads stored messages back from the disk (archive/proof.h),
 * which takes longer than a loop may wait, and says of each whether it is sound.
 *
 * 1. Items are done in the order in which they came, each once, in the prover's thread.
 * 2. What is proved for an item is read from the disk after the item was submitted.
 * 3. While it works it holds a block, a chunk, PART_CACHE_SLOTS parts and the message
 * (about 25 MiB at most), between items nothing. What waits here is its owners'. */
#ifndef MAILCASK_WORKERS_PROVER_H
#define MAILCASK_WORKERS_PROVER_H

#include "archive/archive.h"
#include "archive/digest.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct prover;

/* One message: is it still there, with this SHA-256? */
struct prover_claim {
    uint64_t n;
    uint8_t sha256[SHA256_SIZE];
    int err; /* proof_message()'s; ERR_STOPPED: not looked at, or not to its end */
};

/* Filled in by the owner, who keeps it and its claims alone until done(). Claims in order
 * of n share the most reading. */
struct prover_item {
    uint32_t account;
    struct prover_claim *claims;
    size_t count;
    /* The owner wants no more of it: what is not proved is ERR_STOPPED, soon. */
    _Atomic bool unwanted;
    /* In the prover's thread; must not block. The item is its owner's again. */
    void (*done)(void *arg);
    void *arg;
    STAILQ_ENTRY(prover_item) link;
};

/* The archive outlives the prover. Returns 0, -ENOMEM, -EAGAIN (no thread). */
int prover_create(struct archive *archive, struct prover **out_prover);

/* From any thread. From now on nothing is proved: every claim is ERR_STOPPED, those that
 * are submitted later, too. The one under way ends within the reading of a MiB or so. NULL
 * is allowed. */
void prover_stop(struct prover *p);

/* Ends the thread within the reading of a MiB or so: what is not proved by then is
 * ERR_STOPPED. Every item is done before it returns. No thread may submit any more. NULL is
 * allowed. */
void prover_destroy(struct prover *p);

/* From any thread. Never blocks on the disk, never refuses. */
void prover_submit(struct prover *p, struct prover_item *item);

/* From any thread. Bytes read, and claims proved or refused, in items that are done. */
uint64_t prover_bytes_read(const struct prover *p);
uint64_t prover_claims(const struct prover *p);

#endif
