/* Proof that stored messages can be had back from the disk itself (P2), before the copies
 * that servers hold may go: each is read past the page cache, with all its parts, and
 * compared with its SHA-256. One thread at a time; many may work on one archive. */
#ifndef MAILCASK_ARCHIVE_PROOF_H
#define MAILCASK_ARCHIVE_PROOF_H

#include "archive/archive.h"
#include "archive/digest.h"

#include <stddef.h>
#include <stdint.h>

struct proof;

/* 0 or -ENOMEM. The archive must outlive it. */
int proof_create(struct archive *a, struct proof **out);
/* NULL is fine. */
void proof_destroy(struct proof *p);

/* Forget what earlier calls read, and give its memory and descriptors back: before each set
 * of messages that are to be proved anew. Within a set, messages share the read of a block
 * or part that they have in common; in order of n they do so most. */
void proof_begin(struct proof *p);

/* Read message n back from the disk, its body and every part as well as its meta: 0 if
 * these bytes have this SHA-256, which its meta holds, too. The message must be committed.
 * sink (may be NULL) is given the bytes as reader_body() does; a non-zero return of it ends
 * the proof and is returned. ERR_DAMAGED (hurt, part of it missing, or another hash);
 * ERR_NOT_FOUND (no such message); ERR_NOT_FROM_DISK (disk_file.h: no way past the cache
 * here); ERR_NO_INDEX; ERR_INDEX; -errno. */
int proof_message(struct proof *p, uint32_t account, uint64_t n,
                  const uint8_t sha256[SHA256_SIZE],
                  int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg);

/* Bytes read so far. */
uint64_t proof_bytes_read(const struct proof *p);

#endif
