#include "archive/codec.h"

#include "archive/error.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

/* Twice the largest body: a frame that wants to look back further is none of ours. */
#define WINDOW_LOG_MAX 23

struct codec {
    ZSTD_CCtx *compress;
    enum codec_effort effort; /* that `compress` is set to */
    ZSTD_DCtx *decompress;
};

struct setting {
    ZSTD_cParameter parameter;
    int value;
};

#define SETTINGS_MAX 5

/* While fetching: the fastest strategy, with the large table of the next one. Against level
 * 3 attachments take two thirds of the time and grow by a thousandth, text takes four
 * fifths and grows by a fortieth, which repacking gets back. */
static const struct setting efforts[CODEC_EFFORT_COUNT][SETTINGS_MAX] = {
    [CODEC_FETCH_PART] = {{ZSTD_c_compressionLevel, 2},
                          {ZSTD_c_strategy, ZSTD_fast},
                          {ZSTD_c_windowLog, 20},
                          {ZSTD_c_hashLog, 17},
                          {ZSTD_c_minMatch, 5}},
    [CODEC_FETCH] = {{ZSTD_c_compressionLevel, 2},
                     {ZSTD_c_strategy, ZSTD_fast},
                     {ZSTD_c_windowLog, 20},
                     {ZSTD_c_hashLog, 17},
                     {ZSTD_c_minMatch, 6}},
    [CODEC_REPACK] = {{ZSTD_c_compressionLevel, 9}},
    [CODEC_PACK] = {{ZSTD_c_compressionLevel, 19}},
};

struct codec *codec_create(void)
{
    return calloc(1, sizeof(struct codec));
}

void codec_destroy(struct codec *c)
{
    if (c == NULL)
        return;
    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    free(c);
}

size_t codec_bound(size_t size)
{
    return ZSTD_compressBound(size);
}

static bool set_effort(struct codec *c, enum codec_effort effort)
{
    bool fresh = c->compress == NULL;
    if (fresh && (c->compress = ZSTD_createCCtx()) == NULL)
        return false;
    if (!fresh && c->effort == effort)
        return true;
    size_t n = ZSTD_CCtx_reset(c->compress, ZSTD_reset_session_and_parameters);
    for (size_t i = 0; i < SETTINGS_MAX && !ZSTD_isError(n); i++)
        if (efforts[effort][i].parameter != 0)
            n = ZSTD_CCtx_setParameter(c->compress, efforts[effort][i].parameter,
                                       efforts[effort][i].value);
    c->effort = effort;
    return !ZSTD_isError(n);
}

int codec_compress(struct codec *c, enum codec_effort effort, const void *data, size_t size,
                   void *out, size_t capacity, size_t *out_size)
{
    if (!set_effort(c, effort))
        return ERR_COMPRESSION;
    size_t n = ZSTD_compress2(c->compress, out, capacity, data, size);
    if (ZSTD_isError(n))
        return ERR_COMPRESSION;
    *out_size = n;
    return 0;
}

static int ready_to_decompress(struct codec *c)
{
    if (c->decompress != NULL)
        return 0;
    c->decompress = ZSTD_createDCtx();
    if (c->decompress == NULL)
        return ERR_COMPRESSION;
    size_t rc = ZSTD_DCtx_setParameter(c->decompress, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    return ZSTD_isError(rc) ? ERR_COMPRESSION : 0;
}

int codec_decompress(struct codec *c, const void *data, size_t size, void *out,
                     size_t raw_size)
{
    int err = ready_to_decompress(c);
    if (err != 0)
        return err;
    size_t n = ZSTD_decompressDCtx(c->decompress, out, raw_size, data, size);
    return ZSTD_isError(n) || n != raw_size ? ERR_DAMAGED : 0;
}

int codec_decompress_start(struct codec *c, const void *frame, size_t frame_size, void *out,
                           size_t size)
{
    ZSTD_inBuffer from = {.src = frame, .size = frame_size};
    ZSTD_outBuffer to = {.dst = out, .size = size};
    int err = ready_to_decompress(c);
    if (err != 0)
        return err;
    (void)ZSTD_DCtx_reset(c->decompress, ZSTD_reset_session_only);
    while (to.pos < to.size) {
        size_t before = from.pos + to.pos;
        size_t rc = ZSTD_decompressStream(c->decompress, &to, &from);
        bool over = rc == 0 && to.pos < to.size;
        if (ZSTD_isError(rc) || over || from.pos + to.pos == before)
            return ERR_DAMAGED;
    }
    return 0;
}

int codec_raw_size(const void *data, size_t size, size_t max, size_t *out_size)
{
    unsigned long long n = ZSTD_getFrameContentSize(data, size);
    if (n == ZSTD_CONTENTSIZE_UNKNOWN || n == ZSTD_CONTENTSIZE_ERROR || n > max)
        return ERR_DAMAGED;
    *out_size = (size_t)n;
    return 0;
}
