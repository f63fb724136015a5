/* TLS sessions kept from one connection for the next: to resume one costs the client a
 * third of a full handshake in TLS 1.3, a fifteenth in 1.2.
 *
 * What a resumed session is trusted for. The server proves that it holds the secret of a
 * session in which it was verified, and shows no certificate. That is taken
 * 1. only by the context whose policy and CA certificates verified it: a ca-file (its path
 *    or what is in it), a pin or a tls-min that changes makes another context;
 * 2. only for the same host, which is the name verified and the SNI, and port;
 * 3. for TLS_SESSION_AGE_S from the full handshake on. What is given out in a resumed
 *    session has the age of that one: resuming does not renew trust;
 * 4. while every certificate of the chain verified is valid (a pin looks at no dates);
 * 5. by a clock that is not behind the time of that handshake;
 * 6. as long as the server said it would know the session.
 * After that the next handshake is full, and verifies: so a certificate that was withdrawn,
 * or replaced because its key is known, can be relied on for TLS_SESSION_AGE_S longer by
 * who has the session's secret, and by nobody else.
 *
 * A ticket of TLS 1.3 serves once (RFC 8446 C.4): who takes it has the only one. A session
 * of TLS 1.2 or older serves until it is too old. Keys are agreed on anew in TLS 1.3, not
 * in 1.2. OpenSSL gives up a session whose connection failed or ended without a
 * close_notify of ours. There is no early data: it could be replayed, with its PASS.
 *
 * One cache serves the contexts of one thread and takes no locks: OpenSSL allows a session
 * with one SSL_CTX only. Part of workers/tls.c; for others, the limits and the first two
 * functions. */
#ifndef MAILCASK_WORKERS_TLS_SESSIONS_H
#define MAILCASK_WORKERS_TLS_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits. Twice a day each server shows its certificate again. */
#define TLS_SESSION_AGE_S ((int64_t)12 * 3600)
/* A server that aborted a handshake which offered a session is offered none for so long. */
#define TLS_REFUSAL_AGE_S ((int64_t)3600)
/* Of one cache: sessions and refusals. The least lately used give way. */
#define TLS_SESSIONS_MAX 2048u
#define TLS_SESSIONS_PER_SERVER_MAX 64u
/* One that needs more memory, for its certificates or its ticket, is not kept. */
#define TLS_SESSION_SIZE_MAX ((size_t)64 * 1024)

struct tls_sessions;
struct ssl_session_st; /* OpenSSL's SSL_SESSION */
struct stack_st_X509;  /* and a chain of certificates */

/* max_bytes: of memory, all told, by an estimate from above. NULL without memory. */
struct tls_sessions *tls_sessions_create(size_t max_bytes);
/* After the last context that uses it. NULL is allowed. */
void tls_sessions_destroy(struct tls_sessions *sessions);

/* Whose session it is. */
struct tls_sessions_place {
    uint64_t context; /* see tls_sessions_context() */
    const char *host;
    uint16_t port;
};

/* When a session may be resumed: from_s <= now <= until_s, seconds since the epoch. */
struct tls_sessions_trust {
    int64_t from_s;
    int64_t until_s;
};

/* A number for one context: never 0, never given twice. */
uint64_t tls_sessions_context(struct tls_sessions *sessions);
/* The context ends, and its sessions with it. */
void tls_sessions_forget(struct tls_sessions *sessions, uint64_t context);

/* Takes over the caller's reference in any case; the session may be dropped at once.
 * chain: what the session holds of certificates, to be counted. */
void tls_sessions_put(struct tls_sessions *sessions, const struct tls_sessions_place *place,
                      struct ssl_session_st *session, const struct stack_st_X509 *chain,
                      const struct tls_sessions_trust *trust);

/* The latest one that may be resumed now, with a reference for the caller; or NULL. */
struct ssl_session_st *tls_sessions_take(struct tls_sessions *sessions,
                                         const struct tls_sessions_place *place,
                                         int64_t now_s,
                                         struct tls_sessions_trust *out_trust);

/* The server seems to abort handshakes that offer a session: it is offered none until
 * now_s + TLS_REFUSAL_AGE_S. */
void tls_sessions_refused(struct tls_sessions *sessions,
                          const struct tls_sessions_place *place, int64_t now_s);

/* Sessions and refusals kept, and the estimate of their memory. */
unsigned tls_sessions_count(const struct tls_sessions *sessions);
size_t tls_sessions_bytes(const struct tls_sessions *sessions);

#endif
