#include "archive/cask.h"

#include "archive/bytes.h"
#include "archive/digest.h"
#include "archive/error.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CASK_VERSION = 8,
    CASK_BYTES = 12,
    CASK_INCOMPATIBLE = 16,
    CASK_COMPATIBLE = 24,
    CASK_UUID = 32,
    CASK_CREATED = 48,
    CASK_HIGHEST = 56,
    CASK_RESERVED = 64,
    CASK_CHECKSUM = CASK_SIZE - 8,
};

static int cask_path(const char *archive, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/CASK", archive);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int decode(const uint8_t *data, size_t size, struct cask *out)
{
    if (size != CASK_SIZE || memcmp(data, CASK_MAGIC, 8) != 0)
        return size == 0 || memcmp(data, CASK_MAGIC, size < 8 ? size : 8) != 0
                   ? ERR_FORMAT
                   : ERR_DAMAGED;
    if (get_u64(data + CASK_CHECKSUM) != checksum64(data, CASK_CHECKSUM, 0))
        return ERR_DAMAGED;
    if (get_u32(data + CASK_VERSION) != FORMAT_VERSION ||
        get_u32(data + CASK_BYTES) != CASK_SIZE || get_u64(data + CASK_INCOMPATIBLE) != 0)
        return ERR_VERSION;
    memcpy(out->uuid, data + CASK_UUID, UUID_SIZE);
    out->created_us = (int64_t)get_u64(data + CASK_CREATED);
    out->highest_segment = get_u64(data + CASK_HIGHEST);
    return 0;
}

int cask_load(const struct file_ops *ops, const char *archive, struct cask *out)
{
    char path[PATH_MAX], *data = NULL;
    size_t size = 0;
    int err = cask_path(archive, path);
    if (err == 0)
        err = file_load(ops, path, 64 * CASK_SIZE, &data, &size);
    if (err != 0)
        return err == -ENOENT || err == -ENOTDIR || err == ERR_TOO_LARGE ? ERR_FORMAT : err;
    uint8_t bytes[CASK_SIZE] = {0};
    memcpy(bytes, data, size < CASK_SIZE ? size : CASK_SIZE);
    free(data);
    /* A flipped bit in the magic of a file of the right size is damage, not another format.
     */
    err = decode(bytes, size, out);
    return err == ERR_FORMAT && size == CASK_SIZE ? ERR_DAMAGED : err;
}

int cask_save(const struct file_ops *ops, const char *archive, const struct cask *cask)
{
    char path[PATH_MAX];
    uint8_t data[CASK_SIZE] = {0};
    int err = cask_path(archive, path);
    if (err != 0)
        return err;
    memcpy(data, CASK_MAGIC, 8);
    put_u32(data + CASK_VERSION, FORMAT_VERSION);
    put_u32(data + CASK_BYTES, CASK_SIZE);
    memcpy(data + CASK_UUID, cask->uuid, UUID_SIZE);
    put_u64(data + CASK_CREATED, (uint64_t)cask->created_us);
    put_u64(data + CASK_HIGHEST, cask->highest_segment);
    put_u64(data + CASK_CHECKSUM, checksum64(data, CASK_CHECKSUM, 0));
    return file_replace(ops, path, data, sizeof(data), 0600);
}
