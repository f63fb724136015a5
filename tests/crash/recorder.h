/* Stands between the program and the C library: every call that changes a file below one
 * folder is logged, and may be made to fail. A program that links recorder.c has these
 * calls in the place of the library's, also for LMDB, which makes its own and not through
 * the archive's table of file operations: the same as preloading them, without another
 * process. Time and random bytes are its own while it records, so that the same work gives
 * the same log; while it does not, all calls pass through. One thread. */
#ifndef MAILCASK_TESTS_CRASH_RECORDER_H
#define MAILCASK_TESTS_CRASH_RECORDER_H

#include "archive/files.h"
#include "tests/crash/event_log.h"

#include <stdbool.h>

/* Kinds of call that a fault may strike. */
enum {
    CALL_WRITE = 1,
    CALL_SYNC = 2,
    CALL_NAME = 4, /* open that creates, rename, unlink, mkdir, rmdir, ftruncate */
};

struct call_fault {
    unsigned kinds;   /* of CALL_* */
    bool index_only;  /* calls on files of LMDB alone */
    bool short_write; /* half of it is written, with success */
    bool kill;        /* as recorder_kill() */
    int error;        /* an errno; without the above nothing is done, and this returned */
    unsigned long at; /* the call of these kinds, from 1; 0: never */
    unsigned long again; /* so many calls behind it fail as well */
    unsigned long calls; /* counted here */
    size_t event;        /* of the log, at which it struck first */
};

/* Log what happens below `root` from now on. The log holds what is there already. fault may
 * be NULL; it is borrowed, as is the log. */
void recorder_start(const char *root, struct event_log *log, struct call_fault *fault);
void recorder_stop(void);

/* The process is gone, and the files are as they were in the page cache: from here on every
 * call fails and does nothing, until a new process begins. */
void recorder_kill(void);
void recorder_revive(void);

/* The system's file operations; events of calls made through them have by_table set. */
struct file_ops recorder_table(void);

#endif
