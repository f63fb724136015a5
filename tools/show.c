#include "archive/error.h"
#include "archive/reader.h"
#include "tools/access.h"
#include "tools/command.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/say.h"

static int print_piece(void *arg, const uint8_t *data, size_t size)
{
    struct output *out = arg;
    output_bytes(out, data, size);
    return out->error;
}

static int show_message(struct archive *a, const struct options *o,
                        const struct message_id *id, struct output *out)
{
    const char *text = o->words[1];
    struct account_info account;
    int status = open_account(a, id->account, &account);
    if (status == EXIT_DONE)
        status = access_tell(o, a,
                             &(struct access){.command = ACCESS_SHOW,
                                              .account = account.name,
                                              .count = 1,
                                              .first = id->n,
                                              .last = id->n,
                                              .detail = ""});
    if (status != EXIT_DONE)
        return status;
    struct reader *reader = NULL;
    int rc = reader_create_for_one(a, &reader);
    if (rc == 0)
        rc = reader_body(reader, account.number, id->n, print_piece, out);
    reader_destroy(reader);
    if (rc == 0 || out->error != 0)
        return EXIT_DONE; /* the output's own error is told by main */
    if (rc == ERR_NOT_FOUND) {
        say("%s: not found", text);
        return EXIT_PART;
    }
    if (rc == ERR_DAMAGED) {
        say("%s: damaged; what was printed of it, if anything, is not to be trusted", text);
        return EXIT_DAMAGE;
    }
    return say_failed(text, rc);
}

static int run_show(const struct options *o, struct output *out)
{
    const char *text = o->words[1];
    struct message_id id;
    if (message_id_parse(text, &id) != 0) {
        say("%s: an ID is ACCOUNT/N, N counting from 1", text);
        return EXIT_USAGE;
    }
    struct archive *a = NULL;
    int status = access_check(o);
    if (status == EXIT_DONE)
        status = open_to_read(o, &a);
    if (status != EXIT_DONE)
        return status;
    status = show_message(a, o, &id, out);
    (void)archive_close(a);
    return status;
}

const struct command command_show = {
    .name = "show",
    .summary = "one message, as archived, to standard output",
    .usage = "ID [--reason TEXT]",
    .about = "Writes the message to standard output, byte for byte as the server delivered "
             "it. Its bytes\n"
             "are checked against the SHA-256 of when it was fetched; those of up to 4 MiB "
             "before the\n"
             "first is written, those of longer ones while they are written.\n\n"
             "Who asked for which message, and why, is told to the system's log, and to "
             "the account's\n"
             "ledger where the service runs.",
    .statuses = "0  the whole message was written, and is what was fetched\n"
                "1  there is no such message\n"
                "2  usage, or no archive there\n"
                "3  the message is damaged\n"
                "4  could not run, or the output could not be written",
    .example = "mailcask show alice@acme.example/17 > message.eml",
    .options = OPTION_BIT(OPTION_REASON),
    .words = 1,
    .run = run_show,
};
