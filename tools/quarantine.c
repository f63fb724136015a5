#include "archive/error.h"
#include "archive/reader.h"
#include "archive/size_text.h"
#include "tools/command.h"
#include "tools/dates.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "quarantine"

struct aside {
    struct archive *archive;
    struct reader *reader;
    struct output *out;
    const struct account_info *account;
    bool json;
    bool gap; /* an entry of this account's ledger could not be read */
    int status;
};

/* A file of the quarantine folder. */
struct kept {
    const char *name;
    uint64_t size;
    int64_t time_s; /* when it was put there */
    bool tail;      /* recovery has cut it: */
    uint64_t segment;
    uint64_t offset;
};

static void print_time(struct output *out, int64_t time_s)
{
    char text[TIME_TEXT_MAX];
    time_text_local(time_s, text);
    output_print(out, "%s", text);
}

/* A UIDL is whatever the server sent: quoted as the log quotes it. */
static void print_uidl(struct output *out, struct span uidl)
{
    output_print(out, "\"");
    for (size_t i = 0; i < uidl.size; i++) {
        uint8_t byte = uidl.data[i];
        if (byte == '\\')
            output_print(out, "\\\\");
        else if (byte >= 0x20 && byte <= 0x7e)
            output_bytes(out, &byte, 1);
        else
            output_print(out, "\\x%02x", byte);
    }
    output_print(out, "\"");
}

static void message_line(struct aside *p, const struct ledger_entry *e, const char *id)
{
    const struct quarantine_meta *q = &e->quarantine;
    struct output *out = p->out;
    print_time(out, seconds_of(e->time_us));
    output_print(out, "  ");
    output_clean(out, span_text(p->account->name));
    output_print(out, "  UIDL ");
    print_uidl(out, q->uidl);
    if (q->listed_size != SIZE_UNKNOWN)
        output_print(out, ", listed as %" PRIu64 " bytes", q->listed_size);
    output_print(out, ", %s", id[0] != '\0' ? "archived since as " : "not archived");
    output_clean(out, span_text(id));
    if (q->file.size > 0) {
        output_print(out, "; %" PRIu64 " bytes kept as " FOLDER "/", q->size);
        output_clean(out, q->file);
    }
    if (e->source.host.size > 0) {
        output_print(out, "; ");
        output_clean(out, e->source.login);
        output_print(out, " at ");
        output_clean(out, e->source.host);
    }
    output_print(out, ": ");
    output_clean(out, q->reason);
    output_print(out, "\n");
}

static void message_json(struct aside *p, const struct ledger_entry *e, const char *id)
{
    const struct quarantine_meta *q = &e->quarantine;
    struct json j;
    json_begin(&j, p->out);
    json_string(&j, "type", span_text("message"));
    json_string(&j, "account", span_text(p->account->name));
    json_number(&j, "lsn", e->lsn);
    json_time_us(&j, "time", e->time_us);
    json_string_or_null(&j, "host", e->source.host);
    json_string_or_null(&j, "login", e->source.login);
    json_string_or_null(&j, "uidl", q->uidl);
    if (q->listed_size != SIZE_UNKNOWN)
        json_number(&j, "listed_size", q->listed_size);
    else
        json_null(&j, "listed_size");
    json_number(&j, "size", q->size);
    json_string_or_null(&j, "file", q->file);
    json_string_or_null(&j, "reason", q->reason);
    json_string_or_null(&j, "archived", span_text(id));
    json_end(&j);
}

static int print_entry(void *arg, const struct ledger_entry *e)
{
    struct aside *p = arg;
    char id[MESSAGE_ID_TEXT_MAX] = "";
    uint64_t n = 0;
    if (e->type == 0)
        p->gap = true;
    if (e->type != RECORD_QUARANTINE)
        return 0;
    int rc = reader_find_uidl(p->reader, p->account->number, e->quarantine.source,
                              e->quarantine.uidl, e->lsn, &n);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    if (rc == 0)
        message_id_text(p->account->name, n, id);
    if (p->json)
        message_json(p, e, id);
    else
        message_line(p, e, id);
    return p->out->error;
}

static int print_account(void *arg, const struct account_info *account)
{
    struct aside *p = arg;
    p->account = account;
    p->gap = false;
    int rc = archive_each_ledger_entry(p->archive, account->number, print_entry, p);
    if (p->gap) {
        say("the ledger of %s has entries that cannot be read", account->name);
        p->status = EXIT_DAMAGE;
    }
    return rc;
}

static int print_messages(struct aside *p, const char *name)
{
    struct account_info account;
    int status = name != NULL ? open_account(p->archive, name, &account) : EXIT_DONE;
    if (status != EXIT_DONE)
        return status;
    int rc = reader_create(p->archive, &p->reader);
    if (rc == 0)
        rc = name != NULL ? print_account(p, &account)
                          : archive_each_account(p->archive, print_account, p);
    reader_destroy(p->reader);
    if (rc != 0 && p->out->error == 0)
        return say_failed("reading the ledger", rc);
    return p->status;
}

static void print_file(struct aside *p, const struct kept *k)
{
    char size[SIZE_TEXT_MAX];
    size_text(k->size, size);
    print_time(p->out, k->time_s);
    if (k->tail)
        output_print(p->out,
                     "  segment %" PRIu64 ": a torn tail of %s, cut off at %" PRIu64 "; ",
                     k->segment, size, k->offset);
    else
        output_print(p->out, "  a file of %s; ", size);
    output_print(p->out, FOLDER "/");
    output_clean(p->out, span_text(k->name));
    output_print(p->out, "\n");
}

static void print_file_json(struct aside *p, const struct kept *k)
{
    struct json j;
    json_begin(&j, p->out);
    json_string(&j, "type", span_text(k->tail ? "tail" : "file"));
    json_time(&j, "time", k->time_s);
    json_string(&j, "file", span_text(k->name));
    json_number(&j, "size", k->size);
    if (k->tail) {
        json_number(&j, "segment", k->segment);
        json_number(&j, "offset", k->offset);
    }
    json_end(&j);
}

static void print_kept(struct aside *p, int folder, const char *name)
{
    struct stat st;
    int end = 0;
    struct kept k = {.name = name};
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return; /* somebody has looked at it, and put it away */
    k.size = (uint64_t)st.st_size;
    k.time_s = st.st_mtim.tv_sec;
    k.tail =
        sscanf(name, "tail-%" SCNu64 "-%" SCNu64 "%n", &k.segment, &k.offset, &end) == 2 &&
        name[end] == '\0';
    if (p->json)
        print_file_json(p, &k);
    else
        print_file(p, &k);
}

static int is_kept(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int print_files(struct aside *p)
{
    char path[PATH_MAX];
    struct dirent **entries = NULL;
    int n = snprintf(path, sizeof(path), "%s/" FOLDER, archive_path(p->archive));
    if (n < 0 || (size_t)n >= sizeof(path))
        return say_failed(FOLDER, -ENAMETOOLONG);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int count = folder >= 0 ? scandirat(folder, ".", &entries, is_kept, alphasort) : -1;
    int err = count < 0 ? -errno : 0;
    for (int i = 0; i < count; i++) {
        print_kept(p, folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (folder >= 0)
        (void)close(folder);
    /* A copy of the archive may have been made without it. */
    return err == 0 || err == -ENOENT ? EXIT_DONE : say_failed(path, err);
}

static int run_quarantine(const struct options *o, struct output *out)
{
    struct aside p = {.out = out, .json = option_given(o, OPTION_JSON)};
    const char *name = o->values[OPTION_ACCOUNT];
    int status = open_to_read(o, &p.archive);
    if (status != EXIT_DONE)
        return status;
    status = print_messages(&p, name);
    if (name == NULL)
        status = exit_worse(status, print_files(&p));
    (void)archive_close(p.archive);
    return status;
}

const struct command command_quarantine = {
    .name = "quarantine",
    .summary = "what was put aside: messages that could not be fetched, torn tails",
    .usage = "",
    .about =
        "Prints a line for each message that was put aside, by account: when, its UIDL and "
        "the size that\n"
        "the server listed, why, whose maildrop it is in, and whether a message has been "
        "archived since\n"
        "under that UIDL. It stays on the server; it is asked for again when its listed "
        "size changes.\n"
        "Then a line for each file in the archive's folder quarantine/: what recovery cut "
        "off the end of\n"
        "a segment after a crash, never acknowledged, for a person to see. Such files may "
        "be removed.\n"
        "With --account only the messages of that account.\n\n"
        "With --json one object a line:\n"
        "  type message  account, lsn, time, host, login, uidl, listed_size (or null), "
        "size (of what\n"
        "                was kept), file (its name, or null), reason, archived (an ID, or "
        "null)\n"
        "  type tail     time, file, size, segment, offset\n"
        "  type file     time, file, size: put there by somebody else\n"
        "Times are RFC 3339 in UTC.",
    .statuses = "0  done\n1  there is no such account\n2  usage, or no archive there\n"
                "3  an entry is damaged\n4  could not run",
    .example = "mailcask quarantine\n"
               "mailcask quarantine --account alice@acme.example --json",
    .options = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_JSON),
    .run = run_quarantine,
};
