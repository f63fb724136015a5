/* Inside of the script: rules as the parser leaves them for the matcher. */
#ifndef MAILCASK_POP3D_SCRIPT_RULES_H
#define MAILCASK_POP3D_SCRIPT_RULES_H

#include "tests/pop3d/script.h"

enum condition {
    WHEN_BEFORE_LOGIN = 1 << 0,
    WHEN_AFTER_LOGIN = 1 << 1,
    WHEN_TLS = 1 << 2,
    WHEN_PLAIN = 1 << 3,
    WHEN_UTF8 = 1 << 4,
    WHEN_NO_UTF8 = 1 << 5
};

/* Memory of a script, freed with it. */
struct allocation {
    struct allocation *next;
};

struct rule {
    unsigned line;
    enum event event; /* EVENT_COUNT: any command */
    struct range numbers;
    bool any_number;
    bool without_number;
    char *user; /* fnmatch patterns, NULL: any */
    char *name;
    struct range connections;
    struct range sessions;
    unsigned when;
    uint64_t skip;
    uint64_t times;
    uint64_t hits;
    struct action action;
    struct rule *next;
};

struct script {
    struct rule *first;
    struct rule **end;
    struct allocation *allocations;
};

#endif
