/* One disk that a power cut could have left. The seed decides, of all that waited, what got
 * there; the same seed on the same disk gives the same image. */
#ifndef MAILCASK_TESTS_CRASH_IMAGE_H
#define MAILCASK_TESTS_CRASH_IMAGE_H

#include "tests/crash/disk.h"

#include <stdint.h>

/* The two seeds that are not random. */
#define SEED_NOTHING 0u    /* nothing that waited got there: the unluckiest power cut */
#define SEED_EVERYTHING 1u /* all did: the process was killed */

/* A generator of our own, so that a seed means the same image everywhere. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t limit);

/* Build it into `folder`, which is emptied first (and made, if it is not there). Returns a
 * number that tells images apart. */
uint64_t image_build(const struct disk *d, uint64_t seed, const char *folder);

/* Remove a folder and what is in it. */
void image_remove(const char *folder);

#endif
