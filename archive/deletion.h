/* What may be deleted from a server (P2 of README.md), and the plan of one delete session.
 * Nothing here talks to a server or writes: intake.h journals what the plan says. */
#ifndef MAILCASK_ARCHIVE_DELETION_H
#define MAILCASK_ARCHIVE_DELETION_H

#include "archive/maildrop_rows.h"
#include "archive/meta.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Messages that one session deletes at most: an error of whatever kind costs no more. */
#define DELETIONS_PER_SESSION 500
/* Tries to delete one message, over all sessions. */
#define DELETION_ATTEMPTS_MAX 3
/* Messages that one UIDL, with one size, may stand for at once. A server that gives other
 * bytes each time would have each of them archived by the comparison: behind so many it
 * waits a day longer each time. */
#define DELETION_MEANINGS_MAX 3
#define DELETION_MEANING_US ((int64_t)24 * 3600 * 1000000)

_Static_assert(DELETIONS_PER_SESSION <= DELETIONS_MAX, "one DELETE_INTENT a session");

enum deletion_verdict {
    DELETION_MAY,     /* with a fresh trusted listing and a copy read back from the disk */
    DELETION_COMPARE, /* if it is fetched again, too, and is equal: its UIDL is weak */
    DELETION_LATER,   /* not archived for long enough, or gone already */
    DELETION_KEEP,    /* never */
};

struct deletion_case {
    const struct message_meta *message;
    struct span uidl;  /* under which it is listed now */
    bool shared_uidl;  /* which has meant several messages */
    unsigned meanings; /* of this size, not deleted by us */
    int64_t newest_us; /* when the newest of them was archived */
    int64_t now_us;
    bool by_bytes;      /* it or its size now is not what the message was fetched under:
                           only equal bytes have shown that it means the message */
    bool weak_maildrop; /* whose UIDLs have changed or were reused (Q7, Q8) */
    struct deletion_row deletion; /* its earlier ones; all zero: none */
    int64_t archived_before_us;   /* the rule: INT64_MAX is at once */
};

/* out_why: a sentence's part in lower case, for behind "kept: "; "" for DELETION_MAY. */
enum deletion_verdict deletion_verdict(const struct deletion_case *c, const char **out_why);

/* Of the next try: beyond DELETION_ATTEMPTS_MAX there is none. */
uint8_t deletion_next_attempt(const struct deletion_row *row);

/* A decimal number: such UIDLs are given out anew after a rebuild (Q8). */
bool deletion_uidl_is_weak(struct span uidl);

struct deletion_item {
    uint32_t number; /* the session's own, of its listing */
    uint64_t n;
    uint64_t listed_size;
    uint8_t sha256[SHA256_SIZE];
    char *uidl;
    uint16_t uidl_size;
    uint8_t attempt;
    bool compare;  /* its UIDL is weak */
    bool compared; /* and what the server gave again is equal */
    bool proven;   /* its copy was read back from the disk */
    uint8_t state; /* enum deletion_state, of this session */
};

/* In the order of the listing. All zero: an empty plan. */
struct deletion_plan {
    struct deletion_item *items;
    size_t count;
    bool more; /* DELETIONS_PER_SESSION was reached */
};

/* 0; -ENOMEM; ERR_TOO_LARGE where the plan is full (`more` is then set). */
int deletion_plan_add(struct deletion_plan *p, const struct deletion_item *item,
                      struct span uidl);
/* NULL: not planned. */
struct deletion_item *deletion_plan_find(const struct deletion_plan *p, uint64_t n);
/* Keep those that keep() agrees to. */
void deletion_plan_filter(struct deletion_plan *p,
                          bool (*keep)(void *arg, const struct deletion_item *item),
                          void *arg);
void deletion_plan_free(struct deletion_plan *p);

#endif
