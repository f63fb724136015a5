/* A disk behind a page cache, walked along an event log: what is on it for certain, and
 * what a power cut at this point may or may not have let through. The unit of writing is a
 * page of 4 KiB; each page has as many versions waiting as it was written since its file
 * was synced, and any of them may be the one on the disk. Sizes and directory entries wait
 * apart from data. */
#ifndef MAILCASK_TESTS_CRASH_DISK_H
#define MAILCASK_TESTS_CRASH_DISK_H

#include "archive/bytes.h"
#include "tests/crash/event_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE_BYTES 4096u
#define SECTOR_SIZE_BYTES 512u

struct page_version {
    size_t serial; /* of the event that wrote it */
    uint8_t data[PAGE_SIZE_BYTES];
};

struct waiting_page {
    uint64_t index;
    bool lost; /* a sync of it failed: no later sync brings it to the disk */
    struct page_version *versions;
    size_t count;
};

struct waiting_size {
    size_t serial;
    uint64_t size;
};

struct inode {
    bool folder;
    struct buffer
        durable;   /* a file's bytes on disk; what is beyond its size reads as zero */
    uint64_t size; /* as the program sees it */
    struct waiting_page *pages;
    size_t page_count;
    struct waiting_size *sizes;
    size_t size_count;
};

/* A change of names that happens whole or not at all. */
struct waiting_entry {
    size_t serial;
    struct entry change[2]; /* inode 0 removes; folder 0: not used */
};

struct disk {
    struct inode *inodes; /* by number; [0] is not used */
    size_t inode_count;
    struct entries durable;
    struct waiting_entry *waiting;
    size_t waiting_count;
    size_t serial; /* events applied so far */
};

void disk_init(struct disk *d);
void disk_free(struct disk *d);
/* Apply the next event of the log. */
void disk_apply(struct disk *d, const struct event *e);
/* Is there anything that may or may not be on the disk? */
bool disk_waits(const struct disk *d);

/* The page as the disk has it for certain, zero where it has nothing. */
void inode_durable_page(const struct inode *inode, uint64_t index,
                        uint8_t out[PAGE_SIZE_BYTES]);

#endif
