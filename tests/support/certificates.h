/* Certificates made at run time, for tests. Keys are P-256: quick to make and to use. What
 * fails here ends the program: a test without its certificates has nothing to say. */
#ifndef MAILCASK_SUPPORT_CERTIFICATES_H
#define MAILCASK_SUPPORT_CERTIFICATES_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#define CERTIFICATE_DAY_S ((int64_t)24 * 60 * 60)

struct certificate {
    X509 *x509;
    EVP_PKEY *key;
};

struct certificate_spec {
    const char *common_name;
    const char *names;                /* as "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const struct certificate *issuer; /* NULL: signs itself */
    bool authority;                   /* may sign others */
    int64_t not_before_s;             /* from now on; both 0: from yesterday to tomorrow */
    int64_t not_after_s;
};

/* Free it with certificate_destroy(). The issuer is not needed afterwards. */
struct certificate *certificate_create(const struct certificate_spec *spec);
void certificate_destroy(struct certificate *certificate);

/* SHA-256 of the certificate in DER. */
void certificate_fingerprint(const struct certificate *certificate, uint8_t out_digest[32]);

/* Write PEM files of mode 0600; the key is not encrypted. */
void certificate_write(const struct certificate *certificate, const char *path);
void certificate_write_key(const struct certificate *certificate, const char *path);

#endif
