#include "tests/support/certificates.h"

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void need(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "certificates: %s failed\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    need(extension != NULL && X509_add_ext(x509, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

/* Random, since OpenSSL takes two certificates of one issuer and number for the same. */
static void set_serial(X509 *x509)
{
    uint64_t serial = 0;
    need(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1, "RAND_bytes");
    need(ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial | 1) == 1, "serial");
}

static void set_dates(X509 *x509, const struct certificate_spec *spec)
{
    bool given = spec->not_before_s != 0 || spec->not_after_s != 0;
    int64_t before = given ? spec->not_before_s : -CERTIFICATE_DAY_S;
    int64_t after = given ? spec->not_after_s : CERTIFICATE_DAY_S;
    need(X509_gmtime_adj(X509_getm_notBefore(x509), (long)before) != NULL, "notBefore");
    need(X509_gmtime_adj(X509_getm_notAfter(x509), (long)after) != NULL, "notAfter");
}

static void set_subject(X509 *x509, const char *common_name)
{
    need(X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                                    (const unsigned char *)common_name, -1, -1, 0) == 1,
         "subject");
}

struct certificate *certificate_create(const struct certificate_spec *spec)
{
    struct certificate *certificate = calloc(1, sizeof(*certificate));
    need(certificate != NULL, "calloc");
    X509 *x509 = certificate->x509 = X509_new();
    certificate->key = EVP_EC_gen("P-256");
    need(x509 != NULL && certificate->key != NULL, "key");
    const struct certificate *issuer = spec->issuer != NULL ? spec->issuer : certificate;

    need(X509_set_version(x509, X509_VERSION_3) == 1, "version");
    set_serial(x509);
    set_dates(x509, spec);
    set_subject(x509, spec->common_name);
    need(X509_set_issuer_name(x509, X509_get_subject_name(issuer->x509)) == 1, "issuer");
    need(X509_set_pubkey(x509, certificate->key) == 1, "public key");
    add_extension(x509, issuer->x509, NID_basic_constraints,
                  spec->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(x509, issuer->x509, NID_subject_key_identifier, "hash");
    if (spec->names != NULL)
        add_extension(x509, issuer->x509, NID_subject_alt_name, spec->names);
    need(X509_sign(x509, issuer->key, EVP_sha256()) > 0, "X509_sign");
    return certificate;
}

void certificate_destroy(struct certificate *certificate)
{
    if (certificate == NULL)
        return;
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
    free(certificate);
}

void certificate_fingerprint(const struct certificate *certificate, uint8_t out_digest[32])
{
    unsigned size = 0;
    need(X509_digest(certificate->x509, EVP_sha256(), out_digest, &size) == 1 && size == 32,
         "X509_digest");
}

static FILE *create_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(fd >= 0, path);
    FILE *file = fdopen(fd, "w");
    need(file != NULL, path);
    return file;
}

void certificate_write(const struct certificate *certificate, const char *path)
{
    FILE *file = create_file(path);
    need(PEM_write_X509(file, certificate->x509) == 1, path);
    need(fclose(file) == 0, path);
}

void certificate_write_key(const struct certificate *certificate, const char *path)
{
    FILE *file = create_file(path);
    need(PEM_write_PrivateKey(file, certificate->key, NULL, NULL, 0, NULL, NULL) == 1,
         path);
    need(fclose(file) == 0, path);
}
