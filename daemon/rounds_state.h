/* What the rounds know beyond the life of a process: marks and pauses, which are files in
 * the archive's folder `state`, and when each account was last complete, which the archive
 * tells. A file that cannot be written is logged once, and tried again. For rounds.c. */
#ifndef MAILCASK_DAEMON_ROUNDS_STATE_H
#define MAILCASK_DAEMON_ROUNDS_STATE_H

#include "daemon/rounds.h"

/* What an earlier process left, when the archive is opened first; later calls do nothing.
 * What cannot be read of it is not missed: it is learnt anew. */
void rounds_recall(struct rounds *r);

/* If there is something to save; at_once: although it was done a moment ago. */
void rounds_save(struct rounds *r, bool at_once);

/* Until rounds_save() is worth calling; ROUNDS_FOREVER: there is nothing to save. */
uint64_t rounds_save_wait_ms(const struct rounds *r);

/* Pause in the scheduler whoever is paused, and nobody else. */
void rounds_apply_pauses(struct rounds *r);

#endif
