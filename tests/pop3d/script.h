/* What this server is told to do wrong. A script is a list of rules, one a line; the first
 * rule that matches an event decides. README.md describes the language. */
#ifndef MAILCASK_POP3D_SCRIPT_H
#define MAILCASK_POP3D_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/pop3d/body.h"
#include "tests/pop3d/buffer.h"

/* The commands, and the moments that are not commands. */
#define EVENT_LIST(X) \
    X(CONNECT)        \
    X(GREETING)       \
    X(LOGIN)          \
    X(SASL)           \
    X(CAPA)           \
    X(USER)           \
    X(PASS)           \
    X(AUTH)           \
    X(APOP)           \
    X(STLS)           \
    X(UTF8)           \
    X(STAT)           \
    X(LIST)           \
    X(UIDL)           \
    X(RETR)           \
    X(TOP)            \
    X(DELE)           \
    X(NOOP)           \
    X(RSET)           \
    X(LAST)           \
    X(QUIT)           \
    X(OTHER)

#define EVENT_MEMBER(name) EVENT_##name,
enum event { EVENT_LIST(EVENT_MEMBER) EVENT_COUNT };
#undef EVENT_MEMBER
#define EVENT_FIRST_COMMAND EVENT_SASL

/* "RETR" and so on. */
const char *event_name(enum event event);
/* EVENT_COUNT if it is none; any case. */
enum event event_parse(const char *word);

#define UNSET UINT64_MAX
#define REPEAT_FOREVER (UINT64_MAX - 1)

/* How a session goes on after a reply. */
enum finish {
    FINISH_NONE,
    FINISH_CLOSE,    /* close the socket without a TLS close_notify */
    FINISH_SHUTDOWN, /* with one */
    FINISH_RESET,    /* a TCP reset */
    FINISH_HANG,     /* read nothing, write nothing, until the client leaves */
    FINISH_STLS      /* not for scripts: start TLS */
};

struct range {
    uint64_t first;
    uint64_t last;
};

/* A change to some lines of a listing, or to the UIDLs of some messages. */
struct edit {
    struct range numbers;
    struct bytes format; /* data NULL: leave the line out */
    struct edit *next;
};

struct action {
    struct bytes reply; /* instead of the whole reply; CRLF is added */
    struct bytes raw;   /* the same without CRLF */
    struct bytes status;
    struct bytes body;
    struct bytes before;
    struct bytes after;
    struct bytes repeat;
    struct bytes extra;
    uint64_t repeat_count;
    uint64_t truncate; /* UNSET, or content bytes to send */
    uint64_t cut;      /* UNSET, or bytes of the whole reply to send */
    uint64_t delay_ms;
    uint64_t drip_ms;
    uint64_t drip_bytes;
    uint64_t show_first;
    uint64_t show_last;
    struct edit *edits;
    struct edit *uidls;
    enum stuffing stuffing;
    enum finish finish;
    bool silent; /* no reply at all */
    bool lf;
    bool no_terminator;
    bool no_final_crlf;
    bool reverse;
    bool pretend; /* the reply of success without the effect */
    bool anyway;  /* the effect, whatever is replied */
    bool delete;
    bool discard_input;
};

/* The action of a server that does nothing wrong. */
extern const struct action plain_action;

/* What a rule is matched against. */
struct occasion {
    enum event event;
    const char *user;    /* NULL before it is known */
    const char *name;    /* the message's file, or NULL */
    uint64_t number;     /* the message's number; UNSET if the command has none */
    uint64_t connection; /* counted over the server's life, from 1 */
    uint64_t session;    /* login of this user, from 1; 0 before the login */
    bool tls;
    bool utf8;
};

struct script;

/* Read a script; on an error print "file:line: what" to errors and return NULL. */
struct script *script_read(const char *path, FILE *errors);
/* The same from memory; name stands for the file in messages. */
struct script *script_parse(const char *name, const char *text, FILE *errors);
void script_free(struct script *script);

/* The action of the first rule that matches, whose counters move on; plain_action if none
 * does. script may be NULL. out_line: the rule's line, 0 for none. */
const struct action *script_match(struct script *script, const struct occasion *occasion,
                                  unsigned *out_line);

/* Whether what the rule sends leaves the command's own effect in place: not when it refuses
 * (a text that starts with "-"), keeps silent, or only pretends; always with `anyway`. */
bool action_has_effect(const struct action *action);

/* What %n, %u, %s, %f and %r stand for. */
struct format_values {
    uint64_t number;
    uint64_t octets;
    const char *uidl;
    const char *file;
    const char *random;
};

void format_add(struct buffer *out, struct bytes format,
                const struct format_values *values);

#endif
