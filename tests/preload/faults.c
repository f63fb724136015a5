/* A disk that fails, for the real programs: LD_PRELOAD this, and name a file of rules in
 * MAILCASK_FAULTS. It may be replaced (renamed over) at any time: counting starts anew, and
 * without a rule nothing fails. A rule a line:
 *
 *     CALL NAME N WHAT
 *
 * CALL: read (pread), write (write, pwrite, writev, pwritev), sync (fdatasync, fsync) or
 * truncate (ftruncate). NAME: of the file, without its folder, as fnmatch() has it.
 * N: the Nth such call, once; "N-": that one and all later ones. WHAT: EIO, ENOSPC or
 * EDQUOT; SHORT: half of a write is done, with success; LOSE: a sync fails with EIO, and
 * what was written to the file since the last sync is gone, as when a page cache gives up
 * dirty pages that the disk refused. Each strike adds the rule to FILE.log.
 *
 * LMDB is a library of its own, so its calls come through here as well. */
#undef _FILE_OFFSET_BITS /* both names of a call are defined here */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RULES_MAX 16
#define WORD_SIZE 32
#define LINE_SIZE 160
#define ZEROS_SIZE 65536

enum what { WHAT_NOTHING, WHAT_ERROR, WHAT_SHORT, WHAT_LOSE };

/* What was written to a file and not synced. */
struct dirty {
    ino_t file;
    off_t from;
    off_t to; /* 0: nothing */
};

struct rule {
    char call[WORD_SIZE];
    char name[WORD_SIZE];
    char line[LINE_SIZE];
    unsigned long first;
    unsigned long last;
    unsigned long calls; /* that matched so far */
    enum what what;
    int error;
    struct dirty dirty; /* with WHAT_LOSE */
};

struct faults {
    pthread_mutex_t mutex;
    struct stat read; /* the file of rules as it was when it was read */
    size_t count;
    struct rule rules[RULES_MAX];
};

static struct faults *all_faults(void)
{
    static struct faults f = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    return &f;
}

/* The next definition of a function behind this library. */
static void real(const char *name, void *out_function)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    memcpy(out_function, &found, sizeof(found));
}

static ssize_t real_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*function)(int, const void *, size_t, off_t);
    real("pwrite", &function);
    return function(fd, data, size, offset);
}

/* A rule that cannot be read is a mistake of the test. */
static void parse_rule(struct rule *r, const char *line)
{
    static const struct {
        const char *word;
        enum what what;
        int error;
    } whats[] = {
        {"EIO", WHAT_ERROR, EIO},       {"ENOSPC", WHAT_ERROR, ENOSPC},
        {"EDQUOT", WHAT_ERROR, EDQUOT}, {"SHORT", WHAT_SHORT, 0},
        {"LOSE", WHAT_LOSE, EIO},
    };
    char count[WORD_SIZE], what[WORD_SIZE], *end = NULL;
    *r = (struct rule){.what = WHAT_NOTHING};
    (void)snprintf(r->line, sizeof(r->line), "%s", line);
    if (sscanf(line, "%31s %31s %31s %31s", r->call, r->name, count, what) != 4)
        abort();
    r->first = strtoul(count, &end, 10);
    r->last = *end == '-' ? ULONG_MAX : r->first;
    for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
        if (strcmp(whats[i].word, what) != 0)
            continue;
        r->what = whats[i].what;
        r->error = whats[i].error;
    }
    if (r->first == 0 || r->what == WHAT_NOTHING)
        abort();
}

static const char *rules_path(void)
{
    const char *path = getenv("MAILCASK_FAULTS");
    return path != NULL ? path : "";
}

/* Read the rules again if there are others. */
static void refresh(struct faults *f)
{
    struct stat now = {0};
    char line[LINE_SIZE];
    if (stat(rules_path(), &now) != 0)
        now = (struct stat){0};
    if (now.st_ino == f->read.st_ino && now.st_size == f->read.st_size &&
        now.st_mtim.tv_sec == f->read.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == f->read.st_mtim.tv_nsec)
        return;
    f->read = now;
    f->count = 0;
    FILE *file = fopen(rules_path(), "re");
    while (file != NULL && f->count < RULES_MAX && fgets(line, sizeof(line), file) != NULL)
        if (line[0] != '\n')
            parse_rule(&f->rules[f->count++], line);
    if (file != NULL)
        (void)fclose(file);
}

/* The name of an open file, without its folder; "" if it has none. */
static const char *name_of(int fd, char path[PATH_MAX])
{
    char link[WORD_SIZE];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = '\0';
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : "";
}

static void log_strike(const struct rule *r)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s.log", rules_path());
    FILE *file = fopen(path, "ae");
    if (file == NULL)
        abort();
    (void)fputs(r->line, file);
    (void)fclose(file);
}

/* Count the call; the rule that it breaks by, or NULL. */
static struct rule *find_strike(struct faults *f, const char *call, const char *name)
{
    struct rule *found = NULL;
    for (size_t i = 0; i < f->count; i++) {
        struct rule *r = &f->rules[i];
        if (strcmp(r->call, call) != 0 || fnmatch(r->name, name, 0) != 0)
            continue;
        r->calls++;
        if (found == NULL && r->calls >= r->first && r->calls <= r->last)
            found = r;
    }
    return found;
}

/* The file's bytes that are not on the disk are what the disk had there: nothing. */
static void lose(const struct dirty *d, int fd)
{
    static const char zeros[ZEROS_SIZE];
    for (off_t at = d->from; at < d->to;) {
        size_t size = d->to - at < ZEROS_SIZE ? (size_t)(d->to - at) : ZEROS_SIZE;
        ssize_t written = real_pwrite(fd, zeros, size, at);
        if (written <= 0)
            abort();
        at += written;
    }
}

/* What the call must do instead: *out_error is set for WHAT_ERROR. */
static enum what strike(const char *call, int fd, int *out_error)
{
    char path[PATH_MAX];
    struct faults *f = all_faults();
    int saved = errno;
    enum what what = WHAT_NOTHING;
    (void)pthread_mutex_lock(&f->mutex);
    refresh(f);
    struct rule *r = f->count > 0 ? find_strike(f, call, name_of(fd, path)) : NULL;
    if (r != NULL) {
        what = r->what;
        *out_error = r->error;
        if (what == WHAT_LOSE)
            lose(&r->dirty, fd);
        log_strike(r);
    }
    (void)pthread_mutex_unlock(&f->mutex);
    errno = saved;
    return what == WHAT_LOSE ? WHAT_ERROR : what;
}

/* Keep what a later strike may lose: size bytes were written; size -1: a sync was done. */
static void note_dirty(int fd, ssize_t size, off_t offset)
{
    char path[PATH_MAX];
    struct stat st;
    struct faults *f = all_faults();
    int saved = errno;
    (void)pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count; i++) {
        struct rule *r = &f->rules[i];
        struct dirty *d = &r->dirty;
        if (r->what != WHAT_LOSE || fstat(fd, &st) != 0 ||
            fnmatch(r->name, name_of(fd, path), 0) != 0)
            continue;
        if (d->file != st.st_ino || size < 0)
            *d = (struct dirty){.file = st.st_ino};
        if (size > 0 && (d->to == 0 || offset < d->from))
            d->from = offset;
        if (size > 0 && offset + size > d->to)
            d->to = offset + size;
    }
    (void)pthread_mutex_unlock(&f->mutex);
    errno = saved;
}

static int failed(int error)
{
    errno = error;
    return -1;
}

static ssize_t faulty_pread(int fd, void *data, size_t size, off_t offset)
{
    ssize_t (*function)(int, void *, size_t, off_t);
    int error = 0;
    if (strike("read", fd, &error) == WHAT_ERROR)
        return failed(error);
    real("pread", &function);
    return function(fd, data, size, offset);
}

static ssize_t faulty_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    int error = 0;
    enum what what = strike("write", fd, &error);
    if (what == WHAT_ERROR)
        return failed(error);
    ssize_t written =
        real_pwrite(fd, data, what == WHAT_SHORT ? (size + 1) / 2 : size, offset);
    if (written > 0)
        note_dirty(fd, written, offset);
    return written;
}

static ssize_t faulty_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t (*function)(int, const struct iovec *, int, off_t);
    int error = 0;
    enum what what = strike("write", fd, &error);
    if (what == WHAT_ERROR)
        return failed(error);
    real("pwritev", &function);
    return function(fd, parts, what == WHAT_SHORT ? (count + 1) / 2 : count, offset);
}

static int faulty_sync(const char *name, int fd)
{
    int (*function)(int);
    int error = 0;
    if (strike("sync", fd, &error) == WHAT_ERROR)
        return failed(error);
    real(name, &function);
    int rc = function(fd);
    if (rc == 0)
        note_dirty(fd, -1, 0);
    return rc;
}

static int faulty_ftruncate(int fd, off_t size)
{
    int (*function)(int, off_t);
    int error = 0;
    if (strike("truncate", fd, &error) == WHAT_ERROR)
        return failed(error);
    real("ftruncate", &function);
    return function(fd, size);
}

/* The system's names. */

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return faulty_pread(fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    return faulty_pread(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return faulty_pwrite(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return faulty_pwrite(fd, data, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return faulty_pwritev(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return faulty_pwritev(fd, parts, count, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t (*function)(int, const void *, size_t);
    int error = 0;
    enum what what = strike("write", fd, &error);
    if (what == WHAT_ERROR)
        return failed(error);
    real("write", &function);
    return function(fd, data, what == WHAT_SHORT ? (size + 1) / 2 : size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t (*function)(int, const struct iovec *, int);
    int error = 0;
    enum what what = strike("write", fd, &error);
    if (what == WHAT_ERROR)
        return failed(error);
    real("writev", &function);
    return function(fd, parts, what == WHAT_SHORT ? (count + 1) / 2 : count);
}

int fdatasync(int fd)
{
    return faulty_sync("fdatasync", fd);
}

int fsync(int fd)
{
    return faulty_sync("fsync", fd);
}

int ftruncate(int fd, off_t size)
{
    return faulty_ftruncate(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return faulty_ftruncate(fd, size);
}
