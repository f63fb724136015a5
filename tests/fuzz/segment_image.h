/* A segment file made of fuzzer's bytes. Checksums would stop every mutation at the door,
 * so an image can be given right ones, all else staying as the fuzzer has it. */
#ifndef MAILCASK_FUZZ_SEGMENT_IMAGE_H
#define MAILCASK_FUZZ_SEGMENT_IMAGE_H

#include "archive/digest.h"
#include "archive/files.h"
#include "archive/format.h"
#include "tests/fuzz/fuzz.h"

/* A sealed segment 1 (FORMAT.md, "annotated"); found from the root of the tree. */
#define GOLDEN_SEGMENT "tests/golden/segment.bin"
#define GOLDEN_SIZE_MAX 65536

/* Offsets that FORMAT.md gives. */
enum {
    IMAGE_UUID = 32,
    IMAGE_ID = 48,
    IMAGE_PREDECESSOR = 56,
    IMAGE_SYNC = 72,
    IMAGE_HEADER_CHECKSUM = 184,
    IMAGE_TRAILER_ID = 8,
    IMAGE_TRAILER_HASH = 128,
    IMAGE_RECORD_WORDS = 9,
    IMAGE_RECORD_CIPHER = 11,
    IMAGE_RECORD_META_SIZE = 16,
    IMAGE_RECORD_BODY_SIZE = 24,
    IMAGE_RECORD_META_CHECKSUM = 64,
    IMAGE_RECORD_BODY_CHECKSUM = 72,
    IMAGE_RECORD_CHECKSUM = 80,
};

static inline struct span image_golden(void)
{
    char *data = NULL;
    size_t size = 0;
    int err = file_load(&system_files, GOLDEN_SEGMENT, GOLDEN_SIZE_MAX, &data, &size);
    FUZZ_CHECK(err == 0 && size > SEGMENT_HEADER_SIZE);
    return span_of(data, size);
}

/* Make the record at `at` valid in its place. One whose sizes lead beyond `left` bytes
 * keeps them, in a valid header. Returns its size, at most `left`. */
static inline size_t image_fix_record(uint8_t *image, size_t at, size_t left)
{
    uint8_t *r = image + at;
    const uint8_t *content = r + RECORD_HEADER_SIZE;
    size_t room = left - RECORD_HEADER_SIZE;
    size_t meta = get_u32(r + IMAGE_RECORD_META_SIZE);
    meta = meta < room ? meta : room;
    uint64_t body = get_u64(r + IMAGE_RECORD_BODY_SIZE);
    body = body < room - meta ? body : room - meta;
    memcpy(r, image + IMAGE_SYNC, 8);
    r[IMAGE_RECORD_WORDS] = RECORD_HEADER_SIZE / 8;
    r[IMAGE_RECORD_CIPHER] = 0;
    put_u64(r + IMAGE_RECORD_META_CHECKSUM, checksum64(content, meta, 0));
    put_u64(r + IMAGE_RECORD_BODY_CHECKSUM, checksum64(content + meta, body, 0));
    put_u64(r + IMAGE_RECORD_CHECKSUM,
            checksum64(r, IMAGE_RECORD_CHECKSUM, get_u64(image + IMAGE_SYNC) + at));
    return RECORD_HEADER_SIZE + meta + body;
}

/* Make the image segment `id` of the golden segment's archive: header, records one behind
 * the other, and a trailer, if the image ends in one, get right checksums. At most
 * `records` are made right: damage may follow. */
static inline void image_fix(uint8_t *image, size_t size, struct span golden, uint64_t id,
                             unsigned records)
{
    if (size < SEGMENT_HEADER_SIZE)
        return;
    uint64_t sync = get_u64(image + IMAGE_SYNC);
    memcpy(image, golden.data, SEGMENT_HEADER_SIZE);
    put_u64(image + IMAGE_ID, id);
    put_u64(image + IMAGE_PREDECESSOR, id - 1);
    put_u64(image + IMAGE_SYNC, sync);
    put_u64(image + IMAGE_HEADER_CHECKSUM, checksum64(image, IMAGE_HEADER_CHECKSUM, 0));
    uint8_t *trailer = size >= SEGMENT_HEADER_SIZE + SEGMENT_TRAILER_SIZE
                           ? image + size - SEGMENT_TRAILER_SIZE
                           : NULL;
    if (trailer != NULL && memcmp(trailer, SEGMENT_TRAILER_MAGIC, 8) == 0) {
        put_u64(trailer + IMAGE_TRAILER_ID, id);
        sha256_of(trailer, IMAGE_TRAILER_HASH, trailer + IMAGE_TRAILER_HASH);
        size -= SEGMENT_TRAILER_SIZE;
    }
    size_t at = SEGMENT_HEADER_SIZE;
    for (unsigned i = 0; i < records && size - at >= RECORD_HEADER_SIZE; i++)
        at += image_fix_record(image, at, size - at);
}

#endif
