#include "tools/options.h"

#include "archive/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTION_SPEC(name, text, value, repeated, help) {text, value, repeated, help},
const struct option_spec option_specs[OPTION_COUNT] = {OPTION_LIST(OPTION_SPEC)};
#undef OPTION_SPEC

_Static_assert(OPTION_COUNT <= 32, "a bit for every option");

/* Faults are counted, the first is kept: later ones often follow from it. */
static void fault(struct options *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fault(struct options *o, const char *format, ...)
{
    if (o->error[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(o->error, sizeof(o->error), format, args);
    va_end(args);
}

static int find_option(const char *name, size_t size)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strlen(option_specs[i].name) == size &&
            memcmp(option_specs[i].name, name, size) == 0)
            return i;
    return -1;
}

static void fault_unknown(struct options *o, const char *name, size_t size)
{
    const char *names[OPTION_COUNT];
    for (int i = 0; i < OPTION_COUNT; i++)
        names[i] = option_specs[i].name;
    char word[NEAREST_SIZE_MAX + 1];
    (void)snprintf(word, sizeof(word), "%.*s", (int)(size < sizeof(word) ? size : 0), name);
    const char *near = nearest_name(word, names, OPTION_COUNT);
    if (near != NULL)
        fault(o, "there is no option --%s: is --%s meant?", word, near);
    else
        fault(o, "there is no option --%.*s", (int)(size < 64 ? size : 64), name);
}

static void give(struct options *o, int option, const char *value)
{
    const struct option_spec *spec = &option_specs[option];
    if (option_given(o, (enum option)option) && !spec->repeated)
        fault(o, "--%s is given twice", spec->name);
    o->given |= OPTION_BIT(option);
    o->values[option] = value;
    if (option == OPTION_ID && value != NULL)
        o->ids[o->id_count++] = value;
}

/* `next` is the word behind, NULL at the end. True if it was taken as the value. */
static bool take_option(struct options *o, const char *text, const char *next)
{
    const char *name = text + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    int option = find_option(name, size);
    if (option < 0) {
        fault_unknown(o, name, size);
        return false;
    }
    const struct option_spec *spec = &option_specs[option];
    if (spec->value[0] == '\0') {
        if (equals != NULL)
            fault(o, "--%s takes no value", spec->name);
        give(o, option, NULL);
        return false;
    }
    const char *value = equals != NULL ? equals + 1 : next;
    if (value == NULL || value[0] == '\0') {
        fault(o, "--%s needs a value: --%s %s", spec->name, spec->name, spec->value);
        value = NULL;
    }
    give(o, option, value);
    return equals == NULL && next != NULL;
}

int options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.argv = argv};
    size_t room = argc > 0 ? (size_t)argc : 1;
    o->ids = calloc(room, sizeof(*o->ids));
    o->words = calloc(room, sizeof(*o->words));
    if (o->ids == NULL || o->words == NULL)
        return -ENOMEM;

    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        if (only_words || text[0] != '-' || text[1] == '\0')
            o->words[o->word_count++] = text;
        else if (strcmp(text, "--") == 0)
            only_words = true;
        else if (strcmp(text, "-h") == 0)
            give(o, OPTION_HELP, NULL);
        else if (text[1] != '-')
            fault(o, "there is no option %.64s: options are written in full, as --help",
                  text);
        else if (take_option(o, text, i + 1 < argc ? argv[i + 1] : NULL))
            i++;
    }
    return o->error[0] == '\0' ? 0 : ERR_SYNTAX;
}

void options_free(struct options *o)
{
    free(o->ids);
    free(o->words);
    o->ids = NULL;
    o->words = NULL;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein's distance, one row at a time. Both at most NEAREST_SIZE_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_SIZE_MAX + 1];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t above = row[j + 1];
            row[j + 1] = least(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1));
            diagonal = above;
        }
    }
    return row[width];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    size_t length = strlen(word);
    if (length == 0 || length > NEAREST_SIZE_MAX)
        return NULL;
    const char *best = NULL;
    /* Two letters swapped count as two faults. */
    size_t limit = length < 4 ? 1 : length < 9 ? 2 : 3;
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) > NEAREST_SIZE_MAX)
            continue;
        size_t d = distance(word, names[i]);
        if (d <= limit) {
            best = names[i];
            limit = d;
            if (d == 0)
                break;
            limit--;
        }
    }
    return best;
}
