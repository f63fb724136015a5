#include "daemon/repacking.h"

#include "archive/error.h"

#include <errno.h>

uint64_t repacking_pause_ms(const struct repacker_state *ended)
{
    bool stuck = (ended->err != 0 && ended->err != ERR_STOPPED) ||
                 (ended->summary.segments_read == 0 && ended->summary.segments_skipped > 0);
    return stuck ? REPACKING_FAILED_MS : REPACKING_AGAIN_MS;
}

static void tell_begin(struct repacking *r, const struct repacker_state *s)
{
    struct log_event e;
    if (s->segments == 0 || r->told_begin == s->run)
        return;
    r->told_begin = s->run;
    log_begin(&e, r->log, LEVEL_INFO, "repacking begins");
    log_number(&e, "segments", s->segments);
    log_number(&e, "bytes", s->bytes);
    log_text(&e, "why", s->asked ? "as asked for" : "as time permits");
    log_end(&e);
}

static const char *why_failed(int err)
{
    if (err == -ENOSPC)
        return "it needs more room on the disk than there is";
    if (err == ERR_DAMAGED)
        return "it met damage, and nothing was removed: run 'mailcask verify'";
    return error_text(err);
}

static void tell_done(const struct repacking *r, const struct repack_summary *done)
{
    struct log_event e;
    char text[REPACK_TEXT_MAX];
    repack_text(done, text);
    log_begin(&e, r->log, LEVEL_INFO, "repacking is done");
    log_text(&e, "result", text);
    log_end(&e);
}

/* Of a run in passing that found nothing to do nobody wants to read. */
static void tell_end(struct repacking *r, const struct repacker_state *s)
{
    const struct repack_summary *done = &s->summary;
    bool quiet = !s->asked && s->segments == 0 && done->segments_removed == 0;
    r->told_end = s->run;
    if (s->err == ERR_STOPPED && s->segments > 0)
        log_say(r->log, LEVEL_INFO, "repacking was stopped; it goes on with the next one",
                NULL);
    else if (s->err != 0 && s->err != ERR_STOPPED)
        log_say(r->log, LEVEL_WARNING, "repacking failed", why_failed(s->err));
    else if (s->err == 0 && !quiet)
        tell_done(r, done);
    if (s->err == 0 && done->segments_skipped > 0) {
        struct log_event e;
        log_begin(&e, r->log, LEVEL_WARNING,
                  "repacking left segments as they were for damage: run 'mailcask verify'");
        log_number(&e, "segments", done->segments_skipped);
        log_end(&e);
    }
}

static void begin(struct repacking *r, struct repacker *repacker, bool asked)
{
    /* Without a thread it is tried again with the next turn. */
    if (repacker_begin(repacker, asked, asked && r->remove_now) == 0 && asked)
        r->wanted = false;
}

void repacking_turn(struct repacking *r, struct repacker *repacker, uint64_t now_ms)
{
    struct repacker_state s;
    if (repacker == NULL || repacker != r->repacker) {
        r->repacker = repacker;
        r->next_ms = now_ms + REPACKING_FIRST_MS;
        r->told_begin = r->told_end = 0;
        r->wanted = false;
    }
    if (repacker == NULL)
        return;
    repacker_look(repacker, &s);
    tell_begin(r, &s);
    if (s.running)
        return;
    if (r->told_end != s.run) {
        tell_end(r, &s);
        r->next_ms = now_ms + repacking_pause_ms(&s);
    }
    if (r->wanted)
        begin(r, repacker, true);
    else if (now_ms >= r->next_ms) {
        r->next_ms = now_ms + REPACKING_AGAIN_MS;
        begin(r, repacker, false);
    }
}

uint64_t repacking_wait_ms(const struct repacking *r, uint64_t now_ms)
{
    if (r->repacker == NULL)
        return UINT64_MAX;
    return r->next_ms > now_ms ? r->next_ms - now_ms : REPACKING_AGAIN_MS;
}

uint64_t repacking_ask(struct repacking *r, struct repacker *repacker, bool remove_now,
                       uint64_t now_ms)
{
    struct repacker_state s;
    repacking_turn(r, repacker, now_ms);
    repacker_look(repacker, &s);
    if (r->wanted || (s.running && s.asked))
        return 0;
    r->wanted = true;
    r->remove_now = remove_now;
    if (s.running)
        repacker_stop(repacker);
    repacking_turn(r, repacker, now_ms);
    return s.run + 1;
}

static const char *state_word(const struct repacking *r, const struct repacker_state *s)
{
    if (r->wanted)
        return "beginning";
    if (s->running)
        return s->waiting ? "waiting" : "running";
    if (s->run == 0)
        return "idle";
    if (s->err == ERR_STOPPED)
        return "stopped";
    return s->err == 0 ? "done" : s->err == ERR_DAMAGED ? "damaged" : "failed";
}

void repacking_put(struct buffer *out, const struct repacking *r, struct repacker *repacker)
{
    struct repacker_state s = {.run = 0};
    if (repacker != NULL)
        repacker_look(repacker, &s);
    const struct repack_summary *done = &s.summary;
    control_object(out, "repack");
    control_number(out, "run", s.run);
    control_name(out, "state", state_word(r, &s));
    control_text(out, "error", s.err != 0 && !s.running ? error_text(s.err) : "");
    control_number(out, "asked", s.asked);
    control_number(out, "segments", s.segments);
    control_number(out, "bytes", s.bytes);
    control_number(out, "done_bytes", s.done_bytes);
    control_number(out, "total_bytes", s.total_bytes);
    control_number(out, "segments_read", done->segments_read);
    control_number(out, "segments_skipped", done->segments_skipped);
    control_number(out, "segments_removed", done->segments_removed);
    control_number(out, "segments_kept", done->segments_kept);
    control_number(out, "removal_held", done->removal_held);
    control_number(out, "bytes_before", done->bytes_before);
    control_number(out, "bytes_after", done->bytes_after);
    control_object_end(out);
}
