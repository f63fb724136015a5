#include "workers/pop3_internal.h"

#include <assert.h>
#include <stdio.h>

/* DELE. */

void pop3_delete_go_on(struct pop3 *p)
{
    if (p->deletes_answered == p->deletes_count) {
        pop3_enter(p, POP3_QUIT);
        return;
    }
    if (!pop3_window_wants_more(p))
        return;
    while (p->state == POP3_DELETE && p->deletes_queued < p->deletes_count &&
           pop3_window_has_room(p))
        pop3_window_send(p, POP3_CMD_DELE, "DELE", p->deletes[p->deletes_queued++]);
}

void pop3_delete_reply(struct pop3 *p, const struct reply *reply)
{
    uint32_t number = p->deletes[p->deletes_answered++];
    pop3_answered(p);
    p->callbacks.message_deleted(p->arg, number, reply->status == REPLY_OK);
    pop3_window_grow(p);
    pop3_delete_go_on(p);
}

size_t pop3_deletes_sent(const struct pop3 *p)
{
    size_t sent = p->deletes_answered;
    for (unsigned i = 0; i < p->queue_count; i++) {
        const struct pop3_expected *e = &p->queue[(p->queue_head + i) % POP3_QUEUE_MAX];
        if (e->command == POP3_CMD_DELE && e->sent_at - e->size < p->output_taken)
            sent++;
    }
    return sent;
}

/* What happened comes last, as it may be cut. */
static void in_doubt(struct pop3 *p, const char *answer, const char *text)
{
    outcome_set(&p->outcome, SCOPE_MAILBOX, RETRY_BACKOFF,
                "The server's answer to QUIT is %s, so it is not known which messages it "
                "deleted (DELE was sent for %zu); the next listing shows it. %s",
                answer, pop3_deletes_sent(p), text);
}

void pop3_delete_in_doubt(struct pop3 *p, const char *text)
{
    in_doubt(p, "missing", text);
}

/* QUIT. */

void pop3_quit_reply(struct pop3 *p, const struct reply *reply)
{
    p->stats.quit_answered = true;
    p->stats.quit_accepted = reply->status == REPLY_OK;
    pop3_answered(p);
    /* If nothing was deleted, -ERR does not matter: everything is durable. */
    if (!p->stats.quit_accepted && pop3_deletes_sent(p) > 0) {
        char quote[OUTCOME_QUOTE_SIZE];
        char text[OUTCOME_TEXT_SIZE];
        pop3_quote(p, reply->text, reply->text_size, quote);
        (void)snprintf(text, sizeof(text), "It said \"%s\".", quote);
        in_doubt(p, "a refusal", text);
    }
    pop3_enter(p, POP3_DONE);
}

void pop3_leave(struct pop3 *p)
{
    if (p->durable && p->queue_count == 0)
        pop3_enter(p, p->deletes_count > 0 ? POP3_DELETE : POP3_QUIT);
}

/* What the owner says. */

void pop3_delete(struct pop3 *p, uint64_t now, const uint32_t *numbers, size_t count)
{
    assert(p->state == POP3_DURABLE && !p->durable);
    assert(count == 0 || p->callbacks.message_deleted != NULL);
    p->now = now;
    p->durable = true;
    p->deletes = numbers;
    p->deletes_count = count;
    pop3_leave(p);
}

void pop3_durable(struct pop3 *p, uint64_t now)
{
    pop3_delete(p, now, NULL, 0);
}
