/* Accounts that are suspended because a server refused their password, and which password
 * that was: once its file is another one, it is worth trying again. The files' state is
 * looked at in the calling thread. One thread. */
#ifndef MAILCASK_DAEMON_REFUSED_H
#define MAILCASK_DAEMON_REFUSED_H

#include "daemon/config.h"

#include <stdbool.h>
#include <stdint.h>

#define REFUSED_LOOK_MS 5000 /* from one look at all of them to the next */
#define REFUSED_FOREVER UINT64_MAX

struct refused;

/* config: borrowed for life; accounts are indices in it. 0 or -ENOMEM. */
int refused_new(const struct config *config, struct refused **out);
void refused_free(struct refused *r);

/* stamp: of the password that was refused, see struct secret. 0: the account is not
 * suspended, or its password is from no file; it is not looked at. */
void refused_set(struct refused *r, uint32_t account, uint64_t stamp);

/* The next account whose file has changed; it is not looked at again. False: none for now.
 * Times are monotonic, in ms. */
bool refused_next(struct refused *r, uint64_t now_ms, uint32_t *out_account);

/* Until the next look is due; REFUSED_FOREVER while there is nothing to look at. */
uint64_t refused_wait_ms(const struct refused *r, uint64_t now_ms);

#endif
