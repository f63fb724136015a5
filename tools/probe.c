/* The walk itself is mailcaskd's (daemon/probe_command.h), which has the wire and may read
 * the passwords: it is run as a child, and its objects are shown as they come. */
#include "archive/error.h"
#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE 4096
#define ANSWER_MAX ((size_t)1 << 20) /* of one walk: a dozen short objects */
#define ARGUMENTS_MAX 12
#define STEP_COLUMNS 12
#define FIELD_NAME_MAX 32

/* Beside mailcask, or where `make install` puts it. */
static const char *const places[] = {"mailcaskd", "../sbin/mailcaskd"};

/* False where there is none, which was said. */
static bool find_daemon(char out[PATH_MAX])
{
    char own[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (size > 0) {
        own[size] = '\0';
        *(strrchr(own, '/') + 1) = '\0';
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
            if (snprintf(out, PATH_MAX, "%s%s", own, places[i]) < PATH_MAX &&
                access(out, X_OK) == 0)
                return true;
    }
    say("mailcaskd is needed and is neither beside mailcask nor in ../sbin");
    return false;
}

static int spawn(const char *program, char *const *arguments, int out, pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    int err = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (err == 0)
        err = posix_spawn(out_pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -err;
}

/* What is shown */

struct view {
    struct output *output;
    bool as_json;
    struct json json;
    bool whole; /* the last object was there */
};

static bool field_is(const struct answer_object *o, const char *field, const char *text)
{
    return span_equal(answer_text(o, field), span_text(text));
}

static void print_field(struct output *out, const char *before,
                        const struct answer_object *o, const char *field)
{
    output_print(out, "%s", before);
    output_clean(out, answer_text(o, field));
}

static void show_beginning(struct output *out, const struct answer_object *o)
{
    if (answer_text(o, "account").size > 0)
        print_field(out, "", o, "account");
    else
        print_field(out, "server ", o, "server");
    print_field(out, ": ", o, "host");
    output_print(out, ", port %" PRIu64 ", %s\n", answer_number(o, "port"),
                 field_is(o, "tls", "implicit") ? "TLS from the first byte"
                                                : "TLS by STLS");
}

static void show_step(struct output *out, const struct answer_object *o)
{
    struct span step = answer_text(o, "step");
    uint64_t us = answer_number(o, "microseconds");
    output_print(out, "  %-*.*s %6" PRIu64 ".%" PRIu64 " ms  ", STEP_COLUMNS,
                 (int)step.size, (const char *)step.data, us / 1000, us / 100 % 10);
    print_field(out, field_is(o, "result", "failed") ? "FAILED: " : "", o, "text");
    output_print(out, "\n");
}

static void show_result(struct output *out, const struct answer_object *o)
{
    if (field_is(o, "cause", "none")) {
        output_print(out, "All is well; nothing on the server was changed.\n");
        return;
    }
    print_field(out, "cause    ", o, "cause");
    print_field(out, "\nmeaning  ", o, "meaning");
    print_field(out, "\nremedy   ", o, "remedy");
    if (answer_text(o, "provider").size > 0)
        print_field(out, "\n         ", o, "provider");
    output_print(out, "\n");
}

static void show_text(struct view *v, const struct answer_object *o)
{
    if (answer_is(o, "probe"))
        show_beginning(v->output, o);
    else if (answer_is(o, "step"))
        show_step(v->output, o);
    else if (answer_is(o, "result"))
        show_result(v->output, o);
    (void)fflush(v->output->file);
}

static void print_members(struct json *j, const struct answer_object *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct answer_field *f = &o->fields[i];
        char name[FIELD_NAME_MAX + 1];
        uint64_t number;
        (void)snprintf(name, sizeof(name), "%.*s", (int)f->name.size,
                       (const char *)f->name.data);
        if (f->type == ANSWER_TEXT)
            json_string_or_null(j, name, f->value);
        else if (answer_field_number(f, &number))
            json_number(j, name, number);
        else
            json_null(j, name);
    }
}

static void show_json(struct view *v, const struct answer_object *o)
{
    struct json *j = &v->json;
    if (answer_is(o, "probe")) {
        json_begin(j, v->output);
        print_members(j, o);
        json_open(j, "steps", '[');
    } else if (answer_is(o, "step")) {
        json_open(j, NULL, '{');
        print_members(j, o);
        json_close(j, '}');
    } else if (answer_is(o, "result")) {
        json_close(j, ']');
        json_open(j, "result", '{');
        print_members(j, o);
        json_close(j, '}');
        json_end(j);
    }
}

/* The objects that are whole, from *from on; moves it behind them. */
static void show_objects(struct view *v, const struct buffer *b, size_t *from)
{
    const uint8_t *end;
    while ((end = memmem(b->data + *from, b->size - *from, "\n\n", 2)) != NULL) {
        size_t size = (size_t)(end - b->data) + 2 - *from;
        struct span rest = span_of(b->data + *from, size);
        struct answer_object o;
        *from += size;
        if (!answer_next(&rest, &o))
            continue;
        v->whole |= answer_is(&o, "result");
        if (v->as_json)
            show_json(v, &o);
        else
            show_text(v, &o);
    }
}

/* All that the child says. As JSON only at the end, so that no half of an object is shown.
 */
static int hear(struct view *v, int fd, struct buffer *b)
{
    size_t shown = 0;
    for (;;) {
        uint8_t *to = buffer_reserve(b, READ_SIZE);
        ssize_t got = to != NULL ? read(fd, to, READ_SIZE) : -1;
        if (to == NULL || b->size > ANSWER_MAX)
            return -ENOMEM;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            break;
        b->size += got > 0 ? (size_t)got : 0;
        if (!v->as_json)
            show_objects(v, b, &shown);
    }
    const size_t end = strlen("end\n");
    bool complete = b->size >= end && memcmp(b->data + b->size - end, "end\n", end) == 0;
    if (v->as_json && complete)
        show_objects(v, b, &shown);
    return 0;
}

/* Running it */

static int exit_of(pid_t pid, const struct view *v)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status))
        say("mailcaskd --probe was ended by signal %d", WTERMSIG(status));
    else if (v->whole || WEXITSTATUS(status) != EXIT_DONE)
        return WEXITSTATUS(status);
    return EXIT_CANNOT;
}

static int run_child(const char *program, char *const *arguments, struct view *v)
{
    int ends[2];
    pid_t pid = -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return say_failed("mailcaskd", -errno);
    int err = spawn(program, arguments, ends[1], &pid);
    (void)close(ends[1]);
    struct buffer heard = {0};
    int status = EXIT_CANNOT;
    if (err == 0) {
        err = hear(v, ends[0], &heard);
        (void)close(ends[0]); /* or it might wait for us */
        status = exit_of(pid, v);
    } else {
        (void)close(ends[0]);
    }
    buffer_free(&heard);
    return err != 0 ? say_failed(program, err) : status;
}

static int check_options(const struct options *o)
{
    if (option_given(o, OPTION_ACCOUNT) == option_given(o, OPTION_SERVER)) {
        say("probe needs either --account NAME or --server NAME");
        return EXIT_USAGE;
    }
    if (config_file(o) == NULL) {
        say("which configuration? Name it with --config FILE or in the environment "
            "variable MAILCASK_CONFIG");
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

/* "--account=NAME"; to be freed. NULL without memory. */
static char *option_word(enum option option, const char *value)
{
    char *word = NULL;
    return asprintf(&word, "--%s=%s", option_specs[option].name, value) < 0 ? NULL : word;
}

static int run_probe(const struct options *o, struct output *out)
{
    static const enum option passed[] = {OPTION_ACCOUNT, OPTION_SERVER, OPTION_TIMEOUT};
    char program[PATH_MAX], probe[] = "--probe";
    char *arguments[ARGUMENTS_MAX] = {program, probe};
    size_t count = 2, own = 2;
    int status = check_options(o);
    if (status != EXIT_DONE)
        return status;
    if (!find_daemon(program))
        return EXIT_CANNOT;
    arguments[count++] = option_word(OPTION_CONFIG, config_file(o));
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        if (option_given(o, passed[i]))
            arguments[count++] = option_word(passed[i], o->values[passed[i]]);
    bool complete = true;
    for (size_t i = own; i < count; i++)
        complete = complete && arguments[i] != NULL;
    struct view view = {.output = out, .as_json = option_given(o, OPTION_JSON)};
    status = complete ? run_child(program, arguments, &view)
                      : say_failed("starting mailcaskd", -ENOMEM);
    for (size_t i = own; i < count; i++)
        free(arguments[i]);
    return status;
}

const struct command command_probe = {
    .name = "probe",
    .summary = "walk a login step by step, and say where it fails",
    .usage = "(--account NAME | --server NAME)",
    .about =
        "Logs in as the service would, without the service: host name, connection, TLS, "
        "certificate,\n"
        "greeting, capabilities, login, listing; a line for each step with its time. Where "
        "one fails it says\n"
        "the cause, what that means and what to do. Changes nothing on the server: no "
        "message is fetched or\n"
        "deleted. With --server it stops before the login. A step may take 60 seconds "
        "(--timeout).\n\n"
        "Run it as the user of mailcaskd, who may read the passwords. A server that wants "
        "time between two\n"
        "logins counts this one, too.\n\n"
        "With --json one object: account (or null), server, host, port, tls, user (or "
        "null), steps and result.\n"
        "  steps    step (\"password\", \"resolve\", \"connect\", \"stls\", \"tls\", "
        "\"certificate\", \"greeting\",\n"
        "           \"capabilities\", \"login\", \"listing\", \"quit\"), result (\"ok\" or "
        "\"failed\"), microseconds, text\n"
        "  result   cause (a word as \"certificate-expired\"; \"none\": all is well), step "
        "(or null), text,\n"
        "           meaning, remedy, provider (what is known of this one, or null)",
    .statuses = "0  all is well\n1  a step failed\n"
                "2  usage or configuration; no such account or server\n"
                "4  could not run: no mailcaskd, no memory",
    .example = "mailcask probe --config /etc/mailcask/mailcask.conf --account "
               "alice@example.com\n"
               "mailcask probe --server gmail --timeout 10",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_SERVER) |
               OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_TIMEOUT),
    .run = run_probe,
};
