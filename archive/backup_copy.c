#include "archive/backup_internal.h"
#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

/* A segment on its way. */
struct copying {
    struct backup *b;
    struct backup_segment *segment;
    int from;
    int to;
    uint64_t size;
    uint64_t checksum;        /* of what was read, step by step */
    char source[PATH_MAX];    /* in the archive, */
    char temporary[PATH_MAX]; /* until it has been read back, */
    char final[PATH_MAX];     /* and then */
};

static int find_paths(struct copying *c)
{
    int err = segment_path(c->b->archive->path, c->segment->id, c->source);
    if (err == 0)
        err = segment_path(c->b->to, c->segment->id, c->final);
    if (err != 0)
        return err;
    int n = snprintf(c->temporary, sizeof(c->temporary), "%s.partial", c->final);
    return n < 0 || (size_t)n >= sizeof(c->temporary) ? -ENAMETOOLONG : 0;
}

/* Sealed: the whole file as it is. Open: what the index says is durable, for what is behind
 * it may yet change. */
static int open_source(struct copying *c)
{
    const struct file_ops *ops = c->b->archive->ops;
    const struct backup_segment *s = c->segment;
    struct stat st;
    int err = ops->open(ops->ctx, c->source, O_RDONLY, 0, &c->from);
    if (err == 0)
        err = ops->fstat(ops->ctx, c->from, &st);
    if (err != 0)
        return err;
    c->size = (uint64_t)st.st_size;
    if (!s->sealed && s->size < c->size)
        c->size = s->size;
    return 0;
}

static int progress(struct backup *b, uint64_t bytes)
{
    b->done_bytes += bytes;
    if (b->options->progress != NULL &&
        b->options->progress(b->options->arg, b->done_bytes, b->total_bytes) != 0)
        return ERR_STOPPED;
    return 0;
}

/* *out_unreadable: it is the archive that failed, not the backup. */
static int copy_bytes(struct copying *c, bool *out_unreadable)
{
    struct backup *b = c->b;
    const struct file_ops *ops = b->archive->ops;
    uint64_t at = 0;
    int err = 0;
    while (err == 0 && at < c->size) {
        size_t size = c->size - at < BACKUP_STEP ? c->size - at : BACKUP_STEP;
        err = file_read_exact(ops, c->from, b->window, size, at);
        *out_unreadable = err != 0;
        if (err == 0) {
            c->checksum = checksum64(b->window, size, c->checksum);
            err = file_write_all(ops, c->to, b->window, size, at);
        }
        if (err == 0)
            err = progress(b, size);
        at += size;
    }
    return err != 0 ? err : ops->fsync(ops->ctx, c->to);
}

/* From the disk, where the page cache lets go of it; in any case what a reader gets. */
static int read_back(struct copying *c)
{
    struct backup *b = c->b;
    const struct file_ops *ops = b->archive->ops;
    uint64_t checksum = 0;
    int err = 0;
    (void)ops->evict(ops->ctx, c->to, 0, 0);
    for (uint64_t at = 0; err == 0 && at < c->size; at += BACKUP_STEP) {
        size_t size = c->size - at < BACKUP_STEP ? c->size - at : BACKUP_STEP;
        err = file_read_exact(ops, c->to, b->window, size, at);
        checksum = checksum64(b->window, size, checksum);
    }
    if (err == 0 && checksum != c->checksum)
        err = ERR_DAMAGED;
    /* The one who asks takes ERR_DAMAGED for the archive's. */
    return err == ERR_DAMAGED ? -EIO : err;
}

int backup_compare(struct backup *b, const char *path, const char *other, uint64_t size,
                   bool *out_equal)
{
    const struct file_ops *ops = b->archive->ops;
    uint8_t *window = b->window + BACKUP_STEP;
    int fd = -1, other_fd = -1, err = ops->open(ops->ctx, path, O_RDONLY, 0, &fd);
    if (err == 0)
        err = ops->open(ops->ctx, other, O_RDONLY, 0, &other_fd);
    *out_equal = err == 0;
    for (uint64_t at = 0; err == 0 && *out_equal && at < size; at += BACKUP_STEP) {
        size_t step = size - at < BACKUP_STEP ? size - at : BACKUP_STEP;
        err = file_read_exact(ops, fd, b->window, step, at);
        if (err == 0)
            err = file_read_exact(ops, other_fd, window, step, at);
        *out_equal = err == 0 && memcmp(b->window, window, step) == 0;
    }
    if (fd >= 0)
        ops->close(ops->ctx, fd);
    if (other_fd >= 0)
        ops->close(ops->ctx, other_fd);
    return err == ERR_DAMAGED ? 0 : err; /* one of them ends before */
}

static int check_records(struct backup *b, struct segment_file *f, uint64_t limit,
                         struct seal *seal, bool *out_sound)
{
    struct record_view *v = &b->view;
    uint64_t offset = SEGMENT_HEADER_SIZE;
    while (offset < limit) {
        int err = segment_read(f, offset, limit, b->archive->codec, v);
        if (err == 0)
            err = segment_read_body(f, v, NULL);
        if (err == 0)
            err = seal_add(
                seal, offset, &v->header,
                span_of(v->head.data, record_header_size(&v->header) + v->header.meta_size),
                span_of(v->meta.data, v->meta.size));
        if (err == ERR_DAMAGED || err == ERR_VERSION) {
            *out_sound = false;
            return 0;
        }
        if (err != 0)
            return err;
        offset += record_size(&v->header);
    }
    return 0;
}

/* The records have been counted into `seal`: is that what was sealed? */
static int check_seal(struct backup *b, struct segment_file *f,
                      const struct segment_trailer *trailer, struct seal *seal,
                      bool *out_sound)
{
    uint8_t hash[SHA256_SIZE];
    struct record_view *v = &b->view;
    uint64_t end = f->size - SEGMENT_TRAILER_SIZE;
    int err = segment_read(f, trailer->seal_offset, end, b->archive->codec, v);
    if (err == ERR_DAMAGED || err == ERR_VERSION) {
        *out_sound = false;
        return 0;
    }
    if (err != 0)
        return err;
    sha256_add(seal->content, v->head.data,
               record_header_size(&v->header) + v->header.meta_size);
    sha256_peek(seal->content, hash);
    *out_sound = v->header.type == RECORD_SEAL &&
                 trailer->seal_offset + record_size(&v->header) == end &&
                 trailer->records == seal->records + 1 &&
                 memcmp(hash, trailer->content_hash, SHA256_SIZE) == 0;
    return 0;
}

static int check_file(struct backup *b, struct segment_file *f, const uint8_t *hash,
                      struct seal *seal, bool *out_sound)
{
    struct segment_trailer trailer;
    int err = segment_read_trailer(f, &trailer);
    if (err != 0 && err != ERR_NOT_FOUND)
        return err;
    bool sealed = err == 0;
    *out_sound = !f->header_damaged &&
                 (hash == NULL || (sealed && memcmp(hash, trailer.hash, SHA256_SIZE) == 0));
    err = *out_sound
              ? check_records(b, f, sealed ? trailer.seal_offset : f->size, seal, out_sound)
              : 0;
    return err == 0 && *out_sound && sealed ? check_seal(b, f, &trailer, seal, out_sound)
                                            : err;
}

int backup_check(struct backup *b, const char *path, uint64_t id, const uint8_t *hash,
                 struct seal *seal, bool *out_sound)
{
    struct segment_file f;
    *out_sound = false;
    *seal = (struct seal){0};
    int err = segment_open_at(b->archive->ops, path, id, b->cask.uuid, &f);
    if (err == ERR_DAMAGED || err == ERR_VERSION || err == ERR_NOT_FOUND)
        return 0;
    if (err != 0)
        return err;
    err = seal_begin(seal, &f.header);
    if (err == 0)
        err = check_file(b, &f, hash, seal, out_sound);
    segment_file_close(&f);
    return err;
}

/* The open segment ends here in the backup, so it is sealed: then the backup is sound by
 * itself, and opening it to write changes nothing in it. */
static int seal_copy(struct copying *c, struct seal *seal)
{
    struct backup *b = c->b;
    struct backup_segment *s = c->segment;
    uint8_t none[SHA256_SIZE] = {0};
    const uint8_t *previous = none;
    struct segment_file f;
    struct segment_trailer trailer;
    uint64_t size = 0;
    if (s > b->segments && s[-1].id == s->id - 1)
        previous = s[-1].hash;
    int err =
        segment_open_at(b->archive->ops, c->temporary, s->id, b->archive->cask.uuid, &f);
    if (err != 0)
        return err;
    err = seal_write(seal, b->archive->ops, c->to, &f.header, c->size, previous,
                     b->archive->codec, &trailer, &size);
    if (err == 0)
        memcpy(s->hash, trailer.hash, SHA256_SIZE);
    segment_file_close(&f);
    return err;
}

/* The copy has been written and synced: what is it worth? */
static int judge(struct copying *c)
{
    struct backup *b = c->b;
    struct backup_segment *s = c->segment;
    struct seal seal = {0};
    int err = read_back(c);
    if (err == 0)
        err = backup_check(b, c->temporary, s->id, s->sealed ? s->hash : NULL, &seal,
                           &s->checked);
    if (err == 0 && c->size != s->size)
        s->checked = false;
    if (err == 0 && !s->checked)
        backup_damage(b, s->id, "damaged in the archive, and copied as it is");
    if (err == 0 && s->checked && !s->sealed)
        err = seal_copy(c, &seal);
    seal_free(&seal);
    return err;
}

/* Where two were open, the younger one's seal in the backup names the older one's, which
 * the copy is about to replace: without its seal it is as good, and will be copied next. */
static int unseal_follower(struct copying *c)
{
    struct backup *b = c->b;
    const struct file_ops *ops = b->archive->ops;
    const struct backup_segment *next = c->segment + 1;
    char path[PATH_MAX];
    int fd = -1;
    if (next == b->segments + b->count || next->id != c->segment->id + 1 || !next->wanted ||
        next->seal_there == 0)
        return 0;
    int err = segment_path(b->to, next->id, path);
    if (err == 0)
        err = ops->open(ops->ctx, path, O_RDWR, 0, &fd);
    if (err == 0)
        err = ops->ftruncate(ops->ctx, fd, next->seal_there);
    if (err == 0)
        err = ops->fsync(ops->ctx, fd);
    if (fd >= 0)
        ops->close(ops->ctx, fd);
    return err;
}

static int write_copy(struct copying *c)
{
    const struct file_ops *ops = c->b->archive->ops;
    bool unreadable = false;
    int err = ops->open(ops->ctx, c->temporary, O_RDWR | O_CREAT | O_TRUNC, 0600, &c->to);
    if (err == 0)
        err = copy_bytes(c, &unreadable);
    if (err == 0)
        err = judge(c);
    if (c->to >= 0)
        ops->close(ops->ctx, c->to);
    if (err == 0)
        err = unseal_follower(c);
    if (err == 0)
        err = ops->rename(ops->ctx, c->temporary, c->final);
    if (err == 0) {
        c->b->summary->segments_copied++;
        c->b->summary->bytes_copied += c->size;
        return backup_folder_sync(c->b);
    }
    ops->unlink(ops->ctx, c->temporary);
    if (!unreadable)
        return err;
    backup_damage(c->b, c->segment->id, error_text(err));
    return 0;
}

int backup_copy(struct backup *b, struct backup_segment *s)
{
    struct copying c = {.b = b, .segment = s, .from = -1, .to = -1};
    int err = find_paths(&c);
    if (err != 0)
        return err;
    err = open_source(&c);
    if (err == 0)
        err = write_copy(&c);
    else {
        backup_damage(b, s->id,
                      err == -ENOENT ? "missing in the archive" : error_text(err));
        err = 0;
    }
    if (c.from >= 0)
        b->archive->ops->close(b->archive->ops->ctx, c.from);
    return err;
}
