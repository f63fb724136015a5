#include "daemon/refused.h"

#include "daemon/secret.h"

#include <errno.h>
#include <stdlib.h>

/* count: how many stamps are not 0. next: where the look under way goes on; at the end of
 * one it is 0, and looked_ms says when. */
struct refused {
    const struct config *config;
    uint64_t *stamps; /* of each account */
    uint32_t count, next;
    uint64_t looked_ms;
};

int refused_new(const struct config *config, struct refused **out)
{
    struct refused *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    r->config = config;
    /* One more than needed: calloc(0) may be NULL. */
    r->stamps = calloc(config->account_count + 1, sizeof(*r->stamps));
    if (r->stamps == NULL) {
        free(r);
        return -ENOMEM;
    }
    *out = r;
    return 0;
}

void refused_free(struct refused *r)
{
    if (r == NULL)
        return;
    free(r->stamps);
    free(r);
}

void refused_set(struct refused *r, uint32_t account, uint64_t stamp)
{
    r->count -= r->stamps[account] != 0;
    r->count += stamp != 0;
    r->stamps[account] = stamp;
}

uint64_t refused_wait_ms(const struct refused *r, uint64_t now_ms)
{
    uint64_t due_ms = r->looked_ms + REFUSED_LOOK_MS;
    if (r->count == 0)
        return REFUSED_FOREVER;
    return due_ms > now_ms && r->next == 0 ? due_ms - now_ms : 0;
}

bool refused_next(struct refused *r, uint64_t now_ms, uint32_t *out_account)
{
    if (refused_wait_ms(r, now_ms) > 0)
        return false;
    while (r->next < r->config->account_count) {
        uint32_t i = r->next++;
        if (r->stamps[i] == 0 || !secret_changed(&r->config->accounts[i], r->stamps[i]))
            continue;
        refused_set(r, i, 0);
        *out_account = i;
        return true;
    }
    r->next = 0;
    r->looked_ms = now_ms;
    return false;
}
