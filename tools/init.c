#include "archive/archive.h"
#include "archive/error.h"
#include "tools/command.h"
#include "tools/say.h"

#include <errno.h>

static int say_create_failed(const char *path, int err)
{
    if (err == ERR_EXISTS) {
        say("%s holds something already: an archive is made in a new or an empty folder",
            path);
        return EXIT_USAGE;
    }
    if (err == -ENOENT) {
        say("cannot make %s: the folder it would be in does not exist", path);
        return EXIT_USAGE;
    }
    say("cannot make an archive at %s: %s", path, error_text(err));
    return EXIT_CANNOT;
}

static int run_init(const struct options *o, struct output *out)
{
    const char *path = o->words[1];
    int rc = archive_create(NULL, path);
    if (rc != 0)
        return say_create_failed(path, rc);
    output_print(out, "made an empty archive at ");
    output_clean(out, span_text(path));
    output_print(out, "\n");
    return EXIT_DONE;
}

const struct command command_init = {
    .name = "init",
    .summary = "create an archive",
    .usage = "PATH",
    .about = "Makes an empty archive in the new folder PATH. It belongs to the user who "
             "makes it, and\n"
             "nobody else may use it: run this as the user the service runs as.",
    .statuses = "0  made\n"
                "2  PATH holds something already, or its parent folder does not exist\n"
                "4  could not write there",
    .example = "sudo -u mailcask mailcask init /var/lib/mailcask",
    .words = 1,
    .run = run_init,
};
