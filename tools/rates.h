/* How fast a service's counters grow: over the last interval, and over about a minute. */
#ifndef MAILCASK_TOOLS_RATES_H
#define MAILCASK_TOOLS_RATES_H

#include "tools/control_client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name in C, the field of a status answer's service */
#define RATE_LIST(X)                   \
    X(RATE_MESSAGES, "messages")       \
    X(RATE_RECEIVED, "received_bytes") \
    X(RATE_STORED, "stored_bytes")     \
    X(RATE_COMMITS, "commits")

#define RATE_NAME(name, field) name,
enum rate { RATE_LIST(RATE_NAME) RATE_COUNT };
#undef RATE_NAME

#define RATES_LOOKS_MAX 31 /* a minute of them, every two seconds */

struct rates_look {
    int64_t at_ms;
    uint64_t values[RATE_COUNT];
};

/* Zero-initialise. */
struct rates {
    uint64_t pid; /* of the service that the looks are of */
    int64_t since_s;
    size_t count;
    struct rates_look looks[RATES_LOOKS_MAX]; /* oldest first */
};

/* Another look at the service; at_ms of a clock that never goes back. Another service, or
 * one whose counters went back, begins anew. */
void rates_look(struct rates *r, const struct answer_object *service, int64_t at_ms);

/* Per second since the last look but one; with `minute` since the oldest. False: there was
 * only one look. */
bool rates_get(const struct rates *r, enum rate which, bool minute, double *out);

#endif
