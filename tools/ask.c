#include "tools/ask.h"

#include "archive/archive.h"
#include "archive/error.h"
#include "tools/control_client.h"
#include "tools/exits.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

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

/* The answer may be that it cannot, or does not know how. */
static int check_answer(struct span answer)
{
    struct answer_object o;
    if (!answer_next(&answer, &o) || !answer_is(&o, "error"))
        return EXIT_DONE;
    struct span text = answer_text(&o, "text");
    say("%.*s", (int)text.size, (const char *)text.data);
    return span_equal(answer_text(&o, "cause"), span_text("not-found")) ? EXIT_PART
                                                                        : EXIT_CANNOT;
}

/* none: NULL, or to be set, instead of saying so, where no service listens. */
static int ask(const struct options *o, const char *request, struct buffer *out, bool *none)
{
    char *path = NULL;
    int status = find_archive(o, &path);
    if (status != EXIT_DONE)
        return status;
    int err = control_ask(path, request, out);
    if (none != NULL)
        *none = err == -ENOENT || err == -ECONNREFUSED;
    if (err == 0)
        status = check_answer(span_of(out->data, out->size));
    else if (none == NULL || !*none)
        status = say_no_answer(o, path, err);
    free(path);
    return status;
}

int ask_service(const struct options *o, const char *request, struct buffer *out)
{
    return ask(o, request, out, NULL);
}

int ask_service_if_any(const struct options *o, const char *request, struct buffer *out,
                       bool *out_none)
{
    *out_none = false;
    return ask(o, request, out, out_none);
}
