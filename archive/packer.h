/* The open block of one account's session: what messages keep of their own (their text,
 * once attachments are taken out) gathers here and leaves as BLOCK records, or, where one
 * message alone fills more than a block, as CHUNKs and an END. One thread at a time. */
#ifndef MAILCASK_ARCHIVE_PACKER_H
#define MAILCASK_ARCHIVE_PACKER_H

#include "archive/codec.h"
#include "archive/meta.h"
#include "archive/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packer;

/* Takes a prepared record over; non-zero stops the packer for good. */
typedef int packer_emit(void *arg, struct record *r);

/* codec is borrowed. NULL when memory runs out. */
struct packer *packer_create(uint32_t account, struct codec *codec, packer_emit *emit,
                             void *arg);
void packer_destroy(struct packer *p);

void packer_begin(struct packer *p);
/* 0, -ENOMEM, ERR_COMPRESSION, ERR_CRYPTO, or what emit returned. Sticky. */
int packer_add(struct packer *p, const uint8_t *data, size_t size);
/* Bytes of the message so far. */
uint64_t packer_message_size(const struct packer *p);
/* Forget the message. */
void packer_abort(struct packer *p);

/* The message is complete, and what was added is its body: kind, place and stream of m are
 * set. highest: the account's highest N, this one included. */
int packer_keep(struct packer *p, struct message_meta *m, uint64_t highest);
/* Its body is another's (kind and place of m are the caller's): what was added is dropped.
 */
int packer_share(struct packer *p, const struct message_meta *m, uint64_t highest);

/* Which block is open: bodies kept since this number was the same can be shared as slices.
 */
uint64_t packer_block(const struct packer *p);

/* Close the open block. A message that is being added stays open. */
int packer_flush(struct packer *p);

/* Compress and emit a record whose meta is complete. */
int packer_emit_record(struct packer *p, struct record *r);
/* size bytes as the body of r, compressed unless that is no smaller. */
int packer_fill_body(struct packer *p, struct record *r, enum codec_effort effort,
                     const uint8_t *data, size_t size);

/* Bytes held. */
size_t packer_memory(const struct packer *p);

#endif
