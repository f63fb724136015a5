#include "tests/crash/session.h"

#include "archive/archive_internal.h"
#include "archive/deletion.h"
#include "archive/error.h"
#include "archive/intake.h"
#include "archive/lookup.h"
#include "archive/reader.h"
#include "archive/store.h"

#include <errno.h>
#include <stdlib.h>

#define HOST "pop.example"

struct session {
    struct archive *archive;
    const struct mail *mail;
    struct session_plan plan;
    struct codec *codec;
    struct lookup *lookup;
    struct intake *intake;
    uint32_t number, source;
    bool wanted[MAIL_EACH];
    unsigned done;         /* of them */
    bool taken[MAIL_EACH]; /* and not yet acknowledged */
    unsigned waiting;
    struct buffer text;
};

static int append(void *arg, struct record *r)
{
    return store_append(arg, r);
}

static int log_in(struct session *s)
{
    const char *name = s->mail->accounts[s->plan.account].name;
    s->codec = codec_create();
    int err = s->codec == NULL ? -ENOMEM : lookup_create(s->archive, &s->lookup);
    if (err == 0)
        err = store_origin(s->archive, span_text(name), span_text(HOST), span_text(name),
                           &s->number, &s->source);
    const struct intake_config config = {.archive = s->archive,
                                         .lookup = s->lookup,
                                         .codec = s->codec,
                                         .account = s->number,
                                         .source = s->source,
                                         .emit = append,
                                         .arg = s->archive};
    return err != 0 ? err : intake_open(&config, &s->intake);
}

/* Tell of the messages whose commit has succeeded, by the numbers they were given. */
static int acknowledge(struct session *s)
{
    const struct mail_account *account = &s->mail->accounts[s->plan.account];
    struct message_meta m;
    struct reader *reader = NULL;
    uint64_t n = 0;
    int err = reader_create(s->archive, &reader);
    while (err == 0 && s->waiting > 0 &&
           (err = reader_next(reader, s->number, n, &m)) == 0) {
        const struct mail_message *message = mail_message(account, m.uidl);
        n = m.n;
        if (message == NULL || !s->taken[message - account->messages])
            continue;
        s->taken[message - account->messages] = false;
        s->waiting--;
        s->plan.told(s->plan.arg, MARK_ACKNOWLEDGED, s->plan.account,
                     (unsigned)(message - account->messages), n);
    }
    reader_destroy(reader);
    return err;
}

static int commit(struct session *s)
{
    int err = intake_flush(s->intake);
    if (err == 0)
        err = store_commit(s->archive);
    return err != 0 ? err : acknowledge(s);
}

static bool some_are_gone(const struct session *s)
{
    bool some = false;
    for (unsigned i = 0; i < MAIL_EACH; i++)
        some = some || s->plan.gone[i];
    return some;
}

static int take(struct session *s, unsigned message)
{
    const struct mail_message *m = &s->mail->accounts[s->plan.account].messages[message];
    enum intake_result result = INTAKE_ARCHIVED;
    mail_text(s->mail, s->plan.account, message, &s->text);
    int err = intake_begin(s->intake, span_text(m->uidl), m->size);
    if (err == 0)
        err = intake_add(s->intake, s->text.data, s->text.size);
    if (err == 0)
        err = intake_end(s->intake, 0, &result);
    /* Every UIDL is listed, so none may pass for a new name of another message. */
    if (err == 0 && result == INTAKE_DEDUPLICATED && !some_are_gone(s))
        err = ERR_PROTOCOL;
    s->taken[message] = err == 0 && result == INTAKE_ARCHIVED;
    s->waiting += s->taken[message];
    return err;
}

static int ignore_bytes(void *arg, const uint8_t *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
    return 0;
}

/* The copies are read back (not past the page cache: this disk is memory). */
static int prove(struct session *s, struct deletion_plan *plan)
{
    struct reader *reader = NULL;
    int err = reader_create(s->archive, &reader);
    for (size_t i = 0; err == 0 && i < plan->count; i++) {
        struct deletion_item *item = &plan->items[i];
        item->proven = reader_body(reader, s->number, item->n, ignore_bytes, NULL) == 0;
    }
    reader_destroy(reader);
    return err;
}

/* The intent first, durable, then the wire. Numbers are those of the listing, from 1. */
static int delete_planned(struct session *s)
{
    struct deletion_plan *plan = intake_plan(s->intake);
    int err = prove(s, plan);
    if (err == 0)
        err = intake_intend(s->intake);
    if (err == 0)
        err = store_commit(s->archive);
    for (size_t i = 0; err == 0 && i < plan->count; i++) {
        struct deletion_item *item = &plan->items[i];
        s->plan.told(s->plan.arg, MARK_DELE, s->plan.account, item->number - 1, item->n);
        item->state = DELETION_ACCEPTED;
    }
    return err;
}

static int journal(struct session *s)
{
    struct session_meta m = {.state = SESSION_COMPLETE,
                             .trusted = 1,
                             .flags = s->plan.deletes ? SESSION_DELETES : 0,
                             .listed = MAIL_EACH,
                             .began_us = 1,
                             .ended_us = 2,
                             .address = span_text("127.0.0.1:995")};
    int err = intake_session(s->intake, &m);
    return err != 0 ? err : store_commit(s->archive);
}

/* Judge what the server lists. In a delete session, what is to be fetched again is wanted,
 * too. */
static void judge(struct session *s)
{
    const struct session_plan *plan = &s->plan;
    unsigned offered = 0;
    (void)intake_may_delete(s->intake, INT64_MAX, INT64_MAX - INTAKE_CLOCK_SLACK_US);
    for (unsigned i = 0; i < MAIL_EACH; i++) {
        const struct mail_message *m = &s->mail->accounts[plan->account].messages[i];
        if (plan->gone[i])
            continue;
        enum intake_verdict verdict = intake_judge(s->intake, span_text(m->uidl), m->size);
        if (!plan->deletes)
            s->wanted[i] = verdict == INTAKE_WANTED;
        else if (verdict == INTAKE_KNOWN && offered < plan->most) {
            enum intake_offer offer = intake_offer(s->intake, i + 1);
            s->wanted[i] = offer == INTAKE_COMPARE;
            offered += offer != INTAKE_KEEP;
        }
    }
    intake_listed(s->intake, true);
}

int session_begin(struct archive *a, const struct mail *mail,
                  const struct session_plan *plan, struct session **out)
{
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->archive = a;
    s->mail = mail;
    s->plan = *plan;
    int err = log_in(s);
    if (err != 0) {
        session_end(s);
        return err;
    }
    judge(s);
    lookup_rest(s->lookup);
    *out = s;
    return 0;
}

/* What follows the last message. */
static int finish(struct session *s)
{
    int err = commit(s);
    if (err == 0 && s->plan.deletes)
        err = delete_planned(s);
    return err != 0 ? err : journal(s);
}

int session_step(struct session *s, bool *out_over)
{
    unsigned next = 0;
    while (next < MAIL_EACH && !s->wanted[next])
        next++;
    *out_over = next == MAIL_EACH || s->done == s->plan.most;
    if (*out_over)
        return finish(s);
    s->wanted[next] = false;
    int err = take(s, next);
    if (err == 0 && ++s->done % s->plan.batch == 0)
        err = commit(s);
    lookup_rest(s->lookup);
    return err;
}

void session_end(struct session *s)
{
    if (s == NULL)
        return;
    intake_close(s->intake);
    lookup_destroy(s->lookup);
    codec_destroy(s->codec);
    buffer_free(&s->text);
    free(s);
}

int session_run(struct archive *a, const struct mail *mail, const struct session_plan *plan)
{
    struct session *s = NULL;
    bool over = false;
    int err = session_begin(a, mail, plan, &s);
    while (err == 0 && !over)
        err = session_step(s, &over);
    session_end(s);
    return err;
}
