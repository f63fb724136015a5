#include "daemon/deletes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

struct account_deletes {
    bool next;      /* the next session deletes */
    bool suspended; /* for the rest of this pass (Q7) */
    bool told_renumbered;
    uint64_t fruitless; /* messages that a session could not delete */
    uint64_t fruitless_ms;
    uint64_t backoff_ms; /* 0: the last one did not fail */
    uint64_t not_before_ms;
    unsigned not_let_in; /* delete sessions in a row, for LOGIN-DELAY */
    uint64_t offered;    /* what the last fetch session said may be deleted */
};

struct deletes {
    const struct config *config;
    struct account_deletes *accounts;
    int64_t offset_s;
    bool jumped, told_behind;
    struct stat seen; /* of the file when `on` was read */
    bool looked, on;
};

int deletes_new(const struct config *config, int64_t offset_s, struct deletes **out)
{
    struct deletes *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return -ENOMEM;
    d->config = config;
    d->offset_s = offset_s;
    d->accounts = calloc(config->account_count + 1, sizeof(*d->accounts));
    if (d->accounts == NULL) {
        free(d);
        return -ENOMEM;
    }
    *out = d;
    return 0;
}

void deletes_free(struct deletes *d)
{
    if (d == NULL)
        return;
    free(d->accounts);
    free(d);
}

void deletes_adopt(struct deletes *d, const struct deletes *old)
{
    for (size_t i = 0; i < d->config->account_count; i++) {
        const struct config_account *before =
            config_find_account(old->config, d->config->accounts[i].name);
        if (before != NULL)
            d->accounts[i] = old->accounts[before - old->config->accounts];
    }
}

bool deletes_clock_right(struct deletes *d, int64_t offset_s, bool *out_news)
{
    int64_t jump = offset_s - d->offset_s;
    *out_news = !d->jumped && (jump > DELETES_CLOCK_JUMP_S || jump < -DELETES_CLOCK_JUMP_S);
    d->jumped |= *out_news;
    if (!d->jumped)
        d->offset_s = offset_s; /* it may be set right in small steps */
    return !d->jumped;
}

bool deletes_clock_behind_news(struct deletes *d, const struct session_end *end)
{
    bool news = end->clock_behind && !d->told_behind;
    d->told_behind |= news;
    return news;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool deletes_on(struct deletes *d)
{
    struct stat st;
    struct config_error error;
    if (!d->config->deletes)
        return false;
    if (stat(d->config->path, &st) != 0) {
        d->looked = false;
        return false;
    }
    if (d->looked && same_file(&st, &d->seen))
        return d->on;
    d->looked = true;
    d->seen = st;
    if (config_archive_deletes(d->config->path, &d->on, &error) != 0)
        d->on = false;
    return d->on;
}

const char *deletes_word(struct deletes *d)
{
    if (!deletes_on(d))
        return "off";
    return d->jumped ? "suspended" : "on";
}

enum pool_kind deletes_kind(struct deletes *d, uint32_t account)
{
    return d->accounts[account].next && !d->jumped && deletes_on(d) ? POOL_DELETE
                                                                    : POOL_FETCH;
}

int64_t deletes_before_us(const struct deletes *d, uint32_t account, int64_t now_us)
{
    const struct config_account *a = &d->config->accounts[account];
    switch (a->delete_rule) {
    case CONFIG_DELETE_ARCHIVED:
        return INT64_MAX;
    case CONFIG_DELETE_AFTER:
        return now_us - (int64_t)a->delete_after_ms * 1000;
    case CONFIG_DELETE_NEVER:
        break;
    }
    return 0;
}

static bool fetch_ended(struct account_deletes *a, const struct session_end *end,
                        uint64_t now_ms)
{
    a->suspended |= end->renumbered;
    if (end->outcome.more)
        return false;
    bool suspended = a->suspended;
    a->suspended = false;
    a->offered = end->counts.deletable;
    bool fruitless = a->fruitless > 0 && a->offered <= a->fruitless &&
                     now_ms - a->fruitless_ms < DELETES_AGAIN_MS;
    return end->outcome.scope == SCOPE_NONE && !suspended && !fruitless && a->offered > 0 &&
           now_ms >= a->not_before_ms;
}

static bool delete_ended(struct account_deletes *a, const struct session_end *end,
                         uint64_t now_ms)
{
    bool not_let_in = end->outcome.delay_s > 0 && end->counts.listed == SIZE_UNKNOWN;
    if (not_let_in && a->not_let_in < DELETES_NOT_LET_IN_MAX) {
        a->not_let_in++; /* for now (Q39): it is its turn still */
        return true;
    }
    a->not_let_in = 0;
    if (end->outcome.scope != SCOPE_NONE) {
        a->backoff_ms = a->backoff_ms == 0 ? DELETES_BACKOFF_MS : a->backoff_ms * 2;
        if (a->backoff_ms > DELETES_AGAIN_MS)
            a->backoff_ms = DELETES_AGAIN_MS;
        a->not_before_ms = now_ms + a->backoff_ms;
        return false;
    }
    a->backoff_ms = a->not_before_ms = 0;
    a->fruitless = end->counts.deleted == 0 ? a->offered : 0;
    a->fruitless_ms = now_ms;
    return end->counts.deletable > 0;
}

bool deletes_ended(struct deletes *d, const struct session_end *end, uint64_t now_ms)
{
    struct account_deletes *a = &d->accounts[end->account];
    bool rule = d->config->accounts[end->account].delete_rule != CONFIG_DELETE_NEVER;
    a->next = false;
    if (!end->held || end->stopped || end->unlisted || !rule || d->jumped || !deletes_on(d))
        return false;
    a->next = end->kind == POOL_FETCH ? fetch_ended(a, end, now_ms)
                                      : delete_ended(a, end, now_ms);
    return a->next;
}

bool deletes_renumbered_news(struct deletes *d, const struct session_end *end)
{
    struct account_deletes *a = &d->accounts[end->account];
    bool news = end->renumbered && !a->told_renumbered;
    if (end->renumbered ||
        (end->kind == POOL_FETCH && !end->outcome.more && end->outcome.scope == SCOPE_NONE))
        a->told_renumbered = end->renumbered;
    return news;
}
