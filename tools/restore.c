#include "tools/restore.h"

#include "archive/error.h"
#include "archive/size_text.h"
#include "tools/access.h"
#include "tools/command.h"
#include "tools/crew.h"
#include "tools/folders.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static int check_options(const struct options *o, struct restore *r)
{
    int ways = option_given(o, OPTION_ACCOUNT) + option_given(o, OPTION_ALL) +
               option_given(o, OPTION_ID);
    if (ways != 1) {
        say("restore needs one of --account NAME, --all and --id ID");
        return EXIT_USAGE;
    }
    const char *to = o->values[OPTION_TO];
    r->kind = to != NULL ? target_parse(to, &r->path) : NULL;
    if (r->kind == NULL) {
        say("restore needs --to maildir:DIR, --to mbox:FILE or --to eml:DIR");
        return EXIT_USAGE;
    }
    return period_of_options(o, &r->period);
}

static uint64_t total_bytes(const struct restore_jobs *jobs)
{
    uint64_t total = 0;
    for (size_t i = 0; i < jobs->count; i++)
        total += jobs->jobs[i].bytes;
    return total;
}

/* Once for everything: a restore that says it is done is on disk. */
static void sync_target(struct restore *r)
{
    int fd = open(r->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int rc = fd >= 0 ? folder_sync(fd) : -errno;
    if (fd >= 0)
        (void)close(fd);
    if (rc != 0)
        restore_fail(r, r->path, rc);
}

bool restore_tell(struct restore *r, const struct restore_job *job)
{
    char detail[PATH_MAX + 64];
    const struct options *o = r->options;
    const char *since = o->values[OPTION_SINCE], *until = o->values[OPTION_UNTIL];
    (void)snprintf(detail, sizeof(detail), "%s%s%s%s%s", o->values[OPTION_TO],
                   since != NULL ? " since " : "", since != NULL ? since : "",
                   until != NULL ? " until " : "", until != NULL ? until : "");
    if (job->chosen ? job->n_count == 0 : job->messages == 0)
        return true;
    (void)pthread_mutex_lock(&r->mutex);
    progress_hide(&r->progress);
    int status =
        access_tell(o, r->archive,
                    &(struct access){
                        .command = ACCESS_RESTORE,
                        .account = job->name,
                        .count = job->chosen ? job->n_count : job->messages,
                        .first = job->chosen ? job->ns[0] : 1,
                        .last = job->chosen ? job->ns[job->n_count - 1] : job->highest,
                        .detail = detail,
                    });
    r->status = exit_worse(r->status, status);
    if (status != EXIT_DONE)
        r->over = true;
    (void)pthread_mutex_unlock(&r->mutex);
    return status == EXIT_DONE;
}

static void run_jobs(struct restore *r, const struct restore_jobs *jobs)
{
    int rc = r->several ? folder_make(r->path) : 0;
    if (rc != 0)
        restore_fail(r, r->path, rc);
    progress_start(&r->progress, "restoring", total_bytes(jobs));
    if (!r->over && r->kind->whole)
        restore_in_order(r, jobs);
    else if (!r->over)
        restore_files(r, jobs);
    progress_hide(&r->progress);
    if (!r->over && jobs->count > 0)
        sync_target(r);
}

static void print_summary(const struct restore *r, struct output *out)
{
    char size[SIZE_TEXT_MAX];
    size_text(r->counts.written_bytes, size);
    output_print(out, "restored %" PRIu64 " message%s (%s)", r->counts.written,
                 r->counts.written == 1 ? "" : "s", size);
    if (r->counts.present > 0)
        output_print(out, ", %" PRIu64 " were there already", r->counts.present);
    output_print(out, "\n");
}

static int open_lane(struct restore_lane *lane, struct archive *a)
{
    int rc = display_create(&lane->times.display);
    return rc != 0 ? rc : reader_create(a, &lane->reader);
}

int restore_open(struct restore *r, struct archive *a, unsigned lanes)
{
    int rc = 0;
    r->archive = a;
    (void)pthread_mutex_init(&r->mutex, NULL);
    while (rc == 0 && r->lane_count < lanes)
        rc = open_lane(&r->lanes[r->lane_count++], a);
    return rc;
}

void restore_close(struct restore *r)
{
    for (unsigned i = 0; i < r->lane_count; i++) {
        reader_destroy(r->lanes[i].reader);
        display_destroy(r->lanes[i].times.display);
    }
    (void)pthread_mutex_destroy(&r->mutex);
}

static void say_times(const struct restore *r)
{
    struct message_times all = {0};
    for (unsigned i = 0; i < r->lane_count; i++)
        all.undated += r->lanes[i].times.undated;
    say_undated(&all);
}

static void restore(struct restore *r, struct archive *a, const struct restore_jobs *jobs,
                    struct output *out)
{
    int rc = restore_open(r, a, crew_size(TARGET_LANES_MAX));
    if (rc == 0) {
        r->several = jobs->several;
        interrupt_hold();
        run_jobs(r, jobs);
        say_times(r);
        if (r->status != EXIT_USAGE) /* then nothing was begun */
            print_summary(r, out);
    } else {
        r->status = exit_worse(r->status, say_failed("restore", rc));
    }
    restore_close(r);
}

/* What is restored is no part of the archive, and an account may be called `segments`. */
static int check_target(const struct restore *r, const struct archive *a)
{
    if (!folder_holds(archive_path(a), r->path))
        return EXIT_DONE;
    say("%s is in the archive itself: restore to another place", r->path);
    return EXIT_USAGE;
}

static int run_restore(const struct options *o, struct output *out)
{
    struct restore r = {.options = o, .status = EXIT_DONE};
    struct archive *a = NULL;
    int status = check_options(o, &r);
    if (status == EXIT_DONE)
        status = access_check(o);
    if (status == EXIT_DONE)
        status = open_to_read(o, &a);
    if (status == EXIT_DONE)
        status = check_target(&r, a);
    if (status != EXIT_DONE) {
        (void)archive_close(a);
        return status;
    }
    struct restore_jobs jobs;
    r.status = restore_jobs_find(a, o, &jobs);
    bool any = jobs.count > 0 || jobs.several;
    if ((r.status == EXIT_DONE || r.status == EXIT_PART) && any)
        restore(&r, a, &jobs, out);
    restore_jobs_free(&jobs);
    (void)archive_close(a);
    return r.status;
}

const struct command command_restore = {
    .name = "restore",
    .summary = "messages into a maildir, an mbox file or .eml files",
    .usage = "(--account NAME | --all | --id ID...) --to TARGET [--reason TEXT]",
    .about =
        "Writes messages as they were fetched, byte for byte:\n"
        "  maildir:DIR  with cur, new and tmp; messages in cur, marked as seen\n"
        "  mbox:FILE    mboxrd; written to FILE.partial and renamed when it is whole\n"
        "  eml:DIR      a file N.eml for each message\n"
        "With --all, or IDs of several accounts, each account gets a folder of its "
        "name: DIR/ACCOUNT,\n"
        "FILE/ACCOUNT/mbox. Folders have mode 0700, files 0600 and the time of the "
        "Date header, or of\n"
        "fetching where that is missing or unreadable; --since and --until go by the "
        "same, and include\n"
        "both days.\n\n"
        "All processors work on it, and messages are written in the order in which "
        "they lie on the disk;\n"
        "an mbox has them by N. A damaged message is never written; it is named on "
        "standard error and\n"
        "the rest goes on.\n\n"
        "A file that differs is never overwritten. Restoring again goes on where it "
        "stopped: what is\n"
        "there already is compared and skipped. When it ends, all is on disk; before, "
        "a power cut may\n"
        "leave short files, which the next restore names as files that differ: remove "
        "them, or restore\n"
        "into a new folder.\n\n"
        "Who restored which messages, and why, is told to the system's log, and to the "
        "accounts'\n"
        "ledgers where the service runs.",
    .statuses =
        "0  done\n"
        "1  done in part: stopped, not found, or a file that differs is in the way\n"
        "2  usage, no archive there, or the target is in the archive itself\n"
        "3  done, but for messages that are damaged\n"
        "4  could not run, or the target could not be written: no space",
    .example =
        "mailcask restore --account alice@acme.example --to maildir:/home/alice/Maildir\n"
        "mailcask restore --all --to maildir:/srv/restored --since 2026-01-01\n"
        "mailcask restore --id alice@acme.example/17 --to eml:.",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_ALL) | OPTION_BIT(OPTION_ID) |
               OPTION_BIT(OPTION_TO) | OPTION_BIT(OPTION_SINCE) | OPTION_BIT(OPTION_UNTIL) |
               OPTION_BIT(OPTION_REASON),
    .run = run_restore,
};
