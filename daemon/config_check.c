#include "archive/error.h"
#include "daemon/config.h"
#include "daemon/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    void (*report)(void *ctx, const char *problem);
    void *ctx;
    size_t problems;
};

static void report(struct check *check, const struct config_error *error)
{
    check->report(check->ctx, error->text);
    check->problems++;
}

static void check_archive(struct check *check, const struct config *config)
{
    const char *path = config->archive_path;
    struct config_error error;
    struct stat st;
    if (stat(path, &st) < 0 && errno == ENOENT)
        config_error_set(&error, path, 0,
                         "the archive's folder does not exist; run: mailcask init %s",
                         path);
    else if (access(path, R_OK | W_OK | X_OK) < 0)
        config_error_set(&error, path, 0, "the archive's folder cannot be used: %s",
                         error_text(-errno));
    else if (!S_ISDIR(st.st_mode))
        config_error_set(&error, path, 0, "the archive's path is not a folder");
    else
        return;
    report(check, &error);
}

static void check_account(struct check *check, const struct config_account *account)
{
    struct secret_error problem;
    if (secret_check(account, &problem) == 0)
        return;
    struct config_error error;
    config_error_set(&error, account->file, account->line, "account '%s': %s",
                     account->name, problem.text);
    report(check, &error);
}

size_t config_check(const struct config *config,
                    void (*report_problem)(void *ctx, const char *problem), void *ctx)
{
    struct check check = {.report = report_problem, .ctx = ctx};
    check_archive(&check, config);
    for (size_t i = 0; i < config->account_count; i++)
        check_account(&check, &config->accounts[i]);
    return check.problems;
}
