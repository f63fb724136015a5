#include "tools/open.h"

#include "archive/error.h"
#include "daemon/config.h"
#include "tools/display.h"
#include "tools/exits.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_VARIABLE "MAILCASK_CONFIG"

const char *config_file(const struct options *o)
{
    if (o->values[OPTION_CONFIG] != NULL)
        return o->values[OPTION_CONFIG];
    const char *file = getenv(CONFIG_VARIABLE);
    return file != NULL && file[0] != '\0' ? file : NULL;
}

int find_archive(const struct options *o, char **out_path)
{
    if (o->values[OPTION_ARCHIVE] != NULL) {
        *out_path = strdup(o->values[OPTION_ARCHIVE]);
        return *out_path != NULL ? EXIT_DONE : say_failed("finding the archive", -ENOMEM);
    }
    const char *file = config_file(o);
    if (file == NULL) {
        say("which archive? Name it with --archive PATH, or the service's configuration "
            "with "
            "--config FILE or in the environment variable " CONFIG_VARIABLE);
        return EXIT_USAGE;
    }
    struct config_error error = {.text = ""};
    int rc = config_archive_path(file, out_path, &error);
    if (rc == 0)
        return EXIT_DONE;
    say("%s", error.text[0] != '\0' ? error.text : error_text(rc));
    return rc == -ENOMEM ? EXIT_CANNOT : EXIT_USAGE;
}

/* One word as a shell reads it back. */
static void put_quoted(struct buffer *b, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "@%+=:,./_-";
    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        buffer_put(b, word, strlen(word));
        return;
    }
    buffer_put_u8(b, '\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            buffer_put(b, "'\\''", 4);
        else
            buffer_put(b, word, 1);
    }
    buffer_put_u8(b, '\'');
}

char *sudo_line(const char *user, char *const *argv, const char *config)
{
    struct buffer b = {0};
    buffer_put(&b, "sudo -u ", strlen("sudo -u "));
    put_quoted(&b, user);
    for (; *argv != NULL; argv++) {
        buffer_put_u8(&b, ' ');
        put_quoted(&b, *argv);
    }
    if (config != NULL) {
        buffer_put(&b, " --config ", strlen(" --config "));
        put_quoted(&b, config);
    }
    buffer_put_u8(&b, '\0');
    if (b.failed) {
        buffer_free(&b);
        return NULL;
    }
    return (char *)b.data;
}

static void say_owner(const struct options *o, const char *path)
{
    char owner[OWNER_NAME_SIZE];
    archive_owner_name(path, owner);
    const char *config =
        o->values[OPTION_ARCHIVE] == NULL && o->values[OPTION_CONFIG] == NULL
            ? config_file(o)
            : NULL;
    char *line = sudo_line(owner, o->argv, config);
    say("%s belongs to %s, and only they may use it: %s", path, owner,
        line != NULL ? line : "sudo -u");
    free(line);
}

static void say_locked(const char *path)
{
    pid_t pid = 0;
    if (archive_lock_holder(path, &pid) == 0 && pid > 0)
        say("%s is in use by process %" PRIdMAX
            ": stop it first (the service: systemctl stop mailcaskd), then run this again",
            path, (intmax_t)pid);
    else
        say("%s is in use by another process: stop it first, then run this again", path);
}

/* Another user's folder may not even let us look for CASK in it: whose it is decides. */
static int refine(const char *path, int err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err == ERR_FORMAT ? -errno : err;
    return err == -EACCES && st.st_uid != geteuid() ? ERR_OWNER : err;
}

/* The one place that turns an error of archive_open() into a sentence. */
int say_open_failed(const struct options *o, const char *path, int err)
{
    switch (refine(path, err)) {
    case ERR_LOCKED:
        say_locked(path);
        return EXIT_CANNOT;
    case ERR_OWNER:
        say_owner(o, path);
        return EXIT_CANNOT;
    case ERR_NO_INDEX:
        say("the index of %s is missing or unusable: rebuild it with `mailcask reindex`",
            path);
        return EXIT_CANNOT;
    case ERR_STOPPED:
        say("interrupted before the index was complete; nothing is lost: run it again");
        return EXIT_PART;
    case ERR_DAMAGED:
        say("%s/CASK is damaged: put back a copy of that file from a backup", path);
        return EXIT_DAMAGE;
    case ERR_FORMAT:
        say("%s is not an archive of mailcask", path);
        return EXIT_USAGE;
    case ERR_VERSION:
        say("%s was written by a newer mailcask: this version cannot read it", path);
        return EXIT_CANNOT;
    case -ENOENT:
        say("no archive at %s; make one with: mailcask init %s", path, path);
        return EXIT_USAGE;
    default:
        say("cannot open %s: %s", path, error_text(err));
        return EXIT_CANNOT;
    }
}

int open_archive(const struct options *o, const struct archive_options *how,
                 struct archive **out)
{
    char *path = NULL;
    int status = find_archive(o, &path);
    if (status != EXIT_DONE)
        return status;
    int rc = archive_open(path, how, out);
    if (rc != 0)
        status = say_open_failed(o, path, rc);
    free(path);
    return status;
}

int open_to_read(const struct options *o, struct archive **out)
{
    return open_archive(o, &(struct archive_options){.mode = ARCHIVE_READ}, out);
}

int open_account(struct archive *a, const char *name, struct account_info *out)
{
    int rc = archive_find_account(a, name, out);
    if (rc == 0)
        return EXIT_DONE;
    if (rc != ERR_NOT_FOUND)
        return say_failed(name, rc);
    say("there is no account %s in %s: `mailcask accounts` lists them", name,
        archive_path(a));
    return EXIT_PART;
}

int say_failed(const char *what, int err)
{
    /* The one library that is loaded later than the program. */
    say("%s: %s", err == -ELIBACC ? DISPLAY_LIBRARY : what, error_text(err));
    return err == ERR_DAMAGED ? EXIT_DAMAGE : EXIT_CANNOT;
}
