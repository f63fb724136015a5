#include "tools/ledger_lines.h"

#include "archive/size_text.h"
#include "tools/dates.h"
#include "tools/deletion_lines.h"
#include "tools/message_id.h"
#include "tools/session_words.h"

#include <inttypes.h>
#include <string.h>

void copy_text(char *to, size_t size, struct span text)
{
    size_t n = text.size < size ? text.size : size - 1;
    if (n > 0)
        memcpy(to, text.data, n);
    to[n] = '\0';
}

static void print_time(struct output *out, int64_t time_us)
{
    char text[TIME_TEXT_MAX];
    time_text_local(seconds_of(time_us), text);
    output_print(out, "%s", text);
}

/* ", 3 refused" if there were any. */
static void print_count(struct output *out, uint64_t count, const char *what)
{
    if (count > 0)
        output_print(out, ", %" PRIu64 " %s", count, what);
}

/* "; label: text" if there is a text. */
static void print_reason(struct output *out, const char *label, struct span text)
{
    if (text.size == 0)
        return;
    output_print(out, "; %s", label);
    output_clean(out, text);
}

static void print_source(struct output *out, const struct source_meta *s)
{
    if (s->host.size == 0)
        return;
    output_print(out, "; ");
    output_clean(out, s->login);
    output_print(out, " at ");
    output_clean(out, s->host);
}

static void session_line(struct output *out, const struct ledger_entry *e)
{
    const struct session_meta *s = &e->session;
    char size[SIZE_TEXT_MAX];
    size_text(s->bytes, size);
    print_time(out, s->ended_us);
    output_print(out, "  %-8s  ", session_state_word(s->state));
    if (s->listed == SIZE_UNKNOWN)
        output_print(out, "nothing listed");
    else if (s->flags & SESSION_DELETES)
        output_print(out, "%" PRIu64 " listed, %" PRIu64 " known", s->listed, s->known);
    else
        output_print(out, "%" PRIu64 " listed, %" PRIu64 " known, %" PRIu64 " fetched (%s)",
                     s->listed, s->known, s->fetched, size);
    print_count(out, s->deduplicated, "known by content");
    print_count(out, s->healed, "healed");
    print_count(out, s->refused, "refused by the server");
    print_count(out, s->quarantined, "put aside");
    print_count(out, s->deleted, "deleted");
    print_count(out, s->unknown, "perhaps deleted");
    print_count(out, s->vanished, "gone since the last listing");
    print_source(out, &e->source);
    print_reason(out, "", s->text);
    print_reason(out, "the listing was not trusted: ", s->untrusted);
    if (s->flags & SESSION_RENUMBERED)
        output_print(out, "; most UIDLs had changed");
    if (s->flags & SESSION_DOUBTED)
        output_print(out, "; most of the last listing was missing");
    if (s->flags & SESSION_REUSED)
        output_print(out, "; a known UIDL came with another message");
    if (s->more != 0)
        output_print(out, "; more is left for the next session");
}

/* Deletions as well: each line ends with where it was. */
static void dated_line(struct output *out, const struct ledger_entry *e,
                       void (*line)(struct output *out, const struct ledger_entry *e))
{
    print_time(out, e->time_us);
    line(out, e);
    print_source(out, &e->source);
}

static void run_line(struct output *out, const struct ledger_entry *e)
{
    const struct session_run_meta *r = &e->run;
    print_time(out, r->last_us);
    output_print(out, "  complete  %" PRIu64 " polls since ", r->polls);
    print_time(out, r->first_us);
    output_print(out, " found nothing new, %" PRIu64 " listed", r->listed);
    print_source(out, &e->source);
}

static void unlisted_line(struct output *out, const struct ledger_entry *e)
{
    const struct session_run_meta *r = &e->run;
    print_time(out, r->last_us);
    output_print(out, "  unlisted  %" PRIu64 " polls since ", r->polls);
    print_time(out, r->first_us);
    output_print(out,
                 " found as many messages, as large, as the last listing (%" PRIu64
                 "), and did not list",
                 r->listed);
    print_source(out, &e->source);
}

static void quarantine_line(struct output *out, const struct ledger_entry *e)
{
    const struct quarantine_meta *q = &e->quarantine;
    print_time(out, e->time_us);
    output_print(out, "  put aside a message: ");
    output_clean(out, q->reason);
    print_reason(out, "UIDL ", q->uidl);
    print_reason(out, "kept as quarantine/", q->file);
    print_source(out, &e->source);
}

static void lost_line(struct output *out, const struct ledger_entry *e)
{
    const struct lost_meta *l = &e->lost;
    print_time(out, e->time_us);
    if (l->first != 0)
        output_print(out, "  acknowledged as lost: messages %" PRIu64 " to %" PRIu64,
                     l->first, l->last);
    else
        output_print(out, "  acknowledged as lost: segment %" PRIu64, l->segment);
    print_reason(out, "", l->reason);
}

static void access_line(struct output *out, const struct ledger_entry *e)
{
    const struct access_meta *m = &e->access;
    print_time(out, e->time_us);
    output_print(out, "  ");
    output_clean(out, m->user);
    if (m->command == ACCESS_SHOW)
        output_print(out, " was shown message %" PRIu64, m->first);
    else
        output_print(out, " restored %" PRIu64 " message%s of %" PRIu64 " to %" PRIu64,
                     m->count, m->count == 1 ? "" : "s", m->first, m->last);
    print_reason(out, "", m->detail);
    print_reason(out, "because: ", m->reason);
}

void ledger_line(struct output *out, const struct ledger_entry *e)
{
    switch (e->type) {
    case RECORD_SESSION:
        session_line(out, e);
        break;
    case RECORD_SESSION_RUN:
        run_line(out, e);
        break;
    case RECORD_UNLISTED_RUN:
        unlisted_line(out, e);
        break;
    case RECORD_DELETE_INTENT:
        dated_line(out, e, intent_line);
        break;
    case RECORD_DELETE_OUTCOME:
        dated_line(out, e, outcome_line);
        break;
    case RECORD_QUARANTINE:
        quarantine_line(out, e);
        break;
    case RECORD_LOST:
        lost_line(out, e);
        break;
    case RECORD_ACCESS:
        access_line(out, e);
        break;
    default:
        output_print(out, "(record %" PRIu64 " cannot be read)", e->lsn);
        break;
    }
    output_print(out, "\n");
}

static void json_number_or_null(struct json *j, const char *name, uint64_t value)
{
    if (value == SIZE_UNKNOWN)
        json_null(j, name);
    else
        json_number(j, name, value);
}

static void session_json(struct json *j, const struct ledger_entry *e)
{
    const struct session_meta *s = &e->session;
    json_time_us(j, "began", s->began_us);
    json_time_us(j, "ended", s->ended_us);
    json_string(j, "state", span_text(session_state_word(s->state)));
    json_string_or_null(j, "text", s->text);
    json_bool(j, "trusted", s->trusted != 0);
    json_string_or_null(j, "untrusted", s->untrusted);
    json_bool(j, "more", s->more != 0);
    json_bool(j, "deletes", (s->flags & SESSION_DELETES) != 0);
    json_bool(j, "renumbered", (s->flags & SESSION_RENUMBERED) != 0);
    json_bool(j, "reused", (s->flags & SESSION_REUSED) != 0);
    json_bool(j, "doubted", (s->flags & SESSION_DOUBTED) != 0);
    json_string_or_null(j, "host", e->source.host);
    json_string_or_null(j, "login", e->source.login);
    json_string_or_null(j, "address", s->address);
    json_string_or_null(j, "tls", s->tls);
    json_number_or_null(j, "listed", s->listed);
    json_number_or_null(j, "listed_bytes",
                        s->listed == SIZE_UNKNOWN ? SIZE_UNKNOWN : s->listed_bytes);
    json_number(j, "known", s->known);
    json_number(j, "fetched", s->fetched);
    json_number(j, "deduplicated", s->deduplicated);
    json_number(j, "healed", s->healed);
    json_number(j, "refused", s->refused);
    json_number(j, "quarantined", s->quarantined);
    json_number(j, "deleted", s->deleted);
    json_number(j, "unknown", s->unknown);
    json_number(j, "vanished", s->vanished);
    json_number(j, "bytes", s->bytes);
    json_hex(j, "digest", s->digest, sizeof(s->digest));
}

static void quarantine_json(struct json *j, const struct ledger_entry *e)
{
    const struct quarantine_meta *q = &e->quarantine;
    json_time_us(j, "time", e->time_us);
    json_string_or_null(j, "host", e->source.host);
    json_string_or_null(j, "login", e->source.login);
    json_string_or_null(j, "uidl", q->uidl);
    json_number_or_null(j, "listed_size", q->listed_size);
    json_number(j, "size", q->size);
    json_string_or_null(j, "file", q->file);
    json_string_or_null(j, "reason", q->reason);
}

static void lost_json(struct json *j, const struct ledger_entry *e)
{
    json_time_us(j, "time", e->time_us);
    json_number(j, "segment", e->lost.segment);
    json_number(j, "first", e->lost.first);
    json_number(j, "last", e->lost.last);
    json_string_or_null(j, "reason", e->lost.reason);
}

static void access_json(struct json *j, const struct ledger_entry *e)
{
    const struct access_meta *m = &e->access;
    json_time_us(j, "time", e->time_us);
    json_string(j, "command", span_text(m->command == ACCESS_SHOW ? "show" : "restore"));
    json_string(j, "user", m->user);
    json_number(j, "messages", m->count);
    json_number(j, "first", m->first);
    json_number(j, "last", m->last);
    json_string_or_null(j, "detail", m->detail);
    json_string_or_null(j, "reason", m->reason);
}

static void run_json(struct json *j, const struct ledger_entry *e)
{
    const struct session_run_meta *r = &e->run;
    json_time_us(j, "first", r->first_us);
    json_time_us(j, "last", r->last_us);
    json_number(j, "polls", r->polls);
    json_number(j, "listed", r->listed);
    json_number(j, "listed_bytes", r->listed_bytes);
    json_hex(j, "digest", r->digest, sizeof(r->digest));
}

static const struct {
    uint8_t type;
    const char *word;
    void (*members)(struct json *j, const struct ledger_entry *e);
    bool dated; /* time, host and login are not among the members */
} kinds[] = {
    {RECORD_SESSION, "session", session_json, false},
    {RECORD_SESSION_RUN, "run", run_json, true},
    {RECORD_UNLISTED_RUN, "unlisted", run_json, true},
    {RECORD_DELETE_INTENT, "intent", intent_json, true},
    {RECORD_DELETE_OUTCOME, "deletion", outcome_json, true},
    {RECORD_QUARANTINE, "quarantine", quarantine_json, false},
    {RECORD_LOST, "lost", lost_json, false},
    {RECORD_ACCESS, "access", access_json, false},
};

void ledger_json(struct output *out, const char *account, const struct ledger_entry *e)
{
    struct json j;
    size_t kind = 0, count = sizeof(kinds) / sizeof(kinds[0]);
    while (kind < count && kinds[kind].type != e->type)
        kind++;
    json_begin(&j, out);
    json_string(&j, "type", span_text(kind < count ? kinds[kind].word : "unreadable"));
    json_string(&j, "account", span_text(account));
    json_number(&j, "lsn", e->lsn);
    if (kind < count && kinds[kind].dated) {
        json_time_us(&j, "time", e->time_us);
        json_string_or_null(&j, "host", e->source.host);
        json_string_or_null(&j, "login", e->source.login);
    }
    if (kind < count)
        kinds[kind].members(&j, e);
    json_end(&j);
}

static int tell_life(struct output *out, struct json *j, const struct message_history *h)
{
    struct message_life life = {.out = out, .json = j, .n = h->message->n};
    return archive_each_entry_of(h->archive, h->account_number, LEDGER_ALL_TYPES,
                                 message_life_entry, &life);
}

int history_text(struct output *out, const struct message_history *h)
{
    const struct message_meta *m = h->message;
    char hash[2 * SHA256_SIZE + 1];
    hex_encode(m->sha256, sizeof(m->sha256), hash);
    output_print(out, "message    ");
    output_clean(out, span_text(h->account));
    output_print(out, "/%" PRIu64 "\nfetched    ", m->n);
    print_time(out, m->fetched_us);
    output_print(out, "\nfrom       ");
    output_clean(out, span_text(h->host[0] != '\0' ? h->login : "(not on record)"));
    output_print(out, h->host[0] != '\0' ? " at " : "");
    output_clean(out, span_text(h->host));
    output_print(out, "\nUIDL       ");
    output_clean(out, m->uidl.size > 0 ? m->uidl : span_text("(none)"));
    output_print(out, "\nsize       %" PRIu64 " bytes", m->size);
    if (m->listed_size != SIZE_UNKNOWN)
        output_print(out, ", listed as %" PRIu64, m->listed_size);
    output_print(out, "\nSHA-256    %s\nsession    ", hash);
    if (h->session_began_us != 0) {
        print_time(out, h->session_began_us);
        output_print(out, " to ");
        print_time(out, h->session_ended_us);
    } else {
        output_print(out, "(not on record)");
    }
    output_print(out, "\n");
    return tell_life(out, NULL, h);
}

int history_json(struct output *out, const struct message_history *h)
{
    const struct message_meta *m = h->message;
    struct json j;
    char id[MESSAGE_ID_TEXT_MAX];
    message_id_text(h->account, m->n, id);
    json_begin(&j, out);
    json_string(&j, "type", span_text("message"));
    json_string(&j, "account", span_text(h->account));
    json_string(&j, "id", span_text(id));
    json_number(&j, "n", m->n);
    json_time_us(&j, "fetched", m->fetched_us);
    json_string_or_null(&j, "host", span_text(h->host));
    json_string_or_null(&j, "login", span_text(h->login));
    json_string_or_null(&j, "uidl", m->uidl);
    json_number_or_null(&j, "listed_size", m->listed_size);
    json_number(&j, "size", m->size);
    json_hex(&j, "sha256", m->sha256, sizeof(m->sha256));
    json_time_us(&j, "session_began", h->session_began_us);
    json_time_us(&j, "session_ended", h->session_ended_us);
    if (h->session_began_us != 0)
        json_number(&j, "session_lsn", h->session_lsn);
    else
        json_null(&j, "session_lsn");
    json_open(&j, "events", '[');
    int err = tell_life(out, &j, h);
    json_close(&j, ']');
    json_end(&j);
    return err;
}
