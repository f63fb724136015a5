/* How far one pass over the accounts is, and what came of it, in words. Counts only: no
 * clock, no terminal. */
#ifndef MAILCASK_DAEMON_PROGRESS_H
#define MAILCASK_DAEMON_PROGRESS_H

#include "workers/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_TEXT_SIZE 640
#define COUNT_TEXT_SIZE 32

struct tally {
    uint64_t accounts; /* to be tried */
    uint64_t complete; /* all that was listed is archived */
    uint64_t failed;   /* tried and not complete; the others were not tried to the end */
    /* Messages. aside: quarantined before. */
    uint64_t fetched, deduplicated, healed, refused, quarantined, aside, known;
    uint64_t bytes;         /* of the bodies received */
    uint64_t deleted, kept; /* as in struct pool_counts */
};

/* What is kept of one account between its sessions in a pass. Zeroed: it had none. */
struct account_tally {
    bool listed;          /* one of them saw a listing */
    uint64_t refused;     /* messages, in the last that did */
    uint64_t quarantined; /* in all of them */
};

/* Take in a session, in order. Of an account with several, what the later ones know
 * includes what the first has fetched, and they are refused the same messages again:
 * counted once. */
void tally_add(struct tally *t, struct account_tally *account,
               const struct pool_counts *counts);

/* The same of a session that deletes, which lists what others have listed. */
void tally_add_deleted(struct tally *t, const struct pool_counts *counts);

/* "12 of 50 accounts, 1,234 messages, 56.7 MB, 8.1 MB/s, about 22 s left, 2 failed".
 * messages and bytes are
 * those of the moment, sessions under way included. */
void tally_progress(char out[PROGRESS_TEXT_SIZE], const struct tally *t, uint64_t messages,
                    uint64_t bytes, uint64_t elapsed_ms);

/* "3 of 4 accounts complete, 1,234 messages archived (56.7 MB), 12 known", and what else
 * there is to tell. */
void tally_summary(char out[PROGRESS_TEXT_SIZE], const struct tally *t);

/* "1,234,567" */
void count_text(char out[COUNT_TEXT_SIZE], uint64_t count);

#endif
