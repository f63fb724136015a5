/* Recovery (FORMAT.md) with a segment of any contents behind a sound one, as a crash may
 * leave it. Whatever it holds: the archive opens, opens again unchanged, and an index built
 * anew says the same. Input: number of records to make right, then the newest segment. */
#include "archive/archive.h"
#include "archive/cask.h"
#include "archive/error.h"
#include "archive/index.h"
#include "archive/reader.h"
#include "archive/segment.h"
#include "tests/fuzz/segment_image.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define NEWEST 2
/* The whole dump of an archive with a valid record whose meta says nothing that can be
 * read: no writer writes one, and opening refuses it. */
#define DUMP_REFUSED 0xff

struct stand {
    struct file_ops
        ops; /* the system's, but nothing is synced: this machine will not fail */
    struct span golden;
    char root[FUZZ_FOLDER_SIZE];
    char archive[FUZZ_FOLDER_SIZE + 16];
};

static int no_sync(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static struct stand *set_up(void)
{
    static struct stand stand;
    if (stand.golden.size > 0)
        return &stand;
    stand.golden = image_golden();
    stand.ops = system_files;
    stand.ops.fdatasync = no_sync;
    stand.ops.fsync = no_sync;
    fuzz_folder(stand.root);
    snprintf(stand.archive, sizeof(stand.archive), "%s/archive", stand.root);
    FUZZ_CHECK(archive_create(&stand.ops, stand.archive) == 0);
    return &stand;
}

static void tear_down(void)
{
    char command[PATH_MAX];
    snprintf(command, sizeof(command), "rm -rf '%s'", set_up()->root);
    (void)!system(command);
}

static void empty_folder(const struct stand *s, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", s->archive, name);
    DIR *folder = opendir(path);
    FUZZ_CHECK(folder != NULL);
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

static void write_segment(const struct stand *s, uint64_t id, struct span image)
{
    char path[PATH_MAX];
    int fd = -1;
    FUZZ_CHECK(segment_path(s->archive, id, path) == 0);
    FUZZ_CHECK(system_files.open(NULL, path, O_WRONLY | O_CREAT, 0600, &fd) == 0);
    if (image.size > 0)
        FUZZ_CHECK(file_write_all(&system_files, fd, image.data, image.size, 0) == 0);
    close(fd);
}

/* The golden segment, sealed; the image behind it; no index. */
static void lay_out(const struct stand *s, struct span image)
{
    struct cask cask = {.highest_segment = NEWEST};
    memcpy(cask.uuid, s->golden.data + IMAGE_UUID, UUID_SIZE);
    empty_folder(s, "segments");
    empty_folder(s, "quarantine");
    FUZZ_CHECK(index_remove(s->archive) == 0);
    FUZZ_CHECK(cask_save(&s->ops, s->archive, &cask) == 0);
    write_segment(s, 1, s->golden);
    write_segment(s, NEWEST, image);
}

static int dump_entry(void *arg, const struct ledger_entry *e)
{
    struct buffer *out = arg;
    buffer_put_u8(out, e->type);
    buffer_put_u64(out, e->lsn);
    buffer_put_u64(out, (uint64_t)e->time_us);
    return 0;
}

struct dump {
    struct archive *archive;
    struct reader *reader;
    struct buffer out;
};

static int dump_account(void *arg, const struct account_info *info)
{
    struct dump *d = arg;
    struct message_meta m = {0};
    int err = 0;
    buffer_put_u32(&d->out, info->number);
    buffer_put(&d->out, info->name, strlen(info->name) + 1);
    buffer_put_u64(&d->out, info->messages);
    buffer_put_u64(&d->out, info->bytes);
    buffer_put_u64(&d->out, info->highest);
    while ((err = reader_next(d->reader, info->number, m.n, &m)) == 0 ||
           err == ERR_DAMAGED) {
        buffer_put_u64(&d->out, m.n);
        if (err == 0)
            buffer_put(&d->out, m.sha256, sizeof(m.sha256));
    }
    FUZZ_CHECK(err == ERR_NOT_FOUND);
    return archive_each_ledger_entry(d->archive, info->number, dump_entry, &d->out);
}

/* Open it to write, which recovers, and write down what it says. */
static struct buffer recover(const struct stand *s, bool rebuild)
{
    const struct archive_options options = {
        .mode = ARCHIVE_WRITE, .ops = &s->ops, .rebuild_index = rebuild};
    struct dump d = {0};
    int err = archive_open(s->archive, &options, &d.archive);
    if (err != 0) {
        FUZZ_CHECK(err == ERR_DAMAGED);
        buffer_put_u8(&d.out, DUMP_REFUSED);
        return d.out;
    }
    FUZZ_CHECK(reader_create(d.archive, &d.reader) == 0);
    FUZZ_CHECK(archive_each_account(d.archive, dump_account, &d) == 0);
    reader_destroy(d.reader);
    FUZZ_CHECK(archive_close(d.archive) == 0);
    return d.out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stand *s = set_up();
    static bool registered;
    if (!registered)
        registered = atexit(tear_down) == 0;
    struct cursor c = fuzz_input(data, size);
    unsigned records = take_u8(&c);
    size_t image_size = cursor_left(&c);
    uint8_t *image = fuzz_copy(c.at, image_size);
    image_fix(image, image_size, s->golden, NEWEST, records);
    lay_out(s, span_of(image, image_size));
    struct buffer first = recover(s, false), second = recover(s, false);
    struct buffer rebuilt = recover(s, true);
    FUZZ_CHECK(
        span_equal(span_of(first.data, first.size), span_of(second.data, second.size)));
    FUZZ_CHECK(
        span_equal(span_of(first.data, first.size), span_of(rebuilt.data, rebuilt.size)));
    buffer_free(&first);
    buffer_free(&second);
    buffer_free(&rebuilt);
    free(image);
    return 0;
}
