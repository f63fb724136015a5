/* The command line of mailcaskd: long options, as `--name value` or `--name=value`. */
#ifndef MAILCASK_DAEMON_COMMAND_LINE_H
#define MAILCASK_DAEMON_COMMAND_LINE_H

#include "daemon/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define COMMAND_LINE_ERROR_SIZE 256
#define COMMAND_LINE_TIMEOUT_MAX 3600 /* seconds */

struct command_line {
    const char *config; /* NULL: not given */
    bool once, trace, check_config, probe, help, help_config, version;
    const char **accounts; /* each --account, in order */
    size_t account_count;
    const char *server; /* NULL: not given */
    uint32_t timeout_s; /* 0: not given */
    bool has_log_level;
    enum log_level log_level;
    char error[COMMAND_LINE_ERROR_SIZE]; /* one sentence, "" if there is nothing wrong */
};

/* Strings are borrowed from argv. 0; ERR_SYNTAX with `error` set (help, help_config and
 * version count nevertheless); -ENOMEM. command_line_free() in any case. */
int command_line_parse(struct command_line *line, int argc, char *const *argv);
void command_line_free(struct command_line *line);

/* The text of --help. */
void command_line_help(FILE *out);

#endif
