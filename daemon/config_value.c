#include "daemon/config_value.h"

#include "archive/error.h"
#include "daemon/config.h"
#include "daemon/loopback.h"
#include "daemon/providers.h"

#include <arpa/inet.h>
#include <string.h>

#define BLANKS " \t"
#define HOST_LENGTH_MAX 253 /* RFC 1035 */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* C0, DEL, and C1 in UTF-8: terminals obey them all. */
static bool has_control(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (; *at != '\0'; at++)
        if (*at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
            return true;
    return false;
}

static int parse_name(const char *text)
{
    bool good = text[0] != '\0' && text[0] != '.' && strlen(text) <= CONFIG_NAME_MAX &&
                strchr(text, '/') == NULL && !has_control(text);
    return good ? 0 : ERR_SYNTAX;
}

/* Digits, then what is left in *out_rest. */
static int parse_digits(const char *text, uint64_t *out, const char **out_rest)
{
    if (!is_digit(*text))
        return ERR_SYNTAX;
    uint64_t number = 0;
    for (; is_digit(*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return ERR_SYNTAX;
        number = number * 10 + digit;
    }
    *out = number;
    *out_rest = text;
    return 0;
}

/* Numbers from min to max, in units: each a letter of `letters` that multiplies by its
 * factor. Without a letter the number stands for itself if bare_allowed. */
struct measure {
    uint64_t min, max;
    const char *letters;
    const uint64_t *factors;
    bool bare_allowed;
};

static int parse_with_unit(const struct measure *in, const char *text, uint64_t *out)
{
    uint64_t number = 0, factor = 1;
    const char *rest = text;
    if (parse_digits(text, &number, &rest) != 0)
        return ERR_SYNTAX;
    if (*rest != '\0') {
        const char *letter = strchr(in->letters, *rest);
        if (letter == NULL || rest[1] != '\0')
            return ERR_SYNTAX;
        factor = in->factors[letter - in->letters];
    } else if (!in->bare_allowed) {
        return ERR_SYNTAX;
    }
    if (number > in->max / factor || number * factor < in->min)
        return ERR_SYNTAX;
    *out = number * factor;
    return 0;
}

static int parse_number(const struct config_key *key, const char *text, uint64_t *out)
{
    const struct measure plain = {key->min, key->max, "", NULL, true};
    return parse_with_unit(&plain, text, out);
}

static int parse_size(const struct config_key *key, const char *text, uint64_t *out)
{
    static const uint64_t factors[] = {MIB / 1024, MIB, GIB, MIB / 1024, MIB, GIB};
    const struct measure bytes = {key->min, key->max, "KMGkmg", factors, true};
    return parse_with_unit(&bytes, text, out);
}

int config_duration_parse(const char *text, uint64_t min_ms, uint64_t max_ms,
                          uint64_t *out_ms)
{
    static const uint64_t factors[] = {SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS};
    const struct measure duration = {min_ms, max_ms, "smhd", factors, false};
    return parse_with_unit(&duration, text, out_ms);
}

static int parse_duration(const struct config_key *key, const char *text, uint64_t *out)
{
    return config_duration_parse(text, key->min, key->max, out);
}

static int parse_delete(const struct config_key *key, const char *text,
                        struct config_value *out)
{
    static const char after[] = "after";
    out->number = 0;
    if (strcmp(text, "never") == 0) {
        out->rule = CONFIG_DELETE_NEVER;
        return 0;
    }
    if (strcmp(text, "archived") == 0) {
        out->rule = CONFIG_DELETE_ARCHIVED;
        return 0;
    }
    if (strncmp(text, after, sizeof(after) - 1) != 0)
        return ERR_SYNTAX;
    text += sizeof(after) - 1;
    size_t blanks = strspn(text, " \t");
    if (blanks == 0)
        return ERR_SYNTAX;
    out->rule = CONFIG_DELETE_AFTER;
    return parse_duration(key, text + blanks, &out->number);
}

static int parse_either(const char *text, const char *yes, const char *no, bool *out)
{
    *out = strcmp(text, yes) == 0;
    return *out || strcmp(text, no) == 0 ? 0 : ERR_SYNTAX;
}

static int parse_tls(const char *text, enum config_tls *out)
{
    *out = strcmp(text, "starttls") == 0 ? CONFIG_TLS_STARTTLS : CONFIG_TLS_IMPLICIT;
    return *out == CONFIG_TLS_STARTTLS || strcmp(text, "implicit") == 0 ? 0 : ERR_SYNTAX;
}

static int parse_tls_oldest(const char *text, enum tls_oldest *out)
{
    static const struct {
        const char *text;
        enum tls_oldest oldest;
    } versions[] = {{"1.0", TLS_OLDEST_1_0},
                    {"1.1", TLS_OLDEST_1_1},
                    {"1.2", TLS_OLDEST_1_2},
                    {"1.3", TLS_OLDEST_1_3}};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        if (strcmp(text, versions[i].text) == 0) {
            *out = versions[i].oldest;
            return 0;
        }
    return ERR_SYNTAX;
}

/* Words between blanks, each at most once in effect. */
static int parse_avoid(const char *text, unsigned *out)
{
    static const struct {
        const char *word;
        unsigned avoid;
    } words[] = {{"capa", AVOID_CAPA},
                 {"pipelining", AVOID_PIPELINING},
                 {"sasl", AVOID_SASL},
                 {"uidl", AVOID_UIDL},
                 {"utf8", AVOID_UTF8}};
    const size_t count = sizeof(words) / sizeof(words[0]);
    *out = 0;
    for (text += strspn(text, BLANKS); *text != '\0'; text += strspn(text, BLANKS)) {
        size_t size = strcspn(text, BLANKS), i = 0;
        while (i < count && (strlen(words[i].word) != size ||
                             strncasecmp(text, words[i].word, size) != 0))
            i++;
        if (i == count)
            return ERR_SYNTAX;
        *out |= words[i].avoid;
        text += size;
    }
    return 0;
}

static int parse_host(const char *text)
{
    struct in6_addr address;
    if (inet_pton(AF_INET6, text, &address) == 1)
        return 0;
    size_t length = strlen(text);
    if (length > HOST_LENGTH_MAX || !(is_alphanumeric(text[0]) || text[0] == '_'))
        return ERR_SYNTAX;
    for (const char *at = text; *at != '\0'; at++)
        if (!is_alphanumeric(*at) && strchr("-._", *at) == NULL)
            return ERR_SYNTAX;
    return 0;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int parse_fingerprint(const char *text, uint8_t out[CONFIG_FINGERPRINT_SIZE])
{
    static const char prefix[] = "sha256:";
    if (strncasecmp(text, prefix, sizeof(prefix) - 1) != 0)
        return ERR_SYNTAX;
    text += sizeof(prefix) - 1;
    for (size_t i = 0; i < CONFIG_FINGERPRINT_SIZE; i++) {
        if (i > 0 && *text == ':')
            text++;
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return ERR_SYNTAX;
        out[i] = (uint8_t)(high * 16 + low);
        text += 2;
    }
    return *text == '\0' ? 0 : ERR_SYNTAX;
}

static int parse_pattern(const char *text)
{
    if (has_control(text))
        return ERR_SYNTAX;
    size_t size = 0;
    return config_value_expand(text, "u@d", NULL, &size);
}

static int parse_loopback(const char *text)
{
    struct loopback address;
    return loopback_parse(text, &address);
}

int config_value_parse(const struct config_key *key, const char *text,
                       struct config_value *out)
{
    switch (key->type) {
    case TYPE_NAME:
        return parse_name(text);
    case TYPE_PATH:
        return has_control(text) ? ERR_SYNTAX : 0;
    case TYPE_PATTERN:
        return parse_pattern(text);
    case TYPE_SECRET:
        return strpbrk(text, "\r\n") != NULL ? ERR_SYNTAX : 0; /* Q54 */
    case TYPE_SWITCH:
        return parse_either(text, "on", "off", &out->on);
    case TYPE_YES_NO:
        return parse_either(text, "yes", "no", &out->on);
    case TYPE_NUMBER:
        return parse_number(key, text, &out->number);
    case TYPE_SIZE:
        return parse_size(key, text, &out->number);
    case TYPE_DURATION:
        return parse_duration(key, text, &out->number);
    case TYPE_PRESET:
        return provider_by_preset(text) != NULL ? 0 : ERR_SYNTAX;
    case TYPE_HOST:
        return parse_host(text);
    case TYPE_TLS:
        return parse_tls(text, &out->tls);
    case TYPE_TLS_OLDEST:
        return parse_tls_oldest(text, &out->tls_oldest);
    case TYPE_AVOID:
        return parse_avoid(text, &out->avoid);
    case TYPE_FINGERPRINT:
        return parse_fingerprint(text, out->fingerprint);
    case TYPE_DELETE:
        return parse_delete(key, text, out);
    case TYPE_LOOPBACK:
        return parse_loopback(text);
    case TYPE_LOG_LEVEL:
        return log_level_from_name(text, &out->log_level);
    }
    return ERR_SYNTAX;
}

/* What stands for one letter behind '%': a slice of name, or a single '%'. */
static int expand_letter(char letter, const char *name, const char **out, size_t *out_size)
{
    const char *at = strrchr(name, '@');
    switch (letter) {
    case 'a':
        *out = name;
        *out_size = strlen(name);
        return 0;
    case 'u':
        *out = name;
        *out_size = at != NULL ? (size_t)(at - name) : strlen(name);
        return 0;
    case 'd':
        if (at == NULL)
            return ERR_NOT_FOUND;
        *out = at + 1;
        *out_size = strlen(at + 1);
        return 0;
    case '%':
        *out = "%";
        *out_size = 1;
        return 0;
    default:
        return ERR_SYNTAX;
    }
}

int config_value_expand(const char *pattern, const char *name, char *out, size_t *out_size)
{
    size_t size = 0;
    for (; *pattern != '\0'; pattern++) {
        const char *piece = pattern;
        size_t piece_size = 1;
        if (*pattern == '%') {
            int err = expand_letter(*++pattern, name, &piece, &piece_size);
            if (err != 0)
                return err;
        }
        if (out != NULL)
            memcpy(out + size, piece, piece_size);
        size += piece_size;
    }
    if (out != NULL)
        out[size] = '\0';
    *out_size = size;
    return 0;
}

bool config_value_plain_word(const char *name)
{
    if (name[0] == '-')
        return false;
    for (; *name != '\0'; name++)
        if (!is_alphanumeric(*name) && (unsigned char)*name < 0x80 &&
            strchr("@+=:,._-", *name) == NULL)
            return false;
    return true;
}
