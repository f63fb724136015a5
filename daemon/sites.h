/* Where servers are, and how many sessions may be there: Q46's cap an address.
 *
 * A site is an address and a port, where 110 and 995 are one: the two doors of one POP3
 * service. An IPv4 address written as an IPv6 one is the IPv4 one. A location is where one
 * server was found by one look-up: the sites of all its addresses, or none and the reason.
 *
 * - A session counts at every site of the location that it was begun with, as it may be
 * connected to any, until it ends; wherever its server is found meanwhile.
 * - A site's limit is the lowest of the limits of the servers that are there.
 * - A paced site sees within any minute at most SITES_LOGINS_A_MINUTE and
 * SITES_LOGINS_BURST times its limit; more only if what its servers' accounts ask for
 * together (`poll`) is more: then twice that, and the burst.
 *
 * Servers that wait for room stand in their site's row: who puts them there, and takes them
 * out, is the scheduler. A data structure without clock, socket or thread. One thread. */
#ifndef MAILCASK_DAEMON_SITES_H
#define MAILCASK_DAEMON_SITES_H

#include "daemon/index_queue.h"
#include "workers/resolver.h"

#include <stdbool.h>
#include <stdint.h>

#define SITES_FOREVER UINT64_MAX
#define SITES_LOGINS_A_MINUTE 60u /* for each connection that is allowed */
#define SITES_LOGINS_BURST 4u     /* the same: so many of them may come at once */

struct sites;

/* What a server allows, and what its accounts want. */
struct site_terms {
    uint32_t limit;  /* sessions at once, 1 or more */
    uint64_t wanted; /* logins in a thousand minutes */
};

/* How a site is used now. */
struct site_use {
    uint32_t running, limit;
    uint32_t servers; /* found there */
};

/* A port, or for both of POP3's the one that stands for them. */
uint16_t sites_service(uint16_t port);

/* paced: whether logins a minute are limited. 0 or -ENOMEM. */
int sites_new(bool paced, struct sites **out);
void sites_free(struct sites *s);

/* A server was found, or not: answer->err. *out_location is its own, until sites_leave(). 0
 * or -ENOMEM. */
int sites_locate(struct sites *s, const struct resolver_answer *answer, uint16_t port,
                 const struct site_terms *terms, uint32_t *out_location);

/* The server is elsewhere now, or gone. Its sessions still count; the location itself goes
 * with sites_drop(). */
void sites_leave(struct sites *s, uint32_t location);
void sites_drop(struct sites *s, uint32_t location);

/* After a reload: other terms, and nobody waits. */
void sites_set_terms(struct sites *s, uint32_t location, const struct site_terms *terms);
void sites_forget_waiting(struct sites *s);

/* A session of the location begins, and ends. */
void sites_begin(struct sites *s, uint32_t location, uint64_t now_ms);
void sites_end(struct sites *s, uint32_t location);

/* What a session needs to know. */
void sites_answer(const struct sites *s, uint32_t location, struct resolver_answer *out);

/* The sites of a location. out has room for RESOLVER_ADDRESSES_MAX. Returns how many. */
uint32_t sites_of(const struct sites *s, uint32_t location, uint32_t *out);

/* Whether another session may begin at a site. If not, *out_until_ms is when, SITES_FOREVER
 * if one must end first. */
bool sites_room(const struct sites *s, uint32_t site, uint64_t now_ms,
                uint64_t *out_until_ms);

/* A site's row of waiting servers; valid until the next sites_locate(). */
struct index_queue *sites_waiting(struct sites *s, uint32_t site);

struct site_use sites_use(const struct sites *s, uint32_t site);

/* Sites are numbered from 0 to below this. Grows with sites_locate() only. */
uint32_t sites_bound(const struct sites *s);

#endif
