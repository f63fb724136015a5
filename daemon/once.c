#include "daemon/once.h"

#include "archive/error.h"
#include "daemon/clock.h"
#include "daemon/config_keys.h"
#include "daemon/exits.h"
#include "daemon/news.h"
#include "daemon/progress.h"
#include "daemon/requests.h"
#include "daemon/rounds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DRAW_INTERVAL_MS 200
/* Sessions of one account that messages may break in one pass: ten such messages. */
#define DETOURS_MAX (10 * POOL_TROUBLE_MAX)
/* Of these in a row, without anything archived: then it is the server, not the messages,
 * and no more of them are given up for it. */
#define FRUITLESS_MAX (3 * POOL_TROUBLE_MAX)
#define NEAR_NAME_MAX 3 /* letters that an account meant may differ by */

struct account_state {
    struct account_tally tally;
    unsigned detours, fruitless; /* see go_round() */
};

struct once {
    const struct once_config *how;
    struct rounds rounds;
    struct status status;
    struct control *control;
    bool *selected;                 /* NULL: all */
    struct account_state *accounts; /* as in the configuration */
    struct tally tally;
    uint64_t began_ms, drawn_ms;
};

/* The account that was most likely meant, or NULL. */
static const char *near_account(const struct config *config, const char *name)
{
    const char *near = NULL;
    size_t best = NEAR_NAME_MAX + 1;
    for (size_t i = 0; i < config->account_count; i++) {
        const char *other = config->accounts[i].name;
        size_t distance = config_word_distance(name, other, NEAR_NAME_MAX);
        if (distance < best && distance * 2 <= strlen(other)) {
            best = distance;
            near = other;
        }
    }
    return near;
}

static int say_unknown(const struct once_config *how, const char *name)
{
    const char *near = near_account(how->config, name);
    if (near != NULL)
        log_line(how->log, "mailcaskd: unknown account '%s'; did you mean '%s'?", name,
                 near);
    else
        log_line(how->log,
                 "mailcaskd: unknown account '%s'; it must be one of the configuration's",
                 name);
    return ERR_NOT_FOUND;
}

/* 0, -ENOMEM, or ERR_NOT_FOUND, which was said. */
static int select_accounts(struct once *o)
{
    const struct once_config *how = o->how;
    const struct config *config = how->config;
    o->tally.accounts = config->account_count;
    if (how->name_count == 0)
        return 0;
    o->selected = calloc(config->account_count + 1, sizeof(*o->selected));
    if (o->selected == NULL)
        return -ENOMEM;
    o->tally.accounts = 0;
    for (size_t i = 0; i < how->name_count; i++) {
        const struct config_account *account = config_find_account(config, how->names[i]);
        if (account == NULL)
            return say_unknown(how, how->names[i]);
        size_t index = (size_t)(account - config->accounts);
        o->tally.accounts += !o->selected[index];
        o->selected[index] = true;
    }
    return 0;
}

static void say_failure(struct once *o, const struct session_end *end)
{
    char text[ROUNDS_SENTENCE_SIZE];
    rounds_sentence(&o->rounds, end, text);
    news_of_account(&o->rounds, end, text);
}

/* A message that breaks its session is put aside after POOL_TROUBLE_MAX times. A service
 * gets there with time; a single pass goes on at once, to come to the messages behind it.
 */
static void go_round(struct once *o, struct session_end *end)
{
    struct account_state *state = &o->accounts[end->account];
    struct outcome *outcome = &end->outcome;
    const struct pool_counts *counts = &end->counts;
    if (counts->fetched + counts->deduplicated + counts->healed > 0)
        state->fruitless = 0;
    if (!end->broken || outcome->scope != SCOPE_MAILBOX ||
        outcome->retry != RETRY_BACKOFF || state->detours == DETOURS_MAX ||
        state->fruitless == FRUITLESS_MAX)
        return;
    state->detours++;
    state->fruitless++;
    outcome->retry = RETRY_NONE;
    outcome->more = true;
}

/* The verdict on an account comes with its last session: failures that
 * were tried again do not count, messages that were put aside in between do. */
static void judge(struct once *o, struct session_end *end)
{
    struct account_state *state = &o->accounts[end->account];
    uint64_t due_ms = 0;
    uint32_t failures = 0;
    bool last = scheduler_status(o->rounds.scheduler, end->account, &due_ms, &failures) ==
                SCHEDULER_FINISHED;
    if (end->held && end->kind == POOL_DELETE)
        tally_add_deleted(&o->tally, &end->counts);
    else if (end->held)
        tally_add(&o->tally, &state->tally, &end->counts);
    if (end->stopped || !last)
        return;
    end->counts.refused = state->tally.refused;
    end->counts.quarantined = state->tally.quarantined;
    if (rounds_incomplete(end))
        o->tally.failed++;
    else
        o->tally.complete++;
    say_failure(o, end);
}

/* When the archive has failed that is said once, not by each session, and how much of what
 * they fetched is on disk is not known. */
static void take_ends(struct once *o, bool archive_failed)
{
    struct session_end end;
    while (rounds_take(&o->rounds, &end)) {
        go_round(o, &end);
        rounds_settle(&o->rounds, &end);
        if (!archive_failed || end.outcome.scope != SCOPE_PROCESS)
            judge(o, &end);
    }
}

static void draw(struct once *o)
{
    uint64_t now_ms = clock_now_ms();
    if (!o->how->log->terminal || now_ms - o->drawn_ms < DRAW_INTERVAL_MS)
        return;
    o->drawn_ms = now_ms;
    struct pool_progress now;
    char text[PROGRESS_TEXT_SIZE];
    sessions_progress(o->rounds.sessions, &now);
    tally_progress(text, &o->tally, now.messages, now.received_bytes, now_ms - o->began_ms);
    log_status(o->how->log, text);
}

/* Until all is done, a signal comes or the archive fails: then that error, said. */
static int fetch(struct once *o)
{
    const struct once_config *how = o->how;
    char text[ARCHIVE_PROBLEM_SIZE];
    uint64_t pause_ms = how->log->terminal ? DRAW_INTERVAL_MS : ROUNDS_FOREVER;
    while (!scheduler_finished(o->rounds.scheduler)) {
        rounds_begin(&o->rounds);
        if (scheduler_finished(o->rounds.scheduler))
            break; /* none of them could be begun */
        draw(o);
        rounds_wait(&o->rounds, how->signals, o->control, NULL, pause_ms);
        int err = rounds_failure(&o->rounds, text);
        take_ends(o, err != 0);
        if (err != 0) {
            log_say(how->log, LEVEL_ERROR, "fetching stops", text);
            return err;
        }
        if (how->signals->stop || how->signals->reload) {
            log_say(how->log, LEVEL_INFO, "stopped by a signal", NULL);
            break;
        }
    }
    return 0;
}

static int finish(struct once *o, int err)
{
    char text[PROGRESS_TEXT_SIZE];
    control_destroy(o->control);
    o->control = NULL;
    int late_err = rounds_close(&o->rounds);
    err = err != 0 ? err : late_err;
    take_ends(o, err != 0);
    news_tell_gathered(&o->rounds, true);
    log_status(o->how->log, "");
    tally_summary(text, &o->tally);
    (void)printf("%s\n", text);
    if (err != 0)
        return EXIT_CANNOT;
    return o->tally.complete == o->tally.accounts ? EXIT_DONE : EXIT_PART;
}

static int begin_and_fetch(struct once *o)
{
    char text[ARCHIVE_PROBLEM_SIZE];
    if (rounds_open(&o->rounds, text) != 0) {
        log_say(o->how->log, LEVEL_ERROR, "cannot start", text);
        return EXIT_CANNOT;
    }
    rounds_announce(&o->rounds, o->selected);
    status_listen(&o->status, o->control, o->how->log);
    o->began_ms = clock_now_ms();
    return finish(o, fetch(o));
}

int once_run(const struct once_config *how)
{
    struct once o = {.how = how};
    o.status = (struct status){.rounds = &o.rounds,
                               .signals = how->signals,
                               .once = true,
                               .began_s = (int64_t)time(NULL)};
    int status = EXIT_CANNOT;
    int err = select_accounts(&o);
    if (err == 0) {
        o.accounts = calloc(how->config->account_count + 1, sizeof(*o.accounts));
        err = o.accounts == NULL ? -ENOMEM : 0;
    }
    if (err == 0)
        err = control_create(how->config->archive_path, requests_answer, &o.status,
                             &o.control);
    if (err == 0)
        err = rounds_create(&o.rounds, how->config, o.selected, SCHEDULER_ONCE,
                            how->backend, how->log);
    if (err == 0) {
        o.rounds.trace = how->trace;
        status = begin_and_fetch(&o);
        rounds_destroy(&o.rounds);
    } else {
        config_free(how->config);
        if (err == ERR_NOT_FOUND)
            status = EXIT_USAGE;
        else
            log_say(how->log, LEVEL_ERROR, "cannot start", error_text(err));
    }
    control_destroy(o.control);
    free(o.accounts);
    free(o.selected);
    return status;
}
