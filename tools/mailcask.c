#include "archive/digest.h"
#include "archive/error.h"
#include "tools/command.h"
#include "tools/help.h"
#include "tools/say.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#ifndef MAILCASK_VERSION
#define MAILCASK_VERSION "unknown"
#endif

static const struct command *const commands[] = {
    &command_init,    &command_accounts,   &command_list,      &command_show,
    &command_restore, &command_verify,     &command_reindex,   &command_repack,
    &command_ledger,  &command_stats,      &command_status,    &command_poll,
    &command_probe,   &command_quarantine, &command_deletions, &command_backup,
    &command_pause,   &command_resume,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
        if (strcmp(names[i], name) == 0)
            return commands[i];
    }
    const char *near = nearest_name(name, names, COMMAND_COUNT);
    if (near != NULL)
        say("there is no command %s: is %s meant?", name, near);
    else
        say("there is no command %s: `mailcask --help` lists them", name);
    return NULL;
}

/* What the parser cannot know: whether the line fits this command. */
static int check_line(const struct command *c, const struct options *o)
{
    unsigned stray = o->given & ~(c->options | OPTIONS_GLOBAL);
    if (o->error[0] != '\0') {
        say("%s", o->error);
    } else if (stray != 0) {
        say("%s takes no --%s", c->name, option_specs[__builtin_ctz(stray)].name);
    } else if (o->word_count - 1 != c->words) {
        say("usage: mailcask %s %s", c->name, c->usage);
    } else {
        return EXIT_DONE;
    }
    say("`mailcask %s --help` tells more", c->name);
    return EXIT_USAGE;
}

static int run_command(const struct options *o, struct output *out)
{
    const struct command *c = find_command(o->words[0]);
    if (c == NULL)
        return EXIT_USAGE;
    if (option_given(o, OPTION_HELP)) {
        help_command(out, c);
        return EXIT_DONE;
    }
    int status = check_line(c, o);
    return status != EXIT_DONE ? status : c->run(o, out);
}

static int dispatch(const struct options *o, struct output *out)
{
    if (option_given(o, OPTION_VERSION) && o->error[0] == '\0') {
        output_print(out, "mailcask %s\n", MAILCASK_VERSION);
        return EXIT_DONE;
    }
    if (o->word_count > 0)
        return run_command(o, out);
    if (o->error[0] != '\0') {
        say("%s", o->error);
        return EXIT_USAGE;
    }
    if (option_given(o, OPTION_HELP)) {
        help_overview(out, commands, COMMAND_COUNT);
        return EXIT_DONE;
    }
    say("which command? `mailcask --help` lists them");
    return EXIT_USAGE;
}

/* A file of the archive opened later must not become standard output by taking its number.
 * What stands in cannot be written: output that goes nowhere is an error. */
static void open_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", O_RDONLY);
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    /* A reader that went away and a file that may not grow (ulimit -f) are errors of the
     * write, not the end of the process. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    digest_only();

    struct output out = {.file = stdout};
    struct options options;
    int status = EXIT_CANNOT;
    int rc = options_parse(&options, argc, argv);
    if (rc != 0 && rc != ERR_SYNTAX)
        say("%s", error_text(rc));
    else
        status = dispatch(&options, &out);
    if (output_finish(&out) != 0)
        status = EXIT_CANNOT;
    options_free(&options);
    return status;
}
