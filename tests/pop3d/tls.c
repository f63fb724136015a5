#include "tests/pop3d/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

#define CERTIFICATE_SECONDS (365L * 24 * 3600)
#define CLOCK_SLACK_SECONDS 3600L
#define HOST_NAMES "DNS:localhost,IP:127.0.0.1,IP:::1"

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool good = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static X509 *certificate_new(const char *common_name, long serial, EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = certificate != NULL ? X509_get_subject_name(certificate) : NULL;
    if (name != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SLACK_SECONDS) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), CERTIFICATE_SECONDS) != NULL &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   (const unsigned char *)common_name, -1, -1, 0) == 1 &&
        X509_set_pubkey(certificate, key) == 1)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static X509 *ca_new(EVP_PKEY *key)
{
    X509 *ca = certificate_new("pop3d test CA", 1, key);
    if (ca != NULL && X509_set_issuer_name(ca, X509_get_subject_name(ca)) == 1 &&
        add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE") &&
        add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(ca, ca, NID_subject_key_identifier, "hash") &&
        X509_sign(ca, key, EVP_sha256()) > 0)
        return ca;
    X509_free(ca);
    return NULL;
}

static X509 *server_certificate_new(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
    X509 *server = certificate_new("localhost", 2, key);
    if (server != NULL && X509_set_issuer_name(server, X509_get_subject_name(ca)) == 1 &&
        add_extension(server, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(server, ca, NID_ext_key_usage, "serverAuth") &&
        add_extension(server, ca, NID_authority_key_identifier, "keyid") &&
        add_extension(server, ca, NID_subject_alt_name, HOST_NAMES) &&
        X509_sign(server, ca_key, EVP_sha256()) > 0)
        return server;
    X509_free(server);
    return NULL;
}

static bool write_certificate(X509 *certificate, const char *path)
{
    if (path == NULL)
        return true;
    char partial[PATH_MAX];
    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *file = fopen(partial, "we");
    if (file == NULL)
        return false;
    bool good = PEM_write_X509(file, certificate) == 1;
    good = fclose(file) == 0 && good;
    return good && rename(partial, path) == 0;
}

static bool use_made_certificate(SSL_CTX *context, const char *ca_path)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key != NULL ? ca_new(ca_key) : NULL;
    X509 *server =
        ca != NULL && key != NULL ? server_certificate_new(key, ca, ca_key) : NULL;
    bool good = server != NULL && SSL_CTX_use_certificate(context, server) == 1 &&
                SSL_CTX_use_PrivateKey(context, key) == 1 && write_certificate(ca, ca_path);
    X509_free(server);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return good;
}

static bool use_given_certificate(SSL_CTX *context, const struct options *options)
{
    return SSL_CTX_use_certificate_chain_file(context, options->cert) == 1 &&
           SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) == 1;
}

SSL_CTX *tls_context_new(const struct options *options)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"pop3d", 5);
    if (!options->tickets) {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
    bool old = options->tls_max_version != 0 && options->tls_max_version < TLS1_2_VERSION;
    /* Any certificate will do: what is good enough is the client's to say. */
    SSL_CTX_set_security_level(context, 0);
    bool good = options->cert != NULL ? use_given_certificate(context, options)
                                      : use_made_certificate(context, options->write_ca);
    good =
        good &&
        SSL_CTX_set_min_proto_version(context, old ? TLS1_VERSION : TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, options->tls_max_version) == 1;
    if (good)
        return context;
    fprintf(stderr, "pop3d: no certificate: %s\n", tls_reason());
    SSL_CTX_free(context);
    return NULL;
}

static enum io from_errno(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return IO_WANTS_READ;
    return errno == ECONNRESET || errno == EPIPE ? IO_CLOSED : IO_FAILED;
}

static enum io from_tls(SSL *tls, int result)
{
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
        return IO_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return IO_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return IO_CLOSED;
    case SSL_ERROR_SYSCALL:
        return IO_CLOSED;
    default:
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                   ? IO_CLOSED
                   : IO_FAILED;
    }
}

enum io tls_accept(SSL *tls)
{
    ERR_clear_error();
    int result = SSL_accept(tls);
    return result == 1 ? IO_OK : from_tls(tls, result);
}

enum io connection_read(SSL *tls, int fd, void *data, size_t size, size_t *out_read)
{
    if (tls != NULL) {
        ERR_clear_error();
        int result = SSL_read_ex(tls, data, size, out_read);
        return result == 1 ? IO_OK : from_tls(tls, result);
    }
    ssize_t got = recv(fd, data, size, 0);
    if (got == 0)
        return IO_CLOSED;
    *out_read = got > 0 ? (size_t)got : 0;
    return got > 0 ? IO_OK : from_errno();
}

enum io connection_write(SSL *tls, int fd, const void *data, size_t size,
                         size_t *out_written)
{
    if (tls != NULL) {
        ERR_clear_error();
        int result = SSL_write_ex(tls, data, size, out_written);
        return result == 1 ? IO_OK : from_tls(tls, result);
    }
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    *out_written = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0)
        return IO_OK;
    enum io io = from_errno();
    return io == IO_WANTS_READ ? IO_WANTS_WRITE : io;
}

const char *tls_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason != NULL ? reason : "unknown";
}
