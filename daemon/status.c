#include "daemon/status.h"

#include "archive/damage.h"
#include "archive/error.h"
#include "daemon/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum step { STEP_SERVICE, STEP_SERVERS, STEP_ACCOUNTS };

/* Of the log's clock and of the scheduler's, at one moment. */
struct now {
    int64_t s;
    uint64_t ms;
};

static struct now look_at_clocks(void)
{
    return (struct now){.s = (int64_t)time(NULL), .ms = clock_now_ms()};
}

/* A time of the scheduler's clock; 0 for 0 and for never. */
static int64_t wall_time_s(const struct now *now, uint64_t at_ms)
{
    if (at_ms == 0 || at_ms == SCHEDULER_FOREVER)
        return 0;
    return at_ms > now->ms ? now->s + (int64_t)((at_ms - now->ms) / 1000) : now->s;
}

static const char *state_of(const struct status *s)
{
    if (s->signals->stop)
        return "stopping";
    if (s->rounds->archive != NULL)
        return "running";
    return s->rounds->space.low ? "disk-full" : "failed";
}

static void put_work(struct buffer *out, const struct rounds *r)
{
    struct pool_progress done;
    sessions_progress(r->sessions, &done);
    control_number(out, "sessions", sessions_count(r->sessions));
    control_number(out, "messages", done.messages);
    control_number(out, "received_bytes", done.received_bytes);
    control_number(out, "stored_bytes", done.stored_bytes);
    control_number(out, "commits", done.commits);
    control_number(out, "memory_bytes", done.memory);
    control_number(out, "memory_peak_bytes", done.memory_peak);
    control_number(out, "memory_limit_bytes", r->config->max_memory_bytes);
}

/* account: NULL is all of the archive. It is not known while the archive is closed. */
static void put_unconfirmed(struct buffer *out, const struct rounds *r, const char *account)
{
    uint64_t count = 0;
    bool known =
        r->archive != NULL && archive_unconfirmed(r->archive, account, &count) == 0;
    control_number(out, "unconfirmed", known ? count : CONTROL_UNKNOWN);
}

static void put_damage(struct buffer *out, const struct rounds *r)
{
    struct damage_count damage = {0};
    bool known = r->archive != NULL && damage_count(r->archive, &damage) == 0;
    control_number(out, "recovery_damage", r->damage_found);
    control_number(out, "damaged_messages", known ? damage.messages : CONTROL_UNKNOWN);
    control_number(out, "damaged_parts", known ? damage.parts : CONTROL_UNKNOWN);
}

static void put_refused(struct buffer *out, const struct status *s)
{
    bool refused = s->refused != NULL && s->refused[0] != '\0';
    control_text(out, "config_error", refused ? s->refused : "");
    control_time(out, "config_error_since", refused ? s->refused_since_s : 0);
}

void status_put_service(struct buffer *out, const struct status *s)
{
    const struct rounds *r = s->rounds;
    bool closed = r->archive == NULL;
    struct space space = r->space;
    space_look(&space, r->config->archive_path);
    control_object(out, "service");
    control_name(out, "version", MAILCASK_VERSION);
    control_number(out, "pid", (uint64_t)getpid());
    control_time(out, "since", s->began_s);
    control_name(out, "mode", s->once ? "once" : "service");
    control_text(out, "archive", r->config->archive_path);
    control_text(out, "loop", sessions_describe(r->sessions));
    control_name(out, "state", state_of(s));
    control_text(out, "problem", closed ? s->problem : "");
    control_time(out, "problem_since", closed ? s->problem_since_s : 0);
    control_time(out, "next_try", closed ? s->next_try_s : 0);
    put_refused(out, s);
    control_number(out, "free_bytes", space.free_bytes);
    control_number(out, "stop_below_bytes", space.mark_bytes);
    control_number(out, "go_on_at_bytes", space.mark_bytes * SPACE_ROOM_AGAIN);
    put_work(out, r);
    control_name(out, "deletes", deletes_word(r->deletes));
    put_unconfirmed(out, r, NULL);
    put_damage(out, r);
    control_number(out, "server_count", r->config->server_count);
    control_number(out, "account_count", r->config->account_count);
    control_time(out, "paused", pauses_since(r->pauses, PAUSE_ALL, 0));
    control_object_end(out);
}

static void put_problem(struct buffer *out, const struct health_problem *problem)
{
    control_text(out, "error", problem->text);
    control_time(out, "error_since", problem->since_s);
}

static void put_site(struct buffer *out, const struct rounds *r, uint32_t server)
{
    struct site_use use;
    bool known = scheduler_server_site(r->scheduler, server, &use);
    control_number(out, "address_sessions", known ? use.running : CONTROL_UNKNOWN);
    control_number(out, "address_limit", known ? use.limit : CONTROL_UNKNOWN);
    control_number(out, "address_servers", known ? use.servers : CONTROL_UNKNOWN);
}

static void put_server(struct buffer *out, const struct rounds *r, uint32_t i,
                       const struct now *now)
{
    const struct config_server *server = &r->config->servers[i];
    uint64_t blocked_ms = scheduler_server_blocked_ms(r->scheduler, i);
    control_object(out, "server");
    control_name(out, "server", server->name);
    control_text(out, "host", server->host);
    control_number(out, "port", server->port);
    control_number(out, "sessions", scheduler_server_running(r->scheduler, i));
    control_number(out, "max_connections", server->max_connections);
    put_site(out, r, i);
    control_time(out, "held_until", wall_time_s(now, blocked_ms));
    control_time(out, "paused", pauses_since(r->pauses, PAUSE_SERVER, i));
    put_problem(out, health_server(r->health, i));
    control_object_end(out);
}

const char *status_state_word(enum scheduler_state state)
{
    switch (state) {
    case SCHEDULER_WAITING:
        return "waiting";
    case SCHEDULER_READY:
        return "ready";
    case SCHEDULER_PARKED:
        return "parked";
    case SCHEDULER_RUNNING:
        return "running";
    case SCHEDULER_SUSPENDED:
        return "suspended";
    case SCHEDULER_PAUSED:
        return "paused";
    case SCHEDULER_FINISHED:
        break;
    }
    return "finished";
}

static const char *wait_word(enum scheduler_wait wait)
{
    switch (wait) {
    case SCHEDULER_WAITS_FOR_TURN:
        return "turn";
    case SCHEDULER_WAITS_FOR_LOOKUP:
        return "lookup";
    case SCHEDULER_WAITS_FOR_SERVER:
        return "server";
    case SCHEDULER_WAITS_FOR_CONNECTION:
        return "connection";
    case SCHEDULER_WAITS_FOR_ADDRESS:
        return "address";
    case SCHEDULER_WAITS_FOR_PACE:
        return "pace";
    case SCHEDULER_WAITS_FOR_NOTHING:
        break;
    }
    return "";
}

static const char *scope_word(enum pause_scope scope)
{
    switch (scope) {
    case PAUSE_ACCOUNT:
        return "account";
    case PAUSE_SERVER:
        return "server";
    case PAUSE_ALL:
        return "all";
    case PAUSE_NONE:
        break;
    }
    return "";
}

/* To the scheduler it is paused only when its time has come. */
static enum scheduler_state state_when_paused(enum scheduler_state state)
{
    bool waits =
        state == SCHEDULER_WAITING || state == SCHEDULER_READY || state == SCHEDULER_PARKED;
    return waits ? SCHEDULER_PAUSED : state;
}

enum scheduler_state status_account_state(const struct rounds *r, uint32_t account)
{
    uint64_t due_ms = 0;
    uint32_t failures = 0;
    int64_t since_s = 0;
    enum scheduler_state state =
        scheduler_status(r->scheduler, account, &due_ms, &failures);
    bool paused = pauses_of_account(r->pauses, account, &since_s) != PAUSE_NONE;
    return paused ? state_when_paused(state) : state;
}

static void put_account(struct buffer *out, const struct rounds *r, uint32_t i,
                        const struct now *now)
{
    const struct config_account *account = &r->config->accounts[i];
    const struct health_polls *polls = health_polls(r->health, i);
    uint64_t due_ms = 0;
    uint32_t failures = 0;
    int64_t paused_s = 0;
    enum scheduler_state state = status_account_state(r, i);
    enum pause_scope paused_by = pauses_of_account(r->pauses, i, &paused_s);
    (void)scheduler_status(r->scheduler, i, &due_ms, &failures);
    control_object(out, "account");
    control_name(out, "account", account->name);
    control_name(out, "server", account->server->name);
    control_name(out, "state", status_state_word(state));
    control_name(out, "waits_for",
                 state == SCHEDULER_READY ? wait_word(scheduler_waits_for(r->scheduler, i))
                                          : "");
    control_time(out, "due", state == SCHEDULER_PAUSED ? 0 : wall_time_s(now, due_ms));
    control_time(out, "paused", paused_s);
    control_name(out, "paused_by", scope_word(paused_by));
    control_number(out, "failures", failures);
    control_time(out, "last_complete", polls->complete_s);
    control_number(out, "listed",
                   polls->listed == HEALTH_LISTED_UNKNOWN ? CONTROL_UNKNOWN
                                                          : polls->listed);
    put_unconfirmed(out, r, account->name);
    put_problem(out, health_account(r->health, i));
    control_object_end(out);
}

void status_put_server(struct buffer *out, const struct status *s, uint32_t server)
{
    const struct now now = look_at_clocks();
    put_server(out, s->rounds, server, &now);
}

void status_put_account(struct buffer *out, const struct status *s, uint32_t account)
{
    const struct now now = look_at_clocks();
    put_account(out, s->rounds, account, &now);
}

static const char *server_name(const struct config *config, size_t i)
{
    return config->servers[i].name;
}

static const char *account_name(const struct config *config, size_t i)
{
    return config->accounts[i].name;
}

/* The first of count names, which are sorted, behind `after`. There may have been a reload
 * since the last piece: an index would mean another one now. */
static size_t first_behind(const struct config *config,
                           const char *(*name)(const struct config *config, size_t i),
                           size_t count, const char *after)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(name(config, middle), after) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A piece of one of the lists. True: it is at its end. */
static bool put_list(struct buffer *out, const struct rounds *r,
                     struct control_request *request)
{
    const struct config *config = r->config;
    bool servers = request->step == STEP_SERVERS;
    const char *(*name)(const struct config *, size_t) =
        servers ? server_name : account_name;
    size_t count = servers ? config->server_count : config->account_count;
    const struct now now = look_at_clocks();
    size_t i = first_behind(config, name, count, request->after);
    for (; i < count && out->size < CONTROL_PIECE_SIZE; i++) {
        if (servers)
            put_server(out, r, (uint32_t)i, &now);
        else
            put_account(out, r, (uint32_t)i, &now);
        (void)snprintf(request->after, sizeof(request->after), "%s", name(config, i));
    }
    return i == count;
}

void status_listen(const struct status *s, struct control *control, struct log *log)
{
    struct log_event e;
    int err = control_listen(control);
    if (err == 0)
        return;
    log_begin(&e, log, LEVEL_WARNING,
              "there is no control socket: 'mailcask status' will not find this process");
    log_text(&e, "archive", s->rounds->config->archive_path);
    log_text(&e, "error", error_text(err));
    log_end(&e);
}

bool status_answer(const struct status *s, struct control_request *request,
                   struct buffer *out)
{
    if (request->step == STEP_SERVICE) {
        status_put_service(out, s);
        if (s->repacking != NULL)
            repacking_put(out, s->repacking, sessions_repacker(s->rounds->sessions));
    } else if (!put_list(out, s->rounds, request))
        return false;
    request->after[0] = '\0';
    return request->step++ == STEP_ACCOUNTS;
}
