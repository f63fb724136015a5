#include "tests/crash/workload.h"

#include "archive/archive.h"
#include "archive/archive_internal.h"
#include "archive/deletion.h"
#include "archive/error.h"
#include "archive/intake.h"
#include "archive/lookup.h"
#include "archive/reader.h"
#include "archive/repack.h"
#include "archive/store.h"
#include "tests/crash/image.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "pop.example"

/* One session while it runs. */
struct session {
    struct archive *archive;
    const struct mail *mail;
    const struct session_plan *plan;
    struct codec *codec;
    struct lookup *lookup;
    struct intake *intake;
    uint32_t number, source;
    bool taken[MAIL_EACH]; /* and not yet acknowledged */
    unsigned waiting;
};

static int append(void *arg, struct record *r)
{
    return store_append(arg, r);
}

static int session_begin(struct session *s)
{
    const char *name = s->mail->accounts[s->plan->account].name;
    s->codec = codec_create();
    assert(s->codec != NULL);
    int err = lookup_create(s->archive, &s->lookup);
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

static void session_free(struct session *s)
{
    intake_close(s->intake);
    lookup_destroy(s->lookup);
    codec_destroy(s->codec);
}

/* Tell of the messages whose commit has succeeded, by the numbers they were given. */
static int acknowledge(struct session *s)
{
    const struct mail_account *account = &s->mail->accounts[s->plan->account];
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
        s->plan->told(s->plan->arg, MARK_ACKNOWLEDGED, s->plan->account,
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
        some = some || s->plan->gone[i];
    return some;
}

static int take(struct session *s, unsigned message, struct buffer *text)
{
    const struct mail_message *m = &s->mail->accounts[s->plan->account].messages[message];
    enum intake_result result = INTAKE_ARCHIVED;
    mail_text(s->mail, s->plan->account, message, text);
    int err = intake_begin(s->intake, span_text(m->uidl), m->size);
    if (err == 0)
        err = intake_add(s->intake, text->data, text->size);
    if (err == 0)
        err = intake_end(s->intake, 0, &result);
    /* Every UIDL is listed, so none may pass for a new name of another message. */
    if (err == 0 && result == INTAKE_DEDUPLICATED && !some_are_gone(s))
        err = ERR_PROTOCOL;
    s->taken[message] = err == 0 && result == INTAKE_ARCHIVED;
    s->waiting += s->taken[message];
    return err;
}

static int take_all(struct session *s, const bool *wanted)
{
    struct buffer text = {0};
    unsigned done = 0;
    int err = 0;
    for (unsigned i = 0; err == 0 && i < MAIL_EACH && done < s->plan->most; i++) {
        if (!wanted[i])
            continue;
        err = take(s, i, &text);
        if (err == 0 && ++done % s->plan->batch == 0)
            err = commit(s);
    }
    buffer_free(&text);
    return err != 0 ? err : commit(s);
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
        s->plan->told(s->plan->arg, MARK_DELE, s->plan->account, item->number - 1, item->n);
        item->state = DELETION_ACCEPTED;
    }
    return err;
}

static int journal(struct session *s)
{
    struct session_meta m = {.state = SESSION_COMPLETE,
                             .trusted = 1,
                             .flags = s->plan->deletes ? SESSION_DELETES : 0,
                             .listed = MAIL_EACH,
                             .began_us = 1,
                             .ended_us = 2,
                             .address = span_text("127.0.0.1:995")};
    int err = intake_session(s->intake, &m);
    return err != 0 ? err : store_commit(s->archive);
}

/* Judge what the server lists. In a delete session, what is to be fetched again is wanted,
 * too. */
static void judge(struct session *s, bool *wanted)
{
    const struct session_plan *plan = s->plan;
    unsigned offered = 0;
    for (unsigned i = 0; i < MAIL_EACH; i++) {
        const struct mail_message *m = &s->mail->accounts[plan->account].messages[i];
        if (plan->gone[i])
            continue;
        enum intake_verdict verdict = intake_judge(s->intake, span_text(m->uidl), m->size);
        if (!plan->deletes)
            wanted[i] = verdict == INTAKE_WANTED;
        else if (verdict == INTAKE_KNOWN && offered < plan->most) {
            enum intake_offer offer = intake_offer(s->intake, i + 1);
            wanted[i] = offer == INTAKE_COMPARE;
            offered += offer != INTAKE_KEEP;
        }
    }
}

int workload_session(struct archive *a, const struct mail *mail,
                     const struct session_plan *plan)
{
    struct session s = {.archive = a, .mail = mail, .plan = plan};
    bool wanted[MAIL_EACH] = {false};
    int err = session_begin(&s);
    if (err == 0) {
        (void)intake_may_delete(s.intake, INT64_MAX, INT64_MAX - INTAKE_CLOCK_SLACK_US);
        judge(&s, wanted);
        intake_listed(s.intake, true);
        err = take_all(&s, wanted);
    }
    if (err == 0 && plan->deletes)
        err = delete_planned(&s);
    if (err == 0)
        err = journal(&s);
    session_free(&s);
    return err;
}

/* The archive's life. */
struct life {
    const struct workload_options *options;
    struct workload_result *result;
    struct archive *archive;
    struct file_ops ops;
    char path[PATH_MAX];
    uint64_t random;
    bool gone[MAIL_ACCOUNTS][MAIL_EACH]; /* deleted from the servers */
};

static void wrong(struct life *l, const char *what, int err)
{
    l->result->wrong = true;
    snprintf(l->result->why, sizeof(l->result->why), "%s: %s", what, error_text(err));
}

static void told(void *arg, enum mark_type what, unsigned account, unsigned message,
                 uint64_t n)
{
    struct life *l = arg;
    const struct mail_account *from = &l->options->mail->accounts[account];
    const struct mail_message *m = &from->messages[message];
    struct mark mark = {.type = what, .n = n};
    snprintf(mark.account, sizeof(mark.account), "%s", from->name);
    snprintf(mark.uidl, sizeof(mark.uidl), "%s", m->uidl);
    memcpy(mark.sha256, m->sha256, SHA256_SIZE);
    event_log_mark(l->options->log, &mark);
    l->result->acknowledged += what == MARK_ACKNOWLEDGED;
    l->result->deleted += what == MARK_DELE;
    if (what == MARK_DELE)
        l->gone[account][message] = true;
}

static int open_archive(struct life *l)
{
    const struct archive_options options = {.mode = ARCHIVE_WRITE, .ops = &l->ops};
    return archive_open(l->path, &options, &l->archive);
}

static void close_failed(struct life *l)
{
    archive_close(l->archive);
    l->archive = NULL;
    recorder_revive();
}

/* As a killed process leaves it. */
static void leave(struct life *l)
{
    recorder_kill();
    close_failed(l);
}

/* After a failure the store promises nothing more, and is opened again. */
static void failed(struct life *l, int err)
{
    l->result->failures++;
    if (l->archive != NULL && store_failure(l->archive) != 0 &&
        store_commit(l->archive) == 0)
        wrong(l, "a store that has failed commits", err);
    close_failed(l);
}

static int repack(struct life *l)
{
    const struct repack_options options = {.remove_now = random_below(&l->random, 2) == 0};
    struct repack_summary summary;
    return archive_repack(l->archive, &options, &summary);
}

static int session_of(struct life *l, bool deletes)
{
    const unsigned account = (unsigned)random_below(&l->random, MAIL_ACCOUNTS);
    const struct session_plan plan = {
        .account = account,
        .most = 1 + (unsigned)random_below(&l->random, deletes ? 2 : 7),
        .batch = 1 + (unsigned)random_below(&l->random, 3),
        .deletes = deletes,
        .gone = l->gone[account],
        .told = told,
        .arg = l};
    return workload_session(l->archive, l->options->mail, &plan);
}

/* What happens between two sessions. */
static int between(struct life *l, unsigned session)
{
    int err;
    if (session == l->options->sessions * 2 / 3)
        return repack(l);
    switch (random_below(&l->random, 5)) {
    case 0:
        return store_seal(l->archive);
    case 1:
        err = archive_close(l->archive);
        l->archive = NULL;
        return err;
    case 2:
        leave(l);
        return 0;
    default:
        return session_of(l, true);
    }
}

static int one_session(struct life *l, unsigned session)
{
    int err = l->archive == NULL ? open_archive(l) : 0;
    if (err == 0)
        err = session_of(l, false);
    if (err == ERR_PROTOCOL)
        wrong(l, "a new message passed for another", err);
    return err != 0 ? err : between(l, session);
}

static bool create(struct life *l)
{
    const struct mark created = {.type = MARK_CREATED};
    int err = archive_create(&l->ops, l->path);
    if (err != 0) {
        l->result->failures++;
        return false;
    }
    event_log_mark(l->options->log, &created);
    return true;
}

void workload_run(const struct workload_options *options, struct workload_result *out)
{
    struct life l = {.options = options,
                     .result = out,
                     .random = options->mail->seed,
                     .ops = recorder_table()};
    *out = (struct workload_result){0};
    snprintf(l.path, sizeof(l.path), "%s/archive", options->folder);
    recorder_start(options->folder, options->log, options->fault);
    if (create(&l)) {
        for (unsigned i = 0; i < options->sessions; i++) {
            int err = one_session(&l, i);
            if (err != 0)
                failed(&l, err);
        }
        if (archive_close(l.archive) != 0)
            out->failures++;
    }
    recorder_stop();
}
