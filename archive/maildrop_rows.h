/* Rows of the index about a maildrop (account and source): what it listed last, and what
 * became of deletions in it. Conventions as in index_rows.h. Records may be met in any
 * order: of two states the one with the higher LSN counts. */
#ifndef MAILCASK_ARCHIVE_MAILDROP_ROWS_H
#define MAILCASK_ARCHIVE_MAILDROP_ROWS_H

#include "archive/index.h"
#include "archive/meta.h"

/* All zero: nothing is known. */
struct maildrop_row {
    uint64_t lsn;       /* of the newest session with a trusted listing */
    uint8_t doubts;     /* listings in a row, that one included, that were doubted */
    uint64_t named_lsn; /* of the newest one that was not; 0: none */
    uint64_t highest;   /* the account's highest N when it ended */
    uint64_t weak_lsn;  /* UIDLs have changed or were reused up to this session; 0: never */
    uint64_t delete_lsn;    /* of the newest session that deleted something */
    uint64_t delete_listed; /* messages that one listed */
    struct span named;      /* number_set.h: the messages it listed; borrowed */
};

int row_get_maildrop(struct index_txn *t, uint32_t account, uint32_t source,
                     struct maildrop_row *out);
void row_put_maildrop(struct index_txn *t, uint32_t account, uint32_t source,
                      const struct maildrop_row *row);

struct deletion_row {
    uint64_t lsn;
    int64_t time_us;
    uint8_t state;   /* enum deletion_state */
    uint8_t attempt; /* the newest one, from 1 */
};

/* Is it deleted, for all that is known? Then it should not be listed any more. */
static inline bool deletion_is_tombstone(uint8_t state)
{
    return state == DELETION_INTENDED || state == DELETION_ACCEPTED ||
           state == DELETION_UNKNOWN || state == DELETION_ABSENT ||
           state == DELETION_CONFIRMED;
}

/* A tombstone that later listings have not confirmed yet. */
static inline bool deletion_is_open(uint8_t state)
{
    return deletion_is_tombstone(state) && state != DELETION_CONFIRMED;
}

int row_get_deletion(struct index_txn *t, uint32_t account, uint32_t source, uint64_t n,
                     struct deletion_row *out);
/* DELETION_NONE where there is no row, or the index fails. */
enum deletion_state row_deletion_state(struct index_txn *t, uint32_t account,
                                       uint32_t source, uint64_t n);
/* Whether the maildrop has any. True if the index fails. */
bool row_any_deletion(struct index_txn *t, uint32_t account, uint32_t source);
void row_put_deletion(struct index_txn *t, uint32_t account, uint32_t source, uint64_t n,
                      const struct deletion_row *row);
/* The maildrop's first open deletion with an N >= *n. */
int row_next_open_deletion(struct index_txn *t, uint32_t account, uint32_t source,
                           uint64_t *n);
/* How many open deletions an account has in all its maildrops; account 0: all accounts. 0
 * or ERR_INDEX. */
int row_count_open_deletions(struct index_txn *t, uint32_t account, uint64_t *out);

#endif
