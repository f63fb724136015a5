/* One message becoming one file: written under a temporary name, dated, then given its
 * final name, which is never taken from another file. */
#ifndef MAILCASK_TOOLS_NEW_FILE_H
#define MAILCASK_TOOLS_NEW_FILE_H

#include "tools/target.h"

struct new_file {
    int temp_fd; /* folder of the temporary name, borrowed */
    char temp_name[TARGET_NAME_MAX];
    int final_fd; /* folder of the final names, borrowed; the same file system */
    char name[TARGET_NAME_MAX];
    int64_t time_s;
    int fd; /* -1: none is begun */
};

/* One for each lane. The owner holds the lock of the folder, so a file found there under
 * one of the temporary names (TEMP, TEMP.1, TEMP.2 ...) is a leftover: it is taken away. */
struct new_files {
    bool open; /* zero-initialised: it is not, and closing it does nothing */
    struct new_file lanes[TARGET_LANES_MAX];
};

void new_files_open(struct new_files *f, int temp_fd, const char *temp, int final_fd);
/* What was begun and not committed is taken away. */
void new_files_close(struct new_files *f);

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
