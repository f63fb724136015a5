#include "daemon/rounds.h"

#include "archive/error.h"
#include "daemon/clock.h"
#include "daemon/news.h"
#include "daemon/process.h"
#include "daemon/rounds_state.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSIONS_AT_ONCE_MAX POOL_SESSIONS_DEFAULT
#define DESCRIPTORS_RESERVED 192 /* for the archive, loops, commands, look-ups */
#define SPACE_LOOK_MS 250
#define ONCE_DELAY_MAX_S 60 /* between two sessions of a pass */

/* As many sockets as there can be descriptors, and one in any case. */
static uint32_t sessions_max(void)
{
    uint64_t descriptors = process_descriptors();
    if (descriptors <= DESCRIPTORS_RESERVED)
        return 1;
    uint64_t room = descriptors - DESCRIPTORS_RESERVED;
    return room < SESSIONS_AT_ONCE_MAX ? (uint32_t)room : SESSIONS_AT_ONCE_MAX;
}

int rounds_create(struct rounds *r, struct config *config, const bool *selected,
                  enum scheduler_mode mode, enum loop_backend backend, struct log *log)
{
    *r = (struct rounds){.log = log, .mode = mode, .backend = backend};
    r->sessions_max = sessions_max();
    int err = sessions_create(&r->sessions);
    if (err == 0)
        sessions_trace(r->sessions, log);
    if (err == 0)
        err = lookups_create(NULL, &r->lookups);
    if (err == 0)
        err = marks_new(config, &r->marks);
    if (err == 0)
        err = pauses_new(config, &r->pauses);
    if (err == 0)
        err = health_new(config, &r->health);
    if (err == 0)
        err = deletes_new(config, clock_offset_s(), &r->deletes);
    if (err == 0)
        err = refused_new(config, &r->refused);
    if (err == 0) /* a pass names everyone; of a service status does */
        err = gather_new(mode == SCHEDULER_ONCE, &r->gather);
    if (err == 0)
        err = scheduler_new(config, selected, mode, process_seed(), clock_now_ms(),
                            &r->scheduler);
    if (err != 0)
        rounds_destroy(r);
    else
        r->config = config;
    return err;
}

void rounds_destroy(struct rounds *r)
{
    (void)rounds_close(r);
    sessions_destroy(r->sessions);
    lookups_destroy(r->lookups);
    scheduler_free(r->scheduler);
    marks_free(r->marks);
    pauses_free(r->pauses);
    health_free(r->health);
    deletes_free(r->deletes);
    refused_free(r->refused);
    gather_free(r->gather);
    config_free(r->config);
    *r = (struct rounds){0};
}

static void report_note(void *arg, enum archive_note note, const char *text)
{
    struct rounds *r = arg;
    r->damage_found += note == NOTE_DAMAGE;
    bool damage = note == NOTE_DAMAGE;
    struct log_event e;
    log_begin(&e, r->log, damage ? LEVEL_ERROR : LEVEL_INFO,
              damage ? "the archive is damaged" : "opening the archive");
    log_text(&e, "archive", r->config->archive_path);
    log_text(&e, damage ? "error" : "note", text);
    log_end(&e);
}

bool rounds_room(struct rounds *r)
{
    uint64_t now_ms = clock_now_ms();
    if (r->space_looked_ms == 0 || now_ms - r->space_looked_ms >= SPACE_LOOK_MS) {
        space_look(&r->space, r->config->archive_path);
        r->space_looked_ms = now_ms;
    }
    return !r->space.low;
}

static int no_room(const struct rounds *r, char out_text[ARCHIVE_PROBLEM_SIZE])
{
    space_problem(&r->space, r->config->archive_path, out_text, ARCHIVE_PROBLEM_SIZE);
    return -ENOSPC;
}

/* Those that are too many wait for others to end. */
static void tell_sessions_max(const struct rounds *r)
{
    uint32_t max = r->sessions_max;
    struct log_event e;
    if (max >= SESSIONS_AT_ONCE_MAX || max >= r->config->account_count)
        return;
    log_begin(&e, r->log, LEVEL_WARNING,
              "there are fewer sessions at once than there could be: too few files may be "
              "open (LimitNOFILE, ulimit -Hn)");
    log_number(&e, "sessions", max);
    log_number(&e, "files", process_descriptors());
    log_end(&e);
}

int rounds_open(struct rounds *r, char out_text[ARCHIVE_PROBLEM_SIZE])
{
    if (r->space.low && !rounds_room(r))
        return no_room(r, out_text);
    const struct archive_options options = {
        .mode = ARCHIVE_WRITE, .report = report_note, .arg = r};
    r->damage_found = 0;
    int err = archive_open(r->config->archive_path, &options, &r->archive);
    if (err != 0) {
        r->archive = NULL;
        archive_problem(out_text, r->config->archive_path, err);
        return err;
    }
    rounds_recall(r);
    err = sessions_open(r->sessions, r->archive, r->config->max_memory_bytes, r->backend);
    if (err != 0) {
        (void)snprintf(out_text, ARCHIVE_PROBLEM_SIZE, "the workers cannot be started: %s",
                       error_text(err));
        (void)rounds_close(r);
    }
    if (err == 0)
        tell_sessions_max(r);
    return err;
}

int rounds_failure(struct rounds *r, char out_text[ARCHIVE_PROBLEM_SIZE])
{
    int err = sessions_failure(r->sessions);
    if (err == 0)
        return rounds_room(r) ? 0 : no_room(r, out_text);
    /* It was filled quicker than we looked: no new try before there is plenty. */
    if (err == -ENOSPC) {
        r->space.low = true;
        r->space_looked_ms = 0;
    }
    archive_problem(out_text, r->config->archive_path, err);
    return err;
}

/* A session under way writes its account's run itself, or goes on with it. */
static int write_run(void *arg, uint32_t account, const struct pool_run *run)
{
    const struct rounds *r = arg;
    uint64_t due_ms = 0;
    uint32_t failures = 0;
    if (scheduler_status(r->scheduler, account, &due_ms, &failures) == SCHEDULER_RUNNING)
        return -EBUSY;
    return sessions_write_run(r->sessions, run);
}

int rounds_close(struct rounds *r)
{
    char problem[ARCHIVE_PROBLEM_SIZE];
    if (r->archive == NULL)
        return 0;
    bool told = sessions_failure(r->sessions) != 0;
    marks_each_run(r->marks, write_run, r);
    int failure = sessions_close(r->sessions);
    rounds_save(r, true);
    int err = archive_close(r->archive);
    r->archive = NULL;
    if (failure != 0 && !told) {
        archive_problem(problem, r->config->archive_path, failure);
        log_say(r->log, LEVEL_ERROR, "the last messages could not be archived", problem);
    } else if (failure == 0 && err != 0) {
        archive_problem(problem, r->config->archive_path, err);
        log_say(r->log, LEVEL_WARNING,
                "the newest segment is not sealed; nothing that was archived is lost, and "
                "the next start mends it",
                problem);
    }
    return failure;
}

int rounds_reload(struct rounds *r, struct config *config)
{
    struct scheduler *scheduler = NULL;
    struct marks *marks = NULL;
    struct pauses *pauses = NULL;
    struct health *health = NULL;
    struct deletes *deletes = NULL;
    struct refused *refused = NULL; /* whoever was suspended starts anew */
    uint64_t now_ms = clock_now_ms();
    int err = marks_new(config, &marks);
    if (err == 0)
        err = pauses_new(config, &pauses);
    if (err == 0)
        err = health_new(config, &health);
    if (err == 0)
        err = deletes_new(config, clock_offset_s(), &deletes);
    if (err == 0)
        err = refused_new(config, &refused);
    if (err == 0)
        err = scheduler_new(config, NULL, r->mode, process_seed(), now_ms, &scheduler);
    if (err == 0)
        err = scheduler_adopt(scheduler, r->scheduler, now_ms);
    if (err != 0) {
        scheduler_free(scheduler);
        marks_free(marks);
        pauses_free(pauses);
        health_free(health);
        deletes_free(deletes);
        refused_free(refused);
        return err;
    }
    r->sessions_max = sessions_max();
    lookups_forget(r->lookups);
    marks_adopt(marks, r->marks);
    pauses_adopt(pauses, r->pauses);
    health_adopt(health, r->health);
    deletes_adopt(deletes, r->deletes);
    sessions_renumber(r->sessions, r->config, config);
    scheduler_free(r->scheduler);
    marks_free(r->marks);
    pauses_free(r->pauses);
    deletes_free(r->deletes);
    health_free(r->health);
    refused_free(r->refused);
    config_free(r->config);
    r->scheduler = scheduler;
    r->marks = marks;
    r->pauses = pauses;
    r->health = health;
    r->deletes = deletes;
    r->refused = refused;
    r->config = config;
    rounds_apply_pauses(r);
    return 0;
}

static void not_begun(struct rounds *r, uint32_t account, int err)
{
    struct outcome outcome = {.scope = SCOPE_NONE};
    outcome_set(&outcome, SCOPE_PROCESS, RETRY_BACKOFF,
                "The session was not begun: %s; it will be tried again later.",
                err == -EBUSY ? "an earlier one has not ended" : error_text(err));
    const struct session_end end = {.account = account, .outcome = outcome};
    news_of_account(r, &end, outcome.text);
    scheduler_done(r->scheduler, account, &outcome, clock_now_ms());
}

static void watch_clock(struct rounds *r)
{
    bool news = false;
    (void)deletes_clock_right(r->deletes, clock_offset_s(), &news);
    if (news && r->config->deletes)
        log_say(r->log, LEVEL_ERROR,
                "the clock has jumped by more than a day; nothing is deleted from servers "
                "any more until a reload or a restart confirms that it is right",
                NULL);
}

static void resume_suspended(struct rounds *r)
{
    uint64_t now_ms = clock_now_ms();
    uint32_t account = 0;
    while (refused_next(r->refused, now_ms, &account)) {
        news_tell(r,
                  &(const struct news){.kind = NEWS_PASSWORD_CHANGED, .account = account});
        scheduler_resume(r->scheduler, account, now_ms);
    }
}

/* What may still be fetched of a mailbox today (Q45). */
static struct pop3_day day_of(const struct rounds *r, uint32_t account)
{
    const struct day_bytes *day = marks_day(r->marks, account);
    uint64_t whole = r->config->accounts[account].daily_bytes;
    int64_t now_s = (int64_t)time(NULL);
    return (struct pop3_day){.whole = whole,
                             .left = day_bytes_left(day, now_s, whole),
                             .wait_s = day_bytes_wait_s(day, now_s)};
}

static void take_lookups(const struct rounds *r)
{
    struct resolver_answer answer;
    uint32_t server = 0;
    while (lookups_take(r->lookups, &server, &answer))
        scheduler_located(r->scheduler, server, &answer, clock_now_ms());
}

/* How many. */
static uint32_t ask_lookups(const struct rounds *r)
{
    uint32_t server = 0, count = 0;
    while (lookups_room(r->lookups) && scheduler_lookup(r->scheduler, &server)) {
        const struct config_server *from = &r->config->servers[server];
        int err = lookups_ask(r->lookups, from->host, from->port, server);
        const struct resolver_answer none = {.err = err, .text = error_text(err)};
        if (err != 0)
            scheduler_located(r->scheduler, server, &none, clock_now_ms());
        count++;
    }
    return count;
}

/* The answer of a look-up may be there at once. */
static bool next_account(const struct rounds *r, uint32_t *out_account)
{
    do {
        take_lookups(r);
        if (scheduler_next(r->scheduler, clock_now_ms(), out_account))
            return true;
    } while (ask_lookups(r) > 0);
    return false;
}

static void begin(struct rounds *r, uint32_t account)
{
    struct pool_marks marks;
    struct resolver_answer answer;
    marks_get(r->marks, account, &marks);
    const struct session_plan plan = {
        .place = scheduler_place(r->scheduler, account, &answer),
        .answer = &answer,
        .kind = deletes_kind(r->deletes, account),
        .delete_before_us = deletes_before_us(r->deletes, account, clock_wall_us()),
        .marks = &marks,
        .day = day_of(r, account),
        .trace = r->trace || r->config->accounts[account].trace};
    int err = sessions_begin(r->sessions, r->config, account, &plan);
    if (err != 0)
        not_begun(r, account, err);
}

void rounds_begin(struct rounds *r)
{
    uint32_t account = 0;
    rounds_save(r, false);
    watch_clock(r);
    resume_suspended(r);
    if (!rounds_room(r))
        return;
    while (sessions_count(r->sessions) < r->sessions_max && next_account(r, &account))
        begin(r, account);
}

static uint64_t sooner(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static int wait_ms(const struct rounds *r, uint64_t max_ms)
{
    uint64_t ms = sooner(gather_wait_ms(r->gather, clock_now_ms()), max_ms);
    ms = sooner(rounds_save_wait_ms(r), ms);
    if (r->archive != NULL) {
        uint64_t look_ms = refused_wait_ms(r->refused, clock_now_ms());
        ms = look_ms < ms ? look_ms : ms;
    }
    if (r->archive != NULL && sessions_count(r->sessions) > 0)
        ms = ms < SPACE_LOOK_MS ? ms : SPACE_LOOK_MS;
    if (r->archive != NULL && sessions_count(r->sessions) < r->sessions_max) {
        uint64_t turn_ms = scheduler_wait_ms(r->scheduler, clock_now_ms());
        ms = turn_ms < ms ? turn_ms : ms;
    }
    if (ms == ROUNDS_FOREVER)
        return -1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static bool any_ready(const struct pollfd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i].revents != 0)
            return true;
    return false;
}

void rounds_wait(struct rounds *r, struct signals *signals, struct control *control,
                 struct metrics_server *metrics, uint64_t max_ms)
{
    struct pollfd fds[4 + CONTROL_FDS_MAX] = {
        {.fd = signals->fd, .events = POLLIN},
        {.fd = sessions_fd(r->sessions), .events = POLLIN},
        {.fd = lookups_fd(r->lookups), .events = POLLIN},
        {.fd = metrics_server_fd(metrics), .events = POLLIN},
    };
    uint64_t now_ms = clock_now_ms();
    uint64_t serve_ms =
        sooner(control_wait_ms(control, now_ms), metrics_server_wait_ms(metrics, now_ms));
    size_t count = 4 + control_fds(control, now_ms, fds + 4);
    (void)poll(fds, count, wait_ms(r, sooner(serve_ms, max_ms)));
    if (fds[0].revents != 0)
        signals_take(signals);
    take_lookups(r);
    now_ms = clock_now_ms();
    if (control_wait_ms(control, now_ms) == 0 || any_ready(fds + 4, count - 4))
        control_serve(control, now_ms);
    metrics_server_serve(metrics, now_ms);
    news_tell_gathered(r, false);
}

bool rounds_take(struct rounds *r, struct session_end *out)
{
    while (sessions_take(r->sessions, out)) {
        if (out->account == SESSIONS_NOBODY) {
            scheduler_leave(r->scheduler, out->place, clock_now_ms());
            continue;
        }
        if (out->held) {
            marks_put(r->marks, out->account, &out->marks);
            marks_spend(r->marks, out->account, (int64_t)time(NULL), out->counts.bytes);
        }
        news_of_session(r, out);
        return true;
    }
    return false;
}

/* Q39: a service keeps to the pause before it is refused for it. A single pass, whose
 * sessions follow each other, sees whether it is, and then waits if it is a short one. */
static void keep_to_login_delay(const struct rounds *r, const struct session_end *end,
                                struct outcome *outcome)
{
    uint32_t delay_s = end->marks.pop3.login_delay_s;
    if (r->mode == SCHEDULER_SERVICE && end->counts.listed != SIZE_UNKNOWN &&
        outcome->delay_s < delay_s)
        outcome->delay_s = delay_s;
    if (r->mode == SCHEDULER_ONCE && outcome->retry == RETRY_BACKOFF &&
        outcome->delay_s > 0 && outcome->delay_s <= ONCE_DELAY_MAX_S)
        outcome->retry = RETRY_NOW;
}

/* For how quiet the account is. */
static void tell_found(const struct rounds *r, const struct session_end *end)
{
    const struct pool_counts *c = &end->counts;
    bool something = c->fetched + c->deduplicated + c->healed > 0 || end->outcome.more;
    if (something ||
        (end->held && end->kind == POOL_FETCH && !end->stopped && !rounds_incomplete(end)))
        scheduler_found(r->scheduler, end->account, something);
}

void rounds_settle(struct rounds *r, const struct session_end *end)
{
    struct outcome outcome = end->outcome;
    tell_found(r, end);
    if (end->held && end->kind == POOL_FETCH && !end->stopped && !outcome.more &&
        !end->unlisted && !rounds_incomplete(end))
        health_complete(r->health, end->account, end->counts.listed, (int64_t)time(NULL));
    /* Whether to try again is then about the message, and it is put aside by now. */
    if (outcome.scope == SCOPE_MESSAGE)
        outcome.retry = RETRY_NONE;
    /* deletes_ended() backs off; fetching goes on as it does. */
    if (end->kind == POOL_DELETE && outcome.scope == SCOPE_MAILBOX)
        outcome.retry = RETRY_NONE;
    keep_to_login_delay(r, end, &outcome);
    bool deletes = deletes_ended(r->deletes, end, clock_now_ms());
    bool late = r->mode == SCHEDULER_ONCE && outcome.delay_s > ONCE_DELAY_MAX_S;
    outcome.more |= deletes && !late;
    scheduler_done(r->scheduler, end->account, &outcome, clock_now_ms());
    uint64_t due_ms = 0;
    uint32_t failures = 0;
    bool suspended = scheduler_status(r->scheduler, end->account, &due_ms, &failures) ==
                     SCHEDULER_SUSPENDED;
    refused_set(r->refused, end->account, suspended ? end->stamp : 0);
}
