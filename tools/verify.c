#include "archive/verify.h"
#include "archive/size_text.h"

#include "archive/error.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/say.h"

#include <inttypes.h>

struct verification {
    struct output *out;
    struct progress progress;
};

static const char *kind_word(enum finding_kind kind)
{
    switch (kind) {
    case FINDING_INDEX:
        return "index: ";
    case FINDING_HEALED:
        return "healed: ";
    case FINDING_LOST:
        return "acknowledged as lost: ";
    case FINDING_STRUCTURE:
    case FINDING_MESSAGE:
        break;
    }
    return "";
}

static void print_message(struct output *out, const struct finding *f)
{
    if (f->account != NULL)
        output_clean(out, span_text(f->account));
    else
        output_print(out, "account number %" PRIu32, f->account_number);
    output_print(out, "/%" PRIu64 ": ", f->n);
    output_clean(out, span_text(f->text));
    if (f->segment != 0)
        output_print(out, " (segment %" PRIu64 " at %" PRIu64 ")", f->segment, f->offset);
}

static void print_finding(void *arg, const struct finding *f)
{
    struct verification *v = arg;
    progress_hide(&v->progress);
    output_print(v->out, "%s", kind_word(f->kind));
    if (f->n != 0) {
        print_message(v->out, f);
    } else {
        if (f->segment != 0)
            output_print(v->out, "segment %" PRIu64 " at %" PRIu64 ": ", f->segment,
                         f->offset);
        output_clean(v->out, span_text(f->text));
    }
    output_print(v->out, "\n");
}

static int show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct verification *v = arg;
    return progress_step(&v->progress, "verifying", bytes_done, bytes_total);
}

static void print_count(struct output *out, const char *name, uint64_t count)
{
    if (count > 0)
        output_print(out, ", %" PRIu64 " %s", count, name);
}

static void print_summary(struct output *out, const struct verify_summary *s, bool quick)
{
    char size[SIZE_TEXT_MAX];
    size_text(s->bytes, size);
    output_print(out,
                 "%s: %" PRIu64 " segments, %" PRIu64 " records, %" PRIu64 " messages, %s",
                 quick ? "checked the structure of" : "checked", s->segments, s->records,
                 s->messages, size);
    bool found =
        s->structure + s->messages_hurt + s->index_differences + s->healed + s->lost > 0;
    output_print(out, found ? "; found" : "; all is well");
    if (found)
        output_print(out, " %" PRIu64 " damaged places", s->structure);
    print_count(out, "damaged messages", s->messages_hurt);
    print_count(out, "differences of the index", s->index_differences);
    print_count(out, "healed", s->healed);
    print_count(out, "acknowledged as lost", s->lost);
    output_print(out, "\n");
}

static int conclude(const struct verify_summary *s)
{
    /* A backup has no index: that is no fault of it. */
    if (!s->with_index)
        say("there is no usable index, so the segments alone were checked; `mailcask "
            "reindex` "
            "makes one");
    else if (s->index_differences > 0)
        say("the index differs from the segments: run `mailcask reindex`");
    return verify_found_damage(s) ? EXIT_DAMAGE : EXIT_DONE;
}

static int run_verify(const struct options *o, struct output *out)
{
    struct archive *a = NULL;
    int status = open_archive(
        o, &(struct archive_options){.mode = ARCHIVE_READ, .without_index = true}, &a);
    if (status != EXIT_DONE)
        return status;
    struct verification v = {.out = out};
    bool quick = option_given(o, OPTION_QUICK);
    struct verify_summary summary;
    interrupt_hold();
    int rc = archive_verify(
        a,
        &(struct verify_options){
            .quick = quick, .report = print_finding, .progress = show_progress, .arg = &v},
        &summary);
    progress_hide(&v.progress);
    (void)archive_close(a);
    if (rc == ERR_STOPPED) {
        say("interrupted: the rest is not checked, and of what was found so far not all is "
            "told; run it again");
        return EXIT_PART;
    }
    if (rc != 0)
        return say_failed("the check could not be finished", rc);
    print_summary(out, &summary, quick);
    return conclude(&summary);
}

const struct command command_verify = {
    .name = "verify",
    .summary = "check every segment, block, message, and the index against them",
    .usage = "",
    .about = "Reads the whole archive and checks everything: the chain of segments, every "
             "record, every\n"
             "message against its SHA-256, that no message number is missing, and the "
             "index. Prints a line\n"
             "for each finding, and a summary. Works beside the service, and on a "
             "read-only copy.\n\n"
             "With --quick: structure and checksums, nothing is decompressed.",
    .statuses = "0  all is well\n1  interrupted\n"
                "2  usage, or no archive there\n"
                "3  damage was found, or the index differs from the segments\n"
                "4  could not run",
    .example = "mailcask verify --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_QUICK),
    .run = run_verify,
};
