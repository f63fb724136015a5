/* A day of a large service, by a simulated clock: a hundred thousand accounts
 * on three thousand servers, of which a third are a few hosters' sections. No limit is ever
 * exceeded, nobody is forgotten, and there is no storm at the start. */
#include "daemon/due_heap.h"
#include "tests/support/scheduler_world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ACCOUNTS 100000u
#define SERVERS 3000u
#define HOSTERS 10u   /* addresses of a hundred sections each */
#define SHARED 1000u  /* sections that are there: the first ones */
#define BUSY_HOSTER 0 /* cannot hold what its accounts want */
#define ADDRESSES (HOSTERS + SERVERS)
#define AT_ONCE 4096u
#define DAY (24 * HOUR)
#define WINDOW 60u /* seconds */
#define POLL_LONG (4 * HOUR)
/* All of this hoster's accounts are asked for at once, and its sessions are short. */
#define RUSH_HOSTER 1
#define RUSH_AT (START + 6 * HOUR)
#define SHORT_MS 20
#define OUTAGE_FROM (START + 12 * HOUR)
#define OUTAGE_TO (OUTAGE_FROM + HOUR / 2)
/* First sessions: a hundred a second in the mean, and what chance does to that. */
#define STARTS_A_SECOND_MAX 160u
#define LATE_MAX (2 * MINUTE)

struct address {
    uint32_t running, limit, lowest_limit;
    uint32_t in_window, second[WINDOW]; /* logins */
    uint64_t last_s;
    uint64_t wanted; /* logins in a thousand minutes */
};

struct day {
    struct config config;
    struct config_server *servers;
    struct config_account *accounts;
    char (*names)[16], (*hosts)[16];
    struct address *addresses;
    uint32_t *server_running, *server_sessions, *account_sessions;
    uint64_t *due; /* of each account; 0: not known */
    struct due_heap ends;
    struct scheduler *s;
    uint64_t random, decisions, late_most;
    uint32_t running, this_second, second_most[2]; /* at the start, later */
    uint64_t now_s;
};

static uint32_t random_below(struct day *d, uint32_t below)
{
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->random >> 33) % below);
}

/* Every tenth of those with an address of their own has one of a hoster's as well. */
static uint32_t addresses_of(uint32_t server, uint32_t out[2])
{
    if (server < SHARED) {
        out[0] = server % HOSTERS;
        return 1;
    }
    out[0] = HOSTERS + server;
    out[1] = 1 + server / 10 % (HOSTERS - 1);
    return server % 10 == 0 ? 2 : 1;
}

static struct resolver_answer answer_of(uint32_t server)
{
    struct resolver_answer answer = {.text = ""};
    uint32_t at[2];
    answer.count = addresses_of(server, at);
    for (size_t i = 0; i < answer.count; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x0a000000u + at[i])};
        memcpy(&answer.addresses[i].address, &in, sizeof(in));
        answer.addresses[i].size = sizeof(in);
    }
    return answer;
}

static uint32_t limit_of(uint32_t server)
{
    if (server >= SHARED)
        return 1 + server % 16;
    return server % HOSTERS == BUSY_HOSTER ? 1 : 40 + server % 7;
}

static void make_servers(struct day *d)
{
    for (uint32_t i = 0; i < SERVERS; i++) {
        uint32_t at[2], count = addresses_of(i, at);
        snprintf(d->hosts[i], sizeof(d->hosts[i]), "h%05u", (unsigned)i);
        if (i >= SHARED && count == 2)
            d->servers[i].max_connections = 60;
        else
            d->servers[i].max_connections = limit_of(i);
        d->servers[i].name = d->servers[i].host = d->hosts[i];
        d->servers[i].port = 995;
        for (uint32_t k = 0; k < count; k++) {
            struct address *a = &d->addresses[at[k]];
            uint32_t limit = d->servers[i].max_connections;
            a->limit = a->limit == 0 || limit < a->limit ? limit : a->limit;
        }
    }
}

static void make_accounts(struct day *d)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        uint32_t at[2], count = addresses_of(i % SERVERS, at);
        snprintf(d->names[i], sizeof(d->names[i]), "a%06u", (unsigned)i);
        d->accounts[i] = (struct config_account){.name = d->names[i],
                                                 .user = d->names[i],
                                                 .server = &d->servers[i % SERVERS],
                                                 .poll_ms = POLL_LONG};
        for (uint32_t k = 0; k < count; k++)
            d->addresses[at[k]].wanted += 1000 * MINUTE / POLL_LONG;
    }
    d->config = (struct config){.servers = d->servers,
                                .server_count = SERVERS,
                                .accounts = d->accounts,
                                .account_count = ACCOUNTS};
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void start_day(struct day *d)
{
    *d = (struct day){.random = 1};
    d->servers = calloc(SERVERS, sizeof(*d->servers));
    d->hosts = calloc(SERVERS, sizeof(*d->hosts));
    d->accounts = calloc(ACCOUNTS, sizeof(*d->accounts));
    d->names = calloc(ACCOUNTS, sizeof(*d->names));
    d->addresses = calloc(ADDRESSES, sizeof(*d->addresses));
    d->server_running = calloc(SERVERS, sizeof(*d->server_running));
    d->server_sessions = calloc(SERVERS, sizeof(*d->server_sessions));
    d->account_sessions = calloc(ACCOUNTS, sizeof(*d->account_sessions));
    d->due = calloc(ACCOUNTS, sizeof(*d->due));
    assert_true(d->servers != NULL && d->hosts != NULL && d->accounts != NULL &&
                d->names != NULL && d->addresses != NULL && d->server_running != NULL &&
                d->server_sessions != NULL && d->account_sessions != NULL &&
                d->due != NULL);
    assert_int_equal(due_heap_init(&d->ends, ACCOUNTS), 0);
    make_servers(d);
    make_accounts(d);
    uint64_t began = cpu_ns();
    assert_int_equal(scheduler_new(&d->config, NULL, SCHEDULER_SERVICE, 1, START, &d->s),
                     0);
    print_message("# %u accounts: scheduler_new() took %.0f ms of CPU\n", ACCOUNTS,
                  (double)(cpu_ns() - began) / 1e6);
}

static void end_day(struct day *d)
{
    scheduler_free(d->s);
    due_heap_free(&d->ends);
    free(d->servers);
    free(d->hosts);
    free(d->accounts);
    free(d->names);
    free(d->addresses);
    free(d->server_running);
    free(d->server_sessions);
    free(d->account_sessions);
    free(d->due);
}

/* Seconds that have gone out of the window are counted no more. */
static void count_login(struct address *a, uint64_t now_s)
{
    for (uint64_t s = a->last_s + 1; s <= now_s && s <= a->last_s + WINDOW; s++) {
        a->in_window -= a->second[s % WINDOW];
        a->second[s % WINDOW] = 0;
    }
    a->last_s = now_s;
    a->second[now_s % WINDOW]++;
    a->in_window++;
}

static uint64_t logins_allowed(const struct address *a)
{
    uint64_t pace = (uint64_t)SITES_LOGINS_A_MINUTE * a->limit,
             wanted = 2 * a->wanted / 1000;
    return (pace > wanted ? pace : wanted) + (uint64_t)SITES_LOGINS_BURST * a->limit;
}

static void count_second(struct day *d, uint64_t now)
{
    uint32_t *most = &d->second_most[now >= START + POLL_LONG];
    if (now / SECOND != d->now_s)
        d->this_second = 0;
    d->now_s = now / SECOND;
    d->this_second++;
    *most = d->this_second > *most ? d->this_second : *most;
}

static bool is_out(uint64_t now)
{
    return now >= OUTAGE_FROM && now < OUTAGE_TO;
}

static bool is_at_hoster(uint32_t account, uint32_t hoster)
{
    return account % SERVERS < SHARED && account % SERVERS % HOSTERS == hoster;
}

/* Of the time before the outage, and where there is room for everyone. */
static void look_at_lateness(struct day *d, uint32_t account, uint64_t now)
{
    if (d->due[account] == 0 || now >= OUTAGE_FROM || is_at_hoster(account, BUSY_HOSTER))
        return;
    uint64_t late = now - d->due[account];
    d->late_most = late > d->late_most ? late : d->late_most;
}

static uint64_t length_ms(struct day *d, uint32_t account)
{
    if (is_at_hoster(account, RUSH_HOSTER))
        return SHORT_MS;
    return SECOND + random_below(d, 9 * SECOND);
}

static void begin_session(struct day *d, uint32_t account, uint64_t now)
{
    uint32_t server = account % SERVERS, at[2], count = addresses_of(server, at);
    assert_true(++d->server_running[server] <= d->servers[server].max_connections);
    for (uint32_t i = 0; i < count; i++) {
        struct address *a = &d->addresses[at[i]];
        assert_true(++a->running <= a->limit);
        count_login(a, now / SECOND);
        assert_true(a->in_window <= logins_allowed(a));
    }
    count_second(d, now);
    look_at_lateness(d, account, now);
    d->running++;
    d->server_sessions[server] += now < OUTAGE_FROM;
    d->account_sessions[account]++;
    due_heap_set(&d->ends, account, now + length_ms(d, account));
}

static void end_session(struct day *d, uint32_t account, uint64_t now)
{
    uint32_t server = account % SERVERS, at[2], count = addresses_of(server, at);
    uint32_t failures = 0;
    due_heap_remove(&d->ends, account);
    d->server_running[server]--;
    d->running--;
    for (uint32_t i = 0; i < count; i++)
        d->addresses[at[i]].running--;
    scheduler_done(d->s, account, is_out(now) ? &ended_down : &ended_good, now);
    scheduler_status(d->s, account, &d->due[account], &failures);
}

static void begin_all(struct day *d, uint64_t now)
{
    uint32_t account = 0, server = 0;
    bool looked_up = true;
    while (looked_up) {
        while (d->running < AT_ONCE && scheduler_next(d->s, now, &account)) {
            begin_session(d, account, now);
            d->decisions++;
        }
        for (looked_up = false; scheduler_lookup(d->s, &server); looked_up = true) {
            struct resolver_answer answer = answer_of(server);
            scheduler_located(d->s, server, &answer, now);
        }
    }
}

static void rush(struct day *d, uint64_t now)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        if (is_at_hoster(i, RUSH_HOSTER)) {
            scheduler_hurry(d->s, i, now);
            d->due[i] = 0;
        }
}

static void pass_the_day(struct day *d)
{
    uint64_t now = START;
    bool rushed = false;
    while (now < START + DAY) {
        if (now >= RUSH_AT && !rushed)
            rush(d, now);
        rushed = now >= RUSH_AT;
        uint32_t account = 0;
        uint64_t end = UINT64_MAX;
        begin_all(d, now);
        uint64_t wait = d->running < AT_ONCE ? scheduler_wait_ms(d->s, now) : UINT64_MAX;
        (void)due_heap_first(&d->ends, &account, &end);
        assert_true(wait > 0 && (wait != UINT64_MAX || end != UINT64_MAX));
        if (wait < end - now) {
            now += wait;
            continue;
        }
        now = end;
        end_session(d, account, now);
    }
}

/* Sections at the hoster that is too small for them, until back-offs make a difference. */
static void look_at_fairness(const struct day *d)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = BUSY_HOSTER; i < SHARED; i += HOSTERS) {
        least = d->server_sessions[i] < least ? d->server_sessions[i] : least;
        most = d->server_sessions[i] > most ? d->server_sessions[i] : most;
    }
    print_message("# sections of an overloaded address: %u to %u sessions\n", least, most);
    assert_true(least > 0 && most - least <= least / 20 + 2);
}

static void q46_a_day_of_a_hundred_thousand_accounts(void **state)
{
    (void)state;
    struct day d;
    start_day(&d);
    uint64_t began = cpu_ns();
    pass_the_day(&d);
    print_message("# %llu sessions, %.2f us of CPU each, the test's own part included\n",
                  (unsigned long long)d.decisions,
                  (double)(cpu_ns() - began) / 1e3 / (double)d.decisions);
    print_message("# starts a second at most: %u at first, %u later; %.1f s late at most\n",
                  d.second_most[0], d.second_most[1], (double)d.late_most / SECOND);
    assert_in_range(d.second_most[0], 1, STARTS_A_SECOND_MAX);
    assert_true(d.late_most <= LATE_MAX);
    look_at_fairness(&d);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        if (!is_at_hoster(i, BUSY_HOSTER))
            assert_in_range(d.account_sessions[i], 5, 12);
    end_day(&d);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q46_a_day_of_a_hundred_thousand_accounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
