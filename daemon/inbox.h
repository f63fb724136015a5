/* What other threads hand to one. Any thread puts something in; the owner's takes it out,
 * first in first out, and can wait for it with poll() beside other things. The item is
 * embedded in what is put in, and in one inbox at a time, so that putting allocates nothing
 * and cannot fail: how much there can be is bounded by whoever makes it. */
#ifndef MAILCASK_DAEMON_INBOX_H
#define MAILCASK_DAEMON_INBOX_H

#include <sys/queue.h>

struct inbox;

struct inbox_item {
    STAILQ_ENTRY(inbox_item) link;
    void *what;
};

/* 0, -ENOMEM, -EMFILE, -ENFILE. */
int inbox_create(struct inbox **out);

/* No thread may still be about to put or ring. What was not taken stays whose it is. NULL
 * is allowed. */
void inbox_destroy(struct inbox *inbox);

/* From any thread. item: of `what`, and not to be touched until it is taken; `what` may be
 * taken, and freed, before this returns. what: not NULL. */
void inbox_put(struct inbox *inbox, struct inbox_item *item, void *what);

/* From any thread: wake the owner, with nothing to take. */
void inbox_ring(struct inbox *inbox);

/* Owner's thread: what was put in first; NULL if there is nothing now, and inbox_fd() is
 * then readable only once something comes. */
void *inbox_take(struct inbox *inbox);

/* Readable from inbox_put() or inbox_ring() until inbox_take() returns NULL; not to be
 * read.
 */
int inbox_fd(const struct inbox *inbox);

#endif
