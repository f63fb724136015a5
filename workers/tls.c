#include "workers/tls.h"

#include "archive/error.h"
#include "workers/tls_bio.h"
#include "workers/tls_sessions.h"
#include "workers/tls_verify.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Plaintext of one record sent. Commands are short, and OpenSSL keeps a buffer of this
 * size. */
#define FRAGMENT_SIZE 1024

/* What one write may need: an application record and a pending alert, each with its header,
 * IV, padding and tag. Asking for it first means that OpenSSL never keeps half a write of
 * ours, which the next call would have to repeat with the same data. */
#define WRITE_ROOM ((size_t)2 * (FRAGMENT_SIZE + 512))

/* A server's whole certificate message; 144 public CAs would fit, no chain comes near. */
#define CHAIN_SIZE_MAX (64L * 1024)

/* Sessions kept of those that one connection gives out: OpenSSL's servers send two behind a
 * full handshake. */
#define SESSIONS_KEPT_MAX 2u

/* Level 2 is 112 bits: RSA from 2048, no SHA-1 in signatures. */
#define SECURITY_LEVEL 2
#define SECURITY_LEVEL_OLD 0

/* OpenSSL's own, but AES-128 with SHA-256 is asked for first, as browsers do: a resumed
 * handshake then costs a tenth less, and receiving a seventh. */
#define CIPHERS_TLS12 "ECDHE+AES128+AESGCM:ALL:!COMPLEMENTOFDEFAULT:!eNULL"
#define CIPHERS_OLD "DEFAULT:@SECLEVEL=0"
#define CIPHERS_TLS13                                \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:" \
    "TLS_CHACHA20_POLY1305_SHA256"

struct tls_context {
    SSL_CTX *ctx;
    BIO_METHOD *wire_method;
    struct tls_trust trust;
    struct tls_sessions *sessions; /* NULL: none */
    uint64_t number;               /* there */
};

struct tls {
    SSL *ssl;
    struct tls_wire wire; /* ssl's BIO reads and writes here */
    struct tls_peer peer; /* ssl's verification reads and complains here */
    int failure;          /* the first error, or 0 */
    char *error;          /* its sentence, or NULL */
    bool established;
    bool close_sent;
    bool too_old; /* what failure is about */

    const struct tls_context *context;
    bool resumes; /* tls_resume() was called: port is known */
    bool offered; /* a session, trusted as it says */
    uint16_t port;
    int64_t began_s;
    unsigned kept;
    struct tls_sessions_trust trusted;
};

/* Q56: what servers that stopped with TLS 1.0 or 1.1 can do. */
static bool allow_old(SSL_CTX *ctx)
{
    char groups[] = "X25519:P-256:P-384:P-521";
    SSL_CTX_clear_options(ctx, SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1);
    SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL_OLD);
    return SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_OLD) == 1;
}

static bool set_oldest(SSL_CTX *ctx, enum tls_oldest oldest)
{
    static const int versions[] = {[TLS_OLDEST_1_2] = TLS1_2_VERSION,
                                   [TLS_OLDEST_1_3] = TLS1_3_VERSION,
                                   [TLS_OLDEST_1_1] = TLS1_1_VERSION,
                                   [TLS_OLDEST_1_0] = TLS1_VERSION};
    if (versions[oldest] < TLS1_2_VERSION && !allow_old(ctx))
        return false;
    return SSL_CTX_set_min_proto_version(ctx, versions[oldest]) == 1;
}

/* In code and not left to openssl.cnf, which could weaken it. */
static bool configure(SSL_CTX *ctx, enum tls_oldest oldest)
{
    SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_LEGACY_SERVER_CONNECT |
                                   SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION |
                                   SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET |
                                   SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    /* With read-ahead OpenSSL would copy the window record after record into a buffer that
     * a quiet connection then keeps; without it, it holds one record at most. */
    SSL_CTX_set_read_ahead(ctx, 0);
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_SIZE_MAX);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    char groups[] = "X25519:P-256";
    return SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERS_TLS13) == 1 &&
           SSL_CTX_set_max_send_fragment(ctx, FRAGMENT_SIZE) == 1 &&
           set_oldest(ctx, oldest);
}

static int context_init(struct tls_context *context, const struct tls_policy *policy,
                        char out_text[TLS_TEXT_SIZE])
{
    context->wire_method = tls_wire_method();
    context->ctx = SSL_CTX_new(TLS_client_method());
    if (context->wire_method == NULL || context->ctx == NULL) {
        snprintf(out_text, TLS_TEXT_SIZE, "OpenSSL could not be started");
        return ERR_CRYPTO;
    }
    if (!configure(context->ctx, policy->oldest)) {
        snprintf(out_text, TLS_TEXT_SIZE, "OpenSSL refused the settings for TLS");
        return ERR_CRYPTO;
    }
    return tls_trust_init(&context->trust, policy, context->ctx, out_text);
}

int tls_context_create(const struct tls_policy *policy, struct tls_context **out_context,
                       char out_text[TLS_TEXT_SIZE])
{
    out_text[0] = '\0';
    struct tls_context *context = calloc(1, sizeof(*context));
    if (context == NULL) {
        snprintf(out_text, TLS_TEXT_SIZE, "out of memory");
        return -ENOMEM;
    }
    int err = context_init(context, policy, out_text);
    ERR_clear_error();
    if (err != 0) {
        tls_context_destroy(context);
        return err;
    }
    *out_context = context;
    return 0;
}

/* Sessions */

static struct tls_sessions_place place_of(const struct tls *tls)
{
    return (struct tls_sessions_place){
        .context = tls->context->number, .host = tls->peer.host, .port = tls->port};
}

/* A session is not to outlive the certificates that vouched for it. */
static struct tls_sessions_trust trust_of_full_handshake(const struct tls *tls)
{
    int64_t valid_until_s = tls_peer_valid_until(tls->ssl);
    struct tls_sessions_trust trust = {.from_s = tls->began_s,
                                       .until_s = tls->began_s + TLS_SESSION_AGE_S};
    if (trust.until_s > valid_until_s)
        trust.until_s = valid_until_s;
    return trust;
}

/* OpenSSL calls it for what may be resumed: within the handshake up to TLS 1.2, for each
 * ticket later in TLS 1.3. 1: the reference is ours now. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_peer *peer = SSL_get_app_data(ssl);
    struct tls *tls = peer->tls;
    if (!tls->resumes || tls->kept == SESSIONS_KEPT_MAX)
        return 0;
    if (tls->kept++ == 0 && SSL_session_reused(ssl) == 0)
        tls->trusted = trust_of_full_handshake(tls);
    const struct tls_sessions_place place = place_of(tls);
    tls_sessions_put(tls->context->sessions, &place, session, SSL_get_peer_cert_chain(ssl),
                     &tls->trusted);
    return 1;
}

void tls_context_use_sessions(struct tls_context *context, struct tls_sessions *sessions)
{
    context->sessions = sessions;
    context->number = tls_sessions_context(sessions);
    SSL_CTX_set_session_cache_mode(context->ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ctx, on_new_session);
}

void tls_resume(struct tls *tls, uint16_t port)
{
    struct tls_sessions *sessions = tls->context->sessions;
    if (sessions == NULL)
        return;
    tls->resumes = true;
    tls->port = port;
    tls->began_s = (int64_t)time(NULL);
    const struct tls_sessions_place place = place_of(tls);
    SSL_SESSION *session = tls_sessions_take(sessions, &place, tls->began_s, &tls->trusted);
    tls->offered = session != NULL && SSL_set_session(tls->ssl, session) == 1;
    SSL_SESSION_free(session);
    ERR_clear_error();
}

bool tls_resumed(const struct tls *tls)
{
    return tls->established && SSL_session_reused(tls->ssl) == 1;
}

bool tls_blame_session(struct tls *tls)
{
    if (!tls->offered || tls->established || tls->failure == -ENOMEM || tls->too_old ||
        tls->peer.complaint != NULL)
        return false;
    const struct tls_sessions_place place = place_of(tls);
    tls_sessions_refused(tls->context->sessions, &place, (int64_t)time(NULL));
    return true;
}

void tls_context_destroy(struct tls_context *context)
{
    if (context == NULL)
        return;
    if (context->sessions != NULL)
        tls_sessions_forget(context->sessions, context->number);
    SSL_CTX_free(context->ctx);
    BIO_meth_free(context->wire_method);
    tls_trust_clear(&context->trust);
    free(context);
}

int tls_create(struct tls_context *context, const char *host, struct tls **out_tls)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL)
        return -ENOMEM;
    int err = -ENOMEM;
    tls->context = context;
    tls->peer.tls = tls;
    tls->ssl = SSL_new(context->ctx);
    BIO *bio = tls_wire_bio(context->wire_method, &tls->wire);
    if (tls->ssl == NULL || bio == NULL)
        goto fail;
    err = tls_peer_init(&tls->peer, &context->trust, host, tls->ssl);
    if (err != 0)
        goto fail;
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_connect_state(tls->ssl);
    *out_tls = tls;
    return 0;

fail:
    BIO_free(bio);
    tls_destroy(tls);
    ERR_clear_error();
    return err;
}

void tls_destroy(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    tls_wire_clear(&tls->wire);
    tls_peer_clear(&tls->peer);
    free(tls->error);
    free(tls);
}

void tls_feed(struct tls *tls, const uint8_t *data, size_t size)
{
    if (tls->failure == 0)
        tls_wire_feed(&tls->wire, data, size);
}

int tls_keep_input(struct tls *tls)
{
    return tls_wire_keep(&tls->wire);
}

void tls_end_of_input(struct tls *tls)
{
    tls->wire.input_ended = true;
}

size_t tls_output(const struct tls *tls, const uint8_t **out_data)
{
    size_t size = tls->wire.output_end - tls->wire.output_start;
    *out_data = size > 0 ? tls->wire.output + tls->wire.output_start : NULL;
    return size;
}

void tls_output_consume(struct tls *tls, size_t size)
{
    tls_wire_consume(&tls->wire, size);
}

/* Plain text where a TLS record should begin, from what came first. NULL if it was TLS. */
static const char *plain_text_sentence(const struct tls_wire *wire)
{
    size_t size = wire->first_size;
    if (size == 0)
        return NULL;
    if (memcmp(wire->first, "+OK", size < 3 ? size : 3) == 0 ||
        memcmp(wire->first, "-ERR", size) == 0)
        return "the server does not speak TLS on this port (it answered in plain text); "
               "set "
               "tls = starttls";
    if (wire->first[0] < SSL3_RT_CHANGE_CIPHER_SPEC ||
        wire->first[0] > SSL3_RT_APPLICATION_DATA)
        return "the server speaks neither TLS nor POP3 on this port: check host and port";
    return NULL;
}

static bool is_too_old(unsigned long code)
{
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    return reason == SSL_R_UNSUPPORTED_PROTOCOL ||
           reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION || reason == SSL_R_DH_KEY_TOO_SMALL;
}

/* The sentence for a failed handshake or record, by the oldest entry of OpenSSL's queue. */
static void describe_failure(const struct tls *tls, unsigned long code,
                             char out_text[TLS_TEXT_SIZE])
{
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *plain = tls->established ? NULL : plain_text_sentence(&tls->wire);
    if (tls->peer.complaint != NULL)
        snprintf(out_text, TLS_TEXT_SIZE, "%s", tls->peer.complaint);
    else if (plain != NULL)
        snprintf(out_text, TLS_TEXT_SIZE, "%s", plain);
    else if (reason == SSL_R_UNSUPPORTED_PROTOCOL ||
             reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
        snprintf(
            out_text, TLS_TEXT_SIZE,
            "the server does not offer TLS 1.2 or later; it must be updated, for older "
            "versions are no longer safe (until then tls-min = 1.0 speaks with it)");
    else if (reason == SSL_R_DH_KEY_TOO_SMALL)
        snprintf(out_text, TLS_TEXT_SIZE,
                 "the server's DH key is too short to be safe; it must be updated (until "
                 "then tls-min = 1.0 speaks with it)");
    else if (reason > SSL_AD_REASON_OFFSET)
        snprintf(out_text, TLS_TEXT_SIZE,
                 "the server refused the TLS %s (alert \"%s\"); its log may say why",
                 tls->established ? "connection" : "handshake",
                 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    else {
        const char *text = ERR_reason_error_string(code);
        snprintf(out_text, TLS_TEXT_SIZE, "TLS with the server failed (%s)",
                 text != NULL ? text : "no reason given");
    }
}

static int fail(struct tls *tls, int failure, const char *text)
{
    tls->failure = failure;
    tls->error = strdup(text);
    tls_wire_drop_input(&tls->wire);
    ERR_clear_error();
    return failure;
}

static int fail_closed(struct tls *tls)
{
    if (tls->established)
        return fail(tls, ERR_CLOSED,
                    "the server closed the connection without ending TLS (close_notify)");
    const char *plain = plain_text_sentence(&tls->wire);
    if (plain != NULL)
        return fail(tls, ERR_TLS, plain);
    return fail(tls, ERR_CLOSED,
                "the server closed the connection during the TLS handshake");
}

static int fail_by_queue(struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    if (tls->wire.no_memory || reason == ERR_R_MALLOC_FAILURE)
        return fail(tls, -ENOMEM, "out of memory");
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return fail_closed(tls);
    char text[TLS_TEXT_SIZE];
    tls->too_old = is_too_old(code);
    describe_failure(tls, code, text);
    return fail(tls, ERR_TLS, text);
}

/* Before each call: an error that is left over, of another connection, would be taken for
 * this one's. There hardly ever is one, and clearing touches every place of the queue. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* What a call of OpenSSL that did not succeed means; rc is what it returned. */
static int step(struct tls *tls, int rc)
{
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        /* A quiet connection holds no buffers. SSL_MODE_RELEASE_BUFFERS would let them go
         * behind each record, to make them anew for the next. */
        (void)SSL_free_buffers(tls->ssl);
        /* The header promises that the loan has ended. */
        if (tls->wire.input_size > 0)
            return fail(tls, ERR_TLS, "TLS with the server failed (input left over)");
        return TLS_WANT;
    case SSL_ERROR_WANT_WRITE:
        return TLS_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        tls_wire_drop_input(&tls->wire);
        return TLS_CLOSED;
    default:
        return fail_by_queue(tls);
    }
}

int tls_handshake(struct tls *tls)
{
    if (tls->failure != 0)
        return tls->failure;
    forget_errors();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc == 1) {
        tls->established = true;
        return 0;
    }
    int result = step(tls, rc);
    /* A close_notify in place of a handshake ends it as any other end does. */
    return result == TLS_CLOSED ? fail_closed(tls) : result;
}

int tls_read(struct tls *tls, void *data, size_t size, size_t *out_read)
{
    assert(size > 0 && (tls->established || tls->failure != 0));
    *out_read = 0;
    if (tls->failure != 0)
        return tls->failure;
    forget_errors();
    int rc = SSL_read_ex(tls->ssl, data, size, out_read);
    if (rc == 1)
        return 0;
    *out_read = 0;
    return step(tls, rc);
}

int tls_write(struct tls *tls, const void *data, size_t size, size_t *out_written)
{
    assert(size > 0 && !tls->close_sent && (tls->established || tls->failure != 0));
    *out_written = 0;
    if (tls->failure != 0)
        return tls->failure;
    const uint8_t *from = data;
    size_t done = 0;
    while (done < size && tls_wire_room(&tls->wire) >= WRITE_ROOM) {
        size_t n = 0;
        forget_errors();
        int rc = SSL_write_ex(tls->ssl, from + done, size - done, &n);
        if (rc != 1) {
            int result = step(tls, rc);
            if (result > 0 && done > 0)
                break;
            return result;
        }
        done += n;
    }
    *out_written = done;
    (void)SSL_free_buffers(tls->ssl);
    return done > 0 ? 0 : TLS_BLOCKED;
}

int tls_close_notify(struct tls *tls)
{
    if (!tls->established || tls->failure != 0 || tls->close_sent)
        return 0;
    forget_errors();
    /* Halfway through a message of its own (a key update that found no room) OpenSSL calls
     * a shutdown an error. */
    int rc = SSL_in_init(tls->ssl) ? SSL_do_handshake(tls->ssl) : 1;
    if (rc != 1)
        return step(tls, rc);
    rc = SSL_shutdown(tls->ssl);
    if (rc < 0)
        return step(tls, rc);
    tls->close_sent = true;
    return 0;
}

const char *tls_error(const struct tls *tls)
{
    if (tls->error != NULL)
        return tls->error;
    return tls->failure != 0 ? error_text(tls->failure) : "";
}

enum tls_fault tls_fault(const struct tls *tls)
{
    if (tls->failure == 0)
        return TLS_FAULT_NONE;
    if (tls->peer.complaint != NULL)
        return tls->peer.fault;
    return tls->too_old ? TLS_FAULT_OLD : TLS_FAULT_OTHER;
}

void tls_describe(const struct tls *tls, char *out_text, size_t size)
{
    snprintf(out_text, size, "%s %s%s", SSL_get_version(tls->ssl),
             SSL_get_cipher_name(tls->ssl), tls_resumed(tls) ? " (resumed)" : "");
}

void tls_describe_certificate(const struct tls *tls, char out_text[TLS_TEXT_SIZE])
{
    tls_peer_describe(tls->ssl, out_text);
}
