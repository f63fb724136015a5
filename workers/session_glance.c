#include "archive/deletion.h"
#include "workers/session_internal.h"

/* Recent, and not seen too often. A clock that was set back makes it old. */
static bool is_fresh(const struct pool_glance *g)
{
    int64_t age_us = session_clock_us() - g->listed_us;
    return g->polls < POOL_GLANCES_MAX && age_us >= 0 && age_us < POOL_GLANCES_US;
}

void session_glance_prepare(struct session *s)
{
    const struct pool_run *run = &s->marks.run;
    const struct pool_glance *g = &run->glance;
    if (s->kind != POOL_FETCH || g->lsn == 0 || !run->begun ||
        run->account != s->account_number || run->source != s->source ||
        run->listed > POP3_GLANCE_MAX || s->marks.trouble != 0 || s->marks.pop3.no_glance ||
        !is_fresh(g) || intake_settled(s->intake) != g->lsn)
        return;
    const struct pop3_glance expected = {
        .count = run->listed, .bytes = run->listed_bytes, .last_uidl = g->last_uidl};
    s->glances = true;
    pop3_expect(s->pop3, &expected);
}

static const struct listing_summary *summary(const struct session *s)
{
    return listing_summary(pop3_listing(s->pop3));
}

void session_glance_judged(struct session *s, uint32_t number, const char *uidl,
                           size_t uidl_size)
{
    s->last_line = number;
    if (number != summary(s)->stat_count)
        return;
    s->last_uidl = pop3_uidl_sum(uidl, uidl_size);
    s->last_weak = deletion_uidl_is_weak(span_of(uidl, uidl_size));
}

bool session_glance_sufficed(struct session *s)
{
    struct pool_run *run = &s->marks.run;
    if (!s->unchanged || s->outcome.scope != SCOPE_NONE)
        return false;
    s->unlisted = true;
    s->counts.listed = run->listed;
    s->counts.listed_bytes = run->listed_bytes;
    run->glance.polls++;
    return true;
}

/* The IDs are in the order of the numbers, and the last one stands for its message alone.
 */
static bool has_last(const struct session *s)
{
    uint64_t count = summary(s)->stat_count;
    return count == 0 ||
           (s->last_line == count && !s->last_weak && summary(s)->stat_bytes > 0);
}

void session_glance_remember(struct session *s, int64_t now_us)
{
    struct pool_glance *g = &s->marks.run.glance;
    /* It was said that something had changed, and nothing has: Q12. */
    s->marks.pop3.no_glance |= s->glances;
    *g = (struct pool_glance){0};
    if (s->marks.pop3.no_glance || s->marks.trouble != 0 || s->day_limited ||
        s->counts.deletable > 0 || !has_last(s))
        return;
    *g = (struct pool_glance){.lsn = intake_comparable(s->intake),
                              .last_uidl = s->last_uidl,
                              .listed_us = now_us};
}
