#include "daemon/requests.h"

#include "archive/error.h"
#include "daemon/accesses.h"
#include "daemon/clock.h"

#include <stdio.h>
#include <string.h>

#define TEXT_SIZE (CONFIG_NAME_MAX + 128)

static bool refuse(struct buffer *out, const char *cause, const char *text)
{
    control_object(out, "error");
    control_name(out, "cause", cause);
    control_text(out, "text", text);
    control_object_end(out);
    return true;
}

static bool refuse_unknown(struct buffer *out, const char *kind, const char *name)
{
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "there is no %s %.*s in the service's configuration",
                   kind, CONFIG_NAME_MAX, name);
    return refuse(out, "not-found", text);
}

/* While it is closed, err says only that. */
static bool refuse_archive(const struct status *s, const char *what, int err,
                           struct buffer *out)
{
    char problem[ARCHIVE_PROBLEM_SIZE], text[ARCHIVE_PROBLEM_SIZE + TEXT_SIZE];
    const char *why = s->rounds->archive == NULL ? s->problem : NULL;
    if (why == NULL) {
        archive_problem(problem, s->rounds->config->archive_path, err);
        why = problem;
    }
    (void)snprintf(text, sizeof(text), "%s: %s", what, why);
    return refuse(out, "archive", text);
}

/* Its turn comes with the next look at the scheduler, which is when the clients have been
 * served. */
static bool poll_account(const struct status *s, const char *name, struct buffer *out)
{
    int64_t since_s = 0;
    const struct rounds *r = s->rounds;
    const struct config_account *account = config_find_account(r->config, name);
    if (s->once)
        return refuse(out, "refused",
                      "this is a single pass with --once, which polls each account anyway");
    if (account == NULL)
        return refuse_unknown(out, "account", name);
    uint32_t index = (uint32_t)(account - r->config->accounts);
    if (pauses_of_account(r->pauses, index, &since_s) != PAUSE_NONE)
        return refuse(out, "refused",
                      "it is paused: `mailcask status --all` says since when, `mailcask "
                      "resume` lifts it");
    marks_ask_listing(r->marks, index); /* whoever asks wants it to be looked at */
    scheduler_hurry(r->scheduler, index, clock_now_ms());
    status_put_service(out, s);
    status_put_account(out, s, index);
    return true;
}

/* "account NAME", "server NAME" or "all". PAUSE_NONE: none of these, or not of this
 * configuration, and that is the answer. */
static enum pause_scope find_target(const struct config *config, const char *what,
                                    uint32_t *out_index, struct buffer *out)
{
    *out_index = 0;
    if (strcmp(what, "all") == 0)
        return PAUSE_ALL;
    if (strncmp(what, "server ", 7) == 0) {
        const struct config_server *server = config_find_server(config, what + 7);
        if (server != NULL) {
            *out_index = (uint32_t)(server - config->servers);
            return PAUSE_SERVER;
        }
        (void)refuse_unknown(out, "server", what + 7);
    } else if (strncmp(what, "account ", 8) == 0) {
        const struct config_account *account = config_find_account(config, what + 8);
        if (account != NULL) {
            *out_index = (uint32_t)(account - config->accounts);
            return PAUSE_ACCOUNT;
        }
        (void)refuse_unknown(out, "account", what + 8);
    } else {
        (void)refuse(out, "unknown",
                     "pause or resume what: account NAME, server NAME, all");
    }
    return PAUSE_NONE;
}

static bool pause_or_resume(const struct status *s, const char *what, bool pause,
                            struct buffer *out)
{
    uint32_t index = 0;
    if (s->once)
        return refuse(out, "refused",
                      "this is a single pass with --once: only a service can be paused");
    enum pause_scope scope = find_target(s->rounds->config, what, &index, out);
    if (scope == PAUSE_NONE)
        return true;
    control_object(out, "pause");
    control_number(out, "saved", rounds_pause(s->rounds, scope, index, pause));
    control_object_end(out);
    status_put_service(out, s);
    if (scope == PAUSE_SERVER)
        status_put_server(out, s, index);
    if (scope == PAUSE_ACCOUNT)
        status_put_account(out, s, index);
    return true;
}

static bool note_access(const struct status *s, char *what, struct buffer *out)
{
    struct access_request access;
    if (access_request_parse(what, &access) != 0)
        return refuse(out, "unknown", "this does not say who is given what");
    if (s->rounds->config->require_reason && access.meta.reason.size == 0)
        return refuse(out, "refused",
                      "the service's configuration has require-reason = yes: say why, with "
                      "--reason TEXT");
    int err = access_write(s->rounds, &access);
    if (err == ERR_NOT_FOUND)
        return refuse(out, "not-found", "the archive has no such account");
    if (err != 0)
        return refuse_archive(s, "the ledger cannot be written", err, out);
    control_object(out, "access");
    control_object_end(out);
    return true;
}

static bool repack(const struct status *s, const char *what, struct buffer *out)
{
    struct repacker *repacker = sessions_repacker(s->rounds->sessions);
    bool remove_now = strcmp(what, " remove-now") == 0;
    if (s->once)
        return refuse(out, "refused",
                      "this is a single pass with --once, which does not repack");
    if (repacker == NULL)
        return refuse_archive(s, "the archive cannot be written", ERR_STOPPED, out);
    if (strcmp(what, " stop") == 0)
        repacker_stop(repacker);
    else if (what[0] == '\0' || remove_now) {
        uint64_t run = repacking_ask(s->repacking, repacker, remove_now, clock_now_ms());
        if (run == 0)
            return refuse(out, "refused",
                          "repacking is under way already: `mailcask status` shows it");
        control_object(out, "repack-begun");
        control_number(out, "run", run);
        control_object_end(out);
        return true;
    } else if (strcmp(what, " look") != 0)
        return refuse(out, "unknown", "repack what: nothing, remove-now, look, stop");
    repacking_put(out, s->repacking, repacker);
    return true;
}

bool requests_answer(void *arg, struct control_request *request, struct buffer *out)
{
    const struct status *s = arg;
    char text[TEXT_SIZE];
    if (strcmp(request->line, "status") == 0)
        return status_answer(s, request, out);
    if (strncmp(request->line, "poll ", 5) == 0)
        return poll_account(s, request->line + 5, out);
    if (strncmp(request->line, "pause ", 6) == 0)
        return pause_or_resume(s, request->line + 6, true, out);
    if (strncmp(request->line, "resume ", 7) == 0)
        return pause_or_resume(s, request->line + 7, false, out);
    if (strncmp(request->line, "access ", 7) == 0)
        return note_access(s, request->line + 7, out);
    if (strncmp(request->line, "repack", 6) == 0 &&
        (request->line[6] == '\0' || request->line[6] == ' '))
        return repack(s, request->line + 6, out);
    (void)snprintf(text, sizeof(text), "this service (%s) cannot do '%.40s'",
                   MAILCASK_VERSION, request->line);
    return refuse(out, "unknown", text);
}
