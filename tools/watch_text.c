#include "tools/watch_text.h"

#include "archive/size_text.h"
#include "tools/dates.h"
#include "tools/status_text.h"

#include <inttypes.h>
#include <string.h>

/* Those with the newest errors. */
struct newest {
    size_t count;
    uint64_t all;
    struct entry {
        int64_t since_s;
        struct span at; /* the answer from there on */
    } entries[WATCH_ACCOUNTS_MAX];
};

static void add(struct newest *n, size_t max, int64_t since_s, struct span at)
{
    size_t i = n->count < max ? n->count : max - 1;
    n->all++;
    if (n->count == max && n->entries[i].since_s >= since_s)
        return;
    for (; i > 0 && n->entries[i - 1].since_s < since_s; i--)
        n->entries[i] = n->entries[i - 1];
    n->entries[i] = (struct entry){.since_s = since_s, .at = at};
    if (n->count < max)
        n->count++;
}

static void find_newest(struct newest *n, struct span answer, const char *kind, size_t max)
{
    struct answer_object o;
    struct span at = answer;
    *n = (struct newest){0};
    while (answer_next(&answer, &o)) {
        if (answer_is(&o, kind) && status_is_failing(&o))
            add(n, max, answer_time(&o, "error_since"), at);
        at = answer;
    }
}

static void put_problems(struct output *out, struct span answer, const char *kind,
                         size_t max,
                         void (*put)(struct output *out, const struct answer_object *o))
{
    struct newest n;
    struct answer_object o;
    find_newest(&n, answer, kind, max);
    if (n.count > 0)
        output_print(out, "\n%ss with a problem, the newest first\n", kind);
    for (size_t i = 0; i < n.count; i++)
        if (answer_next(&n.entries[i].at, &o))
            put(out, &o);
    if (n.all > n.count)
        output_print(out, "  and %" PRIu64 " more\n", n.all - n.count);
}

static void put_rate(struct output *out, const struct rates *rates, enum rate which,
                     bool minute, bool bytes)
{
    char text[SIZE_TEXT_MAX + 8] = "-";
    char size[SIZE_TEXT_MAX];
    double rate = 0;
    if (rates_get(rates, which, minute, &rate)) {
        size_text((uint64_t)(rate + 0.5), size);
        if (bytes)
            (void)snprintf(text, sizeof(text), "%s/s", size);
        else
            (void)snprintf(text, sizeof(text), "%.1f/s", rate);
    }
    output_print(out, "%12s  ", text);
}

static void put_counter(struct output *out, const struct answer_object *o,
                        const struct rates *rates, enum rate which, const char *label,
                        const char *field, bool bytes)
{
    char size[SIZE_TEXT_MAX];
    status_put_label(out, label);
    put_rate(out, rates, which, false, bytes);
    put_rate(out, rates, which, true, bytes);
    size_text(answer_number(o, field), size);
    if (bytes)
        output_print(out, "%12s\n", size);
    else
        output_print(out, "%12" PRIu64 "\n", answer_number(o, field));
}

static void put_counters(struct output *out, const struct answer_object *o,
                         const struct rates *rates)
{
    status_put_label(out, "sessions");
    output_print(out, "%" PRIu64 " under way\n", answer_number(o, "sessions"));
    status_put_label(out, "");
    output_print(out, "%12s  %12s  %12s\n", "now", "last minute", "since start");
    put_counter(out, o, rates, RATE_MESSAGES, "messages", "messages", false);
    put_counter(out, o, rates, RATE_RECEIVED, "received", "received_bytes", true);
    put_counter(out, o, rates, RATE_STORED, "stored", "stored_bytes", true);
    put_counter(out, o, rates, RATE_COMMITS, "commits", "commits", false);
}

static void put_answer(struct output *out, struct span answer, const struct rates *rates)
{
    struct status_counts counts;
    struct answer_object o;
    struct span rest = answer;
    status_count(answer, &counts);
    while (answer_next(&rest, &o) && !answer_is(&o, "service"))
        continue;
    status_put_service(out, &o);
    status_put_accounts(out, &counts);
    status_put_servers(out, &counts);
    put_counters(out, &o, rates);
    status_put_room(out, &o);
    status_put_unconfirmed(out, &o);
    put_problems(out, answer, "server", WATCH_SERVERS_MAX, status_put_server);
    put_problems(out, answer, "account", WATCH_ACCOUNTS_MAX, status_put_account);
}

void watch_text(struct output *out, struct span answer, const struct rates *rates,
                int64_t now_s, const char *trouble)
{
    char time[TIME_TEXT_MAX];
    time_text_local(now_s, time);
    output_print(out, "%s, every 2 s; q ends\n", time);
    if (answer.size > 0) {
        put_answer(out, answer, rates);
        return;
    }
    status_put_label(out, "service");
    output_clean(out, span_text(trouble));
    output_print(out, "\n");
}
