#include "daemon/config.h"

#include "archive/error.h"
#include "daemon/arena.h"
#include "daemon/config_draft.h"
#include "daemon/config_keys.h"
#include "daemon/config_value.h"
#include "daemon/providers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PORT_IMPLICIT 995 /* RFC 8314 */
#define PORT_STARTTLS 110 /* RFC 1939 */
#define NEAR_NAME_MAX 2

/* What config_load() allocates: everything in config points into the arena. */
struct loaded {
    struct config config; /* first: config_free() gets its address */
    struct arena arena;
};

/* A key's value: the section's own, its server's, or the default. */
struct setting {
    const char *text; /* NULL: none */
    const char *file;
    unsigned line;
};

static struct setting find_setting(enum config_key_id id, const struct config_draft *own,
                                   const struct config_draft *fallback)
{
    const struct config_draft *from = own->text[id] != NULL ? own : fallback;
    if (from != NULL && from->text[id] != NULL)
        return (struct setting){from->text[id], from->file, from->lines[id]};
    const char *text = config_keys[id].default_text;
    return (struct setting){*text != '\0' ? text : NULL, own->file, own->line};
}

/* The value of a setting that was checked when it was read. */
static struct config_value value_of(enum config_key_id id, const struct setting *setting)
{
    struct config_value value = {0};
    int err = config_value_parse(&config_keys[id], setting->text, &value);
    assert(err == 0);
    (void)err;
    return value;
}

static struct config_value own_value(enum config_key_id id, const struct config_draft *own,
                                     const struct config_draft *fallback)
{
    struct setting setting = find_setting(id, own, fallback);
    return value_of(id, &setting);
}

static int require_path(struct config_reader *r)
{
    if (r->archive.text[KEY_PATH] != NULL)
        return 0;
    return config_error_set(r->error, r->path, r->archive.line > 0 ? r->archive.line : 1,
                            "no path of an archive; allowed: a section [archive] with "
                            "'path = FOLDER'");
}

static int build_archive(struct config_reader *r, struct config *config)
{
    int err = require_path(r);
    if (err != 0)
        return err;
    config->archive_path = config_reader_path(r, r->archive.text[KEY_PATH]);
    if (config->archive_path == NULL)
        return config_reader_no_memory(r);
    size_t size = strlen(r->path) + 1;
    char *copy = arena_take(r->arena, size);
    if (copy == NULL)
        return config_reader_no_memory(r);
    memcpy(copy, r->path, size);
    config->path = copy;
    config->deletes = own_value(KEY_DELETES, &r->archive, NULL).on;
    config->log_level = own_value(KEY_LOG_LEVEL, &r->archive, NULL).log_level;
    config->require_reason = own_value(KEY_REQUIRE_REASON, &r->archive, NULL).on;
    config->max_memory_bytes = own_value(KEY_MAX_MEMORY, &r->archive, NULL).number;
    config->metrics = r->archive.text[KEY_METRICS];
    return 0;
}

static int build_ca_file(struct config_reader *r, const struct config_draft *draft,
                         struct config_server *server)
{
    if (draft->text[KEY_CA_FILE] == NULL)
        return 0;
    server->ca_file = config_reader_path(r, draft->text[KEY_CA_FILE]);
    if (server->ca_file == NULL)
        return config_reader_no_memory(r);
    if (access(server->ca_file, R_OK) == 0)
        return 0;
    return config_error_set(r->error, draft->file, draft->lines[KEY_CA_FILE],
                            "ca-file %s cannot be read: %s; allowed: %s", server->ca_file,
                            error_text(-errno), config_keys[KEY_CA_FILE].allowed);
}

/* What the section leaves open, as if it were written where the preset is. */
static void apply_preset(struct config_draft *draft)
{
    if (draft->text[KEY_PRESET] == NULL)
        return;
    const struct provider *provider = provider_by_preset(draft->text[KEY_PRESET]);
    const struct {
        enum config_key_id id;
        const char *text;
    } known[] = {{KEY_HOST, provider->hosts[0]}, {KEY_USER, provider->user}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (draft->text[known[i].id] != NULL || known[i].text == NULL)
            continue;
        draft->text[known[i].id] = known[i].text;
        draft->lines[known[i].id] = draft->lines[KEY_PRESET];
    }
}

static int build_server(struct config_reader *r, struct config_draft *draft,
                        struct config_server *server)
{
    apply_preset(draft);
    if (draft->text[KEY_HOST] == NULL)
        return config_error_set(r->error, draft->file, draft->line,
                                "server '%s' has no host; allowed: 'host = NAME', %s",
                                draft->name, config_keys[KEY_HOST].allowed);
    server->name = draft->name;
    server->host = draft->text[KEY_HOST];
    server->file = draft->file;
    server->line = draft->line;
    server->tls = own_value(KEY_TLS, draft, NULL).tls;
    server->tls_oldest = own_value(KEY_TLS_MIN, draft, NULL).tls_oldest;
    server->port = server->tls == CONFIG_TLS_IMPLICIT ? PORT_IMPLICIT : PORT_STARTTLS;
    if (draft->text[KEY_PORT] != NULL)
        server->port = (uint16_t)own_value(KEY_PORT, draft, NULL).number;
    server->max_connections = (uint32_t)own_value(KEY_MAX_CONNECTIONS, draft, NULL).number;
    if (draft->text[KEY_AVOID] != NULL)
        server->avoid = own_value(KEY_AVOID, draft, NULL).avoid;
    server->has_fingerprint = draft->text[KEY_FINGERPRINT] != NULL;
    if (server->has_fingerprint) {
        struct config_value value = own_value(KEY_FINGERPRINT, draft, NULL);
        memcpy(server->fingerprint, value.fingerprint, sizeof(server->fingerprint));
    }
    return build_ca_file(r, draft, server);
}

/* Of the three ways to a password at most one may stand in a section. */
static int check_password_kinds(struct config_reader *r, const struct config_draft *draft)
{
    unsigned line = 0;
    for (size_t id = KEY_PASSWORD_FILE; id <= KEY_PASSWORD; id++) {
        if (draft->text[id] == NULL)
            continue;
        if (line != 0)
            return config_error_set(
                r->error, draft->file, draft->lines[id] > line ? draft->lines[id] : line,
                "two passwords for '%s'; allowed: one of password-file, "
                "password-command, password",
                draft->name);
        line = draft->lines[id];
    }
    return 0;
}

static int build_servers(struct config_reader *r, struct config *config)
{
    int err = config_drafts_sort(&r->servers, "server", r->error);
    if (err != 0)
        return err;
    struct config_server *servers =
        arena_take(r->arena, r->servers.count * sizeof(*servers));
    if (servers == NULL)
        return config_reader_no_memory(r);
    for (size_t i = 0; i < r->servers.count && err == 0; i++) {
        err = build_server(r, &r->servers.items[i], &servers[i]);
        if (err == 0)
            err = check_password_kinds(r, &r->servers.items[i]);
    }
    config->servers = servers;
    config->server_count = r->servers.count;
    return err;
}

static int read_tables(struct config_reader *r)
{
    int err = 0;
    for (size_t i = 0; i < r->servers.count && err == 0; i++)
        err = config_reader_table(r, &r->servers.items[i]);
    return err;
}

/* The server most likely meant by an unknown name, or NULL. */
static const char *near_server(const struct config_reader *r, const char *name)
{
    for (size_t i = 0; i < r->servers.count; i++) {
        const char *other = r->servers.items[i].name;
        size_t distance = config_word_distance(name, other, NEAR_NAME_MAX);
        if (distance <= NEAR_NAME_MAX && distance * 2 <= strlen(other))
            return other;
    }
    return NULL;
}

static int unknown_server(struct config_reader *r, const struct config_draft *draft)
{
    const char *name = draft->text[KEY_SERVER];
    if (name == NULL)
        return config_error_set(r->error, draft->file, draft->line,
                                "account '%s' has no server; allowed: 'server = NAME' of a "
                                "[server NAME] section",
                                draft->name);
    const char *near = near_server(r, name);
    if (near != NULL)
        return config_error_set(r->error, draft->file, draft->lines[KEY_SERVER],
                                "unknown server '%s'; did you mean '%s'?", name, near);
    return config_error_set(r->error, draft->file, draft->lines[KEY_SERVER],
                            "unknown server '%s'; allowed: %s", name,
                            config_keys[KEY_SERVER].allowed);
}

/* A pattern with the account's name in it. */
static int expand(struct config_reader *r, enum config_key_id id,
                  const struct setting *setting, const char *name, const char **out)
{
    size_t size = 0;
    int err = config_value_expand(setting->text, name, NULL, &size);
    if (err == ERR_NOT_FOUND)
        return config_error_set(
            r->error, setting->file, setting->line,
            "account '%s' has no '@', so %%d in '%s' stands for nothing; "
            "allowed: %%a, %%u, %%%%",
            name, config_keys[id].name);
    assert(err == 0);
    char *text = arena_take(r->arena, size + 1);
    if (text == NULL)
        return config_reader_no_memory(r);
    err = config_value_expand(setting->text, name, text, &size);
    assert(err == 0);
    if (size == 0) /* u@ and @d are names, too */
        return config_error_set(r->error, setting->file, setting->line,
                                "the %s of account '%s' comes out empty; allowed: %s",
                                config_keys[id].name, name, config_keys[id].allowed);
    *out = text;
    return err;
}

/* The shell would read a name such as `a;b` as more than a word, and quoting it would have
 * to know what quotes the command puts around it. */
static int check_command_name(struct config_reader *r, const struct setting *setting,
                              const char *name, const char *expanded)
{
    if (strcmp(setting->text, expanded) == 0 || config_value_plain_word(name))
        return 0;
    return config_error_set(
        r->error, setting->file, setting->line,
        "account name '%s' in 'password-command' is not one plain word to "
        "the shell; allowed: letters, digits and @ + = : , . _ -, no "
        "leading -",
        name);
}

/* A password-file is a path, or "credential:NAME". */
static int build_password_file(struct config_reader *r, const struct config_draft *draft,
                               const struct setting *setting,
                               struct config_account *account)
{
    static const char prefix[] = "credential:";
    const char *text = account->password;
    if (strncmp(text, prefix, sizeof(prefix) - 1) != 0) {
        account->password = config_reader_path(r, text);
        return account->password != NULL ? 0 : config_reader_no_memory(r);
    }
    const char *name = text + sizeof(prefix) - 1;
    struct config_value value;
    if (config_value_parse(&config_keys[KEY_ACCOUNT], name, &value) != 0)
        return config_error_set(r->error, setting->file, setting->line,
                                "account '%s': bad name of a credential '%s'; allowed: %s",
                                draft->name, name, config_keys[KEY_ACCOUNT].allowed);
    account->password_kind = CONFIG_PASSWORD_CREDENTIAL;
    account->password = name;
    return 0;
}

static int build_password(struct config_reader *r, const struct config_draft *draft,
                          const struct config_draft *server, struct config_account *account)
{
    int err = check_password_kinds(r, draft);
    if (err != 0)
        return err;
    const struct config_draft *both[] = {draft, server};
    enum config_key_id id = KEY_COUNT;
    struct setting setting = {0};
    for (size_t i = 0; i < 2 && setting.text == NULL; i++)
        for (id = KEY_PASSWORD_FILE; id <= KEY_PASSWORD; id++) {
            setting = find_setting(id, both[i], NULL);
            if (setting.text != NULL)
                break;
        }
    if (setting.text == NULL)
        return config_error_set(
            r->error, draft->file, draft->line,
            "account '%s' has no password; allowed: one of password-file, "
            "password-command, password",
            draft->name);
    account->password_kind = id == KEY_PASSWORD_FILE      ? CONFIG_PASSWORD_FILE
                             : id == KEY_PASSWORD_COMMAND ? CONFIG_PASSWORD_COMMAND
                                                          : CONFIG_PASSWORD_TEXT;
    account->password = setting.text;
    if (account->password_kind == CONFIG_PASSWORD_TEXT)
        return 0;
    err = expand(r, id, &setting, draft->name, &account->password);
    if (err == 0 && account->password_kind == CONFIG_PASSWORD_COMMAND)
        err = check_command_name(r, &setting, draft->name, account->password);
    if (err == 0 && account->password_kind == CONFIG_PASSWORD_FILE)
        err = build_password_file(r, draft, &setting, account);
    return err;
}

static uint64_t build_daily_bytes(const struct config_draft *draft,
                                  const struct config_draft *server, const char *host)
{
    struct setting setting = find_setting(KEY_DAILY_BYTES, draft, server);
    if (setting.text == NULL)
        return provider_daily_bytes(host);
    return value_of(KEY_DAILY_BYTES, &setting).number;
}

static int build_poll(struct config_reader *r, const struct config_draft *draft,
                      const struct config_draft *server, struct config_account *account)
{
    struct setting quiet = find_setting(KEY_POLL_QUIET, draft, server);
    account->poll_ms = own_value(KEY_POLL, draft, server).number;
    account->poll_quiet_ms =
        quiet.text != NULL ? value_of(KEY_POLL_QUIET, &quiet).number : 0;
    if (quiet.text == NULL || account->poll_quiet_ms >= account->poll_ms)
        return 0;
    return config_error_set(r->error, quiet.file, quiet.line,
                            "poll-quiet of account '%s' is shorter than its poll; "
                            "allowed: %s",
                            draft->name, config_keys[KEY_POLL_QUIET].allowed);
}

static int build_account(struct config_reader *r, const struct config *config,
                         const struct config_draft *draft, struct config_account *account)
{
    const struct config_draft *server = NULL;
    if (draft->text[KEY_SERVER] != NULL)
        server = config_drafts_find(&r->servers, draft->text[KEY_SERVER]);
    if (server == NULL)
        return unknown_server(r, draft);
    account->name = draft->name;
    account->file = draft->file;
    account->line = draft->line;
    account->server = &config->servers[server - r->servers.items];
    account->trace = own_value(KEY_TRACE, draft, server).on;
    account->daily_bytes = build_daily_bytes(draft, server, account->server->host);
    struct config_value deletion = own_value(KEY_DELETE, draft, server);
    account->delete_rule = deletion.rule;
    account->delete_after_ms = deletion.number;
    struct setting user = find_setting(KEY_USER, draft, server);
    int err = expand(r, KEY_USER, &user, draft->name, &account->user);
    if (err == 0)
        err = build_poll(r, draft, server, account);
    return err != 0 ? err : build_password(r, draft, server, account);
}

static int build_accounts(struct config_reader *r, struct config *config)
{
    int err = config_drafts_sort(&r->accounts, "account", r->error);
    if (err != 0)
        return err;
    struct config_account *accounts =
        arena_take(r->arena, r->accounts.count * sizeof(*accounts));
    if (accounts == NULL)
        return config_reader_no_memory(r);
    for (size_t i = 0; i < r->accounts.count && err == 0; i++)
        err = build_account(r, config, &r->accounts.items[i], &accounts[i]);
    config->accounts = accounts;
    config->account_count = r->accounts.count;
    return err;
}

/* path and its folder as strings of the reader's arena: they outlive the caller's. */
static int start_reader(struct config_reader *r, const char *path)
{
    size_t size = strlen(path) + 1;
    char *copy = arena_take(r->arena, size), *folder = arena_take(r->arena, size);
    if (copy == NULL || folder == NULL) {
        r->path = path;
        return config_reader_no_memory(r);
    }
    memcpy(copy, path, size);
    const char *slash = strrchr(path, '/');
    if (slash != NULL)
        memcpy(folder, path, (size_t)(slash - path) + 1);
    r->path = copy;
    r->folder = folder;
    return 0;
}

int config_load(const char *path, struct config **out, struct config_error *error)
{
    struct loaded *loaded = calloc(1, sizeof(*loaded));
    if (loaded == NULL) {
        config_error_set(error, path, 0, "out of memory");
        return -ENOMEM;
    }
    struct config_reader r = {.arena = &loaded->arena, .error = error};
    int err = start_reader(&r, path);
    if (err == 0)
        err = config_reader_file(&r, NULL);
    if (err == 0)
        err = build_archive(&r, &loaded->config);
    if (err == 0)
        err = build_servers(&r, &loaded->config);
    if (err == 0)
        err = read_tables(&r);
    if (err == 0)
        err = build_accounts(&r, &loaded->config);
    if (err == 0)
        err = config_check_mailboxes(&loaded->config, error);
    config_reader_free(&r);
    if (err != 0) {
        config_free(&loaded->config);
        return err;
    }
    *out = &loaded->config;
    return 0;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    struct loaded *loaded = (struct loaded *)config;
    arena_free(&loaded->arena);
    free(loaded);
}

/* Read one key of [archive] and nothing else. */
static int read_key(struct config_reader *r, struct arena *arena, const char *path,
                    enum config_key_id key, struct config_error *error)
{
    *r = (struct config_reader){.arena = arena, .error = error};
    int err = start_reader(r, path);
    return err == 0 ? config_reader_file(r, &config_keys[key]) : err;
}

int config_archive_path(const char *path, char **out_path, struct config_error *error)
{
    struct arena arena = {0};
    struct config_reader r;
    int err = read_key(&r, &arena, path, KEY_PATH, error);
    if (err == 0)
        err = require_path(&r);
    if (err == 0) {
        const char *found = config_reader_path(&r, r.archive.text[KEY_PATH]);
        *out_path = found != NULL ? strdup(found) : NULL;
        if (*out_path == NULL)
            err = config_reader_no_memory(&r);
    }
    config_reader_free(&r);
    arena_free(&arena);
    return err;
}

static int read_switch(const char *path, enum config_key_id key, bool *out_on,
                       struct config_error *error)
{
    struct arena arena = {0};
    struct config_reader r;
    int err = read_key(&r, &arena, path, key, error);
    *out_on = err == 0 && own_value(key, &r.archive, NULL).on;
    config_reader_free(&r);
    arena_free(&arena);
    return err;
}

int config_archive_deletes(const char *path, bool *out_on, struct config_error *error)
{
    return read_switch(path, KEY_DELETES, out_on, error);
}

int config_archive_requires_reason(const char *path, bool *out_on,
                                   struct config_error *error)
{
    return read_switch(path, KEY_REQUIRE_REASON, out_on, error);
}

static int compare_account(const void *name, const void *account)
{
    return strcmp(name, ((const struct config_account *)account)->name);
}

static int compare_server(const void *name, const void *server)
{
    return strcmp(name, ((const struct config_server *)server)->name);
}

const struct config_account *config_find_account(const struct config *config,
                                                 const char *name)
{
    if (config->account_count == 0)
        return NULL;
    return bsearch(name, config->accounts, config->account_count, sizeof(*config->accounts),
                   compare_account);
}

const struct config_server *config_find_server(const struct config *config,
                                               const char *name)
{
    if (config->server_count == 0)
        return NULL;
    return bsearch(name, config->servers, config->server_count, sizeof(*config->servers),
                   compare_server);
}

bool config_same_server(const struct config_server *a, const struct config_server *b)
{
    return strcasecmp(a->host, b->host) == 0 && a->port == b->port && a->tls == b->tls;
}

bool config_same_mailbox(const struct config_account *a, const struct config_account *b)
{
    return config_same_server(a->server, b->server) && strcmp(a->user, b->user) == 0;
}
