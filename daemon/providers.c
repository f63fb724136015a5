#include "daemon/providers.h"

#include <stddef.h>
#include <strings.h>

#define MEGABYTE ((uint64_t)1000 * 1000)

static const struct {
    const char *host;
    uint64_t daily_bytes;
} providers[] = {
    /* Google Workspace's "bandwidth limits": download by POP 1,250 MB a day. Who crosses it
     * is locked out for up to a day. */
    {"pop.gmail.com", 1250 * MEGABYTE},
    {"pop.googlemail.com", 1250 * MEGABYTE},
};

uint64_t provider_daily_bytes(const char *host)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
        if (strcasecmp(host, providers[i].host) == 0)
            return providers[i].daily_bytes;
    return 0;
}
