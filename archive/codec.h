/* Compression of record bodies and metas: the door to zstd. One codec object a thread: its
 * contexts (half a MiB to compress while fetching) are used again for every frame. */
#ifndef MAILCASK_ARCHIVE_CODEC_H
#define MAILCASK_ARCHIVE_CODEC_H

#include <stddef.h>
#include <stdint.h>

/* Values of the record header's codec field. */
enum codec_id { CODEC_STORED = 0, CODEC_ZSTD = 1 };

/* How hard to try. */
enum codec_effort {
    CODEC_FETCH_PART, /* while fetching: attachments, most of which are compressed already
                       */
    CODEC_FETCH,      /* while fetching: all else */
    CODEC_REPACK,
    CODEC_PACK, /* small records: little to do, much alike */
    CODEC_EFFORT_COUNT,
};

struct codec;

/* NULL when memory runs out. */
struct codec *codec_create(void);
void codec_destroy(struct codec *c);

/* The largest size compressing size bytes can give. */
size_t codec_bound(size_t size);

/* Compress data into out (capacity >= codec_bound(size)) as one frame that carries its
 * content size. 0 or ERR_COMPRESSION. */
int codec_compress(struct codec *c, enum codec_effort effort, const void *data, size_t size,
                   void *out, size_t capacity, size_t *out_size);

/* Decompress one frame that must hold exactly raw_size bytes: 0 or ERR_DAMAGED. */
int codec_decompress(struct codec *c, const void *data, size_t size, void *out,
                     size_t raw_size);

/* The first size bytes of what one frame holds, and no more work than that takes. 0;
 * ERR_DAMAGED, also if it holds less. What follows is not looked at. */
int codec_decompress_start(struct codec *c, const void *frame, size_t frame_size, void *out,
                           size_t size);

/* The content size a frame claims, if it is one and claims at most max: 0 or ERR_DAMAGED.
 */
int codec_raw_size(const void *data, size_t size, size_t max, size_t *out_size);

#endif
