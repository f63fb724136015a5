/* The accounts' and months' figures of `mailcask stats`. */
#ifndef MAILCASK_TOOLS_STATS_USAGE_H
#define MAILCASK_TOOLS_STATS_USAGE_H

#include "archive/usage.h"
#include "tools/output.h"

#include <stdbool.h>

/* saved is their difference. */
struct sums {
    uint64_t messages;
    uint64_t message_bytes;
    int64_t stored_bytes;
};

/* The account's rows, and their sum. */
const struct usage_row *usage_of_account(const struct archive_usage *u, uint32_t account,
                                         size_t *out_count, struct sums *out);
/* All accounts' rows as one a month, account 0; NULL: no memory. To be freed. */
struct usage_row *usage_by_month(const struct archive_usage *u, size_t *out_count);

/* Members of an object that is open. */
void json_sums(struct json *j, const struct sums *s);
void json_by_month(struct json *j, const struct usage_row *rows, size_t count);
/* by_month, where it is asked for, is each account's own. */
int json_by_account(struct json *j, struct archive *a, const struct archive_usage *u,
                    bool by_month);

/* A table of lines: month (0: none), figures, and a name where names are shown. */
struct table {
    struct output *out;
    bool months, names;
};

void table_head(const struct table *t);
void table_line(const struct table *t, const char *month, const struct sums *s,
                const char *name);
void table_rows(const struct table *t, const struct usage_row *rows, size_t count,
                const char *name);
int table_accounts(const struct table *t, struct archive *a, const struct archive_usage *u);
/* What counts to nobody, and all. */
void table_end(const struct table *t, const struct archive_usage *u);

#endif
