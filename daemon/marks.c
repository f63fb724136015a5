#include "daemon/marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of a text: FNV-1a, 0 for the empty one. That two texts meet costs a line in a log. */
typedef uint64_t text_hash;

struct server_marks {
    bool no_capa, window_one;
    text_hash said;
};

struct account_marks {
    struct pool_marks mailbox; /* the server's part of it is in struct server_marks */
    text_hash said;
};

struct marks {
    const struct config *config;
    struct server_marks *servers;
    struct account_marks *accounts;
};

static text_hash hash_text(const char *text)
{
    if (text[0] == '\0')
        return 0;
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash | 1;
}

static bool news(text_hash *said, const char *text)
{
    text_hash hash = hash_text(text);
    bool is_new = hash != *said;
    *said = hash;
    return is_new;
}

int marks_new(const struct config *config, struct marks **out)
{
    struct marks *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -ENOMEM;
    m->config = config;
    /* One more than needed: calloc(0) may be NULL. */
    m->servers = calloc(config->server_count + 1, sizeof(*m->servers));
    m->accounts = calloc(config->account_count + 1, sizeof(*m->accounts));
    if (m->servers == NULL || m->accounts == NULL) {
        marks_free(m);
        return -ENOMEM;
    }
    *out = m;
    return 0;
}

void marks_free(struct marks *m)
{
    if (m == NULL)
        return;
    free(m->servers);
    free(m->accounts);
    free(m);
}

static bool same_server(const struct config_server *a, const struct config_server *b)
{
    return strcasecmp(a->host, b->host) == 0 && a->port == b->port && a->tls == b->tls;
}

static bool same_mailbox(const struct config_account *a, const struct config_account *b)
{
    return same_server(a->server, b->server) && strcmp(a->user, b->user) == 0;
}

void marks_adopt(struct marks *m, const struct marks *old)
{
    const struct config *now = m->config, *before = old->config;
    for (size_t i = 0; i < now->server_count; i++) {
        const struct config_server *server =
            config_find_server(before, now->servers[i].name);
        if (server != NULL && same_server(server, &now->servers[i]))
            m->servers[i] = old->servers[server - before->servers];
    }
    for (size_t i = 0; i < now->account_count; i++) {
        const struct config_account *account =
            config_find_account(before, now->accounts[i].name);
        if (account != NULL && same_mailbox(account, &now->accounts[i]))
            m->accounts[i] = old->accounts[account - before->accounts];
    }
}

static struct server_marks *server_of(const struct marks *m, uint32_t account)
{
    return &m->servers[m->config->accounts[account].server - m->config->servers];
}

void marks_get(const struct marks *m, uint32_t account, struct pool_marks *out)
{
    const struct server_marks *server = server_of(m, account);
    *out = m->accounts[account].mailbox;
    out->pop3.no_capa = server->no_capa;
    out->pop3.window_one = server->window_one;
}

void marks_put(struct marks *m, uint32_t account, const struct pool_marks *marks)
{
    struct server_marks *server = server_of(m, account);
    m->accounts[account].mailbox = *marks;
    /* Sessions that began before another one learned it know nothing of it. */
    server->no_capa |= marks->pop3.no_capa;
    server->window_one |= marks->pop3.window_one;
}

bool marks_account_news(struct marks *m, uint32_t account, const char *text)
{
    return news(&m->accounts[account].said, text);
}

bool marks_server_news(struct marks *m, uint32_t server, const char *text)
{
    return news(&m->servers[server].said, text);
}
