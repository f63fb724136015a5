/* A segment: one append-only file of records (FORMAT.md, "Segment"). Here are its header
 * and trailer, reading a record at an offset, and walking all of them. For appending see
 * segment_writer.h. */
#ifndef MAILCASK_ARCHIVE_SEGMENT_H
#define MAILCASK_ARCHIVE_SEGMENT_H

#include "archive/codec.h"
#include "archive/digest.h"
#include "archive/disk_file.h"
#include "archive/files.h"
#include "archive/format.h"
#include "archive/record.h"

#include <stdbool.h>
#include <stdint.h>

struct segment_header {
    uint8_t uuid[UUID_SIZE]; /* the archive's */
    uint64_t id;             /* from 1, never used again */
    uint64_t predecessor;    /* id of the segment made before this one; 0: none */
    uint64_t compatible;     /* features, SEGMENT_REPACKED; others are kept as they are */
    int64_t created_us;
    uint64_t sync_word;
    uint8_t salt[SALT_SIZE];
};

struct segment_trailer {
    uint64_t id;
    uint64_t seal_offset;
    uint64_t records; /* SEAL included */
    uint64_t first_lsn;
    uint64_t last_lsn;
    int64_t sealed_us; /* the time of the last record: sealing again gives the same bytes */
    uint8_t predecessor_hash[SHA256_SIZE];
    uint8_t content_hash[SHA256_SIZE];
    uint8_t hash[SHA256_SIZE];
};

/* PATH/segments/NNNNNNNN.seg into out[PATH_MAX]: 0 or -ENAMETOOLONG. */
int segment_path(const char *archive, uint64_t id, char *out);

/* Ids of the segments in the folder, ascending, into fresh memory (free() it). */
int segment_list(const char *archive, uint64_t **out_ids, size_t *out_count);

/* Bytes of the files of these segments; those that are not there count nothing. */
uint64_t segment_bytes(const char *archive, const uint64_t *ids, size_t count);

void segment_header_encode(const struct segment_header *h,
                           uint8_t out[SEGMENT_HEADER_SIZE]);
/* 0, ERR_DAMAGED, ERR_VERSION. */
int segment_header_decode(const uint8_t data[SEGMENT_HEADER_SIZE],
                          struct segment_header *out);

/* Computes hash, too. */
void segment_trailer_encode(struct segment_trailer *t, uint8_t out[SEGMENT_TRAILER_SIZE]);
int segment_trailer_decode(const uint8_t data[SEGMENT_TRAILER_SIZE],
                           struct segment_trailer *out);

/* A segment opened to read. */
struct segment_file {
    const struct file_ops *ops;
    int fd;
    struct disk_file *disk; /* reads it past the page cache; NULL: the usual way */
    uint64_t size;          /* of the file when it was opened */
    struct segment_header header;
    bool header_damaged; /* it did not check, but the records behind it do */
    uint64_t bytes_read; /* so far */
};

/* 0; ERR_NOT_FOUND; ERR_DAMAGED (its header, and no valid record follows; or another
 * archive's, or another id's); ERR_VERSION; -errno. A damaged header alone does not lose
 * the records: all that reading needs of it is the sync word, which each record repeats. */
int segment_open(const struct file_ops *ops, const char *archive, uint64_t id,
                 const uint8_t *uuid, struct segment_file *out);
/* The same of a file with a name of its own. */
int segment_open_at(const struct file_ops *ops, const char *path, uint64_t id,
                    const uint8_t *uuid, struct segment_file *out);
/* As segment_open(), and all that is read of it comes from the disk itself; so
 * segment_read() and segment_read_body(), too, may return ERR_NOT_FROM_DISK. */
int segment_open_from_disk(const struct file_ops *ops, const char *archive, uint64_t id,
                           const uint8_t *uuid, struct segment_file *out);
void segment_file_close(struct segment_file *f);

/* The trailer, if the file ends in a valid one: 0, ERR_NOT_FOUND (not sealed), -errno. */
int segment_read_trailer(struct segment_file *f, struct segment_trailer *out);

/* One record as read. Zero-initialise; the buffers are used again by each read. */
struct record_view {
    struct record_header header;
    uint64_t offset;
    struct buffer head; /* header and stored meta, as they are in the file */
    struct buffer meta; /* raw */
    struct buffer stored_body;
    struct buffer body; /* raw */
};

void record_view_free(struct record_view *v);
/* size bytes of the raw body that was read, from place on; borrowed. false: it has not got
 * them. Of an empty body the slice is empty, too, and leads nowhere. */
bool record_view_slice(const struct record_view *v, uint64_t place, uint64_t size,
                       struct span *out);

/* Read header and meta at offset, not beyond limit. 0; ERR_DAMAGED; ERR_VERSION; -errno. */
int segment_read(struct segment_file *f, uint64_t offset, uint64_t limit,
                 struct codec *codec, struct record_view *out);

/* Of a PACK record in `pack`, the record that *rest (at first its meta) begins with, as if
 * it had been read by itself: header and meta. Takes it off *rest. 0; ERR_NOT_FOUND behind
 * the last; ERR_DAMAGED; -ENOMEM. */
int record_view_unpack(const struct record_view *pack, struct span *rest,
                       struct record_view *out);

/* Then its body: stored, and checked; with codec also raw. 0; ERR_DAMAGED; -errno. */
int segment_read_body(struct segment_file *f, struct record_view *v, struct codec *codec);
/* The same, but of the raw body only the first `upto` bytes: ERR_DAMAGED if it has fewer.
 */
int segment_read_body_start(struct segment_file *f, struct record_view *v, uint64_t upto,
                            struct codec *codec);

/* From `offset` on, the first place below limit that holds a valid record header: 0;
 * ERR_NOT_FOUND; -errno (it cannot be known). */
int segment_resync(struct segment_file *f, uint64_t offset, uint64_t limit,
                   uint64_t *out_offset);

#endif
