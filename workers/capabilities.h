/* What a server announces in its CAPA reply (RFC 2449). What was learnt holds only in the
 * state it was learnt in: before TLS, before login, after login. */
#ifndef MAILCASK_WORKERS_CAPABILITIES_H
#define MAILCASK_WORKERS_CAPABILITIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPABILITIES_LINES_MAX 100u
#define CAPABILITIES_BYTES_MAX ((size_t)16 * 1024)

#define CAPABILITIES_EXPIRE_UNSTATED (-1)
#define CAPABILITIES_EXPIRE_NEVER (-2)

/* What is not believed, whatever a server announces (Q49): a set of these. */
enum {
    AVOID_CAPA = 1u << 0, /* not even asked for */
    AVOID_PIPELINING = 1u << 1,
    AVOID_SASL = 1u << 2,
    AVOID_UIDL = 1u << 3, /* a refused UIDL means that there is none */
    AVOID_UTF8 = 1u << 4,
};

struct capabilities {
    bool known; /* a complete CAPA reply was read */
    bool uidl;
    bool user;
    bool stls;
    bool pipelining;
    bool utf8; /* RFC 6856 */
    bool sasl_plain;
    uint32_t login_delay_s; /* 0: none */
    int32_t expire_days;    /* or CAPABILITIES_EXPIRE_*; 0: messages may go on RETR (Q35) */
    unsigned lines;
    size_t bytes;
};

/* Nothing known. */
void capabilities_clear(struct capabilities *c);

/* Take one line of the reply. Tolerant (Q49): any case, any blanks, "EXPIRENEVER", unknown
 * words skipped. Returns 0, or ERR_TOO_LARGE beyond the limits above. */
int capabilities_add(struct capabilities *c, const char *line, size_t size);

/* Forget what is in this set of AVOID_*. */
void capabilities_avoid(struct capabilities *c, unsigned avoid);

#endif
