#include "daemon/service.h"

#include "archive/error.h"
#include "daemon/clock.h"
#include "daemon/exits.h"
#include "daemon/metrics_source.h"
#include "daemon/news.h"
#include "daemon/notify.h"
#include "daemon/requests.h"
#include "daemon/rounds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAUSE_FIRST_MS 2000 /* after the archive has failed; doubles to: */
#define PAUSE_MAX_MS 300000
#define ROOM_LOOK_MS 1000 /* while the disk is full */
/* After so long without a failure the first one again. */
#define PAUSE_FORGOTTEN_MS 900000

struct service {
    const struct service_config *how;
    struct rounds rounds;
    struct status status;
    struct repacking repacking;
    struct notify notify;
    struct control *control;
    struct metrics_source metrics_source;
    struct metrics_server *metrics;
    uint64_t opened_ms; /* when the archive was opened last */
    uint64_t pause_ms;  /* before the next try to open it; 0: there was no failure */
    char problem[ARCHIVE_PROBLEM_SIZE]; /* why it is not open, as said last */
    struct config_error refused;        /* why the last reload was, "" if it was not */
};

static void say_mail(struct service *v, const struct session_end *end, enum news_kind kind,
                     uint64_t messages, uint64_t bytes)
{
    const struct news news = {.kind = kind,
                              .account = end->account,
                              .session = end->number,
                              .messages = messages,
                              .bytes = bytes};
    if (messages > 0)
        news_tell(&v->rounds, &news);
}

/* Of a server's fault its accounts are not to blame. */
static void say_end(struct service *v, const struct session_end *end)
{
    struct rounds *r = &v->rounds;
    char text[ROUNDS_SENTENCE_SIZE];
    say_mail(v, end, NEWS_ARCHIVED, end->counts.fetched, end->counts.bytes);
    say_mail(v, end, NEWS_DELETED, end->counts.deleted, 0);
    if (end->stopped)
        return;
    rounds_sentence(r, end, text);
    if (end->outcome.scope == SCOPE_SERVER) {
        news_of_server(r, end, text);
        return;
    }
    if (end->held && end->outcome.scope != SCOPE_PROCESS)
        news_of_server(r, end, "");
    news_of_account(r, end, text);
}

/* archive_failed: what the sessions say of it is said once, not by each of them; and they
 * begin again as soon as the archive is open, which has a pause of its own. */
static void take_ends(struct service *v, bool archive_failed)
{
    struct session_end end;
    while (rounds_take(&v->rounds, &end)) {
        bool by_archive = archive_failed && end.outcome.scope == SCOPE_PROCESS;
        metrics_count(&v->metrics_source.counts, &end);
        if (by_archive) {
            end.outcome.retry = RETRY_NONE;
            end.outcome.more = true;
        }
        rounds_settle(&v->rounds, &end);
        if (!by_archive)
            say_end(v, &end);
    }
}

static void say_reloaded(struct log *log, const struct config *config)
{
    struct log_event e;
    log_begin(&e, log, LEVEL_INFO, "configuration read again");
    log_number(&e, "accounts", config->account_count);
    log_number(&e, "servers", config->server_count);
    log_end(&e);
}

/* The file as it is would not start the service: until it is mended, whoever asks hears
 * so. text: "" once it is. */
static void note_refused(struct service *v, const char *text)
{
    if (v->refused.text[0] == '\0')
        v->status.refused_since_s = (int64_t)time(NULL);
    (void)snprintf(v->refused.text, sizeof(v->refused.text), "%s", text);
}

static void reload(struct service *v)
{
    struct log *log = v->how->log;
    struct rounds *r = &v->rounds;
    struct config *config = NULL;
    struct config_error error = {.text = ""};
    int err = config_load(v->how->path, &config, &error);
    if (err == 0 && strcmp(config->archive_path, r->config->archive_path) != 0)
        err =
            config_error_set(&error, v->how->path, 0,
                             "another archive (%s) needs a restart", config->archive_path);
    uint64_t memory = r->config->max_memory_bytes;
    if (err == 0)
        err = rounds_reload(r, config);
    if (err != 0) {
        config_free(config);
        note_refused(v, error.text[0] != '\0' ? error.text : error_text(err));
        log_say(log, LEVEL_ERROR, "the configuration stays as it was", v->refused.text);
        return;
    }
    note_refused(v, "");
    log_configure(log, config->log_level);
    say_reloaded(log, config);
    metrics_server_listen(v->metrics, config->metrics, clock_now_ms());
    if (config->max_memory_bytes != memory)
        log_say(log, LEVEL_WARNING, "max-memory changes with the next start", NULL);
}

/* The service manager's line about us. */
static void tell_status(struct service *v)
{
    const struct rounds *r = &v->rounds;
    char text[NOTIFY_STATUS_SIZE];
    struct pool_progress progress;
    if (r->archive == NULL) {
        notify_status(&v->notify, clock_now_ms(), v->problem);
        return;
    }
    if (v->refused.text[0] != '\0') {
        (void)snprintf(text, sizeof(text), "the configuration stays as it was: %.*s",
                       NOTIFY_STATUS_SIZE / 2, v->refused.text);
        notify_status(&v->notify, clock_now_ms(), text);
        return;
    }
    sessions_progress(r->sessions, &progress);
    uint32_t sessions = sessions_count(r->sessions);
    (void)snprintf(text, sizeof(text),
                   "%zu account%s on %zu server%s, %" PRIu32 " session%s, %" PRIu64
                   " message%s archived since the start",
                   r->config->account_count, r->config->account_count == 1 ? "" : "s",
                   r->config->server_count, r->config->server_count == 1 ? "" : "s",
                   sessions, sessions == 1 ? "" : "s", progress.messages,
                   progress.messages == 1 ? "" : "s");
    notify_status(&v->notify, clock_now_ms(), text);
}

/* Wait, and do what signals ask for. True if a reload was among it. */
static bool wait_for_events(struct service *v, uint64_t max_ms)
{
    struct signals *signals = v->how->signals;
    notify_alive(&v->notify, clock_now_ms());
    tell_status(v);
    uint64_t alive_ms = notify_wait_ms(&v->notify, clock_now_ms());
    uint64_t repack_ms = repacking_wait_ms(&v->repacking, clock_now_ms());
    max_ms = alive_ms < max_ms ? alive_ms : max_ms;
    rounds_wait(&v->rounds, signals, v->control, v->metrics,
                repack_ms < max_ms ? repack_ms : max_ms);
    bool asked = signals->reload;
    if (asked) {
        signals->reload = false;
        notify_reloading();
        reload(v);
        notify_ready();
    }
    return asked;
}

/* The archive is closed: wait a while, longer each time; until there is room, if that is
 * what was missing; until somebody who has mended it asks for a reload. */
static void wait_a_while(struct service *v)
{
    if (v->pause_ms == 0 || clock_now_ms() - v->opened_ms > PAUSE_FORGOTTEN_MS)
        v->pause_ms = PAUSE_FIRST_MS;
    else
        v->pause_ms = v->pause_ms * 2 < PAUSE_MAX_MS ? v->pause_ms * 2 : PAUSE_MAX_MS;
    uint64_t until_ms = clock_now_ms() + v->pause_ms;
    for (uint64_t now_ms = clock_now_ms(); now_ms < until_ms && !v->how->signals->stop;
         now_ms = clock_now_ms()) {
        bool full = !rounds_room(&v->rounds);
        v->status.next_try_s =
            full ? 0 : (int64_t)time(NULL) + (int64_t)((until_ms - now_ms) / 1000);
        bool asked = wait_for_events(v, full ? ROOM_LOOK_MS : until_ms - now_ms);
        take_ends(v, true); /* of passwords that were still being read */
        if (asked || (full && rounds_room(&v->rounds)))
            return;
    }
}

/* Bring the archive back: opening it recovers what is on disk. */
static void reopen(struct service *v)
{
    char text[ARCHIVE_PROBLEM_SIZE];
    while (!v->how->signals->stop) {
        wait_a_while(v);
        if (v->how->signals->stop)
            return;
        notify_long_work(&v->notify);
        if (rounds_open(&v->rounds, text) == 0) {
            v->opened_ms = clock_now_ms();
            log_say(v->how->log, LEVEL_INFO, "the archive is open again, going on", NULL);
            /* The lock was free meanwhile: another process may have put its socket there.
             */
            status_listen(&v->status, v->control, v->how->log);
            return;
        }
        if (strcmp(text, v->problem) != 0)
            log_say(v->how->log, LEVEL_ERROR, "the archive cannot be opened", text);
        memcpy(v->problem, text, sizeof(v->problem));
    }
}

static void run(struct service *v)
{
    char problem[ARCHIVE_PROBLEM_SIZE];
    while (!v->how->signals->stop) {
        rounds_begin(&v->rounds);
        if (rounds_room(&v->rounds))
            (void)wait_for_events(v, ROUNDS_FOREVER);
        bool failed = rounds_failure(&v->rounds, problem) != 0;
        take_ends(v, failed);
        if (!failed) {
            repacking_turn(&v->repacking, sessions_repacker(v->rounds.sessions),
                           clock_now_ms());
            continue;
        }
        log_say(v->how->log, LEVEL_ERROR,
                "fetching stops, and goes on when the archive can be written again",
                problem);
        memcpy(v->problem, problem, sizeof(v->problem));
        v->status.problem_since_s = (int64_t)time(NULL);
        notify_long_work(&v->notify);
        (void)rounds_close(&v->rounds);
        repacking_turn(&v->repacking, NULL, clock_now_ms());
        take_ends(v, true);
        reopen(v);
    }
}

static void stop_answering(struct service *v)
{
    control_destroy(v->control);
    v->control = NULL;
    metrics_server_destroy(v->metrics);
    v->metrics = NULL;
}

/* The archive is open. 0, or why the last messages could not be written. */
static int serve(struct service *v)
{
    v->opened_ms = clock_now_ms();
    rounds_announce(&v->rounds, NULL);
    status_listen(&v->status, v->control, v->how->log);
    metrics_server_listen(v->metrics, v->rounds.config->metrics, clock_now_ms());
    notify_ready();
    run(v);
    notify_stopping();
    stop_answering(v);
    int err = rounds_close(&v->rounds);
    take_ends(v, true);
    news_tell_gathered(&v->rounds, true);
    log_say(v->how->log, LEVEL_INFO, "mailcaskd has stopped", NULL);
    return err;
}

/* Takes the configuration over in any case. 0 or -ENOMEM, -errno. */
static int set_up(struct service *v)
{
    const struct service_config *how = v->how;
    v->status = (struct status){.rounds = &v->rounds,
                                .signals = how->signals,
                                .began_s = (int64_t)time(NULL),
                                .problem = v->problem,
                                .refused = v->refused.text,
                                .repacking = &v->repacking};
    v->repacking.log = how->log;
    v->metrics_source = (struct metrics_source){.status = &v->status};
    int err =
        control_create(how->config->archive_path, requests_answer, &v->status, &v->control);
    if (err == 0)
        err = metrics_server_create(metrics_source_text, &v->metrics_source, how->log,
                                    &v->metrics);
    if (err == 0)
        err = rounds_create(&v->rounds, how->config, NULL, SCHEDULER_SERVICE, how->backend,
                            how->log);
    if (err != 0) {
        stop_answering(v);
        config_free(how->config);
        log_say(how->log, LEVEL_ERROR, "cannot start", error_text(err));
    }
    return err;
}

int service_run(const struct service_config *how)
{
    struct service v = {.how = how};
    char text[ARCHIVE_PROBLEM_SIZE];
    if (set_up(&v) != 0)
        return EXIT_CANNOT;
    notify_init(&v.notify, clock_now_ms());
    notify_status(&v.notify, clock_now_ms(), "opening the archive");
    int err = rounds_open(&v.rounds, text);
    if (err == 0)
        err = serve(&v);
    else
        log_say(how->log, LEVEL_ERROR, "cannot start", text);
    stop_answering(&v);
    rounds_destroy(&v.rounds);
    return err == 0 ? EXIT_DONE : EXIT_CANNOT;
}
