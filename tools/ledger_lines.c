#include "tools/ledger_lines.h"

#include "archive/size_text.h"
#include "tools/dates.h"
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
    else
        output_print(out, "%" PRIu64 " listed, %" PRIu64 " known, %" PRIu64 " fetched (%s)",
                     s->listed, s->known, s->fetched, size);
    print_count(out, s->deduplicated, "known by content");
    print_count(out, s->healed, "healed");
    print_count(out, s->refused, "refused by the server");
    print_count(out, s->quarantined, "put aside");
    print_source(out, &e->source);
    print_reason(out, "", s->text);
    print_reason(out, "the listing was not trusted: ", s->untrusted);
    if (s->more != 0)
        output_print(out, "; more is left for the next session");
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

void ledger_line(struct output *out, const struct ledger_entry *e)
{
    if (e->type == RECORD_SESSION)
        session_line(out, e);
    else if (e->type == RECORD_QUARANTINE)
        quarantine_line(out, e);
    else if (e->type == RECORD_LOST)
        lost_line(out, e);
    else
        output_print(out, "(record %" PRIu64 " cannot be read)", e->lsn);
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

static const char *type_word(uint8_t type)
{
    if (type == RECORD_SESSION)
        return "session";
    if (type == RECORD_QUARANTINE)
        return "quarantine";
    return type == RECORD_LOST ? "lost" : "unreadable";
}

void ledger_json(struct output *out, const char *account, const struct ledger_entry *e)
{
    struct json j;
    json_begin(&j, out);
    json_string(&j, "type", span_text(type_word(e->type)));
    json_string(&j, "account", span_text(account));
    json_number(&j, "lsn", e->lsn);
    if (e->type == RECORD_SESSION)
        session_json(&j, e);
    else if (e->type == RECORD_QUARANTINE)
        quarantine_json(&j, e);
    else if (e->type == RECORD_LOST)
        lost_json(&j, e);
    json_end(&j);
}

void history_text(struct output *out, const struct message_history *h)
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
}

void history_json(struct output *out, const struct message_history *h)
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
    json_end(&j);
}
