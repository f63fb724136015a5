/* Mailboxes that are on no disk: all of them follows from the user's name, and is the same
 * each time.
 *
 *   NAME-COUNTxSIZE   COUNT messages of SIZE bytes each
 *   hNAME-COUNTxSIZE  likewise, of a user that the server holds back (counters.h)
 *
 * No two messages are equal. They are text in lines that end with CRLF, none begins with a
 * dot, so they need no stuffing. */
#ifndef MAILCASK_BENCH_LIGHT_MAIL_H
#define MAILCASK_BENCH_LIGHT_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAILBOX_MESSAGE_MIN 512u /* bytes: room for the header */
#define MAILBOX_UIDL_SIZE 32     /* with its NUL */

struct mailbox {
    uint64_t seed;
    uint32_t count;
    uint32_t message_size;
    bool held;
};

/* One message as it is read. */
struct message {
    uint64_t state;
    uint32_t left;
};

/* false: no such user. */
bool mailbox_of(const char *user, struct mailbox *out);

void mailbox_uidl(const struct mailbox *box, uint32_t number, char out[MAILBOX_UIDL_SIZE]);

/* Begin message `number` (from 1): its header is written to out. Returns the bytes.
 * capacity: at least MAILBOX_MESSAGE_MIN. */
size_t message_start(struct message *m, const struct mailbox *box, uint32_t number,
                     char *out, size_t capacity);

/* As many more lines as fit; the message is over when m->left is 0. capacity: at least
 * MESSAGE_LINE_ROOM. */
#define MESSAGE_LINE_ROOM 128u
size_t message_read(struct message *m, char *out, size_t capacity);

#endif
