#include "tools/stats_usage.h"

#include "archive/size_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MONTH_TEXT_MAX 16 /* with the NUL */
#define PERCENT_MAX 8

static void month_text(int32_t month, char out[MONTH_TEXT_MAX])
{
    (void)snprintf(out, MONTH_TEXT_MAX, "%04d-%02d", (int)(month / 100),
                   abs((int)(month % 100)));
}

static struct sums sums_of(const struct usage_row *r)
{
    return (struct sums){.messages = r->messages,
                         .message_bytes = r->message_bytes,
                         .stored_bytes = (int64_t)r->stored_bytes};
}

static int64_t saved_of(const struct sums *s)
{
    return (int64_t)s->message_bytes - s->stored_bytes;
}

static void add(struct sums *to, const struct sums *s)
{
    to->messages += s->messages;
    to->message_bytes += s->message_bytes;
    to->stored_bytes += s->stored_bytes;
}

const struct usage_row *usage_of_account(const struct archive_usage *u, uint32_t account,
                                         size_t *out_count, struct sums *out)
{
    size_t low = 0, high = u->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (u->rows[middle].account < account)
            low = middle + 1;
        else
            high = middle;
    }
    *out = (struct sums){0};
    for (high = low; high < u->count && u->rows[high].account == account; high++) {
        struct sums s = sums_of(&u->rows[high]);
        add(out, &s);
    }
    *out_count = high - low;
    return u->rows + low;
}

static int compare_months(const void *left, const void *right)
{
    const struct usage_row *a = left, *b = right;
    return (a->month > b->month) - (a->month < b->month);
}

struct usage_row *usage_by_month(const struct archive_usage *u, size_t *out_count)
{
    struct usage_row *rows = reallocarray(NULL, u->count + 1, sizeof(*rows));
    size_t last = 0;
    *out_count = 0;
    if (rows == NULL || u->count == 0)
        return rows;
    memcpy(rows, u->rows, u->count * sizeof(*rows));
    qsort(rows, u->count, sizeof(*rows), compare_months);
    for (size_t i = 1; i < u->count; i++) {
        if (rows[i].month != rows[last].month) {
            rows[++last] = rows[i];
            continue;
        }
        rows[last].messages += rows[i].messages;
        rows[last].message_bytes += rows[i].message_bytes;
        rows[last].stored_bytes += rows[i].stored_bytes;
    }
    for (size_t i = 0; i <= last; i++)
        rows[i].account = 0;
    *out_count = last + 1;
    return rows;
}

void json_sums(struct json *j, const struct sums *s)
{
    json_number(j, "messages", s->messages);
    json_number(j, "message_bytes", s->message_bytes);
    json_signed(j, "stored_bytes", s->stored_bytes);
    json_signed(j, "saved_bytes", saved_of(s));
}

void json_by_month(struct json *j, const struct usage_row *rows, size_t count)
{
    char month[MONTH_TEXT_MAX];
    json_open(j, "by_month", '[');
    for (size_t i = 0; i < count; i++) {
        struct sums s = sums_of(&rows[i]);
        month_text(rows[i].month, month);
        json_open(j, NULL, '{');
        json_string(j, "month", span_text(month));
        json_sums(j, &s);
        json_close(j, '}');
    }
    json_close(j, ']');
}

struct account_lines {
    const struct archive_usage *usage;
    struct json *json; /* or */
    const struct table *table;
    bool by_month;
};

static int json_account(void *arg, const struct account_info *info)
{
    const struct account_lines *l = arg;
    size_t count = 0;
    struct sums sums;
    const struct usage_row *rows = usage_of_account(l->usage, info->number, &count, &sums);
    json_open(l->json, NULL, '{');
    json_string(l->json, "account", span_text(info->name));
    json_sums(l->json, &sums);
    if (l->by_month)
        json_by_month(l->json, rows, count);
    json_close(l->json, '}');
    return 0;
}

int json_by_account(struct json *j, struct archive *a, const struct archive_usage *u,
                    bool by_month)
{
    struct account_lines l = {.usage = u, .json = j, .by_month = by_month};
    json_open(j, "by_account", '[');
    int err = archive_each_account(a, json_account, &l);
    json_close(j, ']');
    return err;
}

void table_head(const struct table *t)
{
    output_print(t->out, "%s%9s  %9s  %9s  %9s%s\n", t->months ? "month    " : "",
                 "messages", "bytes in", "stored", "saved",
                 t->names ? "         account" : "");
}

static void signed_size(int64_t bytes, char out[SIZE_TEXT_MAX + 1])
{
    char text[SIZE_TEXT_MAX];
    size_text(bytes < 0 ? (uint64_t)-bytes : (uint64_t)bytes, text);
    (void)snprintf(out, SIZE_TEXT_MAX + 1, "%s%s", bytes < 0 ? "-" : "", text);
}

void table_line(const struct table *t, const char *month, const struct sums *s,
                const char *name)
{
    char in[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX + 1], saved[SIZE_TEXT_MAX + 1];
    char percent[PERCENT_MAX] = "";
    size_text(s->message_bytes, in);
    signed_size(s->stored_bytes, stored);
    signed_size(saved_of(s), saved);
    if (s->message_bytes > 0 && saved_of(s) > 0)
        (void)snprintf(percent, sizeof(percent), "%.0f %%",
                       100.0 * (double)saved_of(s) / (double)s->message_bytes);
    if (t->months)
        output_print(t->out, "%-7s  ", month);
    output_print(t->out, "%9" PRIu64 "  %9s  %9s  %9s", s->messages, in, stored, saved);
    if (t->names) {
        output_print(t->out, "  %5s  ", percent);
        output_clean(t->out, span_text(name));
    } else if (percent[0] != '\0') {
        output_print(t->out, "  %5s", percent);
    }
    output_print(t->out, "\n");
}

void table_rows(const struct table *t, const struct usage_row *rows, size_t count,
                const char *name)
{
    char month[MONTH_TEXT_MAX];
    for (size_t i = 0; i < count; i++) {
        struct sums s = sums_of(&rows[i]);
        month_text(rows[i].month, month);
        table_line(t, month, &s, name);
    }
}

static int table_account(void *arg, const struct account_info *info)
{
    const struct account_lines *l = arg;
    size_t count = 0;
    struct sums sums;
    const struct usage_row *rows = usage_of_account(l->usage, info->number, &count, &sums);
    if (l->table->months)
        table_rows(l->table, rows, count, info->name);
    else
        table_line(l->table, "", &sums, info->name);
    return 0;
}

int table_accounts(const struct table *t, struct archive *a, const struct archive_usage *u)
{
    struct account_lines l = {.usage = u, .table = t};
    return archive_each_account(a, table_account, &l);
}

void table_end(const struct table *t, const struct archive_usage *u)
{
    struct sums nobody = {.stored_bytes = u->nobody_bytes}, all = nobody;
    for (size_t i = 0; i < u->count; i++) {
        struct sums s = sums_of(&u->rows[i]);
        add(&all, &s);
    }
    table_line(t, t->names ? "" : "nobody", &nobody, "(nobody)");
    table_line(t, t->names ? "" : "all", &all, "(all)");
}
