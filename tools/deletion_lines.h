/* What the ledger tells of deletion, as lines and as JSON: of a whole account, and of one
 * message's life. */
#ifndef MAILCASK_TOOLS_DELETION_LINES_H
#define MAILCASK_TOOLS_DELETION_LINES_H

#include "archive/archive.h"
#include "tools/output.h"

/* "accepted", "confirmed"; never NULL. Scripts rely on these words. */
const char *deletion_state_word(uint8_t state);
/* What it means, for a sentence. */
const char *deletion_state_text(uint8_t state);

/* Of RECORD_DELETE_INTENT and RECORD_DELETE_OUTCOME, behind the time. */
void intent_line(struct output *out, const struct ledger_entry *e);
void outcome_line(struct output *out, const struct ledger_entry *e);
void intent_json(struct json *j, const struct ledger_entry *e);
void outcome_json(struct json *j, const struct ledger_entry *e);

/* One message's life, told by the account's entries in order. */
struct message_life {
    struct output *out;
    struct json *json; /* NULL: lines */
    uint64_t n;
    uint64_t listed; /* a bit for each source (the first 64) that lists it now */
};

/* For archive_each_entry_of() with LEDGER_ALL_TYPES, arg a struct message_life: one line,
 * or one object of an array, for each event that concerns the message. */
int message_life_entry(void *arg, const struct ledger_entry *e);

#endif
