/* Appending to an archive that was opened with ARCHIVE_WRITE. One thread calls these: the
 * archive's writer. Records gather into a batch; the commit makes the batch durable, then
 * indexed (FORMAT.md, "Commit"). After a failure everything is refused with ERR_FAILED
 * until the archive is closed and opened again, which recovers: nothing of the failed batch
 * may be acknowledged. */
#ifndef MAILCASK_ARCHIVE_STORE_H
#define MAILCASK_ARCHIVE_STORE_H

#include "archive/archive.h"
#include "archive/record.h"

#include <stdint.h>

/* The number of an account and of its source (host and login), given out anew where they
 * have none: their ACCOUNT and SOURCE records join the current batch. Names
 * of 1..NAME_SIZE_MAX bytes. 0; ERR_TOO_LARGE; ERR_FAILED; -errno; ERR_INDEX. */
int store_origin(struct archive *a, struct span name, struct span host, struct span login,
                 uint32_t *out_account, uint32_t *out_source);

/* Take a record that record_prepare() has completed (destroyed in any case) into the batch
 * and give it its LSN. Seals a full segment and goes on in a new one, committing the batch
 * so far. 0; ERR_FAILED; -errno; ERR_INDEX. */
int store_append(struct archive *a, struct record *r);

/* Make the batch durable and indexed: 0, and every record appended so far may be
 * acknowledged. An empty batch costs nothing. */
int store_commit(struct archive *a);

/* Commit, then seal what is open, repacking's segment too (by age, at stop). */
int store_seal(struct archive *a);

/* When the open segment was made, microseconds since the epoch; 0: none is open. */
int64_t store_segment_created(const struct archive *a);
/* Bytes in the batch so far, and how many commits and segments this process has made. */
uint64_t store_batch_bytes(const struct archive *a);
uint64_t store_commits(const struct archive *a);
/* The failure that stopped the store; 0: none. */
int store_failure(const struct archive *a);

#endif
