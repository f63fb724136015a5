#include "archive/intake_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/* Which messages may go */

static bool archived_before(struct intake *in, uint64_t n, int64_t time_us)
{
    struct message_meta m;
    /* One that cannot be read must not hold back those above it. */
    return reader_message(lookup_reader(in->config.lookup), in->config.account, n, &m) !=
               0 ||
           m.fetched_us <= time_us;
}

/* The highest N that is old enough, as numbers are given out in the order of time. Each
 * message that is planned is looked at by itself. */
static uint64_t highest_before(struct intake *in, int64_t time_us)
{
    uint64_t low = 0, high = in->highest;
    if (time_us == INT64_MAX)
        return high;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (archived_before(in, middle, time_us))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

bool intake_may_delete(struct intake *in, int64_t archived_before_us, int64_t now_us)
{
    if (maildrop_newest_us(in->maildrop) > now_us + INTAKE_CLOCK_SLACK_US)
        return false;
    in->deleting = true;
    in->archived_before_us = archived_before_us;
    in->deletable_upto = highest_before(in, archived_before_us);
    return true;
}

void intake_delete_from(struct intake *in, uint64_t n)
{
    in->deletable_from = n;
}

void intake_deletion_judged(struct intake *in, const struct maildrop_line *line,
                            struct span uidl, uint64_t listed_size)
{
    if (!in->deleting)
        return;
    in->line = *line;
    in->line_uidl = uidl;
    in->line_size = listed_size;
    if (line->verdict != MAILDROP_KNOWN || !line->sized || line->twice ||
        line->n <= in->deletable_from || line->n > in->deletable_upto)
        return;
    struct deletion_row row = maildrop_deletion(in->maildrop, line->n);
    if (!deletion_is_tombstone(row.state) &&
        deletion_next_attempt(&row) <= DELETION_ATTEMPTS_MAX)
        buffer_put_bit(&in->deletable, line->n);
    if (in->deletable.failed)
        in->err = -ENOMEM;
}

/* When the newest message was archived that the line's UIDL stands for, where that counts.
 */
static int64_t newest_meaning(struct intake *in)
{
    struct message_meta m;
    if (in->line.live <= DELETION_MEANINGS_MAX)
        return 0;
    int err = reader_message(lookup_reader(in->config.lookup), in->config.account,
                             in->line.newest, &m);
    return err == 0 ? m.fetched_us : archive_now_us();
}

static enum deletion_verdict judge(struct intake *in, const struct message_meta *m,
                                   int64_t newest_us, uint8_t *out_attempt)
{
    const char *why = NULL;
    const struct deletion_case c = {
        .message = m,
        .uidl = in->line_uidl,
        .shared_uidl = in->line.shared,
        .meanings = in->line.live,
        .newest_us = newest_us,
        .now_us = archive_now_us(),
        .by_bytes = m->source != in->config.source || m->listed_size != in->line_size ||
                    !span_equal(m->uidl, in->line_uidl),
        .weak_maildrop = maildrop_row(in->maildrop)->weak_lsn != 0,
        .deletion = maildrop_deletion(in->maildrop, m->n),
        .archived_before_us = in->archived_before_us,
    };
    *out_attempt = deletion_next_attempt(&c.deletion);
    return deletion_verdict(&c, &why);
}

enum intake_offer intake_offer(struct intake *in, uint32_t number)
{
    struct message_meta m;
    uint64_t n = in->line.n;
    struct deletion_item item = {.number = number, .n = n, .listed_size = in->line_size};
    if (in->err != 0 || in->line.verdict != MAILDROP_KNOWN ||
        !buffer_bit(&in->deletable, n))
        return INTAKE_KEEP;
    if (in->plan.count == DELETIONS_PER_SESSION) { /* spare reading its meta */
        in->plan.more = true;
        return INTAKE_KEEP;
    }
    int64_t newest_us = newest_meaning(in); /* before m, which borrows from the reader */
    if (reader_message(lookup_reader(in->config.lookup), in->config.account, n, &m) != 0)
        return INTAKE_KEEP;
    enum deletion_verdict verdict = judge(in, &m, newest_us, &item.attempt);
    if (verdict != DELETION_MAY && verdict != DELETION_COMPARE) {
        buffer_clear_bit(&in->deletable, n);
        return INTAKE_KEEP;
    }
    item.compare = verdict == DELETION_COMPARE;
    memcpy(item.sha256, m.sha256, SHA256_SIZE);
    int err = deletion_plan_add(&in->plan, &item, in->line_uidl);
    if (err != 0)
        return INTAKE_KEEP; /* for want of memory: the next session */
    if (item.compare)
        maildrop_probe(in->maildrop, n);
    return item.compare ? INTAKE_COMPARE : INTAKE_DELETE;
}

static bool is_unambiguous(void *arg, const struct deletion_item *item)
{
    const struct intake *in = arg;
    return !maildrop_ambiguous(in->maildrop, item->n);
}

static bool never(void *arg, const struct deletion_item *item)
{
    (void)arg;
    (void)item;
    return false;
}

void intake_deletion_listed(struct intake *in)
{
    uint8_t flags = maildrop_flags(in->maildrop);
    if (!in->trusted || (flags & (SESSION_RENUMBERED | SESSION_DOUBTED)) != 0) {
        buffer_clear(&in->deletable);
        deletion_plan_filter(&in->plan, never, NULL);
        in->plan.more = false;
        return;
    }
    deletion_plan_filter(&in->plan, is_unambiguous, in);
}

uint64_t intake_deletable(const struct intake *in)
{
    uint64_t count = 0;
    for (uint64_t n = 1; n < (uint64_t)in->deletable.size * 8; n++)
        if (buffer_bit(&in->deletable, n) && !maildrop_ambiguous(in->maildrop, n))
            count++;
    return count;
}

struct deletion_plan *intake_plan(struct intake *in)
{
    return &in->plan;
}

void intake_deletion_compared(struct intake *in, uint64_t n)
{
    struct deletion_item *item = deletion_plan_find(&in->plan, n);
    if (item != NULL)
        item->compared = true;
}

/* The journal */

static bool is_proven(void *arg, const struct deletion_item *item)
{
    (void)arg;
    return item->proven && (!item->compare || item->compared);
}

int intake_intend(struct intake *in)
{
    deletion_plan_filter(&in->plan, is_proven, NULL);
    if (in->err != 0 || in->plan.count == 0)
        return in->err;
    struct record *r = intake_record(in, RECORD_DELETE_INTENT);
    if (r == NULL)
        return in->err;
    intents_begin(&r->meta, in->config.source, (uint32_t)in->plan.count);
    for (size_t i = 0; i < in->plan.count; i++) {
        struct deletion_item *item = &in->plan.items[i];
        struct intent_meta m = {.n = item->n,
                                .listed_size = item->listed_size,
                                .attempt = item->attempt,
                                .proof = INTENT_READ_BACK,
                                .uidl = span_of(item->uidl, item->uidl_size)};
        if (item->compared)
            m.proof |= INTENT_FETCHED_AGAIN;
        memcpy(m.sha256, item->sha256, SHA256_SIZE);
        intents_add(&r->meta, &m);
        item->state = DELETION_UNSENT;
    }
    return intake_emit(in, r);
}

static void emit_outcome(struct intake *in, enum deletion_state state,
                         const struct buffer *bits, struct span text)
{
    struct buffer set = {0};
    number_set_encode(&set, bits);
    struct record *r =
        set.size > 0 && in->err == 0 ? intake_record(in, RECORD_DELETE_OUTCOME) : NULL;
    if (r != NULL) {
        const struct outcome_meta m = {.source = in->config.source,
                                       .state = (uint8_t)state,
                                       .text = text,
                                       .numbers = span_of(set.data, set.size)};
        outcome_meta_encode(&r->meta, &m);
        if (set.failed)
            r->meta.failed = true;
        (void)intake_emit(in, r);
    }
    buffer_free(&set);
}

/* As many records as it takes. */
static void emit_outcomes(struct intake *in, enum deletion_state state,
                          const struct buffer *bits, struct span text)
{
    struct buffer some = {0};
    unsigned count = 0;
    for (uint64_t n = 1; n < (uint64_t)bits->size * 8; n++) {
        if (!buffer_bit(bits, n))
            continue;
        buffer_put_bit(&some, n);
        if (++count < DELETIONS_MAX)
            continue;
        emit_outcome(in, state, &some, text);
        buffer_clear(&some);
        count = 0;
    }
    emit_outcome(in, state, &some, text);
    if (bits->failed || some.failed)
        in->err = -ENOMEM;
    buffer_free(&some);
}

/* What this session's own DELEs came to. */
static void conclude_plan(struct intake *in, struct session_meta *m)
{
    for (enum deletion_state state = DELETION_ACCEPTED; state <= DELETION_UNSENT; state++) {
        struct buffer bits = {0};
        uint64_t count = 0;
        for (size_t i = 0; i < in->plan.count; i++) {
            if (in->plan.items[i].state != state)
                continue;
            buffer_put_bit(&bits, in->plan.items[i].n);
            count++;
        }
        if (state == DELETION_ACCEPTED)
            m->deleted = count;
        else if (state == DELETION_UNKNOWN)
            m->unknown = count;
        emit_outcomes(in, state, &bits,
                      state == DELETION_ACCEPTED ? (struct span){0} : m->text);
        buffer_free(&bits);
    }
}

bool intake_deletion_conclude(struct intake *in, struct session_meta *m)
{
    struct maildrop_news news;
    if (in->err == 0)
        in->err = maildrop_error(in->maildrop);
    if (in->err != 0)
        return false;
    maildrop_conclude(in->maildrop, in->highest, m, &news);
    emit_outcomes(in, DELETION_RETURNED, &news.returned, (struct span){0});
    emit_outcomes(in, DELETION_UNDONE, &news.undone, (struct span){0});
    emit_outcomes(in, DELETION_ABSENT, &news.absent, (struct span){0});
    emit_outcomes(in, DELETION_CONFIRMED, &news.confirmed, (struct span){0});
    bool quiet =
        news.returned.size + news.undone.size + news.absent.size + news.confirmed.size ==
            0 &&
        in->plan.count == 0 && (m->flags & SESSION_NAMES) != 0 &&
        span_equal(m->named, maildrop_row(in->maildrop)->named);
    maildrop_news_free(&news);
    conclude_plan(in, m);
    return quiet;
}

void intake_deletion_free(struct intake *in)
{
    buffer_free(&in->deletable);
    deletion_plan_free(&in->plan);
}
