#include "archive/usage_tally.h"

#include "archive/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define FIRST_ROWS 4

struct tally_account {
    struct buffer counted;  /* bits: messages */
    struct usage_row *rows; /* by month */
    size_t count;
    size_t capacity;
};

/* Of a part. */
struct share {
    uint64_t bytes;
    int64_t fetched_us; /* of the first message that names it */
    uint32_t account;   /* of that; 0: none */
};

void tally_begin(struct tally *t, uint32_t last_account)
{
    *t = (struct tally){.parts = {.value_size = sizeof(struct share)}};
    t->accounts = calloc((size_t)last_account + 1, sizeof(*t->accounts));
    t->failed = t->accounts == NULL;
    t->count = t->failed ? 0 : (size_t)last_account + 1;
}

static int32_t month_of(int64_t time_us)
{
    struct tm tm;
    time_t time_s = (time_t)(time_us / 1000000 - (time_us % 1000000 < 0));
    (void)gmtime_r(&time_s, &tm); /* years of 64 bits of microseconds fit */
    return (int32_t)((tm.tm_year + 1900) * 100 + tm.tm_mon + 1);
}

static bool grow(struct tally_account *a)
{
    size_t capacity = a->capacity == 0 ? FIRST_ROWS : a->capacity * 2;
    struct usage_row *rows = reallocarray(a->rows, capacity, sizeof(*rows));
    if (rows == NULL)
        return false;
    a->rows = rows;
    a->capacity = capacity;
    return true;
}

/* The account's row for the month, made if need be; NULL: there is no such account, or no
 * memory. Mail comes in by time, so that it is nearly always the last one. */
static struct usage_row *find_row(struct tally *t, uint32_t account, int64_t time_us)
{
    if (account == 0 || account >= t->count)
        return NULL;
    struct tally_account *a = &t->accounts[account];
    int32_t month = month_of(time_us);
    size_t i = a->count;
    while (i > 0 && a->rows[i - 1].month > month)
        i--;
    if (i > 0 && a->rows[i - 1].month == month)
        return &a->rows[i - 1];
    if (a->count == a->capacity && !grow(a)) {
        t->failed = true;
        return NULL;
    }
    memmove(a->rows + i + 1, a->rows + i, (a->count - i) * sizeof(*a->rows));
    a->count++;
    a->rows[i] = (struct usage_row){.account = account, .month = month};
    return &a->rows[i];
}

void tally_stored(struct tally *t, uint32_t account, int64_t time_us, uint64_t bytes)
{
    struct usage_row *row = find_row(t, account, time_us);
    if (row != NULL)
        row->stored_bytes += bytes;
}

bool tally_message(struct tally *t, uint32_t account, uint64_t n, int64_t fetched_us,
                   uint64_t size)
{
    struct usage_row *row = find_row(t, account, fetched_us);
    if (row == NULL || buffer_bit(&t->accounts[account].counted, n))
        return false;
    buffer_put_bit(&t->accounts[account].counted, n);
    t->failed |= t->accounts[account].counted.failed;
    row->messages++;
    row->message_bytes += size;
    return true;
}

static struct share *find_share(struct tally *t, const uint8_t sha256[SHA256_SIZE])
{
    struct share *s = hash_set_put(&t->parts, sha256);
    t->failed |= s == NULL;
    return s;
}

void tally_part(struct tally *t, const uint8_t sha256[SHA256_SIZE], uint64_t bytes)
{
    struct share *s = find_share(t, sha256);
    if (s != NULL)
        s->bytes += bytes;
}

void tally_name(struct tally *t, const uint8_t sha256[SHA256_SIZE], uint32_t account,
                int64_t fetched_us)
{
    struct share *s = find_share(t, sha256);
    if (s == NULL ||
        (s->account != 0 && (s->fetched_us < fetched_us ||
                             (s->fetched_us == fetched_us && s->account <= account))))
        return;
    s->account = account;
    s->fetched_us = fetched_us;
}

static void give_parts(struct tally *t)
{
    const struct share *s;
    size_t at = 0;
    while ((s = hash_set_next(&t->parts, &at)) != NULL)
        tally_stored(t, s->account, s->fetched_us, s->bytes);
    hash_set_free(&t->parts);
}

static void collect_rows(struct tally *t, struct archive_usage *out)
{
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++)
        count += t->accounts[i].count;
    out->rows = reallocarray(NULL, count + 1, sizeof(*out->rows));
    t->failed |= out->rows == NULL;
    for (size_t i = 0; i < t->count && !t->failed; i++) {
        const struct tally_account *a = &t->accounts[i];
        if (a->count > 0)
            memcpy(out->rows + out->count, a->rows, a->count * sizeof(*a->rows));
        out->count += a->count;
    }
}

int tally_end(struct tally *t, struct archive_usage *out)
{
    if (!t->failed)
        give_parts(t);
    if (!t->failed)
        collect_rows(t, out);
    for (size_t i = 0; i < t->count; i++) {
        buffer_free(&t->accounts[i].counted);
        free(t->accounts[i].rows);
    }
    free(t->accounts);
    hash_set_free(&t->parts);
    int err = t->failed ? -ENOMEM : 0;
    *t = (struct tally){0};
    return err;
}

uint64_t portion(struct portions *p, uint64_t weight)
{
    p->weight_done += weight;
    uint64_t upto = p->whole * p->weight_done / p->weight;
    uint64_t share = upto - p->given;
    p->given = upto;
    return share;
}
