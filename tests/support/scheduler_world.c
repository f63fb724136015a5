#include "tests/support/scheduler_world.h"

#include "archive/error.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

const struct outcome ended_good = {.scope = SCOPE_NONE, .retry = RETRY_NONE};
const struct outcome ended_more = {.scope = SCOPE_NONE, .retry = RETRY_NONE, .more = true};
const struct outcome ended_busy = {.scope = SCOPE_MAILBOX, .retry = RETRY_BACKOFF};
const struct outcome ended_failed = {.scope = SCOPE_ACCOUNT, .retry = RETRY_BACKOFF};
const struct outcome ended_denied = {.scope = SCOPE_ACCOUNT, .retry = RETRY_NEVER};
const struct outcome ended_stale = {.scope = SCOPE_MAILBOX, .retry = RETRY_NOW};
const struct outcome ended_down = {.scope = SCOPE_SERVER, .retry = RETRY_BACKOFF};
const struct outcome ended_distrusted = {.scope = SCOPE_SERVER, .retry = RETRY_NEVER};

void world_make(struct world *w, uint32_t servers, uint32_t accounts, uint32_t limit)
{
    static const char *const hosts[SERVERS_MAX] = {"a", "b", "c", "d"};
    *w = (struct world){0};
    for (uint32_t i = 0; i < servers; i++) {
        w->servers[i] = (struct config_server){
            .name = hosts[i], .host = hosts[i], .port = 995, .max_connections = limit};
        snprintf(w->addresses[i][0], sizeof(w->addresses[i][0]), "192.0.2.%u", i + 1);
    }
    for (uint32_t i = 0; i < accounts; i++) {
        snprintf(w->names[i], sizeof(w->names[i]), "account%03u", (unsigned)i);
        w->accounts[i] = (struct config_account){.name = w->names[i],
                                                 .user = w->names[i],
                                                 .server = &w->servers[i % servers],
                                                 .poll_ms = POLL};
    }
    w->config = (struct config){.servers = w->servers,
                                .server_count = servers,
                                .accounts = w->accounts,
                                .account_count = accounts};
}

static void add_address(struct resolver_answer *answer, const char *text)
{
    struct resolver_address *to = &answer->addresses[answer->count];
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (text[0] == '\0')
        return;
    answer->count++;
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&to->address, &in, sizeof(in));
        to->size = sizeof(in);
        return;
    }
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    memcpy(&to->address, &in6, sizeof(in6));
    to->size = sizeof(in6);
}

struct resolver_answer world_answer(const char *a, const char *b)
{
    struct resolver_answer answer = {.text = "as the test has it"};
    add_address(&answer, a);
    add_address(&answer, b);
    answer.err = answer.count > 0 ? 0 : ERR_NOT_FOUND;
    return answer;
}

uint32_t world_locate(struct world *w, uint64_t now)
{
    uint32_t server = 0, count = 0;
    while (scheduler_lookup(w->s, &server)) {
        struct resolver_answer answer =
            world_answer(w->addresses[server][0], w->addresses[server][1]);
        scheduler_located(w->s, server, &answer, now);
        count++;
    }
    return count;
}

bool world_next(struct world *w, uint64_t now, uint32_t *out_account)
{
    do {
        if (scheduler_next(w->s, now, out_account))
            return true;
    } while (world_locate(w, now) > 0);
    return false;
}

void world_start(struct world *w, enum scheduler_mode mode)
{
    assert_int_equal(scheduler_new(&w->config, NULL, mode, 1, START, &w->s), 0);
}

uint32_t world_take(struct world *w, uint64_t now)
{
    uint32_t account = UINT32_MAX;
    assert_true(world_next(w, now, &account));
    assert_true(account < w->config.account_count);
    return account;
}

void world_take_nothing(struct world *w, uint64_t now)
{
    uint32_t account = UINT32_MAX;
    assert_false(world_next(w, now, &account));
}

uint64_t world_due(const struct world *w, uint32_t account)
{
    uint64_t due = 0;
    uint32_t failures = 0;
    scheduler_status(w->s, account, &due, &failures);
    return due;
}

enum scheduler_state world_state(const struct world *w, uint32_t account)
{
    uint64_t due = 0;
    uint32_t failures = 0;
    return scheduler_status(w->s, account, &due, &failures);
}

uint64_t world_after_spread(void)
{
    return START + 2 * MINUTE;
}
