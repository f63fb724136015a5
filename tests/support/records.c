#include "tests/support/records.h"

#include "archive/segment.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Up to the seal, or to where the open segment ends. */
static void each_of_segment(struct fixture *f, uint64_t id,
                            void (*each)(void *arg, const struct seen_record *r), void *arg)
{
    struct segment_file file;
    struct record_view view = {0};
    uint64_t offset = SEGMENT_HEADER_SIZE;
    assert_int_equal(
        segment_open(&system_files, f->path, id, archive_uuid(f->archive), &file), 0);
    while (segment_read(&file, offset, file.size, f->codec, &view) == 0 &&
           view.header.type != RECORD_SEAL) {
        const struct seen_record r = {.place = {.segment = id, .offset = offset},
                                      .header = view.header,
                                      .meta = span_of(view.meta.data, view.meta.size)};
        each(arg, &r);
        offset += record_size(&view.header);
    }
    record_view_free(&view);
    segment_file_close(&file);
}

void records_each(struct fixture *f, void (*each)(void *arg, const struct seen_record *r),
                  void *arg)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(segment_list(f->path, &ids, &count), 0);
    for (size_t i = 0; i < count; i++)
        each_of_segment(f, ids[i], each, arg);
    free(ids);
}

struct summing {
    enum record_type type;
    struct record_sum sum;
};

static void add(void *arg, const struct seen_record *r)
{
    struct summing *s = arg;
    if (r->header.type != s->type)
        return;
    s->sum.count++;
    s->sum.bytes += record_size(&r->header);
}

struct record_sum records_sum(struct fixture *f, enum record_type type)
{
    struct summing s = {.type = type};
    records_each(f, add, &s);
    return s.sum;
}

struct seeking {
    const uint8_t *sha256;
    struct seen_record found;
};

static void match_part(void *arg, const struct seen_record *r)
{
    struct seeking *s = arg;
    if (r->header.type == RECORD_PART && memcmp(r->meta.data, s->sha256, SHA256_SIZE) == 0)
        s->found = *r;
}

struct seen_record records_part(struct fixture *f, const uint8_t sha256[SHA256_SIZE])
{
    struct seeking s = {.sha256 = sha256};
    records_each(f, match_part, &s);
    assert_int_not_equal(s.found.place.segment, 0);
    s.found.meta = (struct span){0};
    return s.found;
}

void segment_flip(struct fixture *f, uint64_t segment, uint64_t offset, unsigned bit)
{
    char path[PATH_MAX];
    uint8_t byte = 0;
    assert_int_equal(segment_path(f->path, segment, path), 0);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= (uint8_t)(1u << bit);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

uint64_t segment_file_size(struct fixture *f, uint64_t segment)
{
    char path[PATH_MAX];
    struct stat st;
    assert_int_equal(segment_path(f->path, segment, path), 0);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}
