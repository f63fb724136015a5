/* What the files of the intake share: intake.c takes in, intake_deletion.c plans what may
 * be deleted and journals what became of it. */
#ifndef MAILCASK_ARCHIVE_INTAKE_INTERNAL_H
#define MAILCASK_ARCHIVE_INTAKE_INTERNAL_H

#include "archive/archive_internal.h"
#include "archive/base64_run.h"
#include "archive/damage.h"
#include "archive/envelope.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/intake.h"
#include "archive/maildrop.h"
#include "archive/packer.h"
#include "archive/parts.h"
#include "archive/reader.h"

/* Bodies of this session that a later equal one may share; beyond, equal bodies are stored
 * again. */
#define SESSION_BODIES_MAX 4096

struct session_body {
    uint8_t sha256[SHA256_SIZE];
    uint64_t n;
    uint64_t place; /* of a slice, in block number `block` */
    uint64_t block;
    bool slice;
};

/* What reads the messages that come in, some 36 KiB: there from the first message to the
 * flush, so that sessions that only poll or wait do not have it. */
struct message_reader {
    struct base64_scanner *scanner;
    struct envelope envelope;
};

struct intake {
    struct intake_config config;
    int err; /* sticky */
    struct packer *packer;
    struct parts *parts;           /* NULL before the first message, and so is hash */
    struct message_reader *reader; /* NULL before the first, and behind a flush */
    bool scanning;                 /* false: the message has all the runs it may have */
    uint64_t highest;
    bool trusted;
    bool concluded;
    struct maildrop *maildrop;
    struct damaged_part *damaged_parts;
    size_t damaged_parts_count;

    bool in_message;
    uint64_t message_size;
    uint64_t listed_size;
    struct buffer uidl;
    struct sha256 *hash;

    struct session_body *bodies;
    size_t bodies_count;

    /* Deletion: see intake_deletion.c. */
    bool deleting; /* a rule was given */
    int64_t archived_before_us;
    uint64_t deletable_from;   /* not N up to here */
    uint64_t deletable_upto;   /* N that the rule lets go */
    struct buffer deletable;   /* a bit for each N that may be deleted */
    struct maildrop_line line; /* judged last */
    struct span line_uidl;     /* borrowed from the listing */
    uint64_t line_size;
    struct deletion_plan plan;
};

/* The index as it is now; NULL when it fails. */
struct index_txn *intake_awake(struct intake *in);
/* NULL: no memory, which is then the intake's error. */
struct record *intake_record(struct intake *in, enum record_type type);
/* Takes r over. 0, or the intake's error. */
int intake_emit(struct intake *in, struct record *r);

/* After intake_judge() of a line. */
void intake_deletion_judged(struct intake *in, const struct maildrop_line *line,
                            struct span uidl, uint64_t listed_size);
void intake_deletion_listed(struct intake *in);
/* Message n came again and is equal. */
void intake_deletion_compared(struct intake *in, uint64_t n);
/* Journal the outcomes, before the session's record. True if there were none, and the
 * listing was as the one before. */
bool intake_deletion_conclude(struct intake *in, struct session_meta *m);
void intake_deletion_free(struct intake *in);

#endif
