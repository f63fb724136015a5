#include "archive/error.h"
#include "daemon/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* As config_same_mailbox() sees it. */
static int compare_mailboxes(const void *left, const void *right)
{
    const struct config_account *a = *(const struct config_account *const *)left;
    const struct config_account *b = *(const struct config_account *const *)right;
    int order = strcasecmp(a->server->host, b->server->host);
    if (order == 0)
        order = (a->server->port > b->server->port) - (a->server->port < b->server->port);
    if (order == 0)
        order = (a->server->tls > b->server->tls) - (a->server->tls < b->server->tls);
    return order != 0 ? order : strcmp(a->user, b->user);
}

static int refuse(const struct config_account *a, const struct config_account *b,
                  struct config_error *error)
{
    const struct config_account *deletes = a->delete_rule != CONFIG_DELETE_NEVER ? a : b;
    const struct config_account *other = deletes == a ? b : a;
    return config_error_set(error, deletes->file, deletes->line,
                            "account '%s' may delete from the mailbox of account '%s', "
                            "which may not have fetched it; allowed: delete = never for "
                            "both, or one account for a mailbox",
                            deletes->name, other->name);
}

static bool any_deletes(const struct config *config)
{
    for (size_t i = 0; i < config->account_count; i++)
        if (config->accounts[i].delete_rule != CONFIG_DELETE_NEVER)
            return true;
    return false;
}

int config_check_mailboxes(const struct config *config, struct config_error *error)
{
    int err = 0;
    if (!any_deletes(config))
        return 0;
    const struct config_account **sorted =
        calloc(config->account_count, sizeof(const struct config_account *));
    if (sorted == NULL) {
        config_error_set(error, config->path, 0, "out of memory");
        return -ENOMEM;
    }
    for (size_t i = 0; i < config->account_count; i++)
        sorted[i] = &config->accounts[i];
    qsort(sorted, config->account_count, sizeof(const struct config_account *),
          compare_mailboxes);
    for (size_t i = 1; i < config->account_count && err == 0; i++)
        if (compare_mailboxes(&sorted[i - 1], &sorted[i]) == 0 &&
            (sorted[i - 1]->delete_rule != CONFIG_DELETE_NEVER ||
             sorted[i]->delete_rule != CONFIG_DELETE_NEVER))
            err = refuse(sorted[i - 1], sorted[i], error);
    free(sorted);
    return err;
}
