#include "tests/crash/check.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index.h"
#include "archive/reader.h"
#include "archive/store.h"
#include "archive/verify.h"
#include "tests/crash/image.h"
#include "tests/crash/recorder.h"
#include "tests/crash/session.h"
#include "tests/support/archive_fixture.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One in so many images is also tried with ... */
#define REBUILD_EACH 6u
#define GO_ON_EACH 3u

static bool broken(struct check *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool broken(struct check *c, const char *format, ...)
{
    size_t used = strlen(c->why);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(c->why + used, sizeof(c->why) - used, format, args);
    va_end(args);
    used = n < 0 ? used : used + (size_t)n;
    if (used < sizeof(c->why) - 1)
        memcpy(c->why + used, "\n", 2);
    return false;
}

static void note(void *arg, enum archive_note kind, const char *text)
{
    if (kind == NOTE_DAMAGE)
        broken(arg, "recovery reports damage: %s", text);
}

static int open_archive(struct check *c, const char *folder, enum archive_mode mode,
                        struct archive **out)
{
    const struct archive_options options = {.mode = mode, .report = note, .arg = c};
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/archive", folder);
    return archive_open(path, &options, out);
}

/* As a killed process leaves it; but what is not recorded is closed in good order. */
static void leave(struct archive *a)
{
    recorder_kill();
    if (a->store != NULL && a->store->failed == 0)
        a->store->failed = ERR_STOPPED;
    archive_close(a);
}

struct hashing {
    struct sha256 *hash;
    uint64_t size;
};

static int hash_piece(void *arg, const uint8_t *data, size_t size)
{
    struct hashing *h = arg;
    sha256_add(h->hash, data, size);
    h->size += size;
    return 0;
}

static bool check_body(struct check *c, struct reader *reader,
                       const struct account_info *info, uint64_t n,
                       const struct mail_message *expected)
{
    uint8_t found[SHA256_SIZE];
    struct hashing h = {.hash = sha256_create()};
    assert(h.hash != NULL);
    int err = reader_body(reader, info->number, n, hash_piece, &h);
    sha256_finish(h.hash, found);
    sha256_destroy(h.hash);
    if (err != 0)
        return broken(c, "%s/%" PRIu64 " cannot be restored: %s", info->name, n,
                      error_text(err));
    if (h.size != expected->size || memcmp(found, expected->sha256, SHA256_SIZE) != 0)
        return broken(c, "%s/%" PRIu64 " is restored with other bytes", info->name, n);
    return true;
}

/* Every message there is: one that its server had, exact, and once. */
static bool check_account(struct check *c, struct archive *a,
                          const struct account_info *info)
{
    const struct mail_account *account = mail_account(c->mail, info->name);
    bool there[MAIL_EACH] = {false}, ok = true;
    struct reader *reader = NULL;
    struct message_meta m;
    uint64_t n = 0, count = 0;
    int err;
    if (account == NULL)
        return broken(c, "an account that never was: %s", info->name);
    assert(reader_create(a, &reader) == 0);
    while (ok && (err = reader_next(reader, info->number, n, &m)) == 0) {
        const struct mail_message *expected = mail_message(account, m.uidl);
        n = m.n;
        count++;
        if (expected == NULL)
            ok = broken(c, "%s/%" PRIu64 " has a UIDL that never was", info->name, n);
        else if (there[expected - account->messages])
            ok = broken(c, "%s: %s is there twice", info->name, expected->uidl);
        else
            ok = check_body(c, reader, info, n, expected);
        if (ok)
            there[expected - account->messages] = true;
    }
    reader_destroy(reader);
    if (ok && err != ERR_NOT_FOUND)
        ok = broken(c, "%s/%" PRIu64 ": %s", info->name, m.n, error_text(err));
    if (ok && (count != info->messages || count != info->highest))
        ok = broken(c,
                    "%s: %" PRIu64 " messages, but %" PRIu64 " are counted, up to %" PRIu64,
                    info->name, count, info->messages, info->highest);
    return ok;
}

struct each_account {
    struct check *check;
    struct archive *archive;
};

static int check_each_account(void *arg, const struct account_info *info)
{
    struct each_account *e = arg;
    return check_account(e->check, e->archive, info) ? 0 : 1;
}

struct intent_search {
    const struct mark *mark;
    bool found;
};

static int look_for_intent(void *arg, const struct ledger_entry *entry)
{
    struct intent_search *s = arg;
    struct intents_reader r = entry->intents;
    struct intent_meta m;
    while (entry->type == RECORD_DELETE_INTENT && intents_next(&r, &m) == 0)
        if (m.n == s->mark->n && memcmp(m.sha256, s->mark->sha256, SHA256_SIZE) == 0)
            s->found = true;
    return 0;
}

/* check_account() has restored what there is: what remains is that it is there, under its
 * number. */
static bool check_mark(struct check *c, struct archive *a, const struct mark *mark)
{
    struct account_info info;
    struct message_meta m;
    struct reader *reader = NULL;
    if (mark->type == MARK_CREATED)
        return true;
    if (archive_find_account(a, mark->account, &info) != 0)
        return broken(c, "%s, whose mail was acknowledged, is gone", mark->account);
    assert(reader_create(a, &reader) == 0);
    int err = reader_message(reader, info.number, mark->n, &m);
    bool same = err == 0 && memcmp(m.sha256, mark->sha256, SHA256_SIZE) == 0;
    reader_destroy(reader);
    if (!same)
        return broken(c, "%s/%" PRIu64 " was acknowledged: %s", mark->account, mark->n,
                      err != 0 ? error_text(err) : "another message has its number");
    struct intent_search search = {.mark = mark};
    if (mark->type == MARK_DELE &&
        (archive_each_entry_of(a, info.number, LEDGER_TYPE(RECORD_DELETE_INTENT),
                               look_for_intent, &search) != 0 ||
         !search.found))
        return broken(c, "%s/%" PRIu64 " was deleted without a durable intent",
                      mark->account, mark->n);
    return true;
}

static bool was_created(const struct check *c)
{
    for (size_t i = 0; i < c->point; i++)
        if (c->log->events[i].type == EVENT_MARK)
            return true;
    return false;
}

static bool check_promises(struct check *c, struct archive *a)
{
    struct each_account each = {c, a};
    bool ok = archive_each_account(a, check_each_account, &each) == 0;
    for (size_t i = 0; i < c->point && ok; i++)
        if (c->log->events[i].type == EVENT_MARK)
            ok = check_mark(c, a, &c->log->events[i].mark);
    return ok;
}

static void finding(void *arg, const struct finding *f)
{
    broken(arg, "verify: %s/%" PRIu64 " segment %" PRIu64 " at %" PRIu64 ": %s",
           f->account != NULL ? f->account : "", f->n, f->segment, f->offset, f->text);
}

static bool check_verify(struct check *c, struct archive *a)
{
    const struct verify_options options = {.report = finding, .arg = c};
    struct verify_summary summary;
    int err = archive_verify(a, &options, &summary);
    if (err != 0)
        return broken(c, "verify: %s", error_text(err));
    return c->why[0] == '\0';
}

static char *dump(struct archive *a)
{
    struct fixture f = {.archive = a};
    return fixture_dump(&f);
}

/* What is asked of an opened image. */
enum question {
    ASK_PROMISES = 1,
    ASK_VERIFY = 2,
};

/* Open the image, which must say what it said before (said: NULL the first time). It is
 * left as by a kill. out_says may be NULL. */
static bool check_opening(struct check *c, const char *folder, const char *what,
                          unsigned questions, const char *said, char **out_says)
{
    struct archive *a = NULL;
    int err = open_archive(c, folder, ARCHIVE_WRITE, &a);
    if (err != 0)
        return broken(c, "%s: does not open: %s", what, error_text(err));
    char *says = dump(a);
    bool ok = c->why[0] == '\0';
    if (ok && said != NULL && strcmp(says, said) != 0)
        ok = broken(c, "it says something else:\n%s-- and said:\n%s", says, said);
    if (ok && (questions & ASK_PROMISES))
        ok = check_promises(c, a);
    if (ok && (questions & ASK_VERIFY))
        ok = check_verify(c, a);
    leave(a);
    if (!ok)
        broken(c, "(%s)", what);
    if (ok && out_says != NULL)
        *out_says = says;
    else
        free(says);
    return ok;
}

static void not_told(void *arg, enum mark_type what, unsigned account, unsigned message,
                     uint64_t n)
{
    (void)arg;
    (void)what;
    (void)account;
    (void)message;
    (void)n;
}

/* What DELE was sent for is not on the server any more. */
static void find_gone(const struct check *c, const struct mail_account *account, bool *gone)
{
    for (size_t i = 0; i < c->point; i++) {
        const struct mark *mark = &c->log->events[i].mark;
        if (c->log->events[i].type == EVENT_MARK && mark->type == MARK_DELE &&
            strcmp(mark->account, account->name) == 0)
            gone[mail_message(account, span_text(mark->uidl)) - account->messages] = true;
    }
}

/* Fetching goes on where it stopped: nothing twice, and what it adds is sound. */
static bool check_going_on(struct check *c, uint64_t random)
{
    struct archive *a = NULL;
    bool gone[MAIL_EACH] = {false};
    const struct session_plan plan = {.account =
                                          (unsigned)random_below(&random, MAIL_ACCOUNTS),
                                      .most = 2,
                                      .batch = 1,
                                      .deletes = random_below(&random, 3) == 0,
                                      .gone = gone,
                                      .told = not_told};
    find_gone(c, &c->mail->accounts[plan.account], gone);
    int err = open_archive(c, c->folder, ARCHIVE_WRITE, &a);
    if (err != 0)
        return broken(c, "does not open to go on: %s", error_text(err));
    err = session_run(a, c->mail, &plan);
    if (err != 0) {
        leave(a);
        return broken(c, "cannot go on: %s", error_text(err));
    }
    bool ok = check_promises(c, a);
    archive_close(a);
    return ok && check_opening(c, c->folder, "after going on", ASK_PROMISES | ASK_VERIFY,
                               NULL, NULL);
}

static bool check_rebuilding(struct check *c, const char *said)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/archive", c->folder);
    assert(index_remove(path) == 0);
    return check_opening(c, c->folder, "with the index rebuilt", ASK_PROMISES, said, NULL);
}

/* Images of what recovery itself wrote to the image: it may be killed, and the power cut,
 * anywhere. */
static bool check_interrupted(struct check *c, const struct event_log *log,
                              const char *said, uint64_t random)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < c->again; i++) {
        struct disk d;
        char what[64];
        uint64_t seed = i % 2 == 0 ? SEED_EVERYTHING : random_next(&random);
        size_t point = log->base + random_below(&random, log->count - log->base + 1);
        disk_init(&d);
        for (size_t k = 0; k < point; k++)
            disk_apply(&d, &log->events[k]);
        image_build(&d, seed, c->scratch);
        disk_free(&d);
        c->recoveries++;
        snprintf(what, sizeof(what), "recovery interrupted at %zu of %zu, seed %" PRIu64,
                 point - log->base, log->count - log->base, seed);
        ok = check_opening(c, c->scratch, what, ASK_VERIFY, said, NULL);
    }
    return ok;
}

/* The first opening, recovery, with what it writes in the log. */
static bool check_recovery(struct check *c, struct event_log *log, char **out_says)
{
    if (c->again > 0) {
        event_log_import(log, c->folder);
        recorder_start(c->folder, log, NULL);
    }
    bool ok = check_opening(c, c->folder, "recovered", ASK_PROMISES, NULL, out_says);
    recorder_stop();
    return ok;
}

/* An archive that was not yet made need not open; its folder must not bring us down. */
static bool check_unmade(struct check *c)
{
    struct archive *a = NULL;
    if (open_archive(c, c->folder, ARCHIVE_WRITE, &a) == 0)
        leave(a);
    c->why[0] = '\0';
    return true;
}

bool check_image(struct check *c)
{
    struct event_log log;
    char *said = NULL;
    uint64_t random = c->seed;
    c->why[0] = '\0';
    if (!was_created(c))
        return check_unmade(c);
    event_log_init(&log);
    bool ok = check_recovery(c, &log, &said);
    if (ok)
        ok = check_opening(c, c->folder, "recovered twice", ASK_VERIFY, said, NULL);
    if (ok)
        ok = check_interrupted(c, &log, said, random_next(&random));
    if (ok && random_below(&random, REBUILD_EACH) == 0)
        ok = check_rebuilding(c, said);
    if (ok && random_below(&random, GO_ON_EACH) == 0)
        ok = check_going_on(c, random_next(&random));
    free(said);
    event_log_free(&log);
    return ok;
}
