/* What the scheduler's two halves share: scheduler.c has the accounts, when each is due and
 * what its sessions' ends mean; scheduler_servers.c the servers, whose turn it is and
 * whether there is room. For these two only. */
#ifndef MAILCASK_DAEMON_SCHEDULER_INTERNAL_H
#define MAILCASK_DAEMON_SCHEDULER_INTERNAL_H

#include "daemon/backoff.h"
#include "daemon/due_heap.h"
#include "daemon/index_queue.h"
#include "daemon/leases.h"
#include "daemon/scheduler.h"
#include "daemon/sites.h"

#define SECOND_MS 1000u
#define NOWHERE INDEX_NONE /* no location */

/* 1. state WAITING <=> in the heap. 2. READY <=> in its server's `ready`. 3. PARKED <=>
 * parked with its lease. 4. RUNNING <=> counted in its server's `running`, its lease and
 * `location`. 5. PAUSED => paused. */
struct account {
    uint32_t server;
    uint32_t location; /* where its session is; NOWHERE: it does not run */
    uint32_t failures; /* in a row */
    uint32_t hasty;    /* RETRY_NOW in a row */
    uint32_t quiet;    /* sessions in a row that brought nothing, to QUIET_POLLS_MAX */
    enum scheduler_state state;
    bool paused; /* it may still stand in a queue: it is dropped when its turn comes */
};

enum server_place {
    PLACE_NONE,
    PLACE_RING,   /* its turn comes */
    PLACE_SITE,   /* waits for room at one of its sites */
    PLACE_LOOKUP, /* waits to be looked up, or for the answer */
};

/* 1. Accounts ready and room for one => in some place. 2. In the ring => accounts ready;
 * there may be no room any more. 3. In the heap <=> blocked. */
struct server {
    struct index_queue ready;
    uint32_t accounts;
    uint32_t running;
    uint32_t failures; /* in a row; more than 0: one session at a time */
    uint32_t location; /* where it was found last, or NOWHERE */
    uint64_t found_until_ms;
    struct site_terms terms;
    enum server_place place;
    bool blocked;
};

/* Somebody waits at a site whose number of sessions would allow another => its node is in
 * the heap for when its pace does. */
struct scheduler {
    const struct config *config;
    enum scheduler_mode mode;
    struct chance chance;
    uint32_t account_count, server_count;
    uint32_t unfinished;
    struct account *accounts;
    struct server *servers;
    uint32_t *account_next, *server_next; /* of the rows they stand in */
    struct leases leases;
    struct sites *sites;
    struct index_queue ring, unlocated; /* of servers */
    struct due_heap due; /* node i: account i; then the servers; then the sites */
};

int servers_init(struct scheduler *s);
void servers_free(struct scheduler *s);

/* See scheduler_adopt(). */
int servers_adopt(struct scheduler *s, struct scheduler *old);

/* It is to be looked up, unless it stands somewhere. */
void server_look_up(struct scheduler *s, uint32_t server);

/* Let it take its turn, if it has accounts ready and room, and stands nowhere else. */
void server_enter_ring(struct scheduler *s, uint32_t server);

/* The next server that may begin a session now. What was done with its turn, a session
 * begun or not, is to be told to server_turned(). False: none. */
bool server_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_server);
void server_turned(struct scheduler *s, uint32_t server, uint64_t now_ms);

/* A session of one of its accounts begins where the server was found last; *out_location is
 * where, for session_left(). */
void session_came(struct scheduler *s, uint32_t server, uint64_t now_ms,
                  uint32_t *out_location);
void session_left(struct scheduler *s, uint32_t location, uint64_t now_ms);

/* It answered; or its time has come; or someone insists. */
void server_wake(struct scheduler *s, uint32_t server);
/* Its accounts are held back for so long. */
void server_block(struct scheduler *s, uint32_t server, uint64_t until_ms);
/* Before its next session it is looked up again. */
void server_doubt_location(struct scheduler *s, uint32_t server);

/* The time of a node behind the accounts has come. */
void server_node_due(struct scheduler *s, uint32_t node, uint64_t now_ms);

#endif
