#include "archive/deletion.h"
#include "archive/error.h"
#include "workers/session_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum listing_verdict session_delete_judged(struct session *s, uint32_t number)
{
    if (s->kind != POOL_DELETE || intake_offer(s->intake, number) != INTAKE_COMPARE)
        return LISTING_SKIP;
    return LISTING_WANT;
}

/* One sentence for the administrator (Q7, Q13). */
static void notice(struct session *s, uint8_t flags)
{
    if (flags & SESSION_RENUMBERED)
        (void)snprintf(s->notice, sizeof(s->notice),
                       "%s:%u: most of the messages listed before have other UIDLs or "
                       "sizes now; they are fetched again, what is equal is not stored "
                       "twice, and nothing is deleted unless it is fetched once more and "
                       "is equal.",
                       s->host, s->port);
    else if ((flags & SESSION_DOUBTED) != 0 && s->delete_before_us != 0)
        (void)snprintf(s->notice, sizeof(s->notice),
                       "%s:%u: most of the messages listed before are missing (%" PRIu64
                       " are listed now); nothing is deleted or taken for deleted until "
                       "the server has shown this three times in a row.",
                       s->host, s->port, s->counts.listed);
}

void session_delete_listed(struct session *s)
{
    const struct deletion_plan *plan = intake_plan(s->intake);
    notice(s, intake_flags(s->intake));
    for (size_t i = 0; i < plan->count; i++)
        if (plan->items[i].n > s->planned_upto)
            s->planned_upto = plan->items[i].n;
    if (s->kind == POOL_DELETE && plan->count == 0)
        pop3_finish(s->pop3);
}

/* Reading the copies back */

static void take_proofs(struct session *s)
{
    struct deletion_plan *plan = intake_plan(s->intake);
    unsigned hurt = 0;
    int err = 0;
    for (size_t i = 0; i < plan->count; i++) {
        plan->items[i].proven = s->claims[i].err == 0;
        bool stopped = s->claims[i].err == ERR_STOPPED; /* later, then */
        if (s->claims[i].err != 0 && !stopped && hurt++ == 0)
            err = s->claims[i].err;
    }
    if (hurt > 0)
        (void)snprintf(s->notice, sizeof(s->notice),
                       "%u of %zu messages stay on the server: their archived copies could "
                       "not be proved by reading them back from the disk (%s); run "
                       "mailcask verify.",
                       hurt, plan->count, error_text(err));
}

static void open_proofs_known(void *arg)
{
    struct session *s = arg;
    s->proofs_due = false;
    s->waiting_since_ms = 0;
    if (s->step < SESSION_LEAVE) {
        take_proofs(s);
        session_follow(s);
    }
    session_turn(s);
}

/* In the prover's thread. */
static void proofs_done(void *arg)
{
    struct session *s = arg;
    worker_post(s->worker, &s->proofs_known);
}

static int begin_proofs(struct session *s, const struct deletion_plan *plan)
{
    s->claims = calloc(plan->count, sizeof(*s->claims));
    if (s->claims == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < plan->count; i++) {
        s->claims[i].n = plan->items[i].n;
        memcpy(s->claims[i].sha256, plan->items[i].sha256, SHA256_SIZE);
    }
    s->proofs_known = (struct parcel){.open = open_proofs_known, .arg = s};
    s->proofs = (struct prover_item){.account = s->account_number,
                                     .claims = s->claims,
                                     .count = plan->count,
                                     .done = proofs_done,
                                     .arg = s};
    s->proofs_due = true;
    session_wait_begins(s);
    prover_submit(s->worker->shared->prover, &s->proofs);
    return 0;
}

/* The intent, then DELE */

static int intend(struct session *s)
{
    int err = intake_intend(s->intake);
    const struct deletion_plan *plan = intake_plan(s->intake);
    if (err != 0 || plan->count == 0)
        return err;
    s->numbers = calloc(plan->count, sizeof(*s->numbers));
    if (s->numbers == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < plan->count; i++)
        s->numbers[i] = plan->items[i].number;
    session_wait_begins(s);
    return session_barrier(s);
}

static void leave(struct session *s)
{
    s->told_durable = true;
    s->waiting_since_ms = 0;
    s->deletion = DELETION_SENT;
    pop3_delete(s->pop3, session_now(s), s->numbers,
                s->numbers != NULL ? intake_plan(s->intake)->count : 0);
}

void session_delete_go_on(struct session *s)
{
    const struct deletion_plan *plan = intake_plan(s->intake);
    int err = 0;
    if (s->deletion == DELETION_PLANS && plan->count > 0) {
        s->deletion = DELETION_PROVES;
        err = begin_proofs(s, plan);
    } else if (s->deletion == DELETION_PROVES) {
        s->deletion = DELETION_INTENDS;
        err = intend(s);
    } else {
        leave(s);
    }
    if (err != 0 && s->intake_err == 0)
        s->intake_err = err;
}

void session_delete_answered(struct session *s, bool accepted)
{
    struct deletion_plan *plan = intake_plan(s->intake);
    plan->items[s->answered++].state =
        (uint8_t)(accepted ? DELETION_UNKNOWN : DELETION_REFUSED);
}

/* +OK to DELE counts only with +OK to QUIT. */
void session_delete_settle(struct session *s)
{
    struct deletion_plan *plan = s->intake != NULL ? intake_plan(s->intake) : NULL;
    if (plan == NULL || s->deletion != DELETION_SENT || s->numbers == NULL)
        return;
    size_t sent = pop3_deletes_sent(s->pop3);
    bool accepted = pop3_stats(s->pop3)->quit_accepted;
    for (size_t i = 0; i < plan->count; i++) {
        uint8_t *state = &plan->items[i].state;
        if (i >= s->answered && i < sent)
            *state = DELETION_UNKNOWN;
        else if (*state == DELETION_UNKNOWN && accepted)
            *state = DELETION_ACCEPTED;
        s->counts.deleted += *state == DELETION_ACCEPTED;
        s->counts.kept += *state == DELETION_UNKNOWN || *state == DELETION_REFUSED;
    }
}
