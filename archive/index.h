/* The index: tables of rows derived from the segments, and disposable. The door to LMDB.
 * Keys and values are byte strings; index_rows.h gives them meaning. */
#ifndef MAILCASK_ARCHIVE_INDEX_H
#define MAILCASK_ARCHIVE_INDEX_H

#include "archive/bytes.h"
#include "archive/format.h"

#include <stdbool.h>
#include <stdint.h>

enum index_table {
    TABLE_INFO,
    TABLE_SEGMENTS,
    TABLE_ACCOUNTS,
    TABLE_NAMES,
    TABLE_SOURCES,
    TABLE_MESSAGES,
    TABLE_UIDLS,
    TABLE_HASHES,
    TABLE_CHUNKS,
    TABLE_LEDGER,
    TABLE_CARRIED,
    TABLE_LOST,
    TABLE_PARTS,
    TABLE_SUPERSEDED,
    TABLE_MAILDROPS,
    TABLE_DELETIONS,
    TABLE_UNCONFIRMED,
    TABLE_COUNT,
};

struct index;
struct index_txn;
struct sha256;

enum index_mode { INDEX_READ, INDEX_WRITE, INDEX_CREATE };

/* Open PATH/index. INDEX_CREATE makes it, empty and not yet signed: until index_sign() says
 * that it is complete, no other open accepts it. 0; ERR_NO_INDEX (missing, incomplete, of
 * another archive or version, a copy, or unusable); ERR_INDEX; -errno. */
int index_open(const char *archive, const uint8_t uuid[UUID_SIZE], enum index_mode mode,
               struct index **out);
void index_close(struct index *ix);
/* The index holds all that it should: write down what it is and where. */
int index_sign(struct index *ix, const char *archive, const uint8_t uuid[UUID_SIZE]);

/* Remove the index's files, if any. */
int index_remove(const char *archive);

/* One write transaction at a time (the archive's only writer); any number of readers, each
 * used by one thread at a time. A read transaction must not be held across I/O: reset it,
 * renew it. */
int index_begin_write(struct index *ix, struct index_txn **out);
int index_begin_read(struct index *ix, struct index_txn **out);
void index_reset(struct index_txn *t);
int index_renew(struct index_txn *t);
/* Drop it, with all it wrote. NULL is fine. */
void index_abort(struct index_txn *t);
/* Make the writes durable and free the transaction whatever comes. The first failure of any
 * put since its beginning is returned here: 0, ERR_INDEX, -ENOSPC, -ENOMEM, -errno. */
int index_commit(struct index_txn *t);

/* value is good until the transaction writes or ends. 0, ERR_NOT_FOUND, ERR_INDEX. */
int index_get(struct index_txn *t, enum index_table table, struct span key,
              struct span *out_value);
/* Failures are sticky and reported by index_commit(). */
void index_put(struct index_txn *t, enum index_table table, struct span key,
               struct span value);
void index_delete(struct index_txn *t, enum index_table table, struct span key);
/* Puts and deletes so far. The pages they change stay in memory until the commit. */
size_t index_changes(const struct index_txn *t);
/* Record a failure found by a caller that computes rows: the commit will return it. */
void index_fail(struct index_txn *t, int err);

/* The first row with a key >= *key (an empty key: the first of all): 0, ERR_NOT_FOUND,
 * ERR_INDEX. Both spans are good as with index_get(). */
int index_seek(struct index_txn *t, enum index_table table, struct span *key,
               struct span *out_value);

/* Every row of a table, one after the other. Zero-initialise. */
#define INDEX_WALK_KEY_MAX 64
struct index_walk {
    uint8_t key[INDEX_WALK_KEY_MAX + 1]; /* of the row given last, */
    size_t size;                         /* and its bytes; 0: none yet */
};

/* The first row behind the one given last: 0, with its key in w; ERR_NOT_FOUND; ERR_INDEX,
 * also for a key over INDEX_WALK_KEY_MAX. The value is good as with index_get(), the key
 * while rows are put and deleted, too. */
int index_walk(struct index_txn *t, enum index_table table, struct index_walk *w,
               struct span *out_value);

/* Rows of a table. */
int index_count(struct index_txn *t, enum index_table table, uint64_t *out_count);
/* For keys that are hashes: one that lives as long as the transaction, as making one costs
 * more than hashing a key. NULL: no memory. */
struct sha256 *index_hash(struct index_txn *t);
/* Identifies the newest committed state this transaction sees. */
uint64_t index_txn_id(struct index_txn *t);
/* Forget readers of processes that died (each minute). */
void index_check_readers(struct index *ix);
/* Sync what NOMETASYNC leaves to the next transaction. */
int index_sync(struct index *ix);

#endif
