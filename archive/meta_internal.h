/* What the decoders of metas share. */
#ifndef MAILCASK_ARCHIVE_META_INTERNAL_H
#define MAILCASK_ARCHIVE_META_INTERNAL_H

#include "archive/bytes.h"
#include "archive/error.h"

/* A meta is read to its last byte. */
static inline int meta_finished(const struct cursor *c)
{
    return c->bad || cursor_left(c) != 0 ? ERR_DAMAGED : 0;
}

static inline struct span meta_take_limited(struct cursor *c, size_t max)
{
    struct span s = take_span(c);
    if (s.size > max)
        c->bad = true;
    return s;
}

#endif
