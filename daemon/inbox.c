#include "daemon/inbox.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* 1. The lock guards items and `rung`. 2. rung <=> the eventfd is 1, else it is 0: it is
 * written and read under the lock. 3. There are items => rung. */
struct inbox {
    int fd;
    pthread_mutex_t lock;
    STAILQ_HEAD(, inbox_item) items;
    bool rung;
};

int inbox_create(struct inbox **out)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    if (inbox == NULL)
        return -ENOMEM;
    inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (inbox->fd < 0) {
        int err = -errno;
        free(inbox);
        return err;
    }
    STAILQ_INIT(&inbox->items);
    (void)pthread_mutex_init(&inbox->lock, NULL);
    *out = inbox;
    return 0;
}

void inbox_destroy(struct inbox *inbox)
{
    if (inbox == NULL)
        return;
    (void)close(inbox->fd);
    (void)pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

/* Under the lock. One wake-up for all that comes until it is heard. */
static void ring(struct inbox *inbox)
{
    if (inbox->rung)
        return;
    int err = eventfd_write(inbox->fd, 1);
    assert(err == 0); /* it is 0, and cannot block */
    inbox->rung = true;
}

/* Under the lock. */
static void hush(struct inbox *inbox)
{
    eventfd_t count = 0;
    if (!inbox->rung)
        return;
    int err = eventfd_read(inbox->fd, &count);
    assert(err == 0 && count == 1);
    inbox->rung = false;
}

void inbox_put(struct inbox *inbox, struct inbox_item *item, void *what)
{
    assert(what != NULL);
    (void)pthread_mutex_lock(&inbox->lock);
    item->what = what;
    STAILQ_INSERT_TAIL(&inbox->items, item, link);
    ring(inbox);
    (void)pthread_mutex_unlock(&inbox->lock);
}

void inbox_ring(struct inbox *inbox)
{
    (void)pthread_mutex_lock(&inbox->lock);
    ring(inbox);
    (void)pthread_mutex_unlock(&inbox->lock);
}

void *inbox_take(struct inbox *inbox)
{
    void *what = NULL;
    (void)pthread_mutex_lock(&inbox->lock);
    struct inbox_item *item = STAILQ_FIRST(&inbox->items);
    if (item != NULL) {
        STAILQ_REMOVE_HEAD(&inbox->items, link);
        what = item->what;
    } else {
        hush(inbox);
    }
    (void)pthread_mutex_unlock(&inbox->lock);
    return what;
}

int inbox_fd(const struct inbox *inbox)
{
    return inbox->fd;
}
