/* The command line: long options from one table, anywhere, as `--name value` or
 * `--name=value`. */
#ifndef MAILCASK_TOOLS_OPTIONS_H
#define MAILCASK_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* name in C, on the command line, its value's name ("" for a flag), may be repeated, help
 */
#define OPTION_LIST(X)                                                                     \
    X(OPTION_ARCHIVE, "archive", "PATH", false, "the archive")                             \
    X(OPTION_CONFIG, "config", "FILE", false,                                              \
      "the service's configuration, which names the archive")                              \
    X(OPTION_HELP, "help", "", false, "this text")                                         \
    X(OPTION_VERSION, "version", "", false, "the version")                                 \
    X(OPTION_JSON, "json", "", false, "JSON instead of text")                              \
    X(OPTION_ACCOUNT, "account", "NAME", false, "this account")                            \
    X(OPTION_ALL, "all", "", false, "every account")                                       \
    X(OPTION_ID, "id", "ID", true, "this message, ACCOUNT/N; may be repeated")             \
    X(OPTION_MESSAGE, "message", "ID", false, "this message, ACCOUNT/N")                   \
    X(OPTION_TO, "to", "TARGET", false,                                                    \
      "maildir:DIR, mbox:FILE or eml:DIR; of a backup: DIR")                               \
    X(OPTION_SINCE, "since", "YYYY-MM-DD", false, "only messages of this day and later")   \
    X(OPTION_UNTIL, "until", "YYYY-MM-DD", false, "only messages of this day and earlier") \
    X(OPTION_QUICK, "quick", "", false, "structure and checksums only")                    \
    X(OPTION_SERVER, "server", "NAME", false, "this server of the configuration")          \
    X(OPTION_MAX_AGE, "max-age", "DURATION", false,                                        \
      "which accounts had no complete poll for so long: 30s, 15m, 24h, 2d")                \
    X(OPTION_WATCH, "watch", "", false, "again every two seconds, until it is ended")      \
    X(OPTION_TIMEOUT, "timeout", "SECONDS", false, "how long a step may take")             \
    X(OPTION_BY_MONTH, "by-month", "", false, "a line for each month")                     \
    X(OPTION_REASON, "reason", "TEXT", false, "why, for the ledger and the system's log")  \
    X(OPTION_REMOVE_NOW, "remove-now", "", false, "do not keep replaced segments for a day")

#define OPTION_NAME(name, text, value, repeated, help) name,
enum option { OPTION_LIST(OPTION_NAME) OPTION_COUNT };
#undef OPTION_NAME

struct option_spec {
    const char *name;
    const char *value; /* "" for a flag */
    bool repeated;
    const char *help;
};

extern const struct option_spec option_specs[OPTION_COUNT];

#define OPTION_BIT(option) (1u << (option))
/* Every command takes these. */
#define OPTIONS_GLOBAL \
    (OPTION_BIT(OPTION_ARCHIVE) | OPTION_BIT(OPTION_CONFIG) | OPTION_BIT(OPTION_HELP))

#define OPTIONS_ERROR_MAX 256

/* What stands on a command line. Strings are borrowed from argv. */
struct options {
    char **argv;                      /* as it was given, NULL at the end */
    unsigned given;                   /* OPTION_BIT of each option that stands there */
    const char *values[OPTION_COUNT]; /* of options that take one; NULL where not given */
    const char **ids;                 /* each --id, in order */
    size_t id_count;
    const char **words; /* what is no option: the command first */
    size_t word_count;
    char error[OPTIONS_ERROR_MAX]; /* what is wrong with it, "" if nothing: the first fault
                                    */
};

/* Reads all of the line, whatever is wrong with it, so that the command is known. 0;
 * ERR_SYNTAX, with `error` set; -ENOMEM. options_free() in any case. */
int options_parse(struct options *o, int argc, char **argv);
void options_free(struct options *o);

static inline bool option_given(const struct options *o, enum option option)
{
    return (o->given & OPTION_BIT(option)) != 0;
}

/* The one of count names that word most likely meant, NULL if none is near. Names are at
 * most NEAREST_SIZE_MAX bytes; a longer word is near to none. */
#define NEAREST_SIZE_MAX 32
const char *nearest_name(const char *word, const char *const *names, size_t count);

#endif
