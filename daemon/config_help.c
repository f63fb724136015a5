#include "daemon/config_help.h"

#include "daemon/config_keys.h"

#include <stddef.h>

#define KEY_COLUMN 18

/* Which section a key belongs to; it may stand in others, too. */
static enum config_section home(const struct config_key *key)
{
    if ((key->sections & SECTION_ARCHIVE) != 0)
        return SECTION_ARCHIVE;
    if ((key->sections & SECTION_ACCOUNT) != 0)
        return SECTION_ACCOUNT;
    if ((key->sections & SECTION_SERVER) != 0)
        return SECTION_SERVER;
    return SECTION_TABLE;
}

static void further_line(FILE *out, const char *head, const char *text)
{
    if (text[0] != '\0')
        (void)fprintf(out, "  %*s  %s: %s.\n", KEY_COLUMN, "", head, text);
}

static void one_key(FILE *out, const struct config_key *key)
{
    (void)fprintf(out, "  %-*s  %s\n", KEY_COLUMN, key->name, key->help);
    further_line(out, "Allowed", key->allowed);
    further_line(out, "Default", key->default_text);
    if (home(key) == SECTION_ACCOUNT && (key->sections & SECTION_SERVER) == 0)
        further_line(out, "Not in", "a [server] section");
}

static void one_section(FILE *out, enum config_section section, const char *head)
{
    (void)fprintf(out, "%s:\n", head);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (home(&config_keys[i]) == section)
            one_key(out, &config_keys[i]);
}

void config_help(FILE *out)
{
    one_section(out, SECTION_ARCHIVE, "in [archive]");
    (void)fputc('\n', out);
    one_section(out, SECTION_SERVER, "in [server NAME]");
    (void)fputc('\n', out);
    one_section(
        out, SECTION_ACCOUNT,
        "in [account NAME], in [server NAME] for all its accounts, or a column of an "
        "accounts-file");
    (void)fputc('\n', out);
    one_section(out, SECTION_TABLE, "only a column of an accounts-file");
}
