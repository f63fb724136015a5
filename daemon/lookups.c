#include "daemon/lookups.h"

#include "archive/error.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 1 /* for a look-up under way at the end */

struct lookup {
    struct lookup *next; /* in the inbox */
    struct lookups *lookups;
    uint32_t tag;
    uint32_t generation;
    struct resolver_answer answer;
};

/* 1. The inbox and `rung` are guarded by the lock; everything else is the owner's thread's.
 * 2. rung <=> the eventfd is not 0. 3. The inbox is not empty => rung. */
struct lookups {
    struct resolver *resolver;
    uint32_t count; /* asked and not taken, forgotten ones too */
    uint32_t generation;
    int fd;
    pthread_mutex_t lock;
    struct lookup *inbox, **inbox_tail;
    bool rung;
};

int lookups_create(const struct resolver_source *source, struct lookups **out)
{
    struct lookups *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->inbox_tail = &l->inbox;
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->fd < 0) {
        int err = -errno;
        free(l);
        return err;
    }
    int err = resolver_create(source, &l->resolver);
    if (err != 0) {
        (void)close(l->fd);
        free(l);
        return err;
    }
    (void)pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return 0;
}

/* From any thread. */
static void answered(void *arg, const struct resolver_answer *answer)
{
    struct lookup *lookup = arg;
    struct lookups *l = lookup->lookups;
    const uint64_t one = 1;
    lookup->answer = *answer;
    (void)pthread_mutex_lock(&l->lock);
    *l->inbox_tail = lookup;
    l->inbox_tail = &lookup->next;
    /* Under the lock: invariant 2. It cannot block: it is 0. */
    if (!l->rung) {
        ssize_t written = write(l->fd, &one, sizeof(one));
        assert(written == (ssize_t)sizeof(one));
        l->rung = true;
    }
    (void)pthread_mutex_unlock(&l->lock);
}

static struct lookup *collect(struct lookups *l)
{
    (void)pthread_mutex_lock(&l->lock);
    struct lookup *lookup = l->inbox;
    if (lookup != NULL) {
        l->inbox = lookup->next;
        if (l->inbox == NULL)
            l->inbox_tail = &l->inbox;
    } else if (l->rung) {
        uint64_t count = 0;
        ssize_t got = read(l->fd, &count, sizeof(count));
        assert(got == (ssize_t)sizeof(count));
        l->rung = false;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return lookup;
}

/* The resolver answers everybody first, then nobody has l any more. */
static void *dispose(void *arg)
{
    struct lookups *l = arg;
    resolver_destroy(l->resolver);
    for (struct lookup *lookup = collect(l); lookup != NULL; lookup = collect(l))
        free(lookup);
    (void)close(l->fd);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

void lookups_destroy(struct lookups *l)
{
    pthread_t thread;
    if (l == NULL)
        return;
    if (pthread_create(&thread, NULL, dispose, l) != 0) {
        (void)dispose(l);
        return;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        (void)pthread_detach(thread);
}

bool lookups_room(const struct lookups *l)
{
    return l->count < LOOKUPS_MAX;
}

int lookups_ask(struct lookups *l, const char *host, uint16_t port, uint32_t tag)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL)
        return -ENOMEM;
    lookup->lookups = l;
    lookup->tag = tag;
    lookup->generation = l->generation;
    l->count++;
    int err = resolver_lookup(l->resolver, host, port, answered, lookup);
    if (err != 0) {
        const struct resolver_answer refused = {.err = err, .text = error_text(err)};
        answered(lookup, &refused);
    }
    return 0;
}

bool lookups_take(struct lookups *l, uint32_t *out_tag, struct resolver_answer *out)
{
    for (struct lookup *lookup = collect(l); lookup != NULL; lookup = collect(l)) {
        bool wanted = lookup->generation == l->generation;
        *out_tag = lookup->tag;
        *out = lookup->answer;
        free(lookup);
        l->count--;
        if (wanted)
            return true;
    }
    return false;
}

void lookups_forget(struct lookups *l)
{
    l->generation++;
}

int lookups_fd(const struct lookups *l)
{
    return l->fd;
}
