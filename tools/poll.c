#include "daemon/control_protocol.h"
#include "tools/ask.h"
#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/say.h"

#include <stdio.h>
#include <string.h>

/* What will become of it now, by its state. */
static const char *prospect(const struct answer_object *account)
{
    struct span state = answer_text(account, "state");
    if (span_equal(state, span_text("running")))
        return "a session is under way";
    if (span_equal(state, span_text("parked")))
        return "polled when the other account of its mailbox has ended";
    return "polled now, or as soon as its server has room";
}

static void print_answer(struct output *out, struct span answer)
{
    struct answer_object o;
    bool running = true;
    while (answer_next(&answer, &o)) {
        if (answer_is(&o, "service"))
            running = span_equal(answer_text(&o, "state"), span_text("running"));
        if (!answer_is(&o, "account"))
            continue;
        output_clean(out, answer_text(&o, "account"));
        output_print(out, ": %s\n",
                     running ? prospect(&o)
                             : "polled when the service fetches again: `mailcask status` "
                               "says why it does not");
    }
}

static int run_poll(const struct options *o, struct output *out)
{
    char request[CONTROL_REQUEST_MAX];
    const char *name = o->values[OPTION_ACCOUNT];
    if (name == NULL) {
        say("poll needs --account NAME: `mailcask status --all` lists them");
        return EXIT_USAGE;
    }
    int size = snprintf(request, sizeof(request), "poll %s", name);
    if (size < 0 || (size_t)size >= sizeof(request) - 1 || strchr(name, '\n') != NULL) {
        say("this cannot be the name of an account");
        return EXIT_USAGE;
    }
    struct buffer answer = {0};
    int status = ask_service(o, request, &answer);
    if (status == EXIT_DONE)
        print_answer(out, span_of(answer.data, answer.size));
    buffer_free(&answer);
    return status;
}

const struct command command_poll = {
    .name = "poll",
    .summary = "fetch from an account now",
    .usage = "--account NAME",
    .about =
        "Asks the running service to fetch from an account now, before its time, although "
        "it was suspended,\n"
        "and although its server is held back after a failure. What comes of it shows "
        "`mailcask status`.",
    .statuses = "0  asked\n1  there is no such account in the service's configuration\n"
                "2  usage, or no archive there\n4  no service runs, or it does not answer",
    .example = "mailcask poll --account alice@example.com",
    .options = OPTION_BIT(OPTION_ACCOUNT),
    .run = run_poll,
};
