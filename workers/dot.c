#include "workers/dot.h"

#include <assert.h>
#include <string.h>

void dot_start(struct dot *d, bool status_bare_lf)
{
    *d = (struct dot){.state = DOT_LINE_START, .lf_only = status_bare_lf};
}

bool dot_ended(const struct dot *d)
{
    return d->state == DOT_ENDED;
}

/* How many of these bytes are data, up to the next dot at the start of a line, or all: here
 * while a line may end in a bare LF. memchr line by line beats memmem("\n.") tenfold in
 * glibc, on mail's short lines as well. */
static size_t scan_lines(struct dot *d, const char *data, size_t size)
{
    const char *at = data;
    const char *const end = data + size;
    const bool cr_before = d->state == DOT_CR;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (lf == NULL) {
            d->state = end[-1] == '\r' ? DOT_CR : DOT_TEXT;
            return size;
        }
        bool crlf = lf > data ? lf[-1] == '\r' : cr_before;
        if (crlf)
            d->lf_only = false;
        d->state = crlf || d->lf_only ? DOT_LINE_START : DOT_TEXT;
        at = lf + 1;
        if (at < end && *at == '.' && d->state == DOT_LINE_START)
            break;
    }
    return (size_t)(at - data);
}

/* Does what is before `at` end in CRLF? At least one byte is. */
static bool line_begins(const char *data, const char *at, bool cr_before)
{
    if (at[-1] != '\n')
        return false;
    return at - data > 1 ? at[-2] == '\r' : cr_before;
}

/* The same once lines end in CRLF only: the dots are looked for, as base64 has none. */
static size_t scan_dots(struct dot *d, const char *data, size_t size)
{
    const char *const end = data + size;
    const bool cr_before = d->state == DOT_CR;
    const char *at = memchr(data + 1, '.', size - 1);
    while (at != NULL && !line_begins(data, at, cr_before))
        at = memchr(at + 1, '.', (size_t)(end - at - 1));
    if (at == NULL)
        at = end;
    if (line_begins(data, at, cr_before))
        d->state = DOT_LINE_START;
    else
        d->state = at[-1] == '\r' ? DOT_CR : DOT_TEXT;
    return (size_t)(at - data);
}

/* The dot, and the CR behind it, were data after all; their bytes may be gone with the last
 * buffer. */
static size_t keep(struct dot *d, enum dot_state next, const char **out_slice,
                   size_t *out_size)
{
    static const char held[] = ".\r";
    *out_slice = held;
    *out_size = next == DOT_CR ? 2 : 1;
    d->state = next;
    d->kept++;
    return 0;
}

size_t dot_next(struct dot *d, const char *data, size_t size, const char **out_slice,
                size_t *out_size)
{
    assert(size > 0 && d->state != DOT_ENDED);
    *out_slice = data;
    *out_size = 0;
    switch (d->state) {
    case DOT_LINE_START:
        if (data[0] != '.')
            break;
        d->state = DOT_SEEN;
        return 1;
    case DOT_SEEN:
        if (data[0] == '\r') {
            d->state = DOT_SEEN_CR;
            return 1;
        }
        if (data[0] == '\n' && d->lf_only) {
            d->state = DOT_ENDED;
            return 1;
        }
        if (data[0] != '.')
            return keep(d, DOT_TEXT, out_slice, out_size);
        d->removed++;
        d->state = DOT_TEXT;
        break;
    case DOT_SEEN_CR:
        if (data[0] != '\n' || d->lf_only)
            return keep(d, DOT_CR, out_slice, out_size);
        d->state = DOT_ENDED;
        return 1;
    case DOT_TEXT:
    case DOT_CR:
    case DOT_ENDED:
        break;
    }
    *out_size = d->lf_only ? scan_lines(d, data, size) : scan_dots(d, data, size);
    return *out_size;
}
