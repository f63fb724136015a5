/* Faults: one call of a workload fails, of archive/ or within a commit of LMDB. Nothing may
 * be acknowledged on the strength of it; opened again the archive recovers; and whatever a
 * power cut leaves behind the fault, nothing that was acknowledged is lost: after a failed
 * sync the pages that waited are gone for good, as on Linux, whatever a second sync says.
 *
 *     crash_faults [--all] [--images N] [--jobs J] [--fault KIND]
 *     crash_faults --fault KIND:N [--images N]
 *
 * The first strikes at some calls of each kind (or of one), with --all at every one. */
#include "tests/crash/check.h"
#include "tests/crash/disk.h"
#include "tests/crash/image.h"
#include "tests/crash/recorder.h"
#include "tests/crash/tap.h"
#include "tests/crash/workload.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SESSIONS 12u
#define SEED 7u
/* Of each kind, without --all. */
#define QUICK_CALLS 12u
/* Images behind each fault: the nothing and the everything at the end, then random ones. */
#define IMAGES 6u
/* Most of these soon after it, in so many calls: what it did is mended by what follows. */
#define SOON 60u

static const struct fault_kind_of_call {
    const char *name;
    struct call_fault fault;
} kinds[] = {
    {"write-eio", {.kinds = CALL_WRITE, .error = EIO}},
    {"write-enospc", {.kinds = CALL_WRITE, .error = ENOSPC}},
    {"disk-full", {.kinds = CALL_WRITE | CALL_NAME, .error = ENOSPC, .again = 9}},
    {"write-short", {.kinds = CALL_WRITE, .short_write = true}},
    {"sync-eio", {.kinds = CALL_SYNC, .error = EIO}},
    {"sync-enospc", {.kinds = CALL_SYNC, .error = ENOSPC}},
    {"name-enospc", {.kinds = CALL_NAME, .error = ENOSPC}},
    {"kill", {.kinds = CALL_WRITE | CALL_SYNC | CALL_NAME, .kill = true, .error = EIO}},
    {"index-write-enospc", {.kinds = CALL_WRITE, .index_only = true, .error = ENOSPC}},
    {"index-write-eio", {.kinds = CALL_WRITE, .index_only = true, .error = EIO}},
    {"index-write-short", {.kinds = CALL_WRITE, .index_only = true, .short_write = true}},
    {"index-sync-eio", {.kinds = CALL_SYNC, .index_only = true, .error = EIO}},
    {"index-sync-twice",
     {.kinds = CALL_SYNC, .index_only = true, .error = EIO, .again = 1}},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct shared {
    atomic_uint faults, images, failed, failures_seen;
    unsigned long now[JOBS_MAX];
};

struct run {
    struct mail mail;
    char folder[64];
    const struct fault_kind_of_call *kind;
    unsigned long calls; /* of this kind, in a run without fault */
    unsigned long step;
    unsigned jobs, images;
    struct shared *shared;
    struct tap tap;
};

static void record(struct run *r, unsigned job, struct call_fault *fault,
                   struct event_log *log, struct workload_result *out)
{
    char disk[100];
    snprintf(disk, sizeof(disk), "%s/disk-%u", r->folder, job);
    image_remove(disk);
    assert(mkdir(disk, 0700) == 0);
    event_log_init(log);
    const struct workload_options options = {
        .mail = &r->mail, .folder = disk, .sessions = SESSIONS, .log = log, .fault = fault};
    workload_run(&options, out);
}

static void fail_fault(struct run *r, unsigned long at, const char *what, const char *why)
{
    atomic_fetch_add(&r->shared->failed, 1);
    printf("# crash_faults --fault %s:%lu (%s)\n", r->kind->name, at, what);
    tap_comment(why);
}

static size_t point_behind(const struct event_log *log, size_t event, unsigned image,
                           uint64_t *random)
{
    size_t left = log->count - event;
    if (image < 2)
        return log->count;
    if (image % 3 == 2 || left <= SOON)
        return event + random_below(random, left + 1);
    return event + random_below(random, SOON);
}

static void check_behind(struct run *r, unsigned job, const struct call_fault *fault,
                         const struct event_log *log)
{
    uint64_t random = fault->at * 64 + (uint64_t)(r->kind - kinds);
    struct check c = {.mail = &r->mail, .log = log};
    snprintf(c.folder, sizeof(c.folder), "%s/image-%u", r->folder, job);
    for (unsigned i = 0; i < r->images; i++) {
        struct disk d;
        char what[80];
        c.seed = i < 2 ? i : random_next(&random);
        c.point = point_behind(log, fault->event, i, &random);
        disk_init(&d);
        for (size_t k = 0; k < c.point; k++)
            disk_apply(&d, &log->events[k]);
        image_build(&d, c.seed, c.folder);
        disk_free(&d);
        atomic_fetch_add(&r->shared->images, 1);
        snprintf(what, sizeof(what), "power cut at %zu of %zu, image %u", c.point,
                 log->count, i);
        if (!check_image(&c))
            fail_fault(r, fault->at, what, c.why);
    }
}

/* What was done around the fault, for a person. */
static void print_fault(const struct event_log *log)
{
    size_t at = 0;
    while (at < log->count && log->events[at].type != EVENT_SYNC_FAILED)
        at++;
    for (size_t i = at < 12 ? 0 : at - 12; i < log->count && i < at + 40; i++) {
        char text[200];
        event_text(&log->events[i], text, sizeof(text));
        printf("# %zu %s\n", i, text);
    }
}

static void strike(struct run *r, unsigned job, unsigned long at)
{
    struct call_fault fault = r->kind->fault;
    struct workload_result recorded;
    struct event_log log;
    fault.at = at;
    r->shared->now[job] = at;
    record(r, job, &fault, &log, &recorded);
    atomic_fetch_add(&r->shared->faults, 1);
    atomic_fetch_add(&r->shared->failures_seen, recorded.failures > 0);
    if (recorded.wrong)
        fail_fault(r, at, "workload", recorded.why);
    if (r->calls == 0) /* this fault alone */
        print_fault(&log);
    check_behind(r, job, &fault, &log);
    event_log_free(&log);
}

static void work(void *arg, unsigned job)
{
    struct run *r = arg;
    for (unsigned long at = 1 + job * r->step; at <= r->calls; at += r->step * r->jobs)
        strike(r, job, at);
}

static void worker_lost(void *arg, unsigned job, int status)
{
    struct run *r = arg;
    char why[80];
    snprintf(why, sizeof(why), "the process ended with status %d", status);
    fail_fault(r, r->shared->now[job], "workload or check", why);
}

static void count_calls(struct run *r)
{
    struct call_fault fault = r->kind->fault;
    struct workload_result recorded;
    struct event_log log;
    record(r, 0, &fault, &log, &recorded);
    event_log_free(&log);
    r->calls = fault.calls;
}

static void strike_all(struct run *r, bool every)
{
    char what[200];
    memset(r->shared, 0, sizeof(*r->shared));
    count_calls(r);
    r->step = every ? 1 : 1 + r->calls / QUICK_CALLS;
    run_jobs(r->jobs, work, r, worker_lost);
    snprintf(what, sizeof(what), "%s: %u of %lu calls struck, %u times told; %u images",
             r->kind->name, atomic_load(&r->shared->faults), r->calls,
             atomic_load(&r->shared->failures_seen), atomic_load(&r->shared->images));
    tap_result(&r->tap,
               atomic_load(&r->shared->failed) == 0 && atomic_load(&r->shared->faults) > 0,
               what);
}

/* KIND, or KIND:N for one call alone. */
static void chosen(struct run *r, const char *which, bool every)
{
    size_t size = strcspn(which, ":");
    for (size_t k = 0; k < KINDS; k++) {
        if (strncmp(kinds[k].name, which, size) != 0 || kinds[k].name[size] != '\0')
            continue;
        r->kind = &kinds[k];
        if (which[size] == '\0') {
            strike_all(r, every);
            continue;
        }
        strike(r, 0, strtoul(which + size + 1, NULL, 10));
        tap_result(&r->tap, atomic_load(&r->shared->failed) == 0, which);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"all", no_argument, NULL, 'a'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"fault", required_argument, NULL, 'f'},
                                            {"images", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    static struct run r = {.jobs = 2, .images = IMAGES};
    const char *fault = NULL;
    bool every = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'a')
            every = true;
        else if (option == 'j')
            r.jobs = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'n')
            r.images = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'f')
            fault = optarg;
        else
            return 2;
    }
    if (r.jobs == 0 || r.jobs > JOBS_MAX)
        return 2;
    make_work_folder(r.folder, sizeof(r.folder));
    r.shared = mmap(NULL, sizeof(*r.shared), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(r.shared != MAP_FAILED);
    mail_make(&r.mail, SEED);
    if (fault != NULL)
        chosen(&r, fault, every);
    for (size_t k = 0; fault == NULL && k < KINDS; k++) {
        r.kind = &kinds[k];
        strike_all(&r, every);
    }
    image_remove(r.folder);
    return tap_end(&r.tap);
}
