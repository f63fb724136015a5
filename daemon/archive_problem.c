#include "daemon/archive_problem.h"

#include "archive/archive.h"
#include "archive/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAY(...) ((void)snprintf(out, ARCHIVE_PROBLEM_SIZE, __VA_ARGS__))

static void say_locked(char *out, const char *path)
{
    pid_t pid = 0;
    if (archive_lock_holder(path, &pid) == 0 && pid > 0)
        SAY("archive %s: in use by process %" PRIdMAX "; stop that one first", path,
            (intmax_t)pid);
    else
        SAY("archive %s: in use by another process; stop that one first", path);
}

static void say_owner(char *out, const char *path)
{
    char owner[OWNER_NAME_SIZE];
    archive_owner_name(path, owner);
    SAY("archive %s: belongs to %s, and only they may use it; run mailcaskd as this user: "
        "sudo -u %s mailcaskd ...",
        path, owner, owner);
}

/* Another user's folder may not even let us look for CASK in it: whose it is decides. */
static int refine(const char *path, int err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err == ERR_FORMAT ? -errno : err;
    return err == -EACCES && st.st_uid != geteuid() ? ERR_OWNER : err;
}

void archive_problem(char out[ARCHIVE_PROBLEM_SIZE], const char *path, int err)
{
    switch (refine(path, err)) {
    case ERR_LOCKED:
        say_locked(out, path);
        break;
    case ERR_OWNER:
        say_owner(out, path);
        break;
    case -ENOENT:
        SAY("archive %s: there is none; make one with: mailcask init %s", path, path);
        break;
    case ERR_FORMAT:
        SAY("archive %s: this is not an archive of mailcask; correct path in [archive], or "
            "make one with: mailcask init %s",
            path, path);
        break;
    case ERR_VERSION:
        SAY("archive %s: %s; install the newer one", path, error_text(err));
        break;
    case ERR_DAMAGED:
        SAY("archive %s: the file CASK is damaged; put back a copy of it from a backup",
            path);
        break;
    case -ENOSPC:
    case -EDQUOT:
        SAY("archive %s: %s; free some space", path, error_text(err));
        break;
    case -EROFS:
        SAY("archive %s: %s; mount it writable", path, error_text(err));
        break;
    case -EIO:
        SAY("archive %s: %s; look at the disk (dmesg)", path, error_text(err));
        break;
    default:
        SAY("archive %s: %s", path, error_text(err));
        break;
    }
}
