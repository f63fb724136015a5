/* Folders and files of a restore: the owner's only (0700, 0600). Return 0 or -errno. */
#ifndef MAILCASK_TOOLS_FOLDERS_H
#define MAILCASK_TOOLS_FOLDERS_H

#include <stdbool.h>
#include <stdint.h>

/* Make path and the folders above it that are missing. */
int folder_make(const char *path);
/* The same for what path is in. */
int folder_make_parent(const char *path);
/* Open a folder, making it if it is missing; its parent must exist. A symbolic link to one
 * is taken. */
int folder_open(int parent_fd, const char *name, int *out_fd);
/* Whether path is folder, or in it; path need not be there yet. False where that cannot be
 * told. */
bool folder_holds(const char *folder, const char *path);
/* Keep other restores away until fd is closed: 0, or ERR_LOCKED. Where the file system has
 * no locks there is no protection. */
int folder_lock(int fd);
/* Everything written to the file system that holds fd is on disk. */
int folder_sync(int fd);

#endif
