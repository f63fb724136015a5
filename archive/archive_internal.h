/* What archive.c, store.c and recovery.c share. */
#ifndef MAILCASK_ARCHIVE_ARCHIVE_INTERNAL_H
#define MAILCASK_ARCHIVE_ARCHIVE_INTERNAL_H

#include "archive/archive.h"
#include "archive/cask.h"
#include "archive/codec.h"
#include "archive/index.h"
#include "archive/segment_writer.h"

#include <stdatomic.h>

/* Names given out in the current batch, not yet to be found in the index. */
struct pending_name {
    uint32_t account;
    uint32_t source; /* 0: the account's own name */
    struct buffer key;
};

/* A record of the batch: what the index wants to know of it once it is durable. */
struct batched {
    struct record *record; /* its body is gone */
    uint64_t segment;
    uint64_t offset;
};

#define BATCH_RECORDS_MAX 4096
#define PENDING_NAMES_MAX 256

/* One segment that is being written. Invariant: batch_count > 0 means that it is open and
 * the batch's COMMIT is written. */
struct lane {
    struct segment_writer *segment; /* NULL: made at the next append (I4) */
    uint64_t batch_bytes;
    size_t batch_count;
    struct batched batch[BATCH_RECORDS_MAX];
};

/* Invariants: 1. last_lsn is the highest ever given out. 2. failed is sticky, and of both
 * lanes. 3. Segments are sealed in the order of their ids. */
struct store {
    struct lane fetched;
    struct lane moved; /* repacking's */
    uint64_t last_lsn;
    uint64_t last_account;
    uint64_t commits;
    int failed;
    size_t pending_count; /* of the batch in `fetched` */
    struct pending_name pending[PENDING_NAMES_MAX];
};

struct archive {
    char *path;
    const struct file_ops *ops;
    enum archive_mode mode;
    struct cask cask;
    struct index *index; /* NULL: opened without_index, and there is none */
    int lock_fd;
    struct codec *codec;  /* of the opener's thread */
    struct store *store;  /* with ARCHIVE_WRITE */
    atomic_uint removals; /* of segments by this process: see reader_let_go() */
    void (*report)(void *arg, enum archive_note note, const char *text);
    void *arg;
};

/* Format a sentence and give it to the archive's report. */
void archive_note(struct archive *a, enum archive_note note, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int64_t archive_now_us(void);

/* The lock of the one writer, until *out_fd is closed: 0, ERR_LOCKED, -errno. */
int archive_lock(const char *archive, int *out_fd);

/* recovery.c: bring index and segments together; a->index may be empty and unsigned. */
int archive_recover(struct archive *a,
                    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total));

/* store.c: as store_append(), for a record that recovery carries over: keeps LSN and
 * checksums. */
int store_carry(struct archive *a, struct record *r);
/* Repacking has a segment, and a batch, of its own. Take a prepared record (destroyed in
 * any case) into it: it keeps its LSN, or is given one if that is 0. As store_append(). */
int store_move(struct archive *a, struct record *r);
int store_commit_moved(struct archive *a);
/* Commit, then seal repacking's segment, if it is open; what was fetched is committed and
 * sealed before it where that is the older one. */
int store_seal_moved(struct archive *a);
/* The id of repacking's open segment; 0: none. */
uint64_t store_moved_segment(const struct archive *a);
int store_create(struct archive *a);
/* Take the highest account number from the index. */
int store_learn_accounts(struct archive *a);
void store_destroy(struct archive *a);

/* Forget rows that lead into superseded segments only: nothing refers to what they stand
 * for. */
int archive_drop_garbage(struct archive *a);

/* The trailer hash of a sealed segment; zeros for id 0, or if the index has none. 0;
 * ERR_INDEX; -errno: it cannot be known. */
int archive_segment_hash(struct archive *a, uint64_t id, uint8_t out[SHA256_SIZE]);

/* The account's number to its name: "#7" where that is not known. */
void archive_account_name(struct archive *a, uint32_t account, char out[NAME_SIZE_MAX + 1]);

#endif
