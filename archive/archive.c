#include "archive/archive.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/maildrop_rows.h"
#include "archive/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static const char *const folders[] = {"segments", "index", "state", "quarantine"};

int64_t archive_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void archive_note(struct archive *a, enum archive_note note, const char *format, ...)
{
    char text[PATH_MAX + 256];
    va_list args;
    if (a->report == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    a->report(a->arg, note, text);
}

static int join(const char *path, const char *name, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/%s", path, name);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* A folder that we cannot make anew, because the one it is in is not ours (/var/lib), or
 * because it is a mount: empty it is as good. */
static int take_empty(const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -errno;
    const struct dirent *entry = NULL;
    bool empty = true;
    while (empty && (entry = readdir(folder)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    int err = empty ? 0 : ERR_EXISTS;
    if (empty && fchmod(dirfd(folder), 0700) < 0)
        err = -errno;
    (void)closedir(folder);
    return err;
}

/* The folder itself, new or empty. */
static int make_root(const struct file_ops *ops, const char *path)
{
    int err = ops->mkdir(ops->ctx, path, 0700);
    if (err != -EEXIST)
        return err;
    /* rmdir() succeeds on an empty folder only: then it is made again, with our mode. */
    err = ops->rmdir(ops->ctx, path);
    if (err == -ENOTEMPTY || err == -EEXIST || err == -ENOTDIR)
        return ERR_EXISTS;
    if (err == -EACCES || err == -EPERM || err == -EBUSY)
        return take_empty(path);
    return err != 0 ? err : ops->mkdir(ops->ctx, path, 0700);
}

static int sync_parent(const struct file_ops *ops, const char *path)
{
    char parent[PATH_MAX];
    int err = join(path, "..", parent);
    return err != 0 ? err : file_sync_folder(ops, parent);
}

static int make_index(const char *path, const uint8_t *uuid)
{
    struct index *ix = NULL;
    int err = index_open(path, uuid, INDEX_CREATE, &ix);
    if (err == 0)
        err = index_sign(ix, path, uuid);
    if (err == 0)
        err = index_sync(ix);
    index_close(ix);
    return err;
}

int archive_create(const struct file_ops *ops, const char *path)
{
    char name[PATH_MAX];
    struct cask cask = {.created_us = archive_now_us()};
    if (ops == NULL)
        ops = &system_files;
    int fd = -1, err = random_bytes(cask.uuid, sizeof(cask.uuid));
    if (err == 0)
        err = make_root(ops, path);
    for (size_t i = 0; err == 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
        err = join(path, folders[i], name);
        if (err == 0)
            err = ops->mkdir(ops->ctx, name, 0700);
    }
    if (err == 0)
        err = join(path, "lock", name);
    if (err == 0)
        err = ops->open(ops->ctx, name, O_RDWR | O_CREAT, 0600, &fd);
    if (err == 0)
        err = ops->close(ops->ctx, fd);
    if (err == 0)
        err = make_index(path, cask.uuid);
    if (err == 0)
        err = cask_save(ops, path, &cask); /* last: with CASK it is an archive */
    return err != 0 ? err : sync_parent(ops, path);
}

/* flock() belongs to the open file, so the lock ends with the process, however it ends. */
int archive_lock(const char *archive, int *out_fd)
{
    char path[PATH_MAX], pid[32];
    int err = join(archive, "lock", path);
    if (err != 0)
        return err;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? ERR_LOCKED : -errno;
        close(fd);
        return err;
    }
    int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
        /* The number is a courtesy; the lock is held without it. */
    }
    *out_fd = fd;
    return 0;
}

int archive_lock_holder(const char *path, pid_t *out_pid)
{
    char name[PATH_MAX], text[32] = "";
    *out_pid = 0;
    int err = join(path, "lock", name);
    if (err != 0)
        return err;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
        pread(fd, text, sizeof(text) - 1, 0) > 0)
        *out_pid = (pid_t)strtol(text, NULL, 10);
    close(fd);
    return 0;
}

int archive_owner(const char *path, uid_t *out_uid)
{
    struct stat st;
    char name[PATH_MAX];
    int err = join(path, "CASK", name);
    if (err != 0)
        return err;
    if (stat(name, &st) != 0)
        return -errno;
    *out_uid = st.st_uid;
    return 0;
}

void archive_owner_name(const char *path, char out[OWNER_NAME_SIZE])
{
    uid_t uid = 0;
    struct stat st;
    /* Another user's folder may not let us look for CASK in it. */
    if (archive_owner(path, &uid) != 0 && stat(path, &st) == 0)
        uid = st.st_uid;
    const struct passwd *entry = getpwuid(uid);
    if (entry != NULL)
        (void)snprintf(out, OWNER_NAME_SIZE, "%s", entry->pw_name);
    else
        (void)snprintf(out, OWNER_NAME_SIZE, "#%" PRIuMAX, (uintmax_t)uid);
}

static int open_index(struct archive *a, const struct archive_options *options)
{
    if (a->mode == ARCHIVE_READ) {
        int err = index_open(a->path, a->cask.uuid, INDEX_READ, &a->index);
        return err == ERR_NO_INDEX && options->without_index ? 0 : err;
    }
    int err = options->rebuild_index
                  ? ERR_NO_INDEX
                  : index_open(a->path, a->cask.uuid, INDEX_WRITE, &a->index);
    if (err != ERR_NO_INDEX)
        return err;
    if (!options->rebuild_index)
        archive_note(a, NOTE_INFO, "the index is missing or unusable: rebuilding it");
    err = index_remove(a->path);
    return err != 0 ? err : index_open(a->path, a->cask.uuid, INDEX_CREATE, &a->index);
}

/* A copy of CASK and segments/ has none of them, and is an archive: recovery must have
 * where to put a torn tail. */
static int make_lost_folders(struct archive *a)
{
    static const char *const lost[] = {"state", "quarantine"};
    char path[PATH_MAX];
    bool made = false;
    int err = 0;
    for (size_t i = 0; err == 0 && i < sizeof(lost) / sizeof(lost[0]); i++) {
        err = join(a->path, lost[i], path);
        if (err != 0 || access(path, F_OK) == 0)
            continue;
        err = a->ops->mkdir(a->ops->ctx, path, 0700);
        made = true;
    }
    return err == 0 && made ? file_sync_folder(a->ops, a->path) : err;
}

static int open_to_write(struct archive *a, const struct archive_options *options)
{
    int err = make_lost_folders(a);
    /* An index that was opened is signed; signing again says the same. */
    if (err == 0)
        err = archive_recover(a, options->progress);
    return err != 0 ? err : index_sign(a->index, a->path, a->cask.uuid);
}

int archive_open(const char *path, const struct archive_options *options,
                 struct archive **out)
{
    uid_t owner = 0;
    struct archive *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return -ENOMEM;
    a->lock_fd = -1;
    a->ops = options->ops != NULL ? options->ops : &system_files;
    a->mode = options->mode;
    a->report = options->report;
    a->arg = options->arg;
    a->path = strdup(path);
    a->codec = codec_create();
    int err = a->path == NULL || a->codec == NULL ? -ENOMEM : 0;
    if (err == 0 && archive_owner(path, &owner) == 0 && owner != geteuid())
        err = ERR_OWNER;
    if (err == 0)
        err = cask_load(a->ops, path, &a->cask);
    if (err == 0 && a->mode == ARCHIVE_WRITE)
        err = archive_lock(path, &a->lock_fd);
    if (err == 0 &&
        a->mode == ARCHIVE_WRITE) /* it may have changed before we held the lock */
        err = cask_load(a->ops, path, &a->cask);
    if (err == 0)
        err = open_index(a, options);
    if (err == 0 && a->mode == ARCHIVE_WRITE)
        err = open_to_write(a, options);
    if (err != 0) {
        if (a->store != NULL)
            a->store->failed = err;
        archive_close(a);
        return err;
    }
    *out = a;
    return 0;
}

int archive_close(struct archive *a)
{
    if (a == NULL)
        return 0;
    int err = 0;
    if (a->store != NULL && a->store->failed == 0)
        err = store_seal(a);
    store_destroy(a);
    if (err == 0 && a->mode == ARCHIVE_WRITE && a->index != NULL)
        err = index_sync(a->index);
    index_close(a->index);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
    codec_destroy(a->codec);
    free(a->path);
    free(a);
    return err;
}

const char *archive_path(const struct archive *a)
{
    return a->path;
}

const uint8_t *archive_uuid(const struct archive *a)
{
    return a->cask.uuid;
}

static void copy_text(char *out, size_t size, struct span text)
{
    size_t n = text.size < size - 1 ? text.size : size - 1;
    if (n > 0)
        memcpy(out, text.data, n);
    out[n] = '\0';
}

static void fill_account(uint32_t number, const struct account_row *row,
                         struct account_info *out)
{
    *out = (struct account_info){
        .number = number,
        .messages = row->messages,
        .bytes = row->bytes,
        .highest = row->highest,
        .first_us = row->first_us,
        .last_us = row->last_us,
        .session_us = row->session_us,
        .session_state = row->session_state,
    };
    copy_text(out->name, sizeof(out->name), row->name);
    copy_text(out->session_text, sizeof(out->session_text), row->session_text);
}

/* The account whose name is the first >= name: its row copied out, so that no transaction
 * is open while the caller works. */
static int account_from(struct archive *a, const char *name, struct account_info *out)
{
    struct index_txn *t = NULL;
    struct account_row row;
    uint32_t number = 0;
    struct span key = span_text(name);
    int err = a->index == NULL ? ERR_NO_INDEX : index_begin_read(a->index, &t);
    if (err != 0)
        return err;
    err = row_next_name(t, &key, &number);
    if (err == 0)
        err = row_get_account(t, number, &row);
    if (err == 0) {
        fill_account(number, &row, out);
        copy_text(out->name, sizeof(out->name), key);
    }
    index_abort(t);
    return err;
}

int archive_each_account(struct archive *a,
                         int (*each)(void *arg, const struct account_info *info), void *arg)
{
    char from[NAME_SIZE_MAX + 2] = "";
    struct account_info info;
    int err;
    while ((err = account_from(a, from, &info)) == 0) {
        err = each(arg, &info);
        if (err != 0)
            return err;
        /* The next name in order is at least this one and one more byte, the lowest there
         * is. */
        snprintf(from, sizeof(from), "%s\001", info.name);
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int archive_find_account(struct archive *a, const char *name, struct account_info *out)
{
    if (name[0] == '\0')
        return ERR_NOT_FOUND;
    struct account_info next;
    int err = account_from(a, name, &next);
    if (err == 0 && strcmp(next.name, name) != 0)
        err = ERR_NOT_FOUND;
    if (err == 0)
        *out = next;
    return err;
}

void archive_account_name(struct archive *a, uint32_t account, char out[NAME_SIZE_MAX + 1])
{
    struct index_txn *t = NULL;
    struct account_row row;
    (void)row_stand_in_name(account, out);
    if (a->index == NULL || index_begin_read(a->index, &t) != 0)
        return;
    if (row_get_account(t, account, &row) == 0 && row.name.size > 0)
        copy_text(out, NAME_SIZE_MAX + 1, row.name);
    index_abort(t);
}

static void drop_garbage_of(struct index_txn *t, enum index_table table)
{
    struct index_walk row = {0};
    struct span value;
    struct part_row part;
    uint64_t kept = 0;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        if (value.size < 8) {
            err = ERR_INDEX;
            break;
        }
        if (!row_is_superseded(t, get_u64(value.data)))
            continue;
        if (table == TABLE_PARTS && row_get_part(t, row.key, &part) == 0 &&
            row_get_number(t, INFO_PARTS_KEPT, &kept) == 0)
            row_put_number(t, INFO_PARTS_KEPT, kept > part.size ? kept - part.size : 0);
        index_delete(t, table, span_of(row.key, row.size));
    }
    if (err != ERR_NOT_FOUND)
        index_fail(t, err);
}

/* Parts and chunks whose only copy is in a superseded segment: repacking found that nothing
 * names them. */
static void drop_superseded_garbage(struct index_txn *t)
{
    uint64_t superseded = 0;
    int err = index_count(t, TABLE_SUPERSEDED, &superseded);
    if (err != 0)
        index_fail(t, err);
    if (err != 0 || superseded == 0)
        return;
    drop_garbage_of(t, TABLE_PARTS);
    drop_garbage_of(t, TABLE_CHUNKS);
}

int archive_drop_garbage(struct archive *a)
{
    struct index_txn *t = NULL;
    int err = index_begin_write(a->index, &t);
    if (err != 0)
        return err;
    drop_superseded_garbage(t);
    return index_commit(t);
}

int archive_unconfirmed(struct archive *a, const char *name, uint64_t *out)
{
    struct index_txn *t = NULL;
    uint32_t account = 0;
    *out = 0;
    int err = a->index == NULL ? ERR_NO_INDEX : index_begin_read(a->index, &t);
    if (err == 0 && name != NULL)
        err = row_get_name(t, span_text(name), &account);
    if (err == 0)
        err = row_count_open_deletions(t, account, out);
    index_abort(t);
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int add_account(void *arg, const struct account_info *info)
{
    struct archive_stats *stats = arg;
    stats->accounts++;
    stats->messages += info->messages;
    stats->message_bytes += info->bytes;
    return 0;
}

static uint64_t allocated(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static int add_counts(struct index_txn *t, struct archive_stats *out)
{
    int err = index_count(t, TABLE_PARTS, &out->parts);
    if (err == 0)
        err = row_get_number(t, INFO_PARTS_KEPT, &out->parts_kept_bytes);
    if (err == 0)
        err = row_get_number(t, INFO_PARTS_NAMED, &out->parts_named_bytes);
    return err != 0 ? err : index_count(t, TABLE_UNCONFIRMED, &out->unconfirmed);
}

static int add_segments(struct archive *a, struct index_txn *t, struct archive_stats *out)
{
    struct segment_row row;
    char path[PATH_MAX];
    uint64_t id = 0;
    int err;
    while ((err = row_next_segment(t, &id, &row)) == 0) {
        out->segments++;
        if (row.sealed) {
            out->sealed++;
            out->head_segment = id;
            memcpy(out->head, row.hash, SHA256_SIZE);
        }
        if (segment_path(a->path, id, path) == 0)
            out->segment_bytes += allocated(path);
        id++;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int archive_stats(struct archive *a, struct archive_stats *out)
{
    char path[PATH_MAX];
    struct index_txn *t = NULL;
    *out = (struct archive_stats){0};
    int err = archive_each_account(a, add_account, out);
    if (err == 0)
        err = index_begin_read(a->index, &t);
    if (err == 0)
        err = add_segments(a, t, out);
    if (err == 0)
        err = add_counts(t, out);
    index_abort(t);
    if (err == 0)
        err = join(a->path, "index/data.mdb", path);
    if (err == 0)
        out->index_bytes = allocated(path);
    return err;
}

int archive_quick_stats(struct archive *a, struct archive_stats *out)
{
    struct index_txn *t = NULL;
    *out = (struct archive_stats){0};
    int err = index_begin_read(a->index, &t);
    if (err == 0)
        err = add_counts(t, out);
    index_abort(t);
    return err;
}
