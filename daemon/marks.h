/* What is kept of each server and account from one session to the next: what its maildrop
 * taught (Q21, Q29, Q39, Q50). It may be kept in a small file from one process to the next;
 * losing it costs some tries. One thread. */
#ifndef MAILCASK_DAEMON_MARKS_H
#define MAILCASK_DAEMON_MARKS_H

#include "daemon/config.h"
#include "daemon/day_bytes.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stdint.h>

/* Limits of the file. What was learnt of a server is doubted after a while: it may be
 * another one by then. */
#define MARKS_FILE_MAX ((size_t)64 << 20) /* bytes; more is left out */
#define MARKS_SERVER_KEPT_S ((int64_t)30 * 24 * 3600)

struct marks;

/* Nothing known yet. Accounts and servers are their indices in config, which is borrowed
 * for life. 0 or -ENOMEM. */
int marks_new(const struct config *config, struct marks **out);
void marks_free(struct marks *m);

/* After a reload: take over what still holds, config_same_server(). Every maildrop is
 * listed next. */
void marks_adopt(struct marks *m, const struct marks *old);

/* For the account's next job. */
void marks_get(struct marks *m, uint32_t account, struct pool_marks *out);
/* The account's next job is to list the maildrop, whatever is known of it (struct
 * pool_glance): also if the one that is under way finds nothing changed. */
void marks_ask_listing(struct marks *m, uint32_t account);
/* From its last one. */
void marks_put(struct marks *m, uint32_t account, const struct pool_marks *marks);

/* Runs of quiet polls that are not on record yet: give each to write(), and if that returns
 * 0 count it as written. */
void marks_each_run(struct marks *m,
                    int (*write)(void *arg, uint32_t account, const struct pool_run *run),
                    void *arg);

/* What was fetched within the last day of an account that has daily-bytes. */
void marks_spend(struct marks *m, uint32_t account, int64_t now_s, uint64_t bytes);
const struct day_bytes *marks_day(const struct marks *m, uint32_t account);

/* Whether something was put that marks_save() has not written. */
bool marks_changed(const struct marks *m);

/* Replace the file by what is known now, see file_replace(). now_s: of CLOCK_REALTIME. 0,
 * -ENOMEM or why it cannot be written. */
int marks_save(struct marks *m, const char *path, int64_t now_s);

/* Take in, of what the file knows, what holds as after a reload. A file that is missing or
 * cannot be read is empty, so is a line that cannot be understood. */
void marks_load(struct marks *m, const char *path, int64_t now_s);

#endif
