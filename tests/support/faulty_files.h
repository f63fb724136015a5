/* File operations that count, fail, or kill the process at the Nth call that changes
 * something. */
#ifndef MAILCASK_TESTS_SUPPORT_FAULTY_FILES_H
#define MAILCASK_TESTS_SUPPORT_FAULTY_FILES_H

#include "archive/files.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_KILL,        /* _exit() in place of the call */
    FAULT_KILL_AFTER,  /* _exit() when it is done */
    FAULT_KILL_MIDWAY, /* a write of half the bytes, then _exit(); other calls as FAULT_KILL
                        */
    FAULT_ERROR,       /* fail with `error` */
    FAULT_SHORT, /* a write of half the bytes that succeeds; other calls are not touched */
};

struct faults {
    enum fault_kind kind;
    unsigned long at; /* the call, from 1; 0: never */
    int error;        /* a negated errno */
    unsigned long calls;
    unsigned long syncs; /* fdatasync() alone */
    struct file_ops ops; /* to be given to the archive */
};

void faults_init(struct faults *f, enum fault_kind kind, unsigned long at, int error);

#endif
