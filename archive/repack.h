/* Repacking: sealed segments are rewritten into larger blocks at a higher level, account by
 * account, without what nothing refers to any more. Numbers and LSNs stay; what was read
 * before is read as before, also by readers that work meanwhile (FORMAT.md, "Repacking").
 */
#ifndef MAILCASK_ARCHIVE_REPACK_H
#define MAILCASK_ARCHIVE_REPACK_H

#include "archive/archive.h"

#include <stdbool.h>
#include <stdint.h>

/* What was replaced is removed this long after, so that a reader or a copy that began
 * before still finds it; and never while a backup copies (removal.h). */
#define REPACK_KEEP_US (24ll * 3600 * 1000000)

struct repack_options {
    bool remove_now; /* do not wait: remove what has been replaced and verified at once */
    /* Nobody asked for it: take what is sealed already, a part of it, and only if it is
     * worth it (repack_choice.h). */
    bool in_passing;
    /* Others fetch into this archive meanwhile: run work(work_arg) in the one thread that
     * calls the store's functions, and return what it returns, or the store's failure. Then
     * parts and chunks stay though nothing names them: a session may be about to. NULL:
     * nobody does, and they go. */
    int (*in_store)(void *arg, int (*work)(void *work_arg), void *work_arg);
    /* There is something to rewrite: so many segments and bytes. May be NULL. */
    void (*begin)(void *arg, uint64_t segments, uint64_t bytes);
    /* Now and then; bytes_done counts the work on all of it. A non-zero return ends
     * repacking in order, with ERR_STOPPED: what was copied so far stays, and the next call
     * goes on. May take its time. May be NULL. */
    int (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    void *arg;
};

struct repack_summary {
    uint64_t segments_read;    /* rewritten by this call */
    uint64_t segments_skipped; /* hold damage: left as they are */
    uint64_t segments_removed; /* by this call, of those and of earlier ones */
    uint64_t segments_kept;    /* replaced, and to be removed when REPACK_KEEP_US is over */
    bool removal_held;         /* a backup is copying: nothing was removed */
    uint64_t bytes_before;     /* of the segments rewritten */
    uint64_t bytes_after;      /* of what replaces them */
};

/* The archive is open with ARCHIVE_WRITE. One call at a time; where in_store is given, in
 * any thread. 0; ERR_STOPPED; ERR_DAMAGED (a copy did not read back: nothing is removed);
 * what the store says. Killed anywhere, nothing is lost or doubled: recovery and the next
 * call tidy up. Holds about 32 MiB, without in_store 32 bytes for each part, too. */
int archive_repack(struct archive *a, const struct repack_options *options,
                   struct repack_summary *out);

/* What it did, as a sentence without its full stop. */
#define REPACK_TEXT_MAX 256
void repack_text(const struct repack_summary *s, char out[REPACK_TEXT_MAX]);

#endif
