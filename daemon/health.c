#include "daemon/health.h"

#include "daemon/cause.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct account_health {
    struct health_problem problem;
    struct health_polls polls;
};

struct health {
    const struct config *config;
    struct health_problem *servers;
    struct account_health *accounts;
};

int health_new(const struct config *config, struct health **out)
{
    struct health *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return -ENOMEM;
    h->config = config;
    /* One more than needed: calloc(0) may be NULL. */
    h->servers = calloc(config->server_count + 1, sizeof(*h->servers));
    h->accounts = calloc(config->account_count + 1, sizeof(*h->accounts));
    if (h->servers == NULL || h->accounts == NULL) {
        health_free(h);
        return -ENOMEM;
    }
    for (size_t i = 0; i < config->account_count; i++)
        h->accounts[i].polls.listed = HEALTH_LISTED_UNKNOWN;
    *out = h;
    return 0;
}

void health_free(struct health *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; h->servers != NULL && i < h->config->server_count; i++)
        free(h->servers[i].text);
    for (size_t i = 0; h->accounts != NULL && i < h->config->account_count; i++)
        free(h->accounts[i].problem.text);
    free(h->servers);
    free(h->accounts);
    free(h);
}

static void move_problem(struct health_problem *to, struct health_problem *from)
{
    *to = *from;
    from->text = NULL;
}

void health_adopt(struct health *h, struct health *old)
{
    const struct config *now = h->config, *before = old->config;
    for (size_t i = 0; i < now->server_count; i++) {
        const struct config_server *server =
            config_find_server(before, now->servers[i].name);
        if (server != NULL && config_same_server(server, &now->servers[i]))
            move_problem(&h->servers[i], &old->servers[server - before->servers]);
    }
    for (size_t i = 0; i < now->account_count; i++) {
        const struct config_account *account =
            config_find_account(before, now->accounts[i].name);
        if (account == NULL || !config_same_mailbox(account, &now->accounts[i]))
            continue;
        struct account_health *from = &old->accounts[account - before->accounts];
        move_problem(&h->accounts[i].problem, &from->problem);
        h->accounts[i].polls = from->polls;
    }
}

static void set_text(struct health_problem *p, const char *text)
{
    if (p->text != NULL && strncmp(p->text, text, HEALTH_TEXT_SIZE - 1) == 0)
        return;
    free(p->text);
    p->text = text[0] != '\0' ? strndup(text, HEALTH_TEXT_SIZE - 1) : NULL;
}

static struct health_news works(struct health_problem *p)
{
    struct health_news news = {.failures = p->failures, .since_s = p->since_s};
    news.event = p->told ? HEALTH_WORKS : HEALTH_NOTHING;
    set_text(p, "");
    *p = (struct health_problem){.cause = p->cause, .told_s = p->told_s};
    return news;
}

/* A clock that was put back ends every wait. */
static bool passed(const struct health_problem *p, int64_t wait_s, int64_t now_s)
{
    return p->told_s == 0 || now_s < p->told_s || now_s - p->told_s >= wait_s;
}

static int64_t wait_s(const struct health_problem *p, uint64_t cause, bool lasting)
{
    if (p->cause != cause)
        return 0;
    return p->told ? p->again_s : lasting ? 0 : HEALTH_QUIET_S;
}

static struct health_news fails(struct health_problem *p, const char *text, uint64_t cause,
                                bool lasting, int64_t now_s)
{
    set_text(p, text);
    p->since_s = p->since_s != 0 ? p->since_s : now_s;
    p->failures++;
    struct health_news news = {.failures = p->failures, .since_s = p->since_s};
    if (!passed(p, wait_s(p, cause, lasting), now_s))
        return news;
    bool still = p->told && p->cause == cause;
    news.event = still ? HEALTH_STILL : HEALTH_FAILS;
    p->again_s = still ? p->again_s * 2 : HEALTH_AGAIN_S;
    if (p->again_s > HEALTH_AGAIN_MAX_S)
        p->again_s = HEALTH_AGAIN_MAX_S;
    p->told = true;
    p->cause = cause;
    p->told_s = now_s;
    return news;
}

struct health_news health_account_news(struct health *h, uint32_t account, const char *text,
                                       bool lasting, int64_t now_s)
{
    struct health_problem *p = &h->accounts[account].problem;
    const char *user = h->config->accounts[account].user;
    return text[0] == '\0' ? works(p)
                           : fails(p, text, cause_of(text, user), lasting, now_s);
}

struct health_news health_server_news(struct health *h, uint32_t server, const char *text,
                                      int64_t now_s)
{
    struct health_problem *p = &h->servers[server];
    return text[0] == '\0' ? works(p) : fails(p, text, cause_of(text, NULL), false, now_s);
}

void health_complete(struct health *h, uint32_t account, uint64_t listed, int64_t at_s)
{
    struct health_polls *polls = &h->accounts[account].polls;
    if (at_s < polls->complete_s)
        return;
    polls->complete_s = at_s;
    if (listed != HEALTH_LISTED_UNKNOWN)
        polls->listed = listed;
}

const struct health_problem *health_account(const struct health *h, uint32_t account)
{
    return &h->accounts[account].problem;
}

const struct health_problem *health_server(const struct health *h, uint32_t server)
{
    return &h->servers[server];
}

const struct health_polls *health_polls(const struct health *h, uint32_t account)
{
    return &h->accounts[account].polls;
}
