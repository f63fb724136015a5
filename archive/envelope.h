/* The header fields that `list` shows, picked from a message as it streams by. Only for
 * display: tolerant, bounded, never wrong about the message's bytes because it does not
 * touch them. */
#ifndef MAILCASK_ARCHIVE_ENVELOPE_H
#define MAILCASK_ARCHIVE_ENVELOPE_H

#include "archive/meta.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Header bytes looked at; fields behind them are not found. */
#define ENVELOPE_SCAN_MAX (256u << 10)

/* Also collected, behind the fields that are kept: X-UIDL (Q9). */
#define ENVELOPE_X_UIDL FIELD_COUNT
#define ENVELOPE_FIELDS (FIELD_COUNT + 1)

struct envelope {
    size_t scanned;
    bool done;    /* the header has ended, or the limit is reached */
    bool in_name; /* at a line's start, collecting a field name */
    uint8_t name[16];
    size_t name_size;
    int field; /* being collected; -1: none */
    uint16_t sizes[ENVELOPE_FIELDS];
    bool seen[ENVELOPE_FIELDS]; /* the first of each counts */
    uint8_t values[ENVELOPE_FIELDS][FIELD_SIZE_MAX];
};

void envelope_start(struct envelope *e);
/* The message's next bytes. */
void envelope_add(struct envelope *e, const uint8_t *data, size_t size);
/* What was found so far, without surrounding white space; borrowed from the envelope. */
void envelope_fields(const struct envelope *e, struct span out[FIELD_COUNT]);
/* One of them, ENVELOPE_X_UIDL included. */
struct span envelope_field(const struct envelope *e, int field);

#endif
