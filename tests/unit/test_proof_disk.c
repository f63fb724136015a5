/* Proofs on real file systems: what the temporary folder and tmpfs give; and, as root, an
 * ext4 on a loop device whose backing file is damaged under it, while its page cache goes
 * on remembering what was written. */
#include "archive/archive_internal.h"
#include "archive/disk_file.h"
#include "archive/error.h"
#include "archive/proof.h"
#include "archive/reader.h"
#include "tests/support/records.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "a@x"
#define MESSAGES 30
#define MESSAGE_SIZE ((size_t)40 << 10)
#define IMAGE_SIZE ((size_t)48 << 20)
#define TMPFS_TYPE 0x01021994 /* TMPFS_MAGIC, without the kernel's header */

struct world {
    struct fixture fixture;
    struct file_ops ops;
    char elsewhere[64]; /* a folder to remove, or "" */
    char mounted[96];   /* a file system to unmount, or "" */
    char image[96];     /* its backing file */
    uint32_t account;
    struct place place;    /* of message 1 */
    struct reader *reader; /* the usual way */
};

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int try_to_run(const char *command)
{
    return system(command); /* NOLINT(cert-env33-c): the test's own text */
}

static void run(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(try_to_run(command), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    fixture_setup(&w->fixture);
    w->ops = system_files;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    reader_destroy(w->reader);
    fixture_crash(&w->fixture);
    if (w->mounted[0] != '\0')
        run("umount '%s'", w->mounted);
    if (w->elsewhere[0] != '\0')
        run("rm -rf '%s'", w->elsewhere);
    fixture_teardown(&w->fixture);
    free(w);
    return 0;
}

/* Go on in a new archive in this folder. */
static void move(struct world *w, const char *folder)
{
    fixture_close(&w->fixture);
    int n = snprintf(w->fixture.path, sizeof(w->fixture.path), "%s/moved", folder);
    assert_in_range(n, 1, sizeof(w->fixture.path) - 1);
    assert_int_equal(archive_create(&w->ops, w->fixture.path), 0);
    assert_int_equal(fixture_try_open(&w->fixture, ARCHIVE_WRITE, false, &w->ops), 0);
}

static void fill(struct world *w)
{
    struct account_info info;
    struct index_txn *txn = NULL;
    struct message_row row;
    fixture_session(&w->fixture, NAME, 1, MESSAGES, MESSAGE_SIZE);
    assert_int_equal(archive_find_account(w->fixture.archive, NAME, &info), 0);
    assert_int_equal(info.highest, MESSAGES);
    w->account = info.number;
    assert_int_equal(index_begin_read(w->fixture.archive->index, &txn), 0);
    assert_int_equal(row_get_message(txn, w->account, 1, &row), 0);
    w->place = row.place;
    index_abort(txn);
    assert_int_equal(reader_create(w->fixture.archive, &w->reader), 0);
}

/* Message n as a reader through the page cache finds it. */
static int read_usual(struct world *w, uint64_t n)
{
    reader_destroy(w->reader);
    w->reader = NULL;
    assert_int_equal(reader_create(w->fixture.archive, &w->reader), 0);
    return reader_body(w->reader, w->account, n, NULL, NULL);
}

/* All messages; the first failure. */
static int prove_all(struct world *w)
{
    struct proof *proof = NULL;
    char *text = malloc(MESSAGE_SIZE + 256);
    uint8_t sha256[SHA256_SIZE];
    int err = 0;
    assert_non_null(text);
    assert_int_equal(proof_create(w->fixture.archive, &proof), 0);
    for (int i = 1; err == 0 && i <= MESSAGES; i++) {
        sha256_of(text, fixture_message(NAME, i, MESSAGE_SIZE, text), sha256);
        err = proof_message(proof, w->account, (uint64_t)i, sha256, NULL, NULL);
    }
    proof_destroy(proof);
    free(text);
    return err;
}

static int not_vouched_for(void *ctx, int fd, uint32_t *out_unit)
{
    (void)ctx;
    (void)fd;
    (void)out_unit;
    return -EOPNOTSUPP;
}

static bool is_tmpfs(const char *path)
{
    struct statfs st;
    return statfs(path, &st) == 0 && (long)st.f_type == TMPFS_TYPE;
}

/* Both ways, in the segment that is open and once it is sealed. */
static void assert_both_ways(struct world *w, int expected)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        w->ops.direct_unit = system_files.direct_unit;
        assert_int_equal(prove_all(w), expected);
        w->ops.direct_unit = not_vouched_for;
        assert_int_equal(prove_all(w), expected);
        assert_int_equal(read_usual(w, 1), 0);
        assert_int_equal(store_seal(w->fixture.archive), 0);
    }
}

static void proves_in_the_temporary_folder(void **state)
{
    struct world *w = *state;
    move(w, w->fixture.root);
    fill(w);
    assert_both_ways(w, is_tmpfs(w->fixture.path) ? ERR_NOT_FROM_DISK : 0);
}

/* The last page of what is proved is dirty again. */
static void proves_in_front_of_bytes_that_are_not_synced(void **state)
{
    struct world *w = *state;
    char text[512];
    enum intake_result result;
    move(w, w->fixture.root);
    fill(w);
    struct intake *in = fixture_intake(&w->fixture, NAME);
    fixture_take(in, "new", text, fixture_message(NAME, 0, 200, text), &result);
    assert_int_equal(intake_flush(in), 0);
    w->ops.direct_unit = not_vouched_for;
    assert_int_equal(prove_all(w), is_tmpfs(w->fixture.path) ? ERR_NOT_FROM_DISK : 0);
    intake_close(in);
}

static void proves_nothing_in_memory(void **state)
{
    struct world *w = *state;
    char folder[] = "/dev/shm/mailcask-test-XXXXXX";
    if (!is_tmpfs("/dev/shm") || mkdtemp(folder) == NULL) {
        print_message("# skipped: no tmpfs at /dev/shm to write to\n");
        return;
    }
    strcpy(w->elsewhere, folder);
    move(w, folder);
    fill(w);
    assert_both_ways(w, ERR_NOT_FROM_DISK);
}

/* Why there is no ext4 of our own to be had; NULL: it is mounted at w->mounted. */
static const char *mount_image(struct world *w, const char *options)
{
    char command[512], at[sizeof(w->mounted)];
    if (geteuid() != 0)
        return "not root: no loop device";
    snprintf(w->image, sizeof(w->image), "%s/image", w->fixture.root);
    snprintf(at, sizeof(at), "%s/mounted", w->fixture.root);
    /* Mounts of a namespace of its own go with the process, whatever happens. */
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return "no mount namespace to be had";
    if (mkdir(at, 0700) != 0 || is_tmpfs(w->fixture.root))
        return "no disk at /tmp";
    snprintf(command, sizeof(command),
             "PATH=$PATH:/usr/sbin:/sbin; truncate -s %zu '%s' && mkfs.ext4 -qF '%s' && "
             "mount -o loop,%s '%s' '%s'",
             IMAGE_SIZE, w->image, w->image, options, w->image, at);
    if (try_to_run(command) != 0)
        return "no loop device, or no mkfs.ext4";
    strcpy(w->mounted, at);
    return NULL;
}

static bool has_image(struct world *w, const char *options)
{
    const char *why = mount_image(w, options);
    if (why != NULL)
        print_message("# skipped: %s\n", why);
    return why == NULL;
}

/* Flip a bit of each copy that the image holds of these bytes (a journal has one, too). */
static void hurt_image(const char *image, const uint8_t *wanted, size_t size)
{
    static uint8_t bytes[IMAGE_SIZE];
    uint8_t *at = bytes, *hit;
    unsigned copies = 0;
    int fd = open(image, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    while ((hit = memmem(at, (size_t)(bytes + sizeof(bytes) - at), wanted, size)) != NULL) {
        *hit ^= 1;
        assert_int_equal(pwrite(fd, hit, 1, hit - bytes), 1);
        at = hit + 1;
        copies++;
    }
    close(fd);
    assert_true(copies > 0);
}

/* Flip a bit of the block's body, below the file system. */
static void damage_disk(struct world *w)
{
    uint8_t bytes[512];
    char path[PATH_MAX];
    assert_int_equal(segment_path(w->fixture.path, w->place.segment, path), 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(
        pread(fd, bytes, sizeof(bytes), (off_t)w->place.offset + (off_t)64 * 1024),
        sizeof(bytes));
    close(fd);
    hurt_image(w->image, bytes, sizeof(bytes));
}

static void finds_damage_that_the_page_cache_hides(void **state)
{
    struct world *w = *state;
    if (!has_image(w, "noatime"))
        return;
    move(w, w->mounted);
    fill(w);
    assert_int_equal(prove_all(w), 0);
    assert_int_equal(read_usual(w, 1), 0);

    damage_disk(w);
    assert_int_equal(prove_all(w), ERR_DAMAGED);
    assert_int_equal(read_usual(w, 1), 0);
    w->ops.direct_unit = not_vouched_for;
    assert_int_equal(prove_all(w), ERR_DAMAGED);
    assert_int_equal(read_usual(w, 1), ERR_DAMAGED); /* it has forgotten */
}

/* With data=journal ext4 takes O_DIRECT and reads through the page cache all the same. */
static void is_not_fooled_by_direct_reads_that_are_none(void **state)
{
    struct world *w = *state;
    uint32_t unit = 0;
    char path[PATH_MAX];
    if (!has_image(w, "noatime,data=journal"))
        return;
    move(w, w->mounted);
    fill(w);
    assert_int_equal(segment_path(w->fixture.path, w->place.segment, path), 0);
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(system_files.direct_unit(NULL, fd, &unit), -EOPNOTSUPP);
    close(fd);
    assert_int_equal(prove_all(w), 0);
    assert_int_equal(read_usual(w, 1), 0);
    damage_disk(w);
    assert_int_equal(prove_all(w), ERR_DAMAGED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#define APPENDED 100 /* bytes at a time: ends lie within units */
#define APPENDS 40000

struct growing {
    int fd;
    _Atomic uint64_t size;
};

static void *grow(void *arg)
{
    struct growing *g = arg;
    char data[APPENDED];
    memset(data, 'x', sizeof(data));
    for (unsigned i = 0; i < APPENDS; i++) {
        if (pwrite(g->fd, data, sizeof(data), (off_t)g->size) != sizeof(data))
            break;
        g->size += sizeof(data);
    }
    return NULL;
}

/* The writer appends to the segment while its end is read: that is no failure of the disk.
 */
static void reads_a_file_that_grows(void **state)
{
    struct world *w = *state;
    struct growing g = {.size = 0};
    struct disk_file *file = NULL;
    pthread_t thread;
    char path[PATH_MAX], data[APPENDED];
    (void)snprintf(path, sizeof(path), "%s/growing", w->fixture.root);
    g.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(g.fd >= 0);
    assert_int_equal(disk_file_open(&system_files, path, &file), 0);
    assert_int_equal(pthread_create(&thread, NULL, grow, &g), 0);
    for (uint64_t size = 0; size < (uint64_t)APPENDS * APPENDED;) {
        size = g.size;
        int err =
            size == 0 ? 0 : disk_file_read(file, data, sizeof(data), size - sizeof(data));
        if (err == ERR_NOT_FROM_DISK) /* no direct reads here, and dirty pages stay */
            break;
        assert_int_equal(err, 0);
        assert_true(size == 0 || (data[0] == 'x' && data[APPENDED - 1] == 'x'));
    }
    pthread_join(thread, NULL);
    disk_file_close(file);
    close(g.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(proves_in_the_temporary_folder),
        TEST(proves_in_front_of_bytes_that_are_not_synced),
        TEST(proves_nothing_in_memory),
        TEST(reads_a_file_that_grows),
        TEST(finds_damage_that_the_page_cache_hides),
        TEST(is_not_fooled_by_direct_reads_that_are_none),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("proof on disks", tests, NULL, NULL);
}
