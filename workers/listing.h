/* What the server lists in one session: STAT, then LIST, then UIDL, judged line by line.
 * Only entries that are wanted are kept; of the others a count and a digest remain.
 *
 * 1. Every number is taken at most once a listing, and lies in 1..LISTING_NUMBER_MAX.
 * 2. The sizes of LIST are kept until listing_finish(), 12 bytes a message.
 * 3. The listing is trusted only if both listings were complete, name the same numbers,
 * nothing was refused, and their count equals STAT. On an untrusted one nothing is deleted
 * or pruned. Numbers mean something within their session only (Q11); sizes are the server's
 * idea (Q16). */
#ifndef MAILCASK_WORKERS_LISTING_H
#define MAILCASK_WORKERS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LISTING_ENTRIES_MAX ((size_t)2 * 1024 * 1024)
#define LISTING_BYTES_MAX ((size_t)256 * 1024 * 1024)
#define LISTING_NUMBER_MAX ((uint32_t)16 * 1024 * 1024)
#define LISTING_UIDL_MAX ((size_t)1024)
/* Mail may arrive between STAT and LIST; more entries than STAT plus this are refused. */
#define LISTING_STAT_SLACK ((uint64_t)1000)
/* Wanted entries kept for one session; the rest is counted and waits for the next. */
#define LISTING_WANTED_MAX ((size_t)16 * 1024)
#define LISTING_SIZE_UNKNOWN UINT64_MAX
#define LISTING_DIGEST_SIZE 32

struct listing;

struct listing_limits {
    size_t entries_max;
    size_t bytes_max; /* of all listing lines of the session */
    size_t uidl_max;
    uint64_t stat_slack;
    size_t wanted_max;
};

/* The limits named above. */
extern const struct listing_limits listing_limits_default;

enum listing_verdict { LISTING_SKIP, LISTING_WANT };

/* Is this message archived already? size: of LIST, or LISTING_SIZE_UNKNOWN. uidl: uidl_size
 * > 0 opaque bytes (Q5), borrowed, not terminated. The same ID may come several times (Q6):
 * counting them is the judge's part. Not asked about messages without an ID: they are
 * wanted (Q1, Q3). */
typedef enum listing_verdict listing_judge_fn(void *arg, uint32_t number, uint64_t size,
                                              const char *uidl, size_t uidl_size);

/* A wanted message. uidl lives as long as the listing; uidl_size is 0 where the server
 * gives none, or one longer than allowed: such a message is deduplicated by its bytes and
 * never deleted. */
struct listing_entry {
    uint32_t number;
    uint64_t size; /* of LIST, or LISTING_SIZE_UNKNOWN */
    const char *uidl;
    size_t uidl_size;
};

/* Why a listing is not trusted; the first reason found stands. */
enum listing_trust {
    LISTING_TRUSTED,
    LISTING_UNFINISHED, /* not all of it was read */
    LISTING_NO_STAT,    /* refused, or without a count */
    LISTING_NO_LIST,    /* LIST refused: sizes unknown */
    LISTING_NO_UIDL,    /* UIDL refused (Q1) */
    LISTING_BAD_NUMBER, /* 0, negative, garbage, above LISTING_NUMBER_MAX: entry refused */
    LISTING_REPEATED,   /* the same number twice: the second entry refused */
    LISTING_ABOVE_STAT, /* a number above STAT's count; fetched all the same (Q11) */
    LISTING_TOO_MANY,   /* more entries than the limits allow: the rest refused */
    LISTING_LONG_UIDL,  /* over uidl_max: taken as no ID */
    LISTING_BLANK_UIDL, /* an entry without ID (Q3) */
    LISTING_DISK_FULL,  /* Courier's ENOMEM entry (Q10): ignored */
    LISTING_OTHER_NUMBERS, /* LIST and UIDL name different numbers */
    LISTING_OTHER_COUNT,   /* STAT's count differs from the entries' */
};

struct listing_summary {
    bool stat_known;
    bool list_complete;
    bool uidl_complete;
    bool no_uidl;
    uint64_t stat_count;
    uint64_t stat_bytes; /* 0 if STAT did not say */
    uint64_t list_count; /* entries accepted */
    uint64_t uidl_count;
    uint64_t skipped;   /* the judge knew them */
    uint64_t wanted;    /* of these listing_wanted_count() are kept */
    uint64_t postponed; /* without ID and below blank_from: another session's */
    uint64_t blank;     /* without a usable ID or any, postponed ones included */
    uint64_t refused;   /* lines not accepted */
    enum listing_trust trust;
    /* SHA-256 over "UIDL NUL size LF" of every accepted entry in listing order, size in
     * decimal or
     * "-": equal for two sessions that listed the same, whatever the numbers. */
    uint8_t digest[LISTING_DIGEST_SIZE];
};

/* blank_from: entries without an ID are wanted from this number on only, so that a mailbox
 * without UIDL makes progress in slices; 0: all. limits and judge are copied, arg is passed
 * back. Returns 0, -ENOMEM, ERR_CRYPTO. */
int listing_create(const struct listing_limits *limits, uint32_t blank_from,
                   listing_judge_fn *judge, void *arg, struct listing **out_listing);
void listing_free(struct listing *l);

/* STAT's reply text: count, bytes, anything (Q17). A refused STAT: do not call. */
void listing_stat(struct listing *l, const char *text, size_t size);

/* One line of LIST or UIDL, dots unstuffed, not the terminator. Tolerant as Q4, Q5, Q17. A
 * line that is refused is counted, no error. Returns 0; -ENOMEM; ERR_TOO_LARGE: bytes_max
 * is crossed, drop the session. */
int listing_list_line(struct listing *l, const char *line, size_t size);
int listing_uidl_line(struct listing *l, const char *line, size_t size);

/* The terminator of LIST was read; then that of UIDL. All of LIST comes before all of UIDL.
 */
void listing_list_end(struct listing *l);
void listing_uidl_end(struct listing *l);

/* UIDL is refused for good (Q1): every entry of LIST is wanted, without an ID. 0 or
 * -ENOMEM. */
int listing_no_uidl(struct listing *l);

/* All is read: settles trust and digest, gives back the sizes. What LIST names and UIDL
 * does not is wanted without an ID. 0, ERR_CRYPTO or -ENOMEM. */
int listing_finish(struct listing *l);

const struct listing_summary *listing_summary(const struct listing *l);
/* What it holds by now, in bytes, but for some that each listing takes. A single high
 * number may make it grow by LISTING_NUMBER_MAX / 8. */
size_t listing_memory(const struct listing *l);
size_t listing_wanted_count(const struct listing *l);
/* index < listing_wanted_count(); in listing order. */
struct listing_entry listing_wanted(const struct listing *l, size_t index);

/* A sentence for an administrator; never NULL. */
const char *listing_trust_text(enum listing_trust trust);

#endif
