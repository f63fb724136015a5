/* What a program did to the files below one folder, call by call, and what it promised
 * meanwhile. The log starts with an empty folder, or with files that are all on disk. */
#ifndef MAILCASK_TESTS_CRASH_EVENT_LOG_H
#define MAILCASK_TESTS_CRASH_EVENT_LOG_H

#include "archive/digest.h"
#include "tests/crash/entries.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_type {
    EVENT_CREATE, /* a file or folder, empty */
    EVENT_WRITE,
    EVENT_RESIZE,
    EVENT_SYNC,        /* file or folder: it succeeded */
    EVENT_SYNC_FAILED, /* what was waiting is no longer waiting, and may never get there */
    EVENT_RENAME,
    EVENT_REMOVE,
    EVENT_MARK,
};

enum mark_type {
    MARK_CREATED,      /* archive_create() has returned */
    MARK_ACKNOWLEDGED, /* the message may be relied on */
    MARK_DELE,         /* DELE is on its way to the server */
};

/* A promise to the outside world. */
struct mark {
    enum mark_type type;
    char account[32];
    char uidl[16];
    uint64_t n;
    uint8_t sha256[SHA256_SIZE];
};

struct event {
    enum event_type type;
    bool by_table; /* the call came through the archive's table of file operations */
    bool synced;   /* WRITE: O_DSYNC, on disk when it returns */
    bool folder;   /* CREATE: it is one */
    uint32_t inode;
    struct entry from; /* CREATE, REMOVE, RENAME: the name (its inode is not used) */
    struct entry to;   /* RENAME */
    uint64_t offset;   /* WRITE; RESIZE: the new size */
    uint8_t *data;     /* WRITE */
    size_t size;       /* of data */
    struct mark mark;
};

struct event_log {
    struct event *events;
    size_t count;
    size_t room;
    size_t base;         /* events below it only say what was on disk at the start */
    struct entries live; /* names as the program sees them */
    uint32_t last_inode;
};

void event_log_init(struct event_log *log);
/* Start with a copy of the files below `folder`: log->base is set behind them. */
void event_log_import(struct event_log *log, const char *folder);
void event_log_free(struct event_log *log);

/* The inode of a path below the root ("" is the root itself; "." and ".." are followed), 0
 * if there is none. out_folder and out_name, if not NULL: where its last name is, or would
 * be (folder 0: outside, or its folder is missing). */
uint32_t event_log_resolve(const struct event_log *log, const char *path,
                           uint32_t *out_folder, char out_name[ENTRY_NAME_SIZE]);

/* Each adds one event, to be completed by the caller until the next call. */
struct event *event_log_create(struct event_log *log, uint32_t folder, const char *name,
                               bool is_folder);
struct event *event_log_write(struct event_log *log, uint32_t inode, uint64_t offset,
                              const void *data, size_t size);
struct event *event_log_add(struct event_log *log, enum event_type type, uint32_t inode);
struct event *event_log_rename(struct event_log *log, const struct entry *from,
                               const struct entry *to);
struct event *event_log_remove(struct event_log *log, uint32_t folder, const char *name);
void event_log_mark(struct event_log *log, const struct mark *mark);

/* One line about an event, for a person. */
void event_text(const struct event *e, char *out, size_t size);

#endif
