/* A maildrop that is a table of UIDLs and bodies, and the archive's side of fetch and
 * delete sessions with it. What fails on the way fails the test. */
#ifndef MAILCASK_TESTS_SUPPORT_TABLE_DROP_H
#define MAILCASK_TESTS_SUPPORT_TABLE_DROP_H

#include "archive/deletion.h"
#include "tests/support/archive_fixture.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DROP_ACCOUNT "alice@example.com"
#define DROP_LINES_MAX 400

/* A message: what is listed of it, its size being the body's. */
struct drop_line {
    const char *uidl;
    const char *body;
};

/* What a session came to. */
struct drop_result {
    unsigned known, again, archived, deduplicated;
    uint64_t deletable;
    struct session_meta session;
    unsigned planned, compared;
    bool quiet;
};

/* A fetch session that would delete at once, and fetches up to `limit` messages. */
struct drop_result drop_fetch_some(struct fixture *f, const struct drop_line *lines,
                                   size_t count, bool trusted, size_t limit);
/* The same with a trusted listing, and all of it. */
struct drop_result drop_fetch(struct fixture *f, const struct drop_line *lines,
                              size_t count);

/* A delete session that may delete the first `may` lines; every DELE comes to this state.
 */
struct drop_result drop_delete_some(struct fixture *f, const struct drop_line *lines,
                                    size_t count, size_t may, enum deletion_state state);
struct drop_result drop_delete_all(struct fixture *f, const struct drop_line *lines,
                                   size_t count, enum deletion_state state);

/* Parts of a session: one message is fetched; all is committed, and the intake closed. */
void drop_fetch_line(struct intake *in, const struct drop_line *line,
                     struct drop_result *r);
void drop_close(struct fixture *f, struct intake *in, struct drop_result *r);

/* What became of the deletion of message n; the account's highest N. */
enum deletion_state drop_state_of(struct fixture *f, uint64_t n);
uint64_t drop_highest(struct fixture *f);

#endif
