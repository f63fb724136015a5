#include "daemon/scheduler_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a look-up found is good for as long as most answers of the DNS are, or until the
 * server fails. */
#define FOUND_KEPT_MS ((uint64_t)300 * SECOND_MS)
#define NOT_FOUND_KEPT_MS ((uint64_t)5 * SECOND_MS)
#define NO_MEMORY_PAUSE_MS ((uint64_t)60 * SECOND_MS)
#define WANTED_MINUTES_MS                                          \
    ((uint64_t)1000 * 60 * SECOND_MS) /* unit of site_terms.wanted \
                                       */

static int compare_doors(const void *a, const void *b, void *config)
{
    const struct config_server *servers = ((const struct config *)config)->servers;
    const struct config_server *x = &servers[*(const uint32_t *)a];
    const struct config_server *y = &servers[*(const uint32_t *)b];
    int order = strcasecmp(x->host, y->host);
    return order != 0 ? order : (int)sites_service(x->port) - (int)sites_service(y->port);
}

/* Sections of one host share their limit from the first session on; what else leads to one
 * address shows when it is looked up. */
static void share_limits(struct scheduler *s, const uint32_t *sorted, uint32_t count)
{
    struct config config = *s->config; /* qsort_r() takes no const */
    for (uint32_t i = 0, end = 0; i < count; i = end) {
        uint32_t limit = UINT32_MAX;
        for (end = i; end < count; end++) {
            if (compare_doors(&sorted[i], &sorted[end], &config) != 0)
                break;
            uint32_t own = s->config->servers[sorted[end]].max_connections;
            limit = own < limit ? own : limit;
        }
        for (uint32_t k = i; k < end; k++)
            s->servers[sorted[k]].terms.limit = limit;
    }
}

static int set_limits(struct scheduler *s)
{
    uint32_t *sorted = calloc((size_t)s->server_count + 1, sizeof(*sorted)), count = 0;
    struct config config = *s->config;
    if (sorted == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->server_count; i++)
        if (s->servers[i].accounts > 0)
            sorted[count++] = i;
    if (count > 1)
        qsort_r(sorted, count, sizeof(*sorted), compare_doors, &config);
    share_limits(s, sorted, count);
    free(sorted);
    return 0;
}

int servers_init(struct scheduler *s)
{
    /* One more than needed: calloc(0) may be NULL. */
    s->servers = calloc((size_t)s->server_count + 1, sizeof(*s->servers));
    s->server_next = calloc((size_t)s->server_count + 1, sizeof(*s->server_next));
    if (s->servers == NULL || s->server_next == NULL)
        return -ENOMEM;
    s->ring = s->unlocated = INDEX_QUEUE_EMPTY;
    for (uint32_t i = 0; i < s->server_count; i++) {
        s->servers[i].ready = INDEX_QUEUE_EMPTY;
        s->servers[i].location = NOWHERE;
    }
    for (uint32_t i = 0; i < s->account_count; i++) {
        struct server *server = &s->servers[s->accounts[i].server];
        server->accounts++;
        server->terms.wanted += WANTED_MINUTES_MS / s->config->accounts[i].poll_ms;
    }
    int err = set_limits(s);
    return err != 0 ? err : sites_new(s->mode == SCHEDULER_SERVICE, &s->sites);
}

void servers_free(struct scheduler *s)
{
    sites_free(s->sites);
    free(s->servers);
    free(s->server_next);
}

static bool has_room(const struct scheduler *s, uint32_t server)
{
    const struct server *at = &s->servers[server];
    uint32_t limit = at->failures > 0 ? 1 : s->config->servers[server].max_connections;
    return !at->blocked && at->running < limit;
}

void server_enter_ring(struct scheduler *s, uint32_t server)
{
    struct server *at = &s->servers[server];
    if (at->place != PLACE_NONE || index_queue_empty(&at->ready) || !has_room(s, server))
        return;
    at->place = PLACE_RING;
    index_queue_push(&s->ring, s->server_next, server);
}

/* Sites */

static uint32_t site_node(const struct scheduler *s, uint32_t site)
{
    return s->account_count + s->server_count + site;
}

/* Room at a site is for the first of those who wait there. It passes the rest of it on,
 * used or not, when it has had its turn; so there is no herd. */
static void offer_site(struct scheduler *s, uint32_t site, uint64_t now_ms)
{
    struct index_queue *waiting = sites_waiting(s->sites, site);
    uint64_t until_ms = 0;
    while (!index_queue_empty(waiting)) {
        if (!sites_room(s->sites, site, now_ms, &until_ms)) {
            if (until_ms != SITES_FOREVER)
                due_heap_set(&s->due, site_node(s, site), until_ms);
            return;
        }
        uint32_t server = index_queue_pop(waiting, s->server_next);
        s->servers[server].place = PLACE_NONE;
        server_enter_ring(s, server);
        if (s->servers[server].place == PLACE_RING)
            return;
    }
}

static void offer_sites(struct scheduler *s, const uint32_t *sites, uint32_t count,
                        uint64_t now_ms)
{
    for (uint32_t i = 0; i < count; i++)
        offer_site(s, sites[i], now_ms);
}

static void offer_location(struct scheduler *s, uint32_t location, uint64_t now_ms)
{
    uint32_t sites[RESOLVER_ADDRESSES_MAX];
    offer_sites(s, sites, sites_of(s->sites, location, sites), now_ms);
}

/* Whether all its sites have room; else it waits at the first that has none. */
static bool find_room(struct scheduler *s, uint32_t server, uint64_t now_ms)
{
    struct server *at = &s->servers[server];
    uint32_t sites[RESOLVER_ADDRESSES_MAX];
    uint32_t count = sites_of(s->sites, at->location, sites);
    uint64_t until_ms = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (sites_room(s->sites, sites[i], now_ms, &until_ms))
            continue;
        at->place = PLACE_SITE;
        index_queue_push(sites_waiting(s->sites, sites[i]), s->server_next, server);
        return false;
    }
    return true;
}

/* Where servers are */

static bool is_found(const struct server *at, uint64_t now_ms)
{
    return at->location != NOWHERE && now_ms < at->found_until_ms;
}

void server_look_up(struct scheduler *s, uint32_t server)
{
    struct server *at = &s->servers[server];
    if (at->place != PLACE_NONE)
        return;
    at->place = PLACE_LOOKUP;
    index_queue_push(&s->unlocated, s->server_next, server);
}

bool scheduler_lookup(struct scheduler *s, uint32_t *out_server)
{
    if (index_queue_empty(&s->unlocated))
        return false;
    *out_server = index_queue_pop(&s->unlocated, s->server_next);
    return true;
}

static void leave_location(struct scheduler *s, uint32_t location, uint64_t now_ms)
{
    if (location == NOWHERE)
        return;
    sites_leave(s->sites, location);
    /* Its low limit may have been all that kept others from beginning. */
    offer_location(s, location, now_ms);
    sites_drop(s->sites, location);
}

void scheduler_located(struct scheduler *s, uint32_t server,
                       const struct resolver_answer *answer, uint64_t now_ms)
{
    assert(server < s->server_count);
    struct server *at = &s->servers[server];
    assert(at->place == PLACE_LOOKUP);
    uint32_t location = NOWHERE;
    int err = sites_locate(s->sites, answer, s->config->servers[server].port, &at->terms,
                           &location);
    /* Before a site is used there is a node for it. */
    if (err == 0)
        err = due_heap_grow(&s->due, site_node(s, sites_bound(s->sites)));
    leave_location(s, at->location, now_ms);
    if (err != 0 && location != NOWHERE) {
        leave_location(s, location, now_ms);
        location = NOWHERE;
    }
    at->location = location;
    at->place = PLACE_NONE;
    at->found_until_ms = now_ms + (answer->err == 0 ? FOUND_KEPT_MS : NOT_FOUND_KEPT_MS);
    if (err != 0)
        server_block(s, server, now_ms + NO_MEMORY_PAUSE_MS);
    server_enter_ring(s, server);
}

void server_doubt_location(struct scheduler *s, uint32_t server)
{
    s->servers[server].found_until_ms = 0;
}

/* Turns */

bool server_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_server)
{
    while (!index_queue_empty(&s->ring)) {
        uint32_t server = index_queue_pop(&s->ring, s->server_next);
        struct server *at = &s->servers[server];
        at->place = PLACE_NONE;
        if (has_room(s, server) && !is_found(at, now_ms)) {
            server_look_up(s, server);
        } else if (has_room(s, server) && find_room(s, server, now_ms)) {
            *out_server = server;
            return true;
        }
        server_turned(s, server, now_ms);
    }
    return false;
}

void server_turned(struct scheduler *s, uint32_t server, uint64_t now_ms)
{
    server_enter_ring(s, server);
    if (s->servers[server].location != NOWHERE)
        offer_location(s, s->servers[server].location, now_ms);
}

void session_came(struct scheduler *s, uint32_t server, uint64_t now_ms,
                  uint32_t *out_location)
{
    struct server *at = &s->servers[server];
    at->running++;
    *out_location = at->location;
    sites_begin(s->sites, at->location, now_ms);
}

void session_left(struct scheduler *s, uint32_t location, uint64_t now_ms)
{
    uint32_t sites[RESOLVER_ADDRESSES_MAX];
    uint32_t count = sites_of(s->sites, location, sites);
    sites_end(s->sites, location);
    offer_sites(s, sites, count, now_ms);
}

void server_wake(struct scheduler *s, uint32_t server)
{
    s->servers[server].blocked = false;
    due_heap_remove(&s->due, s->account_count + server);
    server_enter_ring(s, server);
}

void server_block(struct scheduler *s, uint32_t server, uint64_t until_ms)
{
    s->servers[server].blocked = true;
    due_heap_set(&s->due, s->account_count + server, until_ms);
}

void server_node_due(struct scheduler *s, uint32_t node, uint64_t now_ms)
{
    if (node < s->account_count + s->server_count)
        server_wake(s, node - s->account_count);
    else
        offer_site(s, node - s->account_count - s->server_count, now_ms);
}

/* Reloads */

/* What was found of a server holds for one of the same host and port. One that has lost all
 * its accounts has no terms, which would let nobody else in. */
static bool adopt_location(struct scheduler *s, const struct scheduler *old, uint32_t from)
{
    const struct config_server *before = &old->config->servers[from];
    const struct config_server *now = config_find_server(s->config, before->name);
    if (now == NULL || now->port != before->port ||
        strcasecmp(now->host, before->host) != 0)
        return false;
    struct server *to = &s->servers[now - s->config->servers];
    if (to->accounts == 0)
        return false;
    to->location = old->servers[from].location;
    to->found_until_ms = old->servers[from].found_until_ms;
    sites_set_terms(s->sites, to->location, &to->terms);
    return true;
}

int servers_adopt(struct scheduler *s, struct scheduler *old)
{
    int err = due_heap_grow(&s->due, site_node(s, sites_bound(old->sites)));
    if (err != 0)
        return err;
    struct sites *unused = s->sites;
    s->sites = old->sites;
    old->sites = unused;
    sites_forget_waiting(s->sites);
    for (uint32_t i = 0; i < old->server_count; i++) {
        uint32_t location = old->servers[i].location;
        if (location == NOWHERE || adopt_location(s, old, i))
            continue;
        sites_leave(s->sites, location);
        sites_drop(s->sites, location);
    }
    return 0;
}

/* For the status */

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

bool scheduler_server_site(const struct scheduler *s, uint32_t server, struct site_use *out)
{
    assert(server < s->server_count);
    uint32_t location = s->servers[server].location, sites[RESOLVER_ADDRESSES_MAX];
    if (location == NOWHERE)
        return false;
    uint32_t count = sites_of(s->sites, location, sites);
    for (uint32_t i = 0; i < count; i++) {
        struct site_use use = sites_use(s->sites, sites[i]);
        if (i == 0 ||
            (uint64_t)use.running * out->limit > (uint64_t)out->running * use.limit)
            *out = use;
    }
    return count > 0;
}

enum scheduler_wait scheduler_waits_for(const struct scheduler *s, uint32_t account)
{
    assert(account < s->account_count);
    const struct server *at = &s->servers[s->accounts[account].server];
    struct site_use use;
    if (s->accounts[account].state != SCHEDULER_READY)
        return SCHEDULER_WAITS_FOR_NOTHING;
    if (at->blocked)
        return SCHEDULER_WAITS_FOR_SERVER;
    if (!has_room(s, s->accounts[account].server))
        return SCHEDULER_WAITS_FOR_CONNECTION;
    if (at->place == PLACE_LOOKUP)
        return SCHEDULER_WAITS_FOR_LOOKUP;
    if (at->place != PLACE_SITE ||
        !scheduler_server_site(s, s->accounts[account].server, &use))
        return SCHEDULER_WAITS_FOR_TURN;
    return use.running >= use.limit ? SCHEDULER_WAITS_FOR_ADDRESS
                                    : SCHEDULER_WAITS_FOR_PACE;
}
