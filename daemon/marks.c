#include "daemon/marks.h"

#include "archive/bytes.h"
#include "archive/files.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_FIRST_LINE "mailcask marks 1"
#define FILE_LINE_SIZE (CONFIG_NAME_MAX + 128)
#define HASH_START 0xcbf29ce484222325u

struct server_marks {
    bool no_capa, window_one;
    int64_t learnt_s; /* CLOCK_REALTIME, from marks_save() on; 0: since then */
};

struct marks {
    const struct config *config;
    struct server_marks *servers;
    struct pool_marks *accounts; /* the server's part of it is in struct server_marks */
    struct day_bytes *days;      /* of the accounts */
    bool *listing_asked;         /* for each account: marks_ask_listing() */
    bool changed;
};

/* FNV-1a */
static uint64_t hash_byte(uint64_t hash, int byte)
{
    return (hash ^ (unsigned char)byte) * 0x100000001b3u;
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
    m->days = calloc(config->account_count + 1, sizeof(*m->days));
    m->listing_asked = calloc(config->account_count + 1, sizeof(*m->listing_asked));
    if (m->servers == NULL || m->accounts == NULL || m->days == NULL ||
        m->listing_asked == NULL) {
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
    free(m->days);
    free(m->listing_asked);
    free(m);
}

void marks_adopt(struct marks *m, const struct marks *old)
{
    const struct config *now = m->config, *before = old->config;
    for (size_t i = 0; i < now->server_count; i++) {
        const struct config_server *server =
            config_find_server(before, now->servers[i].name);
        if (server != NULL && config_same_server(server, &now->servers[i]))
            m->servers[i] = old->servers[server - before->servers];
    }
    for (size_t i = 0; i < now->account_count; i++) {
        const struct config_account *account =
            config_find_account(before, now->accounts[i].name);
        if (account == NULL || !config_same_mailbox(account, &now->accounts[i]))
            continue;
        m->accounts[i] = old->accounts[account - before->accounts];
        m->days[i] = old->days[account - before->accounts];
        m->accounts[i].pop3.no_glance = false;
        marks_ask_listing(m, (uint32_t)i);
    }
    m->changed = old->changed;
}

static struct server_marks *server_of(const struct marks *m, uint32_t account)
{
    return &m->servers[m->config->accounts[account].server - m->config->servers];
}

void marks_ask_listing(struct marks *m, uint32_t account)
{
    m->listing_asked[account] = true;
}

void marks_get(struct marks *m, uint32_t account, struct pool_marks *out)
{
    const struct server_marks *server = server_of(m, account);
    if (m->listing_asked[account])
        m->accounts[account].run.glance = (struct pool_glance){0};
    m->listing_asked[account] = false;
    *out = m->accounts[account];
    out->pop3.no_capa = server->no_capa;
    out->pop3.window_one = server->window_one;
}

void marks_put(struct marks *m, uint32_t account, const struct pool_marks *marks)
{
    struct server_marks *server = server_of(m, account);
    struct pool_marks *mailbox = &m->accounts[account];
    const struct pop3_memory *pop3 = &marks->pop3;
    m->changed |= mailbox->trouble != marks->trouble ||
                  mailbox->trouble_count != marks->trouble_count ||
                  mailbox->pop3.blank_from != pop3->blank_from ||
                  mailbox->address != marks->address || server->no_capa < pop3->no_capa ||
                  server->window_one < pop3->window_one;
    *mailbox = *marks;
    /* Sessions that began before another one learned it know nothing of it. */
    server->no_capa |= pop3->no_capa;
    server->window_one |= pop3->window_one;
}

void marks_each_run(struct marks *m,
                    int (*write)(void *arg, uint32_t account, const struct pool_run *run),
                    void *arg)
{
    for (uint32_t i = 0; i < m->config->account_count; i++) {
        struct pool_run *run = &m->accounts[i].run;
        if (run->complete.count + run->unlisted.count > 0 && write(arg, i, run) == 0)
            run->complete.count = run->unlisted.count = 0;
    }
}

void marks_spend(struct marks *m, uint32_t account, int64_t now_s, uint64_t bytes)
{
    if (bytes == 0 || m->config->accounts[account].daily_bytes == 0)
        return;
    day_bytes_spend(&m->days[account], now_s, bytes);
    m->changed = true;
}

const struct day_bytes *marks_day(const struct marks *m, uint32_t account)
{
    return &m->days[account];
}

/* The file: a line for each server and account of which there is something to know, its
 * name last. */

bool marks_changed(const struct marks *m)
{
    return m->changed;
}

/* Equal for what marks_adopt() takes to be the same server and, with a user, mailbox. */
static uint64_t identity(const struct config_server *server, const char *user)
{
    uint64_t hash = HASH_START;
    for (const char *at = server->host; *at != '\0'; at++)
        hash = hash_byte(hash, tolower((unsigned char)*at));
    hash = hash_byte(hash_byte(hash, server->port >> 8), server->port);
    hash = hash_byte(hash, (int)server->tls);
    for (const char *at = user; *at != '\0'; at++)
        hash = hash_byte(hash, *at);
    return hash;
}

static void put_line(struct buffer *out, const char *line)
{
    if (out->size + strlen(line) <= MARKS_FILE_MAX)
        buffer_put(out, line, strlen(line));
}

static void put_server(struct buffer *out, const struct config_server *server,
                       const struct server_marks *marks)
{
    char line[FILE_LINE_SIZE];
    (void)snprintf(line, sizeof(line), "server %016" PRIx64 " %" PRId64 " %d %d %s\n",
                   identity(server, ""), marks->learnt_s, marks->no_capa, marks->window_one,
                   server->name);
    put_line(out, line);
}

static void put_account(struct buffer *out, const struct config_account *account,
                        const struct pool_marks *marks)
{
    char line[FILE_LINE_SIZE];
    if (marks->trouble == 0 && marks->pop3.login_delay_s == 0 &&
        marks->pop3.blank_from == 0 && marks->address == 0)
        return;
    (void)snprintf(line, sizeof(line),
                   "account %016" PRIx64 " %016" PRIx64 " %u %" PRIu32 " %" PRIu32
                   " %016" PRIx64 " %s\n",
                   identity(account->server, account->user), marks->trouble,
                   marks->trouble_count, marks->pop3.login_delay_s, marks->pop3.blank_from,
                   marks->address, account->name);
    put_line(out, line);
}

static void put_day(struct buffer *out, const struct config_account *account,
                    const struct day_bytes *day, int64_t now_s)
{
    char line[FILE_LINE_SIZE];
    if (account->daily_bytes == 0 || day_bytes_left(day, now_s, UINT64_MAX) == UINT64_MAX)
        return;
    (void)snprintf(line, sizeof(line),
                   "day %016" PRIx64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
                   " %" PRIu32 " %" PRIu32 " %s\n",
                   identity(account->server, account->user), day->quarter, day->kib[0],
                   day->kib[1], day->kib[2], day->kib[3], day->kib[4], account->name);
    put_line(out, line);
}

int marks_save(struct marks *m, const char *path, int64_t now_s)
{
    struct buffer out = {0};
    put_line(&out, FILE_FIRST_LINE "\n");
    for (size_t i = 0; i < m->config->server_count; i++) {
        struct server_marks *marks = &m->servers[i];
        if (!marks->no_capa && !marks->window_one)
            continue;
        if (marks->learnt_s == 0)
            marks->learnt_s = now_s;
        put_server(&out, &m->config->servers[i], marks);
    }
    for (size_t i = 0; i < m->config->account_count; i++)
        put_account(&out, &m->config->accounts[i], &m->accounts[i]);
    for (size_t i = 0; i < m->config->account_count; i++)
        put_day(&out, &m->config->accounts[i], &m->days[i], now_s);
    int err =
        out.failed ? -ENOMEM : file_replace(&system_files, path, out.data, out.size, 0600);
    buffer_free(&out);
    if (err == 0)
        m->changed = false;
    return err;
}

static void take_server(struct marks *m, const char *line, int64_t now_s)
{
    uint64_t id = 0;
    int64_t learnt_s = 0;
    unsigned no_capa = 0, window_one = 0;
    int name = 0;
    if (sscanf(line, "server %" SCNx64 " %" SCNd64 " %u %u %n", &id, &learnt_s, &no_capa,
               &window_one, &name) != 4 ||
        learnt_s > now_s || now_s - learnt_s > MARKS_SERVER_KEPT_S)
        return;
    const struct config_server *server = config_find_server(m->config, line + name);
    if (server == NULL || identity(server, "") != id)
        return;
    m->servers[server - m->config->servers] = (struct server_marks){
        .no_capa = no_capa != 0, .window_one = window_one != 0, .learnt_s = learnt_s};
}

static void take_account(struct marks *m, const char *line)
{
    struct pool_marks marks = {.trouble = 0};
    uint64_t id = 0;
    int name = 0;
    if (sscanf(line,
               "account %" SCNx64 " %" SCNx64 " %u %" SCNu32 " %" SCNu32 " %" SCNx64 " %n",
               &id, &marks.trouble, &marks.trouble_count, &marks.pop3.login_delay_s,
               &marks.pop3.blank_from, &marks.address, &name) != 6 ||
        marks.trouble_count > POOL_TROUBLE_MAX)
        return;
    const struct config_account *account = config_find_account(m->config, line + name);
    if (account != NULL && identity(account->server, account->user) == id)
        m->accounts[account - m->config->accounts] = marks;
}

static void take_day(struct marks *m, const char *line)
{
    struct day_bytes day = {0};
    uint64_t id = 0;
    int name = 0;
    if (sscanf(line,
               "day %" SCNx64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
               " %" SCNu32 " %n",
               &id, &day.quarter, &day.kib[0], &day.kib[1], &day.kib[2], &day.kib[3],
               &day.kib[4], &name) != 7)
        return;
    const struct config_account *account = config_find_account(m->config, line + name);
    if (account != NULL && identity(account->server, account->user) == id)
        m->days[account - m->config->accounts] = day;
}

void marks_load(struct marks *m, const char *path, int64_t now_s)
{
    char *text = NULL;
    size_t size = 0;
    if (file_load(&system_files, path, MARKS_FILE_MAX, &text, &size) != 0)
        return;
    /* Cut first: sscanf() looks for the end of what it is given. */
    char *rest = text;
    const char *line = strsep(&rest, "\n");
    bool ours = strcmp(line, FILE_FIRST_LINE) == 0;
    while (ours && (line = strsep(&rest, "\n")) != NULL) {
        take_server(m, line, now_s);
        take_account(m, line);
        take_day(m, line);
    }
    free(text);
}
