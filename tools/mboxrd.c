#include "tools/mboxrd.h"

#include "tools/dates.h"

#include <stdio.h>
#include <string.h>

static const char from[] = "From ";
#define FROM_SIZE (sizeof(from) - 1)

int mboxrd_begin(struct mboxrd *m, int64_t time_s)
{
    char date[TIME_TEXT_MAX];
    char line[TIME_TEXT_MAX + 32];
    m->quotes = true;
    m->matched = 0;
    m->line_open = false;
    if (!time_text_mbox(time_s, date))
        (void)time_text_mbox(0, date);
    int size = snprintf(line, sizeof(line), "From MAILER-DAEMON %s\n", date);
    return m->emit(m->arg, line, (size_t)size);
}

/* Give what was held back of "From ". */
static int release(struct mboxrd *m)
{
    size_t size = m->matched;
    m->matched = 0;
    return size > 0 ? m->emit(m->arg, from, size) : 0;
}

/* At a line's start, behind its '>'s: one byte more. The '>' that is added goes behind
 * those there are, which is the same text, and nothing but "From " is ever held back. */
static int start_of_line(struct mboxrd *m, uint8_t byte)
{
    if (byte == '>' && m->matched == 0)
        return m->emit(m->arg, &byte, 1);
    if (byte == (uint8_t)from[m->matched]) {
        if (++m->matched < FROM_SIZE)
            return 0;
        m->quotes = false;
        int rc = m->emit(m->arg, ">", 1);
        return rc != 0 ? rc : release(m);
    }
    int rc = release(m);
    m->quotes = byte == '\n';
    return rc != 0 ? rc : m->emit(m->arg, &byte, 1);
}

int mboxrd_add(struct mboxrd *m, const uint8_t *data, size_t size)
{
    if (size > 0)
        m->line_open = data[size - 1] != '\n';
    while (size > 0) {
        size_t taken = 1;
        int rc;
        if (m->quotes) {
            rc = start_of_line(m, data[0]);
        } else {
            const uint8_t *end = memchr(data, '\n', size);
            taken = end != NULL ? (size_t)(end - data) + 1 : size;
            m->quotes = end != NULL;
            rc = m->emit(m->arg, data, taken);
        }
        if (rc != 0)
            return rc;
        data += taken;
        size -= taken;
    }
    return 0;
}

int mboxrd_end(struct mboxrd *m)
{
    int rc = release(m);
    if (rc == 0 && m->line_open)
        rc = m->emit(m->arg, "\n", 1);
    return rc != 0 ? rc : m->emit(m->arg, "\n", 1);
}
