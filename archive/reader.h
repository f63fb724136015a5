/* Reading messages back. A reader keeps the block it decompressed last, so that walking an
 * account in order of N reads each block once. One thread at a time; many readers may work
 * on one archive. */
#ifndef MAILCASK_ARCHIVE_READER_H
#define MAILCASK_ARCHIVE_READER_H

#include "archive/archive.h"
#include "archive/meta.h"

#include <stddef.h>
#include <stdint.h>

struct reader;

/* 0; -ENOMEM; ERR_NO_INDEX; ERR_INDEX. The archive must outlive it. */
int reader_create(struct archive *a, struct reader **out);
/* A reader that takes all it needs of the segments from the disk itself, past the page
 * cache (proof.h): every function below may then return ERR_NOT_FROM_DISK, too. */
int reader_create_from_disk(struct archive *a, struct reader **out);
/* A reader for one message, or for a few anywhere: of the block that a message is in only
 * as much is decompressed as comes before its end. What is checked stays the same: the
 * block as it is stored by its checksum, the message by its SHA-256; only the bytes behind
 * the message might not decompress, which is nothing to it. Walking an account so is slow.
 */
int reader_create_for_one(struct archive *a, struct reader **out);
void reader_destroy(struct reader *r);

/* What is known of message n of an account. The spans are good until the next call on this
 * reader. 0; ERR_NOT_FOUND; ERR_DAMAGED (its record cannot be read: only out->n is set);
 * -errno. */
int reader_message(struct reader *r, uint32_t account, uint64_t n,
                   struct message_meta *out);

/* The same for the first message behind n (0: from the start). ERR_NOT_FOUND at the end;
 * with ERR_DAMAGED out->n tells which message is hurt, and the walk can go on behind it. */
int reader_next(struct reader *r, uint32_t account, uint64_t n, struct message_meta *out);

/* Where messages are, for those who choose the order in which they read them. */
struct message_place {
    uint64_t n;
    uint64_t segment;
    uint64_t offset;  /* of the record in it */
    uint32_t ordinal; /* of the message in the record */
};

/* The messages behind n (0: from the start), by N, at most max: *out_count is 0 at the end.
 * Repacking may move them meanwhile: a place is a hint. 0; ERR_INDEX; -errno. */
int reader_places(struct reader *r, uint32_t account, uint64_t n, size_t max,
                  struct message_place *out, size_t *out_count);

/* The first message whose record is newer than since_lsn and that this UIDL of the source
 * has come to mean. 0; ERR_NOT_FOUND; ERR_INDEX. */
int reader_find_uidl(struct reader *r, uint32_t account, uint32_t source, struct span uidl,
                     uint64_t since_lsn, uint64_t *out_n);

/* Give the message's bytes, exactly as RETR delivered them, to sink in pieces; a non-zero
 * return of sink ends it and is returned. A message of up to BLOCK_RAW_MAX is proved
 * against its SHA-256 before the first piece; a longer one at its end, so what was given
 * counts only when the result is 0. 0; ERR_NOT_FOUND; ERR_DAMAGED; -errno. */
int reader_body(struct reader *r, uint32_t account, uint64_t n,
                int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg);

/* The same for the message as it is known by its hash: ERR_DAMAGED, and nothing is given,
 * if n is another one by now. sink may be NULL: the message is only proved. */
int reader_body_of(struct reader *r, uint32_t account, uint64_t n,
                   const uint8_t sha256[SHA256_SIZE],
                   int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg);

/* For repacking. What the message that reader_message() gave last, of kind BODY_SLICE,
 * keeps of its own; good until the next call. 0; ERR_DAMAGED; -errno. */
int reader_own(struct reader *r, uint32_t account, const struct message_meta *m,
               struct span *out);
/* CHUNK `sequence` of m, of kind BODY_STREAM, its raw body loaded, and where it is. */
struct record_view;
struct place;
int reader_chunk(struct reader *r, const struct message_meta *m, uint32_t sequence,
                 struct record_view *view, struct place *out);
/* The segment of the record read last. */
uint64_t reader_segment(const struct reader *r);

/* Close segments that repacking has removed: until then their space is not free. For those
 * who keep a reader; costs nothing while nothing was removed. */
void reader_let_go(struct reader *r);

/* Bytes read from segments so far, for tests and statistics. */
uint64_t reader_bytes_read(const struct reader *r);

#endif
