/* Rows of the index about what UIDLs have meant in a maildrop (account and source).
 * Conventions as in index_rows.h. */
#ifndef MAILCASK_ARCHIVE_UIDL_ROWS_H
#define MAILCASK_ARCHIVE_UIDL_ROWS_H

#include "archive/index.h"

#include <stdint.h>

/* What a UIDL has meant: one (n, listed size) an entry. */
struct uidl_entry {
    uint64_t n;
    uint64_t listed_size;
};

/* The entries of one UIDL, in the order they were put. Copy it to go over them again. */
struct uidl_entries {
    struct span uidl;
    struct cursor rest;
};

/* 0 also when there are none. *out borrows from uidl, and from the index as a value does.
 */
int row_find_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  struct uidl_entries *out);
/* The next one: 0; ERR_NOT_FOUND behind the last; ERR_INDEX. */
int uidl_entries_next(struct uidl_entries *e, struct uidl_entry *out);

/* Calls each for every entry of this very UIDL; a non-zero return ends it. 0 when there are
 * none. */
int row_each_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  int (*each)(void *arg, const struct uidl_entry *e), void *arg);
/* Nothing happens if the entry is there. */
void row_add_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  const struct uidl_entry *entry);

#endif
