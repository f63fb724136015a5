/* What one session sees of its mailbox: messages numbered from 1, their UIDLs, and the
 * marks of DELE. */
#ifndef MAILCASK_POP3D_VIEW_H
#define MAILCASK_POP3D_VIEW_H

#include "tests/pop3d/mailbox.h"
#include "tests/pop3d/options.h"
#include "tests/pop3d/script.h"

#define RANDOM_SIZE 17

struct view {
    struct listing *listing; /* owned reference; NULL: closed */
    size_t first;            /* index in the listing of message 1 */
    size_t count;            /* highest number */
    unsigned char *deleted;  /* a bit a message; NULL: none */
    const struct edit *uidls;
    enum uidl_kind uidl_kind;
    char random[RANDOM_SIZE]; /* %r: 16 hexadecimal digits, new for each session */
};

/* Takes over the reference. action: of the login's rule (show-first, show-last, uidl). */
void view_open(struct view *view, struct listing *listing, const struct action *action,
               enum uidl_kind uidl_kind);
void view_close(struct view *view);

/* NULL if there is no such number, or it is marked as deleted. */
const struct message *view_message(const struct view *view, uint64_t number);
bool view_is_deleted(const struct view *view, uint64_t number);
/* number: of a message there is. */
void view_delete(struct view *view, uint64_t number);
void view_undelete_all(struct view *view);
/* Messages not deleted, and their octets. */
void view_totals(const struct view *view, uint64_t *out_count, uint64_t *out_octets);

/* The message's UIDL, with a NUL behind it, replaces what is in out. */
void view_uidl(const struct view *view, uint64_t number, struct buffer *out);
/* The line for this number in the given format (%n, %u, %s, %f, %r) is added to out;
 * scratch is overwritten. */
void view_format(const struct view *view, uint64_t number, struct bytes format,
                 struct buffer *scratch, struct buffer *out);

#endif
