/* What `status --watch` shows of one answer, the most telling lines first. */
#ifndef MAILCASK_TOOLS_WATCH_TEXT_H
#define MAILCASK_TOOLS_WATCH_TEXT_H

#include "tools/output.h"
#include "tools/rates.h"

/* Servers, and accounts, with a problem that are shown, those with the newest error first.
 */
#define WATCH_SERVERS_MAX 5
#define WATCH_ACCOUNTS_MAX 50

/* answer: whole; or empty, with `trouble` saying why there is none. */
void watch_text(struct output *out, struct span answer, const struct rates *rates,
                int64_t now_s, const char *trouble);

#endif
