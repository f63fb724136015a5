/* What is kept in memory of each server and account from one session to the next: what its
 * maildrop taught, and what was said of it last, so that it is not said again. Lost at the
 * end of the process; nothing but politeness depends on it. One thread. */
#ifndef MAILCASK_DAEMON_MARKS_H
#define MAILCASK_DAEMON_MARKS_H

#include "daemon/config.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stdint.h>

struct marks;

/* Nothing known yet. Accounts and servers are their indices in config, which is borrowed
 * for life. 0 or -ENOMEM. */
int marks_new(const struct config *config, struct marks **out);
void marks_free(struct marks *m);

/* After a reload: take over what still holds. A server is the same with the same host, port
 * and tls, a mailbox on the same server with the same user. */
void marks_adopt(struct marks *m, const struct marks *old);

/* For the account's next job. */
void marks_get(const struct marks *m, uint32_t account, struct pool_marks *out);
/* From its last one. */
void marks_put(struct marks *m, uint32_t account, const struct pool_marks *marks);

/* Whether this is another text than the last one of this account, or this server; "" is
 * that all is well, and news only after another text. Remembers it. */
bool marks_account_news(struct marks *m, uint32_t account, const char *text);
bool marks_server_news(struct marks *m, uint32_t server, const char *text);

#endif
