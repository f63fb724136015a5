/* What large providers are known to allow, by the host that the administrator names: so
 * that it need not be found out by being locked out. */
#ifndef MAILCASK_DAEMON_PROVIDERS_H
#define MAILCASK_DAEMON_PROVIDERS_H

#include <stdint.h>

/* Bytes that may be fetched of a mailbox by POP3 within a day; 0: no limit is known. */
uint64_t provider_daily_bytes(const char *host);

#endif
