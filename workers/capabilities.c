#include "workers/capabilities.h"

#include "archive/error.h"

#include <string.h>
#include <strings.h>

struct word {
    const char *data;
    size_t size;
};

void capabilities_clear(struct capabilities *c)
{
    *c = (struct capabilities){.expire_days = CAPABILITIES_EXPIRE_UNSTATED};
}

static bool next_word(const char **at, const char *end, struct word *out)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
        (*at)++;
    out->data = *at;
    while (*at < end && **at != ' ' && **at != '\t' && **at != '\r')
        (*at)++;
    out->size = (size_t)(*at - out->data);
    return out->size > 0;
}

static bool word_is(const struct word *w, const char *name)
{
    return w->size == strlen(name) && strncasecmp(w->data, name, w->size) == 0;
}

/* The decimal number at the start of a word, at most INT32_MAX; -1 if there is none. */
static int32_t word_number(const struct word *w)
{
    int64_t value = 0;
    size_t i = 0;
    for (; i < w->size && w->data[i] >= '0' && w->data[i] <= '9'; i++) {
        value = value * 10 + (w->data[i] - '0');
        if (value > INT32_MAX)
            value = INT32_MAX;
    }
    return i > 0 ? (int32_t)value : -1;
}

static void add_sasl(struct capabilities *c, const char *at, const char *end)
{
    struct word mechanism;
    while (next_word(&at, end, &mechanism))
        if (word_is(&mechanism, "PLAIN"))
            c->sasl_plain = true;
}

static void add_number(struct capabilities *c, bool expire, const char *at, const char *end)
{
    struct word value;
    if (!next_word(&at, end, &value))
        return;
    int32_t number = word_number(&value);
    if (!expire && number > 0)
        c->login_delay_s = (uint32_t)number;
    if (expire && number >= 0)
        c->expire_days = number;
    if (expire && word_is(&value, "NEVER"))
        c->expire_days = CAPABILITIES_EXPIRE_NEVER;
}

static void add_flag(struct capabilities *c, const struct word *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"UIDL", &c->uidl}, {"USER", &c->user},
        {"STLS", &c->stls}, {"PIPELINING", &c->pipelining},
        {"UTF8", &c->utf8},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (word_is(name, flags[i].name))
            *flags[i].flag = true;
}

int capabilities_add(struct capabilities *c, const char *line, size_t size)
{
    c->lines++;
    c->bytes += size + 2;
    if (c->lines > CAPABILITIES_LINES_MAX || c->bytes > CAPABILITIES_BYTES_MAX)
        return ERR_TOO_LARGE;

    const char *at = line;
    const char *end = line + size;
    struct word name;
    if (!next_word(&at, end, &name))
        return 0;
    if (word_is(&name, "SASL"))
        add_sasl(c, at, end);
    else if (word_is(&name, "LOGIN-DELAY"))
        add_number(c, false, at, end);
    else if (word_is(&name, "EXPIRE"))
        add_number(c, true, at, end);
    else if (word_is(&name, "EXPIRENEVER"))
        c->expire_days = CAPABILITIES_EXPIRE_NEVER;
    else
        add_flag(c, &name);
    return 0;
}

void capabilities_avoid(struct capabilities *c, unsigned avoid)
{
    c->pipelining = c->pipelining && (avoid & AVOID_PIPELINING) == 0;
    c->sasl_plain = c->sasl_plain && (avoid & AVOID_SASL) == 0;
    c->uidl = c->uidl && (avoid & AVOID_UIDL) == 0;
    c->utf8 = c->utf8 && (avoid & AVOID_UTF8) == 0;
}
