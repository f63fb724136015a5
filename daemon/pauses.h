/* What the administrator has paused: single accounts, servers with all of theirs, or
 * everything; each on its own, so that lifting one leaves the others. Kept over a reload,
 * and in a small file from one process to the next. What leaves the configuration is
 * forgotten. Times are seconds of CLOCK_REALTIME. One thread. */
#ifndef MAILCASK_DAEMON_PAUSES_H
#define MAILCASK_DAEMON_PAUSES_H

#include "daemon/config.h"

#include <stdbool.h>
#include <stdint.h>

#define PAUSES_FILE_MAX ((size_t)64 << 20) /* bytes: 200,000 of the longest names */

enum pause_scope { PAUSE_NONE, PAUSE_ACCOUNT, PAUSE_SERVER, PAUSE_ALL };

struct pauses;

/* Nothing paused. Accounts and servers are their indices in config, which is borrowed for
 * life. 0 or -ENOMEM. */
int pauses_new(const struct config *config, struct pauses **out);
void pauses_free(struct pauses *p);

/* After a reload: take over those of equal names. */
void pauses_adopt(struct pauses *p, const struct pauses *old);

/* Pause one of them; if it is paused already, it is since then. index: of the account or
 * the server. */
void pauses_begin(struct pauses *p, enum pause_scope scope, uint32_t index, int64_t now_s);
/* Lift it. PAUSE_ALL: and every other one. */
void pauses_end(struct pauses *p, enum pause_scope scope, uint32_t index);

/* Since when one of them is paused itself; 0: it is not. */
int64_t pauses_since(const struct pauses *p, enum pause_scope scope, uint32_t index);

/* What holds an account back, by itself before its server before everything, and since
 * when. PAUSE_NONE: nothing does. */
enum pause_scope pauses_of_account(const struct pauses *p, uint32_t account,
                                   int64_t *out_since_s);

/* Whether there is something that pauses_save() has not written. */
bool pauses_changed(const struct pauses *p);

/* Replace the file by what is paused now, see file_replace(). 0, -ENOMEM or why it cannot
 * be written. */
int pauses_save(struct pauses *p, const char *path);

/* Take in what the file says of this configuration. A line that cannot be understood is
 * left out; no file is an empty one. 0, or why there is a file and it cannot be read. */
int pauses_load(struct pauses *p, const char *path);

#endif
