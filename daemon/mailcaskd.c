/* mailcaskd: options and dispatch. */
#include "archive/error.h"
#include "daemon/command_line.h"
#include "daemon/config.h"
#include "daemon/config_help.h"
#include "daemon/exits.h"
#include "daemon/log.h"
#include "daemon/once.h"
#include "daemon/probe_command.h"
#include "daemon/process.h"
#include "daemon/service.h"
#include "daemon/signals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONFIG_VARIABLE "MAILCASK_CONFIG"
#define LOOP_VARIABLE "MAILCASK_LOOP"

static const char *config_path(const struct command_line *line)
{
    const char *path = line->config != NULL ? line->config : getenv(CONFIG_VARIABLE);
    return path != NULL && path[0] != '\0' ? path : NULL;
}

static void report_problem(void *log, const char *problem)
{
    log_line(log, "%s", problem);
}

/* Takes the configuration over. */
static int check(struct config *config, struct log *log)
{
    size_t problems = config_check(config, report_problem, log);
    if (problems == 0)
        (void)printf("configuration OK: %zu account%s on %zu server%s\n",
                     config->account_count, config->account_count == 1 ? "" : "s",
                     config->server_count, config->server_count == 1 ? "" : "s");
    config_free(config);
    return problems == 0 ? EXIT_DONE : EXIT_USAGE;
}

/* Takes the configuration over. */
static int probe(const struct command_line *line, struct config *config, struct log *log)
{
    int status = probe_command(line, config, log);
    config_free(config);
    return status;
}

/* Takes the configuration over. */
static int run(const struct command_line *line, const char *path, struct config *config,
               enum loop_backend backend, struct log *log)
{
    struct signals signals;
    int status = EXIT_CANNOT;
    int err = signals_open(&signals);
    if (err != 0) {
        config_free(config);
        log_say(log, LEVEL_ERROR, "cannot start", error_text(err));
    } else if (line->once) {
        status = once_run(&(struct once_config){.config = config,
                                                .names = line->accounts,
                                                .name_count = line->account_count,
                                                .trace = line->trace,
                                                .backend = backend,
                                                .log = log,
                                                .signals = &signals});
    } else {
        status = service_run(&(struct service_config){.path = path,
                                                      .config = config,
                                                      .backend = backend,
                                                      .log = log,
                                                      .signals = &signals});
    }
    signals_close(&signals);
    return status;
}

static int load_and_run(const struct command_line *line, struct log *log)
{
    if (line->has_log_level) {
        log->level = line->log_level;
        log->level_fixed = true;
    }
    const char *path = config_path(line), *loop = getenv(LOOP_VARIABLE);
    enum loop_backend backend = LOOP_AUTO;
    struct config *config = NULL;
    struct config_error error = {.text = ""};
    if (path == NULL) {
        log_line(log,
                 "mailcaskd: which configuration? Name it with --config FILE or in the "
                 "environment variable " CONFIG_VARIABLE);
        return EXIT_USAGE;
    }
    if (loop_backend_from_name(loop, &backend) != 0) {
        log_line(log, "mailcaskd: " LOOP_VARIABLE "=%s: allowed: uring or epoll", loop);
        return EXIT_USAGE;
    }
    int err = config_load(path, &config, &error);
    if (err != 0) {
        log_line(log, "mailcaskd: %s",
                 error.text[0] != '\0' ? error.text : error_text(err));
        return err == -ENOMEM ? EXIT_CANNOT : EXIT_USAGE;
    }
    log_configure(log, config->log_level);
    if (line->probe)
        return probe(line, config, log);
    return line->check_config ? check(config, log) : run(line, path, config, backend, log);
}

static int dispatch(const struct command_line *line, struct log *log)
{
    if (line->help) {
        command_line_help(stdout);
        return EXIT_DONE;
    }
    if (line->help_config) {
        config_help(stdout);
        return EXIT_DONE;
    }
    if (line->version) {
        (void)puts("mailcaskd " MAILCASK_VERSION);
        return EXIT_DONE;
    }
    if (line->error[0] != '\0') {
        log_line(log, "mailcaskd: %s", line->error);
        return EXIT_USAGE;
    }
    return load_and_run(line, log);
}

/* A result that could not be written is not done, unless its reader went away. */
static int close_output(int status, struct log *log)
{
    int failed = ferror(stdout);
    if (fflush(stdout) == 0 && !failed)
        return status;
    if (errno == EPIPE)
        return status;
    log_line(log, "mailcaskd: standard output: %s", error_text(-errno));
    return status == EXIT_DONE ? EXIT_CANNOT : status;
}

int main(int argc, char **argv)
{
    struct command_line line;
    struct log log;
    process_prepare();
    log_init(&log, STDERR_FILENO);
    int status = EXIT_CANNOT;
    if (command_line_parse(&line, argc, argv) == -ENOMEM)
        log_say(&log, LEVEL_ERROR, "cannot start", error_text(-ENOMEM));
    else
        status = dispatch(&line, &log);
    command_line_free(&line);
    return close_output(status, &log);
}
