#include "daemon/progress.h"

#include "archive/format.h"
#include "archive/size_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RATE_AFTER_MS 1000  /* before that a rate is noise */
#define LEFT_AFTER_SHARE 20 /* what is left is guessed once one in so many is done */

void tally_add(struct tally *t, struct account_tally *account,
               const struct pool_counts *counts)
{
    t->fetched += counts->fetched;
    t->deduplicated += counts->deduplicated;
    t->healed += counts->healed;
    t->quarantined += counts->quarantined;
    account->quarantined += counts->quarantined;
    t->bytes += counts->bytes;
    if (counts->listed == SIZE_UNKNOWN)
        return;
    if (!account->listed) {
        t->known += counts->known;
        t->aside += counts->aside;
    }
    t->refused = t->refused - account->refused + counts->refused;
    account->refused = counts->refused;
    account->listed = true;
}

void tally_add_deleted(struct tally *t, const struct pool_counts *counts)
{
    t->fetched += counts->fetched;
    t->bytes += counts->bytes;
    t->deleted += counts->deleted;
    t->kept += counts->kept;
}

void count_text(char out[COUNT_TEXT_SIZE], uint64_t count)
{
    char digits[COUNT_TEXT_SIZE];
    int n = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

/* A text that is put together piece by piece, cut at its end. */
struct pieces {
    char *out;
    size_t used;
};

static void add(struct pieces *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct pieces *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(p->out + p->used, PROGRESS_TEXT_SIZE - p->used, format, args);
    va_end(args);
    if (n > 0)
        p->used += (size_t)n;
    if (p->used >= PROGRESS_TEXT_SIZE)
        p->used = PROGRESS_TEXT_SIZE - 1;
}

/* ", 12 refused", nothing if there is none. */
static void add_some(struct pieces *p, uint64_t count, const char *what)
{
    char text[COUNT_TEXT_SIZE];
    if (count == 0)
        return;
    count_text(text, count);
    add(p, ", %s %s", text, what);
}

/* By the accounts that are done: what the others hold, nobody knows yet. */
static void add_left(struct pieces *p, uint64_t done, uint64_t all, uint64_t elapsed_ms)
{
    char text[DURATION_TEXT_MAX];
    if (elapsed_ms < RATE_AFTER_MS || done == 0 || done >= all ||
        done < all / LEFT_AFTER_SHARE)
        return;
    duration_text(
        (uint64_t)((double)elapsed_ms * (double)(all - done) / (double)done / 1000), text);
    add(p, ", about %s left", text);
}

void tally_progress(char out[PROGRESS_TEXT_SIZE], const struct tally *t, uint64_t messages,
                    uint64_t bytes, uint64_t elapsed_ms)
{
    char done[COUNT_TEXT_SIZE], all[COUNT_TEXT_SIZE], some[COUNT_TEXT_SIZE],
        size[SIZE_TEXT_MAX];
    struct pieces p = {.out = out};
    count_text(done, t->complete + t->failed);
    count_text(all, t->accounts);
    count_text(some, messages);
    size_text(bytes, size);
    add(&p, "%s of %s accounts, %s messages, %s", done, all, some, size);
    if (elapsed_ms >= RATE_AFTER_MS) {
        size_text((uint64_t)((double)bytes * 1000.0 / (double)elapsed_ms), size);
        add(&p, ", %s/s", size);
    }
    add_left(&p, t->complete + t->failed, t->accounts, elapsed_ms);
    add_some(&p, t->failed, "failed");
}

void tally_summary(char out[PROGRESS_TEXT_SIZE], const struct tally *t)
{
    char complete[COUNT_TEXT_SIZE], all[COUNT_TEXT_SIZE], fetched[COUNT_TEXT_SIZE],
        known[COUNT_TEXT_SIZE], size[SIZE_TEXT_MAX];
    struct pieces p = {.out = out};
    count_text(complete, t->complete);
    count_text(all, t->accounts);
    count_text(fetched, t->fetched);
    count_text(known, t->known);
    size_text(t->bytes, size);
    add(&p, "%s of %s account%s complete, %s message%s archived (%s), %s known", complete,
        all, t->accounts == 1 ? "" : "s", fetched, t->fetched == 1 ? "" : "s", size, known);
    add_some(&p, t->deduplicated, "known by content");
    add_some(&p, t->healed, "damaged copies replaced");
    add_some(&p, t->refused, "refused by the server");
    add_some(&p, t->quarantined, "quarantined");
    add_some(&p, t->aside, "quarantined before");
    add_some(&p, t->deleted, "deleted from servers");
    add_some(&p, t->kept, "not deleted although asked to");
    add_some(&p, t->accounts - t->complete - t->failed, "accounts not tried to the end");
}
