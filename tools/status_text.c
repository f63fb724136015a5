#include "tools/status_text.h"

#include "archive/size_text.h"
#include "tools/dates.h"

#include <inttypes.h>
#include <string.h>

#define LABEL_COLUMNS 11

/* As the service names them; in this order they are counted. */
static const char *const states[STATUS_STATES] = {
    "running", "waiting", "ready", "parked", "suspended", "paused", "finished", "other"};

bool status_is_failing(const struct answer_object *o)
{
    return answer_text(o, "error").size > 0;
}

/* Itself, not with its server or with everything, which is said there. */
static bool is_paused(const struct answer_object *o)
{
    bool with_another = !span_equal(answer_text(o, "paused_by"), span_text("account")) &&
                        answer_is(o, "account");
    return answer_time(o, "paused") != 0 && !with_another;
}

static size_t state_of(const struct answer_object *o)
{
    size_t i = 0;
    while (i < STATUS_STATES - 1 &&
           !span_equal(answer_text(o, "state"), span_text(states[i])))
        i++;
    return i;
}

void status_count(struct span answer, struct status_counts *out)
{
    struct answer_object o;
    *out = (struct status_counts){0};
    while (answer_next(&answer, &o)) {
        if (answer_is(&o, "server")) {
            out->servers++;
            out->servers_failing += status_is_failing(&o);
        } else if (answer_is(&o, "account")) {
            out->accounts++;
            out->accounts_failing += status_is_failing(&o);
            out->never += answer_time(&o, "last_complete") == 0;
            out->in_state[state_of(&o)]++;
        }
    }
}

void status_put_label(struct output *out, const char *label)
{
    output_print(out, "%-*s ", LABEL_COLUMNS, label);
}

static void put_unconfirmed(struct output *out, const struct answer_object *o)
{
    uint64_t count = answer_number(o, "unconfirmed");
    if (count > 0)
        output_print(out, "%" PRIu64 " deletion%s not confirmed yet", count,
                     count == 1 ? "" : "s");
}

/* "before TIME behind"; nothing where there is no time. */
static void put_time(struct output *out, const char *before, int64_t time_s,
                     const char *behind)
{
    char text[TIME_TEXT_MAX];
    if (time_s == 0)
        return;
    time_text_local(time_s, text);
    output_print(out, "%s%s%s", before, text, behind);
}

static void put_size(struct output *out, const struct answer_object *o, const char *name)
{
    char text[SIZE_TEXT_MAX];
    size_text(answer_number(o, name), text);
    output_print(out, "%s", text);
}

static void put_state(struct output *out, const struct answer_object *o)
{
    struct span state = answer_text(o, "state");
    status_put_label(out, "state");
    if (span_equal(state, span_text("disk-full"))) {
        output_print(out, "the disk is nearly full: nothing is fetched");
    } else if (span_equal(state, span_text("failed"))) {
        output_print(out, "the archive cannot be written: nothing is fetched");
    } else {
        output_clean(out, state);
        if (span_equal(answer_text(o, "mode"), span_text("once")))
            output_print(out, ", a single pass (--once)");
    }
    put_time(out, ", paused by the administrator since ", answer_time(o, "paused"), "");
    put_time(out, ", since ", answer_time(o, "problem_since"), "");
    put_time(out, ", next try ", answer_time(o, "next_try"), "");
    output_print(out, "\n");
    if (answer_text(o, "problem").size > 0) {
        status_put_label(out, "");
        output_clean(out, answer_text(o, "problem"));
        output_print(out, "\n");
    }
}

static void put_deletes(struct output *out, const struct answer_object *o)
{
    struct span deletes = answer_text(o, "deletes");
    bool suspended = span_equal(deletes, span_text("suspended"));
    if (!suspended && !span_equal(deletes, span_text("on")))
        return;
    status_put_label(out, "deletes");
    output_print(out, suspended ? "suspended: the clock has jumped by more than a day; a "
                                  "reload or a restart says that it is right\n"
                                : "on\n");
}

/* "1 place", "2 places" */
static void put_count(struct output *out, uint64_t count, const char *noun)
{
    output_print(out, "%" PRIu64 " %s%s", count, noun, count == 1 ? "" : "s");
}

static void put_damage(struct output *out, const struct answer_object *o)
{
    uint64_t places = answer_number(o, "recovery_damage");
    uint64_t messages = answer_number(o, "damaged_messages");
    uint64_t parts = answer_number(o, "damaged_parts");
    if (places == 0 && messages == 0 && parts == 0)
        return;
    status_put_label(out, "damage");
    put_count(out, places, "place");
    output_print(out, " when the archive was opened, ");
    put_count(out, messages, "message");
    output_print(out, " and ");
    put_count(out, parts, "part");
    output_print(out, " of attachments by the last verify: see mailcask verify\n");
}

static void put_config_error(struct output *out, const struct answer_object *o)
{
    if (answer_text(o, "config_error").size == 0)
        return;
    status_put_label(out, "config");
    output_print(out, "as it was before");
    put_time(out, " ", answer_time(o, "config_error_since"), "");
    output_print(out, ": the file is wrong\n");
    status_put_label(out, "");
    output_clean(out, answer_text(o, "config_error"));
    output_print(out, "\n");
}

void status_put_room(struct output *out, const struct answer_object *o)
{
    status_put_label(out, "disk");
    put_size(out, o, "free_bytes");
    output_print(out, " free; fetching stops below ");
    put_size(out, o, "stop_below_bytes");
    output_print(out, ", goes on at ");
    put_size(out, o, "go_on_at_bytes");
    output_print(out, "\n");
    status_put_label(out, "memory");
    put_size(out, o, "memory_bytes");
    output_print(out, " of ");
    put_size(out, o, "memory_limit_bytes");
    output_print(out, ", ");
    put_size(out, o, "memory_peak_bytes");
    output_print(out, " at most\n");
}

static void put_work(struct output *out, const struct answer_object *o)
{
    status_put_label(out, "sessions");
    output_print(out, "%" PRIu64 " under way\n", answer_number(o, "sessions"));
    status_put_label(out, "since start");
    output_print(out, "%" PRIu64 " messages, ", answer_number(o, "messages"));
    put_size(out, o, "received_bytes");
    output_print(out, " received, ");
    put_size(out, o, "stored_bytes");
    output_print(out, " stored in %" PRIu64 " commits\n", answer_number(o, "commits"));
}

void status_put_unconfirmed(struct output *out, const struct answer_object *o)
{
    if (answer_number(o, "unconfirmed") == 0)
        return;
    status_put_label(out, "unconfirmed");
    put_unconfirmed(out, o);
    output_print(out, ", see mailcask deletions\n");
}

void status_put_service(struct output *out, const struct answer_object *o)
{
    status_put_label(out, "service");
    output_print(out, "mailcaskd ");
    output_clean(out, answer_text(o, "version"));
    output_print(out, ", process %" PRIu64, answer_number(o, "pid"));
    put_time(out, ", since ", answer_time(o, "since"), "");
    if (answer_text(o, "loop").size > 0) {
        output_print(out, ", ");
        output_clean(out, answer_text(o, "loop"));
    }
    output_print(out, "\n");
    status_put_label(out, "archive");
    output_clean(out, answer_text(o, "archive"));
    output_print(out, "\n");
    put_state(out, o);
    put_deletes(out, o);
    put_damage(out, o);
    put_config_error(out, o);
}

static void put_error(struct output *out, const struct answer_object *o)
{
    if (status_is_failing(o)) {
        output_print(out, "\n    ");
        output_clean(out, answer_text(o, "error"));
        put_time(out, " (since ", answer_time(o, "error_since"), ")");
    }
    output_print(out, "\n");
}

void status_put_server(struct output *out, const struct answer_object *o)
{
    output_print(out, "  ");
    output_clean(out, answer_text(o, "server"));
    output_print(out, "  ");
    output_clean(out, answer_text(o, "host"));
    output_print(out, ":%" PRIu64 "  %" PRIu64 " of %" PRIu64 " sessions",
                 answer_number(o, "port"), answer_number(o, "sessions"),
                 answer_number(o, "max_connections"));
    if (answer_number(o, "address_servers") > 1)
        output_print(
            out,
            ", %" PRIu64 " of %" PRIu64 " at its address, shared by %" PRIu64 " servers",
            answer_number(o, "address_sessions"), answer_number(o, "address_limit"),
            answer_number(o, "address_servers"));
    put_time(out, "  held back until ", answer_time(o, "held_until"), "");
    put_time(out, "  paused by the administrator since ", answer_time(o, "paused"), "");
    put_error(out, o);
}

/* What a ready one waits for, where it is not its turn. */
static void put_wait(struct output *out, struct span wait)
{
    static const struct {
        const char *word, *text;
    } waits[] = {{"lookup", ", its server is being looked up"},
                 {"server", ", its server is held back"},
                 {"connection", ", its server has max-connections sessions"},
                 {"address", ", its server's address has max-connections sessions"},
                 {"pace", ", for the pace of logins at its server"}};
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        if (span_equal(wait, span_text(waits[i].word)))
            output_print(out, "%s", waits[i].text);
}

static void put_account_state(struct output *out, const struct answer_object *o)
{
    struct span state = answer_text(o, "state"), by = answer_text(o, "paused_by");
    bool is_paused_now = span_equal(state, span_text("paused"));
    if (!is_paused_now)
        output_clean(out, state);
    if (answer_time(o, "paused") == 0)
        return;
    output_print(out, "%spaused by the administrator", is_paused_now ? "" : ", and ");
    if (span_equal(by, span_text("server")))
        output_print(out, " with its server");
    else if (span_equal(by, span_text("all")))
        output_print(out, " with everything");
    put_time(out, " since ", answer_time(o, "paused"), "");
}

void status_put_account(struct output *out, const struct answer_object *o)
{
    uint64_t failures = answer_number(o, "failures");
    output_print(out, "  ");
    output_clean(out, answer_text(o, "account"));
    output_print(out, "  ");
    put_account_state(out, o);
    put_wait(out, answer_text(o, "waits_for"));
    put_time(out, ", due ", answer_time(o, "due"), "");
    if (failures > 0)
        output_print(out, ", %" PRIu64 " failure%s in a row", failures,
                     failures == 1 ? "" : "s");
    if (answer_time(o, "last_complete") == 0)
        output_print(out, ", no complete poll yet");
    put_time(out, ", last complete ", answer_time(o, "last_complete"), "");
    if (answer_number(o, "unconfirmed") > 0)
        output_print(out, ", ");
    put_unconfirmed(out, o);
    put_error(out, o);
}

static void put_list(struct output *out, struct span answer, const char *kind,
                     void (*put)(struct output *out, const struct answer_object *o),
                     bool all)
{
    struct answer_object o;
    uint64_t left_out = 0, lines = 0;
    while (answer_next(&answer, &o)) {
        if (!answer_is(&o, kind) || (!all && !status_is_failing(&o) && !is_paused(&o)))
            continue;
        if (all || lines++ < STATUS_LINES_MAX)
            put(out, &o);
        else
            left_out++;
    }
    if (left_out > 0)
        output_print(out, "  and %" PRIu64 " more: `mailcask status --all`\n", left_out);
}

void status_put_servers(struct output *out, const struct status_counts *c)
{
    status_put_label(out, "servers");
    output_print(out, "%" PRIu64, c->servers);
    if (c->servers_failing > 0)
        output_print(out, ", %" PRIu64 " with a problem", c->servers_failing);
    output_print(out, "\n");
}

void status_put_accounts(struct output *out, const struct status_counts *c)
{
    status_put_label(out, "accounts");
    output_print(out, "%" PRIu64, c->accounts);
    for (size_t i = 0; i < STATUS_STATES; i++)
        if (c->in_state[i] > 0)
            output_print(out, ", %" PRIu64 " %s", c->in_state[i], states[i]);
    if (c->accounts_failing > 0)
        output_print(out, "; %" PRIu64 " with a problem", c->accounts_failing);
    if (c->never > 0)
        output_print(out, "; %" PRIu64 " never complete", c->never);
    output_print(out, "\n");
}

static void put_repack(struct output *out, const struct answer_object *o)
{
    struct span state = answer_text(o, "state");
    uint64_t total = answer_number(o, "total_bytes");
    bool waiting = span_equal(state, span_text("waiting"));
    if (total == 0 || (!waiting && !span_equal(state, span_text("running"))))
        return;
    status_put_label(out, "repacking");
    output_print(out, "%" PRIu64 " segments, ", answer_number(o, "segments"));
    put_size(out, o, "bytes");
    output_print(out, ", %" PRIu64 " %% done%s\n",
                 answer_number(o, "done_bytes") * 100 / total,
                 waiting ? ", waits until less is being archived" : "");
}

void status_text(struct output *out, struct span answer, bool all)
{
    struct status_counts counts;
    struct answer_object o;
    struct span rest = answer;
    status_count(answer, &counts);
    while (answer_next(&rest, &o))
        if (answer_is(&o, "service")) {
            status_put_service(out, &o);
            status_put_room(out, &o);
            put_work(out, &o);
            status_put_unconfirmed(out, &o);
        } else if (answer_is(&o, "repack"))
            put_repack(out, &o);
    status_put_servers(out, &counts);
    put_list(out, answer, "server", status_put_server, all);
    status_put_accounts(out, &counts);
    put_list(out, answer, "account", status_put_account, all);
}
