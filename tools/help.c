#include "tools/help.h"

#include <stdio.h>

#define OPTION_COLUMN 22

static void print_option(struct output *out, const struct option_spec *spec)
{
    char left[OPTION_COLUMN * 2];
    (void)snprintf(left, sizeof(left), "--%s%s%s", spec->name,
                   spec->value[0] != '\0' ? " " : "", spec->value);
    output_print(out, "  %-*s  %s\n", OPTION_COLUMN, left, spec->help);
}

static void print_options(struct output *out, unsigned mask)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if ((mask & OPTION_BIT(i)) != 0)
            print_option(out, &option_specs[i]);
}

static void print_indented(struct output *out, const char *text)
{
    for (const char *at = text; *at != '\0';) {
        int size = 0;
        while (at[size] != '\0' && at[size] != '\n')
            size++;
        output_print(out, "  %.*s\n", size, at);
        at += size + (at[size] == '\n' ? 1 : 0);
    }
}

void help_command(struct output *out, const struct command *c)
{
    output_print(out, "usage: mailcask %s %s%s[options]\n\n%s\n\noptions:\n", c->name,
                 c->usage, c->usage[0] != '\0' ? " " : "", c->about);
    print_options(out, c->options);
    print_options(out, OPTIONS_GLOBAL);
    output_print(out, "\nexit status:\n");
    print_indented(out, c->statuses);
    output_print(out, "\nexample:\n");
    print_indented(out, c->example);
}

void help_overview(struct output *out, const struct command *const *commands, size_t count)
{
    output_print(out,
                 "usage: mailcask COMMAND [options]\n\n"
                 "Lists, verifies and restores the mail that mailcaskd has archived.\n\n"
                 "commands:\n");
    for (size_t i = 0; i < count; i++)
        output_print(out, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
    output_print(out, "\noptions, before or after the command:\n");
    print_options(out, OPTIONS_GLOBAL | OPTION_BIT(OPTION_VERSION));
    output_print(
        out,
        "\nWhich archive: --archive, else the one named in the file of --config or of the\n"
        "environment variable MAILCASK_CONFIG. A message's ID is ACCOUNT/N.\n\n"
        "exit status:\n"
        "  0  done\n"
        "  1  done in part; what failed is on standard error\n"
        "  2  usage or configuration\n"
        "  3  damage was found\n"
        "  4  could not run\n\n"
        "`mailcask COMMAND --help` tells more of each.\n");
}
