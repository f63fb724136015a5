/* A record: header, meta, body, each with a checksum of its own (FORMAT.md, "Record"). */
#ifndef MAILCASK_ARCHIVE_RECORD_H
#define MAILCASK_ARCHIVE_RECORD_H

#include "archive/bytes.h"
#include "archive/codec.h"
#include "archive/format.h"

#include <stdint.h>

struct record_header {
    uint8_t type;  /* enum record_type */
    uint8_t codec; /* enum codec_id, of the body */
    uint8_t cipher;
    uint32_t flags;     /* RECORD_META_ZSTD, RECORD_CARRIED */
    uint32_t account;   /* 0: the archive itself */
    uint32_t meta_size; /* as stored */
    uint64_t body_size; /* as stored */
    uint64_t body_raw_size;
    uint64_t lsn;
    int64_t time_us; /* since the epoch */
    uint64_t meta_checksum;
    uint64_t body_checksum;
};

/* A record before it has a place: what a session hands to the store. meta is raw and
 * becomes `stored_meta` in record_prepare(); body is as stored. */
struct record {
    struct record_header header; /* lsn is given by the store */
    struct buffer meta;
    struct buffer stored_meta; /* empty: meta is stored as it is */
    uint8_t *body;             /* malloc()ed; NULL: none */
};

/* NULL when memory runs out. */
struct record *record_create(enum record_type type, uint32_t account, int64_t time_us);
void record_destroy(struct record *r);

/* Compress the meta where that shrinks it, and fill sizes and checksums of the header. To
 * be called once meta and body are complete. 0; -ENOMEM if a put to the meta ran out of
 * memory; ERR_TOO_LARGE; ERR_COMPRESSION. codec may be NULL: no compression. */
int record_prepare(struct record *r, struct codec *codec);
int record_prepare_at(struct record *r, struct codec *codec, enum codec_effort effort);

/* Make size bytes the body: compressed, unless that is no smaller. To be called before
 * record_prepare(). 0; -ENOMEM; ERR_COMPRESSION. */
int record_fill_body(struct record *r, struct codec *codec, enum codec_effort effort,
                     const uint8_t *data, size_t size);

/* The meta as it is stored. */
struct span record_stored_meta(const struct record *r);

/* Bytes the record takes in a segment. */
uint64_t record_size(const struct record_header *h);
/* Bytes of its header alone. */
uint32_t record_header_size(const struct record_header *h);

/* Write the header for a place: the segment's sync word and the offset go into its
 * checksum, so that a record is valid only where it was written. out holds
 * RECORD_HEADER_CIPHER_SIZE bytes. Returns its size. */
uint32_t record_encode_header(const struct record_header *h, uint64_t sync_word,
                              uint64_t offset, uint8_t *out);

/* Read and check a header from up to RECORD_HEADER_CIPHER_SIZE bytes. 0; ERR_DAMAGED;
 * ERR_VERSION for a valid header of a kind that this version must not read. */
int record_decode_header(struct record_header *h, uint64_t sync_word, uint64_t offset,
                         const uint8_t *data, size_t size);

/* Check a stored meta and put its raw bytes into out (cleared before). 0, ERR_DAMAGED,
 * -ENOMEM. */
int record_decode_meta(const struct record_header *h, const uint8_t *stored,
                       struct codec *codec, struct buffer *out);

/* Check a stored body, all of it, and put the first `upto` of its body_raw_size raw bytes
 * into out (cleared before). 0, ERR_DAMAGED, -ENOMEM. */
int record_decode_body(const struct record_header *h, const uint8_t *stored, uint64_t upto,
                       struct codec *codec, struct buffer *out);

/* "BLOCK", or "type 99". Static. */
const char *record_type_name(uint8_t type);

#endif
