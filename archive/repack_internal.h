/* What the files of repacking share: repack.c (the run), repack_look.c (which segments),
 * repack_copy.c (the copying), repack_check.c (the proof), repack_remove.c (the removal).
 *
 * The service fetches meanwhile, in other threads. What keeps the two apart:
 * 1. The store is changed in repack_in_store() only: repacking's records go there in
 *    batches, each committed at once.
 * 2. Sources were sealed before the run began: nothing that is fetched makes a row lead
 *    into one, so rows that do become only fewer.
 * 3. What is fetched meanwhile has higher LSNs than anything in the sources, so that a copy
 *    never takes its place. */
#ifndef MAILCASK_ARCHIVE_REPACK_INTERNAL_H
#define MAILCASK_ARCHIVE_REPACK_INTERNAL_H

#include "archive/archive_internal.h"
#include "archive/hash_set.h"
#include "archive/index_rows.h"
#include "archive/reader.h"
#include "archive/repack.h"

/* Records wait for the store until they are so many, or so many bytes: what it takes at
 * once holds up fetching for as long. */
#define REPACK_BATCH_RECORDS 1024u
#define REPACK_BATCH_BYTES (4u << 20)

/* A segment that is being rewritten. */
struct source_segment {
    uint64_t id;
    uint64_t size;
    uint64_t records; /* that can be read, at least header and meta */
    uint8_t hash[SHA256_SIZE];
};

struct repack {
    struct archive *archive;
    const struct repack_options *options;
    struct repack_summary *summary;
    int64_t began_us;
    struct codec *codec;
    struct reader *reader;
    struct record_view view;
    struct record_view packed; /* a record of a PACK that is being taken apart */
    struct buffer pack;        /* meta of the PACK that is filling */
    uint64_t pack_lsn;         /* the highest in it */
    struct hash_set
        named; /* parts and streams that some message names; not with in_store */
    struct source_segment *sources; /* by id */
    size_t sources_count;
    struct hash_set copied; /* LSNs: a run that was killed may have left a record twice */
    struct record *batch[REPACK_BATCH_RECORDS]; /* on their way to the store */
    size_t batch_count;
    uint64_t batch_bytes;
    struct buffer made;     /* ids of this run's own segments, ascending: u64 each */
    struct buffer unproven; /* of an earlier one's that did not come to its end */
    uint64_t done_bytes;
    uint64_t total_bytes;
};

bool repack_is_source(const struct repack *r, uint64_t segment);
/* segments: of ids, as `made`. */
bool repack_lists(const struct buffer *segments, uint64_t id);
/* Counts bytes; ERR_STOPPED when the caller wants an end. */
int repack_progress(struct repack *r, uint64_t bytes);
/* Run it where the store may be called, and return what it returns. */
int repack_in_store(struct repack *r, int (*work)(void *arg), void *arg);
/* Take a prepared record (destroyed in any case) to the store, sooner or later. */
int repack_emit(struct repack *r, struct record *record);
/* What waits becomes durable and indexed. */
int repack_flush(struct repack *r);

/* Find the sources, and what earlier runs have left unproven. */
int repack_look(struct repack *r);

/* Collect the parts and streams that messages name, in the whole archive. */
int repack_collect_names(struct repack *r);
/* May this part or stream (its id, zeros behind it) be missed? False while in doubt. */
bool repack_is_garbage(const struct repack *r, const uint8_t name[SHA256_SIZE]);
/* Everything but messages and their chunks: in the order in which it stands. */
int repack_copy_records(struct repack *r, const struct source_segment *source);
/* Small records go out together: write those that wait. */
int repack_flush_pack(struct repack *r);
/* Chunks of messages, also of one that is still being fetched, stream by stream. */
int repack_copy_chunks(struct repack *r);
/* The messages of an account that are in the sources; chunks were copied before. */
int repack_copy_messages(struct repack *r, const struct account_info *account);

/* Nothing leads into the sources any more, and all that was copied, by earlier runs, too,
 * reads back: 0; ERR_DAMAGED; ERR_STOPPED; -errno. */
int repack_check(struct repack *r);

/* Remove replaced segments whose time has come, unless a backup holds removals. */
int repack_remove(struct repack *r);

#endif
