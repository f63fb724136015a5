/* The large providers, once: where their POP3 is, what they are known to allow, and what
 * must be done there first, so that it need not be found out by being locked out. */
#ifndef MAILCASK_DAEMON_PROVIDERS_H
#define MAILCASK_DAEMON_PROVIDERS_H

#include <stdint.h>

#define PROVIDER_HOSTS_MAX 3

struct provider {
    const char *preset; /* for `preset =` */
    const char
        *hosts[PROVIDER_HOSTS_MAX]; /* names of its server, port 995; [0] is today's */
    const char *user;               /* a pattern; NULL: the key's default */
    uint64_t daily_bytes; /* that may be fetched of a mailbox within a day; 0: no known
                             limit */
    const char *advice;   /* sentences for an administrator whose login is refused */
};

/* The presets' names, in a sentence. */
#define PROVIDER_PRESETS "gmail, gmx, web.de, t-online, outlook, yahoo, ionos, 1und1"

/* NULL if there is none. */
const struct provider *provider_by_preset(const char *preset);
/* By any of its hosts, in any case. */
const struct provider *provider_by_host(const char *host);

/* Its daily_bytes; 0 for the host of nobody known. */
uint64_t provider_daily_bytes(const char *host);

#endif
