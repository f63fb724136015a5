#include "archive/error.h"
#include "archive/reader.h"
#include "tools/command.h"
#include "tools/ledger_lines.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/say.h"

#include <errno.h>

struct ledger_print {
    struct output *out;
    const char *account;
    bool json;
    bool gap; /* an entry could not be read */
};

static int print_entry(void *arg, const struct ledger_entry *e)
{
    struct ledger_print *p = arg;
    if (e->type == 0)
        p->gap = true;
    if (p->json)
        ledger_json(p->out, p->account, e);
    else
        ledger_line(p->out, e);
    return p->out->error;
}

static int print_ledger(struct archive *a, const struct options *o, struct output *out)
{
    struct account_info account;
    int status = open_account(a, o->values[OPTION_ACCOUNT], &account);
    if (status != EXIT_DONE)
        return status;
    struct ledger_print p = {
        .out = out, .account = account.name, .json = option_given(o, OPTION_JSON)};
    int rc = archive_each_ledger_entry(a, account.number, print_entry, &p);
    if (rc != 0 && out->error == 0)
        status = say_failed("reading the ledger", rc);
    if (p.gap) {
        say("the ledger of %s has entries that cannot be read", account.name);
        status = exit_worse(status, EXIT_DAMAGE);
    }
    return status;
}

struct session_search {
    const struct message_meta *message;
    struct message_history *history;
};

/* The session a message came by: of its source, around the time it was fetched. */
static int find_session(void *arg, const struct ledger_entry *e)
{
    struct session_search *s = arg;
    struct message_history *h = s->history;
    if (e->type == RECORD_SESSION && e->session.source == s->message->source) {
        copy_text(h->host, sizeof(h->host), e->source.host);
        copy_text(h->login, sizeof(h->login), e->source.login);
        if (s->message->fetched_us >= e->session.began_us &&
            s->message->fetched_us <= e->session.ended_us) {
            h->session_began_us = e->session.began_us;
            h->session_ended_us = e->session.ended_us;
            h->session_lsn = e->lsn;
        }
    }
    return 0;
}

static int print_history(struct archive *a, const struct account_info *account,
                         const struct message_meta *m, const struct options *o,
                         struct output *out)
{
    struct message_history history = {.archive = a,
                                      .account_number = account->number,
                                      .account = account->name,
                                      .message = m};
    struct session_search search = {.message = m, .history = &history};
    int rc = archive_each_ledger_entry(a, account->number, find_session, &search);
    if (rc != 0)
        return say_failed("reading the ledger", rc);
    rc = option_given(o, OPTION_JSON) ? history_json(out, &history)
                                      : history_text(out, &history);
    return rc != 0 && out->error == 0 ? say_failed("reading the ledger", rc) : EXIT_DONE;
}

static int print_message(struct archive *a, const struct options *o, struct output *out)
{
    const char *text = o->values[OPTION_MESSAGE];
    struct message_id id;
    if (message_id_parse(text, &id) != 0) {
        say("%s: an ID is ACCOUNT/N, N counting from 1", text);
        return EXIT_USAGE;
    }
    struct account_info account;
    int status = open_account(a, id.account, &account);
    if (status != EXIT_DONE)
        return status;
    struct reader *reader = NULL;
    struct message_meta m;
    int rc = reader_create(a, &reader);
    if (rc == 0)
        rc = reader_message(reader, account.number, id.n, &m);
    if (rc == 0) {
        status = print_history(a, &account, &m, o, out);
    } else if (rc == ERR_NOT_FOUND) {
        say("%s: not found", text);
        status = EXIT_PART;
    } else {
        status = say_failed(text, rc);
    }
    reader_destroy(reader);
    return status;
}

static int run_ledger(const struct options *o, struct output *out)
{
    if (option_given(o, OPTION_ACCOUNT) == option_given(o, OPTION_MESSAGE)) {
        say("ledger needs either --account NAME or --message ID");
        return EXIT_USAGE;
    }
    struct archive *a = NULL;
    int status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    status = option_given(o, OPTION_ACCOUNT) ? print_ledger(a, o, out)
                                             : print_message(a, o, out);
    (void)archive_close(a);
    return status;
}

const struct command command_ledger = {
    .name = "ledger",
    .summary = "what each session with the server did",
    .usage = "(--account NAME | --message ID)",
    .about =
        "With --account: a line for each session, oldest first: when it ended, how, what "
        "the server\n"
        "listed, what was known, fetched, refused, deleted, and from where; for runs of "
        "quiet polls; for\n"
        "what was to be deleted, and what became of that; for what was put aside or "
        "acknowledged as lost;\n"
        "for who asked to be given which messages, and why.\n"
        "With --message: what is known of one message, and its life from the first listing "
        "on.\n\n"
        "With --json one object a line. All have type, account and, but for a message, "
        "lsn.\n"
        "  session     began, ended, state (\"complete\", \"partial\", \"failed\"), text, "
        "trusted,\n"
        "              untrusted (why, or null), more (left at the session's limit), "
        "deletes (a delete\n"
        "              session), renumbered (most UIDLs had changed), reused (a known one "
        "came with\n"
        "              another message), doubted (most of the last listing was missing), "
        "host, login,\n"
        "              address, tls, listed, listed_bytes (null: never got that far), "
        "known, fetched,\n"
        "              deduplicated, healed, refused, quarantined, deleted, unknown "
        "(perhaps deleted),\n"
        "              vanished (listed before, not now, not deleted by us), bytes, "
        "digest\n"
        "  run         time, host, login, first, last, polls, listed, listed_bytes, "
        "digest: "
        "polls that\n"
        "              found nothing new\n"
        "  unlisted    the same: polls that saw from the count, the size and the last UIDL "
        "that nothing had\n"
        "              changed, and did not list; they count as complete polls nowhere\n"
        "  intent      time, host, login, messages: n, attempt, uidl, listed_size, sha256, "
        "read_back\n"
        "              (from the disk), fetched_again (and equal)\n"
        "  deletion    time, host, login, state, text, messages (pairs of first and last "
        "N); states:\n"
        "              accepted, unknown, refused, unsent, absent, confirmed, returned, "
        "undone\n"
        "  quarantine  time, host, login, uidl, listed_size, size, file, reason\n"
        "  lost        time, segment, first, last, reason\n"
        "  access      time, command (show, restore), user, messages (asked for), first, "
        "last, detail,\n"
        "              reason\n"
        "  unreadable\n"
        "  message     id, n, fetched, host, login, uidl, listed_size, size, sha256, "
        "session_began,\n"
        "              session_ended, session_lsn (null where the session is not on "
        "record), events:\n"
        "              time, event (listed, not-listed, seen-as, intended, shown, "
        "restored, or\n"
        "              a state of a deletion), and what belongs to it\n"
        "Times are RFC 3339 in UTC.",
    .statuses =
        "0  done\n1  there is no such account or message\n2  usage, or no archive there\n"
        "3  an entry is damaged\n4  could not run",
    .example = "mailcask ledger --account alice@acme.example\n"
               "mailcask ledger --message alice@acme.example/17",
    .options =
        OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_MESSAGE) | OPTION_BIT(OPTION_JSON),
    .run = run_ledger,
};
