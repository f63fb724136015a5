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

static void print_text(struct output *out, const struct archive_stats *s)
{
    char index[SIZE_TEXT_MAX];
    char head[2 * SHA256_SIZE + 1];
    int64_t saved = saved_bytes(s);
    size_text(s->index_bytes, index);
    hex_encode(s->head, sizeof(s->head), head);
    output_print(out, "%-10s %" PRIu64 "\n", "accounts", s->accounts);
    output_print(out, "%-10s %" PRIu64 "\n", "messages", s->messages);
    print_size(out, "bytes in", s->message_bytes);
    print_size(out, "stored", s->segment_bytes + s->index_bytes);
    if (saved > 0)
        output_print(out, "%-10s %" PRId64 " bytes, %.0f %%\n", "saved", saved,
                     100.0 * (double)saved / (double)s->message_bytes);
    else
        output_print(out, "%-10s nothing yet\n", "saved");
    output_print(out, "%-10s %" PRIu64 ", %" PRIu64 " of them sealed; index %s\n",
                 "segments", s->segments, s->sealed, index);
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
        "Prints what the archive holds and what it takes on disk. The head is the hash of "
        "the newest\n"
        "sealed segment: it pins every segment before it, so a copy kept elsewhere proves "
        "later that\n"
        "none of them was changed.\n\n"
        "With --json one object: uuid, accounts, messages, message_bytes (as received), "
        "stored_bytes\n"
        "(segments and index), saved_bytes, segment_bytes, index_bytes, segments, sealed,\n"
        "head_segment (0: none), head (hexadecimal, or null).",
    .statuses = "0  done\n2  usage, or no archive there\n4  could not run",
    .example = "mailcask stats --json --archive /var/lib/mailcask",
    .options = OPTION_BIT(OPTION_JSON),
    .run = run_stats,
};
