/* The appending end of a segment. Single owner: one thread.
 * Invariants: 1. durable <= written <= appended. 2. Bytes below durable never change (I2).
 * 3. After a failed write or sync only segment_writer_abandon() is legal (I5). */
#ifndef MAILCASK_ARCHIVE_SEGMENT_WRITER_H
#define MAILCASK_ARCHIVE_SEGMENT_WRITER_H

#include "archive/record.h"
#include "archive/segment.h"

#include <stdint.h>

struct segment_writer;

/* What sealing needs to know of every record: collected while appending, or by recovery
 * while walking an unsealed segment. Zero-initialised by seal_begin(). */
struct seal {
    struct buffer toc;
    struct sha256 *content;
    uint64_t records;
    uint64_t first_lsn;
    uint64_t last_lsn;
    int64_t last_time_us;
};

/* 0 or -ENOMEM. */
int seal_begin(struct seal *s, const struct segment_header *header);
/* Count the record at offset in. head: its header and stored meta as they are in the file.
 * 0 or ERR_DAMAGED if its meta does not decode. */
int seal_add(struct seal *s, uint64_t offset, const struct record_header *h,
             struct span head, struct span raw_meta);
void seal_free(struct seal *s);

/* Write SEAL and trailer at `offset` of an open file, cut what is behind, and sync. SEAL
 * has no LSN of its own: it carries the segment's last one, so that writing it again gives
 * the same bytes. out: the trailer, and the size of the file now. 0 or -errno. */
int seal_write(struct seal *s, const struct file_ops *ops, int fd,
               const struct segment_header *header, uint64_t offset,
               const uint8_t predecessor_hash[SHA256_SIZE], struct codec *codec,
               struct segment_trailer *out, uint64_t *out_file_size);

/* Make the file, write its header, sync it and its folder. header->sync_word and salt are
 * drawn here. 0; -EEXIST; -errno. */
int segment_create(const struct file_ops *ops, const char *archive,
                   struct segment_header *header, struct segment_writer **out);

const struct segment_header *segment_writer_header(const struct segment_writer *w);
/* Where the next record will start: the segment's size so far. */
uint64_t segment_writer_offset(const struct segment_writer *w);
uint64_t segment_writer_durable(const struct segment_writer *w);
bool segment_writer_has_room(const struct segment_writer *w, uint64_t size);

/* Append a prepared record (its LSN set). It is borrowed until return. Success means
 * accepted, not durable. 0; ERR_SEGMENT_FULL (unchanged: seal, make the next); -errno
 * (failed). */
int segment_append(struct segment_writer *w, const struct record *r, uint64_t *out_offset);

/* Everything appended so far is on disk: an fdatasync that began after all writes completed
 * (I1). 0 or -errno (failed). */
int segment_sync(struct segment_writer *w);

/* segment_sync() was done before; write the seal, sync, free the writer whatever comes. */
int segment_seal(struct segment_writer *w, const uint8_t predecessor_hash[SHA256_SIZE],
                 struct codec *codec, struct segment_trailer *out, uint64_t *out_file_size);

/* Close without sealing: recovery does it. NULL is fine. */
void segment_writer_abandon(struct segment_writer *w);

#endif
