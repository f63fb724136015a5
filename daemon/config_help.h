/* The configuration's keys in words, from their table: mailcaskd --help-config, and from
 * that mailcask.conf(5). */
#ifndef MAILCASK_DAEMON_CONFIG_HELP_H
#define MAILCASK_DAEMON_CONFIG_HELP_H

#include <stdio.h>

/* Every key once, below the section it belongs to. Errors stay in `out`: see ferror(). */
void config_help(FILE *out);

#endif
