/* An archive on disk: making one, opening it to read beside a running service or to write
 * as its only writer, what it holds. The library never logs: what an administrator should
 * know of recovery comes through `report`, one sentence a call, without a newline. */
#ifndef MAILCASK_ARCHIVE_ARCHIVE_H
#define MAILCASK_ARCHIVE_ARCHIVE_H

#include "archive/files.h"
#include "archive/format.h"
#include "archive/meta.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct archive;

enum archive_mode {
    ARCHIVE_READ,  /* any number of processes, also beside a writer */
    ARCHIVE_WRITE, /* takes the lock, recovers */
};

enum archive_note {
    NOTE_INFO,   /* e.g. an index was rebuilt, a torn tail was cut */
    NOTE_DAMAGE, /* acknowledged data is damaged or missing */
};

struct archive_options {
    enum archive_mode mode;
    const struct file_ops *ops; /* NULL: the system's */
    bool rebuild_index; /* with ARCHIVE_WRITE: start from an empty index (`reindex`) */
    bool without_index; /* with ARCHIVE_READ: go on when there is no usable index */
    void (*report)(void *arg, enum archive_note note, const char *text); /* may be NULL */
    /* With ARCHIVE_WRITE, now and then while the segments are looked through; may be NULL.
     * A non-zero return gives up, with ERR_STOPPED: recovery begins anew at the next call.
     */
    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    void *arg; /* of both */
};

/* Make an empty archive: the folder (its parent must exist; an empty folder is taken),
 * CASK, lock, segments, index, state, quarantine; all durable on return. 0; ERR_EXISTS when
 * path holds an archive or anything else; -errno. ops may be NULL. */
int archive_create(const struct file_ops *ops, const char *path);

/* 0; ERR_FORMAT (not an archive); ERR_VERSION; ERR_DAMAGED (CASK fails its checksum);
 * ERR_OWNER (see archive_owner()); ERR_LOCKED (see archive_lock_holder()); ERR_NO_INDEX
 * (reading, and the index is missing, a copy of another, or unusable); ERR_INDEX;
 * ERR_STOPPED (by `progress`); -errno.
 * ARCHIVE_WRITE recovers: after it every durable record is indexed and the next append
 * opens a new segment. Damage to acknowledged data is reported, not an error. */
int archive_open(const char *path, const struct archive_options *options,
                 struct archive **out);

/* With ARCHIVE_WRITE seals the open segment; everything committed stays durable even if
 * that fails. Returns the first failure; the archive is gone in any case. NULL is fine. */
int archive_close(struct archive *a);

/* The path it was opened with. */
const char *archive_path(const struct archive *a);
const uint8_t *archive_uuid(const struct archive *a); /* UUID_SIZE bytes */

/* The process that holds the lock, 0 if none. */
int archive_lock_holder(const char *path, pid_t *out_pid);
/* The user whose archive this is. */
int archive_owner(const char *path, uid_t *out_uid);
/* Their name, or "#1000" where they have none. Not thread-safe, as getpwuid() is not. */
#define OWNER_NAME_SIZE 64
void archive_owner_name(const char *path, char out[OWNER_NAME_SIZE]);

struct account_info {
    uint32_t number;
    char name[NAME_SIZE_MAX + 1];
    uint64_t messages; /* restorable, as the index knows it */
    uint64_t bytes;    /* of these, as received */
    uint64_t highest;  /* N */
    int64_t first_us;  /* first and last time a message was fetched; 0: none */
    int64_t last_us;
    int64_t session_us;                   /* end of the newest session; 0: none */
    uint8_t session_state;                /* enum session_state of that session */
    char session_text[TEXT_SIZE_MAX + 1]; /* its outcome in words, "" when complete */
};

/* Each account by name order. The callback returns 0 to go on; anything else stops and is
 * returned. It may call any reading function of the archive. */
int archive_each_account(struct archive *a,
                         int (*each)(void *arg, const struct account_info *info),
                         void *arg);

/* 0 or ERR_NOT_FOUND. */
int archive_find_account(struct archive *a, const char *name, struct account_info *out);

/* Deletions that no two later listings have confirmed: of the account of this name (0 where
 * there is none), or of all where it is NULL. 0; ERR_NO_INDEX; ERR_INDEX; -errno. */
int archive_unconfirmed(struct archive *a, const char *name, uint64_t *out);

/* One line of the ledger. */
struct ledger_entry {
    uint8_t type; /* enum record_type: one that LEDGER_TYPES or LEDGER_ALL_TYPES names */
    uint64_t lsn;
    int64_t time_us;
    struct source_meta source; /* where the mail came from; empty strings where not known */
    union {
        struct session_meta session;
        struct session_run_meta run;
        struct intents_reader intents; /* to be read with intents_next() */
        struct outcome_meta outcome;
        struct seen_meta seen;
        struct quarantine_meta quarantine;
        struct lost_meta lost;
        struct access_meta access;
    };
};

/* Sets of record types. */
#define LEDGER_TYPE(type) (1u << (type))
#define LEDGER_TYPES                                                          \
    (LEDGER_TYPE(RECORD_SESSION) | LEDGER_TYPE(RECORD_SESSION_RUN) |          \
     LEDGER_TYPE(RECORD_DELETE_INTENT) | LEDGER_TYPE(RECORD_DELETE_OUTCOME) | \
     LEDGER_TYPE(RECORD_QUARANTINE) | LEDGER_TYPE(RECORD_LOST) |              \
     LEDGER_TYPE(RECORD_ACCESS) | LEDGER_TYPE(RECORD_UNLISTED_RUN))
#define LEDGER_ALL_TYPES (LEDGER_TYPES | LEDGER_TYPE(RECORD_SEEN))

/* An account's ledger in order of LSN, entries of these types; spans in the entry are good
 * during the callback. A record that cannot be read is given with type 0 (lsn alone is set)
 * so that a gap shows. archive_each_ledger_entry(): of LEDGER_TYPES. */
int archive_each_entry_of(struct archive *a, uint32_t account, unsigned types,
                          int (*each)(void *arg, const struct ledger_entry *e), void *arg);
int archive_each_ledger_entry(struct archive *a, uint32_t account,
                              int (*each)(void *arg, const struct ledger_entry *e),
                              void *arg);

struct archive_stats {
    uint64_t accounts;
    uint64_t messages;
    uint64_t message_bytes;     /* as received */
    uint64_t segments;          /* files */
    uint64_t sealed;            /* of these */
    uint64_t segment_bytes;     /* allocated on disk */
    uint64_t index_bytes;       /* allocated on disk */
    uint64_t parts;             /* pieces of attachments, each kept once */
    uint64_t parts_kept_bytes;  /* of these, decoded, before they are compressed */
    uint64_t parts_named_bytes; /* what messages name of them: once for each message body */
    uint64_t unconfirmed;       /* deletions that no two later listings have confirmed */
    uint64_t head_segment;      /* the newest sealed segment; 0: none */
    uint8_t head[SHA256_SIZE];  /* its trailer's hash: pins the whole chain */
};

int archive_stats(struct archive *a, struct archive_stats *out);

/* Those of its numbers that cost next to nothing, however large the archive: parts,
 * parts_kept_bytes, parts_named_bytes and unconfirmed. The others are 0. */
int archive_quick_stats(struct archive *a, struct archive_stats *out);

#endif
