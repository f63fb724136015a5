#include "archive/envelope.h"

#include <string.h>
#include <strings.h>

static const char *const names[] = {
    [FIELD_DATE] = "date",
    [FIELD_FROM] = "from",
    [FIELD_TO] = "to",
    [FIELD_SUBJECT] = "subject",
    [FIELD_MESSAGE_ID] = "message-id",
    [ENVELOPE_X_UIDL] = "x-uidl",
};

_Static_assert(sizeof(names) / sizeof(names[0]) == ENVELOPE_FIELDS, "a name each");

void envelope_start(struct envelope *e)
{
    e->scanned = 0;
    e->done = false;
    e->in_name = true;
    e->name_size = 0;
    e->field = -1;
    memset(e->sizes, 0, sizeof(e->sizes));
    memset(e->seen, 0, sizeof(e->seen));
}

static int find_field(struct envelope *e)
{
    size_t size = e->name_size;
    while (size > 0 && (e->name[size - 1] == ' ' || e->name[size - 1] == '\t'))
        size--;
    for (int i = 0; i < ENVELOPE_FIELDS; i++)
        if (strlen(names[i]) == size && !e->seen[i] &&
            strncasecmp(names[i], (const char *)e->name, size) == 0)
            return i;
    return -1;
}

static void add_value(struct envelope *e, uint8_t byte)
{
    if (e->field < 0)
        return;
    uint16_t *size = &e->sizes[e->field];
    bool blank = byte == ' ' || byte == '\t';
    if (blank && *size == 0)
        return;
    if (*size < FIELD_SIZE_MAX && byte != '\r')
        e->values[e->field][(*size)++] = blank ? ' ' : byte;
}

/* The first bytes of a line: a fold goes on with the field, an empty line ends the header.
 */
static void add_name(struct envelope *e, uint8_t byte)
{
    if (e->name_size == 0 && (byte == ' ' || byte == '\t')) {
        e->in_name = false;
        add_value(e, ' ');
    } else if (byte == ':') {
        e->field = find_field(e);
        if (e->field >= 0)
            e->seen[e->field] = true;
        e->in_name = false;
    } else if (byte == '\n') {
        bool empty = e->name_size == 0 || (e->name_size == 1 && e->name[0] == '\r');
        e->done = empty;
        e->field = -1;
        e->name_size = 0;
    } else if (e->name_size < sizeof(e->name)) {
        e->name[e->name_size++] = byte;
    } else {
        e->in_name = false; /* no field of ours has so long a name */
        e->field = -1;
    }
}

/* How many of these bytes belong to a line that nobody asked for: most of a header does. */
static size_t skip(const struct envelope *e, const uint8_t *data, size_t size)
{
    if (e->in_name || e->field >= 0)
        return 0;
    const uint8_t *lf = memchr(data, '\n', size);
    return lf != NULL ? (size_t)(lf - data) : size;
}

void envelope_add(struct envelope *e, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && !e->done; i++) {
        size_t skipped = skip(e, data + i, size - i);
        e->scanned += skipped;
        i += skipped;
        if (i == size)
            break;
        uint8_t byte = data[i];
        if (++e->scanned > ENVELOPE_SCAN_MAX)
            e->done = true;
        else if (e->in_name)
            add_name(e, byte);
        else if (byte == '\n') {
            e->in_name = true;
            e->name_size = 0;
        } else
            add_value(e, byte);
    }
}

struct span envelope_field(const struct envelope *e, int field)
{
    size_t size = e->sizes[field];
    while (size > 0 && e->values[field][size - 1] == ' ')
        size--;
    return span_of(e->values[field], size);
}

void envelope_fields(const struct envelope *e, struct span out[FIELD_COUNT])
{
    for (int i = 0; i < FIELD_COUNT; i++)
        out[i] = envelope_field(e, i);
}
