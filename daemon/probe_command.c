#include "daemon/probe_command.h"

#include "archive/error.h"
#include "daemon/control.h"
#include "daemon/exits.h"
#include "daemon/providers.h"
#include "daemon/secret.h"
#include "workers/probe.h"
#include "workers/probe_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_DEFAULT_MS ((uint32_t)60 * 1000) /* as a session of the service has it */

struct walk {
    const struct config_account *account; /* NULL: the server only */
    const struct config_server *server;
    struct secret secret;
    enum probe_step failed_step;
    enum probe_cause cause;
    char text[PROBE_TEXT_SIZE]; /* of the failure */
    bool no_memory;
};

/* Takes the object over. What cannot be written is the caller's to notice, on stdout. */
static void write_out(struct walk *w, struct buffer *b)
{
    control_object_end(b);
    w->no_memory |= b->failed;
    if (!b->failed)
        (void)fwrite(b->data, 1, b->size, stdout);
    (void)fflush(stdout);
    buffer_free(b);
}

static void write_beginning(struct walk *w)
{
    const struct config_server *s = w->server;
    struct buffer b = {0};
    control_object(&b, "probe");
    control_text(&b, "account", w->account != NULL ? w->account->name : NULL);
    control_text(&b, "server", s->name);
    control_text(&b, "host", s->host);
    control_number(&b, "port", s->port);
    control_text(&b, "tls", s->tls == CONFIG_TLS_IMPLICIT ? "implicit" : "starttls");
    control_text(&b, "user", w->account != NULL ? w->account->user : NULL);
    write_out(w, &b);
}

static void write_step(void *arg, const struct probe_event *e)
{
    struct walk *w = arg;
    struct buffer b = {0};
    if (e->cause != PROBE_FINE) {
        w->cause = e->cause;
        w->failed_step = e->step;
        (void)snprintf(w->text, sizeof(w->text), "%s", e->text);
    }
    control_object(&b, "step");
    control_text(&b, "step", probe_step_name(e->step));
    control_text(&b, "result", e->cause == PROBE_FINE ? "ok" : "failed");
    control_number(&b, "microseconds", e->elapsed_us);
    control_text(&b, "text", e->text);
    write_out(w, &b);
}

/* What this provider is known for, where the login failed; or NULL. */
static const char *advice(const struct walk *w)
{
    const struct provider *provider = provider_by_host(w->server->host);
    bool login = w->cause != PROBE_FINE && w->failed_step == PROBE_LOGIN;
    return login && provider != NULL ? provider->advice : NULL;
}

static void write_result(struct walk *w)
{
    bool failed = w->cause != PROBE_FINE;
    struct buffer b = {0};
    control_object(&b, "result");
    control_text(&b, "cause", probe_cause_word(w->cause));
    control_text(&b, "step", failed ? probe_step_name(w->failed_step) : NULL);
    control_text(&b, "text", w->text);
    control_text(&b, "meaning", probe_cause_meaning(w->cause));
    control_text(&b, "remedy", probe_cause_remedy(w->cause));
    control_text(&b, "provider", advice(w));
    write_out(w, &b);
    (void)fputs(CONTROL_END, stdout);
}

/* The first step of an account. False: it failed. */
static bool read_password(struct walk *w)
{
    static const char *const kinds[] = {[CONFIG_PASSWORD_FILE] = "password-file",
                                        [CONFIG_PASSWORD_COMMAND] = "password-command",
                                        [CONFIG_PASSWORD_TEXT] = "the configuration"};
    const uint64_t before = probe_now_us();
    struct secret_error error = {.text = ""};
    int err = secret_read(w->account, &w->secret, &error);
    char text[PROBE_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "read from %s", kinds[w->account->password_kind]);
    const struct probe_event event = {.step = PROBE_PASSWORD,
                                      .cause = err == 0         ? PROBE_FINE
                                               : err == -ENOMEM ? PROBE_RESOURCES
                                                                : PROBE_NO_PASSWORD,
                                      .elapsed_us = probe_now_us() - before,
                                      .text = err == 0 ? text : error.text};
    write_step(w, &event);
    return err == 0;
}

static void walk(struct walk *w, uint32_t patience_ms)
{
    const struct config_server *s = w->server;
    write_beginning(w);
    if (w->account == NULL || read_password(w)) {
        const struct probe_config config = {
            .host = s->host,
            .port = s->port,
            .implicit_tls = s->tls == CONFIG_TLS_IMPLICIT,
            .policy = {.ca_file = s->ca_file,
                       .fingerprint = s->has_fingerprint ? s->fingerprint : NULL,
                       .oldest = s->tls_oldest},
            .avoid = s->avoid,
            .user = w->account != NULL ? w->account->user : NULL,
            .password = w->secret.text,
            .patience_ms = patience_ms,
        };
        (void)probe_walk(&config, write_step, w);
    }
    secret_free(&w->secret);
    write_result(w);
}

int probe_command(const struct command_line *line, const struct config *config,
                  struct log *log)
{
    struct walk w = {.cause = PROBE_FINE};
    if (line->account_count > 0) {
        w.account = config_find_account(config, line->accounts[0]);
        w.server = w.account != NULL ? w.account->server : NULL;
    } else {
        w.server = config_find_server(config, line->server);
    }
    if (w.server == NULL) {
        bool account = line->account_count > 0;
        log_line(log, "mailcaskd: there is no %s %s in %s", account ? "account" : "server",
                 account ? line->accounts[0] : line->server, config->path);
        return EXIT_USAGE;
    }
    walk(&w, line->timeout_s > 0 ? line->timeout_s * 1000 : PATIENCE_DEFAULT_MS);
    if (w.no_memory || w.cause == PROBE_RESOURCES)
        return EXIT_CANNOT;
    return w.cause == PROBE_FINE ? EXIT_DONE : EXIT_PART;
}
