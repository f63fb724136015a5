/* state/damaged: the messages and parts that the last full check found hurt, so that the
 * service fetches them again if the server still has them. May be lost: the next check
 * writes it anew. */
#ifndef MAILCASK_ARCHIVE_DAMAGE_H
#define MAILCASK_ARCHIVE_DAMAGE_H

#include "archive/archive.h"
#include "archive/index_rows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct damaged_message {
    uint32_t account;
    uint64_t n;
    /* Where the hurt copy is: a message whose row points elsewhere by now has healed. */
    struct place place;
};

/* A part that is hurt. */
struct damaged_part {
    uint8_t sha256[SHA256_SIZE];
    struct place place;
};

/* At most this many are kept: an archive hurt worse is restored from a backup. */
#define DAMAGED_MAX 1000000

/* Replace the list. 0 or -errno. */
int damage_save(struct archive *a, const struct damaged_message *list, size_t count,
                const struct damaged_part *parts, size_t parts_count);

/* An account's part of the list into fresh memory (free() it), sorted by n. A missing or
 * unreadable list is an empty one. 0 or -ENOMEM. */
int damage_load(struct archive *a, uint32_t account, struct damaged_message **out_list,
                size_t *out_count);

/* Is message n on this list, and has not healed since: its row still leads to the hurt
 * copy? t may be NULL: then it has not. */
bool damage_has(const struct damaged_message *list, size_t count, uint64_t n,
                struct index_txn *t);

/* All parts of the list, the same way. */
int damage_load_parts(struct archive *a, struct damaged_part **out_list, size_t *out_count);

/* Looked up at most, of messages and of parts; of more the rest counts as hurt. */
#define DAMAGE_LOOKED_MAX 10000u

struct damage_count {
    uint64_t messages, parts; /* on the list and not healed since */
};

/* 0, -ENOMEM or ERR_INDEX. */
int damage_count(struct archive *a, struct damage_count *out);

#endif
