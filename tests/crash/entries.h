/* The names in folders: which inode each leads to. Inodes are numbers from 1, given by the
 * event log; 0 is none. */
#ifndef MAILCASK_TESTS_CRASH_ENTRIES_H
#define MAILCASK_TESTS_CRASH_ENTRIES_H

#include <stddef.h>
#include <stdint.h>

#define ROOT_INODE 1u
#define ENTRY_NAME_SIZE 64

struct entry {
    uint32_t folder;
    uint32_t inode;
    char name[ENTRY_NAME_SIZE];
};

/* Zero-initialised: empty. */
struct entries {
    struct entry *list;
    size_t count;
};

/* 0: there is no such name. */
uint32_t entries_get(const struct entries *e, uint32_t folder, const char *name);
/* inode 0 removes the name. */
void entries_set(struct entries *e, uint32_t folder, const char *name, uint32_t inode);
void entries_copy(struct entries *to, const struct entries *from);
void entries_free(struct entries *e);

#endif
