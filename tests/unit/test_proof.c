/* What proves a stored message is the disk: every byte that it needs is read past the page
 * cache, and what only the disk has hurt is found. The disk here is a table of file calls
 * that tells direct reads from others; on real ones see test_proof_disk.c. */
#include "archive/archive_internal.h"
#include "archive/disk_file.h"
#include "archive/error.h"
#include "archive/proof.h"
#include "archive/reader.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "a@x"
#define FDS 256
#define UNIT 4096

/* How direct reads go. */
enum direct {
    DIRECT_WORKS,
    DIRECT_UNVOUCHED,       /* taken, but nobody says that they are */
    DIRECT_REFUSED,         /* EINVAL at open() */
    DIRECT_REFUSED_AT_READ, /* EINVAL at the first read */
};

/* How letting go of cached pages goes. */
enum cache {
    CACHE_LETS_GO,
    CACHE_LETS_GO_OF_ALL, /* of the whole file only, as a large folio does */
    CACHE_KEEPS,
    CACHE_IS_ELSEWHERE, /* the pages are never seen in it */
};

/* A disk below a page cache that remembers sound bytes. */
struct disk {
    struct file_ops ops;
    enum direct direct;
    enum cache cache;
    struct {
        uint64_t segment; /* 0: another file */
        bool direct;
    } fds[FDS];
    bool evicted;        /* what is read now comes from the disk */
    struct place hurt;   /* this byte; segment 0: none */
    unsigned disk_reads; /* of segments */
    unsigned cached_reads;
    unsigned evictions;
};

static uint64_t segment_of(const char *path)
{
    const char *name = strrchr(path, '/');
    return name != NULL && strstr(name, ".seg") != NULL ? strtoull(name + 1, NULL, 10) : 0;
}

/* The real file is opened without O_DIRECT, which not every file system takes. */
static int disk_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    struct disk *d = ctx;
    bool direct = (flags & O_DIRECT) != 0;
    if (direct && d->direct == DIRECT_REFUSED)
        return -EINVAL;
    int err = system_files.open(NULL, path, flags & ~O_DIRECT, mode, out_fd);
    if (err == 0) {
        assert_true(*out_fd < FDS);
        d->fds[*out_fd].segment = segment_of(path);
        d->fds[*out_fd].direct = direct;
    }
    return err;
}

static void hurt_read(const struct disk *d, int fd, uint8_t *data, size_t size,
                      uint64_t offset)
{
    if (d->hurt.segment != 0 && d->hurt.segment == d->fds[fd].segment &&
        d->hurt.offset >= offset && d->hurt.offset < offset + size)
        data[d->hurt.offset - offset] ^= 0x10;
}

static int disk_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                      size_t *out_read)
{
    struct disk *d = ctx;
    bool direct = d->fds[fd].direct;
    if (direct && d->direct == DIRECT_REFUSED_AT_READ)
        return -EINVAL;
    if (direct) {
        assert_int_equal(offset % UNIT, 0);
        assert_int_equal(size % UNIT, 0);
        assert_int_equal((uintptr_t)data % UNIT, 0);
    }
    int err = system_files.pread(NULL, fd, data, size, offset, out_read);
    if (err != 0 || d->fds[fd].segment == 0)
        return err;
    bool from_disk = direct || d->evicted;
    if (from_disk)
        hurt_read(d, fd, data, *out_read, offset);
    d->disk_reads += from_disk;
    d->cached_reads += !from_disk;
    d->evicted = false;
    return 0;
}

static int disk_direct_unit(void *ctx, int fd, uint32_t *out_unit)
{
    const struct disk *d = ctx;
    assert_true(d->fds[fd].direct);
    *out_unit = 512;
    return d->direct == DIRECT_UNVOUCHED ? -EOPNOTSUPP : 0;
}

static int disk_evict(void *ctx, int fd, uint64_t offset, uint64_t size)
{
    struct disk *d = ctx;
    (void)fd;
    d->evictions++;
    d->evicted = d->cache == CACHE_LETS_GO || d->cache == CACHE_IS_ELSEWHERE ||
                 (d->cache == CACHE_LETS_GO_OF_ALL && offset == 0 && size == 0);
    return 0;
}

static int disk_count_cached(void *ctx, int fd, uint64_t offset, size_t size,
                             size_t *out_pages)
{
    const struct disk *d = ctx;
    (void)fd;
    (void)offset;
    assert_true(size > 0);
    *out_pages = d->evicted || d->cache == CACHE_IS_ELSEWHERE ? 0 : 1;
    return 0;
}

/* The messages, all of NAME. */
enum {
    LETTER = 1,
    SECOND,
    ATTACHED, /* one run, two parts */
    LONG,     /* a stream of two chunks at least, and two parts between */
    AGAIN,    /* the same bytes as LETTER */
    ALONE,    /* in a block of its own, in the open segment */
    NEXT,
};

struct world {
    struct fixture fixture;
    struct disk disk;
    struct proof *proof;
    uint32_t account;
    uint8_t sha256[NEXT][SHA256_SIZE];
    struct place place[NEXT]; /* of their records */
};

static const struct attachment picture = {
    .seed = 1, .size = PART_RAW_MAX + 9000, .line_length = 76};
static const struct attachment film = {
    .seed = 2, .size = PART_RAW_MAX + 7000, .line_length = 76};

static void compose(int n, struct buffer *out)
{
    mail_header(out, NAME, n == AGAIN ? "1" : (const char[]){(char)('0' + n), '\0'});
    mail_lines(out, n == AGAIN ? LETTER : (unsigned)n, n == LONG ? 1500000 : 3000);
    if (n == ATTACHED || n == LONG)
        mail_attach(out, n == LONG ? &film : &picture);
    if (n == LONG)
        mail_lines(out, LONG, 100000);
    buffer_put(out, "\r\n--\r\n", 6);
}

static void take(struct world *w, struct intake *in, int n)
{
    struct buffer m = {0};
    char uidl[8];
    enum intake_result result;
    compose(n, &m);
    sha256_of(m.data, m.size, w->sha256[n]);
    snprintf(uidl, sizeof(uidl), "u%d", n);
    assert_int_equal(fixture_take(in, uidl, m.data, m.size, &result), INTAKE_WANTED);
    buffer_free(&m);
}

static void note_place(struct world *w)
{
    struct index_txn *txn = NULL;
    struct message_row row;
    assert_int_equal(index_begin_read(w->fixture.archive->index, &txn), 0);
    for (uint64_t n = LETTER; n < NEXT; n++) {
        assert_int_equal(row_get_message(txn, w->account, n, &row), 0);
        w->place[n] = row.place;
    }
    index_abort(txn);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    fixture_setup(&w->fixture);
    fixture_close(&w->fixture);
    w->disk.ops = system_files;
    w->disk.ops.ctx = &w->disk;
    w->disk.ops.open = disk_open;
    w->disk.ops.pread = disk_pread;
    w->disk.ops.direct_unit = disk_direct_unit;
    w->disk.ops.evict = disk_evict;
    w->disk.ops.count_cached = disk_count_cached;
    assert_int_equal(fixture_try_open(&w->fixture, ARCHIVE_WRITE, false, &w->disk.ops), 0);

    struct intake *in = fixture_intake(&w->fixture, NAME);
    for (int n = LETTER; n <= AGAIN; n++)
        take(w, in, n);
    fixture_finish(&w->fixture, in);
    assert_int_equal(store_seal(w->fixture.archive), 0);
    in = fixture_intake(&w->fixture, NAME);
    take(w, in, ALONE);
    fixture_finish(&w->fixture, in);

    struct account_info info;
    assert_int_equal(archive_find_account(w->fixture.archive, NAME, &info), 0);
    assert_int_equal(info.highest, ALONE);
    w->account = info.number;
    note_place(w);
    assert_int_equal(proof_create(w->fixture.archive, &w->proof), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    proof_destroy(w->proof);
    fixture_teardown(&w->fixture);
    free(w);
    return 0;
}

static int prove(struct world *w, int n)
{
    return proof_message(w->proof, w->account, (uint64_t)n, w->sha256[n], NULL, NULL);
}

static int prove_anew(struct world *w, int n)
{
    proof_begin(w->proof);
    return prove(w, n);
}

/* What somebody who reads through the page cache gets. */
static int read_usual(struct world *w, int n)
{
    struct reader *reader = NULL;
    assert_int_equal(reader_create(w->fixture.archive, &reader), 0);
    int err = reader_body_of(reader, w->account, (uint64_t)n, w->sha256[n], NULL, NULL);
    reader_destroy(reader);
    return err;
}

/* Sound messages of every kind, read from nowhere but the disk. */
static void assert_all_proved(struct world *w)
{
    for (int n = LETTER; n < NEXT; n++) {
        w->disk.disk_reads = w->disk.cached_reads = 0;
        assert_int_equal(prove_anew(w, n), 0);
        assert_true(w->disk.disk_reads > 0);
        assert_int_equal(w->disk.cached_reads, 0);
    }
}

static void proves_messages_of_every_kind(void **state)
{
    struct world *w = *state;
    assert_all_proved(w);
    assert_int_equal(w->disk.evictions, 0);
}

static void evicts_where_direct_reads_are_none(void **state)
{
    struct world *w = *state;
    const enum direct none[] = {DIRECT_UNVOUCHED, DIRECT_REFUSED, DIRECT_REFUSED_AT_READ};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        w->disk.direct = none[i];
        w->disk.evictions = 0;
        assert_all_proved(w);
        assert_true(w->disk.evictions > 0);
    }
}

static void evicts_the_whole_file_where_a_range_stays(void **state)
{
    struct world *w = *state;
    w->disk.direct = DIRECT_REFUSED;
    w->disk.cache = CACHE_LETS_GO_OF_ALL;
    assert_all_proved(w);
}

/* Without a way past the cache nothing is proved, and nothing read from it counts. */
static void says_where_the_disk_cannot_be_reached(void **state)
{
    struct world *w = *state;
    const enum cache walls[] = {CACHE_KEEPS, CACHE_IS_ELSEWHERE};
    w->disk.direct = DIRECT_UNVOUCHED;
    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        w->disk.cache = walls[i];
        assert_int_equal(prove_anew(w, LETTER), ERR_NOT_FROM_DISK);
        assert_int_equal(prove_anew(w, LONG), ERR_NOT_FROM_DISK);
    }
    w->disk.cache = CACHE_LETS_GO;
    assert_int_equal(prove_anew(w, LETTER), 0);
}

/* One byte that differs on the disk, `into` the record. */
static void hurt(struct world *w, const struct place *place, uint64_t into)
{
    w->disk.hurt = *place;
    w->disk.hurt.offset += into;
}

static void assert_hurt(struct world *w, int n)
{
    const enum direct ways[] = {DIRECT_WORKS, DIRECT_UNVOUCHED};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        w->disk.direct = ways[i];
        assert_int_equal(prove_anew(w, n), ERR_DAMAGED);
        assert_int_equal(read_usual(w, n), 0);
    }
    w->disk.direct = DIRECT_WORKS;
}

static uint64_t body_of(const struct record_header *h)
{
    return record_header_size(h) + h->meta_size;
}

static void finds_a_block_that_only_the_disk_has_hurt(void **state)
{
    struct world *w = *state;
    hurt(w, &w->place[LETTER], 20); /* its header */
    assert_hurt(w, LETTER);
    hurt(w, &w->place[LETTER], RECORD_HEADER_SIZE + 30); /* its meta */
    assert_hurt(w, SECOND);
    assert_hurt(w, AGAIN);
    assert_int_equal(prove_anew(w, ALONE), 0);
    hurt(w, &w->place[ALONE], RECORD_HEADER_SIZE + 1000); /* its body */
    assert_hurt(w, ALONE);
    assert_int_equal(prove_anew(w, LETTER), 0);
}

struct finding_chunk {
    struct seen_record last;
};

static void note_chunk(void *arg, const struct seen_record *r)
{
    struct finding_chunk *f = arg;
    if (r->header.type == RECORD_CHUNK)
        f->last = *r;
}

static void finds_a_stream_that_only_the_disk_has_hurt(void **state)
{
    struct world *w = *state;
    struct finding_chunk f = {0};
    records_each(&w->fixture, note_chunk, &f);
    hurt(w, &f.last.place, body_of(&f.last.header) + 7);
    assert_hurt(w, LONG);
    hurt(w, &w->place[LONG], RECORD_HEADER_SIZE + 7); /* END's meta */
    assert_hurt(w, LONG);
    assert_int_equal(prove_anew(w, LETTER), 0);
}

static void finds_a_part_that_only_the_disk_has_hurt(void **state)
{
    struct world *w = *state;
    uint8_t sha256[SHA256_SIZE];
    for (size_t i = 0; i < 2; i++) {
        attachment_part(&picture, i, sha256);
        struct seen_record part = records_part(&w->fixture, sha256);
        hurt(w, &part.place, body_of(&part.header) + 5000);
        assert_hurt(w, ATTACHED);
        assert_int_equal(prove_anew(w, LONG), 0);
    }
    attachment_part(&film, 1, sha256);
    struct seen_record part = records_part(&w->fixture, sha256);
    hurt(w, &part.place, body_of(&part.header));
    assert_hurt(w, LONG);
}

static void refuses_another_hash(void **state)
{
    struct world *w = *state;
    assert_int_equal(
        proof_message(w->proof, w->account, LETTER, w->sha256[SECOND], NULL, NULL),
        ERR_DAMAGED);
    assert_int_equal(
        proof_message(w->proof, w->account, NEXT, w->sha256[ALONE], NULL, NULL),
        ERR_NOT_FOUND);
    assert_int_equal(
        proof_message(w->proof, w->account + 1, LETTER, w->sha256[LETTER], NULL, NULL),
        ERR_NOT_FOUND);
}

static void misses_a_segment(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX];
    assert_int_equal(segment_path(w->fixture.path, w->place[LETTER].segment, path), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(prove_anew(w, LETTER), ERR_DAMAGED);
    assert_int_equal(prove_anew(w, ALONE), 0);
}

/* A set shares what it has read; the next one reads anew. */
static void reads_a_block_once_a_set(void **state)
{
    struct world *w = *state;
    assert_int_equal(prove_anew(w, LETTER), 0);
    unsigned once = w->disk.disk_reads;
    uint64_t bytes = proof_bytes_read(w->proof);
    assert_true(bytes > 0);
    assert_int_equal(prove(w, SECOND), 0);
    assert_int_equal(w->disk.disk_reads, once);
    assert_int_equal(proof_bytes_read(w->proof), bytes);

    hurt(w, &w->place[LETTER], RECORD_HEADER_SIZE + 30);
    assert_int_equal(prove(w, SECOND), 0);
    assert_int_equal(prove_anew(w, SECOND), ERR_DAMAGED);
    assert_true(proof_bytes_read(w->proof) > bytes);
}

/* The segment that is still written to, read in the set in which it grows. */
static void proves_what_was_appended_meanwhile(void **state)
{
    struct world *w = *state;
    assert_int_equal(prove_anew(w, ALONE), 0);
    struct intake *in = fixture_intake(&w->fixture, NAME);
    struct buffer m = {0};
    enum intake_result result;
    uint8_t sha256[SHA256_SIZE];
    compose(NEXT, &m);
    sha256_of(m.data, m.size, sha256);
    assert_int_equal(fixture_take(in, "new", m.data, m.size, &result), INTAKE_WANTED);
    fixture_finish(&w->fixture, in);
    buffer_free(&m);
    assert_int_equal(proof_message(w->proof, w->account, NEXT, sha256, NULL, NULL), 0);
}

static int gather(void *arg, const uint8_t *data, size_t size)
{
    struct buffer *b = arg;
    buffer_put(b, data, size);
    return 0;
}

static int refuse(void *arg, const uint8_t *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
    return ERR_STOPPED;
}

static void gives_the_bytes_that_it_proved(void **state)
{
    struct world *w = *state;
    for (int n = LETTER; n < NEXT; n++) {
        struct buffer got = {0}, expected = {0};
        compose(n, &expected);
        assert_int_equal(
            proof_message(w->proof, w->account, (uint64_t)n, w->sha256[n], gather, &got),
            0);
        assert_int_equal(got.size, expected.size);
        assert_memory_equal(got.data, expected.data, expected.size);
        buffer_free(&got);
        buffer_free(&expected);
        assert_int_equal(
            proof_message(w->proof, w->account, (uint64_t)n, w->sha256[n], refuse, NULL),
            ERR_STOPPED);
    }
}

/* Every offset and length around the units, and the end of the file. */
static void reads_any_stretch_of_a_file(void **state)
{
    struct world *w = *state;
    static uint8_t data[3 * UNIT + 2 * DISK_READ_SIZE + 10], got[sizeof(data)];
    const uint64_t marks[] = {0, UNIT, DISK_READ_SIZE, DISK_READ_SIZE + UNIT, sizeof(data)};
    const size_t count = sizeof(marks) / sizeof(marks[0]);
    struct disk_file *file = NULL;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/99.seg", w->fixture.root);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(file_replace(&system_files, path, data, sizeof(data), 0600), 0);
    w->disk.cached_reads = 0;
    const enum direct ways[] = {DIRECT_WORKS, DIRECT_UNVOUCHED};
    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        w->disk.direct = ways[way];
        assert_int_equal(disk_file_open(&w->disk.ops, path, &file), 0);
        for (size_t i = 0; i < count * 3 * count * 3; i++) {
            uint64_t from = marks[i / 3 % count] + i % 3 - 1;
            uint64_t to = marks[i / 3 / count / 3 % count] + i / 3 / count % 3 - 1;
            if (from > to || from > sizeof(data))
                continue;
            int err = disk_file_read(file, got, (size_t)(to - from), from);
            assert_int_equal(err, to <= sizeof(data) || to == from ? 0 : ERR_DAMAGED);
            if (err == 0)
                assert_memory_equal(got, data + from, (size_t)(to - from));
        }
        disk_file_close(file);
    }
    assert_int_equal(w->disk.cached_reads, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(proves_messages_of_every_kind),
        TEST(evicts_where_direct_reads_are_none),
        TEST(evicts_the_whole_file_where_a_range_stays),
        TEST(says_where_the_disk_cannot_be_reached),
        TEST(finds_a_block_that_only_the_disk_has_hurt),
        TEST(finds_a_stream_that_only_the_disk_has_hurt),
        TEST(finds_a_part_that_only_the_disk_has_hurt),
        TEST(refuses_another_hash),
        TEST(misses_a_segment),
        TEST(reads_a_block_once_a_set),
        TEST(proves_what_was_appended_meanwhile),
        TEST(gives_the_bytes_that_it_proved),
        TEST(reads_any_stretch_of_a_file),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("proof", tests, NULL, NULL);
}
