#include "archive/error.h"
#include "archive/size_text.h"
#include "tools/command.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/say.h"
#include "tools/stats_usage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* What the archive takes less than the messages would; negative while the index outweighs
 * them. */
static int64_t saved_bytes(const struct archive_stats *s)
{
    return (int64_t)s->message_bytes - (int64_t)(s->segment_bytes + s->index_bytes);
}

/* What of attachments is not stored again; less than nothing where pieces were stored for
 * messages that then broke off. */
static uint64_t once_bytes(const struct archive_stats *s)
{
    return s->parts_named_bytes > s->parts_kept_bytes
               ? s->parts_named_bytes - s->parts_kept_bytes
               : 0;
}

/* Members of an object that is open. */
static void json_stats(struct json *j, struct archive *a, const struct archive_stats *s)
{
    json_hex(j, "uuid", archive_uuid(a), UUID_SIZE);
    json_number(j, "accounts", s->accounts);
    json_number(j, "messages", s->messages);
    json_number(j, "message_bytes", s->message_bytes);
    json_number(j, "stored_bytes", s->segment_bytes + s->index_bytes);
    json_signed(j, "saved_bytes", saved_bytes(s));
    json_number(j, "segment_bytes", s->segment_bytes);
    json_number(j, "index_bytes", s->index_bytes);
    json_number(j, "parts", s->parts);
    json_number(j, "parts_named_bytes", s->parts_named_bytes);
    json_number(j, "parts_kept_bytes", s->parts_kept_bytes);
    json_number(j, "kept_once_bytes", once_bytes(s));
    json_number(j, "unconfirmed", s->unconfirmed);
    json_number(j, "segments", s->segments);
    json_number(j, "sealed", s->sealed);
    json_number(j, "head_segment", s->head_segment);
    if (s->head_segment != 0)
        json_hex(j, "head", s->head, sizeof(s->head));
    else
        json_null(j, "head");
}

static void print_size(struct output *out, const char *name, uint64_t bytes)
{
    char text[SIZE_TEXT_MAX];
    size_text(bytes, text);
    output_print(out, "%-10s %s (%" PRIu64 " bytes)\n", name, text, bytes);
}

/* How much smaller, and what is known beyond that. */
static void print_saved(struct output *out, uint64_t message_bytes, int64_t stored_bytes)
{
    int64_t saved = (int64_t)message_bytes - stored_bytes;
    if (saved > 0)
        output_print(out, "%-10s %" PRId64 " bytes, %.0f %%: stored is %.3f of bytes in\n",
                     "saved", saved, 100.0 * (double)saved / (double)message_bytes,
                     (double)stored_bytes / (double)message_bytes);
    else
        output_print(out, "%-10s nothing yet\n", "saved");
}

static void print_parts(struct output *out, const struct archive_stats *s)
{
    char once[SIZE_TEXT_MAX], named[SIZE_TEXT_MAX];
    size_text(once_bytes(s), once);
    size_text(s->parts_named_bytes, named);
    output_print(out,
                 "%-10s %s: attachments of %s are kept in %" PRIu64 " pieces, each once\n",
                 "kept once", once, named, s->parts);
}

static void print_text(struct output *out, const struct archive_stats *s)
{
    char head[2 * SHA256_SIZE + 1];
    hex_encode(s->head, sizeof(s->head), head);
    output_print(out, "%-10s %" PRIu64 "\n", "accounts", s->accounts);
    output_print(out, "%-10s %" PRIu64 "\n", "messages", s->messages);
    print_size(out, "bytes in", s->message_bytes);
    print_size(out, "stored", s->segment_bytes + s->index_bytes);
    print_size(out, "  segments", s->segment_bytes);
    print_size(out, "  index", s->index_bytes);
    print_saved(out, s->message_bytes, (int64_t)(s->segment_bytes + s->index_bytes));
    print_parts(out, s);
    output_print(out, "%-10s %" PRIu64 ", %" PRIu64 " of them sealed\n", "segments",
                 s->segments, s->sealed);
    if (s->unconfirmed > 0)
        output_print(out, "%-10s %" PRIu64 " deletions, see mailcask deletions\n",
                     "unconfirmed", s->unconfirmed);
    if (s->head_segment != 0)
        output_print(out, "%-10s %s (segment %" PRIu64 ")\n", "head", head,
                     s->head_segment);
    else
        output_print(out, "%-10s none: no segment is sealed\n", "head");
}

/* What a command line asks for, and what was found. */
struct report {
    struct output *out;
    struct archive *archive;
    const char *account; /* as it was given; NULL: not of one account */
    struct account_info info;
    bool all, by_month, json;
    struct archive_usage usage;
    struct usage_row *months; /* of all accounts */
    size_t months_count;
};

static int report_account_json(struct report *r)
{
    struct json j;
    struct sums sums;
    size_t count = 0;
    const struct usage_row *rows =
        usage_of_account(&r->usage, r->info.number, &count, &sums);
    json_begin(&j, r->out);
    json_string(&j, "account", span_text(r->info.name));
    json_sums(&j, &sums);
    if (r->by_month)
        json_by_month(&j, rows, count);
    json_end(&j);
    return 0;
}

static int report_account(struct report *r)
{
    const struct table t = {.out = r->out, .months = true};
    struct sums sums;
    size_t count = 0;
    const struct usage_row *rows =
        usage_of_account(&r->usage, r->info.number, &count, &sums);
    output_print(r->out, "%-10s ", "account");
    output_clean(r->out, span_text(r->info.name));
    output_print(r->out, "\n%-10s %" PRIu64 "\n", "messages", sums.messages);
    print_size(r->out, "bytes in", sums.message_bytes);
    print_size(r->out, "stored", (uint64_t)sums.stored_bytes);
    print_saved(r->out, sums.message_bytes, sums.stored_bytes);
    if (r->by_month) {
        output_print(r->out, "\n");
        table_head(&t);
        table_rows(&t, rows, count, "");
        table_line(&t, "all", &sums, "");
    }
    return 0;
}

static int report_json(struct report *r)
{
    struct json j;
    int err = 0;
    json_begin(&j, r->out);
    json_stats(&j, r->archive, &r->usage.stats);
    if (r->all || r->by_month)
        json_signed(&j, "nobody_bytes", r->usage.nobody_bytes);
    if (r->all)
        err = json_by_account(&j, r->archive, &r->usage, r->by_month);
    else if (r->by_month)
        json_by_month(&j, r->months, r->months_count);
    json_end(&j);
    return err;
}

static int report_text(struct report *r)
{
    const struct table t = {.out = r->out, .months = r->by_month, .names = r->all};
    int err = 0;
    if (!r->all)
        print_text(r->out, &r->usage.stats);
    if (!r->all && !r->by_month)
        return 0;
    if (!r->all)
        output_print(r->out, "\n");
    table_head(&t);
    if (r->all)
        err = table_accounts(&t, r->archive, &r->usage);
    else
        table_rows(&t, r->months, r->months_count, "");
    table_end(&t, &r->usage);
    return err;
}

static void show_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct progress *p = arg;
    if (p->verb == NULL)
        progress_start(p, "reading", bytes_total);
    progress_update(p, bytes_done);
}

static int find_out(struct report *r)
{
    struct progress progress = {0};
    if (r->account == NULL && !r->all && !r->by_month)
        return archive_stats(r->archive, &r->usage.stats);
    int err = archive_usage(r->archive, show_progress, &progress, &r->usage);
    progress_hide(&progress);
    if (err != 0 || r->all || r->account != NULL)
        return err;
    r->months = usage_by_month(&r->usage, &r->months_count);
    return r->months == NULL ? -ENOMEM : 0;
}

static int report(struct report *r)
{
    int err = find_out(r);
    if (err == -EAGAIN) {
        say("the archive was repacked while it was read; try again");
        return EXIT_CANNOT;
    }
    if (err == 0 && r->account != NULL)
        err = r->json ? report_account_json(r) : report_account(r);
    else if (err == 0)
        err = r->json ? report_json(r) : report_text(r);
    if (err != 0)
        return say_failed("reading the archive", err);
    if (r->usage.missing == 0)
        return EXIT_DONE;
    say("%" PRIu64 " messages are left out because their records cannot be read; `mailcask "
        "verify` names them",
        r->usage.missing);
    return EXIT_DAMAGE;
}

static int run_stats(const struct options *o, struct output *out)
{
    struct report r = {.out = out,
                       .account = o->values[OPTION_ACCOUNT],
                       .all = option_given(o, OPTION_ALL),
                       .by_month = option_given(o, OPTION_BY_MONTH),
                       .json = option_given(o, OPTION_JSON)};
    if (r.account != NULL && r.all) {
        say("either --account or --all");
        return EXIT_USAGE;
    }
    int status = open_to_read(o, &r.archive);
    if (status != EXIT_DONE)
        return status;
    if (r.account != NULL)
        status = open_account(r.archive, r.account, &r.info);
    if (status == EXIT_DONE)
        status = report(&r);
    archive_usage_free(&r.usage);
    free(r.months);
    (void)archive_close(r.archive);
    return status;
}

const struct command command_stats = {
    .name = "stats",
    .summary = "accounts, messages, bytes in, stored, saved; the head hash",
    .usage = "",
    .about =
        "Prints what the archive holds and what it takes on disk. \"kept once\" is what "
        "attachments that\n"
        "came again, in any account, would have taken before compression. The head is the "
        "hash of the newest\n"
        "sealed segment: it pins every segment before it, so a copy kept elsewhere proves "
        "later that\n"
        "none of them was changed.\n\n"
        "With --account what that account's mail takes, with --all each account's, and "
        "with --by-month the\n"
        "same by months: of UTC, and of the time of fetching, which is when it began to "
        "take room. What is\n"
        "stored of an account are its records, compressed. Of a record with mail of "
        "several months each month\n"
        "has its share, by size. An attachment that is in several messages counts once, to "
        "the one that was\n"
        "fetched first, whosever that is: for the others it is saved. (nobody) is what "
        "counts to no account:\n"
        "the index, the frame of the segments, garbage, and what repacking has replaced "
        "and not yet removed.\n"
        "All lines with (nobody) add up to the archive. For this every record's head is "
        "read, beside the\n"
        "service, too.\n\n"
        "With --json one object: uuid, accounts, messages, message_bytes (as received), "
        "stored_bytes\n"
        "(segments and index), saved_bytes, segment_bytes, index_bytes, parts (pieces of "
        "attachments, up to\n"
        "1 MiB each), parts_named_bytes (what messages name of them), parts_kept_bytes "
        "(what is kept; both\n"
        "decoded, not compressed), kept_once_bytes (named less kept), unconfirmed "
        "(deletions),\n"
        "segments, sealed, head_segment (0: none), head (hexadecimal, or null). With "
        "--all or --by-month\n"
        "nobody_bytes, too; with --all by_account, a list of account, messages, "
        "message_bytes, stored_bytes,\n"
        "saved_bytes; with --by-month by_month, a list of month (YYYY-MM) and the same, "
        "with both in each\n"
        "account. With --account only that account's object.",
    .statuses = "0  done\n1  there is no such account\n2  usage, or no archive there\n"
                "3  some messages' records cannot be read, and are left out\n"
                "4  could not run",
    .example = "mailcask stats --json --archive /var/lib/mailcask\n"
               "mailcask stats --account alice@acme.example --by-month",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_ALL) |
               OPTION_BIT(OPTION_BY_MONTH) | OPTION_BIT(OPTION_JSON),
    .run = run_stats,
};
