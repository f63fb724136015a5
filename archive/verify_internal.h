/* What verify.c (the whole), verify_accounts.c (the accounts met), verify_segment.c (one
 * segment), verify_parts.c (its parts) and verify_index.c (the index against the segments)
 * share. */
#ifndef MAILCASK_ARCHIVE_VERIFY_INTERNAL_H
#define MAILCASK_ARCHIVE_VERIFY_INTERNAL_H

#include "archive/archive_internal.h"
#include "archive/hash_set.h"
#include "archive/index_rows.h"
#include "archive/salvage.h"
#include "archive/verify.h"

/* A message that shares another's body. */
struct sharing {
    uint64_t n;
    uint64_t target;
};

struct checked_account {
    uint32_t number;
    struct buffer name;    /* by its ACCOUNT record; empty: not met */
    struct buffer valid;   /* a bit for each N with a sound copy */
    struct buffer placed;  /* of these, where the index has it */
    struct buffer broken;  /* N of ENDs whose stream is broken: u64 each */
    struct buffer sharing; /* struct sharing each: settled when all is read */
    uint64_t highest;
};

/* A damaged stretch, judged at the end: are its messages sound elsewhere? */
struct bad_record {
    uint64_t segment;
    uint64_t offset;
    uint8_t type; /* 0: not known */
    uint32_t account;
    uint64_t first_n;
    uint32_t count_n;
    const char *text;
};

/* A message that arrives in chunks. */
struct open_stream {
    uint8_t id[STREAM_ID_SIZE];
    uint32_t next;
    uint64_t size;
    bool broken;
    struct sha256 *hash;  /* NULL with --quick */
    struct buffer places; /* of its chunks, struct place each */
};

struct lost_range {
    uint32_t account; /* 0: `first` is a segment */
    uint64_t first;
    uint64_t last;
};

/* A PART that was met: its best copy. */
struct seen_part {
    struct place place;
    uint32_t size;
    bool sound;
};

/* A message with attachments, checked when all parts have been met. */
struct deferred {
    struct place place;
    uint32_t account;
    uint64_t n;
    uint32_t ordinal;
    uint64_t size;        /* of the message */
    struct buffer chunks; /* of a stream: the places of its chunks, struct place each */
};

struct verifier {
    struct archive *archive;
    struct salvage salvage; /* of the archive's file operations */
    const struct verify_options *options;
    struct verify_summary *summary;
    struct codec *codec;
    struct sha256 *hash;
    struct record_view view; /* the record being checked */
    struct record_view
        pack;              /* that holds it, while the records of a PACK are gone through */
    struct index_txn *txn; /* reset between look-ups; NULL: no index */
    struct checked_account *accounts; /* in the order they were met, sorted to be settled */
    size_t accounts_count;
    size_t accounts_capacity;
    struct hash_set accounts_by_number; /* where in `accounts` it is: uint32_t */
    struct buffer bad;                  /* struct bad_record each */
    struct buffer streams;              /* struct open_stream each */
    struct buffer lost;                 /* struct lost_range each */
    struct hash_set parts;              /* struct seen_part each */
    struct buffer deferred;             /* struct deferred each */
    struct buffer damaged_parts;        /* struct damaged_part each */
    uint64_t attachments_hurt;          /* messages whose parts are missing or hurt */
    struct segment_file deferred_file;
    bool deferred_open;
    struct place deferred_place;             /* of the record in `view`; segment 0: none */
    struct block_meta_reader deferred_metas; /* its, up to the message checked last */
    struct record_view chunk_view;
    struct hash_set ledger_records; /* their LSNs: a copy by repacking is no second entry */
    struct hash_set chunk_records;  /* stream and sequence */
    struct buffer superseded;       /* struct superseded each */
    const uint64_t *ids;            /* the segments, */
    const struct segment_row *rows; /* and what the index said of them at the beginning */
    size_t ids_count;
    uint64_t last_lsn;       /* the index's then */
    bool beside_writer;      /* somebody else writes, or has written since */
    uint64_t segment_bytes;  /* to be read; summary->bytes: read */
    uint64_t deferred_bytes; /* of the messages deferred; again_bytes: checked of these */
    uint64_t again_bytes;
    uint64_t previous_id; /* the segment read last */
    bool previous_sealed;
    uint8_t previous_hash[SHA256_SIZE];
    int err; /* out of memory, or ERR_STOPPED by the caller: sticky */
};

/* The account's entry, made if need be, good until the next one is made. NULL when memory
 * ran out (err is set), or for a number that no writer of ours gives out. */
struct checked_account *verify_account(struct verifier *v, uint32_t number);
/* The same, if it was met; else NULL. */
struct checked_account *verify_find_account(const struct verifier *v, uint32_t number);
/* By number, so that findings come in that order. */
void verify_sort_accounts(struct verifier *v);
void verify_free_accounts(struct verifier *v);
/* Tell the caller how far it is; err is set when he wants an end. */
void verify_progress(struct verifier *v);
void verify_set_bit(struct verifier *v, struct buffer *bits, uint64_t n);
void verify_structure(struct verifier *v, uint64_t segment, uint64_t offset,
                      const char *text);
void verify_index_differs(struct verifier *v, uint32_t account, uint64_t n,
                          uint64_t segment, uint64_t offset, const char *text);

/* Check segment id. row: what the index says of it, NULL without an index. */
int verify_segment(struct verifier *v, uint64_t id, const struct segment_row *row);

/* The record in v->view, of segment `segment`, has a sound header and meta: is it in the
 * index? */
void verify_rows(struct verifier *v, uint64_t segment);
/* A sound message at this place: has the index got it there? */
void verify_message_row(struct verifier *v, uint32_t account, const struct message_meta *m,
                        const struct place *place, uint32_t ordinal);
/* The PART in v->view. */
void verify_note_part(struct verifier *v, const struct place *place, bool sound);
/* A message of the record in v->view names parts: check it at the end. chunks (may be NULL)
 * is taken. */
void verify_defer(struct verifier *v, const struct place *place,
                  const struct message_meta *m, uint32_t ordinal, struct buffer *chunks);
/* Check those. */
int verify_attachments(struct verifier *v);
/* A part that a message names and that is missing or hurt. */
void verify_damaged_part(struct verifier *v, const uint8_t sha256[SHA256_SIZE]);
void verify_free_parts(struct verifier *v);

/* Has a writer beside us made a place of message n that is newer than what we read? */
bool verify_is_newer(struct verifier *v, uint32_t account, uint64_t n);
/* Does the index say that repacking has replaced the segment? */
bool verify_is_replaced(struct verifier *v, uint64_t segment);
/* Nothing more in the index than in the segments? */
int verify_counts(struct verifier *v);

#endif
