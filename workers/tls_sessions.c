#include "workers/tls_sessions.h"

#include "archive/digest.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS 256u

/* What OpenSSL needs for a session besides ticket and certificates, and for a certificate
 * beyond its DER, which it holds twice and more: taken apart, and as it came. */
#define SESSION_MEMORY ((size_t)1024)
#define CERTIFICATE_MEMORY ((size_t)4 * 1024)
#define CERTIFICATE_COPIES 3u

/* 1. Each entry is in `lately` and in the bucket of its hash, the latest at the end and at
 *    the head.
 * 2. A place has at most TLS_SESSIONS_PER_SERVER_MAX entries, one of TLS 1.2 or older at
 *    most; or one refusal and nothing else.
 * 3. count and bytes are theirs, and within their limits. */
struct entry {
    TAILQ_ENTRY(entry) lately;
    TAILQ_ENTRY(entry) in_bucket;
    uint64_t hash;
    uint64_t context;
    SSL_SESSION *session; /* NULL: a refusal */
    struct tls_sessions_trust trust;
    int64_t known_until_s;
    size_t size;
    uint16_t port;
    char host[];
};

TAILQ_HEAD(entry_list, entry);

struct tls_sessions {
    struct entry_list lately;
    struct entry_list buckets[BUCKETS];
    uint64_t contexts;
    size_t max_bytes;
    size_t bytes;
    unsigned count;
};

struct tls_sessions *tls_sessions_create(size_t max_bytes)
{
    struct tls_sessions *sessions = calloc(1, sizeof(*sessions));
    if (sessions == NULL)
        return NULL;
    sessions->max_bytes = max_bytes;
    TAILQ_INIT(&sessions->lately);
    for (size_t i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&sessions->buckets[i]);
    return sessions;
}

static void drop(struct tls_sessions *sessions, struct entry *e)
{
    TAILQ_REMOVE(&sessions->lately, e, lately);
    TAILQ_REMOVE(&sessions->buckets[e->hash % BUCKETS], e, in_bucket);
    sessions->count--;
    sessions->bytes -= e->size;
    SSL_SESSION_free(e->session);
    free(e);
}

void tls_sessions_destroy(struct tls_sessions *sessions)
{
    if (sessions == NULL)
        return;
    while (!TAILQ_EMPTY(&sessions->lately))
        drop(sessions, TAILQ_FIRST(&sessions->lately));
    free(sessions);
}

uint64_t tls_sessions_context(struct tls_sessions *sessions)
{
    return ++sessions->contexts;
}

void tls_sessions_forget(struct tls_sessions *sessions, uint64_t context)
{
    struct entry *e = TAILQ_FIRST(&sessions->lately);
    while (e != NULL) {
        struct entry *next = TAILQ_NEXT(e, lately);
        if (e->context == context)
            drop(sessions, e);
        e = next;
    }
}

static uint64_t hash_of(const struct tls_sessions_place *place)
{
    return checksum64(place->host, strlen(place->host), place->context << 16 | place->port);
}

static bool is_at(const struct entry *e, const struct tls_sessions_place *place,
                  uint64_t hash)
{
    return e->hash == hash && e->context == place->context && e->port == place->port &&
           strcmp(e->host, place->host) == 0;
}

static bool serves_once(const SSL_SESSION *session)
{
    return SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
}

static size_t certificate_memory(const X509 *certificate)
{
    int der = i2d_X509(certificate, NULL);
    return CERTIFICATE_MEMORY + CERTIFICATE_COPIES * (size_t)(der > 0 ? der : 0);
}

/* Sessions that descend from one handshake share its certificates; each counts them as its
 * own. */
static size_t memory_of(const SSL_SESSION *session, const struct stack_st_X509 *chain)
{
    const unsigned char *ticket;
    size_t size = 0;
    SSL_SESSION_get0_ticket(session, &ticket, &size);
    size += SESSION_MEMORY;
    for (int i = 0; i < sk_X509_num(chain); i++)
        size += certificate_memory(sk_X509_value(chain, i));
    return size;
}

/* How long the server said it knows the session; in TLS 1.2 and older 0 says nothing (RFC
 * 5077 5.6). */
static int64_t known_until(const SSL_SESSION *session)
{
    int64_t hint_s = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);
    if (hint_s == 0 && !serves_once(session))
        return INT64_MAX;
    return (int64_t)SSL_SESSION_get_time(session) + hint_s;
}

static struct entry *entry_create(const struct tls_sessions_place *place, uint64_t hash,
                                  size_t size)
{
    size_t host_size = strlen(place->host) + 1;
    struct entry *e = calloc(1, sizeof(*e) + host_size);
    if (e == NULL)
        return NULL;
    e->hash = hash;
    e->context = place->context;
    e->port = place->port;
    e->size = size + sizeof(*e) + host_size;
    memcpy(e->host, place->host, host_size);
    return e;
}

/* Takes e over. */
static void add(struct tls_sessions *sessions, struct entry *e)
{
    while (sessions->count > 0 && (sessions->count >= TLS_SESSIONS_MAX ||
                                   sessions->bytes + e->size > sessions->max_bytes))
        drop(sessions, TAILQ_FIRST(&sessions->lately));
    TAILQ_INSERT_TAIL(&sessions->lately, e, lately);
    TAILQ_INSERT_HEAD(&sessions->buckets[e->hash % BUCKETS], e, in_bucket);
    sessions->count++;
    sessions->bytes += e->size;
    if (sessions->bytes > sessions->max_bytes)
        drop(sessions, e);
}

static struct entry *bucket_first(const struct tls_sessions *sessions, uint64_t hash)
{
    return TAILQ_FIRST(&sessions->buckets[hash % BUCKETS]);
}

/* So that one more may come. False: none may, for the server refused one. */
static bool make_room(struct tls_sessions *sessions, const struct tls_sessions_place *place,
                      uint64_t hash, const SSL_SESSION *newcomer)
{
    struct entry *e, *next, *last = NULL;
    unsigned count = 0;
    for (e = bucket_first(sessions, hash); e != NULL; e = next) {
        next = TAILQ_NEXT(e, in_bucket);
        if (!is_at(e, place, hash))
            continue;
        if (e->session == NULL)
            return false;
        if (!serves_once(newcomer) && !serves_once(e->session)) {
            drop(sessions, e);
        } else {
            last = e;
            count++;
        }
    }
    if (count >= TLS_SESSIONS_PER_SERVER_MAX)
        drop(sessions, last);
    return true;
}

void tls_sessions_put(struct tls_sessions *sessions, const struct tls_sessions_place *place,
                      SSL_SESSION *session, const struct stack_st_X509 *chain,
                      const struct tls_sessions_trust *trust)
{
    uint64_t hash = hash_of(place);
    size_t size = memory_of(session, chain);
    struct entry *e = NULL;
    if (size <= TLS_SESSION_SIZE_MAX && make_room(sessions, place, hash, session))
        e = entry_create(place, hash, size);
    if (e == NULL) {
        SSL_SESSION_free(session);
        return;
    }
    e->session = session;
    e->trust = *trust;
    e->known_until_s = known_until(session);
    add(sessions, e);
}

static bool is_good(const struct entry *e, int64_t now_s)
{
    if (now_s < e->trust.from_s || now_s > e->trust.until_s)
        return false;
    return e->session == NULL ||
           (now_s < e->known_until_s && SSL_SESSION_is_resumable(e->session) == 1);
}

static SSL_SESSION *take(struct tls_sessions *sessions, struct entry *e)
{
    SSL_SESSION *session = e->session;
    if (SSL_SESSION_up_ref(session) != 1)
        return NULL;
    if (serves_once(session)) {
        drop(sessions, e);
    } else {
        TAILQ_REMOVE(&sessions->lately, e, lately);
        TAILQ_INSERT_TAIL(&sessions->lately, e, lately);
    }
    return session;
}

SSL_SESSION *tls_sessions_take(struct tls_sessions *sessions,
                               const struct tls_sessions_place *place, int64_t now_s,
                               struct tls_sessions_trust *out_trust)
{
    uint64_t hash = hash_of(place);
    struct entry *e, *next;
    for (e = bucket_first(sessions, hash); e != NULL; e = next) {
        next = TAILQ_NEXT(e, in_bucket);
        if (!is_at(e, place, hash))
            continue;
        if (!is_good(e, now_s)) {
            drop(sessions, e);
            continue;
        }
        *out_trust = e->trust;
        return e->session != NULL ? take(sessions, e) : NULL;
    }
    return NULL;
}

void tls_sessions_refused(struct tls_sessions *sessions,
                          const struct tls_sessions_place *place, int64_t now_s)
{
    uint64_t hash = hash_of(place);
    struct entry *e, *next;
    for (e = bucket_first(sessions, hash); e != NULL; e = next) {
        next = TAILQ_NEXT(e, in_bucket);
        if (is_at(e, place, hash))
            drop(sessions, e);
    }
    e = entry_create(place, hash, 0);
    if (e == NULL)
        return;
    e->trust =
        (struct tls_sessions_trust){.from_s = now_s, .until_s = now_s + TLS_REFUSAL_AGE_S};
    add(sessions, e);
}

unsigned tls_sessions_count(const struct tls_sessions *sessions)
{
    return sessions->count;
}

size_t tls_sessions_bytes(const struct tls_sessions *sessions)
{
    return sessions->bytes;
}
