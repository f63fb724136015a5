#include "daemon/pauses.h"

#include "archive/bytes.h"
#include "archive/error.h"
#include "archive/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_FIRST_LINE "mailcask pauses 1"
#define FILE_LINE_SIZE (CONFIG_NAME_MAX + 64)

/* 0: not paused */
struct pauses {
    const struct config *config;
    int64_t all_s;
    int64_t *servers_s, *accounts_s;
    bool changed;
};

int pauses_new(const struct config *config, struct pauses **out)
{
    struct pauses *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->config = config;
    /* One more than needed: calloc(0) may be NULL. */
    p->servers_s = calloc(config->server_count + 1, sizeof(*p->servers_s));
    p->accounts_s = calloc(config->account_count + 1, sizeof(*p->accounts_s));
    if (p->servers_s == NULL || p->accounts_s == NULL) {
        pauses_free(p);
        return -ENOMEM;
    }
    *out = p;
    return 0;
}

void pauses_free(struct pauses *p)
{
    if (p == NULL)
        return;
    free(p->servers_s);
    free(p->accounts_s);
    free(p);
}

static size_t count_of(const struct pauses *p)
{
    size_t count = p->all_s != 0;
    for (size_t i = 0; i < p->config->server_count; i++)
        count += p->servers_s[i] != 0;
    for (size_t i = 0; i < p->config->account_count; i++)
        count += p->accounts_s[i] != 0;
    return count;
}

void pauses_adopt(struct pauses *p, const struct pauses *old)
{
    const struct config *now = p->config, *before = old->config;
    p->all_s = old->all_s;
    p->changed = old->changed;
    for (size_t i = 0; i < now->server_count; i++) {
        const struct config_server *server =
            config_find_server(before, now->servers[i].name);
        if (server != NULL)
            p->servers_s[i] = old->servers_s[server - before->servers];
    }
    for (size_t i = 0; i < now->account_count; i++) {
        const struct config_account *account =
            config_find_account(before, now->accounts[i].name);
        if (account != NULL)
            p->accounts_s[i] = old->accounts_s[account - before->accounts];
    }
    /* What left must not come back by a restart, from the file. */
    p->changed |= count_of(p) < count_of(old);
}

static int64_t *since_of(struct pauses *p, enum pause_scope scope, uint32_t index)
{
    switch (scope) {
    case PAUSE_ACCOUNT:
        return &p->accounts_s[index];
    case PAUSE_SERVER:
        return &p->servers_s[index];
    case PAUSE_ALL:
        return &p->all_s;
    case PAUSE_NONE:
        break;
    }
    abort();
}

void pauses_begin(struct pauses *p, enum pause_scope scope, uint32_t index, int64_t now_s)
{
    int64_t *since_s = since_of(p, scope, index);
    if (*since_s != 0)
        return;
    *since_s = now_s;
    p->changed = true;
}

void pauses_end(struct pauses *p, enum pause_scope scope, uint32_t index)
{
    *since_of(p, scope, index) = 0;
    p->changed = true;
    if (scope != PAUSE_ALL)
        return;
    memset(p->servers_s, 0, p->config->server_count * sizeof(*p->servers_s));
    memset(p->accounts_s, 0, p->config->account_count * sizeof(*p->accounts_s));
}

int64_t pauses_since(const struct pauses *p, enum pause_scope scope, uint32_t index)
{
    if (scope == PAUSE_ALL)
        return p->all_s;
    return scope == PAUSE_SERVER ? p->servers_s[index] : p->accounts_s[index];
}

enum pause_scope pauses_of_account(const struct pauses *p, uint32_t account,
                                   int64_t *out_since_s)
{
    const struct config *config = p->config;
    size_t server = (size_t)(config->accounts[account].server - config->servers);
    *out_since_s = p->accounts_s[account];
    if (*out_since_s != 0)
        return PAUSE_ACCOUNT;
    *out_since_s = p->servers_s[server];
    if (*out_since_s != 0)
        return PAUSE_SERVER;
    *out_since_s = p->all_s;
    return *out_since_s != 0 ? PAUSE_ALL : PAUSE_NONE;
}

/* The file: a line for each pause, the name of what is paused last. */

bool pauses_changed(const struct pauses *p)
{
    return p->changed;
}

static void put_line(struct buffer *out, const char *kind, int64_t since_s,
                     const char *name)
{
    char line[FILE_LINE_SIZE];
    if (since_s == 0)
        return;
    int size = snprintf(line, sizeof(line), "%s %" PRId64 " %s\n", kind, since_s, name);
    if (out->size + (size_t)size <= PAUSES_FILE_MAX)
        buffer_put(out, line, (size_t)size);
}

int pauses_save(struct pauses *p, const char *path)
{
    static const char first[] = FILE_FIRST_LINE "\n";
    struct buffer out = {0};
    buffer_put(&out, first, sizeof(first) - 1);
    put_line(&out, "all", p->all_s, "-");
    for (size_t i = 0; i < p->config->server_count; i++)
        put_line(&out, "server", p->servers_s[i], p->config->servers[i].name);
    for (size_t i = 0; i < p->config->account_count; i++)
        put_line(&out, "account", p->accounts_s[i], p->config->accounts[i].name);
    int err =
        out.failed ? -ENOMEM : file_replace(&system_files, path, out.data, out.size, 0600);
    buffer_free(&out);
    if (err == 0)
        p->changed = false;
    return err;
}

static void take_line(struct pauses *p, const char *line)
{
    char kind[8] = "";
    int64_t since_s = 0;
    int name = 0;
    if (sscanf(line, "%7s %" SCNd64 " %n", kind, &since_s, &name) != 2 || name == 0 ||
        since_s <= 0)
        return;
    const struct config_server *server = config_find_server(p->config, line + name);
    const struct config_account *account = config_find_account(p->config, line + name);
    if (strcmp(kind, "all") == 0)
        p->all_s = since_s;
    else if (strcmp(kind, "server") == 0 && server != NULL)
        p->servers_s[server - p->config->servers] = since_s;
    else if (strcmp(kind, "account") == 0 && account != NULL)
        p->accounts_s[account - p->config->accounts] = since_s;
}

int pauses_load(struct pauses *p, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    int err = file_load(&system_files, path, PAUSES_FILE_MAX, &text, &size);
    if (err != 0)
        return err == -ENOENT ? 0 : err;
    /* Cut first: sscanf() looks for the end of what it is given. */
    char *rest = text;
    const char *line = strsep(&rest, "\n");
    if (strcmp(line, FILE_FIRST_LINE) != 0)
        err = ERR_SYNTAX;
    while (err == 0 && (line = strsep(&rest, "\n")) != NULL)
        take_line(p, line);
    free(text);
    return err;
}
