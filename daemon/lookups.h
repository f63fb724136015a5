/* Where the servers' hosts are: look-ups under way, and their answers. The waiting is the
 * resolver's threads'; everything here is called from one thread. */
#ifndef MAILCASK_DAEMON_LOOKUPS_H
#define MAILCASK_DAEMON_LOOKUPS_H

#include "workers/resolver.h"

#include <stdbool.h>
#include <stdint.h>

#define LOOKUPS_MAX \
    512u /* under way at once: the resolver's RESOLVER_NAMES_MAX are enough */

struct lookups;

/* source: as resolver_create()'s. 0, -ENOMEM, -errno. */
int lookups_create(const struct resolver_source *source, struct lookups **out);

/* Waits a second for look-ups under way; those that take longer are left to themselves.
 * NULL is allowed. */
void lookups_destroy(struct lookups *l);

/* Whether another one may be asked for. */
bool lookups_room(const struct lookups *l);

/* tag: the caller's, comes back with the answer, which may be there at once. A look-up that
 * cannot even begin is answered so. -ENOMEM: there will be none. */
int lookups_ask(struct lookups *l, const char *host, uint16_t port, uint32_t tag);

/* An answer; false if there is none now. */
bool lookups_take(struct lookups *l, uint32_t *out_tag, struct resolver_answer *out);

/* Nobody wants the answers to what was asked so far. */
void lookups_forget(struct lookups *l);

/* Readable when lookups_take() is worth calling; do not read it. */
int lookups_fd(const struct lookups *l);

#endif
