/* An archive's segments looked at record by record, and hurt. */
#ifndef MAILCASK_TESTS_SUPPORT_RECORDS_H
#define MAILCASK_TESTS_SUPPORT_RECORDS_H

#include "archive/bytes.h"
#include "archive/index_rows.h"
#include "archive/record.h"
#include "tests/support/archive_fixture.h"

#include <stdint.h>
#include <sys/types.h>

struct seen_record {
    struct place place;
    struct record_header header;
    struct span meta; /* raw; good during the callback */
};

/* Every record of every segment, SEALs left out. The archive is open. */
void records_each(struct fixture *f, void (*each)(void *arg, const struct seen_record *r),
                  void *arg);

/* How many of a type there are, and their bytes in the segments. */
struct record_sum {
    unsigned count;
    uint64_t bytes;
};

struct record_sum records_sum(struct fixture *f, enum record_type type);

/* The newest PART with this SHA-256; it must be there. */
struct seen_record records_part(struct fixture *f, const uint8_t sha256[SHA256_SIZE]);

/* Flip one bit of a segment's file. */
void segment_flip(struct fixture *f, uint64_t segment, uint64_t offset, unsigned bit);
uint64_t segment_file_size(struct fixture *f, uint64_t segment);

#endif
