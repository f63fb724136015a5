#include "tools/deletion_lines.h"

#include "tools/dates.h"

#include <inttypes.h>

static const struct {
    const char *word;
    const char *text;
} states[] = {
    [DELETION_NONE] = {"none", "not deleted"},
    [DELETION_INTENDED] = {"intended", "DELE may have been sent"},
    [DELETION_ACCEPTED] = {"accepted", "the server accepted DELE and QUIT"},
    [DELETION_UNKNOWN] = {"unknown", "DELE was sent, but an answer is missing"},
    [DELETION_REFUSED] = {"refused", "the server refused DELE"},
    [DELETION_UNSENT] = {"unsent", "DELE was not sent after all"},
    [DELETION_ABSENT] = {"absent", "a later complete listing lacks it"},
    [DELETION_CONFIRMED] = {"confirmed", "two later complete listings lack it"},
    [DELETION_RETURNED] = {"returned", "it is listed again, with the same bytes"},
    [DELETION_UNDONE] = {"undone", "it is still listed, with the same bytes"},
};

const char *deletion_state_word(uint8_t state)
{
    return state < sizeof(states) / sizeof(states[0]) ? states[state].word : "later";
}

const char *deletion_state_text(uint8_t state)
{
    return state < sizeof(states) / sizeof(states[0]) ? states[state].text
                                                      : "of a later version";
}

/* The runs of a set: *n is the first number of one and becomes its last. False at the end.
 */
static bool next_run(struct span set, uint64_t *n, uint64_t *out_first)
{
    *out_first = *n = number_set_next(set, *n);
    if (*n == 0)
        return false;
    while (number_set_next(set, *n) == *n + 1)
        ++*n;
    return true;
}

void intent_line(struct output *out, const struct ledger_entry *e)
{
    struct intents_reader r = e->intents;
    output_print(out,
                 "  to be deleted: %" PRIu32 " message%s, each read back from the disk",
                 r.left, r.left == 1 ? "" : "s");
}

void outcome_line(struct output *out, const struct ledger_entry *e)
{
    const struct outcome_meta *m = &e->outcome;
    uint64_t n = 0, first = 0;
    const char *before = "  messages ";
    while (next_run(m->numbers, &n, &first)) {
        output_print(out, "%s%" PRIu64, before, first);
        if (n > first)
            output_print(out, "-%" PRIu64, n);
        before = ", ";
    }
    output_print(out, ": %s", deletion_state_text(m->state));
    if (m->text.size > 0) {
        output_print(out, "; ");
        output_clean(out, m->text);
    }
}

static void intent_members(struct json *j, const struct intent_meta *m)
{
    json_number(j, "attempt", m->attempt);
    json_string(j, "uidl", m->uidl);
    json_number(j, "listed_size", m->listed_size);
    json_hex(j, "sha256", m->sha256, sizeof(m->sha256));
    json_bool(j, "read_back", (m->proof & INTENT_READ_BACK) != 0);
    json_bool(j, "fetched_again", (m->proof & INTENT_FETCHED_AGAIN) != 0);
}

void intent_json(struct json *j, const struct ledger_entry *e)
{
    struct intents_reader r = e->intents;
    struct intent_meta m;
    json_open(j, "messages", '[');
    while (intents_next(&r, &m) == 0) {
        json_open(j, NULL, '{');
        json_number(j, "n", m.n);
        intent_members(j, &m);
        json_close(j, '}');
    }
    json_close(j, ']');
}

void outcome_json(struct json *j, const struct ledger_entry *e)
{
    const struct outcome_meta *m = &e->outcome;
    uint64_t n = 0, first = 0;
    json_string(j, "state", span_text(deletion_state_word(m->state)));
    json_string_or_null(j, "text", m->text);
    json_open(j, "messages", '[');
    while (next_run(m->numbers, &n, &first)) {
        json_open(j, NULL, '[');
        json_number(j, NULL, first);
        json_number(j, NULL, n);
        json_close(j, ']');
    }
    json_close(j, ']');
}

/* One message's life */

static void event_begin(const struct message_life *life, int64_t time_us, const char *word)
{
    char text[TIME_TEXT_MAX];
    if (life->json != NULL) {
        json_open(life->json, NULL, '{');
        json_time_us(life->json, "time", time_us);
        json_string(life->json, "event", span_text(word));
        return;
    }
    time_text_local(seconds_of(time_us), text);
    output_print(life->out, "%s  %-10s ", text, word);
}

static void event_end(const struct message_life *life)
{
    if (life->json != NULL)
        json_close(life->json, '}');
    else
        output_print(life->out, "\n");
}

static void where(const struct message_life *life, const struct source_meta *s)
{
    if (life->json != NULL) {
        json_string_or_null(life->json, "host", s->host);
        json_string_or_null(life->json, "login", s->login);
        return;
    }
    output_clean(life->out, s->login);
    output_print(life->out, " at ");
    output_clean(life->out, s->host);
}

/* Where the listings begin and cease to name it. */
static void life_session(struct message_life *life, const struct ledger_entry *e)
{
    const struct session_meta *s = &e->session;
    uint64_t bit = s->source < 64 ? (uint64_t)1 << s->source : 0;
    bool has = number_set_has(s->named, life->n);
    if ((s->flags & SESSION_NAMES) == 0 || has == ((life->listed & bit) != 0))
        return;
    life->listed ^= bit;
    event_begin(life, s->ended_us, has ? "listed" : "not-listed");
    where(life, &e->source);
    event_end(life);
}

static void life_seen(const struct message_life *life, const struct ledger_entry *e)
{
    if (e->seen.n != life->n)
        return;
    event_begin(life, e->time_us, "seen-as");
    where(life, &e->source);
    if (life->json != NULL) {
        json_string(life->json, "uidl", e->seen.uidl);
    } else {
        output_print(life->out, ", UIDL ");
        output_clean(life->out, e->seen.uidl);
    }
    event_end(life);
}

static void life_intent(const struct message_life *life, const struct ledger_entry *e)
{
    struct intents_reader r = e->intents;
    struct intent_meta m;
    while (intents_next(&r, &m) == 0) {
        if (m.n != life->n)
            continue;
        event_begin(life, e->time_us, "intended");
        where(life, &e->source);
        if (life->json != NULL)
            intent_members(life->json, &m);
        else
            output_print(
                life->out,
                ": attempt %u to delete it; its copy was read back from the disk%s",
                m.attempt,
                m.proof & INTENT_FETCHED_AGAIN ? ", and it was fetched again and was equal"
                                               : "");
        event_end(life);
    }
}

static void life_outcome(const struct message_life *life, const struct ledger_entry *e)
{
    const struct outcome_meta *m = &e->outcome;
    if (!number_set_has(m->numbers, life->n))
        return;
    event_begin(life, e->time_us, deletion_state_word(m->state));
    if (life->json == NULL)
        output_print(life->out, "%s", deletion_state_text(m->state));
    else
        where(life, &e->source);
    if (life->json != NULL)
        json_string_or_null(life->json, "text", m->text);
    event_end(life);
}

/* Who was, or may have been, given it: of a range not every message need be there. */
static void life_access(const struct message_life *life, const struct ledger_entry *e)
{
    const struct access_meta *m = &e->access;
    if (life->n < m->first || life->n > m->last)
        return;
    event_begin(life, e->time_us, m->command == ACCESS_SHOW ? "shown" : "restored");
    if (life->json != NULL) {
        json_string(life->json, "user", m->user);
        json_string_or_null(life->json, "reason", m->reason);
    } else {
        output_print(life->out, "to ");
        output_clean(life->out, m->user);
        output_print(life->out, m->reason.size > 0 ? ": " : "");
        output_clean(life->out, m->reason);
    }
    event_end(life);
}

int message_life_entry(void *arg, const struct ledger_entry *e)
{
    struct message_life *life = arg;
    switch (e->type) {
    case RECORD_SESSION:
        life_session(life, e);
        break;
    case RECORD_SEEN:
        life_seen(life, e);
        break;
    case RECORD_DELETE_INTENT:
        life_intent(life, e);
        break;
    case RECORD_DELETE_OUTCOME:
        life_outcome(life, e);
        break;
    case RECORD_ACCESS:
        life_access(life, e);
        break;
    default:
        break;
    }
    return life->out->error;
}
