/* Every key of the configuration, once: what reads it, checks it, explains it and documents
 * it starts from this table. */
#ifndef MAILCASK_DAEMON_CONFIG_KEYS_H
#define MAILCASK_DAEMON_CONFIG_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum config_key_id {
    KEY_PATH,
    KEY_DELETES,
    KEY_MAX_MEMORY,
    KEY_REQUIRE_REASON,
    KEY_METRICS,
    KEY_LOG_LEVEL,
    KEY_PRESET,
    KEY_HOST,
    KEY_PORT,
    KEY_TLS,
    KEY_TLS_MIN,
    KEY_CA_FILE,
    KEY_FINGERPRINT,
    KEY_MAX_CONNECTIONS,
    KEY_AVOID,
    KEY_ACCOUNTS_FILE,
    KEY_ACCOUNT,
    KEY_SERVER,
    KEY_USER,
    KEY_PASSWORD_FILE,
    KEY_PASSWORD_COMMAND,
    KEY_PASSWORD,
    KEY_POLL,
    KEY_POLL_QUIET,
    KEY_DAILY_BYTES,
    KEY_TRACE,
    KEY_DELETE,
    KEY_COUNT
};

/* Where a key may stand: a set of these. */
enum config_section {
    SECTION_ARCHIVE = 1,
    SECTION_SERVER = 2,
    SECTION_ACCOUNT = 4,
    SECTION_TABLE = 8, /* a column of an accounts-file */
};

enum config_type {
    TYPE_NAME,    /* no '/', no control characters, no leading dot */
    TYPE_PATH,    /* relative to the configuration file */
    TYPE_PATTERN, /* text with %a %u %d %% */
    TYPE_SECRET,  /* never repeated in a message */
    TYPE_SWITCH,  /* on, off */
    TYPE_YES_NO,
    TYPE_NUMBER,      /* min to max */
    TYPE_SIZE,        /* bytes, with K, M or G */
    TYPE_DURATION,    /* milliseconds, written with s, m, h or d */
    TYPE_PRESET,      /* of providers.h */
    TYPE_HOST,        /* a name or an address */
    TYPE_TLS,         /* implicit, starttls */
    TYPE_TLS_OLDEST,  /* 1.0 to 1.3 */
    TYPE_AVOID,       /* capabilities, between blanks */
    TYPE_FINGERPRINT, /* sha256: and 64 hexadecimal digits */
    TYPE_DELETE,      /* never, archived, after DURATION */
    TYPE_LOOPBACK,    /* of loopback.h */
    TYPE_LOG_LEVEL,   /* of log.h */
};

struct config_key {
    const char *name;
    unsigned sections; /* set of enum config_section */
    enum config_type type;
    const char *default_text; /* "": none */
    uint64_t min, max;        /* of the parsed number, for the types that have one */
    const char *allowed;      /* "a number from 1 to 65535": fits behind "allowed: " */
    const char *help;         /* one sentence for the manual */
};

extern const struct config_key config_keys[KEY_COUNT];

/* The key of this name that may stand in this section, or NULL. */
const struct config_key *config_key_find(enum config_section section, const char *name);

/* The id of a key of the table. */
enum config_key_id config_key_id(const struct config_key *key);

/* The name most likely meant by an unknown one in this section, or NULL if none is near. */
const char *config_key_near(enum config_section section, const char *name);

/* Whether name exists in another section: "[server]", "[archive]", ... or NULL. */
const char *config_key_elsewhere(const char *name);

/* "host, port, tls": the keys of a section, as a list. Cut to size. */
void config_key_list(enum config_section section, char *out, size_t size);

/* How many letters a and b differ by, at most limit + 1. '_' and '-' count as the same. */
size_t config_word_distance(const char *a, const char *b, size_t limit);

#endif
