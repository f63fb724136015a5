/* The lines of a configuration file: [kind name], key = value. Comments (# or ;) stand on
 * lines of their own; whatever follows '=' belongs to the value, quotes too, but for blanks
 * at its ends. Nothing has a length limit of its own. */
#ifndef MAILCASK_DAEMON_CONFIG_INI_H
#define MAILCASK_DAEMON_CONFIG_INI_H

#include <stddef.h>

enum config_ini_kind {
    CONFIG_INI_SECTION, /* word: "server", value: its name, "" if none */
    CONFIG_INI_ENTRY,   /* word: the key, value: "" if empty */
    CONFIG_INI_BAD,     /* value: the problem, a sentence */
    CONFIG_INI_END,
};

struct config_ini_line {
    enum config_ini_kind kind;
    unsigned line; /* from 1 */
    const char *word, *value;
};

struct config_ini {
    char *at, *end;
    unsigned line;
};

/* Read text, which lies in memory that the reader may cut up (end is a NUL) and that
 * outlives the lines. */
void config_ini_init(struct config_ini *ini, char *text, size_t size);

/* The next line that is neither blank nor a comment. After CONFIG_INI_BAD one may go on. */
struct config_ini_line config_ini_next(struct config_ini *ini);

#endif
