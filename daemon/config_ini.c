#include "daemon/config_ini.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

void config_ini_init(struct config_ini *ini, char *text, size_t size)
{
    assert(text[size] == '\0');
    *ini = (struct config_ini){.at = text, .end = text + size};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cut the blanks off both ends, in place. */
static char *trim(char *from, char *to)
{
    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    *to = '\0';
    return from;
}

/* The next line as a string without its line end; NULL at the end of the text. */
static char *take_line(struct config_ini *ini)
{
    if (ini->at >= ini->end)
        return NULL;
    char *from = ini->at;
    char *to = memchr(from, '\n', (size_t)(ini->end - from));
    if (to == NULL)
        to = ini->end;
    ini->at = to < ini->end ? to + 1 : to;
    ini->line++;
    if (to > from && to[-1] == '\r')
        to--;
    return trim(from, to);
}

static struct config_ini_line bad(const char *problem)
{
    return (struct config_ini_line){.kind = CONFIG_INI_BAD, .value = problem};
}

static struct config_ini_line read_section(char *text)
{
    char *end = text + strlen(text);
    if (end[-1] != ']')
        return bad("a section without its ']'; allowed: [archive], [server NAME], "
                   "[account NAME]");
    char *kind = trim(text + 1, end - 1);
    char *name = kind + strcspn(kind, " \t");
    if (*name != '\0') {
        *name++ = '\0';
        name += strspn(name, " \t");
    }
    return (struct config_ini_line){
        .kind = CONFIG_INI_SECTION, .word = kind, .value = name};
}

static struct config_ini_line read_entry(char *text)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return bad("neither a section nor a key with its value; allowed: [section], "
                   "key = value, and comments on lines of their own");
    char *value = equals + 1;
    return (struct config_ini_line){.kind = CONFIG_INI_ENTRY,
                                    .word = trim(text, equals),
                                    .value = value + strspn(value, " \t")};
}

struct config_ini_line config_ini_next(struct config_ini *ini)
{
    struct config_ini_line line = {.kind = CONFIG_INI_END};
    char *text;
    do
        text = take_line(ini);
    while (text != NULL && (*text == '\0' || *text == '#' || *text == ';'));
    if (text != NULL) {
        if (strchr(text, '\r') != NULL)
            line = bad(
                "a carriage return inside a line; allowed: lines that end in LF or CRLF");
        else
            line = *text == '[' ? read_section(text) : read_entry(text);
    }
    line.line = ini->line;
    return line;
}
