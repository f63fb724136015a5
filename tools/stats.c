#include "archive/error.h"
#include "archive/size_text.h"
#include "tools/command.h"
#include "tools/open.h"

#include <inttypes.h>

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

static void print_json(struct output *out, struct archive *a, const struct archive_stats *s)
{
    struct json j;
    json_begin(&j, out);
    json_hex(&j, "uuid", archive_uuid(a), UUID_SIZE);
    json_number(&j, "accounts", s->accounts);
    json_number(&j, "messages", s->messages);
    json_number(&j, "message_bytes", s->message_bytes);
    json_number(&j, "stored_bytes", s->segment_bytes + s->index_bytes);
    json_signed(&j, "saved_bytes", saved_bytes(s));
    json_number(&j, "segment_bytes", s->segment_bytes);
    json_number(&j, "index_bytes", s->index_bytes);
    json_number(&j, "parts", s->parts);
    json_number(&j, "parts_named_bytes", s->parts_named_bytes);
    json_number(&j, "parts_kept_bytes", s->parts_kept_bytes);
    json_number(&j, "kept_once_bytes", once_bytes(s));
    json_number(&j, "unconfirmed", s->unconfirmed);
    json_number(&j, "segments", s->segments);
    json_number(&j, "sealed", s->sealed);
    json_number(&j, "head_segment", s->head_segment);
    if (s->head_segment != 0)
        json_hex(&j, "head", s->head, sizeof(s->head));
    else
        json_null(&j, "head");
    json_end(&j);
}

static void print_size(struct output *out, const char *name, uint64_t bytes)
{
    char text[SIZE_TEXT_MAX];
    size_text(bytes, text);
    output_print(out, "%-10s %s (%" PRIu64 " bytes)\n", name, text, bytes);
}

/* How much smaller, and what is known beyond that. */
static void print_saved(struct output *out, const struct archive_stats *s)
{
    int64_t saved = saved_bytes(s);
    if (saved > 0)
        output_print(out, "%-10s %" PRId64 " bytes, %.0f %%: stored is %.3f of bytes in\n",
                     "saved", saved, 100.0 * (double)saved / (double)s->message_bytes,
                     (double)(s->segment_bytes + s->index_bytes) /
                         (double)s->message_bytes);
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
    print_saved(out, s);
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

static int run_stats(const struct options *o, struct output *out)
{
    struct archive *a = NULL;
    int status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    struct archive_stats s;
    int rc = archive_stats(a, &s);
    if (rc != 0)
        status = say_failed("reading the archive", rc);
    else if (option_given(o, OPTION_JSON))
        print_json(out, a, &s);
    else
        print_text(out, &s);
    (void)archive_close(a);
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
        "With --json one object: uuid, accounts, messages, message_bytes (as received), "
        "stored_bytes\n"
        "(segments and index), saved_bytes, segment_bytes, index_bytes, parts (pieces of "
        "attachments, up to\n"
        "1 MiB each), parts_named_bytes (what messages name of them), parts_kept_bytes "
        "(what "
        "is kept; both\n"
        "decoded, not compressed), kept_once_bytes (named less kept), unconfirmed "
        "(deletions),\n"
        "segments, sealed, head_segment\n"
        "(0: none), head (hexadecimal, or null).",
    .statuses = "0  done\n2  usage, or no archive there\n4  could not run",
    .example = "mailcask stats --json --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_JSON),
    .run = run_stats,
};
