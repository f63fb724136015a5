/* The client's side of TLS (1.2 and 1.3; older only on request) as a state machine without
 * I/O. Four buffers: received records are lent with tls_feed(), records to send are fetched
 * with tls_output(), plaintext comes and goes in the caller's memory with tls_read() and
 * tls_write(). Nothing here blocks, knows a socket, or logs.
 *
 * The driver's rule: after each of tls_handshake(), tls_read(), tls_write() and
 * tls_close_notify(), whatever it returned, send what tls_output() holds. After an error
 * that may be the alert that tells the server why.
 *
 * A context and its connections belong to one thread; two contexts share nothing. */
#ifndef MAILCASK_WORKERS_TLS_H
#define MAILCASK_WORKERS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Size of a buffer for one sentence, with its NUL. */
#define TLS_TEXT_SIZE 1024

#define TLS_FINGERPRINT_SIZE 32

/* Steps that are neither success (0) nor an error (negative, archive/error.h). */
enum tls_step {
    TLS_WANT = 1, /* all that was lent is consumed: feed more */
    TLS_BLOCKED,  /* the output is full: send it, consume it, call again */
    TLS_CLOSED,   /* the server ended its stream cleanly, with close_notify */
};

/* The oldest version that is spoken with a server; zeroed, the default. Below 1.2 what was
 * common then is accepted, too: SHA-1 in signatures, short RSA and DH keys (Q56). */
enum tls_oldest { TLS_OLDEST_1_2, TLS_OLDEST_1_3, TLS_OLDEST_1_1, TLS_OLDEST_1_0 };

/* How a server proves who it is. */
struct tls_policy {
    /* PEM file of the trusted CAs. NULL: the system's, which is
     * /etc/ssl/certs/ca-certificates.crt or else OpenSSL's default file. */
    const char *ca_file;
    /* NULL, or the SHA-256 of the server's own certificate (DER), TLS_FINGERPRINT_SIZE
     * bytes. A pin decides alone: issuer, name and dates are not looked at, ca_file is not
     * loaded. */
    const uint8_t *fingerprint;
    enum tls_oldest oldest; /* never lowered by itself */
};

/* The file of the CAs that a policy trusts, if it has no pin. */
const char *tls_ca_path(const struct tls_policy *policy);

/* One policy with its trusted certificates, loaded once: tens of milliseconds for the
 * system's. */
struct tls_context;

/* policy is copied. out_text: after an error one sentence for the administrator.
 * Returns 0; -ENOMEM; ERR_NOT_FOUND (no usable CA file); ERR_CRYPTO. */
int tls_context_create(const struct tls_policy *policy, struct tls_context **out_context,
                       char out_text[TLS_TEXT_SIZE]);

struct tls_sessions;

/* Before its first connection: those that call tls_resume() find sessions here, and leave
 * theirs. sessions outlives the context and belongs to its thread. */
void tls_context_use_sessions(struct tls_context *context, struct tls_sessions *sessions);

/* Only after its last connection. NULL is allowed. */
void tls_context_destroy(struct tls_context *context);

/* One connection. */
struct tls;

/* host: the name (sent as SNI) or IPv4 or IPv6 address (never sent) that the certificate
 * must be for; copied. A name is compared with the certificate's DNS names, with its common
 * name only if there are none (RFC 7817), and a wildcard stands for a whole label only.
 * Returns 0; -EINVAL (host is empty or over 253 bytes); -ENOMEM; ERR_CRYPTO. */
int tls_create(struct tls_context *context, const char *host, struct tls **out_tls);

/* Before the handshake: offer to resume an earlier session with this host and port, if
 * there is one that may be trusted still (workers/tls_sessions.h), and keep what the server
 * gives out for the next. Whether the server takes the offer is its own: else the handshake
 * is a full one, and verifies. Does nothing where the context uses no sessions. */
void tls_resume(struct tls *tls, uint16_t port);

/* The handshake resumed a session: no certificate was shown this time. */
bool tls_resumed(const struct tls *tls);

/* The handshake has failed, or is given up: true if the session that was offered may be why
 * (a certificate or version refused, it is not). Then the server is offered none for a
 * while: try again on another connection. */
bool tls_blame_session(struct tls *tls);

/* Not before a send of what tls_output() returned has completed. Says nothing to the
 * server: see tls_close_notify(). NULL is allowed. */
void tls_destroy(struct tls *tls);

/* Lend received ciphertext. It is borrowed until a call returns TLS_WANT, TLS_CLOSED or an
 * error, or until tls_keep_input(). Then the engine itself holds at most one incomplete
 * record. Only when nothing of an earlier loan is left; ignored after an error. */
void tls_feed(struct tls *tls, const uint8_t *data, size_t size);

/* End the loan early: what is left of it is copied, and freed as soon as it is consumed.
 * For a session that must pause between two reads. Returns 0 or -ENOMEM (it goes on). */
int tls_keep_input(struct tls *tls);

/* The TCP stream has ended: nothing will be fed any more. Without a close_notify in what
 * was fed, the next step that wants input is ERR_CLOSED (Q55). */
void tls_end_of_input(struct tls *tls);

/* All steps below return the first error again once one has failed. Errors: ERR_TLS (see
 * tls_error()), ERR_CLOSED (the stream ended without close_notify), -ENOMEM. */

/* 0 once the server is verified and the connection stands; TLS_WANT; TLS_BLOCKED; an error.
 * May leave lent input for tls_read(). */
int tls_handshake(struct tls *tls);

/* Plaintext, at most one record (16 KiB) a call. Only after the handshake; size > 0.
 * Returns 0 and *out_read > 0; otherwise *out_read is 0 and it returns TLS_WANT,
 * TLS_BLOCKED, TLS_CLOSED or an error. */
int tls_read(struct tls *tls, void *data, size_t size, size_t *out_read);

/* Encrypt data for sending, in records of 1 KiB. Only after the handshake, not after
 * tls_close_notify(); size > 0.
 * Returns 0 and *out_written > 0, perhaps less than size; otherwise *out_written is 0 and
 * it returns TLS_BLOCKED, an error, or TLS_WANT (the server is halfway through a message of
 * TLS's own, as no server in use does: read on first). Whatever it returned, the next call
 * may pass other data. */
int tls_write(struct tls *tls, const void *data, size_t size, size_t *out_written);

/* Tell the server that nothing more will be written; reading goes on. Does nothing before
 * the handshake is done, after an error, or a second time. Returns what tls_write() may. */
int tls_close_notify(struct tls *tls);

/* The ciphertext to send; returns its size, 0 if there is none. The bytes stay where they
 * are until they are consumed, whatever is called in between: a send may be in flight. */
size_t tls_output(const struct tls *tls, const uint8_t **out_data);

/* The first size bytes of tls_output() were sent. */
void tls_output_consume(struct tls *tls, size_t size);

/* After an error: one sentence for the administrator, what is wrong and what to do about
 * it, of less than TLS_TEXT_SIZE bytes; what it quotes of the server is printable ASCII.
 * Valid until tls_destroy(), never NULL; "" without an error. */
const char *tls_error(const struct tls *tls);

/* What kind of error it was. From TLS_FAULT_EXPIRED on it is the server's certificate that
 * was refused. */
enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_OTHER,
    TLS_FAULT_OLD, /* the server's versions or keys */
    TLS_FAULT_EXPIRED,
    TLS_FAULT_NOT_YET, /* valid */
    TLS_FAULT_NAME,
    TLS_FAULT_SELF_SIGNED,
    TLS_FAULT_ISSUER, /* not known, or missing in the chain */
    TLS_FAULT_WEAK,
    TLS_FAULT_PIN,
    TLS_FAULT_CERTIFICATE, /* anything else about it */
};
enum tls_fault tls_fault(const struct tls *tls);

/* Protocol and cipher, as "TLSv1.3 TLS_AES_128_GCM_SHA256", with " (resumed)" behind if it
 * was; only after the handshake. Cut to size bytes with the NUL. */
void tls_describe(const struct tls *tls, char *out_text, size_t size);

/* The server's certificate, as "for mail.example, issued by "CA", valid until 2026-12-31
 * 12:00 UTC"; only after the handshake. Printable ASCII. */
void tls_describe_certificate(const struct tls *tls, char out_text[TLS_TEXT_SIZE]);

#endif
