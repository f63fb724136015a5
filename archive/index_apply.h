/* What a record means for the index. The same function serves a commit, recovery and
 * reindexing, so that an index rebuilt equals the one that grew (P4). */
#ifndef MAILCASK_ARCHIVE_INDEX_APPLY_H
#define MAILCASK_ARCHIVE_INDEX_APPLY_H

#include "archive/index_rows.h"
#include "archive/record.h"

/* Put the rows of the record at place. Applying a record again changes nothing. Failures,
 * also of a meta that does not decode, are left in the transaction for index_commit(). */
void index_apply(struct index_txn *t, const struct record_header *h, struct span raw_meta,
                 const struct place *place);

/* Can the meta be applied? 0 or ERR_DAMAGED. For records read from a disk whose checksums
 * hold. */
int index_check(const struct record_header *h, struct span raw_meta);

#endif
