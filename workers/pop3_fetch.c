#include "archive/error.h"
#include "workers/pop3_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A message is far too short (Q31) if a quarter more and this would not make it as long as
 * announced: LIST sizes are approximate (Q16). */
#define SHORT_SLACK ((uint64_t)2048)
#define WINDOW_SHARES 4 /* of the window's bytes; a message takes one at most */
#define MEGABYTE ((uint64_t)1000 * 1000)

static const struct {
    enum pop3_command command;
    const char *verb;
} listing_commands[] = {
    /* LIST before UIDL, so that a size is known when its UIDL is judged. */
    {POP3_CMD_STAT, "STAT"},
    {POP3_CMD_LIST, "LIST"},
    {POP3_CMD_UIDL, "UIDL"},
};
#define LISTING_COMMANDS (sizeof(listing_commands) / sizeof(listing_commands[0]))

static void listing_send(struct pop3 *p)
{
    do {
        unsigned i = p->listing_next++;
        pop3_send(p, listing_commands[i].command, listing_commands[i].verb, NULL);
    } while (pop3_may_pipeline(p) && p->listing_next < LISTING_COMMANDS);
}

static void listing_failed(struct pop3 *p, int err)
{
    if (err == ERR_TOO_LARGE)
        pop3_fail(
            p, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The server lists more than %zu bytes of message numbers and IDs; nothing was "
            "fetched.",
            p->config.limits.listing.bytes_max);
    else if (err == ERR_CRYPTO)
        pop3_fail(p, SCOPE_PROCESS, RETRY_BACKOFF, "The cryptographic library failed.");
    else
        pop3_fail_memory(p);
}

bool pop3_listing_begin(struct pop3 *p)
{
    int rc = listing_create(&p->config.limits.listing, p->memory.blank_from,
                            p->callbacks.judge, p->arg, &p->listing);
    if (rc != 0)
        listing_failed(p, rc);
    return rc == 0;
}

void pop3_listing_enter(struct pop3 *p)
{
    if (p->looked_ahead && p->listing_next > 0)
        return;
    if (p->listing != NULL)
        p->listing_next = 1; /* STAT was answered: see pop3_glance.c */
    else if (!pop3_listing_begin(p))
        return;
    listing_send(p);
}

static void listing_complete(struct pop3 *p)
{
    int rc = listing_finish(p->listing);
    if (rc != 0) {
        listing_failed(p, rc);
        return;
    }
    p->callbacks.listing_done(p->arg, p->listing);
    pop3_enter(p, POP3_FETCH);
}

static void listing_go_on(struct pop3 *p)
{
    if (p->listing_next < LISTING_COMMANDS)
        listing_send(p);
    else if (p->queue_count == 0)
        listing_complete(p);
}

static void uidl_refused(struct pop3 *p, const struct reply *reply)
{
    bool coded = reply->code != REPLY_CODE_NONE && reply->code != REPLY_CODE_OTHER;
    bool announced = p->capabilities.known && p->capabilities.uidl;
    if (coded || announced || !listing_summary(p->listing)->list_complete) {
        /* Nothing was retrieved, so QUIT deletes nothing (Q35). */
        char quote[OUTCOME_QUOTE_SIZE];
        pop3_quote(p, reply->text, reply->text_size, quote);
        outcome_set(
            &p->outcome, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The server has UIDL but refused it: \"%s\"; nothing was fetched, it will be "
            "tried again later.",
            quote);
        pop3_enter(p, POP3_QUIT);
        return;
    }
    int rc = listing_no_uidl(p->listing);
    if (rc != 0)
        listing_failed(p, rc);
    else
        listing_go_on(p);
}

void pop3_listing_reply(struct pop3 *p, enum pop3_command command,
                        const struct reply *reply)
{
    bool ok = reply->status == REPLY_OK;
    if (ok && command != POP3_CMD_STAT) {
        p->multiline = true;
        return;
    }
    pop3_answered(p);
    if (!ok && command == POP3_CMD_UIDL) {
        uidl_refused(p, reply);
        return;
    }
    if (ok)
        listing_stat(p->listing, reply->text, reply->text_size);
    listing_go_on(p);
}

void pop3_listing_line(struct pop3 *p, enum pop3_command command, const struct line *line)
{
    int rc = command == POP3_CMD_LIST
                 ? listing_list_line(p->listing, line->data, line->size)
                 : listing_uidl_line(p->listing, line->data, line->size);
    if (rc != 0)
        listing_failed(p, rc);
}

void pop3_listing_ended(struct pop3 *p, enum pop3_command command)
{
    if (command == POP3_CMD_LIST)
        listing_list_end(p->listing);
    else
        listing_uidl_end(p->listing);
    listing_go_on(p);
}

/* The window. */

bool pop3_window_wants_more(const struct pop3 *p)
{
    return p->queue_count <= p->window_filled / 2;
}

bool pop3_window_has_room(const struct pop3 *p)
{
    const struct pop3_limits *limits = &p->config.limits;
    size_t longest = sizeof("RETR 4294967295\r\n") - 1;
    return p->queue_count == 0 ||
           (p->queue_count < p->window && p->window_bytes < limits->window_bytes &&
            p->unanswered_bytes + longest <= limits->unanswered_max);
}

void pop3_window_send(struct pop3 *p, enum pop3_command command, const char *verb,
                      uint32_t number)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%" PRIu32, number);
    pop3_send(p, command, verb, text);
    p->window_filled = p->queue_count;
    if (p->queue_count > p->stats.window && p->window > 1)
        p->stats.window = p->queue_count;
}

void pop3_window_open(struct pop3 *p, unsigned start)
{
    unsigned max = p->config.limits.window_max;
    if (pop3_may_pipeline(p) && !p->config.careful)
        p->window = start < max ? start : max;
}

void pop3_window_grow(struct pop3 *p)
{
    if (p->window == 1 || ++p->window_answers < p->window)
        return;
    p->window_answers = 0;
    unsigned max = p->config.limits.window_max;
    p->window = p->window * 2 < max ? p->window * 2 : max;
}

/* Messages. */

/* Of the day's bytes. */
static uint64_t share_of(const struct pop3 *p, const struct listing_entry *entry)
{
    uint64_t size = entry->size == LISTING_SIZE_UNKNOWN ? 0 : entry->size;
    return size < p->config.day.whole ? size : p->config.day.whole;
}

/* Whether the next message is more than what is left of the day's bytes (Q45). Sizes that
 * LIST made too small are found out by what came. */
static bool day_used_up(const struct pop3 *p)
{
    const struct pop3_day *day = &p->config.day;
    if (day->whole == 0 || p->next_wanted >= listing_wanted_count(p->listing))
        return false;
    struct listing_entry next = listing_wanted(p->listing, p->next_wanted);
    uint64_t spent =
        p->day_spent > p->stats.body_bytes ? p->day_spent : p->stats.body_bytes;
    return spent >= day->left || share_of(p, &next) > day->left - spent;
}

/* Within this session. */
static uint64_t messages_max(const struct pop3 *p)
{
    uint64_t few = p->config.limits.messages_max;
    uint64_t part = listing_summary(p->listing)->list_count / POP3_SESSION_MESSAGES_PART;
    return part > few ? part : few;
}

/* However long the listing took: a mailbox whose listing takes longer than this would never
 * be fetched, and asked for again at once. */
static bool in_time(const struct pop3 *p)
{
    return p->fetching_ms == 0 || p->now - p->fetching_ms < p->config.limits.fetch_ms;
}

static bool may_retrieve(const struct pop3 *p)
{
    const struct pop3_limits *limits = &p->config.limits;
    return !p->finishing && p->next_wanted < listing_wanted_count(p->listing) &&
           p->retrieved < messages_max(p) && p->refusals_in_row < limits->refusals_max &&
           in_time(p) && !day_used_up(p);
}

/* Of the window's bytes. */
static uint64_t window_share_of(const struct pop3 *p, const struct listing_entry *entry)
{
    uint64_t max = p->config.limits.window_bytes / WINDOW_SHARES;
    uint64_t size = entry->size == LISTING_SIZE_UNKNOWN ? 0 : entry->size;
    return size < max ? size : max;
}

static void send_retr(struct pop3 *p)
{
    struct listing_entry entry = listing_wanted(p->listing, p->next_wanted);
    if (p->fetching_ms == 0)
        p->fetching_ms = p->now;
    pop3_window_send(p, POP3_CMD_RETR, "RETR", entry.number);
    p->day_spent += share_of(p, &entry);
    p->window_bytes += window_share_of(p, &entry);
    p->next_wanted++;
    p->retrieved++;
    p->probe_sent = false;
}

static bool proof_is_due(const struct pop3 *p)
{
    return p->config.careful && p->held != POP3_HELD_NOTHING;
}

static void fill_window(struct pop3 *p)
{
    if (!pop3_window_wants_more(p))
        return;
    while (p->state == POP3_FETCH && pop3_window_has_room(p) && may_retrieve(p) &&
           !proof_is_due(p))
        send_retr(p);
}

/* Where the next session goes on with messages that have no ID to be known by. */
static void remember_blank(struct pop3 *p)
{
    p->memory.blank_from = 0;
    for (size_t i = p->next_wanted; i < listing_wanted_count(p->listing); i++) {
        struct listing_entry entry = listing_wanted(p->listing, i);
        if (entry.uidl_size == 0) {
            p->memory.blank_from = entry.number;
            return;
        }
    }
}

static void say_day_used_up(struct pop3 *p)
{
    const struct pop3_day *day = &p->config.day;
    p->outcome.delay_s = day->wait_s;
    outcome_set(&p->outcome, SCOPE_MAILBOX, RETRY_BACKOFF,
                "The %" PRIu64 " MB that may be fetched of this mailbox within a day "
                "(daily-bytes) are used up; the rest follows in %u h.",
                (day->whole + MEGABYTE - 1) / MEGABYTE, day->wait_s / 3600 + 1);
}

static void fetch_ended(struct pop3 *p)
{
    p->outcome.more = p->next_wanted < listing_summary(p->listing)->wanted;
    remember_blank(p);
    if (p->refusals_in_row >= p->config.limits.refusals_max)
        outcome_set(
            &p->outcome, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The server refused %u messages in a row, the last with \"%s\"; perhaps it "
            "limits what may be fetched in a day, it will be tried again later.",
            p->refusals_in_row, p->held_text);
    else if (day_used_up(p))
        say_day_used_up(p);
    p->paused = false; /* there is nothing left to hold back */
    pop3_time_standing(p, p->now);
    pop3_enter(p, POP3_DURABLE);
}

void pop3_fetch_go_on(struct pop3 *p)
{
    if (p->state != POP3_FETCH)
        return;
    if (!p->paused)
        fill_window(p);
    if (p->state != POP3_FETCH || (may_retrieve(p) && !proof_is_due(p)))
        return;
    bool open = p->queue_count > 0 || p->held != POP3_HELD_NOTHING;
    if (!p->probe_sent && open && (p->queue_count == 0 || p->window > 1)) {
        /* Its reply proves the end of the last message (Q21). */
        p->probe_sent = true;
        pop3_send(p, POP3_CMD_NOOP, "NOOP", NULL);
    } else if (!open) {
        fetch_ended(p);
    }
}

void pop3_fetch_enter(struct pop3 *p)
{
    p->window = 1; /* until it is known how to keep replies apart: pop3_sync_end() */
    pop3_fetch_go_on(p);
}

/* A reply was recognised, so the one before it was complete. */
static void prove_held(struct pop3 *p)
{
    enum pop3_held held = p->held;
    p->held = POP3_HELD_NOTHING;
    if (held == POP3_HELD_ENDED) {
        p->stats.messages++;
        p->callbacks.message_end(p->arg, &p->held_entry, p->held_flags);
    } else if (held == POP3_HELD_REFUSED) {
        p->stats.refused++;
        p->callbacks.message_refused(p->arg, &p->held_entry, p->held_permanent,
                                     p->held_text);
    }
}

static void discard(struct pop3 *p, const struct listing_entry *entry,
                    enum pop3_discard why)
{
    p->stats.discarded++;
    p->callbacks.message_discard(p->arg, entry, why);
}

void pop3_fetch_drop(struct pop3 *p, enum pop3_discard body, enum pop3_discard held,
                     bool awaited)
{
    enum pop3_held was = p->held;
    bool in_body = p->in_body;
    p->held = POP3_HELD_NOTHING;
    p->in_body = false;
    if (was == POP3_HELD_ENDED)
        discard(p, &p->held_entry, held);
    if (in_body) {
        pop3_wire_body(p, false);
        p->stats.dots_kept += p->dot.kept;
        p->stats.dots_removed += p->dot.removed;
        discard(p, &p->current, body);
        return;
    }
    if (!awaited || p->queue_count == 0)
        return;
    const struct pop3_expected *e = pop3_expected(p);
    if (e->command == POP3_CMD_RETR && e->sent_at <= p->output_taken) {
        struct listing_entry entry = listing_wanted(p->listing, e->index);
        discard(p, &entry, POP3_DISCARD_NO_ANSWER);
    }
}

/* "1234 octets": free text, so it is a hint and nothing more (Q48). */
static uint64_t parse_octets(const struct reply *reply)
{
    static const char word[] = " octets";
    uint64_t value = 0;
    size_t i = 0;
    for (; i < reply->text_size && reply->text[i] >= '0' && reply->text[i] <= '9'; i++) {
        if (value > UINT64_MAX / 100)
            return POP3_OCTETS_UNKNOWN;
        value = value * 10 + (uint64_t)(reply->text[i] - '0');
    }
    size_t left = reply->text_size - i;
    if (i == 0 || left < sizeof(word) - 1 ||
        strncasecmp(reply->text + i, word, sizeof(word) - 1) != 0)
        return POP3_OCTETS_UNKNOWN;
    return value;
}

static uint64_t body_limit(const struct pop3_limits *limits, uint64_t listed)
{
    if (listed == LISTING_SIZE_UNKNOWN)
        return limits->message_max;
    uint64_t allowed = listed > (UINT64_MAX - limits->body_slack) / 2
                           ? UINT64_MAX
                           : 2 * listed + limits->body_slack;
    if (allowed < limits->body_floor)
        allowed = limits->body_floor;
    return allowed < limits->message_max ? allowed : limits->message_max;
}

static void body_begin(struct pop3 *p, const struct reply *reply, uint64_t octets)
{
    p->current = listing_wanted(p->listing, pop3_expected(p)->index);
    p->octets = octets;
    p->body_size = 0;
    p->body_limit = body_limit(&p->config.limits, p->current.size);
    p->in_body = true;
    dot_start(&p->dot, reply->bare_lf);
    p->callbacks.message_begin(p->arg, &p->current, p->octets);
}

static bool far_shorter(uint64_t received, uint64_t announced)
{
    return announced != UINT64_MAX && announced > received + received / 4 + SHORT_SLACK;
}

static void body_ended(struct pop3 *p)
{
    p->in_body = false;
    pop3_wire_body(p, true);
    p->held = POP3_HELD_ENDED;
    p->held_entry = p->current;
    p->held_flags = 0;
    if (far_shorter(p->body_size, p->current.size) ||
        far_shorter(p->body_size, p->octets)) {
        p->held_flags |= POP3_MESSAGE_SHORT;
        p->stats.short_messages++;
    }
    if (p->dot.kept > 0)
        p->held_flags |= POP3_MESSAGE_DOTS_KEPT;
    p->stats.dots_kept += p->dot.kept;
    p->stats.dots_removed += p->dot.removed;
    p->refusals_in_row = 0;
    p->window_bytes -= window_share_of(p, &p->current);
    pop3_answered(p);
    pop3_window_grow(p);
    pop3_fetch_go_on(p);
}

static void body_oversized(struct pop3 *p)
{
    uint32_t number = p->current.number;
    pop3_fetch_drop(p, POP3_DISCARD_OVERSIZED, POP3_DISCARD_UNPROVEN, false);
    bool behind = pop3_expected(p)->index + 1 < listing_wanted_count(p->listing);
    /* What has no ID would be fetched again at once: the next session begins behind it. */
    bool blank = p->current.uidl_size == 0;
    if (blank)
        p->memory.blank_from = behind ? number + 1 : 0;
    p->outcome.more = behind || !blank;
    pop3_fail(p, SCOPE_MESSAGE, RETRY_NEVER,
              "Message %" PRIu32 " is longer than the %" PRIu64
              " bytes allowed for it; it was put "
              "aside, the session was dropped.",
              number, p->body_limit);
}

size_t pop3_fetch_body(struct pop3 *p, const char *data, size_t size)
{
    size_t used = 0;
    while (used < size && p->in_body && !p->paused) {
        const char *slice;
        size_t slice_size;
        used += dot_next(&p->dot, data + used, size - used, &slice, &slice_size);
        uint64_t room = p->body_limit - p->body_size;
        bool oversized = slice_size > room;
        if (oversized)
            slice_size = (size_t)room;
        if (!pop3_sync_slice(p, slice, slice_size))
            break;
        if (slice_size > 0)
            p->callbacks.message_data(p->arg, slice, slice_size);
        if (oversized)
            body_oversized(p);
        else if (dot_ended(&p->dot) && pop3_sync_end(p))
            body_ended(p);
    }
    return used;
}

static void retr_refused(struct pop3 *p, const struct reply *reply)
{
    p->held = POP3_HELD_REFUSED;
    p->held_entry = listing_wanted(p->listing, pop3_expected(p)->index);
    p->held_permanent = reply->code == REPLY_CODE_SYS_PERM;
    pop3_quote(p, reply->text, reply->text_size, p->held_text);
    p->refusals_in_row = p->held_permanent ? 0 : p->refusals_in_row + 1;
    p->retrieved--;
    p->day_spent -= share_of(p, &p->held_entry);
    p->window_bytes -= window_share_of(p, &p->held_entry);
    pop3_answered(p);
    pop3_window_grow(p);
    pop3_fetch_go_on(p);
}

static void retr_reply(struct pop3 *p, const struct reply *reply)
{
    uint64_t octets = parse_octets(reply);
    bool ok = reply->status == REPLY_OK;
    if (ok && !pop3_sync_status(p, octets))
        return;
    prove_held(p);
    if (ok)
        body_begin(p, reply, octets);
    else
        retr_refused(p, reply);
}

void pop3_fetch_reply(struct pop3 *p, enum pop3_command command, const struct reply *reply)
{
    if (command == POP3_CMD_RETR) {
        retr_reply(p, reply);
        return;
    }
    prove_held(p);
    pop3_answered(p);
    if (p->state == POP3_DURABLE)
        pop3_leave(p);
    else
        pop3_fetch_go_on(p);
}

/* What the owner says. */

void pop3_pause(struct pop3 *p)
{
    p->paused = true;
    pop3_time_standing(p, p->now);
}

void pop3_resume(struct pop3 *p, uint64_t now)
{
    p->paused = false;
    pop3_time_standing(p, now);
    pop3_fetch_go_on(p);
}

bool pop3_paused(const struct pop3 *p)
{
    return p->paused;
}

bool pop3_keepalive(struct pop3 *p, uint64_t now)
{
    bool resting = p->state == POP3_DURABLE || (p->state == POP3_FETCH && p->paused);
    if (!resting || p->queue_count > 0)
        return false;
    p->now = now;
    pop3_send(p, POP3_CMD_NOOP, "NOOP", NULL);
    return true;
}

void pop3_finish(struct pop3 *p)
{
    p->finishing = true;
}
