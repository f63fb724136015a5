/* Entries of the ledger and what is known of a message, as lines and as JSON. */
#ifndef MAILCASK_TOOLS_LEDGER_LINES_H
#define MAILCASK_TOOLS_LEDGER_LINES_H

#include "archive/archive.h"
#include "tools/output.h"

void ledger_line(struct output *out, const struct ledger_entry *e);
void ledger_json(struct output *out, const char *account, const struct ledger_entry *e);

/* A message and the session that brought it. */
struct message_history {
    struct archive *archive;
    uint32_t account_number;
    const char *account;
    const struct message_meta *message;
    char host[NAME_SIZE_MAX + 1]; /* "" where not known */
    char login[NAME_SIZE_MAX + 1];
    int64_t session_began_us; /* 0: the session is not on record */
    int64_t session_ended_us;
    uint64_t session_lsn;
};

/* What is known of the message, then the events of its life. 0, or why the ledger cannot be
 * read. */
int history_text(struct output *out, const struct message_history *h);
int history_json(struct output *out, const struct message_history *h);

/* A span as a C string, cut to size - 1 bytes. */
void copy_text(char *to, size_t size, struct span text);

#endif
