#include "workers/tls_verify.h"

#include "archive/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SYSTEM_CA_FILE "/etc/ssl/certs/ca-certificates.crt"

/* A DNS name has at most 253 characters (RFC 1035 2.3.4, without the root's dot). */
#define HOST_SIZE_MAX 253

/* What a sentence quotes of a certificate: names, and characters of each. */
#define QUOTED_NAMES_MAX 5
#define QUOTED_SIZE_MAX 80

/* "sha256:" and two digits a byte. */
#define FINGERPRINT_TEXT_SIZE (7 + 2 * TLS_FINGERPRINT_SIZE + 1)

struct sentence {
    char text[TLS_TEXT_SIZE];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void say(struct sentence *s,
                                                      const char *format, ...)
{
    size_t room = sizeof(s->text) - s->size;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(s->text + s->size, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        s->size += (size_t)n < room ? (size_t)n : room - 1;
}

/* Text of a certificate is its author's: it must not reach a terminal as it is. */
static void quote(struct sentence *s, const unsigned char *data, size_t size)
{
    size_t shown = size < QUOTED_SIZE_MAX ? size : QUOTED_SIZE_MAX;
    for (size_t i = 0; i < shown; i++)
        say(s, "%c", data[i] >= ' ' && data[i] < 0x7f ? data[i] : '?');
    if (shown < size)
        say(s, "...");
}

static void quote_asn1(struct sentence *s, const ASN1_STRING *string)
{
    quote(s, ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
}

static void say_time(struct sentence *s, const ASN1_TIME *time)
{
    struct tm tm;
    char text[32];
    if (time != NULL && ASN1_TIME_to_tm(time, &tm) == 1 &&
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm) > 0)
        say(s, "%s", text);
    else
        say(s, "an unreadable date");
}

static void fingerprint_text(const uint8_t *digest, char out_text[FINGERPRINT_TEXT_SIZE])
{
    memcpy(out_text, "sha256:", 8);
    for (size_t i = 0; i < TLS_FINGERPRINT_SIZE; i++)
        snprintf(out_text + 7 + 2 * i, 3, "%02x", digest[i]);
}

static bool fingerprint_of(const struct tls_trust *trust, const X509 *certificate,
                           uint8_t out_digest[TLS_FINGERPRINT_SIZE])
{
    unsigned size = 0;
    return certificate != NULL &&
           X509_digest(certificate, trust->sha256, out_digest, &size) == 1 &&
           size == TLS_FINGERPRINT_SIZE;
}

/* The way out that works for every complaint: trust exactly this certificate. */
static void say_how_to_pin(struct sentence *s, const struct tls_trust *trust,
                           const X509 *leaf)
{
    uint8_t digest[TLS_FINGERPRINT_SIZE];
    char text[FINGERPRINT_TEXT_SIZE];
    if (!fingerprint_of(trust, leaf, digest))
        return;
    fingerprint_text(digest, text);
    say(s,
        ", or, once you have checked with its administrator that this certificate is the "
        "server's, set fingerprint = %s",
        text);
}

/* The last common name, which is the one that OpenSSL and people look at. */
static bool quote_common_name(struct sentence *s, const X509_NAME *name)
{
    int last = -1;
    for (int i = -1; (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;)
        last = i;
    const X509_NAME_ENTRY *entry = last < 0 ? NULL : X509_NAME_get_entry(name, last);
    if (entry == NULL)
        return false;
    quote_asn1(s, X509_NAME_ENTRY_get_data(entry));
    return true;
}

static void quote_name(struct sentence *s, const X509_NAME *name)
{
    say(s, "\"");
    if (!quote_common_name(s, name))
        say(s, "without a name");
    say(s, "\"");
}

static bool quote_alternative(struct sentence *s, const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    if (name->type == GEN_DNS) {
        quote_asn1(s, name->d.dNSName);
        return true;
    }
    if (name->type != GEN_IPADD)
        return false;
    int size = ASN1_STRING_length(name->d.iPAddress);
    int family = size == 4 ? AF_INET : AF_INET6;
    if ((size != 4 && size != 16) ||
        inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof(text)) ==
            NULL)
        return false;
    say(s, "%s", text);
    return true;
}

static void quote_names(struct sentence *s, const X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int quoted = 0, count = sk_GENERAL_NAME_num(names), i = 0;
    for (; i < count && quoted < QUOTED_NAMES_MAX; i++) {
        size_t before = s->size;
        if (quoted > 0)
            say(s, ", ");
        if (quote_alternative(s, sk_GENERAL_NAME_value(names, i)))
            quoted++;
        else
            s->size = before;
        s->text[s->size] = '\0';
    }
    if (i < count)
        say(s, " and others");
    GENERAL_NAMES_free(names);
    if (quoted == 0)
        quote_name(s, X509_get_subject_name(certificate));
}

static void say_certificate(struct sentence *s, const X509 *certificate, int depth)
{
    if (depth == 0) {
        say(s, "the server's certificate");
        return;
    }
    say(s, "the certificate of the CA ");
    quote_name(s, X509_get_subject_name(certificate));
}

static void say_dates(struct sentence *s, const X509 *certificate, int depth, bool expired)
{
    say_certificate(s, certificate, depth);
    say(s, expired ? " expired on " : " is not valid before ");
    say_time(s,
             expired ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate));
    say(s, ": check this machine's clock; if it is right, the server needs %s certificate",
        expired ? "a new" : "another");
}

static void say_wrong_name(struct sentence *s, const struct tls_peer *peer,
                           const X509 *leaf)
{
    say(s, "the server's certificate is for ");
    quote_names(s, leaf);
    say(s, ", not for ");
    quote(s, (const unsigned char *)peer->host, strlen(peer->host));
    say(s, ": set host to a name it is for");
}

static void say_unknown_issuer(struct sentence *s, const struct tls_trust *trust,
                               const X509 *certificate)
{
    say(s, "the server's certificate was issued by ");
    quote_name(s, X509_get_issuer_name(certificate));
    say(s, ", which is not among the CAs of %s",
        trust->ca_file != NULL ? trust->ca_file : "this system");
    say(s,
        ", or the server leaves out a certificate in between: set ca-file to a file that "
        "holds the issuer's certificate");
}

/* The sentence for what OpenSSL found first. */
static void complain(struct sentence *s, const struct tls_peer *peer, X509_STORE_CTX *store)
{
    const X509 *leaf = X509_STORE_CTX_get0_cert(store);
    const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    int depth = X509_STORE_CTX_get_error_depth(store);
    if (certificate == NULL) {
        certificate = leaf;
        depth = 0;
    }
    int why = X509_STORE_CTX_get_error(store);
    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        say_dates(s, certificate, depth, why == X509_V_ERR_CERT_HAS_EXPIRED);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        say_wrong_name(s, peer, leaf);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        say(s,
            "the server's certificate is self-signed: set ca-file to a file that holds it");
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        say_unknown_issuer(s, peer->trust, certificate);
        break;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        say_certificate(s, certificate, depth);
        say(s,
            " is no longer safe (%s): the server needs another one; until it has it, "
            "tls-min = 1.0 accepts this one",
            X509_verify_cert_error_string(why));
        break;
    default:
        say_certificate(s, certificate, depth);
        say(s, " was refused (%s): the server needs another one",
            X509_verify_cert_error_string(why));
    }
    say_how_to_pin(s, peer->trust, leaf);
}

static enum tls_fault fault_of(int why)
{
    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return TLS_FAULT_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_NOT_YET;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAULT_NAME;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return TLS_FAULT_SELF_SIGNED;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return TLS_FAULT_ISSUER;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        return TLS_FAULT_WEAK;
    default:
        return TLS_FAULT_CERTIFICATE;
    }
}

static struct tls_peer *peer_of(X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    return SSL_get_app_data(ssl);
}

/* Called for each certificate of the chain; keeps OpenSSL's decision. The certificates are
 * at hand only here: after a failure OpenSSL has dropped them. */
static int on_verified(int ok, X509_STORE_CTX *store)
{
    struct tls_peer *peer = peer_of(store);
    if (!ok && peer->complaint == NULL) {
        struct sentence s = {.size = 0};
        complain(&s, peer, store);
        peer->fault = fault_of(X509_STORE_CTX_get_error(store));
        peer->complaint = strdup(s.text);
    }
    return ok;
}

/* Stands in for the whole verification of a chain. */
static int verify_pin(X509_STORE_CTX *store, void *argument)
{
    const struct tls_trust *trust = argument;
    struct tls_peer *peer = peer_of(store);
    uint8_t digest[TLS_FINGERPRINT_SIZE];
    if (!fingerprint_of(trust, X509_STORE_CTX_get0_cert(store), digest)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
        return 0;
    }
    if (memcmp(digest, trust->pin, sizeof(digest)) == 0) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    char found[FINGERPRINT_TEXT_SIZE], wanted[FINGERPRINT_TEXT_SIZE];
    fingerprint_text(digest, found);
    fingerprint_text(trust->pin, wanted);
    struct sentence s = {.size = 0};
    say(&s,
        "the server's certificate has the fingerprint %s, but %s is pinned: if its "
        "administrator confirms the new certificate, set fingerprint to it; else somebody "
        "may "
        "be listening in",
        found, wanted);
    free(peer->complaint);
    peer->complaint = strdup(s.text);
    peer->fault = TLS_FAULT_PIN;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

const char *tls_ca_path(const struct tls_policy *policy)
{
    if (policy->ca_file != NULL)
        return policy->ca_file;
    return access(SYSTEM_CA_FILE, R_OK) == 0 ? SYSTEM_CA_FILE
                                             : X509_get_default_cert_file();
}

static int load_certificates(SSL_CTX *ctx, const struct tls_policy *policy,
                             char out_text[TLS_TEXT_SIZE])
{
    const char *path = tls_ca_path(policy);
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(ctx, path) == 1)
        return 0;
    unsigned long code = ERR_peek_error();
    const char *why = "it holds no certificate in PEM format, or a broken one";
    if (ERR_SYSTEM_ERROR(code))
        why = error_text(-ERR_GET_REASON(code));
    snprintf(out_text, TLS_TEXT_SIZE, "the CA file %s cannot be used: %s%s", path, why,
             policy->ca_file == NULL ? " (install ca-certificates, or set ca-file)" : "");
    ERR_clear_error();
    return ERR_NOT_FOUND;
}

int tls_trust_init(struct tls_trust *trust, const struct tls_policy *policy, SSL_CTX *ctx,
                   char out_text[TLS_TEXT_SIZE])
{
    trust->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (trust->sha256 == NULL) {
        snprintf(out_text, TLS_TEXT_SIZE, "OpenSSL has no SHA-256");
        return ERR_CRYPTO;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verified);
    if (policy->fingerprint != NULL) {
        trust->pinned = true;
        memcpy(trust->pin, policy->fingerprint, sizeof(trust->pin));
        SSL_CTX_set_cert_verify_callback(ctx, verify_pin, trust);
        return 0;
    }
    if (policy->ca_file != NULL) {
        trust->ca_file = strdup(policy->ca_file);
        if (trust->ca_file == NULL) {
            snprintf(out_text, TLS_TEXT_SIZE, "out of memory");
            return -ENOMEM;
        }
    }
    return load_certificates(ctx, policy, out_text);
}

void tls_trust_clear(struct tls_trust *trust)
{
    EVP_MD_free(trust->sha256);
    free(trust->ca_file);
    *trust = (struct tls_trust){.sha256 = NULL};
}

/* What the certificate must be for, and what the server is told it should be. */
static bool expect_host(SSL *ssl, const struct tls_peer *peer)
{
    X509_VERIFY_PARAM *expected = SSL_get0_param(ssl);
    if (peer->host_is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(expected, peer->host) == 1;
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(expected, peer->host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, peer->host) == 1;
}

int tls_peer_init(struct tls_peer *peer, const struct tls_trust *trust, const char *host,
                  SSL *ssl)
{
    /* The root's dot belongs to no certificate and not into SNI (RFC 6066 3). */
    size_t size = strlen(host);
    if (size > 0 && host[size - 1] == '.')
        size--;
    if (size == 0 || size > HOST_SIZE_MAX)
        return -EINVAL;
    peer->trust = trust;
    peer->host = strndup(host, size);
    if (peer->host == NULL)
        return -ENOMEM;
    struct in6_addr address;
    peer->host_is_address = inet_pton(AF_INET, peer->host, &address) == 1 ||
                            inet_pton(AF_INET6, peer->host, &address) == 1;
    SSL_set_app_data(ssl, peer);
    return expect_host(ssl, peer) ? 0 : ERR_CRYPTO;
}

void tls_peer_clear(struct tls_peer *peer)
{
    free(peer->host);
    free(peer->complaint);
    *peer = (struct tls_peer){.host = NULL};
}

int64_t tls_peer_valid_until(const SSL *ssl)
{
    const struct tls_peer *peer = SSL_get_app_data(ssl);
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int64_t until_s = INT64_MAX;
    if (peer->trust->pinned)
        return until_s;
    if (sk_X509_num(chain) <= 0)
        return 0; /* nothing vouches for it */
    for (int i = 0; i < sk_X509_num(chain); i++) {
        struct tm tm;
        const ASN1_TIME *end = X509_get0_notAfter(sk_X509_value(chain, i));
        int64_t end_s = ASN1_TIME_to_tm(end, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
        if (end_s < until_s)
            until_s = end_s;
    }
    return until_s;
}

void tls_peer_describe(const SSL *ssl, char out_text[TLS_TEXT_SIZE])
{
    const X509 *leaf = SSL_get0_peer_certificate(ssl);
    struct sentence s = {.size = 0};
    if (leaf != NULL) {
        say(&s, "for ");
        quote_names(&s, leaf);
        say(&s, ", issued by ");
        quote_name(&s, X509_get_issuer_name(leaf));
        say(&s, ", valid until ");
        say_time(&s, X509_get0_notAfter(leaf));
    }
    memcpy(out_text, s.text, sizeof(s.text));
}
