#include "workers/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>

#include "archive/error.h"

/* What getaddrinfo() loads to look in is not ours, so there is plenty; only what is used of
 * it takes memory. */
#define STACK_SIZE ((size_t)1024 * 1024)

struct request {
    STAILQ_ENTRY(request) link;
    resolver_callback *callback;
    void *arg;
    uint16_t port;
};

STAILQ_HEAD(request_list, request);

struct name {
    TAILQ_ENTRY(name) link;
    char host[RESOLVER_HOST_MAX + 1];
    struct resolver_answer answer; /* in `known` */
    uint64_t expires_ms;           /* in `known` */
    struct request_list requests;  /* not in `known` */
};

TAILQ_HEAD(name_list, name);

/* Invariants; the mutex guards all but source, which does not change:
 * 1. A host is in one of `asked`, `resolving` and `known`, once.
 * 2. A name in `known` has no request; in the others it has one.
 * 3. A name in `resolving` has a thread, and only this takes it out.
 * 4. name_count = names in all three, unanswered_count = those not in `known`, which is in
 * the order in which the answers came.
 * 5. thread_count >= min(unanswered_count, RESOLVER_THREADS_MAX), unless one could not be
 * started; it only grows. */
struct resolver {
    struct resolver_source source;
    pthread_mutex_t mutex;
    pthread_cond_t asked_or_stopping;
    struct name_list asked; /* and waiting for a thread */
    struct name_list resolving;
    struct name_list known;
    size_t name_count;
    size_t unanswered_count;
    size_t request_count;
    pthread_t threads[RESOLVER_THREADS_MAX];
    size_t thread_count;
    bool stopping;
};

/* The operating system's answers */

static uint64_t system_now_ms(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fail(struct resolver_answer *answer, int err, const char *text)
{
    answer->err = err;
    answer->text = text;
    answer->count = 0;
}

static void explain_failure(struct resolver_answer *answer, int gai_err, int saved_errno)
{
    switch (gai_err) {
    case EAI_SYSTEM:
        fail(answer, -saved_errno, error_text(-saved_errno));
        break;
    case EAI_MEMORY:
        fail(answer, -ENOMEM, gai_strerror(gai_err));
        break;
    case EAI_AGAIN:
        fail(answer, -EAGAIN, gai_strerror(gai_err));
        break;
    default:
        fail(answer, ERR_NOT_FOUND, gai_strerror(gai_err));
        break;
    }
}

/* Without AI_ADDRCONFIG, which on a machine that has only its loopback interface loses the
 * names of that: getaddrinfo() puts addresses that cannot be reached last by itself. */
static void ask_system(const char *host, int flags, struct resolver_answer *out_answer)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list;
    int gai_err = getaddrinfo(host, NULL, &hints, &list);

    if (gai_err != 0) {
        explain_failure(out_answer, gai_err, errno);
        return;
    }
    fail(out_answer, ERR_NOT_FOUND, error_text(ERR_NOT_FOUND));
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        if ((ai->ai_family != AF_INET && ai->ai_family != AF_INET6) ||
            out_answer->count == RESOLVER_ADDRESSES_MAX)
            continue;

        struct resolver_address *address = &out_answer->addresses[out_answer->count++];

        memcpy(&address->address, ai->ai_addr, ai->ai_addrlen);
        address->size = ai->ai_addrlen;
    }
    freeaddrinfo(list);
    if (out_answer->count > 0) {
        out_answer->err = 0;
        out_answer->text = error_text(0);
    }
}

static void system_resolve(void *ctx, const char *host, struct resolver_answer *out_answer)
{
    (void)ctx;
    ask_system(host, 0, out_answer);
}

static const struct resolver_source system_source = {.resolve = system_resolve,
                                                     .now_ms = system_now_ms};

/* Answers */

static void set_port(struct resolver_answer *answer, uint16_t port)
{
    for (size_t i = 0; i < answer->count; i++) {
        struct sockaddr_storage *address = &answer->addresses[i].address;

        if (address->ss_family == AF_INET6)
            ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
        else
            ((struct sockaddr_in *)address)->sin_port = htons(port);
    }
}

static void deliver(struct resolver *resolver, struct request_list *requests,
                    struct resolver_answer *answer)
{
    struct request *request;
    size_t count = 0;

    while ((request = STAILQ_FIRST(requests)) != NULL) {
        STAILQ_REMOVE_HEAD(requests, link);
        set_port(answer, request->port);
        request->callback(request->arg, answer);
        free(request);
        count++;
    }
    pthread_mutex_lock(&resolver->mutex);
    resolver->request_count -= count;
    pthread_mutex_unlock(&resolver->mutex);
}

/* Resolve the first name asked for. Called and returns with the mutex held. */
static void answer_first(struct resolver *resolver)
{
    struct name *name = TAILQ_FIRST(&resolver->asked);
    struct request_list requests = STAILQ_HEAD_INITIALIZER(requests);
    struct resolver_answer answer = {.count = 0};

    TAILQ_REMOVE(&resolver->asked, name, link);
    TAILQ_INSERT_TAIL(&resolver->resolving, name, link);
    pthread_mutex_unlock(&resolver->mutex);
    resolver->source.resolve(resolver->source.ctx, name->host, &answer);
    pthread_mutex_lock(&resolver->mutex);
    if (resolver->stopping)
        return; /* resolver_destroy() tells all */

    STAILQ_CONCAT(&requests, &name->requests);
    name->answer = answer;
    name->expires_ms =
        resolver->source.now_ms(resolver->source.ctx) +
        (uint64_t)(answer.err == 0 ? RESOLVER_SUCCESS_KEPT_MS : RESOLVER_FAILURE_KEPT_MS);
    TAILQ_REMOVE(&resolver->resolving, name, link);
    TAILQ_INSERT_TAIL(&resolver->known, name, link);
    resolver->unanswered_count--;
    pthread_mutex_unlock(&resolver->mutex);
    deliver(resolver, &requests, &answer);
    pthread_mutex_lock(&resolver->mutex);
}

static void *run(void *arg)
{
    struct resolver *resolver = arg;

    pthread_mutex_lock(&resolver->mutex);
    while (!resolver->stopping) {
        if (TAILQ_EMPTY(&resolver->asked))
            pthread_cond_wait(&resolver->asked_or_stopping, &resolver->mutex);
        else
            answer_first(resolver);
    }
    pthread_mutex_unlock(&resolver->mutex);
    return NULL;
}

/* Without signals: they are for the threads that expect them. With the mutex held. */
static int start_thread(struct resolver *resolver)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int err = pthread_attr_init(&attributes);

    if (err != 0)
        return -err;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&resolver->threads[resolver->thread_count], &attributes, run,
                         resolver);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (err == 0)
        resolver->thread_count++;
    return -err;
}

/* For one name more. An error only if there is no thread at all. With the mutex held. */
static int provide_thread(struct resolver *resolver)
{
    int err = 0;

    if (resolver->unanswered_count >= resolver->thread_count &&
        resolver->thread_count < RESOLVER_THREADS_MAX)
        err = start_thread(resolver);
    return resolver->thread_count > 0 ? 0 : err;
}

/* Creation */

int resolver_create(const struct resolver_source *source, struct resolver **out_resolver)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));

    if (resolver == NULL)
        return -ENOMEM;
    resolver->source = source != NULL ? *source : system_source;
    TAILQ_INIT(&resolver->asked);
    TAILQ_INIT(&resolver->resolving);
    TAILQ_INIT(&resolver->known);
    /* With default attributes neither of these fails. */
    pthread_mutex_init(&resolver->mutex, NULL);
    pthread_cond_init(&resolver->asked_or_stopping, NULL);
    *out_resolver = resolver;
    return 0;
}

/* The threads have ended: nobody else looks at the names. */
static void tell_stopped(struct resolver *resolver, struct name_list *names)
{
    struct resolver_answer stopped = {.err = ERR_STOPPED, .text = error_text(ERR_STOPPED)};
    struct name *name;

    TAILQ_FOREACH(name, names, link)
    deliver(resolver, &name->requests, &stopped);
}

static void free_names(struct name_list *names)
{
    struct name *name;

    while ((name = TAILQ_FIRST(names)) != NULL) {
        TAILQ_REMOVE(names, name, link);
        free(name);
    }
}

void resolver_destroy(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    pthread_mutex_lock(&resolver->mutex);
    resolver->stopping = true;
    pthread_cond_broadcast(&resolver->asked_or_stopping);
    pthread_mutex_unlock(&resolver->mutex);
    for (size_t i = 0; i < resolver->thread_count; i++)
        pthread_join(resolver->threads[i], NULL);
    tell_stopped(resolver, &resolver->resolving);
    tell_stopped(resolver, &resolver->asked);
    free_names(&resolver->resolving);
    free_names(&resolver->asked);
    free_names(&resolver->known);
    pthread_cond_destroy(&resolver->asked_or_stopping);
    pthread_mutex_destroy(&resolver->mutex);
    free(resolver);
}

/* Lookups. The functions with a resolver here are called with the mutex held. */

static struct name *find(struct name_list *names, const char *host)
{
    struct name *name;

    TAILQ_FOREACH(name, names, link)
    if (strcasecmp(name->host, host) == 0)
        return name;
    return NULL;
}

static void forget(struct resolver *resolver, struct name *name)
{
    TAILQ_REMOVE(&resolver->known, name, link);
    resolver->name_count--;
    free(name);
}

/* True if a kept answer was found and copied. One that has expired is forgotten. */
static bool find_known(struct resolver *resolver, const char *host,
                       struct resolver_answer *out_answer)
{
    struct name *name = find(&resolver->known, host);

    if (name == NULL)
        return false;
    if (resolver->source.now_ms(resolver->source.ctx) >= name->expires_ms) {
        forget(resolver, name);
        return false;
    }
    *out_answer = name->answer;
    return true;
}

/* A new name at the end of `asked`, without a request yet. */
static int ask(struct resolver *resolver, const char *host, struct name **out_name)
{
    struct name *name;
    int err;

    if (resolver->unanswered_count == RESOLVER_NAMES_MAX)
        return -EAGAIN;
    err = provide_thread(resolver);
    if (err != 0)
        return err;
    name = calloc(1, sizeof(*name));
    if (name == NULL)
        return -ENOMEM;
    if (resolver->name_count == RESOLVER_NAMES_MAX)
        forget(resolver, TAILQ_FIRST(&resolver->known));
    strcpy(name->host, host); /* resolver_lookup() has checked its length */
    STAILQ_INIT(&name->requests);
    TAILQ_INSERT_TAIL(&resolver->asked, name, link);
    resolver->name_count++;
    resolver->unanswered_count++;
    pthread_cond_signal(&resolver->asked_or_stopping);
    *out_name = name;
    return 0;
}

static struct name *find_unanswered(struct resolver *resolver, const char *host)
{
    struct name *name = find(&resolver->resolving, host);

    return name != NULL ? name : find(&resolver->asked, host);
}

static int add_request(struct resolver *resolver, const char *host,
                       const struct request *template)
{
    struct name *name = find_unanswered(resolver, host);
    struct request *request;
    int err = 0;

    if (resolver->stopping)
        return ERR_STOPPED;
    if (resolver->request_count == RESOLVER_WAITING_MAX)
        return -EAGAIN;
    request = malloc(sizeof(*request));
    if (request == NULL)
        return -ENOMEM;
    if (name == NULL)
        err = ask(resolver, host, &name);
    if (err != 0) {
        free(request);
        return err;
    }
    *request = *template;
    STAILQ_INSERT_TAIL(&name->requests, request, link);
    resolver->request_count++;
    return 0;
}

/* Without the brackets of "[::1]". False if it is empty or too long. */
static bool copy_host(char out_bare[RESOLVER_HOST_MAX + 1], const char *host)
{
    size_t size = strlen(host);

    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    if (size == 0 || size > RESOLVER_HOST_MAX)
        return false;
    memcpy(out_bare, host, size);
    out_bare[size] = '\0';
    return true;
}

int resolver_lookup(struct resolver *resolver, const char *host, uint16_t port,
                    resolver_callback *callback, void *arg)
{
    const struct request template = {.callback = callback, .arg = arg, .port = port};
    struct resolver_answer answer = {.count = 0};
    char bare[RESOLVER_HOST_MAX + 1];
    bool known;
    int err = 0;

    if (!copy_host(bare, host))
        return -EINVAL;
    ask_system(bare, AI_NUMERICHOST, &answer);
    known = answer.err == 0;
    if (!known) {
        pthread_mutex_lock(&resolver->mutex);
        known = find_known(resolver, bare, &answer);
        if (!known)
            err = add_request(resolver, bare, &template);
        pthread_mutex_unlock(&resolver->mutex);
    }
    if (known) {
        set_port(&answer, port);
        callback(arg, &answer);
    }
    return err;
}
