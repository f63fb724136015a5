#include "archive/error.h"
#include "workers/session_internal.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t session_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* POP3's words do not name the server. */
void session_adopt_outcome(struct session *s)
{
    const struct outcome *o = pop3_outcome(s->pop3);
    s->marks.pop3 = *pop3_memory(s->pop3);
    s->counts.bytes = pop3_stats(s->pop3)->body_bytes;
    if (s->settled)
        return;
    s->settled = true;
    s->outcome = *o;
    if (o->scope != SCOPE_NONE && o->scope != SCOPE_PROCESS)
        outcome_set(&s->outcome, o->scope, o->retry, "%s:%u: %s", s->host, s->port,
                    o->text);
}

static const struct listing_summary *summary(const struct session *s)
{
    const struct listing *listing = pop3_listing(s->pop3);
    return listing != NULL ? listing_summary(listing) : NULL;
}

static bool all_is_listed(const struct session *s)
{
    return s->counts.listed != SIZE_UNKNOWN;
}

static bool all_is_archived(const struct session *s)
{
    return all_is_listed(s) && s->outcome.scope == SCOPE_NONE && !s->outcome.more &&
           s->counts.refused == 0 && s->counts.quarantined == 0 && s->unwanted == 0;
}

static enum session_state state_of(const struct session *s)
{
    if (!all_is_listed(s))
        return SESSION_FAILED;
    return all_is_archived(s) ? SESSION_COMPLETE : SESSION_PARTIAL;
}

/* The outcome in words also where nothing failed but something is missing. */
static const char *words(const struct session *s, char text[OUTCOME_TEXT_SIZE])
{
    if (s->outcome.scope != SCOPE_NONE)
        return s->outcome.text;
    text[0] = '\0';
    if (s->counts.refused > 0 || s->counts.quarantined > 0)
        (void)snprintf(text, OUTCOME_TEXT_SIZE,
                       "%" PRIu64 " messages were refused by the server and %" PRIu64
                       " put aside; those refused are asked for again.",
                       s->counts.refused, s->counts.quarantined);
    else if (s->unwanted > 0)
        (void)snprintf(text, OUTCOME_TEXT_SIZE,
                       "%" PRIu64
                       " new messages are left to the next session that fetches.",
                       s->unwanted);
    else if (s->outcome.more)
        (void)snprintf(text, OUTCOME_TEXT_SIZE,
                       "Left at the session's limit; the rest follows in the next.");
    return text;
}

static void fill_in(const struct session *s, struct session_meta *m)
{
    const struct pool_counts *c = &s->counts;
    const struct listing_summary *l = summary(s);
    *m = (struct session_meta){
        .state = (uint8_t)state_of(s),
        .more = s->outcome.more || s->unwanted > 0,
        .flags = s->kind == POOL_DELETE ? (uint8_t)SESSION_DELETES : (uint8_t)0,
        .began_us = s->began_us,
        .ended_us = session_clock_us(),
        .listed = c->listed,
        .listed_bytes = c->listed_bytes,
        .known = c->known,
        .fetched = c->fetched,
        .deduplicated = c->deduplicated,
        .healed = c->healed,
        .refused = c->refused,
        .quarantined = c->quarantined,
        .bytes = c->bytes,
        .address = span_text(s->address),
        .tls = span_text(s->tls_text),
    };
    if (l != NULL && all_is_listed(s)) {
        memcpy(m->digest, l->digest, sizeof(m->digest));
        m->trusted = l->trust == LISTING_TRUSTED;
        if (!m->trusted)
            m->untrusted = span_text(listing_trust_text(l->trust));
    }
}

/* What was archived just now may go as soon as the next session, if all that is archived
 * may. */
static uint64_t deletable(const struct session *s)
{
    uint64_t known = intake_deletable(s->intake);
    const struct listing_summary *l = summary(s);
    bool doubted = (intake_flags(s->intake) & (SESSION_RENUMBERED | SESSION_DOUBTED)) != 0;
    if (s->kind == POOL_DELETE)
        return intake_plan(s->intake)->more && known > DELETIONS_PER_SESSION
                   ? known - DELETIONS_PER_SESSION
                   : 0;
    if (s->delete_before_us != INT64_MAX || s->clock_behind || doubted || l == NULL ||
        l->trust != LISTING_TRUSTED)
        return known;
    return known + s->counts.fetched + s->counts.deduplicated + s->counts.healed;
}

/* A poll that found what the one on record has found. */
static bool is_quiet(const struct session *s, const struct session_meta *m)
{
    const struct pool_run *run = &s->marks.run;
    return run->begun && run->account == s->account_number && run->source == s->source &&
           m->state == SESSION_COMPLETE && s->kind == POOL_FETCH &&
           m->fetched + m->deduplicated + m->healed == 0 &&
           memcmp(run->digest, m->digest, sizeof(m->digest)) == 0;
}

static int write_polls(struct session *s, enum record_type type, struct pool_polls *polls)
{
    struct session_run_meta meta = pool_run_meta(&s->marks.run, polls);
    bool any = polls->count > 0 && s->marks.run.account == s->account_number;
    polls->count = 0;
    return any ? intake_run(s->intake, type, &meta) : 0;
}

/* The polls of the run, if there are any, are on record from now on. */
static int write_run(struct session *s)
{
    struct pool_run *run = &s->marks.run;
    int err = write_polls(s, RECORD_SESSION_RUN, &run->complete);
    return err != 0 ? err : write_polls(s, RECORD_UNLISTED_RUN, &run->unlisted);
}

static bool is_due(const struct pool_polls *polls, int64_t now_us)
{
    return polls->count > 0 && now_us - polls->first_us >= POOL_RUN_US;
}

static int count_poll(struct session *s, struct pool_polls *polls, int64_t now_us)
{
    const struct pool_run *run = &s->marks.run;
    if (polls->count++ == 0)
        polls->first_us = now_us;
    polls->last_us = now_us;
    bool due = is_due(&run->complete, now_us) || is_due(&run->unlisted, now_us);
    return due ? write_run(s) : 0;
}

static int write_session(struct session *s, struct session_meta *m)
{
    int err = write_run(s);
    struct pool_run *run = &s->marks.run;
    *run = (struct pool_run){.begun = m->state == SESSION_COMPLETE && m->trusted != 0,
                             .account = s->account_number,
                             .source = s->source,
                             .listed = m->listed,
                             .listed_bytes = m->listed_bytes};
    memcpy(run->digest, m->digest, sizeof(m->digest));
    return err != 0 ? err : intake_session(s->intake, m);
}

/* It was listed, or got nowhere. */
static int conclude(struct session *s)
{
    char text[OUTCOME_TEXT_SIZE];
    struct session_meta m;
    bool quiet = false;
    s->counts.deletable = deletable(s);
    if (s->kind == POOL_DELETE)
        s->marks.delete_from = s->counts.deletable > 0 ? s->planned_upto : 0;
    s->renumbered = (intake_flags(s->intake) & SESSION_RENUMBERED) != 0;
    fill_in(s, &m);
    if (pop3_stats(s->pop3)->desynchronised)
        intake_suspect(s->intake);
    m.text = span_text(words(s, text));
    int err = intake_conclude(s->intake, &m, &quiet);
    if (err != 0)
        return err;
    if (!quiet || !is_quiet(s, &m))
        return write_session(s, &m);
    session_glance_remember(s, m.ended_us);
    return count_poll(s, &s->marks.run.complete, m.ended_us);
}

void session_write_record(struct session *s)
{
    if (s->intake == NULL || s->storage_err != 0 || s->intake_err != 0)
        return;
    session_delete_settle(s);
    if (session_glance_sufficed(s))
        s->intake_err = count_poll(s, &s->marks.run.unlisted, session_clock_us());
    else
        s->intake_err = conclude(s);
}

/* The archive's side ends before the result is told: the account may be next at once. */
static void let_go(struct session *s)
{
    struct worker *w = s->worker;
    budget_drop(w->shared->budget, &s->work);
    budget_drop(w->shared->budget, &s->listing);
    budget_drop(w->shared->budget, &s->base);
    intake_close(s->intake);
    s->intake = NULL;
    session_tls_drop(s);
    if (w->loop != NULL)
        timers_cancel(loop_timers(w->loop), &s->timer);
    TAILQ_REMOVE(&w->list, s, link);
    atomic_fetch_sub(&w->sessions, 1);
}

void session_deliver(struct session *s)
{
    const struct worker_shared *shared = s->worker->shared;
    let_go(s);
    if (s->storage_err != 0)
        outcome_set(&s->outcome, SCOPE_PROCESS, RETRY_BACKOFF,
                    "The archive could not be written (%s); the session was left without "
                    "QUIT, and what is not archived is fetched again.",
                    error_text(s->storage_err));
    session_judge_address(s);
    const struct pool_result result = {
        .tag = s->tag,
        .outcome = &s->outcome,
        .stopped = s->stopped,
        .counts = s->counts,
        .marks = s->marks,
        .address = s->address,
        .tls = s->tls_text,
        .aside = s->aside,
        .notice = s->notice,
        .unlisted = s->unlisted,
        .renumbered = s->renumbered,
        .clock_behind = s->clock_behind,
        .round_trips = pop3_stats(s->pop3)->round_trips,
    };
    shared->done(shared->arg, &result);
    session_discard(s);
}
