#include "archive/repack.h"

#include "archive/error.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/repack_asked.h"
#include "tools/say.h"

#include <inttypes.h>

struct repacking_here {
    struct progress progress;
    bool damage;
};

static int show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct repacking_here *r = arg;
    return progress_step(&r->progress, "repacking", bytes_done, bytes_total);
}

static void print_summary(struct output *out, const struct repack_summary *s)
{
    char text[REPACK_TEXT_MAX];
    repack_text(s, text);
    output_print(out, "%s%s\n", text,
                 s->segments_kept == 0 ? ""
                 : s->removal_held     ? ": run it again then"
                                       : ": run it again then, or with --remove-now");
}

static int conclude(const struct repack_summary *s, int rc)
{
    if (rc == ERR_STOPPED) {
        say("interrupted; nothing is lost: run it again to go on");
        return EXIT_PART;
    }
    if (rc == ERR_DAMAGED) {
        say("damage was met, and nothing was removed: run `mailcask verify`");
        return EXIT_DAMAGE;
    }
    if (rc != 0)
        return say_failed("repack", rc);
    if (s->segments_skipped == 0)
        return EXIT_DONE;
    say("%" PRIu64 " segments hold damage and were left as they are: run `mailcask verify`",
        s->segments_skipped);
    return EXIT_PART;
}

static void report(void *arg, enum archive_note note, const char *text)
{
    struct repacking_here *r = arg;
    progress_hide(&r->progress);
    if (note == NOTE_DAMAGE)
        r->damage = true;
    say("%s%s", note == NOTE_DAMAGE ? "damage: " : "", text);
}

static int repack_here(const struct options *o, struct output *out)
{
    struct archive *a = NULL;
    struct repacking_here here = {.damage = false};
    struct repack_summary summary;
    int status = open_archive(
        o, &(struct archive_options){.mode = ARCHIVE_WRITE, .report = report, .arg = &here},
        &a);
    if (status != EXIT_DONE)
        return status;
    interrupt_hold();
    int rc = archive_repack(a,
                            &(struct repack_options){
                                .remove_now = option_given(o, OPTION_REMOVE_NOW),
                                .progress = show_progress,
                                .arg = &here,
                            },
                            &summary);
    progress_hide(&here.progress);
    if (rc == 0)
        print_summary(out, &summary);
    int closed = archive_close(a);
    status = conclude(&summary, rc != 0 ? rc : closed);
    return here.damage ? exit_worse(status, EXIT_DAMAGE) : status;
}

static int run_repack(const struct options *o, struct output *out)
{
    struct repack_asked asked;
    int status = repack_by_service(o, &asked);
    if (status != EXIT_DONE)
        return status;
    if (asked.none)
        return repack_here(o, out);
    if (asked.rc == 0)
        print_summary(out, &asked.summary);
    return asked.rc == ERR_FAILED ? EXIT_CANNOT : conclude(&asked.summary, asked.rc);
}

const struct command command_repack = {
    .name = "repack",
    .summary = "rewrite segments into larger blocks, without garbage",
    .usage = "[--remove-now]",
    .about =
        "Rewrites sealed segments account by account into larger blocks, compressed "
        "harder, "
        "and leaves out\n"
        "what nothing refers to any more. Messages keep their IDs. What was replaced is "
        "removed a day later,\n"
        "so that a restore that runs now still finds it; --remove-now removes it at once. "
        "While a backup or\n"
        "verify runs nothing is removed. Until then the archive takes the space of "
        "both.\n\n"
        "The running service is asked to do it, and goes on fetching meanwhile; parts of "
        "attachments that no\n"
        "message names stay then, since one that arrives may. It also repacks by itself, "
        "in "
        "idle time. Where no\n"
        "service runs, the command does it itself. Interrupting it stops either, and loses "
        "nothing.",
    .statuses = "0  done\n1  interrupted, or a damaged segment was left as it is\n"
                "2  usage, or no archive there\n3  damage met; nothing was removed\n"
                "4  could not run: locked, no space, under way already",
    .example = "mailcask repack --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_REMOVE_NOW),
    .run = run_repack,
};
