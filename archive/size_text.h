/* Sizes and durations for people, in the archive's tools and in the daemon alike. */
#ifndef MAILCASK_ARCHIVE_SIZE_TEXT_H
#define MAILCASK_ARCHIVE_SIZE_TEXT_H

#include <stdint.h>

#define SIZE_TEXT_MAX 16 /* with the NUL */

/* "512 B", "1.4 kB", "22.5 MB", "404 MB": powers of 1000, rounded to nearest, one decimal
 * below 100. */
void size_text(uint64_t size_bytes, char out[SIZE_TEXT_MAX]);

#define DURATION_TEXT_MAX 32 /* with the NUL */

/* "5 s", "1 min 5 s", "3 h 12 min". */
void duration_text(uint64_t seconds, char out[DURATION_TEXT_MAX]);

#endif
