#include "daemon/command_line.h"

#include "archive/error.h"
#include "daemon/config_keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_OPTION_MAX 3 /* letters that an option meant may differ by */
#define QUOTE_MAX 64      /* of a wrong word */
#define OPTION_COLUMN 17

enum option {
    OPTION_CONFIG,
    OPTION_ONCE,
    OPTION_ACCOUNT,
    OPTION_TRACE,
    OPTION_CHECK_CONFIG,
    OPTION_PROBE,
    OPTION_SERVER,
    OPTION_TIMEOUT,
    OPTION_LOG_LEVEL,
    OPTION_HELP,
    OPTION_HELP_CONFIG,
    OPTION_VERSION,
    OPTION_COUNT
};

static const struct {
    const char *name;
    const char *value; /* "": takes none */
    const char *help;
} options[OPTION_COUNT] = {
    [OPTION_CONFIG] = {"config", "FILE",
                       "the configuration; default: the environment's MAILCASK_CONFIG"},
    [OPTION_ONCE] = {"once", "", "fetch from every account once, then exit"},
    [OPTION_ACCOUNT] = {"account", "NAME",
                        "with --once: only this account; may be repeated; with --probe: "
                        "this one"},
    [OPTION_TRACE] = {"trace", "",
                      "with --once --account: write into the log what is said to the "
                      "server and by it, without passwords and mail"},
    [OPTION_CHECK_CONFIG] = {"check-config", "",
                             "say what is wrong with the configuration, then exit"},
    [OPTION_PROBE] = {"probe", "",
                      "walk a login step by step, in the form that `mailcask probe` shows"},
    [OPTION_SERVER] = {"server", "NAME", "with --probe: this server, without a login"},
    [OPTION_TIMEOUT] = {"timeout", "SECONDS",
                        "with --probe: how long a step may take; default: 60"},
    [OPTION_LOG_LEVEL] = {"log-level", "LEVEL",
                          "the least urgent events of the log: " LOG_LEVELS
                          "; it comes before the configuration's"},
    [OPTION_HELP] = {"help", "", "this text"},
    [OPTION_HELP_CONFIG] = {"help-config", "", "every key of the configuration"},
    [OPTION_VERSION] = {"version", "", "the version"},
};

/* The first fault counts. */
static void fault(struct command_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fault(struct command_line *line, const char *format, ...)
{
    if (line->error[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line->error, sizeof(line->error), format, args);
    va_end(args);
}

static int find_option(const char *name, size_t size)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strlen(options[i].name) == size && memcmp(options[i].name, name, size) == 0)
            return i;
    return -1;
}

static void fault_unknown(struct command_line *line, const char *name, size_t size)
{
    char word[QUOTE_MAX];
    (void)snprintf(word, sizeof(word), "%.*s", (int)(size < QUOTE_MAX ? size : QUOTE_MAX),
                   name);
    size_t best = NEAR_OPTION_MAX + 1;
    const char *near = NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        size_t distance = config_word_distance(word, options[i].name, NEAR_OPTION_MAX);
        if (distance < best && distance < strlen(options[i].name)) {
            best = distance;
            near = options[i].name;
        }
    }
    if (near != NULL)
        fault(line, "there is no option --%s; did you mean --%s?", word, near);
    else
        fault(line, "there is no option --%s; mailcaskd --help lists them", word);
}

static void give_timeout(struct command_line *line, const char *value)
{
    char *end = NULL;
    long seconds = strtol(value, &end, 10);
    if (*end != '\0' || seconds < 1 || seconds > COMMAND_LINE_TIMEOUT_MAX)
        fault(line, "--timeout: allowed: 1 to %d seconds", COMMAND_LINE_TIMEOUT_MAX);
    else
        line->timeout_s = (uint32_t)seconds;
}

static void give_log_level(struct command_line *line, const char *value)
{
    line->has_log_level = true;
    if (log_level_from_name(value, &line->log_level) != 0)
        fault(line, "--log-level: allowed: " LOG_LEVELS);
}

static void give(struct command_line *line, enum option option, const char *value)
{
    switch (option) {
    case OPTION_CONFIG:
        if (line->config != NULL)
            fault(line, "--config is given twice");
        line->config = value;
        break;
    case OPTION_ACCOUNT:
        line->accounts[line->account_count++] = value;
        break;
    case OPTION_ONCE:
        line->once = true;
        break;
    case OPTION_TRACE:
        line->trace = true;
        break;
    case OPTION_CHECK_CONFIG:
        line->check_config = true;
        break;
    case OPTION_PROBE:
        line->probe = true;
        break;
    case OPTION_SERVER:
        if (line->server != NULL)
            fault(line, "--server is given twice");
        line->server = value;
        break;
    case OPTION_TIMEOUT:
        give_timeout(line, value);
        break;
    case OPTION_LOG_LEVEL:
        give_log_level(line, value);
        break;
    case OPTION_HELP:
        line->help = true;
        break;
    case OPTION_HELP_CONFIG:
        line->help_config = true;
        break;
    case OPTION_VERSION:
        line->version = true;
        break;
    case OPTION_COUNT:
        break;
    }
}

/* text: what follows the two dashes. True if the next word was taken as the value. */
static bool take_option(struct command_line *line, const char *text, const char *next)
{
    size_t size = strcspn(text, "=");
    const char *value = text[size] == '=' ? text + size + 1 : NULL;
    int option = find_option(text, size);
    if (option < 0) {
        fault_unknown(line, text, size);
        return false;
    }
    if (options[option].value[0] == '\0') {
        if (value != NULL)
            fault(line, "--%s takes no value", options[option].name);
        give(line, (enum option)option, NULL);
        return false;
    }
    bool taken = value == NULL && next != NULL;
    if (taken)
        value = next;
    if (value == NULL || value[0] == '\0')
        fault(line, "--%s needs a value: --%s %s", options[option].name,
              options[option].name, options[option].value);
    else
        give(line, (enum option)option, value);
    return taken;
}

static void check_together(struct command_line *line)
{
    if (line->account_count > 0 && !line->once && !line->probe)
        fault(line, "--account goes with --once");
    if ((line->server != NULL || line->timeout_s > 0) && !line->probe)
        fault(line, "--%s goes with --probe", line->server != NULL ? "server" : "timeout");
    if (line->trace && (!line->once || line->account_count == 0))
        fault(line, "--trace goes with --once and --account");
    if (line->once && line->check_config)
        fault(line, "--once and --check-config exclude each other");
    if (line->probe && (line->once || line->check_config))
        fault(line, "--probe and --%s exclude each other",
              line->once ? "once" : "check-config");
    if (line->probe && line->account_count + (line->server != NULL) != 1)
        fault(line, "--probe needs one --account or one --server");
}

int command_line_parse(struct command_line *line, int argc, char *const *argv)
{
    *line = (struct command_line){.error = ""};
    line->accounts = calloc((size_t)argc + 1, sizeof(*line->accounts));
    if (line->accounts == NULL)
        return -ENOMEM;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0')
            i += take_option(line, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL);
        else
            fault(line, "'%.*s' is no option; mailcaskd --help lists them", QUOTE_MAX,
                  argv[i]);
    }
    check_together(line);
    return line->error[0] != '\0' ? ERR_SYNTAX : 0;
}

void command_line_free(struct command_line *line)
{
    free(line->accounts);
    line->accounts = NULL;
}

void command_line_help(FILE *out)
{
    (void)fputs(
        "usage: mailcaskd --config FILE [--once [--account NAME]... [--trace] | "
        "--check-config]\n"
        "       mailcaskd --config FILE --probe (--account NAME | --server NAME) "
        "[--timeout SECONDS]\n\n"
        "Archives the mailboxes that FILE names, in the foreground, until SIGTERM.\n"
        "SIGHUP: read FILE again; if it is wrong, the old one stays in force. After the "
        "archive has\n"
        "failed (the disk is full or broken), try it again now.\n\n"
        "options:\n",
        out);
    for (int i = 0; i < OPTION_COUNT; i++) {
        char left[OPTION_COLUMN * 2];
        (void)snprintf(left, sizeof(left), "--%s %s", options[i].name, options[i].value);
        (void)fprintf(out, "  %-*s  %s\n", OPTION_COLUMN, left, options[i].help);
    }
    (void)fputs("\nenvironment:\n"
                "  MAILCASK_CONFIG   the configuration, if --config is not given\n"
                "  MAILCASK_LOOP     uring or epoll; default: io_uring where it works\n\n"
                "exit status:\n"
                "  0  done; with --once: every account is complete\n"
                "  1  --once: some accounts are not; standard error says which and why;\n"
                "     --probe: a step failed\n"
                "  2  usage or configuration\n"
                "  4  could not run: archive missing or in use, no space\n\n"
                "example:\n"
                "  mailcask init /var/lib/mailcask\n"
                "  mailcaskd --config /etc/mailcask/mailcask.conf --once\n",
                out);
}
