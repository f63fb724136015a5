#include "archive/size_text.h"
#include "tools/command.h"
#include "tools/dates.h"
#include "tools/open.h"
#include "tools/session_words.h"

#include <inttypes.h>
#include <string.h>

#define NAME_COLUMNS 32

static void print_time(struct output *out, const char *label, int64_t time_us)
{
    char text[TIME_TEXT_MAX];
    if (time_us == 0)
        return;
    time_text_local(seconds_of(time_us), text);
    output_print(out, "  %s %s", label, text);
}

static int print_account(void *arg, const struct account_info *info)
{
    struct output *out = arg;
    char size[SIZE_TEXT_MAX];
    size_text(info->bytes, size);
    size_t width = strlen(info->name);
    output_clean(out, span_text(info->name));
    output_print(out, "%*s  %6" PRIu64 " messages  %8s",
                 width < NAME_COLUMNS ? (int)(NAME_COLUMNS - width) : 0, "", info->messages,
                 size);
    print_time(out, "first", info->first_us);
    print_time(out, "last", info->last_us);
    print_time(out, "polled", info->session_us);
    output_print(out, "  %s", session_word(info));
    if (info->session_us != 0 && info->session_text[0] != '\0') {
        output_print(out, ": ");
        output_clean(out, span_text(info->session_text));
    }
    output_print(out, "\n");
    return out->error;
}

static int print_account_json(void *arg, const struct account_info *info)
{
    struct output *out = arg;
    struct json j;
    json_begin(&j, out);
    json_string(&j, "account", span_text(info->name));
    json_number(&j, "messages", info->messages);
    json_number(&j, "bytes", info->bytes);
    json_number(&j, "highest", info->highest);
    json_time_us(&j, "first", info->first_us);
    json_time_us(&j, "last", info->last_us);
    json_string(&j, "state", span_text(session_word(info)));
    json_string_or_null(&j, "text",
                        span_text(info->session_us != 0 ? info->session_text : ""));
    json_time_us(&j, "last_session", info->session_us);
    json_end(&j);
    return out->error;
}

static int run_accounts(const struct options *o, struct output *out)
{
    struct archive *a = NULL;
    int status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    bool json = option_given(o, OPTION_JSON);
    int rc = archive_each_account(a, json ? print_account_json : print_account, out);
    if (rc != 0 && out->error == 0)
        status = say_failed("reading the accounts", rc);
    (void)archive_close(a);
    return status;
}

const struct command command_accounts = {
    .name = "accounts",
    .summary = "every account in the archive: messages, first, last, state",
    .usage = "",
    .about = "Prints a line for every account in the archive, whether it is still "
             "configured or not: its\n"
             "name, messages and bytes, when the first and the last message were fetched, "
             "when the newest\n"
             "session ended, and how: complete, partial, failed, or never polled.\n\n"
             "With --json one object a line: account, messages, bytes, highest (the "
             "highest N), first,\n"
             "last, state (\"complete\", \"partial\", \"failed\" or \"never polled\"), "
             "text (why, or null),\n"
             "last_session. Times are RFC 3339 in UTC, null where there is none.",
    .statuses =
        "0  done\n2  usage, or no archive there\n3  damage was found\n4  could not run",
    .example = "mailcask accounts --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_JSON),
    .run = run_accounts,
};
