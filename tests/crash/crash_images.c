/* Power cuts: a workload's every write and sync is logged, and the disk as a power cut at
 * any point of it could have left it is built, opened and checked.
 *
 *     crash_images [--images N] [--seed S] [--jobs J]
 *     crash_images --image SEED:POINT:IMAGE [--keep FOLDER]
 *
 * The first checks N images (a quick selection, if not given), all different, over several
 * workloads. A failure prints the arguments of the second form, which builds and checks
 * that image alone; with --keep it stays in FOLDER, as it was before it was opened. */
#include "tests/crash/check.h"
#include "tests/crash/disk.h"
#include "tests/crash/image.h"
#include "tests/crash/recorder.h"
#include "tests/crash/tap.h"
#include "tests/crash/workload.h"

#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IMAGES_QUICK 480u
#define WORKLOADS 4u
#define SESSIONS 24u
/* Images of recovery itself for one image in so many, and how many of them. */
#define AGAIN_EACH 4u
#define AGAIN 3u
/* Files are removed in few places, and names come back in many ways: so many calls behind
 * each removal have an image more at one in so many. */
#define REMOVAL_SPAN 40u
#define REMOVAL_EACH 4u
#define ROUNDS_MAX 12u
#define FAILURES_MAX 3u
#define PRINTS (1u << 18) /* a power of two, well above the images of one workload */

struct failure {
    size_t point;
    uint64_t seed;
    char why[sizeof(((struct check *)NULL)->why)];
};

/* What the workers of one workload share. */
struct shared {
    atomic_uint images, recoveries, failed;
    atomic_ullong prints[PRINTS]; /* of the images checked; 0: free */
    struct failure failures[FAILURES_MAX];
    struct {
        size_t point;
        uint64_t seed;
    } now[JOBS_MAX]; /* what each is checking, in case it does not come back */
};

struct run {
    unsigned images, jobs; /* images: of one workload */
    uint64_t seed;
    char folder[64];
    struct mail mail;
    struct event_log log;
    struct shared *shared;
    struct tap tap;
};

static bool is_new(struct shared *s, unsigned long long print)
{
    print |= 1;
    for (size_t i = (size_t)(print >> 20) % PRINTS;; i = (i + 1) % PRINTS) {
        unsigned long long there = 0;
        if (atomic_compare_exchange_strong(&s->prints[i], &there, print))
            return true;
        if (there == print)
            return false;
    }
}

static void fail_image(struct run *r, const struct check *c)
{
    unsigned i = atomic_fetch_add(&r->shared->failed, 1);
    if (i >= FAILURES_MAX)
        return;
    struct failure *f = &r->shared->failures[i];
    f->point = c->point;
    f->seed = c->seed;
    memcpy(f->why, c->why, sizeof(f->why));
}

static struct check check_of(struct run *r, unsigned job)
{
    struct check c = {.mail = &r->mail, .log = &r->log};
    snprintf(c.folder, sizeof(c.folder), "%s/image-%u", r->folder, job);
    snprintf(c.scratch, sizeof(c.scratch), "%s/again-%u", r->folder, job);
    return c;
}

/* The image's other choices follow from its seed, so that it can be checked alone. */
static unsigned again_of(size_t point, uint64_t seed)
{
    uint64_t random = seed + point;
    return random_below(&random, AGAIN_EACH) == 0 ? AGAIN : 0;
}

static uint64_t seed_for(uint64_t *random)
{
    switch (random_below(random, 6)) {
    case 0:
        return SEED_NOTHING;
    case 1:
        return SEED_EVERYTHING;
    default:
        return random_next(random);
    }
}

static void check_one(struct run *r, struct check *c, const struct disk *d, unsigned job,
                      uint64_t seed)
{
    c->seed = seed;
    c->point = d->serial;
    c->again = again_of(c->point, seed);
    r->shared->now[job].point = c->point;
    r->shared->now[job].seed = seed;
    if (!is_new(r->shared, image_build(d, seed, c->folder)))
        return;
    atomic_fetch_add(&r->shared->images, 1);
    unsigned long before = c->recoveries;
    if (!check_image(c))
        fail_image(r, c);
    atomic_fetch_add(&r->shared->recoveries, (unsigned)(c->recoveries - before));
}

/* One walk along the log with about `count` images, spread evenly. */
static void walk(struct run *r, struct check *c, unsigned job, uint64_t *random,
                 unsigned count)
{
    struct disk d;
    uint64_t points = r->log.count + 1, done = 0, removed = 0;
    uint64_t shift = random_below(random, points);
    disk_init(&d);
    for (uint64_t p = 0; p < points && atomic_load(&r->shared->failed) < FAILURES_MAX;
         p++) {
        uint64_t due = ((p + 1) * count + shift) / points;
        for (; done < due; done++)
            check_one(r, c, &d, job, seed_for(random));
        if (p < removed + REMOVAL_SPAN && p % REMOVAL_EACH == 0)
            check_one(r, c, &d, job, random_next(random));
        if (p < r->log.count && r->log.events[p].type == EVENT_REMOVE)
            removed = p;
        if (p < r->log.count)
            disk_apply(&d, &r->log.events[p]);
    }
    disk_free(&d);
}

static void work(void *arg, unsigned job)
{
    struct run *r = arg;
    struct check c = check_of(r, job);
    uint64_t random = r->mail.seed * 1000 + job;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        unsigned have = atomic_load(&r->shared->images);
        if (have >= r->images || atomic_load(&r->shared->failed) >= FAILURES_MAX)
            break;
        walk(r, &c, job, &random, (r->images - have + r->jobs - 1) / r->jobs);
    }
}

static void worker_lost(void *arg, unsigned job, int status)
{
    struct run *r = arg;
    struct check c = check_of(r, job);
    c.point = r->shared->now[job].point;
    c.seed = r->shared->now[job].seed;
    snprintf(c.why, sizeof(c.why), "the checking process ended with status %d", status);
    fail_image(r, &c);
}

/* Does the log hold all that was done? Replayed whole it gives the very files; but lock.mdb
 * is written through memory, and LMDB begins it anew. */
static bool log_is_complete(struct run *r)
{
    struct disk d;
    char image[100], command[400];
    snprintf(image, sizeof(image), "%s/replayed", r->folder);
    disk_init(&d);
    for (size_t i = 0; i < r->log.count; i++)
        disk_apply(&d, &r->log.events[i]);
    image_build(&d, SEED_EVERYTHING, image);
    disk_free(&d);
    snprintf(command, sizeof(command), "diff -r -x lock.mdb '%s' '%s/disk' >&2", image,
             r->folder);
    bool same = system(command) == 0;
    image_remove(image);
    return same;
}

/* Outside the index and the lock, archive/ makes no call but through its table. */
static bool table_sees_all(const struct run *r)
{
    uint32_t folder = 0;
    uint32_t index = event_log_resolve(&r->log, "archive/index", &folder, NULL);
    uint32_t lock = event_log_resolve(&r->log, "archive/lock", NULL, NULL);
    bool all = index != 0 && lock != 0, *of_index = calloc(r->log.last_inode + 1u, 1);
    assert(of_index != NULL);
    of_index[index] = true;
    for (size_t i = 0; i < r->log.count; i++) {
        const struct event *e = &r->log.events[i];
        char text[200];
        if (e->type == EVENT_CREATE && e->from.folder == index)
            of_index[e->inode] = true;
        if (e->type == EVENT_MARK || e->by_table || of_index[e->inode] || e->inode == lock)
            continue;
        event_text(e, text, sizeof(text));
        printf("# not through the table: %s\n", text);
        all = false;
    }
    free(of_index);
    return all;
}

static void record(struct run *r, uint64_t seed, struct workload_result *out)
{
    char disk[100];
    snprintf(disk, sizeof(disk), "%s/disk", r->folder);
    image_remove(disk);
    assert(mkdir(disk, 0700) == 0);
    mail_make(&r->mail, seed);
    event_log_init(&r->log);
    const struct workload_options options = {
        .mail = &r->mail, .folder = disk, .sessions = SESSIONS, .log = &r->log};
    workload_run(&options, out);
}

/* A number for all that was done. */
static uint64_t print_of(const struct event_log *log)
{
    uint64_t print = 0;
    for (size_t i = 0; i < log->count; i++) {
        const struct event *e = &log->events[i];
        char text[200];
        event_text(e, text, sizeof(text));
        print = checksum64(text, strlen(text), print);
        if (e->data != NULL)
            print = checksum64(e->data, e->size, print);
    }
    return print;
}

/* Or a failure could not be looked at again. */
static bool log_repeats(struct run *r)
{
    struct workload_result recorded;
    uint64_t print = print_of(&r->log);
    event_log_free(&r->log);
    record(r, r->mail.seed, &recorded);
    return print_of(&r->log) == print;
}

static void report_failures(struct run *r)
{
    unsigned failed = atomic_load(&r->shared->failed);
    for (unsigned i = 0; i < failed && i < FAILURES_MAX; i++) {
        const struct failure *f = &r->shared->failures[i];
        printf("# crash_images --image %" PRIu64 ":%zu:%" PRIu64 "\n", r->mail.seed,
               f->point, f->seed);
        tap_comment(f->why);
    }
}

static void workload(struct run *r, uint64_t seed)
{
    struct workload_result recorded;
    char what[200];
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    record(r, seed, &recorded);
    if (recorded.wrong || recorded.failures > 0 || recorded.deleted == 0 ||
        recorded.moved_beside == 0) {
        tap_comment(recorded.why);
        tap_result(&r->tap, false, "the workload runs without a failure");
        event_log_free(&r->log);
        return;
    }
    if (r->tap.tests == 0) {
        tap_result(&r->tap, log_is_complete(r),
                   "every write is logged: replayed, the same files");
        tap_result(&r->tap, log_repeats(r), "the same seed gives the same log");
        tap_result(&r->tap, table_sees_all(r),
                   "the table of file operations sees all of archive's");
    }
    memset(r->shared, 0, sizeof(*r->shared));
    run_jobs(r->jobs, work, r, worker_lost);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    report_failures(r);
    snprintf(what, sizeof(what),
             "workload %" PRIu64
             ": %zu calls, %u messages acknowledged, %u deleted; %u images "
             "of power cuts, %u of cuts in recovery (%ld s)",
             seed, r->log.count, recorded.acknowledged, recorded.deleted,
             atomic_load(&r->shared->images), atomic_load(&r->shared->recoveries),
             (long)(ended.tv_sec - began.tv_sec));
    tap_result(&r->tap,
               atomic_load(&r->shared->failed) == 0 && atomic_load(&r->shared->images) > 0,
               what);
    event_log_free(&r->log);
}

static void one_image(struct run *r, const char *which, const char *keep)
{
    uint64_t seed = 0;
    struct workload_result recorded;
    struct disk d;
    char text[200];
    size_t point = 0;
    uint64_t workload_seed = 0;
    if (sscanf(which, "%" SCNu64 ":%zu:%" SCNu64, &workload_seed, &point, &seed) != 3)
        return;
    record(r, workload_seed, &recorded);
    struct check c = check_of(r, 0);
    disk_init(&d);
    for (size_t i = 0; i < point && i < r->log.count; i++) {
        disk_apply(&d, &r->log.events[i]);
        event_text(&r->log.events[i], text, sizeof(text));
        if (i + 20 >= point)
            printf("# %zu %s\n", i, text);
    }
    c.point = d.serial;
    c.seed = seed;
    c.again = again_of(point, seed);
    if (keep != NULL)
        image_build(&d, seed, keep);
    image_build(&d, seed, c.folder);
    disk_free(&d);
    bool ok = check_image(&c);
    tap_comment(c.why);
    tap_result(&r->tap, ok, which);
    event_log_free(&r->log);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"images", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"jobs", required_argument, NULL, 'j'},   {"image", required_argument, NULL, 'i'},
        {"keep", required_argument, NULL, 'k'},   {NULL, 0, NULL, 0}};
    static struct run r = {.images = IMAGES_QUICK, .jobs = 2, .seed = 1};
    const char *image = NULL, *keep = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            r.images = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's')
            r.seed = strtoull(optarg, NULL, 10);
        else if (option == 'j')
            r.jobs = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'i')
            image = optarg;
        else if (option == 'k')
            keep = optarg;
        else
            return 2;
    }
    if (r.jobs == 0 || r.jobs > JOBS_MAX || r.images == 0)
        return 2;
    make_work_folder(r.folder, sizeof(r.folder));
    r.images = (r.images + WORKLOADS - 1) / WORKLOADS;
    r.shared = mmap(NULL, sizeof(*r.shared), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(r.shared != MAP_FAILED);
    if (image != NULL)
        one_image(&r, image, keep);
    else
        for (unsigned i = 0; i < WORKLOADS; i++)
            workload(&r, r.seed * 100 + i);
    image_remove(r.folder);
    return tap_end(&r.tap);
}
