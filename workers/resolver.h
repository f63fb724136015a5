/* Host names to addresses. getaddrinfo() blocks, half a minute where a name server is
 * silent, so threads do nothing else: a few of them, so that one such host delays no other,
 * each started when a name needs it. Requests for the same name share one lookup, and
 * answers are kept for a while. Any thread may call resolver_lookup(). */
#ifndef MAILCASK_WORKERS_RESOLVER_H
#define MAILCASK_WORKERS_RESOLVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RESOLVER_THREADS_MAX 4
#define RESOLVER_ADDRESSES_MAX 8
#define RESOLVER_NAMES_MAX 1024    /* known or being looked up */
#define RESOLVER_WAITING_MAX 65536 /* callbacks */
#define RESOLVER_HOST_MAX 255      /* bytes */
#define RESOLVER_SUCCESS_KEPT_MS 60000
#define RESOLVER_FAILURE_KEPT_MS 5000

struct resolver;

struct resolver_address {
    struct sockaddr_storage address;
    socklen_t size;
};

/* With err 0 one address at least, IPv6 and IPv4 in the order in which they should be
 * tried; otherwise none. */
struct resolver_answer {
    int err; /* ERR_NOT_FOUND: no such name; -EAGAIN: no answer for now; ERR_STOPPED; ... */
    const char *text; /* err in the resolver's words; static; never NULL */
    size_t count;
    struct resolver_address addresses[RESOLVER_ADDRESSES_MAX];
};

/* Must not block and not call resolver_destroy(). answer is borrowed during the call. Calls
 * for different names may come at once. */
typedef void resolver_callback(void *arg, const struct resolver_answer *answer);

/* Where answers come from. */
struct resolver_source {
    void *ctx;
    /* May block; called in the resolver's threads, for several hosts at once. Fills in all
     * of *out_answer, ports 0. */
    void (*resolve)(void *ctx, const char *host, struct resolver_answer *out_answer);
    /* A clock that never goes back; from any thread. */
    uint64_t (*now_ms)(void *ctx);
};

/* source: copied; NULL for the operating system's. Returns 0 or -ENOMEM. */
int resolver_create(const struct resolver_source *source, struct resolver **out_resolver);

/* Waits for the lookups under way to end. Callbacks still owed are called with ERR_STOPPED
 * in the caller's thread. Only callbacks and the source may still call resolver_lookup().
 * NULL is allowed. */
void resolver_destroy(struct resolver *resolver);

/* Look up host, a name or a numeric address, with or without the brackets of IPv6. port
 * goes into each address. callback is called once: in a thread of the resolver's; or,
 * where the answer is known (numeric or kept), in the caller's before this returns, so that
 * a name that does not resolve delays none that did; or by resolver_destroy(). Hold no lock
 * that callback takes. Returns 0; else callback is not called: -EINVAL (host empty or too
 * long), -EAGAIN (a limit is reached, or no thread can be started), -ENOMEM, ERR_STOPPED
 * (resolver_destroy() was called). */
int resolver_lookup(struct resolver *resolver, const char *host, uint16_t port,
                    resolver_callback *callback, void *arg);

#endif
