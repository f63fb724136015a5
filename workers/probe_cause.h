/* Why a login cannot be walked to its end: a word for scripts, what it means, and what to
 * do about it. */
#ifndef MAILCASK_WORKERS_PROBE_CAUSE_H
#define MAILCASK_WORKERS_PROBE_CAUSE_H

#include "workers/reply.h"
#include "workers/tls.h"

#include <stddef.h>
#include <stdint.h>

enum probe_cause {
    PROBE_FINE,
    PROBE_NO_PASSWORD,
    PROBE_BAD_CREDENTIALS,
    PROBE_UNKNOWN_HOST,
    PROBE_NAME_SERVICE,
    PROBE_REFUSED,
    PROBE_NO_ANSWER,
    PROBE_UNREACHABLE,
    PROBE_CONNECT_FAILED,
    PROBE_WANTS_STARTTLS,
    PROBE_WANTS_IMPLICIT,
    PROBE_PLAINTEXT_ONLY,
    PROBE_NO_TLS,
    PROBE_TLS_FAILED,
    PROBE_TLS_OLD,
    PROBE_CA_FILE,
    PROBE_CERTIFICATE_EXPIRED,
    PROBE_CERTIFICATE_NOT_YET,
    PROBE_CERTIFICATE_NAME,
    PROBE_CERTIFICATE_SELF_SIGNED,
    PROBE_CERTIFICATE_ISSUER,
    PROBE_CERTIFICATE_WEAK,
    PROBE_CERTIFICATE_PIN,
    PROBE_CERTIFICATE_OTHER,
    PROBE_IMAP_SERVER,
    PROBE_SMTP_SERVER,
    PROBE_WEB_SERVER,
    PROBE_OTHER_SERVER,
    PROBE_GREETING_REFUSED,
    PROBE_NO_GREETING,
    PROBE_NO_CAPA,
    PROBE_PASSWORD_REFUSED,
    PROBE_LOGIN_REFUSED,
    PROBE_APP_PASSWORD,
    PROBE_POP_DISABLED,
    PROBE_OAUTH_ONLY,
    PROBE_MAILBOX_LOCKED,
    PROBE_LOGIN_TOO_OFTEN,
    PROBE_ACCOUNT_REFUSED,
    PROBE_SERVER_FAULT,
    PROBE_LOGIN_UNCERTAIN,
    PROBE_LISTING_REFUSED,
    PROBE_CONNECTION_LOST,
    PROBE_PROTOCOL,
    PROBE_RESOURCES,
    PROBE_CAUSE_COUNT
};

/* "certificate-expired"; stable. */
const char *probe_cause_word(enum probe_cause cause);
/* Sentences for an administrator; "" for PROBE_FINE. */
const char *probe_cause_meaning(enum probe_cause cause);
const char *probe_cause_remedy(enum probe_cause cause);

/* Of an -ERR to a login: its code decides, and where that leaves it open, words that
 * providers are known to use. Only ever advice to a person (Q48). */
enum probe_cause probe_cause_of_refusal(const struct reply *reply);

/* Of what came first from a server that should have spoken POP3: PROBE_WANTS_STARTTLS for a
 * POP3 greeting, PROBE_WANTS_IMPLICIT for a TLS record, PROBE_OTHER_SERVER for what is
 * nothing known. */
enum probe_cause probe_cause_of_bytes(const char *data, size_t size);

enum probe_cause probe_cause_of_tls(enum tls_fault fault);

#endif
