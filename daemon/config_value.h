/* One value of the configuration, from text to number. */
#ifndef MAILCASK_DAEMON_CONFIG_VALUE_H
#define MAILCASK_DAEMON_CONFIG_VALUE_H

#include "daemon/config.h"
#include "daemon/config_keys.h"

#include <stdbool.h>
#include <stdint.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define SECOND_MS ((uint64_t)1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

struct config_value {
    bool on;                    /* TYPE_SWITCH */
    uint64_t number;            /* TYPE_NUMBER, _SIZE (bytes), _DURATION and
                                   _DELETE (ms; 0 unless `after`) */
    enum config_tls tls;        /* TYPE_TLS */
    enum tls_oldest tls_oldest; /* TYPE_TLS_OLDEST */
    unsigned avoid;             /* TYPE_AVOID: a set of AVOID_* */
    enum log_level log_level;   /* TYPE_LOG_LEVEL */
    enum config_delete rule;    /* TYPE_DELETE */
    uint8_t fingerprint[CONFIG_FINGERPRINT_SIZE]; /* TYPE_FINGERPRINT */
};

/* Check text as a value of this key, and convert it where the type is not text itself.
 * text is not empty: an empty value is as if the key were not there.
 * ERR_SYNTAX: not what key->allowed says. */
int config_value_parse(const struct config_key *key, const char *text,
                       struct config_value *out);

/* Replace %a by name, %u by its part before the last '@' (all of it without one), %d by the
 * part behind that, %% by '%'. The result is written to out unless out is NULL; *out_size
 * is its length without the NUL. ERR_SYNTAX: another letter behind '%'; ERR_NOT_FOUND: %d,
 * but no domain. */
int config_value_expand(const char *pattern, const char *name, char *out, size_t *out_size);

/* Whether `%a`, `%u` and `%d` of this name are one plain word to a shell. */
bool config_value_plain_word(const char *name);

#endif
