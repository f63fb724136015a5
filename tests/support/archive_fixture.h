/* A real archive in a temporary folder, and a session's worth of mail put into it. */
#ifndef MAILCASK_TESTS_SUPPORT_ARCHIVE_FIXTURE_H
#define MAILCASK_TESTS_SUPPORT_ARCHIVE_FIXTURE_H

#include "archive/archive.h"
#include "archive/intake.h"
#include "archive/store.h"
#include "archive/verify.h"

#include <stdbool.h>

struct fixture {
    char root[64]; /* the temporary folder */
    char path[96]; /* the archive in it */
    struct archive *archive;
    struct codec *codec;
    struct lookup *lookup;
    char notes[4096]; /* what recovery reported, a line each */
    unsigned damage_notes;
};

/* A new archive, opened to write. */
void fixture_setup(struct fixture *f);
void fixture_teardown(struct fixture *f);
void fixture_open(struct fixture *f, enum archive_mode mode);
/* As fixture_open(), and the result of archive_open(); rebuild: as `reindex` does. */
int fixture_try_open(struct fixture *f, enum archive_mode mode, bool rebuild,
                     const struct file_ops *ops);
void fixture_close(struct fixture *f);
/* Leave without closing, as a killed process does: the lock and the files are let go of,
 * nothing is sealed. */
void fixture_crash(struct fixture *f);

/* An intake for account `name` whose records go straight into the store. */
struct intake *fixture_open_intake(struct fixture *f, const char *name);
/* The same, behind a trusted listing of nothing. */
struct intake *fixture_intake(struct fixture *f, const char *name);
/* One message that the (trusted) listing names: judge, and if it is wanted take it in.
 * Returns the verdict; *out_result is set when it was wanted. */
enum intake_verdict fixture_take(struct intake *in, const char *uidl, const void *data,
                                 size_t size, enum intake_result *out_result);
/* Flush, commit, write the session's record, commit, close. */
void fixture_finish(struct fixture *f, struct intake *in);
/* A session with `count` messages "<name> message <i>", of about `size` bytes each, UIDLs
 * "u<i>". */
void fixture_session(struct fixture *f, const char *name, int first, int count,
                     size_t size);
/* The i-th message of fixture_session(), into a buffer of size + 256 bytes; returns its
 * length. */
size_t fixture_message(const char *name, int i, size_t size, char *out);

/* The message restored, malloc()ed; NULL with *out_err set when it cannot be. */
char *fixture_restore(struct fixture *f, const char *name, uint64_t n, size_t *out_size,
                      int *out_err);
/* Check the whole; findings are appended as lines to f->notes. */
struct verify_summary fixture_verify(struct fixture *f, bool quick);

/* Every account, every message's meta and every ledger entry as text, malloc()ed: two
 * archives that print the same say the same. */
char *fixture_dump(struct fixture *f);

/* Flip a bit at the end of the body of the segment's first record of this type. */
void fixture_flip_in_body(struct fixture *f, uint64_t segment, uint8_t type);

#endif
