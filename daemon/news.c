#include "daemon/news.h"

#include "archive/size_text.h"
#include "daemon/cause.h"
#include "daemon/clock.h"

#include <stdio.h>
#include <time.h>

#define FEW 3   /* told by themselves where a server's accounts share a cause */
#define SOME 10 /* where each is another story */

/* What is told together. */
enum crowd { CROWD_OF_SERVER, CROWD_OF_CAUSE, CROWD_ANYWHERE };

static const struct {
    enum log_level level;
    const char *message, *crowd_message;
    unsigned alone_max;
    enum crowd crowd;
    const char *count_key; /* what a crowd consists of */
} kinds[] = {
    [NEWS_ACCOUNT_FAILS] = {LEVEL_WARNING, "the account failed", "accounts failed", FEW,
                            CROWD_OF_CAUSE, "accounts"},
    [NEWS_ACCOUNT_FAILS_FOR_GOOD] = {LEVEL_ERROR, "the account failed", "accounts failed",
                                     FEW, CROWD_OF_CAUSE, "accounts"},
    [NEWS_ACCOUNT_STILL_FAILS] = {LEVEL_WARNING, "the account still fails",
                                  "accounts still fail", FEW, CROWD_OF_CAUSE, "accounts"},
    [NEWS_ACCOUNT_WORKS] = {LEVEL_INFO, "the account works again", "accounts work again",
                            FEW, CROWD_OF_SERVER, "accounts"},
    [NEWS_PASSWORD_CHANGED] = {LEVEL_INFO,
                               "its password has changed; the account is polled again",
                               "passwords have changed; the accounts are polled again", FEW,
                               CROWD_OF_SERVER, "accounts"},
    [NEWS_SERVER_FAILS] = {LEVEL_WARNING, "the server failed", "servers failed", SOME,
                           CROWD_ANYWHERE, "servers"},
    [NEWS_SERVER_STILL_FAILS] = {LEVEL_WARNING, "the server still fails",
                                 "servers still fail", SOME, CROWD_ANYWHERE, "servers"},
    [NEWS_SERVER_WORKS] = {LEVEL_INFO, "the server works again", "servers work again", SOME,
                           CROWD_ANYWHERE, "servers"},
    [NEWS_QUARANTINED] = {LEVEL_WARNING, "a message is quarantined",
                          "messages are quarantined", SOME, CROWD_OF_SERVER, "messages"},
    [NEWS_MAILBOX_CHANGED] = {LEVEL_WARNING, "the mailbox is not as it was",
                              "mailboxes are not as they were", FEW, CROWD_OF_CAUSE,
                              "accounts"},
    [NEWS_CLOCK_BEHIND] = {LEVEL_ERROR,
                           "the clock is behind what was archived last; nothing is deleted "
                           "from servers until it is right",
                           "the clock is behind what was archived last; nothing is deleted "
                           "from servers until it is right",
                           1, CROWD_ANYWHERE, "accounts"},
    [NEWS_ARCHIVED] = {LEVEL_INFO, "mail archived", "mail archived", 2 * SOME,
                       CROWD_ANYWHERE, "sessions"},
    [NEWS_DELETED] = {LEVEL_INFO, "mail deleted from servers", "mail deleted from servers",
                      SOME, CROWD_ANYWHERE, "sessions"},
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == NEWS_KIND_COUNT, "each kind of news");
_Static_assert((int)NEWS_KIND_COUNT <= GATHER_HEADINGS_MAX, "a heading for each kind");

static bool of_a_server(enum news_kind kind)
{
    return kind == NEWS_SERVER_FAILS || kind == NEWS_SERVER_STILL_FAILS ||
           kind == NEWS_SERVER_WORKS;
}

/* How long it has failed, and how often. */
static void log_health(struct log_event *e, const struct health_news *health)
{
    char after[DURATION_TEXT_MAX];
    int64_t seconds = (int64_t)time(NULL) - health->since_s;
    if (health->failures == 0)
        return;
    log_number(e, "failures", health->failures);
    log_time(e, "since", health->since_s);
    duration_text(seconds > 0 ? (uint64_t)seconds : 0, after);
    if (health->event == HEALTH_WORKS)
        log_text(e, "after", after);
}

static void log_amount(struct log_event *e, uint64_t messages, uint64_t bytes)
{
    if (messages > 0)
        log_number(e, "messages", messages);
    if (bytes > 0)
        log_number(e, "bytes", bytes);
}

static void tell_alone(const struct rounds *r, const struct news *n)
{
    struct log_event e;
    rounds_event(&e, r, kinds[n->kind].level, kinds[n->kind].message, n->account,
                 n->session);
    log_health(&e, &n->health);
    log_amount(&e, n->messages, n->bytes);
    log_text(&e, "error", n->text);
    log_end(&e);
}

static void tell_crowd(const struct rounds *r, const struct gathered *g)
{
    struct log_event e;
    bool servers = of_a_server((enum news_kind)g->heading);
    log_begin(&e, r->log, kinds[g->heading].level, kinds[g->heading].crowd_message);
    log_text(&e, "server", g->server);
    log_number(&e, kinds[g->heading].count_key, g->count);
    log_amount(&e, g->messages, g->bytes);
    log_text(&e, "names", g->names);
    if (g->named > 0 && g->named < g->count)
        log_text(&e, "see", servers ? "mailcask status" : "mailcask status --all");
    log_text(&e, "error", g->text);
    log_end(&e);
}

/* Who got mail is told by the ledger, and by the debug level. */
static const char *name_of(const struct rounds *r, const struct news *n)
{
    const struct config_account *account = &r->config->accounts[n->account];
    if (n->kind == NEWS_ARCHIVED || n->kind == NEWS_DELETED)
        return NULL;
    return of_a_server(n->kind) ? account->server->name : account->name;
}

static struct gather_event as_event(const struct rounds *r, const struct news *n)
{
    const struct config_account *account = &r->config->accounts[n->account];
    const char *server = account->server->name;
    enum crowd crowd = kinds[n->kind].crowd;
    const char *text = n->text != NULL ? n->text : "";
    uint64_t cause = crowd == CROWD_OF_CAUSE ? cause_of(text, account->user) : 0;
    return (struct gather_event){
        .heading = n->kind,
        .key = cause_within(cause + n->kind, crowd != CROWD_ANYWHERE ? server : ""),
        .alone_max = kinds[n->kind].alone_max,
        .server = crowd != CROWD_ANYWHERE ? server : NULL,
        .name = name_of(r, n),
        .text = text,
        .messages = n->messages,
        .bytes = n->bytes};
}

void news_tell(struct rounds *r, const struct news *news)
{
    struct gather_event event = as_event(r, news);
    if (kinds[news->kind].level > r->log->level)
        return;
    if (gather_event(r->gather, &event, clock_now_ms()))
        tell_alone(r, news);
    else
        news_tell_gathered(r, false);
}

void news_tell_gathered(struct rounds *r, bool at_once)
{
    struct gathered gathered;
    while (gather_take(r->gather, clock_now_ms(), at_once, &gathered))
        tell_crowd(r, &gathered);
}

static void tell_session(const struct rounds *r, const struct session_end *end)
{
    const struct pool_counts *counts = &end->counts;
    struct log_event e;
    rounds_event(&e, r, LEVEL_DEBUG, "session ended", end->account, end->number);
    log_text(&e, "kind", end->kind == POOL_DELETE ? "delete" : "fetch");
    if (counts->listed != SIZE_UNKNOWN)
        log_number(&e, "listed", counts->listed);
    log_number(&e, "known", counts->known);
    log_number(&e, "fetched", counts->fetched);
    log_number(&e, "bytes", counts->bytes);
    log_number(&e, "deleted", counts->deleted);
    log_text(&e, "scope", scope_name(end->outcome.scope));
    log_text(&e, "retry", retry_name(end->outcome.retry));
    log_text(&e, "error", end->outcome.text);
    log_end(&e);
}

static void tell(struct rounds *r, const struct session_end *end, enum news_kind kind,
                 const char *text)
{
    const struct news news = {
        .kind = kind, .account = end->account, .session = end->number, .text = text};
    news_tell(r, &news);
}

void news_of_session(struct rounds *r, const struct session_end *end)
{
    tell_session(r, end);
    if (end->aside[0] != '\0')
        tell(r, end, NEWS_QUARANTINED, end->aside);
    if (deletes_clock_behind_news(r->deletes, end))
        tell(r, end, NEWS_CLOCK_BEHIND, NULL);
    bool news = deletes_renumbered_news(r->deletes, end);
    if (end->notice[0] != '\0' && (news || !end->renumbered))
        tell(r, end, NEWS_MAILBOX_CHANGED, end->notice);
}

static bool for_good(const struct session_end *end)
{
    return end->outcome.retry == RETRY_NEVER;
}

static void tell_health(struct rounds *r, const struct session_end *end,
                        struct health_news health, const enum news_kind of[],
                        const char *text)
{
    struct news news = {.kind = of[health.event],
                        .account = end->account,
                        .session = end->number,
                        .text = text};
    if (health.event == HEALTH_NOTHING)
        return;
    if (health.event != HEALTH_FAILS)
        news.health = health;
    news_tell(r, &news);
}

void news_of_account(struct rounds *r, const struct session_end *end, const char *text)
{
    const enum news_kind of[] = {
        [HEALTH_FAILS] = for_good(end) ? NEWS_ACCOUNT_FAILS_FOR_GOOD : NEWS_ACCOUNT_FAILS,
        [HEALTH_STILL] = NEWS_ACCOUNT_STILL_FAILS,
        [HEALTH_WORKS] = NEWS_ACCOUNT_WORKS};
    tell_health(r, end,
                health_account_news(r->health, end->account, text, for_good(end),
                                    (int64_t)time(NULL)),
                of, text);
}

void news_of_server(struct rounds *r, const struct session_end *end, const char *text)
{
    static const enum news_kind of[] = {[HEALTH_FAILS] = NEWS_SERVER_FAILS,
                                        [HEALTH_STILL] = NEWS_SERVER_STILL_FAILS,
                                        [HEALTH_WORKS] = NEWS_SERVER_WORKS};
    const struct config *config = r->config;
    uint32_t server = (uint32_t)(config->accounts[end->account].server - config->servers);
    tell_health(r, end, health_server_news(r->health, server, text, (int64_t)time(NULL)),
                of, text);
}
