#include "tools/repack_asked.h"

#include "archive/error.h"
#include "tools/ask.h"
#include "tools/control_client.h"
#include "tools/exits.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/say.h"

#include <string.h>
#include <time.h>

#define LOOK_MS 200

static void wait_a_little(void)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
}

static void take_summary(const struct answer_object *o, struct repack_summary *out)
{
    *out = (struct repack_summary){
        .segments_read = answer_number(o, "segments_read"),
        .segments_skipped = answer_number(o, "segments_skipped"),
        .segments_removed = answer_number(o, "segments_removed"),
        .segments_kept = answer_number(o, "segments_kept"),
        .removal_held = answer_number(o, "removal_held") != 0,
        .bytes_before = answer_number(o, "bytes_before"),
        .bytes_after = answer_number(o, "bytes_after"),
    };
}

static int result_of(struct span state, const struct answer_object *o)
{
    if (span_equal(state, span_text("done")))
        return 0;
    if (span_equal(state, span_text("stopped")))
        return ERR_STOPPED;
    if (span_equal(state, span_text("damaged")))
        return ERR_DAMAGED;
    struct span error = answer_text(o, "error");
    say("the service could not repack: %.*s", (int)error.size, (const char *)error.data);
    return ERR_FAILED;
}

/* One look at run number `run`. True: it has ended. */
static bool look_at(const struct answer_object *o, uint64_t run, struct progress *progress,
                    struct repack_asked *out)
{
    struct span state = answer_text(o, "state");
    uint64_t at = answer_number(o, "run"), total = answer_number(o, "total_bytes");
    if (at > run) { /* and another has begun behind it */
        out->rc = ERR_STOPPED;
        return true;
    }
    if (at < run || span_equal(state, span_text("beginning")))
        return false;
    if (span_equal(state, span_text("running"))) {
        if (total > 0) /* the signal is looked at between two looks */
            (void)progress_step(progress, "repacking", answer_number(o, "done_bytes"),
                                total);
        return false;
    }
    take_summary(o, &out->summary);
    out->rc = result_of(state, o);
    return true;
}

/* "look" or "stop". */
static int look(const struct options *o, const char *request, uint64_t run,
                struct progress *progress, struct repack_asked *out, bool *out_over)
{
    struct buffer answer = {0};
    struct answer_object object;
    int status = ask_service(o, request, &answer);
    struct span rest = span_of(answer.data, answer.size);
    while (status == EXIT_DONE && !*out_over && answer_next(&rest, &object))
        if (answer_is(&object, "repack"))
            *out_over = look_at(&object, run, progress, out);
    buffer_free(&answer);
    return status;
}

static int follow(const struct options *o, uint64_t run, struct repack_asked *out)
{
    struct progress progress = {0};
    bool over = false, told_to_stop = false;
    int status = EXIT_DONE;
    interrupt_hold();
    while (status == EXIT_DONE && !over) {
        bool stop = !told_to_stop && interrupt_wanted();
        told_to_stop |= stop;
        status = look(o, stop ? "repack stop" : "repack look", run, &progress, out, &over);
        if (!over)
            wait_a_little();
    }
    progress_hide(&progress);
    return status;
}

int repack_by_service(const struct options *o, struct repack_asked *out)
{
    struct buffer answer = {0};
    struct answer_object object;
    uint64_t run = 0;
    *out = (struct repack_asked){0};
    const char *request =
        option_given(o, OPTION_REMOVE_NOW) ? "repack remove-now" : "repack";
    int status = ask_service_if_any(o, request, &answer, &out->none);
    struct span rest = span_of(answer.data, answer.size);
    while (status == EXIT_DONE && !out->none && answer_next(&rest, &object))
        if (answer_is(&object, "repack-begun"))
            run = answer_number(&object, "run");
    buffer_free(&answer);
    return status != EXIT_DONE || out->none ? status : follow(o, run, out);
}
