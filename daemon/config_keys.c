#include "daemon/config_keys.h"

#include "daemon/config_value.h"
#include "daemon/log.h"
#include "daemon/loopback.h"
#include "daemon/providers.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX 32         /* longer words are not compared */
#define NEAR_DISTANCE_MAX 2 /* "pasword_file" */

#define ANY_ACCOUNT (SECTION_SERVER | SECTION_ACCOUNT | SECTION_TABLE)

const struct config_key config_keys[KEY_COUNT] = {
    [KEY_PATH] = {"path", SECTION_ARCHIVE, TYPE_PATH, "", 0, 0, "a folder",
                  "The folder of the archive, made by 'mailcask init'."},
    [KEY_DELETES] = {"deletes", SECTION_ARCHIVE, TYPE_SWITCH, "off", 0, 0, "on, off",
                     "Whether messages may be deleted from servers at all; off overrides "
                     "every account."},
    [KEY_MAX_MEMORY] = {"max-memory", SECTION_ARCHIVE, TYPE_SIZE, "512M", 32 * MIB,
                        1024 * GIB, "a size from 32M to 1024G, such as 512M",
                        "The memory that everything that grows with mail may take "
                        "together; an open session "
                        "takes 32 KiB on top."},
    [KEY_REQUIRE_REASON] =
        {"require-reason", SECTION_ARCHIVE, TYPE_YES_NO, "no", 0, 0, "yes, no",
         "Whether 'mailcask show' and 'mailcask restore' demand --reason."},
    [KEY_METRICS] =
        {"metrics", SECTION_ARCHIVE, TYPE_LOOPBACK, "", 0, 0, LOOPBACK_ALLOWED,
         "Where Prometheus finds the service's numbers, under /metrics; without "
         "it nowhere."},
    [KEY_LOG_LEVEL] = {"log-level", SECTION_ARCHIVE, TYPE_LOG_LEVEL, "info", 0, 0,
                       LOG_LEVELS,
                       "The least urgent events that mailcaskd writes to its log."},
    [KEY_PRESET] = {"preset", SECTION_SERVER, TYPE_PRESET, "", 0, 0, PROVIDER_PRESETS,
                    "A provider whose host, and user where it wants another than the "
                    "address, are known; keys of the section's own come first."},
    [KEY_HOST] = {"host", SECTION_SERVER, TYPE_HOST, "", 0, 0,
                  "a host name or an IP address, without a port",
                  "The name of the POP3 server, which its certificate must bear."},
    [KEY_PORT] = {"port", SECTION_SERVER, TYPE_NUMBER, "", 1, 65535,
                  "a number from 1 to 65535",
                  "The server's port; without it 995 for tls = implicit and 110 for "
                  "tls = starttls."},
    [KEY_TLS] =
        {"tls", SECTION_SERVER, TYPE_TLS, "implicit", 0, 0, "implicit, starttls",
         "TLS from the first byte, or STLS before the login; there is no third way. "
         "AES-128-GCM, the cipher that every TLS 1.3 has, is asked for first, as browsers "
         "do: nothing breaks it, and longer keys only take longer. The server decides."},
    [KEY_TLS_MIN] = {"tls-min", SECTION_SERVER, TYPE_TLS_OLDEST, "1.2", 0, 0,
                     "1.0, 1.1, 1.2, 1.3",
                     "The oldest TLS that is spoken with the server; below 1.2 also SHA-1 "
                     "and short keys are accepted, which others can break."},
    [KEY_CA_FILE] = {"ca-file", SECTION_SERVER, TYPE_PATH, "", 0, 0, "a file in PEM form",
                     "The authorities to trust for this server instead of the system's."},
    [KEY_FINGERPRINT] = {"fingerprint", SECTION_SERVER, TYPE_FINGERPRINT, "", 0, 0,
                         "sha256: and 64 hexadecimal digits, colons between pairs or none",
                         "The SHA-256 of the one certificate that is accepted."},
    [KEY_MAX_CONNECTIONS] =
        {"max-connections", SECTION_SERVER, TYPE_NUMBER, "16", 1, 1000,
         "a number from 1 to 1000",
         "How many sessions may be open to the server at once; sections whose "
         "hosts lead to one address share the lowest of theirs. The service "
         "logs in 60 times a minute at most for each, unless poll asks for "
         "more."},
    [KEY_AVOID] = {"avoid", SECTION_SERVER, TYPE_AVOID, "", 0, 0,
                   "any of capa, pipelining, sasl, uidl, utf8",
                   "What the server announces and cannot do."},
    [KEY_ACCOUNTS_FILE] =
        {"accounts-file", SECTION_SERVER, TYPE_PATH, "", 0, 0,
         "a CSV file with a header row",
         "A table of accounts of this server, one a row, under a header row "
         "that names their keys."},
    [KEY_ACCOUNT] = {"account", SECTION_TABLE, TYPE_NAME, "", 0, 0,
                     "1 to 255 bytes without '/', control characters or a leading dot",
                     "The account's name in the archive."},
    [KEY_SERVER] =
        {"server", SECTION_ACCOUNT | SECTION_TABLE, TYPE_NAME, "", 0, 0,
         "the name of a [server] section",
         "The server the account is on; in a table, the table's own by default."},
    [KEY_USER] = {"user", ANY_ACCOUNT, TYPE_PATTERN, "%a", 0, 0,
                  "text without control characters; of '%' only %a, %u, %d and %%",
                  "The login name."},
    [KEY_PASSWORD_FILE] =
        {"password-file", ANY_ACCOUNT, TYPE_PATTERN, "", 0, 0,
         "a file; of '%' only %a, %u, %d and %%",
         "A file of mode 0600 whose first line is the password; credential:NAME is "
         "one that systemd gives to the service."},
    [KEY_PASSWORD_COMMAND] = {"password-command", ANY_ACCOUNT, TYPE_PATTERN, "", 0, 0,
                              "a shell command; of '%' only %a, %u, %d and %%",
                              "A command whose first line of output is the password."},
    [KEY_PASSWORD] =
        {"password", ANY_ACCOUNT, TYPE_SECRET, "", 0, 0, "text without CR, LF or NUL",
         "The password itself, only in a file of mode 0600; blanks at its ends are cut, "
         "unless it stands in quotes in a table."},
    [KEY_POLL] = {"poll", ANY_ACCOUNT, TYPE_DURATION, "15m", 1 * SECOND_MS, 30 * DAY_MS,
                  "a duration from 1s to 30d, such as 30s, 15m, 1h, 1d",
                  "The time from one session of the account to the next."},
    [KEY_POLL_QUIET] = {"poll-quiet", ANY_ACCOUNT, TYPE_DURATION, "", 1 * SECOND_MS,
                        12 * HOUR_MS, "a duration from poll to 12h, such as 30m, 1h, 6h",
                        "To what the time between sessions grows while nothing comes: "
                        "behind 8 that brought nothing it doubles with each, until one "
                        "brings something; without it, it stays at poll."},
    [KEY_DAILY_BYTES] =
        {"daily-bytes", ANY_ACCOUNT, TYPE_SIZE, "", 0, 1024 * GIB,
         "a size up to 1024G, such as 1200M; 0 for no limit",
         "What may be fetched of the mailbox within 24 hours; without it what the provider "
         "is known to allow."},
    [KEY_TRACE] = {"trace", ANY_ACCOUNT, TYPE_YES_NO, "no", 0, 0, "yes, no",
                   "Whether the log is told what is said to the server and by it, line by "
                   "line, without mail and without the password, unless the server says it "
                   "after the login: see Trace in mailcaskd(8)."},
    [KEY_DELETE] =
        {"delete", ANY_ACCOUNT, TYPE_DELETE, "never", 1 * SECOND_MS, 3650 * DAY_MS,
         "never, archived, or 'after' and a duration up to 3650d, such as after 30d",
         "When a message that is safe in the archive is deleted from the server."},
};

const struct config_key *config_key_find(enum config_section section, const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if ((config_keys[i].sections & section) != 0 &&
            strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

enum config_key_id config_key_id(const struct config_key *key)
{
    return (enum config_key_id)(key - config_keys);
}

const char *config_key_near(enum config_section section, const char *name)
{
    const char *best = NULL;
    size_t best_distance = NEAR_DISTANCE_MAX + 1;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if ((config_keys[i].sections & section) == 0)
            continue;
        size_t distance =
            config_word_distance(name, config_keys[i].name, NEAR_DISTANCE_MAX);
        if (distance < best_distance && distance < strlen(config_keys[i].name) / 2) {
            best = config_keys[i].name;
            best_distance = distance;
        }
    }
    return best;
}

const char *config_key_elsewhere(const char *name)
{
    if (config_key_find(SECTION_ARCHIVE, name) != NULL)
        return "[archive]";
    if (config_key_find(SECTION_ACCOUNT, name) != NULL)
        return "[account]";
    if (config_key_find(SECTION_SERVER, name) != NULL)
        return "[server]";
    return NULL;
}

void config_key_list(enum config_section section, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < KEY_COUNT && used < size; i++) {
        if ((config_keys[i].sections & section) == 0)
            continue;
        int n = snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                         config_keys[i].name);
        if (n < 0)
            return;
        used += (size_t)n;
    }
}

static bool same_letter(char a, char b)
{
    return (a == '_' ? '-' : a) == (b == '_' ? '-' : b);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t config_word_distance(const char *a, const char *b, size_t limit)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return limit + 1;
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1);
            diagonal = row[j];
            row[j] = least(change, least(row[j], row[j - 1]) + 1);
        }
    }
    return least(row[b_len], limit + 1);
}
