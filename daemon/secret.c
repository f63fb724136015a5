#include "daemon/secret.h"

#include "archive/digest.h"
#include "archive/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A password, a byte order mark before it, CRLF behind it, and one byte more to see that it
 * is too long. */
#define BUFFER_SIZE (SECRET_SIZE_MAX + 6)
#define DISCARD_SIZE 4096
#define CREDENTIALS_VARIABLE "CREDENTIALS_DIRECTORY" /* systemd.exec(5) */
/* Where the shell finds its command: one that scripts seldom use themselves, and one digit,
 * as POSIX wants it. */
#define SCRIPT_FD 9
#define SCRIPT_PATH "/dev/fd/9"
#define WAIT_STEP_MS 5 /* between looks at a command that has closed its output */

static int fail(struct secret_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct secret_error *error, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return err;
}

static int take_buffer(struct secret *out, struct secret_error *error)
{
    *out = (struct secret){.text = calloc(1, BUFFER_SIZE + 1)};
    return out->text != NULL ? 0 : fail(error, -ENOMEM, "out of memory");
}

void secret_free(struct secret *secret)
{
    if (secret->text != NULL)
        OPENSSL_cleanse(secret->text, BUFFER_SIZE);
    free(secret->text);
    *secret = (struct secret){0};
}

/* Make the first line of the bytes read the secret. what: "password-file /x", for the
 * sentences. */
static int keep_first_line(struct secret *secret, size_t size, const char *what,
                           struct secret_error *error)
{
    static const char mark[] = "\xef\xbb\xbf";
    char *from = secret->text;
    size_t skip = size >= 3 && memcmp(from, mark, 3) == 0 ? 3 : 0;
    char *end = memchr(from + skip, '\n', size - skip);
    size_t length = (end != NULL ? (size_t)(end - from) : size) - skip;
    if (length > 0 && from[skip + length - 1] == '\r')
        length--;
    if (length > SECRET_SIZE_MAX)
        return fail(error, ERR_TOO_LARGE, "%s: its first line is longer than %d bytes",
                    what, SECRET_SIZE_MAX);
    if (length == 0)
        return fail(error, ERR_SYNTAX,
                    "%s: its first line is empty; it must be the password", what);
    if (memchr(from + skip, '\r', length) != NULL ||
        memchr(from + skip, '\0', length) != NULL)
        return fail(error, ERR_SYNTAX, "%s: a CR or NUL in the password", what); /* Q54 */
    memmove(from, from + skip, length);
    OPENSSL_cleanse(from + length, BUFFER_SIZE - length);
    secret->size = length;
    return 0;
}

/* A file with a password in it. */
struct source {
    const char *kind, *name; /* "password-file", for the sentences */
    char path[PATH_MAX];
    mode_t closed; /* the bits its mode must not have */
};

static int find_credential(const char *name, struct source *out, struct secret_error *error)
{
    const char *folder = getenv(CREDENTIALS_VARIABLE);
    *out = (struct source){.kind = "credential", .name = name, .closed = S_IRWXO};
    if (folder == NULL)
        return fail(error, -ENXIO,
                    "credential %s: there are none outside a systemd service with "
                    "LoadCredential= or SetCredential=",
                    name);
    int n = snprintf(out->path, sizeof(out->path), "%s/%s", folder, name);
    return n < (int)sizeof(out->path) ? 0
                                      : fail(error, -ENAMETOOLONG, "credential %s: %s",
                                             name, error_text(-ENAMETOOLONG));
}

static int find_file(const char *path, struct source *out, struct secret_error *error)
{
    *out =
        (struct source){.kind = "password-file", .name = path, .closed = S_IRWXG | S_IRWXO};
    if (strlen(path) >= sizeof(out->path))
        return fail(error, -ENAMETOOLONG, "password-file: %s", error_text(-ENAMETOOLONG));
    memcpy(out->path, path, strlen(path) + 1);
    return 0;
}

/* -EINVAL: the account's password is in no file. */
static int find_source(const struct config_account *account, struct source *out,
                       struct secret_error *error)
{
    if (account->password_kind == CONFIG_PASSWORD_CREDENTIAL)
        return find_credential(account->password, out, error);
    if (account->password_kind == CONFIG_PASSWORD_FILE)
        return find_file(account->password, out, error);
    return fail(error, -EINVAL, "no file");
}

/* Also ctime: it shows a file that was written twice within mtime's tick, or put back. */
static uint64_t stamp_of(const struct stat *st)
{
    const int64_t state[] = {(int64_t)st->st_dev,          (int64_t)st->st_ino,
                             (int64_t)st->st_size,         (int64_t)st->st_mtim.tv_sec,
                             (int64_t)st->st_mtim.tv_nsec, (int64_t)st->st_ctim.tv_sec,
                             (int64_t)st->st_ctim.tv_nsec};
    uint64_t stamp = checksum64(state, sizeof(state), 0);
    return stamp != 0 ? stamp : 1;
}

bool secret_changed(const struct config_account *account, uint64_t stamp)
{
    struct source source;
    struct secret_error ignored;
    struct stat st;
    return find_source(account, &source, &ignored) == 0 && stat(source.path, &st) == 0 &&
           stamp_of(&st) != stamp;
}

static int check_mode(int fd, const struct source *source, uint64_t *out_stamp,
                      struct secret_error *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return fail(error, -errno, "%s %s: %s", source->kind, source->name,
                    error_text(-errno));
    if (!S_ISREG(st.st_mode))
        return fail(error, -EINVAL, "%s %s: not a regular file", source->kind,
                    source->name);
    if ((st.st_mode & source->closed) != 0)
        return fail(error, ERR_OWNER, "%s %s: others may open it; run: chmod 600 %s",
                    source->kind, source->name, source->path);
    *out_stamp = stamp_of(&st);
    return 0;
}

/* Up to size bytes: less at the end of the file only. */
static int read_up_to(int fd, char *data, size_t size, size_t *out_read)
{
    *out_read = 0;
    while (*out_read < size) {
        ssize_t n = read(fd, data + *out_read, size - *out_read);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        *out_read += (size_t)n;
    }
    return 0;
}

static int read_source(const struct source *source, struct secret *out,
                       struct secret_error *error)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fail(error, -errno, "%s %s: %s", source->kind, source->name,
                    error_text(-errno));
    size_t size = 0;
    int err = check_mode(fd, source, &out->stamp, error);
    if (err == 0) {
        err = read_up_to(fd, out->text, BUFFER_SIZE, &size);
        if (err != 0)
            fail(error, err, "%s %s: %s", source->kind, source->name, error_text(err));
    }
    close(fd);
    if (err != 0)
        return err;
    char what[SECRET_ERROR_SIZE];
    snprintf(what, sizeof(what), "%s %s", source->kind, source->name);
    return keep_first_line(out, size, what, error);
}

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int remaining_ms(uint64_t deadline_ms)
{
    uint64_t now = clock_ms();
    return now < deadline_ms ? (int)(deadline_ms - now) : 0;
}

/* A file in memory that holds the command: a descriptor or -errno. */
static int open_script(const char *command)
{
    size_t size = strlen(command);
    int fd = memfd_create("password-command", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, command, size);
    if (n == (ssize_t)size)
        return fd;
    int err = n < 0 ? -errno : -ENOSPC;
    close(fd);
    return err;
}

/* A shell in a process group of its own, with the default reaction to signals: the service
 * blocks and ignores some, and a child would inherit that. */
static int spawn_shell(int script, int output, pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    int err =
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&actions, script, SCRIPT_FD);
    char shell[] = "sh", path[] = SCRIPT_PATH;
    char *const arguments[] = {shell, path, NULL};
    if (err == 0)
        err = posix_spawn(out_pid, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -err;
}

/* All of the output until its end, of which up to size bytes are kept. */
static int read_output(int fd, char *data, size_t size, uint64_t deadline_ms,
                       size_t *out_read)
{
    char discard[DISCARD_SIZE];
    *out_read = 0;
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        int ready = poll(&waiting, 1, remaining_ms(deadline_ms));
        if (ready == 0)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready < 0)
            continue;
        bool full = *out_read == size;
        ssize_t n = full ? read(fd, discard, sizeof(discard))
                         : read(fd, data + *out_read, size - *out_read);
        OPENSSL_cleanse(discard, full && n > 0 ? (size_t)n : 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        if (n > 0 && !full)
            *out_read += (size_t)n;
    }
}

/* Wait for the end of the command; at the deadline its whole group is killed. */
static int reap(pid_t pid, uint64_t deadline_ms, int *out_status)
{
    bool killed = false;
    for (;;) {
        pid_t got = waitpid(pid, out_status, killed ? 0 : WNOHANG);
        if (got == pid)
            return killed ? -ETIMEDOUT : 0;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (remaining_ms(deadline_ms) == 0) {
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL); /* it may have left its group */
            killed = true;
        } else {
            poll(NULL, 0, WAIT_STEP_MS);
        }
    }
}

static int check_status(int status, struct secret_error *error)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        return fail(error, ERR_FAILED, "password-command: it ended with exit status %d",
                    WEXITSTATUS(status));
    return fail(error, ERR_FAILED, "password-command: it was ended by signal %d",
                WTERMSIG(status));
}

/* Run the command, its output into data. */
static int run_command(const char *command, unsigned timeout_ms, char *data, size_t size,
                       size_t *out_read, struct secret_error *error)
{
    uint64_t deadline_ms = clock_ms() + timeout_ms;
    int pipe_fds[2];
    pid_t pid = -1;
    int script = open_script(command);
    if (script < 0)
        return fail(error, script, "password-command: %s", error_text(script));
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        int pipe_err = -errno;
        close(script);
        return fail(error, pipe_err, "password-command: %s", error_text(pipe_err));
    }
    int err = spawn_shell(script, pipe_fds[1], &pid);
    close(script);
    close(pipe_fds[1]);
    if (err != 0) {
        close(pipe_fds[0]);
        return fail(error, err, "password-command: /bin/sh: %s", error_text(err));
    }
    err = read_output(pipe_fds[0], data, size, deadline_ms, out_read);
    close(pipe_fds[0]);
    int status = 0;
    int reap_err = reap(pid, err != 0 ? 0 : deadline_ms, &status);
    if (err == 0)
        err = reap_err;
    if (err == -ETIMEDOUT)
        return fail(error, err, "password-command: no end after %u ms", timeout_ms);
    if (err != 0)
        return fail(error, err, "password-command: %s", error_text(err));
    return check_status(status, error);
}

int secret_command(const char *command, unsigned timeout_ms, struct secret *out,
                   struct secret_error *error)
{
    size_t size = 0;
    int err = take_buffer(out, error);
    if (err == 0)
        err = run_command(command, timeout_ms, out->text, BUFFER_SIZE, &size, error);
    if (err == 0)
        err = keep_first_line(out, size, "password-command", error);
    if (err != 0)
        secret_free(out);
    return err;
}

static int read_file(const struct config_account *account, struct secret *out,
                     struct secret_error *error)
{
    struct source source;
    int err = find_source(account, &source, error);
    if (err == 0)
        err = take_buffer(out, error);
    if (err == 0)
        err = read_source(&source, out, error);
    if (err != 0)
        secret_free(out);
    return err;
}

static int copy_text(const char *text, struct secret *out, struct secret_error *error)
{
    size_t size = strlen(text);
    if (size > SECRET_SIZE_MAX)
        return fail(error, ERR_TOO_LARGE, "the password is longer than %d bytes",
                    SECRET_SIZE_MAX);
    int err = take_buffer(out, error);
    if (err == 0) {
        memcpy(out->text, text, size);
        out->size = size;
    }
    return err;
}

int secret_read(const struct config_account *account, struct secret *out,
                struct secret_error *error)
{
    *out = (struct secret){0};
    switch (account->password_kind) {
    case CONFIG_PASSWORD_FILE:
    case CONFIG_PASSWORD_CREDENTIAL:
        return read_file(account, out, error);
    case CONFIG_PASSWORD_COMMAND:
        return secret_command(account->password, SECRET_COMMAND_TIMEOUT_MS, out, error);
    case CONFIG_PASSWORD_TEXT:
        return copy_text(account->password, out, error);
    }
    return fail(error, ERR_SYNTAX, "no password");
}

int secret_check(const struct config_account *account, struct secret_error *error)
{
    struct secret secret = {0};
    bool file = account->password_kind == CONFIG_PASSWORD_FILE ||
                (account->password_kind == CONFIG_PASSWORD_CREDENTIAL &&
                 getenv(CREDENTIALS_VARIABLE) != NULL);
    int err = file ? read_file(account, &secret, error) : 0;
    secret_free(&secret);
    return err;
}
