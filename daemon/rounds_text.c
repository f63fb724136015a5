#include "daemon/progress.h"
#include "daemon/rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_TEXT_SIZE 256

bool rounds_incomplete(const struct session_end *end)
{
    return end->outcome.scope != SCOPE_NONE || end->counts.refused > 0 ||
           end->counts.quarantined > 0 || end->counts.kept > 0;
}

/* The messages that the server refused, or "". Those put aside are a line each. */
static void sentence_of_messages(const struct pool_counts *counts,
                                 char out[MESSAGES_TEXT_SIZE])
{
    char count[COUNT_TEXT_SIZE];
    out[0] = '\0';
    count_text(count, counts->refused > 0 ? counts->refused : counts->kept);
    if (counts->refused > 0)
        (void)snprintf(out, MESSAGES_TEXT_SIZE,
                       "The server refused to give %s of the messages it listed; they are "
                       "asked for again with every session.",
                       count);
    else if (counts->kept > 0)
        (void)snprintf(out, MESSAGES_TEXT_SIZE,
                       "Of the messages to be deleted the server refused %s, or did not "
                       "say; the next listing shows it.",
                       count);
}

void rounds_sentence(const struct rounds *r, const struct session_end *end,
                     char out[ROUNDS_SENTENCE_SIZE])
{
    const struct config_server *server = r->config->accounts[end->account].server;
    char where[CONFIG_NAME_MAX + 16] = "", messages[MESSAGES_TEXT_SIZE];
    const char *text = end->outcome.scope != SCOPE_NONE ? end->outcome.text : "";
    out[0] = '\0';
    sentence_of_messages(&end->counts, messages);
    if (text[0] == '\0' && messages[0] == '\0')
        return;
    if (end->held && strstr(text, server->host) == NULL)
        (void)snprintf(where, sizeof(where), "%s:%u: ", server->host, server->port);
    (void)snprintf(out, ROUNDS_SENTENCE_SIZE, "%s%s%s%s", where, text,
                   text[0] != '\0' && messages[0] != '\0' ? " " : "", messages);
}

/* How many servers have a selected account. */
static size_t count_selected(const struct config *config, const bool *selected,
                             size_t *out_servers)
{
    size_t accounts = 0, servers = 0;
    bool *seen = calloc(config->server_count + 1, sizeof(*seen));
    for (size_t i = 0; i < config->account_count; i++) {
        size_t server = (size_t)(config->accounts[i].server - config->servers);
        if (selected != NULL && !selected[i])
            continue;
        accounts++;
        if (seen != NULL && !seen[server])
            servers++;
        if (seen != NULL)
            seen[server] = true;
    }
    free(seen);
    *out_servers = servers;
    return accounts;
}

void rounds_announce(const struct rounds *r, const bool *selected)
{
    size_t servers = 0, accounts = count_selected(r->config, selected, &servers);
    struct log_event e;
    log_begin(&e, r->log, LEVEL_INFO, "mailcaskd has started");
    log_text(&e, "version", MAILCASK_VERSION);
    log_text(&e, "archive", r->config->archive_path);
    log_text(&e, "loop", sessions_describe(r->sessions));
    log_number(&e, "accounts", accounts);
    log_number(&e, "servers", servers);
    log_end(&e);
}

void rounds_event(struct log_event *e, const struct rounds *r, enum log_level level,
                  const char *message, uint32_t account, uint64_t session)
{
    const struct config_account *at = &r->config->accounts[account];
    log_begin(e, r->log, level, message);
    log_text(e, "account", at->name);
    log_text(e, "server", at->server->name);
    if (session != 0)
        log_number(e, "session", session);
}
