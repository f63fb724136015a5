/* One message becoming one file: written under a temporary name, dated, then given its
 * final name, which is never taken from another file. */
#ifndef MAILCASK_TOOLS_NEW_FILE_H
#define MAILCASK_TOOLS_NEW_FILE_H

#include "tools/target.h"

/* Where. The owner holds the lock of the folder, so a temporary file found there is a
 * leftover. */
struct new_file_place {
    int temp_fd; /* folder of the temporary name, borrowed */
    const char *temp_name;
    int final_fd; /* folder of the final names, borrowed; the same file system */
};

struct new_file {
    struct new_file_place place;
    char name[TARGET_NAME_MAX];
    int64_t time_s;
    int fd; /* -1: none is begun */
};

/* As of struct target_kind: begin, write, commit, cancel. */
int new_file_begin(struct new_file *f, const char *name, const struct target_message *m);
int new_file_write(struct new_file *f, const uint8_t *data, size_t size);
int new_file_commit(struct new_file *f);
int new_file_cancel(struct new_file *f);

/* What has this name: 0, nothing; TARGET_PRESENT, the message; ERR_EXISTS, something else;
 * -errno. */
int new_file_look(int folder_fd, const char *name, const struct target_message *m);

/* Give a finished file its final name: 0; ERR_EXISTS if anything has that name; -errno. */
int new_file_rename(int from_fd, const char *from, int to_fd, const char *to);

/* Write all of it. 0 or -errno. */
int fd_write_all(int fd, const uint8_t *data, size_t size);

#endif
