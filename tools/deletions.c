#include "archive/deletion_survey.h"
#include "archive/error.h"
#include "daemon/config.h"
#include "tools/command.h"
#include "tools/dates.h"
#include "tools/deletion_lines.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

/* In the order of enum deletion_verdict; scripts rely on them. */
static const char *const verdicts[] = {
    [DELETION_MAY] = "delete",
    [DELETION_COMPARE] = "compare",
    [DELETION_LATER] = "later",
    [DELETION_KEEP] = "keep",
};
#define VERDICTS (sizeof(verdicts) / sizeof(verdicts[0]))

struct deletions {
    struct archive *archive;
    struct output *out;
    const struct config *config; /* NULL: none was given */
    bool json;
    int status;

    /* Of one account. */
    const struct account_info *account;
    const char *keep; /* why the configuration keeps all of them; NULL: it does not */
    uint64_t after_us;
    uint64_t counts[VERDICTS];
};

static void print_json(const struct deletions *d, const struct surveyed_message *s,
                       const char *verdict, const char *why)
{
    const struct message_meta *m = s->message;
    char id[MESSAGE_ID_TEXT_MAX];
    struct json j;
    message_id_text(d->account->name, m->n, id);
    json_begin(&j, d->out);
    json_string(&j, "id", span_text(id));
    json_string(&j, "account", span_text(d->account->name));
    json_number(&j, "n", m->n);
    json_string(&j, "verdict", span_text(verdict));
    json_string_or_null(&j, "why", span_text(why));
    json_string(&j, "state", span_text(deletion_state_word(s->deletion.state)));
    json_number(&j, "attempts", s->deletion.attempt);
    json_time_us(&j, "tried", s->deletion.time_us);
    json_time_us(&j, "fetched", m->fetched_us);
    json_time_us(&j, "due", m->fetched_us + (int64_t)d->after_us);
    json_string_or_null(&j, "uidl", m->uidl);
    json_number(&j, "size", m->size);
    json_end(&j);
}

static void print_line(const struct deletions *d, const struct surveyed_message *s,
                       const char *verdict, const char *why)
{
    char id[MESSAGE_ID_TEXT_MAX], due[TIME_TEXT_MAX];
    message_id_text(d->account->name, s->message->n, id);
    output_print(d->out, "%-8s ", verdict);
    output_clean(d->out, span_text(id));
    if (why[0] != '\0')
        output_print(d->out, "  %s", why);
    if (s->verdict == DELETION_LATER && s->deletion.state == DELETION_NONE) {
        time_text_local(seconds_of(s->message->fetched_us + (int64_t)d->after_us), due);
        output_print(d->out, " (from %s on)", due);
    }
    output_print(d->out, "\n");
}

static int print_message(void *arg, const struct surveyed_message *s)
{
    struct deletions *d = arg;
    bool open = deletion_is_tombstone(s->deletion.state);
    bool kept = d->keep != NULL && !open;
    enum deletion_verdict verdict = kept ? DELETION_KEEP : s->verdict;
    const char *why = kept ? d->keep : s->why;
    d->counts[verdict]++;
    (d->json ? print_json : print_line)(d, s, verdicts[verdict], why);
    return d->out->error;
}

static void summarise(const struct deletions *d, uint64_t others)
{
    if (d->json)
        return;
    output_clean(d->out, span_text(d->account->name));
    output_print(d->out,
                 ": %" PRIu64 " to delete, %" PRIu64 " to delete if equal when fetched "
                 "again, %" PRIu64 " later or deleted and not confirmed, %" PRIu64
                 " to keep; %" PRIu64 " archived and not on the server\n",
                 d->counts[DELETION_MAY], d->counts[DELETION_COMPARE],
                 d->counts[DELETION_LATER], d->counts[DELETION_KEEP], others);
}

/* What the configuration says of this account. */
static void apply_rule(struct deletions *d, struct deletion_survey *how)
{
    struct timespec now;
    how->archived_before_us = INT64_MAX;
    d->keep = NULL;
    d->after_us = 0;
    if (d->config == NULL)
        return;
    const struct config_account *a = config_find_account(d->config, d->account->name);
    if (a == NULL) {
        d->keep = "the account is not in the configuration";
        return;
    }
    how->host = span_text(a->server->host);
    how->login = span_text(a->user);
    if (!d->config->deletes)
        d->keep = "deletes = off";
    else if (a->delete_rule == CONFIG_DELETE_NEVER)
        d->keep = "delete = never";
    if (a->delete_rule != CONFIG_DELETE_AFTER)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    d->after_us = a->delete_after_ms * 1000;
    how->archived_before_us =
        (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - (int64_t)d->after_us;
}

static int survey_account(void *arg, const struct account_info *account)
{
    struct deletions *d = arg;
    struct deletion_survey how = {.account = account->number};
    uint64_t others = 0;
    d->account = account;
    memset(d->counts, 0, sizeof(d->counts));
    apply_rule(d, &how);
    int rc = deletion_survey(d->archive, &how, print_message, d, &others);
    if (rc == 0 || rc == ERR_NOT_FOUND)
        summarise(d, rc == 0 ? others : account->messages);
    else if (d->out->error == 0)
        d->status = exit_worse(d->status, say_failed(account->name, rc));
    return d->out->error;
}

/* EXIT_DONE with *out NULL where none is named. */
static int load_config(const struct options *o, struct config **out)
{
    const char *file = config_file(o);
    struct config_error error = {.text = ""};
    if (file == NULL) {
        say("no configuration is named (--config FILE), so this is what `delete = "
            "archived` "
            "would do");
        return EXIT_DONE;
    }
    int rc = config_load(file, out, &error);
    if (rc == 0)
        return EXIT_DONE;
    say("%s", error.text[0] != '\0' ? error.text : error_text(rc));
    return rc == -ENOMEM ? EXIT_CANNOT : EXIT_USAGE;
}

static int run_deletions(const struct options *o, struct output *out)
{
    struct deletions d = {.out = out, .json = option_given(o, OPTION_JSON)};
    struct account_info account;
    struct config *config = NULL;
    int status = load_config(o, &config);
    if (status == EXIT_DONE)
        status = open_to_read(o, &d.archive);
    d.config = config;
    if (status == EXIT_DONE && option_given(o, OPTION_ACCOUNT)) {
        status = open_account(d.archive, o->values[OPTION_ACCOUNT], &account);
        if (status == EXIT_DONE)
            (void)survey_account(&d, &account);
    } else if (status == EXIT_DONE) {
        int rc = archive_each_account(d.archive, survey_account, &d);
        if (rc != 0 && out->error == 0)
            status = say_failed("reading the accounts", rc);
    }
    (void)archive_close(d.archive);
    config_free(config);
    return exit_worse(status, d.status);
}

const struct command command_deletions = {
    .name = "deletions",
    .summary = "what deletion would do now, and why or why not",
    .usage = "[--account NAME]",
    .about =
        "Prints a line for each archived message that its server listed last, or that was "
        "deleted there\n"
        "and is not confirmed yet:\n"
        "  delete   it goes with the next delete session\n"
        "  compare  the same, but it is fetched again first and must be equal\n"
        "  later    not archived for long enough; or deleted, and not confirmed by two "
        "later listings\n"
        "  keep     never, and why\n"
        "and a summary for each account. Nothing is asked of a server: a delete session "
        "deletes only what\n"
        "a fresh trusted listing still names with the same size, and whose stored copy was "
        "read back from\n"
        "the disk. The rules are those of the configuration (--config or "
        "MAILCASK_CONFIG).\n\n"
        "With --json one object a line: id, account, n, verdict (\"delete\", \"compare\", "
        "\"later\",\n"
        "\"keep\"), why (or null), state (of an earlier deletion: \"none\", \"intended\", "
        "\"accepted\",\n"
        "\"unknown\", \"refused\", \"unsent\", \"absent\", \"confirmed\", \"returned\",\n"
        "\"undone\"), "
        "attempts, tried (or\n"
        "null), fetched, due, uidl (or null), size. Times are RFC 3339 in UTC.",
    .statuses = "0  done\n1  there is no such account\n"
                "2  usage, configuration, or no archive there\n"
                "3  something is damaged\n4  could not run",
    .example =
        "mailcask deletions --config /etc/mailcask.conf --account alice@acme.example",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_JSON),
    .run = run_deletions,
};
