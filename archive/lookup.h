/* Index look-ups of one thread of the service, shared by the sessions it runs. */
#ifndef MAILCASK_ARCHIVE_LOOKUP_H
#define MAILCASK_ARCHIVE_LOOKUP_H

#include "archive/archive.h"
#include "archive/bytes.h"
#include "archive/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct lookup;
struct index_txn;
struct reader;

int lookup_create(struct archive *a, struct lookup **out);
void lookup_destroy(struct lookup *l);

/* To be called before the thread waits: a look-up in progress keeps old pages of the index
 * alive, and an open file a segment that was removed. */
void lookup_rest(struct lookup *l);

/* The numbers of an account and its source: 0 or ERR_NOT_FOUND (then store_origin() makes
 * them). */
int lookup_origin(struct lookup *l, struct span name, struct span host, struct span login,
                  uint32_t *out_account, uint32_t *out_source);

/* For the archive's own modules: a read transaction that is awake, and a reader. */
int lookup_txn(struct lookup *l, struct index_txn **out);
struct reader *lookup_reader(struct lookup *l);

/* Parts that this thread handed to the store lately, and that the index may not show yet.
 * The thread's records reach the store in the order in which they were handed over. */
bool lookup_recent_part(const struct lookup *l, const uint8_t sha256[SHA256_SIZE]);
void lookup_remember_part(struct lookup *l, const uint8_t sha256[SHA256_SIZE]);

#endif
