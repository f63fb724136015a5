#include "archive/archive.h"
#include "archive/error.h"
#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/open.h"
#include "tools/say.h"
#include "tools/status_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

static void print_objects(struct json *j, struct span answer, const char *kind, bool list)
{
    struct answer_object o;
    while (answer_next(&answer, &o)) {
        if (!answer_is(&o, kind))
            continue;
        json_open(j, list ? NULL : kind, '{');
        for (size_t i = 0; i < o.count; i++)
            print_field(j, &o.fields[i]);
        json_close(j, '}');
    }
}

static void print_json(struct output *out, struct span answer)
{
    struct json j;
    json_begin(&j, out);
    print_objects(&j, answer, "service", false);
    json_open(&j, "servers", '[');
    print_objects(&j, answer, "server", true);
    json_close(&j, ']');
    json_open(&j, "accounts", '[');
    print_objects(&j, answer, "account", true);
    json_close(&j, ']');
    json_end(&j);
}

/* Nobody listens. It may be that there is no archive. */
static int say_no_service(const struct options *o, const char *path)
{
    uid_t owner;
    pid_t pid = 0;
    const char *config = o->values[OPTION_CONFIG];
    if (archive_owner(path, &owner) != 0)
        return say_open_failed(o, path, ERR_FORMAT);
    if (archive_lock_holder(path, &pid) == 0 && pid > 0)
        say("process %" PRIdMAX " has %s and does not answer: a service that is starting "
            "or stopping, or a command that writes; try again in a while",
            (intmax_t)pid, path);
    else
        say("no service runs on %s; start it with: mailcaskd --config %s", path,
            config != NULL ? config : "FILE");
    return EXIT_CANNOT;
}

static int say_no_answer(const struct options *o, const char *path, int err)
{
    switch (err) {
    case -ENOENT:
    case -ECONNREFUSED:
        return say_no_service(o, path);
    case -EACCES:
        return say_open_failed(o, path, err);
    case -EAGAIN:
        say("the service on %s does not answer; its log may say why", path);
        return EXIT_CANNOT;
    case ERR_CLOSED:
        say("the service on %s ended before its answer was whole; try again", path);
        return EXIT_CANNOT;
    default:
        say("asking the service on %s: %s", path, error_text(err));
        return EXIT_CANNOT;
    }
}

/* The answer may be that the service is too old to know the question. */
static int check_answer(struct span answer)
{
    struct answer_object o;
    if (!answer_next(&answer, &o) || answer_is(&o, "service"))
        return EXIT_DONE;
    struct span text = answer_text(&o, "text");
    say("%.*s", (int)text.size, (const char *)text.data);
    return EXIT_CANNOT;
}

static int run_status(const struct options *o, struct output *out)
{
    char *path = NULL;
    struct buffer answer = {0};
    int status = find_archive(o, &path);
    if (status != EXIT_DONE)
        return status;
    int err = control_ask(path, "status", &answer);
    struct span text = span_of(answer.data, answer.size);
    status = err != 0 ? say_no_answer(o, path, err) : check_answer(text);
    if (status == EXIT_DONE && option_given(o, OPTION_JSON))
        print_json(out, text);
    else if (status == EXIT_DONE)
        status_text(out, text, option_given(o, OPTION_ALL));
    buffer_free(&answer);
    free(path);
    return status;
}

const struct command command_status = {
    .name = "status",
    .summary = "what the running service does, and what is wrong",
    .usage = "",
    .about =
        "Asks the running service, or a pass with --once, and prints its state, the "
        "servers "
        "and the\n"
        "accounts that have a problem, each with its last error and since when it fails; "
        "with --all every\n"
        "server and account. Root may ask, too.\n\n"
        "With --json one object, with every server and account: service, servers, "
        "accounts. "
        "Times are\n"
        "RFC 3339 in UTC; what there is not, or is not known, is null.\n"
        "  service   version, pid, since, mode (\"service\" or \"once\"), archive, loop, "
        "state (\"running\",\n"
        "            \"disk-full\", \"failed\": the archive cannot be written, "
        "\"stopping\"), problem,\n"
        "            problem_since, next_try, free_bytes, stop_below_bytes, "
        "go_on_at_bytes, sessions,\n"
        "            messages, received_bytes, stored_bytes, commits (these four since the "
        "start),\n"
        "            memory_bytes, memory_peak_bytes, memory_limit_bytes, server_count, "
        "account_count\n"
        "  servers   server, host, port, sessions, max_connections, held_until (no session "
        "begins\n"
        "            before), error, error_since\n"
        "  accounts  account, server, state (\"waiting\" for its time, \"ready\" and "
        "waiting "
        "for its server,\n"
        "            \"parked\" while another account uses its mailbox, \"running\", "
        "\"suspended\" until a\n"
        "            reload, \"finished\" with --once), due, failures (in a row), "
        "last_complete, listed\n"
        "            (messages on the server then), error, error_since",
    .statuses =
        "0  done\n2  usage, or no archive there\n4  no service runs, or it does not "
        "answer",
    .example = "mailcask status --json --config /etc/mailcask/mailcask.conf",
    .options = OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_ALL),
    .run = run_status,
};
