#include "daemon/scheduler.h"

#include "daemon/scheduler_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* First sessions are spread over SPREAD_MS, and more if there are many: so many
 * milliseconds for each account there is, and for each that shares a connection. */
#define SPREAD_MS ((uint64_t)60 * SECOND_MS)
#define SPREAD_AN_ACCOUNT_MS 10u
#define SPREAD_A_CONNECTION_MS 1000u
#define BEAT_MS 50u    /* sessions of a service come due in step: one wake-up for several */
#define QUIET_POLLS 8u /* in a row that brought nothing: then poll-quiet counts */
#define QUIET_POLLS_MAX 64u /* by then it is reached, whatever it is */
#define DELAY_MAX_MS ((uint64_t)86400 * SECOND_MS) /* a server may ask for no more */
#define NOW_TRIES_MAX 3                            /* RETRY_NOW in a row */

static void make_waiting(struct scheduler *s, uint32_t account, uint64_t due_ms)
{
    s->accounts[account].state = SCHEDULER_WAITING;
    due_heap_set(&s->due, account, due_ms);
}

static uint64_t next_beat_ms(const struct scheduler *s, uint64_t due_ms)
{
    if (s->mode == SCHEDULER_ONCE)
        return due_ms;
    return (due_ms + BEAT_MS - 1) / BEAT_MS * BEAT_MS;
}

static void make_ready(struct scheduler *s, uint32_t account)
{
    struct account *at = &s->accounts[account];
    at->state = SCHEDULER_READY;
    index_queue_push(&s->servers[at->server].ready, s->account_next, account);
    server_enter_ring(s, at->server);
}

static void finish(struct scheduler *s, uint32_t account)
{
    s->accounts[account].state = SCHEDULER_FINISHED;
    s->unfinished--;
}

static uint64_t first_spread_ms(const struct scheduler *s, uint32_t account)
{
    const struct config_account *from = &s->config->accounts[account];
    uint64_t accounts = s->servers[s->accounts[account].server].accounts;
    if (s->mode == SCHEDULER_ONCE)
        return 0;
    uint64_t spread_ms = (uint64_t)s->account_count * SPREAD_AN_ACCOUNT_MS;
    uint64_t server_ms = accounts * SPREAD_A_CONNECTION_MS / from->server->max_connections;
    spread_ms = spread_ms > server_ms ? spread_ms : server_ms;
    spread_ms = spread_ms > SPREAD_MS ? spread_ms : SPREAD_MS;
    return spread_ms < from->poll_ms ? spread_ms : from->poll_ms;
}

/* Servers are looked up ahead of their first session, so that what they share is known. */
static void start_account(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    uint64_t wait_ms = chance_up_to(&s->chance, first_spread_ms(s, account));
    make_waiting(s, account, next_beat_ms(s, now_ms + wait_ms));
    s->unfinished++;
    server_look_up(s, s->accounts[account].server);
}

static int allocate(struct scheduler *s)
{
    /* One more than needed: calloc(0) may be NULL. */
    s->accounts = calloc((size_t)s->account_count + 1, sizeof(*s->accounts));
    s->account_next = calloc((size_t)s->account_count + 1, sizeof(*s->account_next));
    if (s->accounts == NULL || s->account_next == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->account_count; i++)
        s->accounts[i].server =
            (uint32_t)(s->config->accounts[i].server - s->config->servers);
    int err = due_heap_init(&s->due, s->account_count + s->server_count);
    if (err == 0)
        err = leases_init(&s->leases, s->config);
    return err == 0 ? servers_init(s) : err;
}

int scheduler_new(const struct config *config, const bool *selected,
                  enum scheduler_mode mode, uint64_t seed, uint64_t now_ms,
                  struct scheduler **out)
{
    assert(config->account_count + config->server_count < INDEX_NONE / 2);
    struct scheduler *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->config = config;
    s->mode = mode;
    s->chance.state = seed;
    s->account_count = (uint32_t)config->account_count;
    s->server_count = (uint32_t)config->server_count;
    int err = allocate(s);
    if (err != 0) {
        scheduler_free(s);
        return err;
    }
    for (uint32_t i = 0; i < s->account_count; i++) {
        s->accounts[i].location = NOWHERE;
        s->accounts[i].state = SCHEDULER_FINISHED;
        if (selected == NULL || selected[i])
            start_account(s, i, now_ms);
    }
    *out = s;
    return 0;
}

void scheduler_free(struct scheduler *s)
{
    if (s == NULL)
        return;
    due_heap_free(&s->due);
    leases_free(&s->leases);
    servers_free(s);
    free(s->accounts);
    free(s->account_next);
    free(s);
}

/* From one session that goes well to the next: poll; in a quiet account twice that, four
 * times, up to poll-quiet. */
static uint64_t interval_ms(const struct scheduler *s, uint32_t account)
{
    const struct config_account *from = &s->config->accounts[account];
    uint64_t ms = from->poll_ms, most_ms = from->poll_quiet_ms;
    for (uint32_t q = QUIET_POLLS; q <= s->accounts[account].quiet && ms < most_ms; q++)
        ms = ms * 2 < most_ms ? ms * 2 : most_ms;
    return ms;
}

static void adopt_account(struct scheduler *s, uint32_t account,
                          const struct scheduler *old, uint32_t old_account,
                          uint64_t now_ms)
{
    struct account *to = &s->accounts[account];
    const struct account *from = &old->accounts[old_account];
    if (to->state != SCHEDULER_WAITING || from->state == SCHEDULER_SUSPENDED ||
        from->state == SCHEDULER_FINISHED)
        return;
    to->failures = from->failures;
    to->hasty = from->hasty;
    to->quiet = from->quiet;
    if (from->state == SCHEDULER_RUNNING) {
        /* Where it is it counts already. */
        due_heap_remove(&s->due, account);
        to->state = SCHEDULER_RUNNING;
        to->location = from->location;
        s->servers[to->server].running++;
        leases_take(&s->leases, account);
        return;
    }
    uint64_t due_ms = now_ms;
    if (from->state == SCHEDULER_WAITING)
        due_ms = due_heap_time(&old->due, old_account);
    /* A shorter `poll` counts from now on; a back-off stays what it is. */
    uint64_t poll_ms = interval_ms(s, account);
    if (from->failures == 0 && due_ms > now_ms + poll_ms + poll_ms / BACKOFF_JITTER)
        due_ms = now_ms + backoff_jittered(&s->chance, poll_ms);
    make_waiting(s, account, due_ms);
}

int scheduler_adopt(struct scheduler *s, struct scheduler *old, uint64_t now_ms)
{
    int err = servers_adopt(s, old);
    if (err != 0)
        return err;
    /* Both are sorted by name. */
    for (uint32_t i = 0, j = 0; i < s->account_count && j < old->account_count;) {
        int order = strcmp(s->config->accounts[i].name, old->config->accounts[j].name);
        if (order == 0)
            adopt_account(s, i, old, j, now_ms);
        i += order <= 0;
        j += order >= 0;
    }
    return 0;
}

/* Move everything whose time has come out of the heap. */
static void take_due(struct scheduler *s, uint64_t now_ms)
{
    uint32_t node = 0;
    uint64_t due_ms = 0;
    while (due_heap_first(&s->due, &node, &due_ms) && due_ms <= now_ms) {
        due_heap_remove(&s->due, node);
        if (node < s->account_count)
            make_ready(s, node);
        else
            server_node_due(s, node, now_ms);
    }
}

/* A mailbox that nobody has goes to the first who waits for it. */
static void offer_mailbox(struct scheduler *s, uint32_t account)
{
    uint32_t parked = INDEX_NONE;
    if (leases_unpark(&s->leases, account, s->account_next, &parked))
        make_ready(s, parked);
}

/* Its turn has come: it runs, true; or it is paused, or its mailbox is in use. */
static bool take_turn(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    struct account *at = &s->accounts[account];
    if (at->paused) {
        at->state = SCHEDULER_PAUSED;
        offer_mailbox(s, account);
        return false;
    }
    if (leases_taken(&s->leases, account)) {
        at->state = SCHEDULER_PARKED;
        leases_park(&s->leases, account, s->account_next);
        return false;
    }
    at->state = SCHEDULER_RUNNING;
    leases_take(&s->leases, account);
    session_came(s, at->server, now_ms, &at->location);
    return true;
}

bool scheduler_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_account)
{
    uint32_t server = 0;
    take_due(s, now_ms);
    while (server_next(s, now_ms, &server)) {
        uint32_t account = index_queue_pop(&s->servers[server].ready, s->account_next);
        bool runs = take_turn(s, account, now_ms);
        server_turned(s, server, now_ms);
        *out_account = account;
        if (runs)
            return true;
    }
    return false;
}

uint32_t scheduler_place(const struct scheduler *s, uint32_t account,
                         struct resolver_answer *out)
{
    assert(account < s->account_count && s->accounts[account].state == SCHEDULER_RUNNING);
    sites_answer(s->sites, s->accounts[account].location, out);
    return s->accounts[account].location;
}

static void release(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    struct account *at = &s->accounts[account];
    assert(at->state == SCHEDULER_RUNNING);
    s->servers[at->server].running--;
    session_left(s, at->location, now_ms);
    at->location = NOWHERE;
    leases_give(&s->leases, account);
    offer_mailbox(s, account);
}

void scheduler_leave(struct scheduler *s, uint32_t place, uint64_t now_ms)
{
    session_left(s, place, now_ms);
}

/* Several sessions fail together when a server goes; that is one failure. */
static void block_server(struct scheduler *s, uint32_t server, enum retry retry,
                         uint64_t now_ms)
{
    struct server *at = &s->servers[server];
    if (at->blocked)
        return;
    at->failures++;
    uint64_t delay_ms = retry == RETRY_NEVER
                            ? backoff_jittered(&s->chance, BACKOFF_MAX_MS)
                            : backoff_ms(&s->chance, at->failures, BACKOFF_MAX_MS);
    server_block(s, server, now_ms + delay_ms);
}

static bool is_server_failure(const struct scheduler *s, const struct outcome *outcome)
{
    return s->mode == SCHEDULER_SERVICE && outcome->scope == SCOPE_SERVER &&
           (outcome->retry == RETRY_BACKOFF || outcome->retry == RETRY_NEVER);
}

static void judge_server(struct scheduler *s, uint32_t server,
                         const struct outcome *outcome, uint64_t now_ms)
{
    if (outcome->scope == SCOPE_SERVER)
        server_doubt_location(s, server);
    if (is_server_failure(s, outcome)) {
        block_server(s, server, outcome->retry, now_ms);
    } else if (outcome->scope != SCOPE_PROCESS && outcome->scope != SCOPE_SERVER) {
        /* It answered. */
        s->servers[server].failures = 0;
        server_wake(s, server);
    }
}

/* How long a service leaves the account alone. */
static uint64_t next_delay_ms(struct scheduler *s, uint32_t account,
                              const struct outcome *outcome)
{
    struct account *at = &s->accounts[account];
    if (outcome->retry == RETRY_BACKOFF || outcome->retry == RETRY_NOW) {
        at->failures++;
        return backoff_ms(&s->chance, at->failures,
                          outcome->scope == SCOPE_MAILBOX ? BACKOFF_IN_USE_MAX_MS
                                                          : BACKOFF_MAX_MS);
    }
    at->failures = 0;
    uint64_t delay_ms = interval_ms(s, account);
    if (delay_ms == s->config->accounts[account].poll_ms)
        return backoff_jittered(&s->chance, delay_ms);
    return delay_ms - chance_up_to(&s->chance, delay_ms / BACKOFF_JITTER);
}

static uint64_t asked_delay_ms(const struct outcome *outcome)
{
    uint64_t delay_ms = (uint64_t)outcome->delay_s * SECOND_MS;
    return delay_ms < DELAY_MAX_MS ? delay_ms : DELAY_MAX_MS;
}

/* Whether the account goes on at once, or as soon as its server wants. */
static bool goes_on(struct account *at, const struct outcome *outcome)
{
    if (outcome->retry == RETRY_NOW && at->hasty < NOW_TRIES_MAX) {
        at->hasty++;
        return true;
    }
    at->hasty = 0;
    if (outcome->retry != RETRY_NONE || !outcome->more)
        return false;
    at->failures = 0;
    return true;
}

void scheduler_found(struct scheduler *s, uint32_t account, bool something)
{
    assert(account < s->account_count);
    struct account *at = &s->accounts[account];
    if (something)
        at->quiet = 0;
    else if (at->quiet < QUIET_POLLS_MAX)
        at->quiet++;
}

void scheduler_done(struct scheduler *s, uint32_t account, const struct outcome *outcome,
                    uint64_t now_ms)
{
    assert(account < s->account_count);
    struct account *at = &s->accounts[account];
    release(s, account, now_ms);
    judge_server(s, at->server, outcome, now_ms);

    uint64_t asked_ms = asked_delay_ms(outcome);
    if (goes_on(at, outcome)) {
        make_waiting(s, account, now_ms + asked_ms);
    } else if (s->mode == SCHEDULER_ONCE) {
        finish(s, account);
    } else if (is_server_failure(s, outcome)) {
        /* Nothing against the account: the server's pause is its own. */
        make_waiting(s, account, now_ms + asked_ms);
    } else if (outcome->retry == RETRY_NEVER) {
        at->failures++;
        at->state = SCHEDULER_SUSPENDED;
    } else {
        uint64_t delay_ms = next_delay_ms(s, account, outcome);
        delay_ms = delay_ms > asked_ms ? delay_ms : asked_ms;
        make_waiting(s, account, next_beat_ms(s, now_ms + delay_ms));
    }
    server_enter_ring(s, at->server);
}

void scheduler_hurry(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    assert(account < s->account_count);
    struct account *at = &s->accounts[account];
    if (at->paused || at->state == SCHEDULER_RUNNING || at->state == SCHEDULER_FINISHED)
        return;
    if (at->state == SCHEDULER_WAITING || at->state == SCHEDULER_SUSPENDED)
        make_waiting(s, account, now_ms);
    server_wake(s, at->server);
}

void scheduler_resume(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    assert(account < s->account_count);
    if (s->accounts[account].state == SCHEDULER_SUSPENDED)
        make_waiting(s, account, now_ms);
}

void scheduler_pause(struct scheduler *s, uint32_t account, bool paused)
{
    assert(account < s->account_count && s->mode == SCHEDULER_SERVICE);
    s->accounts[account].paused = paused;
    if (!paused && s->accounts[account].state == SCHEDULER_PAUSED)
        make_ready(s, account);
}

uint64_t scheduler_wait_ms(const struct scheduler *s, uint64_t now_ms)
{
    uint32_t node = 0;
    uint64_t due_ms = 0;
    if (!index_queue_empty(&s->ring))
        return 0;
    if (!due_heap_first(&s->due, &node, &due_ms))
        return SCHEDULER_FOREVER;
    return due_ms > now_ms ? due_ms - now_ms : 0;
}

bool scheduler_finished(const struct scheduler *s)
{
    return s->mode == SCHEDULER_ONCE && s->unfinished == 0;
}

enum scheduler_state scheduler_status(const struct scheduler *s, uint32_t account,
                                      uint64_t *out_due_ms, uint32_t *out_failures)
{
    assert(account < s->account_count);
    *out_due_ms = due_heap_time(&s->due, account);
    *out_failures = s->accounts[account].failures;
    return s->accounts[account].state;
}
