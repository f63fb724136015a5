#include "tests/pop3d/script.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/pop3d/script_rules.h"

#define EVENT_TEXT(name) #name,
static const char *const event_names[] = {EVENT_LIST(EVENT_TEXT)};
#undef EVENT_TEXT

_Static_assert(sizeof event_names / sizeof event_names[0] == EVENT_COUNT,
               "a name an event");

const struct action plain_action = {
    .truncate = UNSET, .cut = UNSET, .show_first = UNSET, .show_last = UNSET};

const char *event_name(enum event event)
{
    return event < EVENT_COUNT ? event_names[event] : "*";
}

enum event event_parse(const char *word)
{
    for (unsigned i = 0; i < EVENT_COUNT; i++)
        if (strcasecmp(word, event_names[i]) == 0)
            return (enum event)i;
    return EVENT_COUNT;
}

static bool in_range(struct range range, uint64_t number)
{
    return number >= range.first && number <= range.last;
}

static bool glob_matches(const char *pattern, const char *text)
{
    return pattern == NULL || (text != NULL && fnmatch(pattern, text, 0) == 0);
}

static bool when_matches(unsigned when, const struct occasion *occasion)
{
    unsigned now = occasion->session > 0 ? WHEN_AFTER_LOGIN : WHEN_BEFORE_LOGIN;
    now |= occasion->tls ? WHEN_TLS : WHEN_PLAIN;
    now |= occasion->utf8 ? WHEN_UTF8 : WHEN_NO_UTF8;
    return (when & ~now) == 0;
}

static bool event_matches(const struct rule *rule, const struct occasion *occasion)
{
    if (rule->event == EVENT_COUNT)
        return occasion->event >= EVENT_FIRST_COMMAND;
    return rule->event == occasion->event;
}

static bool number_matches(const struct rule *rule, const struct occasion *occasion)
{
    if (rule->without_number)
        return occasion->number == UNSET;
    if (rule->any_number)
        return true;
    return occasion->number != UNSET && in_range(rule->numbers, occasion->number);
}

static bool rule_matches(const struct rule *rule, const struct occasion *occasion)
{
    return event_matches(rule, occasion) && number_matches(rule, occasion) &&
           glob_matches(rule->user, occasion->user) &&
           glob_matches(rule->name, occasion->name) &&
           in_range(rule->connections, occasion->connection) &&
           in_range(rule->sessions, occasion->session) &&
           when_matches(rule->when, occasion);
}

const struct action *script_match(struct script *script, const struct occasion *occasion,
                                  unsigned *out_line)
{
    *out_line = 0;
    struct rule *rule = script != NULL ? script->first : NULL;
    for (; rule != NULL; rule = rule->next) {
        if (!rule_matches(rule, occasion))
            continue;
        rule->hits++;
        if (rule->hits <= rule->skip || rule->hits - rule->skip > rule->times)
            continue;
        *out_line = rule->line;
        return &rule->action;
    }
    return &plain_action;
}

static bool refuses(struct bytes text)
{
    return text.data != NULL && text.size > 0 && text.data[0] == '-';
}

bool action_has_effect(const struct action *action)
{
    if (action->anyway)
        return true;
    return !action->silent && !action->pretend && !refuses(action->reply) &&
           !refuses(action->raw) && !refuses(action->status);
}

static void add_value(struct buffer *out, char letter, const struct format_values *values)
{
    const char *text = NULL;
    switch (letter) {
    case 'n':
        buffer_addf(out, "%" PRIu64, values->number);
        return;
    case 's':
        buffer_addf(out, "%" PRIu64, values->octets);
        return;
    case 'u':
        text = values->uidl;
        break;
    case 'f':
        text = values->file;
        break;
    case 'r':
        text = values->random;
        break;
    default:
        buffer_add(out, "%", 1);
        return;
    }
    if (text != NULL)
        buffer_add_text(out, text);
}

void format_add(struct buffer *out, struct bytes format, const struct format_values *values)
{
    size_t start = 0;
    for (size_t i = 0; i < format.size; i++) {
        if (format.data[i] != '%' || i + 1 == format.size)
            continue;
        buffer_add(out, format.data + start, i - start);
        add_value(out, format.data[i + 1], values);
        start = i + 2;
        i++;
    }
    buffer_add(out, format.data + start, format.size - start);
}

void script_free(struct script *script)
{
    if (script == NULL)
        return;
    struct allocation *next;
    for (struct allocation *one = script->allocations; one != NULL; one = next) {
        next = one->next;
        free(one);
    }
    free(script);
}
