#include "archive/digest.h"
#include "archive/envelope.h"
#include "archive/error.h"
#include "workers/message_signs.h"
#include "workers/session_internal.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_STEP ((uint64_t)16 * 1024) /* what a growing one is counted in */

/* To the writer and back */

struct handed {
    struct writer_item item;
    struct parcel back;
    struct session *session;
};

static void storage_failed(struct session *s)
{
    session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF, "The archive could not be written.");
    session_end(s);
}

static void open_acknowledgement(void *arg)
{
    struct handed *h = arg;
    struct session *s = h->session;
    s->unacknowledged--;
    s->unacknowledged_bytes -= h->item.memory;
    if (h->item.err != 0)
        s->storage_err = h->item.err;
    free(h);
    if (s->storage_err != 0)
        storage_failed(s);
    else
        session_follow(s);
    session_turn(s);
}

/* In the writer's thread. */
static void acknowledge(void *arg)
{
    struct handed *h = arg;
    worker_post(h->session->worker, &h->back);
}

static uint64_t record_memory(const struct record *r)
{
    return sizeof(struct handed) + sizeof(*r) + r->meta.capacity + r->stored_meta.capacity +
           r->header.body_size;
}

static int hand_over(struct session *s, enum writer_kind kind, struct record *r)
{
    struct worker_shared *shared = s->worker->shared;
    struct handed *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        record_destroy(r);
        return -ENOMEM;
    }
    h->session = s;
    h->back = (struct parcel){.open = open_acknowledgement, .arg = h};
    h->item.kind = kind;
    h->item.urgent = kind == WRITER_BARRIER;
    h->item.record = r;
    h->item.done = acknowledge;
    h->item.arg = h;
    h->item.memory = r != NULL ? record_memory(r) : sizeof(*h);
    budget_pass(shared->budget, &s->work, h->item.memory);
    s->unacknowledged++;
    s->unacknowledged_bytes += h->item.memory;
    writer_submit(shared->writer, &h->item);
    return 0;
}

static int emit(void *arg, struct record *r)
{
    return hand_over(arg, WRITER_RECORD, r);
}

int session_intake_open(struct session *s)
{
    struct worker *w = s->worker;
    const struct intake_config config = {.archive = w->shared->archive,
                                         .lookup = w->lookup,
                                         .codec = w->codec,
                                         .account = s->account_number,
                                         .source = s->source,
                                         .store_once_off = w->shared->store_once_off,
                                         .emit = emit,
                                         .arg = s};
    /* An older view of the index could lack the account's latest messages. */
    lookup_rest(w->lookup);
    int err = intake_open(&config, &s->intake);
    if (err == 0 && s->delete_before_us != 0)
        s->clock_behind =
            !intake_may_delete(s->intake, s->delete_before_us, session_clock_us());
    if (err == 0 && s->kind == POOL_DELETE)
        intake_delete_from(s->intake, s->marks.delete_from);
    return err;
}

int session_barrier(struct session *s)
{
    return hand_over(s, WRITER_BARRIER, NULL);
}

static void note(struct session *s, int err)
{
    if (s->intake_err == 0)
        s->intake_err = err;
}

void session_intake_finish(struct session *s)
{
    if (s->intake == NULL)
        return;
    intake_abort(s->intake);
    if (s->intake_err == 0 && s->storage_err == 0)
        note(s, intake_flush(s->intake));
    session_drop_memory(s);
}

/* Memory */

void session_wait_begins(struct session *s)
{
    if (s->waiting_since_ms != 0)
        return;
    s->waiting_since_ms = session_now(s);
    s->keepalive_ms = s->waiting_since_ms + SESSION_KEEPALIVE_MS;
}

static void open_work_granted(void *arg)
{
    struct session *s = arg;
    s->work_due = false;
    if (s->flushed || s->step >= SESSION_LEAVE) {
        session_drop_memory(s);
    } else {
        s->waiting_since_ms = 0;
        session_follow(s);
    }
    session_turn(s);
}

static void post_work_granted(void *arg)
{
    struct session *s = arg;
    worker_post(s->worker, &s->work_granted);
}

static bool take_work_memory(struct session *s, enum budget_class queue)
{
    s->work.granted = post_work_granted;
    s->work.arg = s;
    s->work_granted = (struct parcel){.open = open_work_granted, .arg = s};
    s->work_due =
        !budget_take(s->worker->shared->budget, &s->work, queue, SESSION_WORK_MEMORY);
    if (s->work_due)
        session_wait_begins(s);
    return !s->work_due;
}

void session_drop_memory(struct session *s)
{
    struct budget *budget = s->worker->shared->budget;
    if (s->work_due && budget_cancel(budget, &s->work)) {
        s->work_due = false;
        s->waiting_since_ms = 0;
    }
    if (!s->work_due) /* else it was granted just now, and is dropped on arrival */
        budget_drop(budget, &s->work);
}

static bool has_work_memory(const struct session *s)
{
    return !s->work_due && s->work.working;
}

/* False: it waits, and there is nothing to be done meanwhile. */
static bool need_work_memory(struct session *s)
{
    return has_work_memory(s) || (!s->work_due && take_work_memory(s, BUDGET_WORK));
}

/* What the listing holds beyond SESSION_LISTING_MEMORY, with the bits that the intake keeps
 * for it. */
static uint64_t listing_excess(const struct session *s, const struct listing *l)
{
    uint64_t size = listing_memory(l) + intake_memory(s->intake);
    size = size > SESSION_LISTING_MEMORY ? size - SESSION_LISTING_MEMORY : 0;
    return (size + LISTING_STEP - 1) / LISTING_STEP * LISTING_STEP;
}

static bool resize_listing(struct session *s, uint64_t size)
{
    enum budget_class queue = has_work_memory(s) ? BUDGET_AGAIN : BUDGET_LISTING;
    return size == s->listing.held ||
           budget_resize(s->worker->shared->budget, &s->listing, queue, size);
}

/* The listing as far as it has grown. If it does not fit, only those go on that could fetch
 * as well; the others wait for that, and read no more. */
static void count_listing(struct session *s)
{
    const struct listing *l = pop3_listing(s->pop3);
    if (l == NULL || s->listing_counted || s->flushed)
        return;
    uint64_t size = listing_excess(s, l);
    if (!resize_listing(s, size)) {
        if (!need_work_memory(s))
            return;
        s->no_memory = !resize_listing(s, size);
    }
    s->listing_counted = pop3_state(s->pop3) > POP3_LISTING; /* it does not grow any more */
}

/* POP3's callbacks */

static void on_start_tls(void *arg)
{
    struct session *s = arg;
    s->tls_asked = true;
}

static enum listing_verdict on_judge(void *arg, uint32_t number, uint64_t size,
                                     const char *uidl, size_t uidl_size)
{
    struct session *s = arg;
    session_glance_judged(s, number, uidl, uidl_size);
    switch (intake_judge(s->intake, span_of(uidl, uidl_size), size)) {
    case INTAKE_KNOWN:
        s->counts.known++;
        return session_delete_judged(s, number);
    case INTAKE_QUARANTINED:
        s->counts.aside++;
        return LISTING_SKIP;
    case INTAKE_WANTED:
        break;
    }
    if (s->kind == POOL_DELETE) {
        s->unwanted++;
        return LISTING_SKIP;
    }
    return LISTING_WANT;
}

static void on_unchanged(void *arg)
{
    struct session *s = arg;
    s->unchanged = true;
}

static void on_listing_done(void *arg, const struct listing *listing)
{
    struct session *s = arg;
    const struct listing_summary *l = listing_summary(listing);
    uint64_t named = l->list_count > l->uidl_count ? l->list_count : l->uidl_count;
    s->counts.listed = l->stat_known ? l->stat_count : named;
    s->counts.listed_bytes = l->stat_bytes;
    intake_listed(s->intake, l->trust == LISTING_TRUSTED);
    s->intake_base = intake_memory(s->intake);
    session_delete_listed(s);
    if (listing_wanted_count(listing) > 0) {
        s->work_asked = true;
        pop3_pause(s->pop3);
    }
}

static struct span uidl_of(const struct listing_entry *entry)
{
    return span_of(entry->uidl, entry->uidl_size);
}

static void on_begin(void *arg, const struct listing_entry *entry, uint64_t octets)
{
    struct session *s = arg;
    (void)octets;
    note(s, intake_begin(s->intake, uidl_of(entry), entry->size));
}

static void on_data(void *arg, const char *data, size_t size)
{
    struct session *s = arg;
    if (s->intake_err == 0)
        note(s, intake_add(s->intake, (const uint8_t *)data, size));
}

/* Names a message that has an ID; 0: it has none. */
static uint64_t name_trouble(const struct listing_entry *entry)
{
    if (entry->uidl_size == 0)
        return 0;
    return checksum64(entry->uidl, entry->uidl_size, entry->size) | 1;
}

static void count_result(struct session *s, enum intake_result result)
{
    switch (result) {
    case INTAKE_ARCHIVED:
        s->counts.fetched++;
        break;
    case INTAKE_DEDUPLICATED:
        s->counts.deduplicated++;
        break;
    case INTAKE_HEALED:
        s->counts.healed++;
        break;
    case INTAKE_AGAIN: /* in a delete session its line was known */
        s->counts.known += s->kind == POOL_FETCH;
        break;
    }
    atomic_fetch_add(&s->worker->shared->messages, 1);
}

static uint8_t message_flags(const struct session *s, const struct listing_entry *entry,
                             unsigned pop3_flags)
{
    uint8_t flags = message_signs(intake_field(s->intake, FIELD_SUBJECT),
                                  intake_field(s->intake, ENVELOPE_X_UIDL), uidl_of(entry));
    return pop3_flags & POP3_MESSAGE_SHORT ? flags | (uint8_t)MESSAGE_SHORT : flags;
}

static void on_end(void *arg, const struct listing_entry *entry, unsigned flags)
{
    struct session *s = arg;
    enum intake_result result = INTAKE_ARCHIVED;
    if (s->intake_err == 0)
        note(s, intake_end(s->intake, message_flags(s, entry, flags), &result));
    if (s->intake_err != 0)
        return;
    count_result(s, result);
    if (s->marks.trouble != 0 && s->marks.trouble == name_trouble(entry))
        s->marks.trouble = 0;
    /* Many small messages with large IDs and headers: their metas are memory too. */
    if (intake_memory(s->intake) > s->intake_base + CHUNK_RAW_MAX + SESSION_META_MEMORY)
        note(s, intake_flush(s->intake));
}

static void quarantine(struct session *s, const struct listing_entry *entry,
                       const char *reason)
{
    char uidl[OUTCOME_QUOTE_SIZE];
    if (s->intake_err != 0 || s->storage_err != 0)
        return;
    s->counts.quarantined++;
    outcome_escape(uidl, sizeof(uidl), entry->uidl, entry->uidl_size);
    (void)snprintf(s->aside, sizeof(s->aside), "Message with UIDL \"%s\" put aside: %s",
                   uidl, reason);
    note(s, intake_quarantine(s->intake, uidl_of(entry), entry->size, reason));
}

static const char *trouble_text(enum pop3_discard why)
{
    switch (why) {
    case POP3_DISCARD_SUSPECT:
        return "what followed its end was no reply";
    case POP3_DISCARD_NO_ANSWER:
        return "the server did not answer";
    case POP3_DISCARD_TIMEOUT:
        return "it did not come to its end in time";
    case POP3_DISCARD_UNPROVEN:
        return "the connection was lost right behind it";
    case POP3_DISCARD_OVERSIZED:
    case POP3_DISCARD_CUT:
    case POP3_DISCARD_ABANDONED:
        break;
    }
    return pop3_discard_name(why);
}

/* One message must not block its mailbox for ever (Q29). */
static void note_trouble(struct session *s, const struct listing_entry *entry,
                         enum pop3_discard why)
{
    char reason[128];
    uint64_t trouble = name_trouble(entry);
    if (trouble == 0)
        return;
    if (s->marks.trouble != trouble)
        s->marks.trouble_count = 0;
    s->marks.trouble = trouble;
    if (++s->marks.trouble_count < POOL_TROUBLE_MAX)
        return;
    (void)snprintf(reason, sizeof(reason),
                   "RETR broke the session %u times in a row (the last time: %s).",
                   POOL_TROUBLE_MAX, trouble_text(why));
    quarantine(s, entry, reason);
    s->marks.trouble = 0;
}

static void on_discard(void *arg, const struct listing_entry *entry, enum pop3_discard why)
{
    struct session *s = arg;
    intake_abort(s->intake);
    switch (why) {
    case POP3_DISCARD_OVERSIZED:
        quarantine(s, entry, "Longer than allowed for its listed size (max-message-size).");
        break;
    case POP3_DISCARD_SUSPECT:
    case POP3_DISCARD_NO_ANSWER:
    case POP3_DISCARD_TIMEOUT:
        note_trouble(s, entry, why);
        break;
    case POP3_DISCARD_UNPROVEN:
        if (s->careful)
            note_trouble(s, entry, why);
        break;
    case POP3_DISCARD_CUT:
    case POP3_DISCARD_ABANDONED:
        break;
    }
}

static void on_refused(void *arg, const struct listing_entry *entry, bool permanent,
                       const char *text)
{
    struct session *s = arg;
    (void)entry;
    (void)permanent;
    (void)text;
    s->counts.refused++;
}

static void on_fetched_all(void *arg)
{
    struct session *s = arg;
    s->all_fetched = true;
}

static void on_deleted(void *arg, uint32_t number, bool accepted)
{
    struct session *s = arg;
    (void)number; /* they are answered in the order of the plan */
    session_delete_answered(s, accepted);
}

static void on_trace(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct session *s = arg;
    (void)from;
    if (to >= POP3_CAPA_AGAIN)
        OPENSSL_cleanse(s->password, strlen(s->password));
}

static void on_wire(void *arg, const char *text)
{
    session_wire(arg, text);
}

const struct pop3_callbacks session_callbacks = {
    .start_tls = on_start_tls,
    .judge = on_judge,
    .unchanged = on_unchanged,
    .listing_done = on_listing_done,
    .message_begin = on_begin,
    .message_data = on_data,
    .message_end = on_end,
    .message_discard = on_discard,
    .message_refused = on_refused,
    .fetched_all = on_fetched_all,
    .message_deleted = on_deleted,
    .trace = on_trace,
    .wire = on_wire,
};

/* What they ask for */

static void intake_failed(struct session *s)
{
    session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                   "A message could not be taken into the archive: %s.",
                   error_text(s->intake_err));
    session_end(s);
}

static void listing_too_large(struct session *s)
{
    session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                   "%s:%u: no memory was left for the mailbox's listing; raise max-memory "
                   "if this stays.",
                   s->host, s->port);
    session_end(s);
}

static void flush(struct session *s)
{
    s->flushed = true;
    note(s, intake_flush(s->intake));
    session_drop_memory(s);
    if (s->intake_err == 0 && s->unacknowledged > 0)
        note(s, session_barrier(s));
    if (s->unacknowledged > 0)
        session_wait_begins(s);
}

static bool is_durable(const struct session *s)
{
    return s->flushed && s->unacknowledged == 0 && s->storage_err == 0 &&
           s->intake_err == 0 && !s->told_durable && !s->proofs_due &&
           pop3_state(s->pop3) == POP3_DURABLE;
}

/* One step; false if there is nothing to do. */
static bool follow_once(struct session *s)
{
    if (pop3_done(s->pop3)) {
        session_end(s);
    } else if (s->intake_err != 0) {
        intake_failed(s);
    } else if (s->no_memory) {
        listing_too_large(s);
    } else if (s->tls_asked) {
        s->tls_asked = false;
        session_gate_enter(s);
    } else if (s->work_asked) {
        if (!need_work_memory(s))
            return false;
        s->work_asked = false;
        pop3_resume(s->pop3, session_now(s));
    } else if (s->all_fetched && !s->flushed) {
        flush(s);
    } else if (is_durable(s)) {
        session_delete_go_on(s);
    } else {
        return false;
    }
    return true;
}

void session_follow(struct session *s)
{
    if (s->step >= SESSION_LEAVE)
        return;
    count_listing(s);
    while (s->step < SESSION_LEAVE && follow_once(s))
        continue;
    /* A record took memory with it to the writer: more is read once it is there again. */
    bool fetching = pop3_state(s->pop3) == POP3_FETCH && !pop3_paused(s->pop3);
    if (s->step < SESSION_LEAVE && fetching && !s->work_due && !s->work.working)
        (void)take_work_memory(s, BUDGET_AGAIN);
}

void session_waited(struct session *s)
{
    uint64_t now = session_now(s);
    if (s->proofs_due && now >= s->waiting_since_ms + SESSION_PROOF_MS)
        atomic_store(&s->proofs.unwanted, true);
    if (now >= s->waiting_since_ms + SESSION_WAIT_MS) {
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                       "Waited %u minutes for %s; the session was dropped without QUIT.",
                       (unsigned)(SESSION_WAIT_MS / 60000),
                       s->work_due ? "memory (max-memory)" : "the disk");
        session_end(s);
        return;
    }
    s->keepalive_ms = now + SESSION_KEEPALIVE_MS;
    (void)pop3_keepalive(s->pop3, now);
}
