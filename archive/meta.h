/* What the meta of each record type says (FORMAT.md, "Metas"): encoded into a buffer,
 * decoded from a span. Decoded spans borrow from the input. Encoders never fail but by the
 * buffer's sticky flag; decoders return 0 or ERR_DAMAGED (too short, a count or length out
 * of range, bytes left over). */
#ifndef MAILCASK_ARCHIVE_META_H
#define MAILCASK_ARCHIVE_META_H

#include "archive/base64_run.h"
#include "archive/bytes.h"
#include "archive/digest.h"
#include "archive/format.h"
#include "archive/number_set.h"

#include <stdbool.h>
#include <stdint.h>

#define SIZE_UNKNOWN UINT64_MAX
#define STREAM_ID_SIZE 16

/* Where a message's bytes are. */
enum body_kind {
    BODY_SLICE = 0,  /* `place`: offset in the raw body of its own BLOCK */
    BODY_STREAM = 1, /* `place`: number of CHUNKs of `stream` */
    BODY_SAME = 2,   /* `place`: N of a message of the same account with equal bytes */
};

/* Message flags */
#define MESSAGE_HEALS 1u /* takes the place of a damaged copy under the same N */
#define MESSAGE_SHORT 2u /* far shorter than the server had said (Q31) */
#define MESSAGE_NO_UIDL \
    4u /* the server gave none, a blank one, or one over UIDL_SIZE_MAX */
#define MESSAGE_UNTRUSTED 8u /* from a listing that was not trusted */
#define MESSAGE_FORGEABLE                                                               \
    16u                      /* its UIDL stands in a header its sender could write (Q9) \
                              */
#define MESSAGE_STAND_IN 32u /* the server's text in place of the message (Q22, Q32) */

enum { FIELD_DATE, FIELD_FROM, FIELD_TO, FIELD_SUBJECT, FIELD_MESSAGE_ID, FIELD_COUNT };

/* One archived message. */
struct message_meta {
    uint64_t n;
    uint32_t source;
    uint8_t kind;         /* enum body_kind */
    uint8_t flags;        /* MESSAGE_* */
    uint64_t listed_size; /* LIST's, or SIZE_UNKNOWN */
    uint64_t size;        /* bytes */
    uint8_t sha256[SHA256_SIZE];
    uint8_t salt[SALT_SIZE];
    int64_t fetched_us;
    uint64_t place;
    uint8_t stream[STREAM_ID_SIZE]; /* only with BODY_STREAM */
    /* The base64 runs that were taken out, as run_meta_*() encode them; empty: none. */
    struct span runs;
    struct span uidl;
    /* The first of each header field as received, unfolded, at most FIELD_SIZE_MAX bytes;
     * empty where missing. For display: never part of the message's identity. */
    struct span fields[FIELD_COUNT];
};

/* A base64 run that is kept as parts: PART_RAW_MAX decoded bytes each, the last one less.
 */
struct run_meta {
    uint64_t at; /* where it belongs in what the message keeps of its own */
    struct base64_run run;
    const uint8_t *parts; /* a SHA-256 for each part, one behind the other */
};

uint64_t run_part_count(const struct base64_run *run);
/* Bytes of part i. */
size_t run_part_size(const struct base64_run *run, uint64_t i);

void run_meta_encode(struct buffer *out, const struct run_meta *m);
/* The next run of a message's `runs`, which it takes it off. 0; ERR_NOT_FOUND behind the
 * last; ERR_DAMAGED. */
int run_meta_next(struct span *runs, struct run_meta *out);
/* Encoded bytes of all runs: what the message is longer than what it keeps of its own. */
int run_meta_total(struct span runs, uint64_t *out_encoded, uint64_t *out_decoded);

/* BLOCK and END. `highest` is the account's highest N after this record. */
struct block_meta_writer {
    struct buffer *out;
    size_t count_at;
    uint32_t count;
};

void block_meta_begin(struct block_meta_writer *w, struct buffer *out);
void block_meta_add(struct block_meta_writer *w, const struct message_meta *m);
void block_meta_end(struct block_meta_writer *w, uint64_t highest);

struct block_meta_reader {
    struct cursor cursor;
    uint64_t highest;
    uint32_t count; /* messages in the record */
    uint32_t next;  /* ordinal of the one block_meta_next() gives next */
};

int block_meta_open(struct block_meta_reader *r, struct span meta);
/* 0; ERR_NOT_FOUND behind the last; ERR_DAMAGED. */
int block_meta_next(struct block_meta_reader *r, struct message_meta *out);

/* PART: a decoded piece of an attachment, by its SHA-256. */
void part_meta_encode(struct buffer *out, const uint8_t sha256[SHA256_SIZE]);
int part_meta_decode(struct span meta, const uint8_t **out_sha256);

struct chunk_meta {
    uint8_t stream[STREAM_ID_SIZE];
    uint32_t sequence; /* from 0 */
    uint64_t raw_offset;
};

void chunk_meta_encode(struct buffer *out, const struct chunk_meta *m);
int chunk_meta_decode(struct span meta, struct chunk_meta *out);

struct commit_meta {
    uint64_t durable_upto; /* bytes of this segment known to be synced before this batch */
};

void commit_meta_encode(struct buffer *out, const struct commit_meta *m);
int commit_meta_decode(struct span meta, struct commit_meta *out);

struct account_meta {
    uint32_t number; /* from 1 */
    struct span name;
};

void account_meta_encode(struct buffer *out, const struct account_meta *m);
int account_meta_decode(struct span meta, struct account_meta *out);

/* A source is an account's maildrop: host and login. */
struct source_meta {
    uint32_t number; /* from 1 within the account */
    struct span host;
    struct span login;
};

void source_meta_encode(struct buffer *out, const struct source_meta *m);
int source_meta_decode(struct span meta, struct source_meta *out);

/* A UIDL (or a further listed size of one) now known to mean message n, without a new body.
 */
struct seen_meta {
    uint64_t n;
    uint32_t source;
    uint64_t listed_size;
    struct span uidl;
};

void seen_meta_encode(struct buffer *out, const struct seen_meta *m);
int seen_meta_decode(struct span meta, struct seen_meta *out);

/* How a session ended. */
enum session_state {
    SESSION_COMPLETE = 0, /* everything listed is archived */
    SESSION_PARTIAL = 1,  /* ended early; what was archived is archived */
    SESSION_FAILED = 2,   /* nothing could be listed */
};

/* Session flags */
#define SESSION_DELETES 1u    /* a delete session: nothing new was fetched */
#define SESSION_RENUMBERED 2u /* most UIDLs had changed (Q7) */
#define SESSION_REUSED 4u     /* a known UIDL came with another message (Q8, Q9) */
#define SESSION_DOUBTED 8u    /* most of what was listed before was missing (Q13) */
#define SESSION_NAMES 16u     /* `named` and `highest` are set; an empty set counts */
#define SESSION_FLAGS_KNOWN 31u

struct session_meta {
    uint32_t source;
    uint8_t state;   /* enum session_state */
    uint8_t trusted; /* the listing, 1 or 0 */
    uint8_t more;    /* left at the session's limit, 1 or 0 */
    uint8_t flags;   /* SESSION_* */
    uint8_t doubts;  /* listings in a row that were doubted, this one included */
    int64_t began_us;
    int64_t ended_us;
    uint64_t listed;       /* messages STAT counted; SIZE_UNKNOWN: never got that far */
    uint64_t listed_bytes; /* STAT's */
    uint64_t known;        /* archived before */
    uint64_t fetched;      /* archived now, with a body or sharing one */
    uint64_t deduplicated; /* known by content: only SEEN was written */
    uint64_t healed;       /* damaged copies replaced */
    uint64_t refused;      /* -ERR to RETR */
    uint64_t quarantined;
    uint64_t deleted;            /* DELE and QUIT answered +OK */
    uint64_t unknown;            /* DELE sent, an answer missing */
    uint64_t vanished;           /* listed before, not now, and not deleted by us */
    uint64_t bytes;              /* of the bodies received */
    uint8_t digest[SHA256_SIZE]; /* of the listing */
    uint64_t highest;            /* the account's highest N at its end */
    struct span named;           /* number_set.h: the archived messages that it listed */
    struct span address;         /* the peer's, as text */
    struct span tls;             /* version and cipher, as text */
    struct span untrusted;       /* why the listing was not trusted; empty when it was */
    struct span text;            /* the outcome in words; empty when complete */
};

void session_meta_encode(struct buffer *out, const struct session_meta *m);
int session_meta_decode(struct span meta, struct session_meta *out);

/* SESSION_RUN: quiet polls behind a SESSION, all with the same listing. UNLISTED_RUN: polls
 * behind these that found STAT and the last message's UIDL as in that listing, and asked
 * for no other. They show that the server was reached, and nothing else. */
struct session_run_meta {
    uint32_t source;
    uint64_t polls;
    int64_t first_us; /* ends of the first and the last of them */
    int64_t last_us;
    uint64_t listed;
    uint64_t listed_bytes;
    uint8_t digest[SHA256_SIZE];
};

void session_run_meta_encode(struct buffer *out, const struct session_run_meta *m);
int session_run_meta_decode(struct span meta, struct session_run_meta *out);

/* What became of the deletion of one message from one maildrop. */
enum deletion_state {
    DELETION_NONE = 0,
    DELETION_INTENDED = 1,  /* journalled; DELE may have been sent */
    DELETION_ACCEPTED = 2,  /* DELE and QUIT were answered +OK */
    DELETION_UNKNOWN = 3,   /* DELE was sent, an answer is missing (Q58) */
    DELETION_REFUSED = 4,   /* DELE was answered -ERR */
    DELETION_UNSENT = 5,    /* DELE was not sent after all */
    DELETION_ABSENT = 6,    /* a later complete listing lacked it */
    DELETION_CONFIRMED = 7, /* a second one did */
    DELETION_RETURNED = 8,  /* listed again, with the archived bytes (Q37) */
    DELETION_UNDONE = 9,    /* the same, where it was not known if it was deleted */
};

/* DELETE_INTENT: what may be deleted, and on what proof. Nothing of it is a place. */
struct intent_meta {
    uint64_t n;
    uint64_t listed_size; /* then and now */
    uint8_t attempt;      /* from 1 */
    uint8_t proof;        /* INTENT_* */
    uint8_t sha256[SHA256_SIZE];
    struct span uidl;
};

#define INTENT_READ_BACK 1u     /* the copy was read from the disk and has this SHA-256 */
#define INTENT_FETCHED_AGAIN 2u /* and so has what the server gave in this session */

/* Messages of DELETE_INTENT and DELETE_OUTCOME. */
#define DELETIONS_MAX 1024

void intents_begin(struct buffer *out, uint32_t source, uint32_t count);
void intents_add(struct buffer *out, const struct intent_meta *m);

struct intents_reader {
    struct cursor cursor;
    uint32_t source;
    uint32_t left;
};

int intents_open(struct intents_reader *r, struct span meta);
/* 0; ERR_NOT_FOUND behind the last; ERR_DAMAGED. */
int intents_next(struct intents_reader *r, struct intent_meta *out);

/* DELETE_OUTCOME: this is now the state of these messages. */
struct outcome_meta {
    uint32_t source;
    uint8_t state; /* enum deletion_state, from DELETION_ACCEPTED on */
    struct span text;
    struct span numbers; /* number_set.h; up to DELETIONS_MAX */
};

void outcome_meta_encode(struct buffer *out, const struct outcome_meta *m);
int outcome_meta_decode(struct span meta, struct outcome_meta *out);

struct quarantine_meta {
    uint32_t source;
    uint64_t listed_size;
    uint64_t size; /* bytes kept in the quarantine folder */
    struct span uidl;
    struct span file; /* its name there; empty: nothing was kept */
    struct span reason;
};

void quarantine_meta_encode(struct buffer *out, const struct quarantine_meta *m);
int quarantine_meta_decode(struct span meta, struct quarantine_meta *out);

/* Damage acknowledged by the operator: messages first..last of the header's account are
 * gone. With account 0: the segment `segment` is damaged or gone and has been acknowledged.
 */
struct lost_meta {
    uint64_t segment;
    uint64_t first;
    uint64_t last;
    struct span reason;
};

void lost_meta_encode(struct buffer *out, const struct lost_meta *m);
int lost_meta_decode(struct span meta, struct lost_meta *out);

/* ACCESS: before messages of the header's account were given out to a person. */
enum access_command { ACCESS_SHOW = 1, ACCESS_RESTORE = 2 };

struct access_meta {
    uint8_t command; /* enum access_command */
    uint64_t count;  /* messages that were asked for */
    uint64_t first;  /* the lowest N and the highest of these */
    uint64_t last;
    struct span user;   /* who: the user that has logged in, see FORMAT.md */
    struct span detail; /* e.g. where to, of which days; may be empty */
    struct span reason; /* as given; empty: none */
};

void access_meta_encode(struct buffer *out, const struct access_meta *m);
int access_meta_decode(struct span meta, struct access_meta *out);

/* SUPERSEDES: everything of these segments that counts has been copied behind them. */
struct superseded {
    uint64_t segment;
    uint8_t hash[SHA256_SIZE]; /* its trailer's */
};

void superseded_encode(struct buffer *out, const struct superseded *s);
int superseded_count(struct span meta, size_t *out_count);
void superseded_at(struct span meta, size_t i, struct superseded *out);

/* PACK: small records without a body, put together by repacking. */
struct packed_record {
    uint8_t type;
    uint32_t account;
    uint64_t lsn;
    int64_t time_us;
    struct span meta;
};

void packed_record_encode(struct buffer *out, const struct packed_record *r);
/* The next record of a PACK's meta, which it takes off it. 0; ERR_NOT_FOUND behind the
 * last; ERR_DAMAGED. */
int packed_record_next(struct span *rest, struct packed_record *out);

/* SEAL: the table of contents, one entry a record in order of their offsets. */
struct toc_entry {
    uint64_t offset;
    uint64_t lsn;
    uint64_t first_n; /* of a BLOCK, END or SEEN; else 0 */
    uint32_t count_n; /* its messages are first_n .. ; a gap makes a new entry with the same
                         offset */
    uint32_t account;
    uint8_t type;
};

#define TOC_ENTRY_SIZE 33

void toc_entry_encode(struct buffer *out, const struct toc_entry *e);
/* meta is SEAL's; count is how many entries it holds. 0 or ERR_DAMAGED. */
int toc_decode(struct span meta, size_t *out_count);
void toc_entry_at(struct span meta, size_t i, struct toc_entry *out);

#endif
