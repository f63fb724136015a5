#include "tools/access.h"

#include "archive/error.h"
#include "archive/utf8.h"
#include "daemon/config.h"
#include "daemon/control_protocol.h"
#include "tools/control_client.h"
#include "tools/exits.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* All together fit into a request. */
#define USER_SIZE 65
#define DETAIL_SIZE 257
#define NOBODY_LOGGED_IN UINT32_MAX /* of a service, a cron job */

static const char *const command_words[] = {
    [ACCESS_SHOW] = "show", [ACCESS_RESTORE] = "restore"};

/* The user who has logged in, whom neither su nor sudo changes; (uid_t)-1 if the kernel
 * does not know. */
static uid_t login_uid(void)
{
    unsigned uid = NOBODY_LOGGED_IN;
    FILE *file = fopen("/proc/self/loginuid", "re");
    if (file != NULL && fscanf(file, "%u", &uid) != 1)
        uid = NOBODY_LOGGED_IN;
    if (file != NULL)
        (void)fclose(file);
    return uid;
}

static void find_user(char out[USER_SIZE])
{
    const char *sudo = getenv("SUDO_USER");
    uid_t uid = login_uid();
    if (uid == (uid_t)-1 && sudo != NULL && sudo[0] != '\0') {
        (void)snprintf(out, USER_SIZE, "%s", sudo);
        return;
    }
    if (uid == (uid_t)-1)
        uid = getuid();
    const struct passwd *entry = getpwuid(uid);
    if (entry != NULL)
        (void)snprintf(out, USER_SIZE, "%s", entry->pw_name);
    else
        (void)snprintf(out, USER_SIZE, "#%" PRIuMAX, (uintmax_t)uid);
}

/* Fit for a line of a log, cut to size - 1 bytes. */
static void clean(const char *text, char *out, size_t size)
{
    struct buffer b = {0};
    utf8_clean(&b, span_text(text));
    size_t used = 0, step = 0;
    uint32_t c = 0;
    while (used < b.size &&
           used + (step = utf8_next(b.data + used, b.size - used, &c)) < size)
        used += step;
    if (used > 0)
        memcpy(out, b.data, used);
    out[used] = '\0';
    buffer_free(&b);
}

static const char *reason_of(const struct options *o)
{
    return o->values[OPTION_REASON] != NULL ? o->values[OPTION_REASON] : "";
}

int access_check(const struct options *o)
{
    bool demanded = false;
    struct config_error error = {.text = ""};
    const char *file = config_file(o);
    const char *reason = reason_of(o);
    char cleaned[ACCESS_REASON_MAX + 1];
    clean(reason, cleaned, sizeof(cleaned));
    if (strcmp(reason, cleaned) != 0) {
        say("a reason is one line of up to %d bytes of UTF-8", ACCESS_REASON_MAX);
        return EXIT_USAGE;
    }
    if (file != NULL && config_archive_requires_reason(file, &demanded, &error) != 0) {
        say("%s", error.text);
        return EXIT_USAGE;
    }
    if (demanded && reason[0] == '\0') {
        say("%s has require-reason = yes: say why, with --reason TEXT", file);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

/* ` name="text"`, so that no text can pass for another field. */
static void put_field(struct buffer *b, const char *name, const char *text)
{
    buffer_put_u8(b, ' ');
    buffer_put(b, name, strlen(name));
    buffer_put(b, "=\"", 2);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buffer_put_u8(b, '\\');
        buffer_put(b, text, 1);
    }
    buffer_put_u8(b, '"');
}

static void tell_system(const struct access *what, const char *user, const char *detail,
                        const char *reason)
{
    struct buffer texts = {0};
    put_field(&texts, "user", user);
    put_field(&texts, "account", what->account);
    put_field(&texts, "detail", detail);
    put_field(&texts, "reason", reason);
    openlog("mailcask", LOG_PID, LOG_AUTHPRIV);
    syslog(LOG_INFO, "%s: messages=%" PRIu64 " range=%" PRIu64 "-%" PRIu64 "%.*s",
           command_words[what->command], what->count, what->first, what->last,
           (int)texts.size, (const char *)texts.data);
    closelog();
    buffer_free(&texts);
}

/* What the service made of it. */
static int judge(struct span answer)
{
    struct answer_object o;
    if (!answer_next(&answer, &o) || !answer_is(&o, "error"))
        return EXIT_DONE;
    struct span text = answer_text(&o, "text");
    bool refused = span_equal(answer_text(&o, "cause"), span_text("refused"));
    say(refused ? "%.*s" : "%.*s; this is in the system's log only", (int)text.size,
        (const char *)text.data);
    return refused ? EXIT_USAGE : EXIT_DONE;
}

/* Without a service the ledger stays as it is: whoever may read the archive may stop the
 * service too. */
static int tell_service(const char *archive, const char *request)
{
    struct buffer answer = {0};
    int status = EXIT_DONE;
    int err = control_ask(archive, request, &answer);
    if (err == 0)
        status = judge(span_of(answer.data, answer.size));
    else if (err != -ENOENT && err != -ECONNREFUSED)
        say("asking the service: %s; this is in the system's log only", error_text(err));
    buffer_free(&answer);
    return status;
}

int access_tell(const struct options *o, const struct archive *a, const struct access *what)
{
    char request[CONTROL_REQUEST_MAX], user[USER_SIZE], named[USER_SIZE];
    char detail[DETAIL_SIZE];
    const char *reason = reason_of(o);
    find_user(named);
    clean(named, user, sizeof(user));
    clean(what->detail, detail, sizeof(detail));
    tell_system(what, user, detail, reason);
    int size = snprintf(request, sizeof(request),
                        "access %s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t%s",
                        command_words[what->command], what->account, what->count,
                        what->first, what->last, user, detail, reason);
    if (size < 0 || (size_t)size >= sizeof(request) - 1) {
        say("this does not fit into the ledger; it is in the system's log only");
        return EXIT_DONE;
    }
    return tell_service(archive_path(a), request);
}
