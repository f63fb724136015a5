#include "archive/segment.h"

#include "archive/error.h"
#include "archive/meta.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENTS_FOLDER "segments"
/* Read with a header in one go: most metas of quiet sessions fit behind it. */
#define HEAD_READ_SIZE 2048
#define RESYNC_STEP (256u << 10)

/* Offsets within the segment header. */
enum {
    SEG_VERSION = 8,
    SEG_SIZE = 12,
    SEG_INCOMPATIBLE = 16,
    SEG_COMPATIBLE = 24,
    SEG_UUID = 32,
    SEG_ID = 48,
    SEG_PREDECESSOR = 56,
    SEG_CREATED = 64,
    SEG_SYNC = 72,
    SEG_SALT = 80,
    SEG_RESERVED = 112,
    SEG_CHECKSUM = SEGMENT_HEADER_SIZE - 8,
};

/* Offsets within the trailer. */
enum {
    TRAIL_ID = 8,
    TRAIL_SEAL_OFFSET = 16,
    TRAIL_RECORDS = 24,
    TRAIL_FIRST_LSN = 32,
    TRAIL_LAST_LSN = 40,
    TRAIL_TIME = 48,
    TRAIL_RESERVED = 56,
    TRAIL_PREDECESSOR = 64,
    TRAIL_CONTENT = 96,
    TRAIL_HASH = 128,
};

_Static_assert(TRAIL_HASH + SHA256_SIZE == SEGMENT_TRAILER_SIZE, "the trailer's table");

int segment_path(const char *archive, uint64_t id, char *out)
{
    int n =
        snprintf(out, PATH_MAX, "%s/" SEGMENTS_FOLDER "/%08" PRIu64 ".seg", archive, id);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The id in a name of the form NNNNNNNN.seg, or 0. */
static uint64_t id_of(const char *name)
{
    char *end = NULL;
    if (name[0] < '0' || name[0] > '9')
        return 0;
    errno = 0;
    unsigned long long id = strtoull(name, &end, 10);
    return errno == 0 && strcmp(end, ".seg") == 0 ? id : 0;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int segment_list(const char *archive, uint64_t **out_ids, size_t *out_count)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/" SEGMENTS_FOLDER, archive);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -errno;
    struct buffer ids = {0};
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        uint64_t id = id_of(entry->d_name);
        if (id != 0)
            buffer_put(&ids, &id, sizeof(id));
    }
    closedir(folder);
    if (ids.failed || buffer_reserve(&ids, 1) == NULL) {
        buffer_free(&ids);
        return -ENOMEM;
    }
    void *array = ids.data; /* malloc()ed: aligned for any type */
    *out_ids = array;
    *out_count = ids.size / sizeof(uint64_t);
    qsort(*out_ids, *out_count, sizeof(uint64_t), compare_ids);
    return 0;
}

uint64_t segment_bytes(const char *archive, const uint64_t *ids, size_t count)
{
    uint64_t bytes = 0;
    char path[PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < count; i++)
        if (segment_path(archive, ids[i], path) == 0 && stat(path, &st) == 0)
            bytes += (uint64_t)st.st_size;
    return bytes;
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_SIZE])
{
    memset(out, 0, SEGMENT_HEADER_SIZE);
    memcpy(out, SEGMENT_MAGIC, 8);
    put_u32(out + SEG_VERSION, FORMAT_VERSION);
    put_u32(out + SEG_SIZE, SEGMENT_HEADER_SIZE);
    put_u64(out + SEG_COMPATIBLE, h->compatible);
    memcpy(out + SEG_UUID, h->uuid, UUID_SIZE);
    put_u64(out + SEG_ID, h->id);
    put_u64(out + SEG_PREDECESSOR, h->predecessor);
    put_u64(out + SEG_CREATED, (uint64_t)h->created_us);
    put_u64(out + SEG_SYNC, h->sync_word);
    memcpy(out + SEG_SALT, h->salt, SALT_SIZE);
    put_u64(out + SEG_CHECKSUM, checksum64(out, SEG_CHECKSUM, 0));
}

int segment_header_decode(const uint8_t data[SEGMENT_HEADER_SIZE],
                          struct segment_header *out)
{
    if (memcmp(data, SEGMENT_MAGIC, 8) != 0 ||
        get_u64(data + SEG_CHECKSUM) != checksum64(data, SEG_CHECKSUM, 0))
        return ERR_DAMAGED;
    if (get_u32(data + SEG_VERSION) != FORMAT_VERSION ||
        get_u32(data + SEG_SIZE) != SEGMENT_HEADER_SIZE ||
        get_u64(data + SEG_INCOMPATIBLE) != 0)
        return ERR_VERSION;
    out->compatible = get_u64(data + SEG_COMPATIBLE);
    memcpy(out->uuid, data + SEG_UUID, UUID_SIZE);
    out->id = get_u64(data + SEG_ID);
    out->predecessor = get_u64(data + SEG_PREDECESSOR);
    out->created_us = (int64_t)get_u64(data + SEG_CREATED);
    out->sync_word = get_u64(data + SEG_SYNC);
    memcpy(out->salt, data + SEG_SALT, SALT_SIZE);
    return 0;
}

void segment_trailer_encode(struct segment_trailer *t, uint8_t out[SEGMENT_TRAILER_SIZE])
{
    memset(out, 0, SEGMENT_TRAILER_SIZE);
    memcpy(out, SEGMENT_TRAILER_MAGIC, 8);
    put_u64(out + TRAIL_ID, t->id);
    put_u64(out + TRAIL_SEAL_OFFSET, t->seal_offset);
    put_u64(out + TRAIL_RECORDS, t->records);
    put_u64(out + TRAIL_FIRST_LSN, t->first_lsn);
    put_u64(out + TRAIL_LAST_LSN, t->last_lsn);
    put_u64(out + TRAIL_TIME, (uint64_t)t->sealed_us);
    memcpy(out + TRAIL_PREDECESSOR, t->predecessor_hash, SHA256_SIZE);
    memcpy(out + TRAIL_CONTENT, t->content_hash, SHA256_SIZE);
    sha256_of(out, TRAIL_HASH, t->hash);
    memcpy(out + TRAIL_HASH, t->hash, SHA256_SIZE);
}

int segment_trailer_decode(const uint8_t data[SEGMENT_TRAILER_SIZE],
                           struct segment_trailer *out)
{
    uint8_t hash[SHA256_SIZE];
    sha256_of(data, TRAIL_HASH, hash);
    if (memcmp(data, SEGMENT_TRAILER_MAGIC, 8) != 0 ||
        memcmp(hash, data + TRAIL_HASH, SHA256_SIZE) != 0)
        return ERR_DAMAGED;
    out->id = get_u64(data + TRAIL_ID);
    out->seal_offset = get_u64(data + TRAIL_SEAL_OFFSET);
    out->records = get_u64(data + TRAIL_RECORDS);
    out->first_lsn = get_u64(data + TRAIL_FIRST_LSN);
    out->last_lsn = get_u64(data + TRAIL_LAST_LSN);
    out->sealed_us = (int64_t)get_u64(data + TRAIL_TIME);
    memcpy(out->predecessor_hash, data + TRAIL_PREDECESSOR, SHA256_SIZE);
    memcpy(out->content_hash, data + TRAIL_CONTENT, SHA256_SIZE);
    memcpy(out->hash, hash, SHA256_SIZE);
    return 0;
}

static int read_at(struct segment_file *f, void *data, size_t size, uint64_t offset)
{
    f->bytes_read += size;
    if (f->disk != NULL)
        return disk_file_read(f->disk, data, size, offset);
    return file_read_exact(f->ops, f->fd, data, size, offset);
}

/* Go on without the header, if the sync word of the first record proves itself. */
static int salvage_header(struct segment_file *f, uint64_t id, const uint8_t *uuid)
{
    uint8_t data[RECORD_HEADER_CIPHER_SIZE];
    struct record_header h;
    if (f->size < SEGMENT_HEADER_SIZE + sizeof(data) ||
        read_at(f, data, sizeof(data), SEGMENT_HEADER_SIZE) != 0)
        return ERR_DAMAGED;
    f->header = (struct segment_header){
        .id = id, .predecessor = id - 1, .sync_word = get_u64(data)};
    memcpy(f->header.uuid, uuid, UUID_SIZE);
    f->header_damaged = true;
    return record_decode_header(&h, f->header.sync_word, SEGMENT_HEADER_SIZE, data,
                                sizeof(data)) == 0
               ? 0
               : ERR_DAMAGED;
}

static int read_header(struct segment_file *f, uint64_t id, const uint8_t *uuid)
{
    uint8_t head[SEGMENT_HEADER_SIZE];
    struct stat st;
    int err = f->ops->fstat(f->ops->ctx, f->fd, &st);
    if (err != 0)
        return err;
    f->size = (uint64_t)st.st_size;
    err = read_at(f, head, sizeof(head), 0);
    if (err == 0)
        err = segment_header_decode(head, &f->header);
    if (err == ERR_DAMAGED)
        return salvage_header(f, id, uuid);
    if (err == 0 && (f->header.id != id || memcmp(f->header.uuid, uuid, UUID_SIZE) != 0))
        err = ERR_DAMAGED;
    return err;
}

static int open_file(const struct file_ops *ops, const char *path, bool from_disk,
                     struct segment_file *out)
{
    int err;
    *out = (struct segment_file){.ops = ops, .fd = -1};
    if (!from_disk)
        return ops->open(ops->ctx, path, O_RDONLY, 0, &out->fd);
    err = disk_file_open(ops, path, &out->disk);
    if (err == 0)
        out->fd = disk_file_fd(out->disk);
    return err;
}

static int open_segment(const struct file_ops *ops, const char *path, uint64_t id,
                        const uint8_t *uuid, bool from_disk, struct segment_file *out)
{
    int err = open_file(ops, path, from_disk, out);
    if (err != 0)
        return err == -ENOENT ? ERR_NOT_FOUND : err;
    err = read_header(out, id, uuid);
    if (err != 0)
        segment_file_close(out);
    return err;
}

int segment_open_at(const struct file_ops *ops, const char *path, uint64_t id,
                    const uint8_t *uuid, struct segment_file *out)
{
    return open_segment(ops, path, id, uuid, false, out);
}

int segment_open(const struct file_ops *ops, const char *archive, uint64_t id,
                 const uint8_t *uuid, struct segment_file *out)
{
    char path[PATH_MAX];
    int err = segment_path(archive, id, path);
    return err != 0 ? err : open_segment(ops, path, id, uuid, false, out);
}

int segment_open_from_disk(const struct file_ops *ops, const char *archive, uint64_t id,
                           const uint8_t *uuid, struct segment_file *out)
{
    char path[PATH_MAX];
    int err = segment_path(archive, id, path);
    return err != 0 ? err : open_segment(ops, path, id, uuid, true, out);
}

void segment_file_close(struct segment_file *f)
{
    if (f->disk != NULL)
        disk_file_close(f->disk);
    else if (f->fd >= 0)
        f->ops->close(f->ops->ctx, f->fd);
    f->disk = NULL;
    f->fd = -1;
}

int segment_read_trailer(struct segment_file *f, struct segment_trailer *out)
{
    uint8_t data[SEGMENT_TRAILER_SIZE];
    if (f->size < SEGMENT_HEADER_SIZE + RECORD_HEADER_SIZE + SEGMENT_TRAILER_SIZE)
        return ERR_NOT_FOUND;
    int err = read_at(f, data, sizeof(data), f->size - sizeof(data));
    if (err == 0)
        err = segment_trailer_decode(data, out);
    if (err == 0 && (out->id != f->header.id || out->seal_offset >= f->size))
        err = ERR_DAMAGED;
    return err == ERR_DAMAGED ? ERR_NOT_FOUND : err;
}

void record_view_free(struct record_view *v)
{
    buffer_free(&v->head);
    buffer_free(&v->meta);
    buffer_free(&v->stored_body);
    buffer_free(&v->body);
}

bool record_view_slice(const struct record_view *v, uint64_t place, uint64_t size,
                       struct span *out)
{
    if (place > v->body.size || size > v->body.size - place)
        return false;
    *out = v->body.size == 0 ? (struct span){0} : span_of(v->body.data + place, size);
    return true;
}

/* Make the first `want` bytes of the record at v->offset present in v->head. */
static int fill_head(struct segment_file *f, struct record_view *v, size_t want)
{
    if (v->head.size >= want)
        return 0;
    size_t have = v->head.size;
    uint8_t *to = buffer_reserve(&v->head, want - have);
    if (to == NULL)
        return -ENOMEM;
    int err = read_at(f, to, want - have, v->offset + have);
    if (err == 0)
        v->head.size = want;
    return err;
}

int segment_read(struct segment_file *f, uint64_t offset, uint64_t limit,
                 struct codec *codec, struct record_view *out)
{
    buffer_clear(&out->head);
    out->offset = offset;
    uint64_t left = offset < limit ? limit - offset : 0;
    if (left < RECORD_HEADER_SIZE)
        return ERR_DAMAGED;
    int err = fill_head(f, out, left < HEAD_READ_SIZE ? left : HEAD_READ_SIZE);
    if (err == 0)
        err = record_decode_header(&out->header, f->header.sync_word, offset,
                                   out->head.data, out->head.size);
    if (err != 0)
        return err;
    if (record_size(&out->header) > left)
        return ERR_DAMAGED;
    uint32_t header_size = record_header_size(&out->header);
    err = fill_head(f, out, (size_t)header_size + out->header.meta_size);
    if (err != 0)
        return err;
    return record_decode_meta(&out->header, out->head.data + header_size, codec,
                              &out->meta);
}

int record_view_unpack(const struct record_view *pack, struct span *rest,
                       struct record_view *out)
{
    struct packed_record r;
    int err = packed_record_next(rest, &r);
    if (err != 0)
        return err;
    out->header = (struct record_header){
        .type = r.type, .account = r.account, .lsn = r.lsn, .time_us = r.time_us};
    out->offset = pack->offset;
    buffer_clear(&out->head);
    buffer_clear(&out->meta);
    buffer_clear(&out->body);
    buffer_put(&out->meta, r.meta.data, r.meta.size);
    return out->meta.failed ? -ENOMEM : 0;
}

static int read_stored_body(struct segment_file *f, struct record_view *v)
{
    const struct record_header *h = &v->header;
    uint64_t at = v->offset + record_header_size(h) + h->meta_size;
    buffer_clear(&v->stored_body);
    uint8_t *to = buffer_reserve(&v->stored_body, h->body_size + 1);
    if (to == NULL)
        return -ENOMEM;
    int err = read_at(f, to, h->body_size, at);
    if (err == 0)
        v->stored_body.size = h->body_size;
    return err;
}

int segment_read_body_start(struct segment_file *f, struct record_view *v, uint64_t upto,
                            struct codec *codec)
{
    int err = read_stored_body(f, v);
    if (err != 0)
        return err;
    return record_decode_body(&v->header, v->stored_body.data, upto, codec, &v->body);
}

int segment_read_body(struct segment_file *f, struct record_view *v, struct codec *codec)
{
    const struct record_header *h = &v->header;
    if (codec != NULL)
        return segment_read_body_start(f, v, h->body_raw_size, codec);
    int err = read_stored_body(f, v);
    if (err != 0)
        return err;
    return checksum64(v->stored_body.data, h->body_size, 0) == h->body_checksum
               ? 0
               : ERR_DAMAGED;
}

/* A valid header at this place? 0; ERR_DAMAGED, ERR_VERSION: no; -errno. */
static int header_at(struct segment_file *f, uint64_t offset, uint64_t limit)
{
    uint8_t data[RECORD_HEADER_CIPHER_SIZE];
    struct record_header h;
    size_t size = limit - offset < sizeof(data) ? limit - offset : sizeof(data);
    int err = read_at(f, data, size, offset);
    return err != 0 ? err
                    : record_decode_header(&h, f->header.sync_word, offset, data, size);
}

static bool is_damage(int err)
{
    return err == ERR_DAMAGED || err == ERR_VERSION;
}

/* As segment_resync(), with a window of RESYNC_STEP bytes. */
static int resync(struct segment_file *f, uint64_t offset, uint64_t limit, uint8_t *window,
                  uint64_t *out_offset)
{
    uint8_t word[8];
    put_u64(word, f->header.sync_word);
    while (limit > offset && limit - offset >= RECORD_HEADER_SIZE) {
        size_t size = limit - offset < RESYNC_STEP ? limit - offset : RESYNC_STEP;
        int err = read_at(f, window, size, offset);
        if (err != 0)
            return is_damage(err) ? ERR_NOT_FOUND : err;
        const uint8_t *hit = memmem(window, size, word, sizeof(word));
        if (hit == NULL) {
            offset += size - (sizeof(word) - 1);
            continue;
        }
        offset += (uint64_t)(hit - window);
        if (limit - offset < RECORD_HEADER_SIZE)
            break;
        err = header_at(f, offset, limit);
        if (err == 0)
            *out_offset = offset;
        if (!is_damage(err))
            return err;
        offset++;
    }
    return ERR_NOT_FOUND;
}

int segment_resync(struct segment_file *f, uint64_t offset, uint64_t limit,
                   uint64_t *out_offset)
{
    uint8_t *window = malloc(RESYNC_STEP);
    if (window == NULL)
        return -ENOMEM;
    int err = resync(f, offset, limit, window, out_offset);
    free(window);
    return err;
}
