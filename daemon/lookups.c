#include "daemon/lookups.h"

#include "archive/error.h"
#include "daemon/inbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_S 1 /* for a look-up under way at the end */

struct lookup {
    struct inbox_item inbox_item;
    struct lookups *lookups;
    uint32_t tag;
    uint32_t generation;
    struct resolver_answer answer;
};

/* The owner's thread's; the resolver's use the inbox. */
struct lookups {
    struct resolver *resolver;
    uint32_t count; /* asked and not taken, forgotten ones too */
    uint32_t generation;
    struct inbox *inbox; /* of struct lookup */
};

int lookups_create(const struct resolver_source *source, struct lookups **out)
{
    struct lookups *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    int err = inbox_create(&l->inbox);
    if (err == 0)
        err = resolver_create(source, &l->resolver);
    if (err != 0) {
        inbox_destroy(l->inbox);
        free(l);
        return err;
    }
    *out = l;
    return 0;
}

/* From any thread. */
static void answered(void *arg, const struct resolver_answer *answer)
{
    struct lookup *lookup = arg;
    lookup->answer = *answer;
    inbox_put(lookup->lookups->inbox, &lookup->inbox_item, lookup);
}

/* The resolver answers everybody first, then nobody has l any more. */
static void *dispose(void *arg)
{
    struct lookups *l = arg;
    struct lookup *lookup;
    resolver_destroy(l->resolver);
    while ((lookup = inbox_take(l->inbox)) != NULL)
        free(lookup);
    inbox_destroy(l->inbox);
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
    struct lookup *lookup;
    while ((lookup = inbox_take(l->inbox)) != NULL) {
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
    return inbox_fd(l->inbox);
}
