/* Who has a mailbox: of the accounts that are one mailbox (host, port and user equal) one
 * at a time (Q47), the others are parked in the order in which they came. Accounts are
 * their indices in the configuration. One thread. */
#ifndef MAILCASK_DAEMON_LEASES_H
#define MAILCASK_DAEMON_LEASES_H

#include "daemon/config.h"

#include <stdbool.h>
#include <stdint.h>

struct lease;

struct leases {
    uint32_t *of; /* each account's, in all */
    struct lease *all;
};

/* config is not needed after return. 0 or -ENOMEM. */
int leases_init(struct leases *l, const struct config *config);
void leases_free(struct leases *l);

/* Whether some account has this one's mailbox. */
bool leases_taken(const struct leases *l, uint32_t account);

/* It has its mailbox now. More than one has it only if a reload made two mailboxes one. */
void leases_take(struct leases *l, uint32_t account);
void leases_give(struct leases *l, uint32_t account);

/* It waits for its mailbox; next: of the accounts, see index_queue.h. */
void leases_park(struct leases *l, uint32_t account, uint32_t *next);
/* If nobody has this account's mailbox, and one is parked: that one, parked no more. */
bool leases_unpark(struct leases *l, uint32_t account, const uint32_t *next,
                   uint32_t *out_account);

#endif
