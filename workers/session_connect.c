#include "archive/digest.h"
#include "archive/error.h"
#include "workers/session_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A look-up may outlast its session: whoever comes second, the answer or the session's end,
 * frees this. An answer that comes while it is still being asked for needs no parcel. */
enum resolution_state {
    RESOLUTION_ASKED,
    RESOLUTION_OPEN,
    RESOLUTION_ANSWERED,
    RESOLUTION_ABANDONED
};

struct resolution {
    struct parcel parcel;
    _Atomic int state;
    struct worker *worker;
    struct session *session;
    struct resolver_answer answer;
};

static void cannot_resolve(struct session *s, int err, const char *text)
{
    if (err == -ENOMEM)
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                       "Out of memory when %s was to be looked up.", s->host);
    else if (err == ERR_NOT_FOUND)
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "The host %s is not known (%s): check the server's name.", s->host,
                       text);
    else
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "The host %s could not be looked up (%s): check the name service of "
                       "this machine.",
                       s->host, text);
    session_end(s);
}

static uint64_t name_address(const struct resolver_address *a)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (a->address.ss_family == AF_INET6) {
        memcpy(&in6, &a->address, sizeof(in6));
        return checksum64(&in6.sin6_addr, sizeof(in6.sin6_addr), AF_INET6) | 1;
    }
    memcpy(&in, &a->address, sizeof(in));
    return checksum64(&in.sin_addr, sizeof(in.sin_addr), AF_INET) | 1;
}

/* Different back ends may show a mailbox differently: the last good one comes first, the
 * others behind it in their order (Q57). */
static void put_good_address_first(struct resolver_answer *answer, uint64_t good)
{
    for (size_t i = 1; i < answer->count; i++) {
        struct resolver_address found = answer->addresses[i];
        if (name_address(&found) != good)
            continue;
        memmove(&answer->addresses[1], &answer->addresses[0], i * sizeof(found));
        answer->addresses[0] = found;
        return;
    }
}

static void name_addresses(struct session *s)
{
    const struct resolver_answer *answer = s->answer;
    s->address_id = s->other_address_id = 0;
    if (answer->count < 2)
        return;
    s->address_id = name_address(&answer->addresses[s->next_address - 1]);
    s->other_address_id = name_address(&answer->addresses[s->next_address % answer->count]);
}

void session_judge_address(struct session *s)
{
    if (s->address_id == 0)
        return;
    if (s->counts.listed != SIZE_UNKNOWN)
        s->marks.address = s->address_id;
    else if (s->outcome.scope == SCOPE_SERVER && s->outcome.retry != RETRY_NOW)
        s->marks.address = s->other_address_id;
}

static void found(struct session *s)
{
    put_good_address_first(s->answer, s->marks.address);
    s->step = SESSION_CONNECTS;
    session_connect_next(s);
}

/* Frees r. */
static void take_resolution(struct session *s, struct resolution *r)
{
    s->resolution = NULL;
    if (s->step == SESSION_RESOLVES && r->answer.err != 0) {
        cannot_resolve(s, r->answer.err, r->answer.text);
    } else if (s->step == SESSION_RESOLVES) {
        s->answer = malloc(sizeof(*s->answer));
        if (s->answer != NULL) {
            *s->answer = r->answer;
            found(s);
        } else {
            cannot_resolve(s, -ENOMEM, error_text(-ENOMEM));
        }
    }
    free(r);
}

static void open_resolution(void *arg)
{
    struct resolution *r = arg;
    struct session *s = r->session;
    take_resolution(s, r);
    session_turn(s);
}

static void resolved(void *arg, const struct resolver_answer *answer)
{
    struct resolution *r = arg;
    r->answer = *answer;
    int before = atomic_exchange(&r->state, RESOLUTION_ANSWERED);
    if (before == RESOLUTION_ABANDONED)
        free(r);
    else if (before == RESOLUTION_OPEN)
        worker_post(r->worker, &r->parcel);
}

static void look_up(struct session *s)
{
    struct resolution *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        cannot_resolve(s, -ENOMEM, error_text(-ENOMEM));
        return;
    }
    r->parcel = (struct parcel){.open = open_resolution, .arg = r};
    r->worker = s->worker;
    r->session = s;
    s->resolution = r;
    int err = resolver_lookup(s->worker->shared->resolver, s->host, s->port, resolved, r);
    if (err != 0) {
        s->resolution = NULL;
        free(r);
        cannot_resolve(s, err, error_text(err));
        return;
    }
    int asked = RESOLUTION_ASKED;
    if (!atomic_compare_exchange_strong(&r->state, &asked, RESOLUTION_OPEN))
        take_resolution(s, r);
}

void session_resolve(struct session *s)
{
    if (s->answer == NULL)
        look_up(s);
    else if (s->answer->err != 0)
        cannot_resolve(s, s->answer->err, s->answer->text);
    else
        found(s);
}

bool session_resolve_cancel(struct session *s)
{
    return atomic_exchange(&s->resolution->state, RESOLUTION_ABANDONED) == RESOLUTION_OPEN;
}

/* "192.0.2.1:995", "[2001:db8::1]:995". */
static void write_address(const struct resolver_address *a, char out[POOL_ADDRESS_SIZE])
{
    char text[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_storage *any = &a->address;
    if (any->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, any, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
        (void)snprintf(out, POOL_ADDRESS_SIZE, "[%s]:%u", text, ntohs(in6.sin6_port));
    } else {
        struct sockaddr_in in;
        memcpy(&in, any, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
        (void)snprintf(out, POOL_ADDRESS_SIZE, "%s:%u", text, ntohs(in.sin_port));
    }
}

static void cannot_connect(struct session *s)
{
    switch (s->connect_err) {
    case -ECONNREFUSED:
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "The connection to %s:%u was refused: is the port right and the "
                       "server running?",
                       s->host, s->port);
        break;
    case -ETIMEDOUT:
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "%s:%u did not answer within %u s: is the host right, and does a "
                       "firewall let connections through?",
                       s->host, s->port, (unsigned)(SESSION_CONNECT_MS / 1000));
        break;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOBUFS:
        session_settle(s, SCOPE_PROCESS, RETRY_BACKOFF,
                       "No connection to %s:%u could be made for lack of resources (%s): "
                       "lower max-connections or raise the limit of open files.",
                       s->host, s->port, error_text(s->connect_err));
        break;
    default:
        session_settle(s, SCOPE_SERVER, RETRY_BACKOFF,
                       "The connection to %s:%u failed (%s): check host, port and network.",
                       s->host, s->port, error_text(s->connect_err));
        break;
    }
    s->address[0] = '\0';
    session_end(s);
}

void session_connect_next(struct session *s)
{
    while (s->next_address < s->answer->count) {
        const struct resolver_address *a = &s->answer->addresses[s->next_address++];
        write_address(a, s->address);
        s->connect_err = loop_connect(s->worker->loop, (const void *)&a->address, a->size,
                                      &session_handlers, s, &s->socket);
        if (s->connect_err == 0) {
            s->step_deadline_ms = session_now(s) + SESSION_CONNECT_MS;
            return;
        }
    }
    cannot_connect(s);
}

void session_connect_again(struct session *s)
{
    s->next_address--;
    s->step = SESSION_CONNECTS;
    s->step_deadline_ms = UINT64_MAX;
    s->hungry = false;
    s->ended = false;
    loop_close(s->socket);
}

void session_forget_addresses(struct session *s)
{
    free(s->answer);
    s->answer = NULL;
}

static void tell_address(struct session *s)
{
    char text[sizeof(s->address) + 16];
    (void)snprintf(text, sizeof(text), "* connected to %s", s->address);
    session_wire(s, text);
}

void session_connected(struct session *s, int err)
{
    if (err != 0) { /* a fresh socket for the next address, once this one is closed */
        s->connect_err = err;
        loop_close(s->socket);
        return;
    }
    name_addresses(s);
    tell_address(s);
    if (s->implicit_tls) {
        session_gate_enter(s);
        return;
    }
    session_forget_addresses(s);
    s->step = SESSION_PLAIN;
    s->hungry = true;
    pop3_connected(s->pop3, session_now(s));
    session_follow(s);
}
