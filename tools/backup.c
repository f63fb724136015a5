#include "archive/backup.h"

#include "archive/error.h"
#include "archive/size_text.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>

struct backing_up {
    const char *to;
    struct progress progress;
};

static int show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct backing_up *b = arg;
    return progress_step(&b->progress, "backing up", bytes_done, bytes_total);
}

static void say_damage(void *arg, uint64_t segment, const char *text)
{
    struct backing_up *b = arg;
    progress_hide(&b->progress);
    say("damage: segment %" PRIu64 ": %s", segment, text);
}

static void print_text(struct output *out, const struct backup_summary *s)
{
    char size[SIZE_TEXT_MAX], head[2 * SHA256_SIZE + 1];
    size_text(s->bytes_copied, size);
    if (s->segments_copied > 0)
        output_print(out, "copied %" PRIu64 " segment%s (%s), and read back",
                     s->segments_copied, s->segments_copied == 1 ? "" : "s", size);
    else
        output_print(out, "nothing to copy");
    if (s->segments_removed > 0)
        output_print(out, "; removed %" PRIu64 " that repacking has replaced",
                     s->segments_removed);
    output_print(out, "; the backup has %" PRIu64 " segment%s\n", s->segments,
                 s->segments == 1 ? "" : "s");
    hex_encode(s->head, sizeof(s->head), head);
    if (s->head_segment != 0)
        output_print(out, "head %s (segment %" PRIu64 ")\n", head, s->head_segment);
}

static void print_json(struct output *out, const struct archive *a,
                       const struct backup_summary *s)
{
    struct json j;
    json_begin(&j, out);
    json_hex(&j, "uuid", archive_uuid(a), UUID_SIZE);
    json_number(&j, "segments", s->segments);
    json_number(&j, "copied", s->segments_copied);
    json_number(&j, "copied_bytes", s->bytes_copied);
    json_number(&j, "removed", s->segments_removed);
    json_number(&j, "damaged", s->damaged);
    json_number(&j, "head_segment", s->head_segment);
    if (s->head_segment != 0)
        json_hex(&j, "head", s->head, sizeof(s->head));
    else
        json_null(&j, "head");
    json_end(&j);
}

/* Whatever failed, what is there stays there, and the next run goes on. */
static int say_backup_failed(const struct backing_up *b, const struct backup_summary *s,
                             int err)
{
    switch (err) {
    case ERR_STOPPED:
        say("interrupted; the segments copied so far are kept: run it again to go on");
        return EXIT_PART;
    case ERR_EXISTS:
        say("%s is left as it is: %s", b->to, s->refused);
        return EXIT_USAGE;
    case ERR_LOCKED:
        say("%s is in use: another backup is writing there, or something has opened it as "
            "an archive",
            b->to);
        return EXIT_CANNOT;
    case -ENOSPC:
    case -EDQUOT:
        say("no space left for %s; %" PRIu64 " segments were copied and are kept: make "
            "room, and run it again to go on",
            b->to, s->segments_copied);
        return EXIT_CANNOT;
    case -ENOENT:
        say("the folder that %s is to be made in does not exist: is the disk mounted?",
            b->to);
        return EXIT_CANNOT;
    default:
        (void)say_failed(b->to, err);
        return EXIT_CANNOT;
    }
}

static int back_up(struct archive *a, const struct options *o, struct output *out)
{
    struct backing_up b = {.to = o->values[OPTION_TO]};
    struct backup_summary summary;
    interrupt_hold();
    int rc = archive_backup(a, b.to,
                            &(struct backup_options){
                                .progress = show_progress, .report = say_damage, .arg = &b},
                            &summary);
    progress_hide(&b.progress);
    if (rc != 0)
        return say_backup_failed(&b, &summary, rc);
    if (option_given(o, OPTION_JSON))
        print_json(out, a, &summary);
    else
        print_text(out, &summary);
    if (summary.damaged == 0)
        return EXIT_DONE;
    say("the archive or the backup is damaged: run `mailcask verify` on both");
    return EXIT_DAMAGE;
}

static int run_backup(const struct options *o, struct output *out)
{
    struct archive *a = NULL;
    if (o->values[OPTION_TO] == NULL) {
        say("backup needs --to DIR");
        return EXIT_USAGE;
    }
    int status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    status = back_up(a, o, out);
    (void)archive_close(a);
    return status;
}

const struct command command_backup = {
    .name = "backup",
    .summary = "copy what is new into a backup, beside the running service",
    .usage = "--to DIR",
    .about =
        "Copies CASK and the segments into a folder: new, empty, or a backup of this "
        "archive "
        "made before,\n"
        "of which only what is new is copied. The folder it is in must exist, so that a "
        "disk "
        "that is not\n"
        "mounted is noticed. Each segment is read back and checked before it counts. The "
        "service runs on;\n"
        "what it archives meanwhile is in the next backup. Meanwhile repacking removes "
        "nothing; what it has\n"
        "replaced is removed from the backup, too, once all that replaces it is there and "
        "sound.\n\n"
        "Interrupted or killed, or when the disk is full, the backup holds at least what "
        "it "
        "held before, and\n"
        "the next run goes on. A damaged segment is copied as it is, and told; nothing is "
        "removed then.\n\n"
        "The backup is an archive without an index: `mailcask verify --archive DIR` checks "
        "it, and\n"
        "`mailcask reindex --archive DIR` makes it one that list, show and restore can "
        "use; "
        "further backups\n"
        "may go into it all the same, as long as nothing was fetched into it.\n\n"
        "With --json one object: uuid, segments (in the backup now), copied, copied_bytes, "
        "removed,\n"
        "damaged, head_segment (0: none) and head of the archive, which the backup has as "
        "well.",
    .statuses = "0  done\n1  interrupted\n"
                "2  usage, no archive there, or DIR is something else\n"
                "3  done, and damage was met\n"
                "4  could not run: no space, DIR in use",
    .example = "mailcask backup --to /mnt/backup/mail --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_TO) | OPTION_BIT(OPTION_JSON),
    .run = run_backup,
};
