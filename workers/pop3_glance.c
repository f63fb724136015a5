#include "archive/digest.h"
#include "workers/pop3_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

void pop3_expect(struct pop3 *p, const struct pop3_glance *glance)
{
    assert(p->state < POP3_GLANCE && p->callbacks.unchanged != NULL);
    assert(glance->count <= POP3_GLANCE_MAX);
    p->expects = true;
    p->glance = *glance;
}

uint64_t pop3_uidl_sum(const char *uidl, size_t size)
{
    return checksum64(uidl, size, 0);
}

bool pop3_glance_suspected(const struct pop3 *p)
{
    return p->expects &&
           (p->state == POP3_GLANCE || p->state == POP3_LISTING || p->state == POP3_QUIT);
}

static void ask_for_last(struct pop3 *p)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, p->glance.count);
    pop3_send(p, POP3_CMD_UIDL_LAST, "UIDL", text);
}

void pop3_glance_enter(struct pop3 *p)
{
    if (p->looked_ahead || !pop3_listing_begin(p))
        return;
    pop3_send(p, POP3_CMD_STAT, "STAT", NULL);
    if (p->glance.count > 0 && pop3_may_pipeline(p))
        ask_for_last(p);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* "n ID", read as a line of the listing (Q4). False: it is something else. */
static bool take_last(struct pop3 *p, const char *text, size_t size)
{
    uint64_t number = 0;
    size_t at = 0;
    for (; at < size && text[at] >= '0' && text[at] <= '9'; at++)
        if ((number = number * 10 + (uint64_t)(text[at] - '0')) > POP3_GLANCE_MAX)
            return false;
    if (number != p->glance.count || at == size || !is_blank(text[at]))
        return false;
    while (at < size && is_blank(text[at]))
        at++;
    while (size > at && is_blank(text[size - 1]))
        size--;
    p->last_same = pop3_uidl_sum(text + at, size - at) == p->glance.last_uidl;
    return size > at;
}

/* More lines may follow, as they do behind `UIDL` alone: it is not known what is whose. */
static void misunderstood(struct pop3 *p)
{
    pop3_fail(
        p, SCOPE_MAILBOX, RETRY_NOW,
        "The server answers UIDL with a number otherwise than with that message's ID; "
        "from now on the mailbox is always listed.");
}

static void stat_answered(struct pop3 *p, const struct reply *reply)
{
    const struct listing_summary *s = listing_summary(p->listing);
    if (reply->status == REPLY_OK)
        listing_stat(p->listing, reply->text, reply->text_size);
    p->stat_same = s->stat_known && s->stat_count == p->glance.count &&
                   s->stat_bytes == p->glance.bytes;
    if (p->queue_count == 0 && p->stat_same && p->glance.count > 0)
        ask_for_last(p);
}

/* False: the session has failed. */
static bool last_answered(struct pop3 *p, const struct reply *reply)
{
    bool ok = reply->status == REPLY_OK;
    bool understood = ok && take_last(p, reply->text, reply->text_size);
    /* -ERR may just mean that there are fewer messages by now. */
    if (!ok && p->stat_same)
        p->memory.no_glance = true;
    if (ok && !understood)
        misunderstood(p);
    return !ok || understood;
}

void pop3_glance_reply(struct pop3 *p, enum pop3_command command, const struct reply *reply)
{
    pop3_answered(p);
    if (command == POP3_CMD_STAT)
        stat_answered(p, reply);
    else if (!last_answered(p, reply))
        return;
    if (p->state != POP3_GLANCE || p->queue_count > 0)
        return;
    if (p->stat_same && (p->last_same || p->glance.count == 0)) {
        p->callbacks.unchanged(p->arg);
        pop3_enter(p, POP3_QUIT);
    } else {
        pop3_enter(p, POP3_LISTING);
    }
}
