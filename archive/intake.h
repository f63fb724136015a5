/* The archive's side of one session with a maildrop: what of a listing is known, and taking
 * in what is new. Messages stream through; at most CHUNK_RAW_MAX bytes are held. Records
 * come out, ready for store_append(), in the order in which they must reach it. One thread
 * at a time. */
#ifndef MAILCASK_ARCHIVE_INTAKE_H
#define MAILCASK_ARCHIVE_INTAKE_H

#include "archive/archive.h"
#include "archive/codec.h"
#include "archive/deletion.h"
#include "archive/lookup.h"
#include "archive/record.h"

#include <stdbool.h>
#include <stdint.h>

struct intake;

struct intake_config {
    struct archive *archive;
    struct lookup *lookup;
    struct codec *codec;
    uint32_t account;
    uint32_t source;
    bool store_once_off; /* attachments stay in their messages: to measure what it gains */
    /* Takes the record over. A non-zero return ends the intake: every later call returns
     * it. */
    int (*emit)(void *arg, struct record *r);
    void *arg;
};

/* The account must have no other intake open, and every record of its earlier ones must be
 * committed or lost: numbers continue from the index. 0, -ENOMEM, ERR_INDEX, ERR_CRYPTO. */
int intake_open(const struct intake_config *config, struct intake **out);
/* Whatever was not flushed is dropped. NULL is fine. */
void intake_close(struct intake *in);

enum intake_verdict {
    INTAKE_WANTED,
    INTAKE_KNOWN,
    INTAKE_QUARANTINED, /* put aside before, with this listed size */
};

/* Judge one line of a listing. listed_size may be SIZE_UNKNOWN. The same UIDL twice is
 * known twice only if two messages were archived under it (Q6). A failing index makes
 * everything wanted: fetching again is safe. */
enum intake_verdict intake_judge(struct intake *in, struct span uidl, uint64_t listed_size);

/* After the listing. trusted: see POP3.md S5; without it content proves nothing to be the
 * same message (P3), but for messages without a UIDL. */
void intake_listed(struct intake *in, bool trusted);
/* SESSION_RENUMBERED, SESSION_REUSED, SESSION_DOUBTED as far as they are known (Q7, Q8,
 * Q13). */
uint8_t intake_flags(const struct intake *in);

/* One message. uidl is copied; empty or over UIDL_SIZE_MAX: none. */
int intake_begin(struct intake *in, struct span uidl, uint64_t listed_size);
int intake_add(struct intake *in, const uint8_t *data, size_t size);

enum intake_result {
    INTAKE_ARCHIVED,
    INTAKE_DEDUPLICATED, /* its bytes were archived under a UIDL that is gone: only SEEN is
                            written */
    INTAKE_HEALED,       /* it replaced a damaged copy, under the same N */
    INTAKE_AGAIN,        /* it is what its UIDL has meant before, fetched again to see */
};

/* A header field of the message that is being taken in, as far as it has come: FIELD_* or
 * ENVELOPE_X_UIDL (envelope.h). Good until the message ends. */
struct span intake_field(const struct intake *in, int field);

/* The message is whole. flags: of MESSAGE_SHORT, MESSAGE_FORGEABLE, MESSAGE_STAND_IN. */
int intake_end(struct intake *in, uint8_t flags, enum intake_result *out_result);
/* It is not: forget it. */
void intake_abort(struct intake *in);

/* Never to be fetched again with this listed size: reason is a sentence. */
int intake_quarantine(struct intake *in, struct span uidl, uint64_t listed_size,
                      const char *reason);

/* Close the open block. What was needed to take messages in is freed: before the first and
 * behind this, an intake is a few KiB. */
int intake_flush(struct intake *in);
/* The session lost its step (Q21): which bytes belong to which UIDL is not certain for what
 * came in it. It stays archived, and the next session fetches it again to see. */
void intake_suspect(struct intake *in);

/* Nothing more comes: journal what became of deletions, this session's and earlier ones.
 * source, flags (but for SESSION_DELETES), doubts, vanished, deleted, unknown, highest and
 * named of m are filled in; named is good as long as the intake. *out_quiet: nothing has
 * changed since the last listing, as far as the archive can tell. */
int intake_conclude(struct intake *in, struct session_meta *m, bool *out_quiet);
/* Then the session's record, last (it concludes first where that was not done); or, for a
 * run of quiet polls that has ended, its record: SESSION_RUN or UNLISTED_RUN. m->source is
 * filled in. */
int intake_session(struct intake *in, struct session_meta *m);
int intake_run(struct intake *in, enum record_type type, struct session_run_meta *m);

/* maildrop_settled() and, after intake_conclude() of a quiet session, maildrop_comparable()
 * (maildrop.h): whether a session need not list, and whether a later one need not that
 * finds STAT and the last UIDL as this one has. LSNs; 0: it must. */
uint64_t intake_settled(struct intake *in);
uint64_t intake_comparable(struct intake *in);

/* Deletion (deletion.h). A session either fetches, and counts what may be deleted, or
 * deletes. In a delete session: intake_offer() for each line that is known; fetch again
 * what it says, as any message; then prove the plan's items (`proven`), intake_intend(),
 * and once that is durable DELE, with the results in the items' `state`. */

/* A clock that is further behind the account's newest record is wrong. */
#define INTAKE_CLOCK_SLACK_US ((int64_t)60 * 1000000)

/* Before the listing: messages archived before this time may go; INT64_MAX: all. False, and
 * nothing may, if the clock (now_us) is wrong. */
bool intake_may_delete(struct intake *in, int64_t archived_before_us, int64_t now_us);
/* Plan only what has a higher N: an earlier session has looked at the others. */
void intake_delete_from(struct intake *in, uint64_t n);

enum intake_offer {
    INTAKE_KEEP,    /* not now, or never */
    INTAKE_DELETE,  /* planned */
    INTAKE_COMPARE, /* planned, if it is fetched again and equal */
};

/* The line that was judged last, of this number in the listing. */
enum intake_offer intake_offer(struct intake *in, uint32_t number);

/* After the listing: how many messages a delete session may try to delete. 0 if the listing
 * is not trusted or doubted. */
uint64_t intake_deletable(const struct intake *in);
/* What is left of the plan: empty for the same reasons. */
struct deletion_plan *intake_plan(struct intake *in);

/* Drop what is not proven, or should have been compared and was not, and journal the intent
 * to delete the rest. 0 also where nothing is left. */
int intake_intend(struct intake *in);

/* Bytes held in memory by the open block and the message. */
size_t intake_memory(const struct intake *in);

#endif
