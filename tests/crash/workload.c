#include "tests/crash/workload.h"

#include "archive/archive.h"
#include "archive/error.h"
#include "archive/repack.h"
#include "archive/store.h"
#include "tests/crash/image.h"
#include "tests/crash/session.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Of the pauses that repacking makes, fetching takes one in so many. */
#define BESIDE_EACH 6u

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

static struct session_plan plan_session(struct life *l, bool deletes)
{
    const unsigned account = (unsigned)random_below(&l->random, MAIL_ACCOUNTS);
    return (struct session_plan){
        .account = account,
        .most = 1 + (unsigned)random_below(&l->random, deletes ? 2 : 7),
        .batch = 1 + (unsigned)random_below(&l->random, 3),
        .deletes = deletes,
        .gone = l->gone[account],
        .told = told,
        .arg = l};
}

static int session_of(struct life *l, bool deletes)
{
    const struct session_plan plan = plan_session(l, deletes);
    return session_run(l->archive, l->options->mail, &plan);
}

static int repack(struct life *l)
{
    const struct repack_options options = {.remove_now = random_below(&l->random, 2) == 0};
    struct repack_summary summary;
    return archive_repack(l->archive, &options, &summary);
}

/* Fetching beside repacking, in its pauses: of the two segments that are open each gets its
 * commits while the other has some of a batch. */
struct beside {
    struct life *life;
    struct session *session; /* under way */
    int err;                 /* of fetching: repacking ends with it */
};

static int fetch_a_step(struct beside *b)
{
    struct life *l = b->life;
    bool over = false;
    if (b->err == 0 && b->session == NULL) {
        const struct session_plan plan = plan_session(l, random_below(&l->random, 4) == 0);
        b->err = session_begin(l->archive, l->options->mail, &plan, &b->session);
    } else if (b->err == 0)
        b->err = session_step(b->session, &over);
    if (over || b->err != 0) {
        session_end(b->session);
        b->session = NULL;
    }
    return b->err;
}

static int fetch_meanwhile(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    const struct beside *b = arg;
    (void)bytes_done;
    (void)bytes_total;
    return random_below(&b->life->random, BESIDE_EACH) == 0 ? fetch_a_step(arg) : 0;
}

static int fetch_before(void *arg, int (*work)(void *work_arg), void *work_arg)
{
    int err = fetch_a_step(arg);
    return err != 0 ? err : work(work_arg);
}

static int repack_beside(struct life *l)
{
    struct beside b = {.life = l};
    const struct repack_options options = {.remove_now = random_below(&l->random, 2) == 0,
                                           .in_store = fetch_before,
                                           .progress = fetch_meanwhile,
                                           .arg = &b};
    struct repack_summary summary;
    int err = archive_repack(l->archive, &options, &summary);
    while (err == 0 && b.session != NULL)
        err = fetch_a_step(&b);
    session_end(b.session);
    l->result->moved_beside += summary.segments_read;
    return b.err != 0 ? b.err : err;
}

/* What happens between two sessions. */
static int between(struct life *l, unsigned session)
{
    const unsigned sessions = l->options->sessions;
    int err;
    if (session == sessions * 2 / 3)
        return repack(l);
    if (session == sessions / 3 || session == sessions * 5 / 6)
        return repack_beside(l);
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
    if (err == 0)
        err = between(l, session);
    if (err == ERR_PROTOCOL)
        wrong(l, "a new message passed for another", err);
    return err;
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
