/* Decoded parts, read as they are asked for; the last few are kept. One thread at a time.
 */
#ifndef MAILCASK_ARCHIVE_PART_CACHE_H
#define MAILCASK_ARCHIVE_PART_CACHE_H

#include "archive/assemble.h"
#include "archive/index_rows.h"
#include "archive/segment.h"

/* Parts kept, of up to PART_RAW_MAX each; and once the room that reading one takes. */
#define PART_CACHE_SLOTS 8

/* Where things come from. */
struct part_reader {
    /* The place of the part's record: 0; ERR_NOT_FOUND; -errno. */
    int (*find)(void *arg, const uint8_t sha256[SHA256_SIZE], struct place *out);
    /* The record at place, its raw body loaded into view->body: 0; ERR_DAMAGED; -errno. */
    int (*read)(void *arg, const struct place *place, struct record_view *view);
    void *arg;
};

struct part_cache;

/* NULL when memory runs out. */
struct part_cache *part_cache_create(const struct part_reader *reader);
void part_cache_destroy(struct part_cache *c);

/* A struct part_source's get(); arg is the cache. */
int part_cache_get(void *arg, const uint8_t sha256[SHA256_SIZE], size_t size,
                   const uint8_t **out_data);

#endif
