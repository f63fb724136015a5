#include "archive/error.h"
#include "archive/reader.h"
#include "archive/size_text.h"
#include "archive/utf8.h"
#include "tools/command.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/period.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>

#define FROM_COLUMNS 30 /* what is longer is cut */

struct listing {
    struct output *out;
    const struct account_info *account;
    struct display *display;
    struct message_times times;
    struct period period;
    struct buffer decoded;
    struct buffer clean;
    int n_columns; /* digits of the highest N */
    bool json;
};

/* A field fit for a terminal; good until the next call. */
static struct span clean_field(struct listing *l, struct span field)
{
    display_decode(l->display, field, &l->decoded);
    buffer_clear(&l->clean);
    utf8_clean(&l->clean, span_of(l->decoded.data, l->decoded.size));
    return span_of(l->clean.data, l->clean.size);
}

static void print_from(struct listing *l, struct span from)
{
    struct span text = clean_field(l, from);
    size_t width = display_width(l->display, text);
    bool cut = width > FROM_COLUMNS;
    if (cut) {
        text.size = display_fit(l->display, text, FROM_COLUMNS - 1);
        width = display_width(l->display, text) + 1;
    }
    output_bytes(l->out, text.data, text.size);
    output_print(l->out, "%s%*s", cut ? "…" : "", (int)(FROM_COLUMNS - width), "");
}

static void print_line(struct listing *l, const struct message_meta *m, int64_t time_s)
{
    char time[TIME_TEXT_MAX];
    char size[SIZE_TEXT_MAX];
    time_text_local(time_s, time);
    size_text(m->size, size);
    output_clean(l->out, span_text(l->account->name));
    output_print(l->out, "/%-*" PRIu64 "  %s  %8s  ", l->n_columns, m->n, time, size);
    print_from(l, m->fields[FIELD_FROM]);
    struct span subject = clean_field(l, m->fields[FIELD_SUBJECT]);
    output_print(l->out, "  ");
    output_bytes(l->out, subject.data, subject.size);
    output_print(l->out, "\n");
}

static void json_field(struct listing *l, struct json *j, const char *name,
                       struct span field)
{
    display_decode(l->display, field, &l->decoded);
    json_string_or_null(j, name, span_of(l->decoded.data, l->decoded.size));
}

static void print_json(struct listing *l, const struct message_meta *m, bool dated,
                       int64_t time_s)
{
    static const char *const flags[] = {"heals",     "short",     "no-uidl",
                                        "untrusted", "forgeable", "stand-in"};
    char id[MESSAGE_ID_TEXT_MAX];
    struct json j;
    message_id_text(l->account->name, m->n, id);
    json_begin(&j, l->out);
    json_string(&j, "id", span_text(id));
    json_string(&j, "account", span_text(l->account->name));
    json_number(&j, "n", m->n);
    if (dated)
        json_time(&j, "date", time_s);
    else
        json_null(&j, "date");
    json_time_us(&j, "fetched", m->fetched_us);
    json_number(&j, "size", m->size);
    if (m->listed_size != SIZE_UNKNOWN)
        json_number(&j, "listed_size", m->listed_size);
    else
        json_null(&j, "listed_size");
    json_hex(&j, "sha256", m->sha256, sizeof(m->sha256));
    json_string_or_null(&j, "uidl", m->uidl);
    json_field(l, &j, "from", m->fields[FIELD_FROM]);
    json_field(l, &j, "to", m->fields[FIELD_TO]);
    json_field(l, &j, "subject", m->fields[FIELD_SUBJECT]);
    json_string_or_null(&j, "message_id", m->fields[FIELD_MESSAGE_ID]);
    json_words(&j, "flags", m->flags, flags, sizeof(flags) / sizeof(flags[0]));
    json_end(&j);
}

static void print_message(struct listing *l, const struct message_meta *m)
{
    int64_t time_s;
    bool dated = message_time(&l->times, m, &time_s);
    if (!period_holds(&l->period, time_s))
        return;
    if (l->json)
        print_json(l, m, dated, time_s);
    else
        print_line(l, m, time_s);
}

static int list_messages(struct listing *l, struct reader *reader)
{
    int status = EXIT_DONE;
    uint64_t n = 0;
    for (;;) {
        struct message_meta m;
        int rc = reader_next(reader, l->account->number, n, &m);
        if (rc == ERR_NOT_FOUND || l->out->error != 0)
            return status;
        if (rc == 0) {
            print_message(l, &m);
        } else if (rc == ERR_DAMAGED && m.n > n) {
            say("%s/%" PRIu64 ": damaged", l->account->name, m.n);
            status = EXIT_DAMAGE;
        } else {
            return exit_worse(status, say_failed(l->account->name, rc));
        }
        n = m.n;
    }
}

static int list_account(struct listing *l, struct archive *a)
{
    struct reader *reader = NULL;
    int rc = reader_create(a, &reader);
    if (rc == 0)
        rc = display_create(&l->display);
    l->times.display = l->display;
    int status = rc != 0 ? say_failed("list", rc) : list_messages(l, reader);
    if (l->out->error == 0)
        say_undated(&l->times);
    if (l->decoded.failed || l->clean.failed)
        status = exit_worse(status, say_failed("list", -ENOMEM));
    buffer_free(&l->decoded);
    buffer_free(&l->clean);
    display_destroy(l->display);
    reader_destroy(reader);
    return status;
}

static int run_list(const struct options *o, struct output *out)
{
    if (!option_given(o, OPTION_ACCOUNT)) {
        say("list needs --account NAME: `mailcask accounts` lists them");
        return EXIT_USAGE;
    }
    struct listing l = {.out = out, .json = option_given(o, OPTION_JSON)};
    struct archive *a = NULL;
    int status = period_of_options(o, &l.period);
    if (status == EXIT_DONE)
        status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    struct account_info account;
    status = open_account(a, o->values[OPTION_ACCOUNT], &account);
    if (status == EXIT_DONE) {
        l.account = &account;
        l.n_columns = snprintf(NULL, 0, "%" PRIu64, account.highest);
        status = list_account(&l, a);
    }
    (void)archive_close(a);
    return status;
}

const struct command command_list = {
    .name = "list",
    .summary = "the messages of an account",
    .usage = "--account NAME",
    .about = "Prints a line for each message: ID, date, size, from, subject. The date is "
             "that of the Date\n"
             "header in local time; where that is missing or unreadable, the time of "
             "fetching. --since\n"
             "and --until go by the same, and include both days.\n\n"
             "With --json one object a line: id, account, n, date (of the Date header, or "
             "null), fetched,\n"
             "size, listed_size (or null), sha256, uidl (or null), from, to, subject "
             "(decoded, or null),\n"
             "message_id (or null), flags (of \"heals\", \"short\", \"no-uidl\", "
             "\"untrusted\", \"forgeable\": its sender could have chosen its UIDL, "
             "\"stand-in\": a text\n"
             "of the server in place of the message). Times are RFC 3339 in UTC.",
    .statuses =
        "0  done\n1  there is no such account\n2  usage, or no archive there\n"
        "3  some messages are damaged; each is named on standard error\n4  could not run",
    .example = "mailcask list --account alice@acme.example --since 2026-01-01 --json",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_SINCE) |
               OPTION_BIT(OPTION_UNTIL) | OPTION_BIT(OPTION_JSON),
    .run = run_list,
};
