#include "daemon/scheduler.h"

#include "daemon/due_heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS 1000u
#define SPREAD_MAX_MS ((uint64_t)60 * SECOND_MS)    /* of first sessions */
#define BACKOFF_FIRST_MS ((uint64_t)60 * SECOND_MS) /* doubles to: */
#define BACKOFF_MAX_MS ((uint64_t)3600 * SECOND_MS)
#define BACKOFF_IN_USE_MAX_MS ((uint64_t)900 * SECOND_MS) /* Q38 */
#define BACKOFF_DOUBLINGS_MAX 16                          /* keeps the shift small */
#define DELAY_MAX_MS ((uint64_t)86400 * SECOND_MS)        /* a server may ask for no more */
#define NOW_TRIES_MAX 3                                   /* RETRY_NOW in a row */
#define JITTER_DIVISOR 10                                 /* give or take a tenth */
#define NONE UINT32_MAX

/* Accounts or servers in a row, linked through their `next`. */
struct queue {
    uint32_t head, tail;
};

/* 1. state WAITING <=> in the heap. 2. READY <=> in its server's `ready`. 3. PARKED <=> in
 * its lease's `parked`, and the lease is held. 4. RUNNING <=> counted in its server's
 * `running` and its lease's `holders`. 5. PAUSED => paused. */
struct account {
    uint32_t server, lease;
    uint32_t next;
    uint32_t failures; /* in a row */
    uint32_t hasty;    /* RETRY_NOW in a row */
    enum scheduler_state state;
    bool paused; /* it may still stand in a queue: it is dropped when its turn comes */
};

/* 1. Accounts ready and room for one => in the ring. 2. In the ring => accounts ready;
 * there may be no room any more. 3. In the heap <=> blocked. */
struct server {
    struct queue ready;
    uint32_t next;
    uint32_t running;
    uint32_t failures; /* in a row; more than 0: one session at a time */
    bool in_ring, blocked;
};

/* A mailbox that one session at a time may open. */
struct lease {
    struct queue parked;
    uint32_t holders; /* more than 1 only if a reload made two mailboxes one */
};

struct scheduler {
    const struct config *config;
    enum scheduler_mode mode;
    uint64_t random;
    uint32_t account_count, server_count;
    uint32_t unfinished;
    struct account *accounts;
    struct server *servers;
    struct lease *leases;
    struct queue ring;   /* of servers */
    struct due_heap due; /* node i: account i; account_count + i: server i */
};

/* splitmix64 (Steele, Lea, Flood 2014): spreads load, guards nothing. */
static uint64_t next_random(struct scheduler *s)
{
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t jittered(struct scheduler *s, uint64_t delay_ms)
{
    uint64_t part = delay_ms / JITTER_DIVISOR;
    return delay_ms - part + next_random(s) % (2 * part + 1);
}

static uint64_t backoff_ms(struct scheduler *s, uint32_t failures, uint64_t max_ms)
{
    uint32_t doublings = failures > 0 ? failures - 1 : 0;
    if (doublings > BACKOFF_DOUBLINGS_MAX)
        doublings = BACKOFF_DOUBLINGS_MAX;
    uint64_t delay_ms = BACKOFF_FIRST_MS << doublings;
    return jittered(s, delay_ms < max_ms ? delay_ms : max_ms);
}

static void push_account(struct scheduler *s, struct queue *queue, uint32_t account)
{
    s->accounts[account].next = NONE;
    if (queue->head == NONE)
        queue->head = account;
    else
        s->accounts[queue->tail].next = account;
    queue->tail = account;
}

static uint32_t pop_account(struct scheduler *s, struct queue *queue)
{
    uint32_t account = queue->head;
    queue->head = s->accounts[account].next;
    return account;
}

static bool has_room(const struct scheduler *s, uint32_t server)
{
    const struct server *at = &s->servers[server];
    uint32_t limit = at->failures > 0 ? 1 : s->config->servers[server].max_connections;
    return !at->blocked && at->running < limit;
}

/* Put a server at the end of the ring, if it belongs into it and is not there. */
static void enter_ring(struct scheduler *s, uint32_t server)
{
    struct server *at = &s->servers[server];
    if (at->in_ring || at->ready.head == NONE || !has_room(s, server))
        return;
    at->in_ring = true;
    at->next = NONE;
    if (s->ring.head == NONE)
        s->ring.head = server;
    else
        s->servers[s->ring.tail].next = server;
    s->ring.tail = server;
}

static uint32_t leave_ring(struct scheduler *s)
{
    uint32_t server = s->ring.head;
    s->ring.head = s->servers[server].next;
    s->servers[server].in_ring = false;
    return server;
}

static void make_waiting(struct scheduler *s, uint32_t account, uint64_t due_ms)
{
    s->accounts[account].state = SCHEDULER_WAITING;
    due_heap_set(&s->due, account, due_ms);
}

static void make_ready(struct scheduler *s, uint32_t account)
{
    struct account *at = &s->accounts[account];
    at->state = SCHEDULER_READY;
    push_account(s, &s->servers[at->server].ready, account);
    enter_ring(s, at->server);
}

static void make_running(struct scheduler *s, uint32_t account)
{
    struct account *at = &s->accounts[account];
    at->state = SCHEDULER_RUNNING;
    s->leases[at->lease].holders++;
    s->servers[at->server].running++;
}

static void finish(struct scheduler *s, uint32_t account)
{
    s->accounts[account].state = SCHEDULER_FINISHED;
    s->unfinished--;
}

static int compare_mailboxes(const void *a, const void *b, void *scheduler)
{
    const struct config_account *accounts =
        ((const struct scheduler *)scheduler)->config->accounts;
    const struct config_account *x = &accounts[*(const uint32_t *)a];
    const struct config_account *y = &accounts[*(const uint32_t *)b];
    int order = strcasecmp(x->server->host, y->server->host);
    if (order == 0)
        order = (int)x->server->port - (int)y->server->port;
    return order != 0 ? order : strcmp(x->user, y->user);
}

/* Give each account the lease of its mailbox. */
static int assign_leases(struct scheduler *s)
{
    uint32_t *sorted = calloc((size_t)s->account_count + 1, sizeof(*sorted));
    if (sorted == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->account_count; i++)
        sorted[i] = i;
    if (s->account_count > 1)
        qsort_r(sorted, s->account_count, sizeof(*sorted), compare_mailboxes, s);
    uint32_t lease = 0;
    for (uint32_t i = 0; i < s->account_count; i++) {
        if (i > 0 && compare_mailboxes(&sorted[i - 1], &sorted[i], s) != 0)
            lease++;
        s->accounts[sorted[i]].lease = lease;
    }
    free(sorted);
    return 0;
}

static int allocate(struct scheduler *s)
{
    /* One more than needed: calloc(0) may be NULL. */
    s->accounts = calloc((size_t)s->account_count + 1, sizeof(*s->accounts));
    s->leases = calloc((size_t)s->account_count + 1, sizeof(*s->leases));
    s->servers = calloc((size_t)s->server_count + 1, sizeof(*s->servers));
    if (s->accounts == NULL || s->leases == NULL || s->servers == NULL)
        return -ENOMEM;
    int err = due_heap_init(&s->due, s->account_count + s->server_count);
    return err != 0 ? err : assign_leases(s);
}

static void start_account(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    const struct config_account *from = &s->config->accounts[account];
    uint64_t spread_ms = from->poll_ms < SPREAD_MAX_MS ? from->poll_ms : SPREAD_MAX_MS;
    if (s->mode == SCHEDULER_ONCE)
        spread_ms = 0;
    make_waiting(s, account, now_ms + next_random(s) % (spread_ms + 1));
    s->unfinished++;
}

int scheduler_new(const struct config *config, const bool *selected,
                  enum scheduler_mode mode, uint64_t seed, uint64_t now_ms,
                  struct scheduler **out)
{
    assert(config->account_count + config->server_count < NONE);
    struct scheduler *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->config = config;
    s->mode = mode;
    s->random = seed;
    s->account_count = (uint32_t)config->account_count;
    s->server_count = (uint32_t)config->server_count;
    s->ring.head = NONE;
    int err = allocate(s);
    if (err != 0) {
        scheduler_free(s);
        return err;
    }
    for (uint32_t i = 0; i < s->server_count; i++)
        s->servers[i].ready.head = NONE;
    for (uint32_t i = 0; i < s->account_count; i++) {
        s->leases[i].parked.head = NONE;
        s->accounts[i].server = (uint32_t)(config->accounts[i].server - config->servers);
        if (selected == NULL || selected[i])
            start_account(s, i, now_ms);
        else
            s->accounts[i].state = SCHEDULER_FINISHED;
    }
    *out = s;
    return 0;
}

void scheduler_free(struct scheduler *s)
{
    if (s == NULL)
        return;
    due_heap_free(&s->due);
    free(s->accounts);
    free(s->leases);
    free(s->servers);
    free(s);
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
    if (from->state == SCHEDULER_RUNNING) {
        due_heap_remove(&s->due, account);
        make_running(s, account);
        return;
    }
    uint64_t due_ms = now_ms;
    if (from->state == SCHEDULER_WAITING)
        due_ms = due_heap_time(&old->due, old_account);
    /* A shorter `poll` counts from now on; a back-off stays what it is. */
    uint64_t poll_ms = s->config->accounts[account].poll_ms;
    if (from->failures == 0 && due_ms > now_ms + poll_ms + poll_ms / JITTER_DIVISOR)
        due_ms = now_ms + jittered(s, poll_ms);
    make_waiting(s, account, due_ms);
}

void scheduler_adopt(struct scheduler *s, const struct scheduler *old, uint64_t now_ms)
{
    /* Both are sorted by name. */
    for (uint32_t i = 0, j = 0; i < s->account_count && j < old->account_count;) {
        int order = strcmp(s->config->accounts[i].name, old->config->accounts[j].name);
        if (order == 0)
            adopt_account(s, i, old, j, now_ms);
        i += order <= 0;
        j += order >= 0;
    }
}

static void wake_server(struct scheduler *s, uint32_t server)
{
    s->servers[server].blocked = false;
    due_heap_remove(&s->due, s->account_count + server);
    enter_ring(s, server);
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
            wake_server(s, node - s->account_count);
    }
}

/* A mailbox that nobody has goes to the first who waits for it. */
static void offer_mailbox(struct scheduler *s, struct lease *lease)
{
    if (lease->holders == 0 && lease->parked.head != NONE)
        make_ready(s, pop_account(s, &lease->parked));
}

/* Its turn has come: it runs, true; or it is paused, or its mailbox is in use. */
static bool take_turn(struct scheduler *s, uint32_t account)
{
    struct lease *lease = &s->leases[s->accounts[account].lease];
    if (s->accounts[account].paused) {
        s->accounts[account].state = SCHEDULER_PAUSED;
        offer_mailbox(s, lease);
        return false;
    }
    if (lease->holders > 0) {
        s->accounts[account].state = SCHEDULER_PARKED;
        push_account(s, &lease->parked, account);
        return false;
    }
    make_running(s, account);
    return true;
}

bool scheduler_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_account)
{
    take_due(s, now_ms);
    while (s->ring.head != NONE) {
        uint32_t server = leave_ring(s);
        if (!has_room(s, server))
            continue; /* blocked since; it comes back when it is woken */
        uint32_t account = pop_account(s, &s->servers[server].ready);
        bool runs = take_turn(s, account);
        enter_ring(s, server);
        if (runs) {
            *out_account = account;
            return true;
        }
    }
    return false;
}

static void release(struct scheduler *s, uint32_t account)
{
    struct account *at = &s->accounts[account];
    struct lease *lease = &s->leases[at->lease];
    assert(at->state == SCHEDULER_RUNNING);
    s->servers[at->server].running--;
    lease->holders--;
    offer_mailbox(s, lease);
}

/* Several sessions fail together when a server goes; that is one failure. */
static void block_server(struct scheduler *s, uint32_t server, enum retry retry,
                         uint64_t now_ms)
{
    struct server *at = &s->servers[server];
    if (at->blocked)
        return;
    at->failures++;
    at->blocked = true;
    uint64_t delay_ms = retry == RETRY_NEVER ? jittered(s, BACKOFF_MAX_MS)
                                             : backoff_ms(s, at->failures, BACKOFF_MAX_MS);
    due_heap_set(&s->due, s->account_count + server, now_ms + delay_ms);
}

static bool is_server_failure(const struct scheduler *s, const struct outcome *outcome)
{
    return s->mode == SCHEDULER_SERVICE && outcome->scope == SCOPE_SERVER &&
           (outcome->retry == RETRY_BACKOFF || outcome->retry == RETRY_NEVER);
}

static void judge_server(struct scheduler *s, uint32_t server,
                         const struct outcome *outcome, uint64_t now_ms)
{
    if (is_server_failure(s, outcome)) {
        block_server(s, server, outcome->retry, now_ms);
    } else if (outcome->scope != SCOPE_PROCESS && outcome->scope != SCOPE_SERVER) {
        /* It answered. */
        s->servers[server].failures = 0;
        wake_server(s, server);
    }
}

/* How long a service leaves the account alone. */
static uint64_t next_delay_ms(struct scheduler *s, uint32_t account,
                              const struct outcome *outcome)
{
    struct account *at = &s->accounts[account];
    if (outcome->retry == RETRY_BACKOFF || outcome->retry == RETRY_NOW) {
        at->failures++;
        return backoff_ms(s, at->failures,
                          outcome->scope == SCOPE_MAILBOX ? BACKOFF_IN_USE_MAX_MS
                                                          : BACKOFF_MAX_MS);
    }
    at->failures = 0;
    return jittered(s, s->config->accounts[account].poll_ms);
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

void scheduler_done(struct scheduler *s, uint32_t account, const struct outcome *outcome,
                    uint64_t now_ms)
{
    assert(account < s->account_count);
    struct account *at = &s->accounts[account];
    release(s, account);
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
        make_waiting(s, account, now_ms + (delay_ms > asked_ms ? delay_ms : asked_ms));
    }
    enter_ring(s, at->server);
}

void scheduler_hurry(struct scheduler *s, uint32_t account, uint64_t now_ms)
{
    assert(account < s->account_count);
    struct account *at = &s->accounts[account];
    if (at->paused || at->state == SCHEDULER_RUNNING || at->state == SCHEDULER_FINISHED)
        return;
    if (at->state == SCHEDULER_WAITING || at->state == SCHEDULER_SUSPENDED)
        make_waiting(s, account, now_ms);
    wake_server(s, at->server);
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
    if (s->ring.head != NONE)
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

uint32_t scheduler_server_running(const struct scheduler *s, uint32_t server)
{
    assert(server < s->server_count);
    return s->servers[server].running;
}

uint64_t scheduler_server_blocked_ms(const struct scheduler *s, uint32_t server)
{
    assert(server < s->server_count);
    return s->servers[server].blocked ? due_heap_time(&s->due, s->account_count + server)
                                      : 0;
}
