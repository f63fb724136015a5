#include "archive/error.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/say.h"

struct reindexing {
    struct progress progress;
    bool damage;
};

static int show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct reindexing *r = arg;
    return progress_step(&r->progress, "reindexing", bytes_done, bytes_total);
}

static void report(void *arg, enum archive_note note, const char *text)
{
    struct reindexing *r = arg;
    progress_hide(&r->progress);
    if (note == NOTE_DAMAGE)
        r->damage = true;
    say("%s%s", note == NOTE_DAMAGE ? "damage: " : "", text);
}

static int run_reindex(const struct options *o, struct output *out)
{
    struct reindexing r = {.damage = false};
    struct archive *a = NULL;
    interrupt_hold();
    int status = open_archive(o,
                              &(struct archive_options){.mode = ARCHIVE_WRITE,
                                                        .rebuild_index = true,
                                                        .report = report,
                                                        .progress = show_progress,
                                                        .arg = &r},
                              &a);
    progress_hide(&r.progress);
    if (status != EXIT_DONE)
        return status;
    struct archive_stats s;
    int rc = archive_stats(a, &s);
    if (rc == 0)
        output_print(out, "the index is rebuilt: %llu accounts, %llu messages\n",
                     (unsigned long long)s.accounts, (unsigned long long)s.messages);
    int closed = archive_close(a);
    if (rc == 0)
        rc = closed;
    if (rc != 0)
        status = say_failed("reindex", rc);
    return r.damage ? exit_worse(status, EXIT_DAMAGE) : status;
}

const struct command command_reindex = {
    .name = "reindex",
    .summary = "rebuild the index from the segments",
    .usage = "",
    .about = "Throws the index away and makes it anew from the segments, which hold all "
             "that is in it.\n"
             "The service must be stopped. Interrupting it does no harm: run it again.",
    .statuses = "0  done\n1  interrupted\n2  usage, or no archive there\n3  done, and "
                "damage was found in "
                "the segments\n"
                "4  could not run: locked, no space",
    .example = "mailcask reindex --archive /var/lib/mailcask",
    .run = run_reindex,
};
