/* The help texts, made from the tables of commands and options. */
#ifndef MAILCASK_TOOLS_HELP_H
#define MAILCASK_TOOLS_HELP_H

#include "tools/command.h"

/* `mailcask NAME --help`. */
void help_command(struct output *out, const struct command *c);
/* `mailcask --help`. */
void help_overview(struct output *out, const struct command *const *commands, size_t count);

#endif
