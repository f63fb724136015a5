#include "tests/crash/workload.h"

#include "archive/archive.h"
#include "archive/archive_internal.h"
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
        s->plan->acknowledged(s->plan->arg, s->plan->account,
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

static int take(struct session *s, unsigned message, struct buffer *text)
{
    const struct mail_message *m = &s->mail->accounts[s->plan->account].messages[message];
    enum intake_result result;
    mail_text(s->mail, s->plan->account, message, text);
    int err = intake_begin(s->intake, span_text(m->uidl), m->size);
    if (err == 0)
        err = intake_add(s->intake, text->data, text->size);
    if (err == 0)
        err = intake_end(s->intake, 0, &result);
    if (err == 0 && result != INTAKE_ARCHIVED)
        err = ERR_PROTOCOL; /* every UIDL is listed: none may pass for another */
    s->taken[message] = err == 0;
    s->waiting += err == 0;
    return err;
}

static int take_all(struct session *s, const bool *wanted)
{
    const struct session_plan *plan = s->plan;
    struct buffer text = {0};
    unsigned done = 0;
    int err = 0;
    for (unsigned i = plan->first; err == 0 && i < plan->first + plan->count; i++) {
        if (i >= MAIL_EACH || !wanted[i] || done == plan->most)
            continue;
        err = take(s, i, &text);
        if (err == 0 && ++done % plan->batch == 0)
            err = commit(s);
    }
    buffer_free(&text);
    return err != 0 ? err : commit(s);
}

static int journal(struct session *s)
{
    struct session_meta m = {.state = SESSION_COMPLETE,
                             .trusted = 1,
                             .listed = MAIL_EACH,
                             .began_us = 1,
                             .ended_us = 2,
                             .address = span_text("127.0.0.1:995")};
    int err = intake_session(s->intake, &m);
    return err != 0 ? err : store_commit(s->archive);
}

int workload_session(struct archive *a, const struct mail *mail,
                     const struct session_plan *plan)
{
    struct session s = {.archive = a, .mail = mail, .plan = plan};
    bool wanted[MAIL_EACH] = {false};
    int err = session_begin(&s);
    for (unsigned i = 0; err == 0 && i < MAIL_EACH; i++) {
        const struct mail_message *m = &mail->accounts[plan->account].messages[i];
        wanted[i] = intake_judge(s.intake, span_text(m->uidl), m->size) == INTAKE_WANTED;
    }
    if (err == 0) {
        intake_listed(s.intake, true);
        err = take_all(&s, wanted);
    }
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
    uint64_t
        deleted[MAIL_ACCOUNTS]; /* numbers up to here have been deleted from the server */
};

static void wrong(struct life *l, const char *what, int err)
{
    l->result->wrong = true;
    snprintf(l->result->why, sizeof(l->result->why), "%s: %s", what, error_text(err));
}

static void acknowledged(void *arg, unsigned account, unsigned message, uint64_t n)
{
    struct life *l = arg;
    const struct mail_account *from = &l->options->mail->accounts[account];
    struct mark mark = {.type = MARK_ACKNOWLEDGED, .n = n};
    snprintf(mark.account, sizeof(mark.account), "%s", from->name);
    memcpy(mark.sha256, from->messages[message].sha256, SHA256_SIZE);
    event_log_mark(l->options->log, &mark);
    l->result->acknowledged++;
}

static int open_archive(struct life *l)
{
    const struct archive_options options = {.mode = ARCHIVE_WRITE, .ops = &l->ops};
    return archive_open(l->path, &options, &l->archive);
}

/* As a killed process leaves it. */
static void leave(struct life *l)
{
    if (l->archive != NULL && l->archive->store->failed == 0)
        l->archive->store->failed = ERR_STOPPED;
    archive_close(l->archive);
    l->archive = NULL;
    recorder_revive();
}

/* After a failure the store promises nothing more, and is opened again. */
static void failed(struct life *l, int err)
{
    l->result->failures++;
    if (l->archive != NULL && store_failure(l->archive) != 0 &&
        store_commit(l->archive) == 0)
        wrong(l, "a store that has failed commits", err);
    leave(l);
}

static int append_deletion(struct life *l, enum record_type type, uint32_t account,
                           const struct buffer *meta)
{
    struct record *r = record_create(type, account, archive_now_us());
    assert(r != NULL);
    buffer_put(&r->meta, meta->data, meta->size);
    int err = record_prepare(r, NULL);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    return store_append(l->archive, r);
}

static int append_outcome(struct life *l, uint32_t account, uint64_t n)
{
    struct buffer meta = {0}, bits = {0}, set = {0};
    buffer_put_bit(&bits, n);
    number_set_encode(&set, &bits);
    const struct outcome_meta m = {
        .source = 1, .state = DELETION_ACCEPTED, .numbers = span_of(set.data, set.size)};
    outcome_meta_encode(&meta, &m);
    int err = append_deletion(l, RECORD_DELETE_OUTCOME, account, &meta);
    buffer_free(&meta);
    buffer_free(&bits);
    buffer_free(&set);
    return err;
}

/* DELE for the next message of the account: the intent first, durable, then the wire. */
static int delete_next(struct life *l, unsigned which)
{
    struct account_info info;
    struct message_meta m;
    struct reader *reader = NULL;
    struct buffer meta = {0};
    struct mark mark = {.type = MARK_DELE, .n = l->deleted[which] + 1};
    const char *name = l->options->mail->accounts[which].name;
    if (archive_find_account(l->archive, name, &info) != 0 || info.highest < mark.n)
        return 0;
    int err = reader_create(l->archive, &reader);
    if (err == 0)
        err = reader_message(reader, info.number, mark.n, &m);
    if (err == 0) {
        const struct intent_meta intent = {.n = m.n,
                                           .listed_size = m.listed_size,
                                           .attempt = 1,
                                           .proof = INTENT_READ_BACK,
                                           .uidl = m.uidl};
        intents_begin(&meta, 1, 1);
        struct intent_meta with_hash = intent;
        memcpy(with_hash.sha256, m.sha256, SHA256_SIZE);
        intents_add(&meta, &with_hash);
        memcpy(mark.sha256, m.sha256, SHA256_SIZE);
        err = append_deletion(l, RECORD_DELETE_INTENT, info.number, &meta);
    }
    if (err == 0)
        err = store_commit(l->archive);
    if (err == 0) {
        snprintf(mark.account, sizeof(mark.account), "%s", name);
        event_log_mark(l->options->log, &mark);
        l->deleted[which] = mark.n;
        err = append_outcome(l, info.number, mark.n);
    }
    if (err == 0)
        err = store_commit(l->archive);
    buffer_free(&meta);
    reader_destroy(reader);
    return err;
}

static int repack(struct life *l)
{
    const struct repack_options options = {.remove_now = random_below(&l->random, 2) == 0};
    struct repack_summary summary;
    return archive_repack(l->archive, &options, &summary);
}

/* What happens between two sessions. */
static int between(struct life *l, unsigned session)
{
    if (session == l->options->sessions * 2 / 3)
        return repack(l);
    switch (random_below(&l->random, 5)) {
    case 0:
        return store_seal(l->archive);
    case 1: {
        int err = archive_close(l->archive);
        l->archive = NULL;
        return err;
    }
    case 2:
        leave(l);
        return 0;
    default:
        return delete_next(l, (unsigned)random_below(&l->random, MAIL_ACCOUNTS));
    }
}

static int one_session(struct life *l, unsigned session)
{
    const struct session_plan plan = {.account =
                                          (unsigned)random_below(&l->random, MAIL_ACCOUNTS),
                                      .first = 0,
                                      .count = MAIL_EACH,
                                      .most = 1 + (unsigned)random_below(&l->random, 7),
                                      .batch = 1 + (unsigned)random_below(&l->random, 3),
                                      .acknowledged = acknowledged,
                                      .arg = l};
    int err = l->archive == NULL ? open_archive(l) : 0;
    if (err == 0)
        err = workload_session(l->archive, l->options->mail, &plan);
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
