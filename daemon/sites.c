#include "daemon/sites.h"

#include "archive/digest.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384u /* chains stay short up to as many sites */
#define FIRST_ROOM 64u
#define KEY_SIZE 24
#define POP3_PORT 110
#define POP3S_PORT 995
#define MINUTE_US ((uint64_t)60 * 1000 * 1000)
#define WANTED_UNIT 1000u  /* minutes */
#define WANTED_ALLOWANCE 2 /* times what the accounts ask for */

/* What tells sites apart: family, address, scope, service; zeros between. */
struct key {
    uint8_t bytes[KEY_SIZE];
};

/* 1. servers + running > 0 <=> in its bucket; else in the list of free ones. 2. Somebody
 * waits => servers > 0. */
struct site {
    struct key key;
    uint32_t next; /* in its bucket, or among the free */
    uint32_t running, limit;
    uint32_t servers;
    uint64_t wanted;  /* of these servers */
    uint64_t full_us; /* by then all logins so far are as if they had come evenly */
    struct index_queue waiting;
};

/* In use while left is false or sessions > 0. */
struct location {
    uint32_t sites[RESOLVER_ADDRESSES_MAX];
    uint32_t count;
    uint32_t sessions;
    uint32_t next; /* among the free */
    uint16_t port;
    bool left;
    int err;
    const char *text;
    struct site_terms terms;
};

struct sites {
    bool paced;
    struct site *all;
    struct location *locations;
    uint32_t bound, room, free; /* of all */
    uint32_t location_bound, location_room, location_free;
    uint32_t buckets[BUCKETS];
};

int sites_new(bool paced, struct sites **out)
{
    struct sites *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->paced = paced;
    s->free = s->location_free = INDEX_NONE;
    for (uint32_t i = 0; i < BUCKETS; i++)
        s->buckets[i] = INDEX_NONE;
    *out = s;
    return 0;
}

void sites_free(struct sites *s)
{
    if (s == NULL)
        return;
    free(s->all);
    free(s->locations);
    free(s);
}

/* The array with room for so many elements, NULL if memory runs out. */
static void *reserve(void *array, uint32_t *room, uint32_t needed, size_t size)
{
    uint32_t more = *room > 0 ? *room : FIRST_ROOM;
    if (needed <= *room)
        return array;
    while (more < needed)
        more *= 2;
    void *grown = realloc(array, more * size);
    if (grown != NULL)
        *room = more;
    return grown;
}

/* Keys and addresses */

static void put_number(uint8_t *to, uint32_t number, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(number >> (8 * i));
}

static uint32_t get_number(const uint8_t *from, size_t size)
{
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++)
        number |= (uint32_t)from[i] << (8 * i);
    return number;
}

uint16_t sites_service(uint16_t port)
{
    return port == POP3_PORT ? POP3S_PORT : port;
}

static struct key key_of(const struct resolver_address *a, uint16_t port)
{
    struct key key = {{0}};
    uint8_t *b = key.bytes;
    put_number(b + 21, sites_service(port), 2);
    if (a->address.ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, &a->address, sizeof(in));
        b[0] = 4;
        memcpy(b + 1, &in.sin_addr, sizeof(in.sin_addr));
        return key;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, &a->address, sizeof(in6));
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        b[0] = 4;
        memcpy(b + 1, in6.sin6_addr.s6_addr + 12, 4);
        return key;
    }
    b[0] = 6;
    memcpy(b + 1, &in6.sin6_addr, sizeof(in6.sin6_addr));
    put_number(b + 17, in6.sin6_scope_id, 4);
    return key;
}

static void put_address(const struct key *key, uint16_t port, struct resolver_address *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    *out = (struct resolver_address){.size = 0};
    if (key->bytes[0] == 4) {
        memcpy(&in.sin_addr, key->bytes + 1, sizeof(in.sin_addr));
        memcpy(&out->address, &in, sizeof(in));
        out->size = sizeof(in);
        return;
    }
    memcpy(&in6.sin6_addr, key->bytes + 1, sizeof(in6.sin6_addr));
    in6.sin6_scope_id = get_number(key->bytes + 17, 4);
    memcpy(&out->address, &in6, sizeof(in6));
    out->size = sizeof(in6);
}

/* Sites */

static uint32_t *bucket_of(struct sites *s, const struct key *key)
{
    return &s->buckets[checksum64(key->bytes, sizeof(key->bytes), 0) % BUCKETS];
}

/* The site of a key, made if there is none; there must be room. */
static uint32_t find_site(struct sites *s, const struct key *key)
{
    uint32_t *bucket = bucket_of(s, key);
    for (uint32_t i = *bucket; i != INDEX_NONE; i = s->all[i].next)
        if (memcmp(&s->all[i].key, key, sizeof(*key)) == 0)
            return i;
    uint32_t site = s->free;
    if (site != INDEX_NONE)
        s->free = s->all[site].next;
    else
        site = s->bound++;
    s->all[site] = (struct site){
        .key = *key, .next = *bucket, .limit = UINT32_MAX, .waiting = INDEX_QUEUE_EMPTY};
    *bucket = site;
    return site;
}

static void forget_site_if_unused(struct sites *s, uint32_t site)
{
    struct site *at = &s->all[site];
    if (at->servers > 0 || at->running > 0)
        return;
    uint32_t *link = bucket_of(s, &at->key);
    while (*link != site)
        link = &s->all[*link].next;
    *link = at->next;
    at->next = s->free;
    s->free = site;
}

/* After a server of the lowest limit has gone. */
static uint32_t lowest_limit(const struct sites *s, uint32_t site)
{
    uint32_t limit = UINT32_MAX;
    if (s->all[site].servers == 0)
        return limit;
    for (uint32_t i = 0; i < s->location_bound; i++) {
        const struct location *at = &s->locations[i];
        for (uint32_t k = 0; !at->left && k < at->count; k++)
            if (at->sites[k] == site && at->terms.limit < limit)
                limit = at->terms.limit;
    }
    return limit;
}

static void arrive(struct sites *s, struct location *at)
{
    for (uint32_t i = 0; i < at->count; i++) {
        struct site *site = &s->all[at->sites[i]];
        site->servers++;
        site->wanted += at->terms.wanted;
        if (at->terms.limit < site->limit)
            site->limit = at->terms.limit;
    }
}

/* at->left says by now whether it is for good. */
static void depart(struct sites *s, struct location *at)
{
    for (uint32_t i = 0; i < at->count; i++) {
        struct site *site = &s->all[at->sites[i]];
        site->servers--;
        site->wanted -= at->terms.wanted;
        if (site->limit == at->terms.limit)
            site->limit = lowest_limit(s, at->sites[i]);
    }
}

/* Locations */

static bool has_site(const struct location *at, uint32_t site)
{
    for (uint32_t i = 0; i < at->count; i++)
        if (at->sites[i] == site)
            return true;
    return false;
}

static int make_room(struct sites *s)
{
    struct site *all =
        reserve(s->all, &s->room, s->bound + RESOLVER_ADDRESSES_MAX, sizeof(*all));
    if (all == NULL)
        return -ENOMEM;
    s->all = all;
    struct location *locations =
        reserve(s->locations, &s->location_room, s->location_bound + 1, sizeof(*locations));
    if (locations == NULL)
        return -ENOMEM;
    s->locations = locations;
    return 0;
}

int sites_locate(struct sites *s, const struct resolver_answer *answer, uint16_t port,
                 const struct site_terms *terms, uint32_t *out_location)
{
    int err = make_room(s);
    if (err != 0)
        return err;
    uint32_t location = s->location_free;
    if (location != INDEX_NONE)
        s->location_free = s->locations[location].next;
    else
        location = s->location_bound++;
    struct location *at = &s->locations[location];
    *at = (struct location){
        .port = port, .err = answer->err, .text = answer->text, .terms = *terms};
    for (size_t i = 0; answer->err == 0 && i < answer->count; i++) {
        struct key key = key_of(&answer->addresses[i], port);
        uint32_t site = find_site(s, &key);
        if (!has_site(at, site))
            at->sites[at->count++] = site;
    }
    arrive(s, at);
    *out_location = location;
    return 0;
}

static void free_if_unused(struct sites *s, uint32_t location)
{
    struct location *at = &s->locations[location];
    if (!at->left || at->sessions > 0)
        return;
    for (uint32_t i = 0; i < at->count; i++)
        forget_site_if_unused(s, at->sites[i]);
    at->count = 0;
    at->next = s->location_free;
    s->location_free = location;
}

void sites_leave(struct sites *s, uint32_t location)
{
    struct location *at = &s->locations[location];
    assert(!at->left);
    at->left = true;
    depart(s, at);
}

void sites_drop(struct sites *s, uint32_t location)
{
    assert(s->locations[location].left);
    free_if_unused(s, location);
}

void sites_set_terms(struct sites *s, uint32_t location, const struct site_terms *terms)
{
    struct location *at = &s->locations[location];
    at->left = true;
    depart(s, at);
    at->left = false;
    at->terms = *terms;
    arrive(s, at);
}

void sites_forget_waiting(struct sites *s)
{
    for (uint32_t i = 0; i < s->bound; i++)
        s->all[i].waiting = INDEX_QUEUE_EMPTY;
}

/* Sessions. The pace is a virtual schedule (GCRA, ITU-T I.371): logins come evenly, and up
 * to a burst of them may come before their time. */

static uint64_t interval_us(const struct site *site)
{
    uint64_t logins = (uint64_t)SITES_LOGINS_A_MINUTE * site->limit;
    uint64_t wanted = WANTED_ALLOWANCE * site->wanted / WANTED_UNIT;
    return MINUTE_US / (logins > wanted ? logins : wanted);
}

void sites_begin(struct sites *s, uint32_t location, uint64_t now_ms)
{
    struct location *at = &s->locations[location];
    at->sessions++;
    for (uint32_t i = 0; i < at->count; i++) {
        struct site *site = &s->all[at->sites[i]];
        uint64_t now_us = now_ms * 1000;
        site->running++;
        site->full_us =
            (site->full_us > now_us ? site->full_us : now_us) + interval_us(site);
    }
}

void sites_end(struct sites *s, uint32_t location)
{
    struct location *at = &s->locations[location];
    assert(at->sessions > 0);
    at->sessions--;
    for (uint32_t i = 0; i < at->count; i++)
        s->all[at->sites[i]].running--;
    free_if_unused(s, location);
}

void sites_answer(const struct sites *s, uint32_t location, struct resolver_answer *out)
{
    const struct location *at = &s->locations[location];
    *out = (struct resolver_answer){.err = at->err, .text = at->text, .count = at->count};
    for (uint32_t i = 0; i < at->count; i++)
        put_address(&s->all[at->sites[i]].key, at->port, &out->addresses[i]);
}

uint32_t sites_of(const struct sites *s, uint32_t location, uint32_t *out)
{
    const struct location *at = &s->locations[location];
    memcpy(out, at->sites, at->count * sizeof(*out));
    return at->count;
}

bool sites_room(const struct sites *s, uint32_t site, uint64_t now_ms,
                uint64_t *out_until_ms)
{
    const struct site *at = &s->all[site];
    *out_until_ms = SITES_FOREVER;
    if (at->running >= at->limit)
        return false;
    if (!s->paced)
        return true;
    uint64_t burst = (uint64_t)SITES_LOGINS_BURST * at->limit;
    uint64_t ahead_us = (burst - 1) * interval_us(at);
    if (at->full_us <= now_ms * 1000 + ahead_us)
        return true;
    *out_until_ms = (at->full_us - ahead_us + 999) / 1000;
    return false;
}

struct index_queue *sites_waiting(struct sites *s, uint32_t site)
{
    return &s->all[site].waiting;
}

struct site_use sites_use(const struct sites *s, uint32_t site)
{
    const struct site *at = &s->all[site];
    return (struct site_use){
        .running = at->running, .limit = at->limit, .servers = at->servers};
}

uint32_t sites_bound(const struct sites *s)
{
    return s->bound;
}
