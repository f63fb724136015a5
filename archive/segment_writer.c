#include "archive/segment_writer.h"

#include "archive/error.h"
#include "archive/meta.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Small records gather here; larger bodies go out by themselves. */
#define GATHER_SIZE (256u << 10)
/* A table of contents must fit into SEAL's meta, whatever it compresses to. */
#define TOC_SIZE_MAX (META_STORED_MAX - (1u << 20))

struct segment_writer {
    const struct file_ops *ops;
    int fd;
    bool failed;
    struct segment_header header;
    uint64_t written; /* handed to the file system */
    uint64_t durable;
    struct buffer gathered; /* behind `written` */
    struct seal seal;
};

int seal_begin(struct seal *s, const struct segment_header *header)
{
    uint8_t head[SEGMENT_HEADER_SIZE];
    *s = (struct seal){.content = sha256_create()};
    if (s->content == NULL)
        return -ENOMEM;
    segment_header_encode(header, head);
    sha256_add(s->content, head, sizeof(head));
    return 0;
}

void seal_free(struct seal *s)
{
    sha256_destroy(s->content);
    buffer_free(&s->toc);
    s->content = NULL;
}

/* Entries for the messages of a BLOCK or END: one for each run of consecutive numbers. */
static int add_messages(struct seal *s, struct toc_entry *entry, struct span raw_meta)
{
    struct block_meta_reader reader;
    struct message_meta m;
    int err = block_meta_open(&reader, raw_meta);
    while (err == 0 && (err = block_meta_next(&reader, &m)) == 0) {
        if (entry->count_n > 0 && m.n != entry->first_n + entry->count_n) {
            toc_entry_encode(&s->toc, entry);
            entry->count_n = 0;
        }
        if (entry->count_n++ == 0)
            entry->first_n = m.n;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int seal_add(struct seal *s, uint64_t offset, const struct record_header *h,
             struct span head, struct span raw_meta)
{
    struct toc_entry entry = {
        .offset = offset, .lsn = h->lsn, .account = h->account, .type = h->type};
    struct seen_meta seen;
    int err = 0;
    if (h->type == RECORD_BLOCK || h->type == RECORD_END)
        err = add_messages(s, &entry, raw_meta);
    else if (h->type == RECORD_SEEN && (err = seen_meta_decode(raw_meta, &seen)) == 0) {
        entry.first_n = seen.n;
        entry.count_n = 1;
    }
    if (err != 0)
        return err;
    toc_entry_encode(&s->toc, &entry);
    sha256_add(s->content, head.data, head.size);
    if (s->records == 0 || h->lsn < s->first_lsn)
        s->first_lsn = h->lsn;
    if (h->lsn > s->last_lsn)
        s->last_lsn = h->lsn;
    s->last_time_us = h->time_us;
    s->records++;
    return s->toc.failed ? -ENOMEM : 0;
}

int seal_write(struct seal *s, const struct file_ops *ops, int fd,
               const struct segment_header *header, uint64_t offset,
               const uint8_t predecessor_hash[SHA256_SIZE], struct codec *codec,
               struct segment_trailer *out, uint64_t *out_file_size)
{
    struct buffer bytes = {0};
    struct record r = {
        .header = {.type = RECORD_SEAL, .lsn = s->last_lsn, .time_us = s->last_time_us},
        .meta = s->toc};
    int err = record_prepare(&r, codec);
    if (err != 0)
        goto out;
    uint8_t *head = buffer_reserve(&bytes, RECORD_HEADER_CIPHER_SIZE);
    if (head != NULL)
        bytes.size = record_encode_header(&r.header, header->sync_word, offset, head);
    struct span meta = record_stored_meta(&r);
    buffer_put(&bytes, meta.data, meta.size);
    if (bytes.failed) {
        err = -ENOMEM;
        goto out;
    }
    sha256_add(s->content, bytes.data, bytes.size);
    *out = (struct segment_trailer){
        .id = header->id,
        .seal_offset = offset,
        .records = s->records + 1,
        .first_lsn = s->first_lsn,
        .last_lsn = s->last_lsn,
        .sealed_us = s->last_time_us,
    };
    memcpy(out->predecessor_hash, predecessor_hash, SHA256_SIZE);
    sha256_peek(s->content, out->content_hash);
    uint8_t trailer[SEGMENT_TRAILER_SIZE];
    segment_trailer_encode(out, trailer);
    buffer_put(&bytes, trailer, sizeof(trailer));
    err = bytes.failed ? -ENOMEM : ops->ftruncate(ops->ctx, fd, offset);
    if (err == 0)
        err = file_write_all(ops, fd, bytes.data, bytes.size, offset);
    if (err == 0)
        err = ops->fdatasync(ops->ctx, fd);
    *out_file_size = offset + bytes.size;
out:
    buffer_free(&r.stored_meta);
    buffer_free(&bytes);
    return err;
}

/* Folder of a path of segment_path(): there is always a slash. */
static int sync_folder_of(const struct file_ops *ops, const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    *strrchr(folder, '/') = '\0';
    return file_sync_folder(ops, folder);
}

int segment_create(const struct file_ops *ops, const char *archive,
                   struct segment_header *header, struct segment_writer **out)
{
    char path[PATH_MAX];
    uint8_t bytes[SEGMENT_HEADER_SIZE];
    int err = segment_path(archive, header->id, path);
    if (err == 0)
        err = random_bytes(&header->sync_word, sizeof(header->sync_word));
    if (err == 0)
        err = random_bytes(header->salt, sizeof(header->salt));
    if (err != 0)
        return err;
    struct segment_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    w->ops = ops;
    w->header = *header;
    err = ops->open(ops->ctx, path, O_RDWR | O_CREAT | O_EXCL, 0600, &w->fd);
    if (err != 0)
        goto err1;
    segment_header_encode(header, bytes);
    err = file_write_all(ops, w->fd, bytes, sizeof(bytes), 0);
    if (err == 0)
        err = ops->fdatasync(ops->ctx, w->fd);
    if (err == 0)
        err = sync_folder_of(ops, path);
    if (err == 0)
        err = seal_begin(&w->seal, header);
    if (err != 0)
        goto err2;
    w->written = w->durable = sizeof(bytes);
    *out = w;
    return 0;
err2:
    ops->close(ops->ctx, w->fd);
    ops->unlink(ops->ctx, path);
err1:
    free(w);
    return err;
}

const struct segment_header *segment_writer_header(const struct segment_writer *w)
{
    return &w->header;
}

uint64_t segment_writer_offset(const struct segment_writer *w)
{
    return w->written + w->gathered.size;
}

uint64_t segment_writer_durable(const struct segment_writer *w)
{
    return w->durable;
}

bool segment_writer_has_room(const struct segment_writer *w, uint64_t size)
{
    return segment_writer_offset(w) + size <= SEGMENT_SIZE_MAX &&
           w->seal.toc.size <= TOC_SIZE_MAX;
}

static int write_out(struct segment_writer *w, const void *data, size_t size)
{
    int err = file_write_all(w->ops, w->fd, data, size, w->written);
    if (err != 0)
        w->failed = true;
    else
        w->written += size;
    return err;
}

static int write_gathered(struct segment_writer *w)
{
    if (w->gathered.size == 0)
        return 0;
    int err = write_out(w, w->gathered.data, w->gathered.size);
    if (err == 0)
        buffer_clear(&w->gathered);
    return err;
}

int segment_append(struct segment_writer *w, const struct record *r, uint64_t *out_offset)
{
    assert(!w->failed);
    if (!segment_writer_has_room(w, record_size(&r->header)))
        return ERR_SEGMENT_FULL;
    uint64_t offset = segment_writer_offset(w);
    uint8_t head[RECORD_HEADER_CIPHER_SIZE];
    uint32_t head_size =
        record_encode_header(&r->header, w->header.sync_word, offset, head);
    struct span meta = record_stored_meta(r);
    size_t start = w->gathered.size;
    buffer_put(&w->gathered, head, head_size);
    buffer_put(&w->gathered, meta.data, meta.size);
    int err = w->gathered.failed
                  ? -ENOMEM
                  : seal_add(&w->seal, offset, &r->header,
                             span_of(w->gathered.data + start, head_size + meta.size),
                             span_of(r->meta.data, r->meta.size));
    if (err == 0 && r->header.body_size + w->gathered.size > GATHER_SIZE)
        err = write_gathered(w);
    if (err == 0) {
        if (r->header.body_size > GATHER_SIZE)
            err = write_out(w, r->body, r->header.body_size);
        else
            buffer_put(&w->gathered, r->body, r->header.body_size);
        if (w->gathered.failed)
            err = -ENOMEM;
    }
    if (err != 0)
        w->failed = true;
    *out_offset = offset;
    return err;
}

int segment_sync(struct segment_writer *w)
{
    assert(!w->failed);
    int err = write_gathered(w);
    if (err == 0)
        err = w->ops->fdatasync(w->ops->ctx, w->fd);
    if (err != 0)
        w->failed = true;
    else
        w->durable = w->written;
    return err;
}

int segment_seal(struct segment_writer *w, const uint8_t predecessor_hash[SHA256_SIZE],
                 struct codec *codec, struct segment_trailer *out, uint64_t *out_file_size)
{
    assert(!w->failed && w->gathered.size == 0 && w->durable == w->written);
    int err = seal_write(&w->seal, w->ops, w->fd, &w->header, w->written, predecessor_hash,
                         codec, out, out_file_size);
    segment_writer_abandon(w);
    return err;
}

void segment_writer_abandon(struct segment_writer *w)
{
    if (w == NULL)
        return;
    w->ops->close(w->ops->ctx, w->fd);
    seal_free(&w->seal);
    buffer_free(&w->gathered);
    free(w);
}
