/* What repack.c (which segments, and when they go) and repack_copy.c (the copying) share.
 */
#ifndef MAILCASK_ARCHIVE_REPACK_INTERNAL_H
#define MAILCASK_ARCHIVE_REPACK_INTERNAL_H

#include "archive/archive_internal.h"
#include "archive/hash_set.h"
#include "archive/index_rows.h"
#include "archive/reader.h"
#include "archive/repack.h"

/* A segment that is being rewritten. */
struct source_segment {
    uint64_t id;
    uint64_t size;
    bool packed; /* repacking made it */
    uint8_t hash[SHA256_SIZE];
};

struct repack {
    struct archive *archive;
    const struct repack_options *options;
    struct repack_summary *summary;
    int64_t began_us;
    struct reader *reader;
    struct record_view view;
    struct record_view packed;      /* a record of a PACK that is being taken apart */
    struct buffer pack;             /* meta of the PACK that is filling */
    uint64_t pack_lsn;              /* the highest in it */
    struct hash_set named;          /* parts that some message names */
    struct source_segment *sources; /* by id */
    size_t sources_count;
    struct hash_set copied; /* LSNs: a run that was killed may have left a record twice */
    uint64_t done_bytes;
    uint64_t total_bytes;
};

bool repack_is_source(const struct repack *r, uint64_t segment);
/* Counts bytes; ERR_STOPPED when the caller wants an end. */
int repack_progress(struct repack *r, uint64_t bytes);

/* Collect the parts that messages name, in the whole archive. */
int repack_collect_parts(struct repack *r);
/* Everything but messages: in the order in which it stands. */
int repack_copy_records(struct repack *r, const struct source_segment *source);
/* Small records go out together: write those that wait. */
int repack_flush_pack(struct repack *r);
/* The messages of an account that are in the sources. */
int repack_copy_messages(struct repack *r, const struct account_info *account);

#endif
