#include "workers/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const scope_names[] = {
    [SCOPE_NONE] = "none",       [SCOPE_MESSAGE] = "message", [SCOPE_MAILBOX] = "mailbox",
    [SCOPE_ACCOUNT] = "account", [SCOPE_SERVER] = "server",   [SCOPE_PROCESS] = "process",
};
_Static_assert(sizeof(scope_names) / sizeof(scope_names[0]) == SCOPE_PROCESS + 1,
               "a name for every scope");

static const char *const retry_names[] = {
    [RETRY_NONE] = "none",
    [RETRY_NOW] = "now",
    [RETRY_BACKOFF] = "backoff",
    [RETRY_NEVER] = "never",
};
_Static_assert(sizeof(retry_names) / sizeof(retry_names[0]) == RETRY_NEVER + 1,
               "a name for every retry class");

const char *scope_name(enum scope scope)
{
    return scope_names[scope];
}

const char *retry_name(enum retry retry)
{
    return retry_names[retry];
}

void outcome_set(struct outcome *o, enum scope scope, enum retry retry, const char *format,
                 ...)
{
    o->scope = scope;
    o->retry = retry;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(o->text, sizeof(o->text), format, args);
    va_end(args);
}

/* Writes one byte's escape; out has room for 5. */
static size_t escape_byte(char *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    if (byte == '\\') {
        memcpy(out, "\\\\", 3);
        return 2;
    }
    if (byte >= 0x20 && byte <= 0x7e) {
        out[0] = (char)byte;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[byte >> 4];
    out[3] = hex[byte & 15];
    return 4;
}

void outcome_escape(char *to, size_t to_size, const char *text, size_t size)
{
    static const char cut[] = "...";
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        char one[5];
        size_t n = escape_byte(one, (unsigned char)text[i]);
        if (used + n + sizeof(cut) > to_size) {
            memcpy(to + used, cut, sizeof(cut));
            return;
        }
        memcpy(to + used, one, n);
        used += n;
    }
    to[used] = '\0';
}
