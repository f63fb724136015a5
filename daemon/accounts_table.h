/* A table of accounts: CSV as in RFC 4180, whose header row names the keys of an account,
 * the name's own column being `account`. Fields are separated by commas or semicolons,
 * whichever the header uses; rows end in LF or CRLF; rows that are blank, or empty in every
 * field, are skipped. A field in double quotes is taken as it is ("" stands for a quote)
 * and may hold separators and line ends; blanks around other fields are cut. An empty field
 * is as if the column were not there. */
#ifndef MAILCASK_DAEMON_ACCOUNTS_TABLE_H
#define MAILCASK_DAEMON_ACCOUNTS_TABLE_H

#include "daemon/config_error.h"
#include "daemon/config_keys.h"

#include <stddef.h>

struct accounts_table {
    const char *file;
    char *at, *end;
    unsigned line;  /* of what is read next */
    char separator; /* ',' or ';' */
    const struct config_key *columns[KEY_COUNT];
    size_t column_count;
    unsigned header_line;
};

struct accounts_row {
    unsigned line;               /* where the row begins, from 1 */
    const char *text[KEY_COUNT]; /* by key; NULL where empty or without a column */
};

/* Read the header of text, which lies in memory that the reader may cut up (text[size] is a
 * NUL) and that outlives the rows. file: for messages, borrowed. ERR_SYNTAX with *error: a
 * column that is unknown or there twice, no column `account`. */
int accounts_table_open(struct accounts_table *table, const char *file, char *text,
                        size_t size, struct config_error *error);

/* The next row: 1; 0 at the end; ERR_SYNTAX with *error, after which the table is done.
 * Fields are not checked for what they say. */
int accounts_table_next(struct accounts_table *table, struct accounts_row *out_row,
                        struct config_error *error);

#endif
