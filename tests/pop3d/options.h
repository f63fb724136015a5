/* The command line, read once; README.md explains each option. */
#ifndef MAILCASK_POP3D_OPTIONS_H
#define MAILCASK_POP3D_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/pop3d/body.h"

#define LISTEN_MAX 4

/* What CAPA can announce. */
#define CAPABILITY_LIST(X)              \
    X(TOP, "TOP")                       \
    X(UIDL, "UIDL")                     \
    X(RESP_CODES, "RESP-CODES")         \
    X(AUTH_RESP_CODE, "AUTH-RESP-CODE") \
    X(PIPELINING, "PIPELINING")         \
    X(STLS, "STLS")                     \
    X(USER, "USER")                     \
    X(SASL, "SASL")                     \
    X(UTF8, "UTF8")                     \
    X(EXPIRE, "EXPIRE")                 \
    X(LOGIN_DELAY, "LOGIN-DELAY")

#define CAPABILITY_MEMBER(name, text) CAPABILITY_##name,
enum capability { CAPABILITY_LIST(CAPABILITY_MEMBER) CAPABILITY_COUNT };
#undef CAPABILITY_MEMBER

const char *capability_name(enum capability capability);

enum tls_mode { TLS_IMPLICIT, TLS_STARTTLS, TLS_NONE };
enum uidl_kind { UIDL_NAME, UIDL_NUMBER, UIDL_RANDOM };

/* Strings are the command line's own. */
struct options {
    const char *dir;
    const char *listen[LISTEN_MAX];
    size_t listen_count;
    const char *port_file;
    enum tls_mode tls;
    const char *cert;
    const char *key;
    const char *write_ca;
    int tls_max_version; /* OpenSSL's number; 0: the newest */
    bool tickets;
    const char *password;
    enum line_ends line_ends;
    enum uidl_kind uidl;
    bool lock;
    bool read_only;
    unsigned hidden_capabilities; /* bits of 1 << enum capability */
    unsigned late_capabilities;   /* announced after the login only */
    const char *expire;           /* NULL: not announced */
    uint64_t login_delay_s;       /* 0: not announced */
    uint64_t throttle;            /* bytes a second and session; 0: none */
    uint64_t delay_ms;
    uint64_t rtt_ms;
    const char *log;
    const char *script;
    bool die_with_parent;
};

/* Returns -1 to go on, else the exit status (after --help or a message on standard error).
 */
int options_parse(struct options *options, int argc, char **argv);

#endif
