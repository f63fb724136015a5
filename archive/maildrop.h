/* One session's view of a maildrop (account and source): which lines of its listing are
 * archived, what has vanished since the last listing, what became of deletions. No message
 * passes through here, and nothing is written: see intake.h. One thread at a time.
 *
 * A message is *claimed* once this listing is found to name it, by its UIDL or by its
 * bytes. A claim by a UIDL is *doubted* where the UIDL may mean another message by now: the
 * message was deleted by us or had vanished (POP3.md, "Identity and UIDL"). It is then
 * fetched again, and the claim stands or falls with its bytes. */
#ifndef MAILCASK_ARCHIVE_MAILDROP_H
#define MAILCASK_ARCHIVE_MAILDROP_H

#include "archive/archive.h"
#include "archive/lookup.h"
#include "archive/maildrop_rows.h"

#include <stdbool.h>
#include <stdint.h>

/* A listing is doubted if it lacks more than half of what the last one named, and that was
 * at least so many (Q7, Q13). Nothing is deleted or concluded on it; the third in a row is
 * believed. */
#define MAILDROP_DOUBT_MIN 2
#define MAILDROP_DOUBTS_MAX 3
/* Listings of so many messages may be a window on a larger mailbox (Q44): as long as the
 * count is what it was when something was deleted, absence proves nothing. */
#define MAILDROP_WINDOW_MIN 100

struct maildrop;

/* 0, -ENOMEM, ERR_INDEX. */
int maildrop_open(struct archive *a, struct lookup *lookup, uint32_t account,
                  uint32_t source, struct maildrop **out);
/* NULL is fine. */
void maildrop_close(struct maildrop *m);

/* The account's highest N when it was opened, and the latest time on its records. */
uint64_t maildrop_highest(const struct maildrop *m);
int64_t maildrop_newest_us(const struct maildrop *m);
size_t maildrop_memory(const struct maildrop *m);
/* The first failure of memory; 0: none. */
int maildrop_error(const struct maildrop *m);

enum maildrop_verdict {
    MAILDROP_WANTED, /* unknown, hurt, or to be looked at again */
    MAILDROP_KNOWN,
    MAILDROP_QUARANTINED, /* put aside before, with this listed size */
};

/* What a line of the listing means. */
struct maildrop_line {
    enum maildrop_verdict verdict;
    uint64_t n;      /* of MAILDROP_KNOWN */
    bool shared;     /* the UIDL has meant several messages, whatever their sizes */
    uint64_t newest; /* the highest N of these */
    unsigned live;   /* of this size, not deleted by us */
    bool sized;      /* the size was known when it was fetched, and is the same now */
    bool twice;      /* the listing has named this UIDL before (Q6) */
};

/* listed_size may be SIZE_UNKNOWN. The same UIDL twice is known twice only if two messages
 * were archived under it. A failing index makes everything wanted: fetching again is safe.
 */
struct maildrop_line maildrop_judge(struct maildrop *m, struct span uidl,
                                    uint64_t listed_size);
/* Whether a later line named the UIDL of message n, too. */
bool maildrop_ambiguous(const struct maildrop *m, uint64_t n);

/* The listing has ended. trusted: POP3.md, S5. */
void maildrop_listed(struct maildrop *m, bool trusted);
/* SESSION_RENUMBERED, SESSION_REUSED, SESSION_DOUBTED as far as they are known. */
uint8_t maildrop_flags(const struct maildrop *m);

/* Message n, known by its UIDL, is fetched again all the same: the claim on it then stands
 * or falls with its bytes, too; if it is not, the claim stands. */
void maildrop_probe(struct maildrop *m, uint64_t n);
/* A message came whole under this UIDL and listed size. If it is one that the UIDL is known
 * to mean, that N, and the claim on it stands; else 0, and a doubted claim falls. */
uint64_t maildrop_settle(struct maildrop *m, struct span uidl, uint64_t listed_size,
                         const uint8_t sha256[SHA256_SIZE]);
/* A message was archived as a new one; noted if the UIDL has meant others (Q8, Q9). */
void maildrop_archived(struct maildrop *m, struct span uidl, uint64_t n);

/* A session may be content to see that the maildrop is as a listing found it, and list
 * nothing (POP3.md, S5), only as long as nothing asks for a listing: all that the last one
 * named is archived and sound, no deletion waits to be confirmed, no UIDL is weak, nothing
 * was doubted. Then the LSN of the session whose listing that was; else 0. */
uint64_t maildrop_settled(struct maildrop *m);
/* After maildrop_conclude(): the same, and this listing bears to be compared with: each of
 * its lines is known, the last is the newest message, by a UIDL of its own, so that what
 * comes would stand behind it, and its count is not that of a window (Q44). */
uint64_t maildrop_comparable(struct maildrop *m);

bool maildrop_is_claimed(const struct maildrop *m, uint64_t n);
void maildrop_claim(struct maildrop *m, uint64_t n);
/* Claim a message because its very bytes were listed, also one that we deleted. */
void maildrop_found(struct maildrop *m, uint64_t n);
/* Acknowledged as lost. */
bool maildrop_is_lost(struct maildrop *m, uint64_t n);
/* Hurt, and not healed since it was found so. */
bool maildrop_is_damaged(struct maildrop *m, uint64_t n);
void maildrop_healed(struct maildrop *m, uint64_t n);

/* The message's meta says that it has these bytes. */
bool maildrop_has_bytes(struct maildrop *m, uint64_t n, const uint8_t sha256[SHA256_SIZE]);

/* What it knows of the maildrop and of a message's deletion, as the index has it now. */
const struct maildrop_row *maildrop_row(const struct maildrop *m);
struct deletion_row maildrop_deletion(struct maildrop *m, uint64_t n);

/* What was archived or found by its bytes in this session is to be doubted by the next. */
void maildrop_suspect(struct maildrop *m);

/* What follows from the listing once all of it is settled: fills in flags, doubts,
 * vanished, highest and named of the session (named borrows from m), and the messages whose
 * deletion has now another state. highest: the account's, now. */
struct maildrop_news {
    struct buffer absent, confirmed, returned, undone; /* bits; to be freed by the caller */
};

void maildrop_conclude(struct maildrop *m, uint64_t highest, struct session_meta *session,
                       struct maildrop_news *out);
void maildrop_news_free(struct maildrop_news *news);

#endif
