#include "workers/message_signs.h"

#include "archive/meta.h"

#include <string.h>

/* Subjects that begin so. */
static const char *const stand_ins[] = {
    "Cannot display Unicode content", /* Courier's pop3dserver */
    /* Exchange; the message's number follows */
    "Retrieval using the IMAP4 protocol failed for the following message:",
    "Retrieval using the POP3 protocol failed for the following message:",
};

static bool starts_with(struct span text, const char *start)
{
    size_t size = strlen(start);
    return text.size >= size && memcmp(text.data, start, size) == 0;
}

uint8_t message_signs(struct span subject, struct span x_uidl, struct span uidl)
{
    uint8_t flags = 0;
    for (size_t i = 0; i < sizeof(stand_ins) / sizeof(stand_ins[0]); i++)
        if (starts_with(subject, stand_ins[i]))
            flags |= MESSAGE_STAND_IN;
    if (uidl.size > 0 && span_equal(x_uidl, uidl))
        flags |= MESSAGE_FORGEABLE;
    return flags;
}
