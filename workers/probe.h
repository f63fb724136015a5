/* One login, walked step by step as a session of the service would, to see where it fails
 * and why. Blocks the caller. Changes nothing on the server: nothing is retrieved, nothing
 * deleted, the session is left with QUIT. No secret is sent before TLS stands and the
 * certificate is verified, nor repeated in a text.
 *
 * Where the first step of the wire fails so that the wrong kind of TLS may be the reason, a
 * second connection looks whether the other kind would do; it stops before any login. */
#ifndef MAILCASK_WORKERS_PROBE_H
#define MAILCASK_WORKERS_PROBE_H

#include "workers/outcome.h"
#include "workers/probe_cause.h"
#include "workers/tls.h"

#include <stdbool.h>
#include <stdint.h>

#define PROBE_TEXT_SIZE TLS_TEXT_SIZE

/* PROBE_PASSWORD is the caller's: it comes before all others. */
enum probe_step {
    PROBE_NOWHERE,
    PROBE_PASSWORD,
    PROBE_RESOLVE,
    PROBE_CONNECT,
    PROBE_STLS, /* only without implicit_tls: behind the greeting, before TLS */
    PROBE_TLS,
    PROBE_CERTIFICATE,
    PROBE_GREETING,
    PROBE_CAPABILITIES, /* once before the login, perhaps once behind it */
    PROBE_LOGIN,
    PROBE_LISTING,
    PROBE_QUIT,
    PROBE_STEP_COUNT
};

/* "capabilities"; never NULL. */
const char *probe_step_name(enum probe_step step);

struct probe_config {
    const char *host;
    uint16_t port;
    bool implicit_tls;
    struct tls_policy policy;
    unsigned avoid;   /* a set of AVOID_* */
    const char *user; /* NULL: leave before the login */
    const char *password;
    uint32_t patience_ms; /* of each step, for the connection of each address */
};

/* A step that has ended. */
struct probe_event {
    enum probe_step step;
    enum probe_cause cause; /* PROBE_FINE: all is well, the next step follows */
    uint64_t elapsed_us;
    const char *text; /* what was found, or what went wrong; borrowed during the call */
};

typedef void probe_report(void *arg, const struct probe_event *event);

/* Walk; report is called for each step as it ends, at most one of them with a cause, the
 * last. Returns that cause, or PROBE_FINE. */
enum probe_cause probe_walk(const struct probe_config *config, probe_report *report,
                            void *arg);

#endif
