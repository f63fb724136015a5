#include "daemon/control_protocol.h"
#include "tools/ask.h"
#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/say.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the command line names. */
struct target {
    const char *kind; /* as in a request */
    const char *name; /* NULL: everything */
};

static bool parse_target(const struct options *o, struct target *out)
{
    const char *account = o->values[OPTION_ACCOUNT], *server = o->values[OPTION_SERVER];
    int given = option_given(o, OPTION_ACCOUNT) + option_given(o, OPTION_SERVER) +
                option_given(o, OPTION_ALL);
    *out = (struct target){.kind = "all"};
    if (account != NULL)
        *out = (struct target){.kind = "account", .name = account};
    else if (server != NULL)
        *out = (struct target){.kind = "server", .name = server};
    return given == 1;
}

/* A request of daemon/control_protocol.h. False: no name is like this. */
static bool make_request(const char *verb, const struct target *target,
                         char out[CONTROL_REQUEST_MAX])
{
    const char *name = target->name != NULL ? target->name : "";
    int size = snprintf(out, CONTROL_REQUEST_MAX, "%s %s%s%s", verb, target->kind,
                        target->name != NULL ? " " : "", name);
    return size > 0 && size < CONTROL_REQUEST_MAX - 1 && strchr(name, '\n') == NULL;
}

/* The first object of this kind; one without fields where there is none. */
static struct answer_object object_of(struct span answer, const char *kind)
{
    struct answer_object o;
    while (answer_next(&answer, &o))
        if (answer_is(&o, kind))
            return o;
    return (struct answer_object){.count = 0};
}

static void print_sessions(struct output *out, uint64_t count)
{
    if (count > 0)
        output_print(out, "; %" PRIu64 " session%s under way will end as ever", count,
                     count == 1 ? "" : "s");
}

/* What holds it back although its own pause, if there was one, is over; NULL: nothing. */
static const char *still_paused(struct span answer, const struct target *target)
{
    const struct answer_object service = object_of(answer, "service");
    const struct answer_object account = object_of(answer, "account");
    if (span_equal(answer_text(&account, "paused_by"), span_text("server")))
        return "its server";
    bool all = answer_time(&service, "paused") != 0 && target->name != NULL;
    return all ? "everything" : NULL;
}

static void print_answer(struct output *out, struct span answer, bool pause,
                         const struct target *target)
{
    const struct answer_object about =
        object_of(answer, target->name != NULL ? target->kind : "service");
    bool running = span_equal(answer_text(&about, "state"), span_text("running"));
    bool is_account = strcmp(target->kind, "account") == 0;
    const char *still = pause ? NULL : still_paused(answer, target);
    if (target->name != NULL) {
        output_print(out, "%s ", target->kind);
        output_clean(out, span_text(target->name));
        output_print(out, ": ");
    }
    if (still != NULL)
        output_print(out, "still paused, with %s", still);
    else
        output_print(out, "%s%s", target->name == NULL ? "all " : "",
                     pause ? "paused" : "resumed");
    if (pause)
        print_sessions(out, is_account ? running : answer_number(&about, "sessions"));
    output_print(out, "\n");
}

static int ask(const struct options *o, struct output *out, bool pause)
{
    const char *verb = pause ? "pause" : "resume";
    char request[CONTROL_REQUEST_MAX];
    struct target target;
    if (!parse_target(o, &target)) {
        say("%s needs one of --account NAME, --server NAME and --all", verb);
        return EXIT_USAGE;
    }
    if (!make_request(verb, &target, request)) {
        say("this cannot be the name of %s %s", target.kind[0] == 'a' ? "an" : "a",
            target.kind);
        return EXIT_USAGE;
    }
    struct buffer answer = {0};
    int status = ask_service(o, request, &answer);
    if (status == EXIT_DONE) {
        struct span text = span_of(answer.data, answer.size);
        const struct answer_object saved = object_of(text, "pause");
        print_answer(out, text, pause, &target);
        if (answer_number(&saved, "saved") == 0) {
            say("the service could not write it down, and tries again: until then it is "
                "forgotten if the service ends; its log says why");
            status = EXIT_PART;
        }
    }
    buffer_free(&answer);
    return status;
}

static int run_pause(const struct options *o, struct output *out)
{
    return ask(o, out, true);
}

static int run_resume(const struct options *o, struct output *out)
{
    return ask(o, out, false);
}

#define STATUSES                                                                          \
    "0  done\n1  done, but not written down; or there is no such account or server in "   \
    "the service's configuration\n2  usage, or no archive there\n4  no service runs, or " \
    "it does not answer"
#define TARGETS \
    (OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_SERVER) | OPTION_BIT(OPTION_ALL))

const struct command command_pause = {
    .name = "pause",
    .summary = "begin no more sessions for an account, a server, or all",
    .usage = "--account NAME | --server NAME | --all",
    .about =
        "From now on the running service begins no session with the account, the server "
        "or any server.\n"
        "What is under way ends as ever. It holds until `mailcask resume`, over reloads "
        "and restarts of\n"
        "the service, and `mailcask status` shows it. A single pass (mailcaskd --once) "
        "fetches all the same.",
    .statuses = STATUSES,
    .example = "mailcask pause --server acme",
    .options = TARGETS,
    .run = run_pause,
};

const struct command command_resume = {
    .name = "resume",
    .summary = "lift a pause",
    .usage = "--account NAME | --server NAME | --all",
    .about =
        "Who was due meanwhile is polled now. Pauses of an account, of its server and of "
        "all hold each on\n"
        "their own: an account is polled again when none of them is left. --all lifts "
        "every one.",
    .statuses = STATUSES,
    .example = "mailcask resume --server acme",
    .options = TARGETS,
    .run = run_resume,
};
