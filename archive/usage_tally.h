/* The sums behind usage.h. Failures of memory are sticky, tally_end() tells them. One
 * thread. */
#ifndef MAILCASK_ARCHIVE_USAGE_TALLY_H
#define MAILCASK_ARCHIVE_USAGE_TALLY_H

#include "archive/hash_set.h"
#include "archive/usage.h"

#include <stdbool.h>

struct tally_account;

struct tally {
    struct tally_account *accounts; /* by number */
    size_t count;
    struct hash_set parts;
    bool failed;
};

/* For accounts 1..last; what is told of others counts to nobody. */
void tally_begin(struct tally *t, uint32_t last_account);
/* Bytes of segments that are there for this account. */
void tally_stored(struct tally *t, uint32_t account, int64_t time_us, uint64_t bytes);
/* Message n. False: it, that is another copy of it, was counted before. */
bool tally_message(struct tally *t, uint32_t account, uint64_t n, int64_t fetched_us,
                   uint64_t size);
/* Bytes of segments that are there for this part. */
void tally_part(struct tally *t, const uint8_t sha256[SHA256_SIZE], uint64_t bytes);
/* A message that was fetched then names it. */
void tally_name(struct tally *t, const uint8_t sha256[SHA256_SIZE], uint32_t account,
                int64_t fetched_us);
/* Give each part to whom it counts, and all rows to out. The tally is empty then, whatever
 * comes: 0 or -ENOMEM. */
int tally_end(struct tally *t, struct archive_usage *out);

/* A whole, to be handed out by weight so that the shares add up to it. */
struct portions {
    uint64_t whole;  /* up to 2^32, */
    uint64_t weight; /* as is the sum of all weights; not 0 */
    uint64_t weight_done;
    uint64_t given;
};

uint64_t portion(struct portions *p, uint64_t weight);

#endif
