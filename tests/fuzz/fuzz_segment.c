/* A segment file of any contents, through archive/segment.h and archive/verify.h, served
 * from memory by a table of file operations. Input: enum mode in its first byte; then
 * - MODE_EDIT: changes before the trailer of the golden segment, (u16 offset, u8 xor) each:
 *   verification must notice, since every byte of a sealed segment is covered;
 * - MODE_FIX: number of records to make right, and the image (see segment_image.h);
 * - else: the image as it is. */
#include "archive/archive.h"
#include "archive/cask.h"
#include "archive/error.h"
#include "archive/index.h"
#include "archive/segment.h"
#include "archive/verify.h"
#include "tests/fuzz/segment_image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define MEMORY_FD 1000000 /* no descriptor of the system's */
#define RECORDS_MAX 1000u
/* Verification keeps a bit for each message number below an account's highest, and walks
 * them all: numbers that a writer gives out are without gaps. */
#define ACCOUNTS_MAX 10000u
#define NUMBERS_MAX 100000u

enum mode { MODE_EDIT = 1, MODE_FIX = 2 };

/* An archive whose only segment is an image in memory. */
struct stand {
    struct file_ops ops;
    struct archive *archive;
    struct codec *codec;
    struct span golden;
    struct span image;
    char root[FUZZ_FOLDER_SIZE];
};

static bool is_segment(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcmp(dot, ".seg") == 0;
}

static int memory_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    (void)ctx;
    if ((flags & O_ACCMODE) != O_RDONLY)
        return -EROFS;
    if (!is_segment(path))
        return system_files.open(NULL, path, flags, mode, out_fd);
    *out_fd = MEMORY_FD;
    return 0;
}

static int memory_close(void *ctx, int fd)
{
    (void)ctx;
    return fd == MEMORY_FD ? 0 : system_files.close(NULL, fd);
}

static int memory_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                        size_t *out_read)
{
    const struct stand *s = ctx;
    if (fd != MEMORY_FD)
        return system_files.pread(NULL, fd, data, size, offset, out_read);
    size_t left = offset < s->image.size ? s->image.size - (size_t)offset : 0;
    *out_read = size < left ? size : left;
    if (*out_read > 0)
        memcpy(data, s->image.data + offset, *out_read);
    return 0;
}

static int memory_fstat(void *ctx, int fd, struct stat *out_stat)
{
    const struct stand *s = ctx;
    if (fd != MEMORY_FD)
        return system_files.fstat(NULL, fd, out_stat);
    *out_stat = (struct stat){.st_mode = S_IFREG, .st_size = (off_t)s->image.size};
    return 0;
}

/* The one segment's file must exist for its folder to list it. */
static void make_archive(struct stand *s)
{
    char path[PATH_MAX];
    struct cask cask = {.highest_segment = 1};
    memcpy(cask.uuid, s->golden.data + IMAGE_UUID, UUID_SIZE);
    fuzz_folder(s->root);
    snprintf(path, sizeof(path), "%s/archive", s->root);
    FUZZ_CHECK(archive_create(NULL, path) == 0);
    FUZZ_CHECK(index_remove(path) == 0);
    FUZZ_CHECK(cask_save(&system_files, path, &cask) == 0);
    const struct archive_options options = {
        .mode = ARCHIVE_READ, .ops = &s->ops, .without_index = true};
    FUZZ_CHECK(archive_open(path, &options, &s->archive) == 0);
    FUZZ_CHECK(segment_path(archive_path(s->archive), 1, path) == 0);
    int fd = -1;
    FUZZ_CHECK(system_files.open(NULL, path, O_WRONLY | O_CREAT, 0600, &fd) == 0);
    close(fd);
}

static struct stand *set_up(void)
{
    static struct stand stand;
    if (stand.archive != NULL)
        return &stand;
    stand.ops = system_files;
    stand.ops.ctx = &stand;
    stand.ops.open = memory_open;
    stand.ops.close = memory_close;
    stand.ops.pread = memory_pread;
    stand.ops.fstat = memory_fstat;
    stand.golden = image_golden();
    stand.codec = codec_create();
    FUZZ_CHECK(stand.codec != NULL);
    make_archive(&stand);
    return &stand;
}

static void tear_down(void)
{
    struct stand *s = set_up();
    char command[PATH_MAX];
    archive_close(s->archive);
    snprintf(command, sizeof(command), "rm -rf '%s'", s->root);
    (void)!system(command);
}

static bool plausible_toc(struct span meta)
{
    struct toc_entry e;
    size_t count = 0;
    bool plausible = true;
    if (toc_decode(meta, &count) != 0)
        return true;
    for (size_t i = 0; i < count; i++) {
        toc_entry_at(meta, i, &e);
        plausible &= e.account <= ACCOUNTS_MAX && e.first_n <= NUMBERS_MAX &&
                     e.count_n <= NUMBERS_MAX;
    }
    return plausible;
}

static bool plausible_messages(struct span meta)
{
    struct block_meta_reader r;
    struct message_meta m;
    int err = block_meta_open(&r, meta);
    bool plausible = r.highest <= NUMBERS_MAX;
    while (err == 0 && (err = block_meta_next(&r, &m)) == 0)
        plausible &= m.n <= NUMBERS_MAX;
    return plausible;
}

/* Numbers that a writer may have given out. */
static bool plausible(const struct record_view *v)
{
    struct account_meta account;
    struct span meta = span_of(v->meta.data, v->meta.size);
    if (v->header.account > ACCOUNTS_MAX)
        return false;
    if (v->header.type == RECORD_SEAL)
        return plausible_toc(meta);
    if (v->header.type == RECORD_ACCOUNT && account_meta_decode(meta, &account) == 0)
        return account.number <= ACCOUNTS_MAX;
    if (v->header.type == RECORD_BLOCK || v->header.type == RECORD_END)
        return plausible_messages(meta);
    return true;
}

/* The first half of the body in v is what it is within the whole. */
static void check_start(struct stand *s, struct segment_file *f, struct record_view *v)
{
    size_t half = v->body.size / 2;
    uint8_t *copy = fuzz_copy(v->body.data, half);
    FUZZ_CHECK(segment_read_body_start(f, v, half, s->codec) == 0);
    FUZZ_CHECK(v->body.size == half);
    FUZZ_CHECK(half == 0 || memcmp(v->body.data, copy, half) == 0);
    free(copy);
}

/* Every record, as recovery and verification walk them; false if it is none of a writer's.
 */
static bool walk(struct stand *s, struct segment_file *f)
{
    struct record_view v = {0};
    bool all_plausible = true;
    uint64_t at = SEGMENT_HEADER_SIZE;
    for (unsigned i = 0; i < RECORDS_MAX && at < f->size; i++) {
        int err = segment_read(f, at, f->size, s->codec, &v);
        if (err != 0) {
            uint64_t next = 0;
            FUZZ_CHECK(err == ERR_DAMAGED || err == ERR_VERSION);
            if (segment_resync(f, at + 1, f->size, &next) != 0)
                break;
            FUZZ_CHECK(next > at && next < f->size);
            at = next;
            continue;
        }
        FUZZ_CHECK(record_size(&v.header) <= f->size - at);
        all_plausible &= plausible(&v);
        err = segment_read_body(f, &v, s->codec);
        FUZZ_CHECK(err == 0 || err == ERR_DAMAGED);
        FUZZ_CHECK(err != 0 || v.body.size == v.header.body_raw_size);
        FUZZ_CHECK(err != 0 || v.header.codec != CODEC_STORED ||
                   v.body.size == v.header.body_size);
        if (err == 0)
            check_start(s, f, &v);
        at += record_size(&v.header);
    }
    record_view_free(&v);
    return all_plausible;
}

static bool read_segment(struct stand *s)
{
    struct segment_file f;
    struct segment_trailer trailer;
    int err =
        segment_open(&s->ops, archive_path(s->archive), 1, archive_uuid(s->archive), &f);
    if (err != 0) {
        FUZZ_CHECK(err == ERR_DAMAGED || err == ERR_VERSION);
        return true;
    }
    err = segment_read_trailer(&f, &trailer);
    FUZZ_CHECK(err == 0 || err == ERR_NOT_FOUND);
    bool all_plausible = walk(s, &f);
    segment_file_close(&f);
    return all_plausible;
}

static void check_finding(void *arg, const struct finding *f)
{
    (void)arg;
    FUZZ_CHECK(f->text != NULL && f->text[0] != '\0');
}

static bool verify(struct stand *s, bool quick)
{
    const struct verify_options options = {.quick = quick, .report = check_finding};
    struct verify_summary summary;
    FUZZ_CHECK(archive_verify(s->archive, &options, &summary) == 0);
    return verify_found_damage(&summary);
}

static void edit(uint8_t *image, size_t size, struct cursor *c)
{
    while (cursor_left(c) >= 3) {
        size_t offset = take_u16(c) % (size - SEGMENT_TRAILER_SIZE);
        image[offset] ^= take_u8(c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stand *s = set_up();
    static bool registered;
    if (!registered)
        registered = atexit(tear_down) == 0;
    struct cursor c = fuzz_input(data, size);
    uint8_t mode = take_u8(&c);
    unsigned records = mode == MODE_FIX ? take_u8(&c) : 0;
    struct span from = mode == MODE_EDIT ? s->golden : span_of(c.at, cursor_left(&c));
    uint8_t *image = fuzz_copy(from.data, from.size);
    if (mode == MODE_EDIT)
        edit(image, from.size, &c);
    if (mode == MODE_FIX)
        image_fix(image, from.size, s->golden, 1, records);
    s->image = span_of(image, from.size);
    if (read_segment(s)) {
        bool damaged = verify(s, false);
        FUZZ_CHECK(damaged || !verify(s, true));
        if (mode == MODE_EDIT)
            FUZZ_CHECK(damaged == !span_equal(s->image, s->golden));
    }
    s->image = span_of(NULL, 0);
    free(image);
    return 0;
}
