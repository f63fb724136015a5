#include "daemon/sessions.h"

#include "archive/error.h"
#include "daemon/inbox.h"
#include "daemon/secret_readers.h"
#include "daemon/space.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define READERS_PATIENCE_MS 500 /* for passwords being read when the process ends */
#define LOOKUP_PATIENCE_S 1     /* for a name look-up when a pool ends */
/* Servers that show a part of the mailbox show 250 messages and more (Q44). */
#define PARTIAL_VIEW_MIN 200u
#define STORE_ONCE_VARIABLE "MAILCASK_STORE_ONCE"

enum stage {
    STAGE_READING, /* of the password */
    STAGE_READ,    /* in the inbox */
    STAGE_HELD,    /* by the pool */
    STAGE_ENDED,   /* in the inbox */
};

/* What its job needs is copied: the configuration may be replaced meanwhile. The stage is
 * changed by whoever has the session: a reader, a worker, or, through the inbox, us. */
struct session {
    struct session *previous, *next; /* under way */
    struct inbox_item inbox_item;
    struct sessions *sessions;
    enum stage stage;
    char *name, *host, *user, *ca_file; /* ca_file: NULL as in the configuration */
    uint16_t port;
    bool implicit_tls, has_fingerprint, trace;
    bool outdated, elsewhere; /* see sessions_renumber() */
    enum tls_oldest tls_oldest;
    unsigned avoid;
    uint8_t fingerprint[CONFIG_FINGERPRINT_SIZE];
    int64_t delete_before_us;
    struct pop3_day day;
    struct resolver_answer *answer;
    struct secret secret;
    struct session_end end;
};

/* The owner's thread's; others use the inbox, and log and path, which stay as they are
 * while there is a pool. */
struct sessions {
    struct pool *pool;           /* NULL: closed */
    const char *path;            /* of the pool's archive */
    struct pool_progress before; /* of the pools that were */
    struct secret_readers *readers;
    struct session *first; /* under way */
    uint32_t count;
    uint32_t strays; /* of these, nobody's or elsewhere */
    uint64_t begun;  /* ever */
    struct log *log; /* of traces, or NULL */
    struct inbox *inbox;
};

static char *copy_text(const char *text)
{
    return strdup(text != NULL ? text : "");
}

static void session_free(struct session *session)
{
    secret_free(&session->secret);
    free(session->name);
    free(session->host);
    free(session->user);
    free(session->ca_file);
    free(session->answer);
    free(session);
}

static struct session *session_new(struct sessions *s, const struct config *config,
                                   uint32_t account, const struct session_plan *plan)
{
    const struct config_account *from = &config->accounts[account];
    const struct config_server *server = from->server;
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->sessions = s;
    session->name = copy_text(from->name);
    session->user = copy_text(from->user);
    session->host = copy_text(server->host);
    session->ca_file = server->ca_file != NULL ? copy_text(server->ca_file) : NULL;
    session->port = server->port;
    session->trace = plan->trace && s->log != NULL;
    session->implicit_tls = server->tls == CONFIG_TLS_IMPLICIT;
    session->tls_oldest = server->tls_oldest;
    session->avoid = server->avoid;
    session->has_fingerprint = server->has_fingerprint;
    memcpy(session->fingerprint, server->fingerprint, sizeof(session->fingerprint));
    session->end.account = account;
    session->end.place = plan->place;
    session->end.marks = *plan->marks;
    session->end.kind = plan->kind;
    session->delete_before_us = plan->delete_before_us;
    session->day = plan->day;
    session->answer = malloc(sizeof(*session->answer));
    if (session->name == NULL || session->user == NULL || session->host == NULL ||
        session->answer == NULL || (server->ca_file != NULL && session->ca_file == NULL)) {
        session_free(session);
        return NULL;
    }
    *session->answer = *plan->answer;
    return session;
}

/* From any thread, which then has it no more. */
static void deliver(struct session *session, enum stage stage)
{
    session->stage = stage;
    inbox_put(session->sessions->inbox, &session->inbox_item, session);
}

int sessions_create(struct sessions **out)
{
    struct sessions *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    int err = inbox_create(&s->inbox);
    if (err == 0)
        err = secret_readers_create(&s->readers);
    if (err != 0) {
        inbox_destroy(s->inbox);
        free(s);
        return err;
    }
    *out = s;
    return 0;
}

void sessions_trace(struct sessions *s, struct log *log)
{
    s->log = log;
}

void sessions_destroy(struct sessions *s)
{
    if (s == NULL)
        return;
    assert(s->pool == NULL);
    if (!secret_readers_destroy(s->readers, READERS_PATIENCE_MS))
        return; /* a reader may still deliver */
    while (s->first != NULL) {
        struct session *session = s->first;
        s->first = session->next;
        session_free(session);
    }
    inbox_destroy(s->inbox);
    free(s);
}

/* marks: as they were before. */
static bool broken_by_message(const struct pool_result *result,
                              const struct pool_marks *marks)
{
    bool tried = result->marks.trouble != marks->trouble ||
                 result->marks.trouble_count != marks->trouble_count;
    return result->counts.quarantined > 0 || (result->marks.trouble != 0 && tried);
}

/* Whether the server may show others once these were fetched: only another look tells. A
 * server that counts the logins gets it with the next poll. */
static bool perhaps_a_part(const struct pool_result *result)
{
    return result->outcome->scope == SCOPE_NONE &&
           result->counts.fetched >= PARTIAL_VIEW_MIN &&
           result->marks.pop3.login_delay_s == 0;
}

/* From a worker's thread. */
static void pool_done(void *arg, const struct pool_result *result)
{
    (void)arg;
    struct session *session = result->tag;
    struct session_end *end = &session->end;
    end->outcome = *result->outcome;
    end->outcome.more |= perhaps_a_part(result);
    end->stopped = result->stopped;
    end->held = true;
    end->connected = result->address[0] != '\0';
    end->counts = result->counts;
    end->broken = broken_by_message(result, &end->marks);
    end->marks = result->marks;
    end->unlisted = result->unlisted;
    end->renumbered = result->renumbered;
    end->clock_behind = result->clock_behind;
    (void)snprintf(end->aside, sizeof(end->aside), "%s", result->aside);
    (void)snprintf(end->notice, sizeof(end->notice), "%s", result->notice);
    deliver(session, STAGE_ENDED);
}

/* From a worker's thread. */
static void pool_wire(void *arg, void *tag, uint64_t at_ms, const char *text)
{
    const struct sessions *s = arg;
    const struct session *session = tag;
    log_wire(s->log, session->name, session->end.number, at_ms, text);
}

/* For benchmarks only: see bench/BENCHMARKS.md. */
static bool store_once_off(void)
{
    const char *value = getenv(STORE_ONCE_VARIABLE);
    return value != NULL && strcmp(value, "off") == 0;
}

/* From the repacker's thread. */
static bool has_room(void *arg, uint64_t bytes)
{
    const struct sessions *s = arg;
    struct space space = {.low = false};
    space_look(&space, s->path);
    return space_holds(&space, bytes);
}

/* From the repacker's thread. */
static void repacking_changed(void *arg)
{
    const struct sessions *s = arg;
    inbox_ring(s->inbox);
}

int sessions_open(struct sessions *s, struct archive *archive, uint64_t max_memory,
                  enum loop_backend backend)
{
    assert(s->pool == NULL);
    const struct pool_config config = {.archive = archive,
                                       .backend = backend,
                                       .max_memory = max_memory,
                                       .store_once_off = store_once_off(),
                                       .done = pool_done,
                                       .wire = pool_wire,
                                       .repack_room = has_room,
                                       .repack_changed = repacking_changed,
                                       .arg = s};
    s->path = archive_path(archive);
    return pool_create(&config, &s->pool);
}

static void *destroy_pool(void *pool)
{
    pool_destroy(pool);
    return NULL;
}

/* A name look-up cannot be interrupted; nobody should wait half a minute for its end. */
static void let_go(struct pool *pool)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, destroy_pool, pool) != 0) {
        pool_destroy(pool);
        return;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOOKUP_PATIENCE_S;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        (void)pthread_detach(thread);
}

int sessions_close(struct sessions *s)
{
    if (s->pool == NULL)
        return 0;
    pool_stop(s->pool);
    int err = sessions_failure(s);
    sessions_progress(s, &s->before);
    let_go(s->pool);
    s->pool = NULL;
    return err;
}

/* From a reader's thread. */
static void password_read(void *arg, struct secret *secret, int err,
                          const struct secret_error *error)
{
    struct session *session = arg;
    session->secret = *secret;
    session->end.stamp = secret->stamp;
    if (err != 0) {
        enum scope scope = err == -ENOMEM ? SCOPE_PROCESS : SCOPE_ACCOUNT;
        const char *hint = "";
        if (err == -ENOENT)
            hint = "; its first line must be the password";
        else if (err == -EACCES)
            hint = "; the user who runs mailcaskd must be able to read it";
        outcome_set(&session->end.outcome, scope, RETRY_BACKOFF, "%.*s%s",
                    OUTCOME_TEXT_SIZE - 64, error->text, hint);
    }
    deliver(session, STAGE_READ);
}

static bool is_stray(const struct session *session)
{
    return session->end.account == SESSIONS_NOBODY || session->elsewhere;
}

static bool has_mailbox(const struct session *session, const struct config_account *account)
{
    return session->port == account->server->port &&
           strcasecmp(session->host, account->server->host) == 0 &&
           strcmp(session->user, account->user) == 0;
}

/* The scheduler knows nothing of these, and so cannot tell that the account's archive or
 * its maildrop (Q47) is in use. */
static bool stray_has(const struct sessions *s, const struct config_account *account)
{
    if (s->strays == 0)
        return false;
    for (const struct session *at = s->first; at != NULL; at = at->next)
        if (is_stray(at) &&
            (strcmp(at->name, account->name) == 0 || has_mailbox(at, account)))
            return true;
    return false;
}

int sessions_begin(struct sessions *s, const struct config *config, uint32_t account,
                   const struct session_plan *plan)
{
    if (stray_has(s, &config->accounts[account]))
        return -EBUSY;
    struct session *session = session_new(s, config, account, plan);
    if (session == NULL)
        return -ENOMEM;
    int err =
        secret_readers_ask(s->readers, &config->accounts[account], password_read, session);
    if (err != 0) {
        session_free(session);
        return err;
    }
    session->end.number = ++s->begun;
    session->next = s->first;
    if (s->first != NULL)
        s->first->previous = session;
    s->first = session;
    s->count++;
    return 0;
}

static void forget(struct sessions *s, struct session *session)
{
    if (session->previous != NULL)
        session->previous->next = session->next;
    else
        s->first = session->next;
    if (session->next != NULL)
        session->next->previous = session->previous;
    s->count--;
    s->strays -= is_stray(session);
    session_free(session);
}

/* Why the pool did not take it. */
static void set_refusal(struct session_end *end, int err)
{
    struct outcome *o = &end->outcome;
    if (err == -EINVAL || err == ERR_TOO_LARGE || err == ERR_SYNTAX) {
        outcome_set(o, SCOPE_ACCOUNT, RETRY_NEVER,
                    "The user name or password cannot be sent to a server (%s); correct "
                    "them in the configuration.",
                    err == -EINVAL ? "empty" : error_text(err));
        return;
    }
    outcome_set(o, SCOPE_PROCESS, RETRY_BACKOFF,
                "The session was not begun: %s; it will be tried again later.",
                error_text(err));
    end->stopped = err == ERR_STOPPED;
}

/* Give a session whose password is there to the pool. False: it has ended instead. */
static bool submit(struct sessions *s, struct session *session)
{
    if (session->end.outcome.scope != SCOPE_NONE)
        return false;
    const struct pool_job job = {
        .account = session->name,
        .host = session->host,
        .port = session->port,
        .answer = session->answer,
        .implicit_tls = session->implicit_tls,
        .ca_file = session->ca_file,
        .fingerprint = session->has_fingerprint ? session->fingerprint : NULL,
        .tls_oldest = session->tls_oldest,
        .avoid = session->avoid,
        .login = session->user,
        .password = session->secret.text,
        .kind = session->end.kind,
        .delete_before_us = session->delete_before_us,
        .day = session->day,
        .marks = session->end.marks,
        .wire = session->trace,
        .tag = session,
    };
    /* Before the call: the session may end within it. */
    struct secret secret = session->secret;
    struct resolver_answer *answer = session->answer;
    session->secret = (struct secret){0};
    session->answer = NULL;
    session->stage = STAGE_HELD;
    int err = s->pool != NULL ? pool_submit(s->pool, &job) : ERR_STOPPED;
    secret_free(&secret);
    free(answer);
    if (err != 0)
        set_refusal(&session->end, err);
    return err == 0;
}

/* See sessions_renumber(). */
static void judge_by_reload(struct session *session)
{
    struct session_end *end = &session->end;
    struct outcome *o = &end->outcome;
    bool for_good = o->retry == RETRY_NEVER && o->scope != SCOPE_MESSAGE;
    if (session->elsewhere) {
        end->held = false;
        *o = (struct outcome){.more = true};
    } else if (session->outdated && for_good) {
        o->scope = SCOPE_PROCESS;
        o->retry = RETRY_NOW;
    }
}

bool sessions_take(struct sessions *s, struct session_end *out)
{
    for (;;) {
        struct session *session = inbox_take(s->inbox);
        if (session == NULL)
            return false;
        if (session->stage == STAGE_READ && submit(s, session))
            continue;
        judge_by_reload(session);
        *out = session->end;
        forget(s, session);
        return true;
    }
}

int sessions_fd(const struct sessions *s)
{
    return inbox_fd(s->inbox);
}

uint32_t sessions_count(const struct sessions *s)
{
    return s->count;
}

void sessions_renumber(struct sessions *s, const struct config *before,
                       const struct config *now)
{
    for (struct session *at = s->first; at != NULL; at = at->next) {
        if (at->end.account == SESSIONS_NOBODY)
            continue; /* the scheduler has forgotten it */
        const struct config_account *account = config_find_account(now, at->name);
        s->strays -= is_stray(at);
        if (account != NULL) {
            at->outdated = true;
            at->elsewhere |=
                !config_same_mailbox(&before->accounts[at->end.account], account);
            at->end.account = (uint32_t)(account - now->accounts);
        } else {
            at->end.account = SESSIONS_NOBODY;
        }
        s->strays += is_stray(at);
    }
}

int sessions_write_run(struct sessions *s, const struct pool_run *run)
{
    return s->pool != NULL ? pool_write_run(s->pool, run) : ERR_STOPPED;
}

int sessions_write_access(struct sessions *s, uint32_t account, int64_t time_us,
                          const struct access_meta *meta)
{
    return s->pool != NULL ? pool_write_access(s->pool, account, time_us, meta)
                           : ERR_STOPPED;
}

int sessions_failure(const struct sessions *s)
{
    char text[POOL_TEXT_SIZE]; /* for people; archive_problem() says more */
    return s->pool != NULL ? pool_failure(s->pool, text) : 0;
}

void sessions_progress(const struct sessions *s, struct pool_progress *out)
{
    const struct pool_progress *before = &s->before;
    struct pool_progress now = {.memory_peak = 0};
    if (s->pool != NULL)
        pool_progress(s->pool, &now);
    now.messages += before->messages;
    now.received_bytes += before->received_bytes;
    now.stored_bytes += before->stored_bytes;
    now.commits += before->commits;
    latency_add(&now.commit_latency, &before->commit_latency);
    if (now.memory_peak < before->memory_peak)
        now.memory_peak = before->memory_peak;
    *out = now;
}

struct repacker *sessions_repacker(const struct sessions *s)
{
    return s->pool != NULL ? pool_repacker(s->pool) : NULL;
}

const char *sessions_describe(const struct sessions *s)
{
    return s->pool != NULL ? pool_describe(s->pool) : "";
}
