/* The rows of the index, typed. Keys hold big-endian numbers, so that they sort. Reads
 * return 0, ERR_NOT_FOUND or ERR_INDEX (also for a row that does not decode); puts are
 * void, the commit reports. */
#ifndef MAILCASK_ARCHIVE_INDEX_ROWS_H
#define MAILCASK_ARCHIVE_INDEX_ROWS_H

#include "archive/digest.h"
#include "archive/format.h"
#include "archive/index.h"
#include "archive/meta.h"

#include <stdbool.h>
#include <stdint.h>

/* A record's place. */
struct place {
    uint64_t segment;
    uint64_t offset;
};

struct segment_row {
    uint64_t indexed; /* bytes of the file up to which its records are in the index (I3) */
    bool sealed;
    uint8_t hash[SHA256_SIZE]; /* the trailer's, when sealed */
};

int row_get_segment(struct index_txn *t, uint64_t id, struct segment_row *out);
void row_put_segment(struct index_txn *t, uint64_t id, const struct segment_row *row);
/* The first segment with an id >= *id. */
int row_next_segment(struct index_txn *t, uint64_t *id, struct segment_row *out);

void row_delete_segment(struct index_txn *t, uint64_t id);

/* A segment that repacking has replaced, and when. */
void row_put_superseded(struct index_txn *t, uint64_t id, int64_t time_us);
/* The first with an id >= *id. */
int row_next_superseded(struct index_txn *t, uint64_t *id, int64_t *out_time_us);
bool row_is_superseded(struct index_txn *t, uint64_t id);

/* One number each. */
enum info_number {
    INFO_LAST_LSN,
    INFO_LAST_ACCOUNT,
    INFO_PARTS_NAMED, /* decoded bytes that messages name parts for */
    INFO_PARTS_KEPT,  /* decoded bytes of the parts there are */
    INFO_COUNT,
};
/* 0 where it was never put. */
int row_get_number(struct index_txn *t, enum info_number which, uint64_t *out);
void row_put_number(struct index_txn *t, enum info_number which, uint64_t value);

struct account_row {
    uint64_t messages;
    uint64_t bytes;
    uint64_t highest;
    int64_t first_us;
    int64_t last_us;
    uint32_t last_source;
    uint64_t session_lsn; /* of the newest session; 0: none */
    int64_t session_us;   /* its end */
    uint8_t session_state;
    struct span name; /* borrowed */
    struct span session_text;
};

int row_get_account(struct index_txn *t, uint32_t account, struct account_row *out);
void row_put_account(struct index_txn *t, uint32_t account, const struct account_row *row);
int row_get_name(struct index_txn *t, struct span name, uint32_t *out_account);
void row_put_name(struct index_txn *t, struct span name, uint32_t account);
void row_delete_name(struct index_txn *t, struct span name);
/* What an account is called until its ACCOUNT record is met, or for good, where that is
 * damaged: "#7", its number. Borrows text. */
#define ROW_STAND_IN_SIZE 16
struct span row_stand_in_name(uint32_t account, char text[ROW_STAND_IN_SIZE]);
/* The first name >= *name; *name is then borrowed from the index. */
int row_next_name(struct index_txn *t, struct span *name, uint32_t *out_account);

void row_put_source(struct index_txn *t, uint32_t account,
                    const struct source_meta *source);
int row_get_source(struct index_txn *t, uint32_t account, uint32_t number,
                   struct source_meta *out);

/* The account's source of this host and login. 0; ERR_NOT_FOUND; ERR_INDEX. last: its
 * highest source number. */
int row_find_source(struct index_txn *t, uint32_t account, uint32_t last, struct span host,
                    struct span login, uint32_t *out_source);

/* The numbers of an account and its source. 0; ERR_NOT_FOUND with 0 for what is not known,
 * and the highest source number of the account in *out_last_source. */
int row_find_origin(struct index_txn *t, struct span name, struct span host,
                    struct span login, uint32_t *out_account, uint32_t *out_source,
                    uint32_t *out_last_source);

struct message_row {
    struct place place;
    uint32_t ordinal; /* of the message within its record */
    uint64_t size;    /* bytes of the message */
    uint64_t lsn;     /* of the record: of two copies the later one counts */
};

int row_get_message(struct index_txn *t, uint32_t account, uint64_t n,
                    struct message_row *out);
void row_put_message(struct index_txn *t, uint32_t account, uint64_t n,
                     const struct message_row *row);
void row_delete_message(struct index_txn *t, uint32_t account, uint64_t n);
/* The first message of the account with an N >= *n. */
int row_next_message(struct index_txn *t, uint32_t account, uint64_t *n,
                     struct message_row *out);

/* A row that lists messages stops growing here (thousands of equal UIDLs or bodies): what
 * is not listed is fetched again and stored again, never hidden. */
#define LIST_ROW_MAX (32u << 10)

/* Messages of an account whose SHA-256 begins with the same 16 bytes; compare the whole
 * with the message's meta before relying on it. Calls each in the order they were put. */
int row_each_hash(struct index_txn *t, uint32_t account, const uint8_t sha256[SHA256_SIZE],
                  int (*each)(void *arg, uint64_t n), void *arg);
void row_add_hash(struct index_txn *t, uint32_t account, const uint8_t sha256[SHA256_SIZE],
                  uint64_t n);

int row_get_chunk(struct index_txn *t, const uint8_t stream[STREAM_ID_SIZE],
                  uint32_t sequence, struct place *out);
void row_put_chunk(struct index_txn *t, const uint8_t stream[STREAM_ID_SIZE],
                   uint32_t sequence, const struct place *place);

struct ledger_row {
    struct place place;
    uint32_t ordinal; /* of the record within a PACK, else 0 */
    uint8_t type;     /* enum record_type */
};

/* Whether records of this type are in the ledger. */
bool row_is_ledger(uint8_t type);
void row_put_ledger(struct index_txn *t, uint32_t account, uint64_t lsn,
                    const struct ledger_row *row);
/* The first ledger row of the account with an LSN >= *lsn. */
int row_next_ledger(struct index_txn *t, uint32_t account, uint64_t *lsn,
                    struct ledger_row *out);

struct part_row {
    struct place place;
    uint32_t size; /* decoded bytes */
    uint64_t lsn;
};

int row_get_part(struct index_txn *t, const uint8_t sha256[SHA256_SIZE],
                 struct part_row *out);
void row_put_part(struct index_txn *t, const uint8_t sha256[SHA256_SIZE],
                  const struct part_row *row);

bool row_is_carried(struct index_txn *t, uint64_t lsn);
void row_put_carried(struct index_txn *t, uint64_t lsn);

/* Acknowledged losses: messages first..last of an account; with account 0 segment `first`.
 */
void row_put_lost(struct index_txn *t, uint32_t account, uint64_t first, uint64_t last);
/* The first row of the account with a first >= *first. */
int row_next_lost(struct index_txn *t, uint32_t account, uint64_t *first,
                  uint64_t *out_last);

#endif
