#include "daemon/leases.h"

#include "daemon/index_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct lease {
    struct index_queue parked;
    uint32_t holders;
};

static int compare_mailboxes(const void *a, const void *b, void *config)
{
    const struct config_account *accounts = ((const struct config *)config)->accounts;
    const struct config_account *x = &accounts[*(const uint32_t *)a];
    const struct config_account *y = &accounts[*(const uint32_t *)b];
    int order = 0;
    /* Most share a section: that is quicker to see than that two names are equal. */
    if (x->server != y->server) {
        order = strcasecmp(x->server->host, y->server->host);
        if (order == 0)
            order = (int)x->server->port - (int)y->server->port;
    }
    return order != 0 ? order : strcmp(x->user, y->user);
}

static void assign(struct leases *l, const struct config *config, uint32_t *sorted)
{
    uint32_t count = (uint32_t)config->account_count, lease = 0;
    struct config shared = *config; /* qsort_r() takes no const */
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = i;
    if (count > 1)
        qsort_r(sorted, count, sizeof(*sorted), compare_mailboxes, &shared);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && compare_mailboxes(&sorted[i - 1], &sorted[i], &shared) != 0)
            lease++;
        l->of[sorted[i]] = lease;
    }
}

int leases_init(struct leases *l, const struct config *config)
{
    /* One more than needed: calloc(0) may be NULL. */
    size_t count = config->account_count + 1;
    uint32_t *sorted = calloc(count, sizeof(*sorted));
    l->of = calloc(count, sizeof(*l->of));
    l->all = calloc(count, sizeof(*l->all));
    if (sorted == NULL || l->of == NULL || l->all == NULL) {
        free(sorted);
        leases_free(l);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++)
        l->all[i].parked = INDEX_QUEUE_EMPTY;
    assign(l, config, sorted);
    free(sorted);
    return 0;
}

void leases_free(struct leases *l)
{
    free(l->of);
    free(l->all);
    *l = (struct leases){0};
}

static struct lease *lease_of(const struct leases *l, uint32_t account)
{
    return &l->all[l->of[account]];
}

bool leases_taken(const struct leases *l, uint32_t account)
{
    return lease_of(l, account)->holders > 0;
}

void leases_take(struct leases *l, uint32_t account)
{
    lease_of(l, account)->holders++;
}

void leases_give(struct leases *l, uint32_t account)
{
    assert(leases_taken(l, account));
    lease_of(l, account)->holders--;
}

void leases_park(struct leases *l, uint32_t account, uint32_t *next)
{
    index_queue_push(&lease_of(l, account)->parked, next, account);
}

bool leases_unpark(struct leases *l, uint32_t account, const uint32_t *next,
                   uint32_t *out_account)
{
    struct lease *lease = lease_of(l, account);
    if (lease->holders > 0 || index_queue_empty(&lease->parked))
        return false;
    *out_account = index_queue_pop(&lease->parked, next);
    return true;
}
