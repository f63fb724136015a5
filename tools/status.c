#include "tools/ask.h"
#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/overdue.h"
#include "tools/say.h"
#include "tools/status_text.h"
#include "tools/watch.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define FIELD_NAME_MAX 64

static void print_field(struct json *j, const struct answer_field *f)
{
    char name[FIELD_NAME_MAX];
    uint64_t number;
    int64_t time_s;
    if (f->name.size >= sizeof(name))
        return;
    memcpy(name, f->name.data, f->name.size);
    name[f->name.size] = '\0';
    if (f->type == ANSWER_TEXT)
        json_string_or_null(j, name, f->value);
    else if (f->type == ANSWER_NUMBER && answer_field_number(f, &number))
        json_number(j, name, number);
    else if (f->type == ANSWER_TIME && answer_field_time(f, &time_s))
        json_time(j, name, time_s);
    else
        json_null(j, name);
}

/* overdue: of accounts; NULL for others. */
static void print_objects(struct json *j, struct span answer, const char *kind, bool list,
                          const struct overdue *overdue)
{
    struct answer_object o;
    while (answer_next(&answer, &o)) {
        if (!answer_is(&o, kind))
            continue;
        json_open(j, list ? NULL : kind, '{');
        for (size_t i = 0; i < o.count; i++)
            print_field(j, &o.fields[i]);
        if (overdue != NULL && overdue->max_age != NULL)
            json_bool(j, "overdue", overdue_is(overdue, &o));
        json_close(j, '}');
    }
}

/* The members of the object. */
static void print_all(struct json *j, struct span answer, const struct overdue *overdue)
{
    print_objects(j, answer, "service", false, NULL);
    print_objects(j, answer, "repack", false, NULL);
    json_open(j, "servers", '[');
    print_objects(j, answer, "server", true, NULL);
    json_close(j, ']');
    json_open(j, "accounts", '[');
    print_objects(j, answer, "account", true, overdue);
    json_close(j, ']');
}

static void print_json(struct output *out, struct span answer,
                       const struct overdue *overdue)
{
    struct json j;
    json_begin(&j, out);
    print_all(&j, answer, overdue);
    json_end(&j);
}

/* A line of --watch. */
static void print_json_now(struct output *out, struct span answer, const char *trouble)
{
    struct json j;
    json_begin(&j, out);
    json_time(&j, "time", (int64_t)time(NULL));
    json_string_or_null(&j, "no_answer", span_text(trouble));
    if (answer.size == 0)
        json_null(&j, "service");
    print_all(&j, answer, NULL);
    json_end(&j);
}

static int run_watch(const struct options *o, struct output *out)
{
    if (option_given(o, OPTION_ALL) || option_given(o, OPTION_MAX_AGE)) {
        say("--watch goes with neither --all nor --max-age");
        return EXIT_USAGE;
    }
    if (option_given(o, OPTION_JSON))
        return watch_lines(o, out, print_json_now);
    if (isatty(STDOUT_FILENO) != 1) {
        say("--watch needs a terminal; with --json it prints a line every two seconds");
        return EXIT_USAGE;
    }
    return watch_screen(o, out);
}

static int run_status(const struct options *o, struct output *out)
{
    struct buffer answer = {0};
    struct overdue overdue;
    if (option_given(o, OPTION_WATCH))
        return run_watch(o, out);
    if (!overdue_parse(&overdue, o, (int64_t)time(NULL)))
        return EXIT_USAGE;
    int status = ask_service(o, "status", &answer);
    if (status == EXIT_DONE) {
        struct span text = span_of(answer.data, answer.size);
        overdue_look(&overdue, text);
        if (option_given(o, OPTION_JSON))
            print_json(out, text, &overdue);
        else
            status_text(out, text, option_given(o, OPTION_ALL));
        if (overdue_say(&overdue, text) > 0)
            status = EXIT_PART;
    }
    buffer_free(&answer);
    return status;
}

const struct command command_status = {
    .name = "status",
    .summary = "what the running service does, and what is wrong",
    .usage = "",
    .about =
        "Asks the running service, or a pass with --once, and prints its state, the "
        "servers and the\n"
        "accounts that have a problem or are paused, each with its last error and since "
        "when it fails; with\n"
        "--all every server and account. Where a reload was refused it says so, and what "
        "is wrong in the\n"
        "file. Root may ask, too.\n\n"
        "With --max-age 24h exit 1 if any account had no complete poll for that long, and "
        "its name on\n"
        "standard error; paused or not. A poll that sees from a mailbox's count, size and "
        "last UIDL that\n"
        "nothing has changed does not list it, and is no complete poll: a quiet account "
        "has one each 17\n"
        "polls or 6 hours, whichever comes first, so ask for no less. Of an account that "
        "never had one the\n"
        "time counts from the start of the service.\n\n"
        "With --watch the same on the whole terminal, anew every two seconds, with rates: "
        "of the last two\n"
        "seconds and of the last minute. Servers and accounts with a problem come with "
        "the newest error first.\n"
        "A service that stops or is not there is told, and waited for. q or Ctrl-C ends "
        "it. It needs a\n"
        "terminal; with --json it prints an object every two seconds, one a line, with "
        "time, and with\n"
        "no_answer, which says why there is no service (null while there is one; service "
        "is null then).\n\n"
        "With --json one object, with every server and account: service, servers, "
        "accounts. Times are\n"
        "RFC 3339 in UTC; what there is not, or is not known, is null.\n"
        "  service   version, pid, since, mode (\"service\" or \"once\"), archive, loop, "
        "state (\"running\",\n"
        "            \"disk-full\", \"failed\": the archive cannot be written, "
        "\"stopping\"), problem,\n"
        "            problem_since, next_try, config_error (why the last reload was "
        "refused),\n"
        "            config_error_since, free_bytes, stop_below_bytes, go_on_at_bytes, "
        "sessions,\n"
        "            messages, received_bytes, stored_bytes, commits (these four since the "
        "start),\n"
        "            memory_bytes, memory_peak_bytes, memory_limit_bytes, deletes "
        "(\"off\", "
        "\"on\", or \"suspended\"\n"
        "            since the clock has jumped), unconfirmed "
        "(deletions in the\n"
        "            archive that later listings have not confirmed yet), server_count, "
        "account_count,\n"
        "            paused (since when everything is), recovery_damage (places that were "
        "damaged when the\n"
        "            archive was opened), damaged_messages, damaged_parts (by the last "
        "verify, and not\n"
        "            fetched again since)\n"
        "  repack    run (its number), state (\"idle\", \"beginning\", \"running\", "
        "\"waiting\", and of the last\n"
        "            run \"done\", \"stopped\", \"damaged\", \"failed\"), error, asked (0: "
        "by "
        "itself), segments, bytes,\n"
        "            done_bytes, total_bytes (of work), segments_read, segments_skipped, "
        "segments_removed,\n"
        "            segments_kept, removal_held, bytes_before, bytes_after; not with "
        "--once\n"
        "  servers   server, host, port, sessions, max_connections, address_sessions, "
        "address_limit,\n"
        "            address_servers (sessions at its address now and at most, and how "
        "many "
        "servers share\n"
        "            that), held_until (no session begins before), paused (since when), "
        "error, error_since\n"
        "  accounts  account, server, state (\"waiting\" for its time, \"ready\", then "
        "waits_for says\n"
        "            for what: \"turn\", \"lookup\" of its server, \"server\" that is held "
        "back, \"connection\",\n"
        "            \"address\": all of max-connections there are in use, \"pace\" of the "
        "logins there,\n"
        "            \"parked\" while another account uses its mailbox, \"running\", "
        "\"suspended\" until\n"
        "            its password-file changes, a reload or a poll, \"paused\", "
        "\"finished\" with --once),\n"
        "            due, paused (since when), paused_by (\"account\", \"server\" or "
        "\"all\": what was paused),\n"
        "            failures (in a row), last_complete, listed (messages on the server "
        "then), unconfirmed\n"
        "            (deletions), error, error_since; with --max-age overdue (true or "
        "false)",
    .statuses = "0  done\n1  with --max-age: an account is overdue\n2  usage, or no "
                "archive there\n4  no service runs, or it does not answer",
    .example = "mailcask status --json --config /etc/mailcask/mailcask.conf\n"
               "mailcask status --max-age 24h >/dev/null",
    .options = OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_ALL) |
               OPTION_BIT(OPTION_MAX_AGE) | OPTION_BIT(OPTION_WATCH),
    .run = run_status,
};
