#include "archive/deletion.h"

#include "archive/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool deletion_uidl_is_weak(struct span uidl)
{
    for (size_t i = 0; i < uidl.size; i++)
        if (uidl.data[i] < '0' || uidl.data[i] > '9')
            return false;
    return true;
}

/* One whose DELE was not sent, or did not come to its end, is no attempt. */
uint8_t deletion_next_attempt(const struct deletion_row *row)
{
    bool again = row->state == DELETION_UNSENT || row->state == DELETION_UNDONE;
    return (uint8_t)(row->attempt + (again && row->attempt > 0 ? 0 : 1));
}

/* Why it is not to be deleted at all; NULL: it may be. */
static const char *why_keep(const struct deletion_case *c)
{
    const struct message_meta *m = c->message;
    if (m->flags & MESSAGE_STAND_IN)
        return "the server gave a text of its own in place of the message";
    if (m->flags & MESSAGE_NO_UIDL || c->uidl.size == 0)
        return "the server gave no UIDL that names it";
    if (m->listed_size == SIZE_UNKNOWN)
        return "the server listed no size for it";
    if (deletion_next_attempt(&c->deletion) > DELETION_ATTEMPTS_MAX)
        return "the server has kept it although it was told to delete it three times";
    return NULL;
}

/* Has it given other bytes again and again, and not been left alone for long enough? */
static bool changes(const struct deletion_case *c)
{
    int64_t days = (int64_t)c->meanings - DELETION_MEANINGS_MAX;
    return days > 0 && c->now_us - c->newest_us < days * DELETION_MEANING_US;
}

static const char *why_later(const struct deletion_case *c)
{
    if (c->deletion.state == DELETION_CONFIRMED)
        return "deleted, and confirmed by two later listings";
    if (deletion_is_tombstone(c->deletion.state))
        return "deleted; not confirmed by two later listings yet";
    if (c->message->fetched_us > c->archived_before_us)
        return "not archived for long enough";
    if (changes(c))
        return "the server gave other bytes under its UIDL each time it was compared";
    return NULL;
}

static const char *why_compare(const struct deletion_case *c)
{
    if (c->deletion.state == DELETION_RETURNED || c->deletion.state == DELETION_UNDONE)
        return "it came back after it had been deleted";
    if (c->weak_maildrop)
        return "the server has changed or reused UIDLs";
    if (c->shared_uidl)
        return "its UIDL has meant another message";
    if (c->by_bytes)
        return "its UIDL or its size has changed since it was fetched";
    if (c->message->flags & MESSAGE_UNTRUSTED)
        return "it was fetched on a listing that was not trusted";
    if (c->message->flags & MESSAGE_FORGEABLE)
        return "its UIDL could have been chosen by its sender";
    if (c->message->flags & MESSAGE_SHORT)
        return "it was far shorter than the server had said";
    if (deletion_uidl_is_weak(c->uidl))
        return "its UIDL is a mere number";
    return NULL;
}

enum deletion_verdict deletion_verdict(const struct deletion_case *c, const char **out_why)
{
    static const struct {
        const char *(*why)(const struct deletion_case *c);
        enum deletion_verdict verdict;
    } checks[] = {
        {why_later, DELETION_LATER},
        {why_keep, DELETION_KEEP},
        {why_compare, DELETION_COMPARE},
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if ((*out_why = checks[i].why(c)) != NULL)
            return checks[i].verdict;
    *out_why = "";
    return DELETION_MAY;
}

int deletion_plan_add(struct deletion_plan *p, const struct deletion_item *item,
                      struct span uidl)
{
    if (p->count == DELETIONS_PER_SESSION) {
        p->more = true;
        return ERR_TOO_LARGE;
    }
    if ((p->count & (p->count - 1)) == 0) { /* grow at powers of two */
        size_t room = p->count == 0 ? 1 : p->count * 2;
        struct deletion_item *items = realloc(p->items, room * sizeof(*items));
        if (items == NULL)
            return -ENOMEM;
        p->items = items;
    }
    char *copy = malloc(uidl.size);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, uidl.data, uidl.size);
    struct deletion_item *to = &p->items[p->count++];
    *to = *item;
    to->uidl = copy;
    to->uidl_size = (uint16_t)uidl.size;
    return 0;
}

struct deletion_item *deletion_plan_find(const struct deletion_plan *p, uint64_t n)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].n == n)
            return &p->items[i];
    return NULL;
}

void deletion_plan_filter(struct deletion_plan *p,
                          bool (*keep)(void *arg, const struct deletion_item *item),
                          void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (keep(arg, &p->items[i]))
            p->items[kept++] = p->items[i];
        else
            free(p->items[i].uidl);
    }
    p->count = kept;
}

void deletion_plan_free(struct deletion_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i].uidl);
    free(p->items);
    *p = (struct deletion_plan){0};
}
