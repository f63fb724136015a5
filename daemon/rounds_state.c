#include "daemon/rounds_state.h"

#include "archive/error.h"
#include "daemon/clock.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

#define STATE_SAVE_MS 1000 /* from one save to the next */

static void marks_path(const struct rounds *r, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/state/marks", r->config->archive_path);
}

static void pauses_path(const struct rounds *r, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/state/paused", r->config->archive_path);
}

static void say_file(const struct rounds *r, const char *message, const char *path, int err)
{
    struct log_event e;
    log_begin(&e, r->log, LEVEL_WARNING, message);
    log_text(&e, "file", path);
    log_text(&e, "error", error_text(err));
    log_end(&e);
}

void rounds_apply_pauses(struct rounds *r)
{
    int64_t since_s = 0;
    for (uint32_t i = 0; i < r->config->account_count; i++)
        scheduler_pause(r->scheduler, i,
                        pauses_of_account(r->pauses, i, &since_s) != PAUSE_NONE);
}

/* A single pass is asked for by hand, and fetches from everyone. */
static void recall_pauses(struct rounds *r)
{
    char path[PATH_MAX];
    if (r->mode != SCHEDULER_SERVICE)
        return;
    pauses_path(r, path);
    int err = pauses_load(r->pauses, path);
    if (err != 0)
        say_file(r, "what was paused cannot be read: nothing is paused any more", path,
                 err);
    rounds_apply_pauses(r);
}

static void save_pauses(struct rounds *r)
{
    char path[PATH_MAX];
    if (r->archive == NULL || !pauses_changed(r->pauses))
        return;
    pauses_path(r, path);
    int err = pauses_save(r->pauses, path);
    if (err != 0 && !r->pauses_unsaved)
        say_file(r, "what was paused or resumed last is forgotten when this process ends",
                 path, err);
    r->pauses_unsaved = err != 0;
}

bool rounds_pause(struct rounds *r, enum pause_scope scope, uint32_t index, bool pause)
{
    if (pause)
        pauses_begin(r->pauses, scope, index, (int64_t)time(NULL));
    else
        pauses_end(r->pauses, scope, index);
    rounds_apply_pauses(r);
    save_pauses(r);
    return !pauses_changed(r->pauses);
}

static int recall_account(void *arg, const struct account_info *info)
{
    const struct rounds *r = arg;
    const struct config_account *account = config_find_account(r->config, info->name);
    if (account != NULL && info->session_us > 0 && info->session_state == SESSION_COMPLETE)
        health_complete(r->health, (uint32_t)(account - r->config->accounts),
                        HEALTH_LISTED_UNKNOWN, info->session_us / 1000000);
    return 0;
}

void rounds_recall(struct rounds *r)
{
    char path[PATH_MAX];
    if (r->state_saved_ms != 0)
        return;
    marks_path(r, path);
    marks_load(r->marks, path, (int64_t)time(NULL));
    r->state_saved_ms = clock_now_ms();
    recall_pauses(r);
    (void)archive_each_account(r->archive, recall_account, r);
}

static void save_marks(struct rounds *r)
{
    char path[PATH_MAX];
    if (!marks_changed(r->marks))
        return;
    marks_path(r, path);
    int err = marks_save(r->marks, path, (int64_t)time(NULL));
    if (err != 0 && !r->marks_unsaved)
        say_file(r,
                 "what is known of messages that break their session is forgotten when "
                 "this process ends",
                 path, err);
    r->marks_unsaved = err != 0;
}

static bool changed(const struct rounds *r)
{
    return r->archive != NULL && (marks_changed(r->marks) || pauses_changed(r->pauses));
}

void rounds_save(struct rounds *r, bool at_once)
{
    uint64_t now_ms = clock_now_ms();
    if (!changed(r) || (!at_once && now_ms - r->state_saved_ms < STATE_SAVE_MS))
        return;
    save_marks(r);
    save_pauses(r);
    r->state_saved_ms = now_ms;
}

uint64_t rounds_save_wait_ms(const struct rounds *r)
{
    return changed(r) ? STATE_SAVE_MS : ROUNDS_FOREVER;
}
