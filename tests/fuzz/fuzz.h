/* What the fuzz targets share: taking decisions from the input, and checks that stay on.
 * Each tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput(); libFuzzer calls it, and so
 * does replay_main.c with the seeds of tests/fuzz/corpus/NAME. */
#ifndef MAILCASK_FUZZ_FUZZ_H
#define MAILCASK_FUZZ_FUZZ_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where targets that need files make a folder of their own. */
#define FUZZ_FOLDER_SIZE 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold whatever the input. */
#define FUZZ_CHECK(condition)                                                              \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

/* The whole input; libFuzzer's empty one is a null pointer. */
static inline struct cursor fuzz_input(const uint8_t *data, size_t size)
{
    return cursor_over(size > 0 ? data : (const uint8_t *)"", size);
}

/* A copy in a block of its own, so that a sanitizer sees a read beyond its end; free() it.
 * Of nothing too. */
static inline void *fuzz_copy(const void *data, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* A new folder below $TMPDIR, or /tmp; removed by whoever made that, or by the target. */
static inline void fuzz_folder(char out_path[FUZZ_FOLDER_SIZE])
{
    const char *below = getenv("TMPDIR");
    snprintf(out_path, FUZZ_FOLDER_SIZE, "%s/mailcask-fuzz-XXXXXX",
             below != NULL ? below : "/tmp");
    FUZZ_CHECK(mkdtemp(out_path) != NULL);
}

/* Takes up to 31 bytes, for fuzz_piece(). */
static inline struct cursor fuzz_cuts(struct cursor *input)
{
    size_t size = take_u8(input) % 32;
    if (size > cursor_left(input))
        size = cursor_left(input);
    struct cursor cuts = {.at = input->at, .end = input->at + size};
    input->at += size;
    return cuts;
}

/* The next piece when size bytes are cut up as `cuts` says: 1..size, and all of it where
 * the cuts are used up. */
static inline size_t fuzz_piece(struct cursor *cuts, size_t size)
{
    size_t piece = cursor_left(cuts) > 0 ? (size_t)take_u8(cuts) + 1 : size;
    return piece < size ? piece : size;
}

#endif
