/* One reply on its way out: the status line, then (if it has several lines) a message, a
 * listing or a text, all produced in pieces and bent by the rule's action. */
#ifndef MAILCASK_POP3D_REPLY_H
#define MAILCASK_POP3D_REPLY_H

#include "tests/pop3d/body.h"
#include "tests/pop3d/script.h"
#include "tests/pop3d/view.h"

enum reply_stage {
    REPLY_HEAD,
    REPLY_CONTENT,
    REPLY_REPEAT,
    REPLY_TERMINATOR,
    REPLY_AFTER,
    REPLY_DONE
};

enum reply_content { CONTENT_NONE, CONTENT_BODY, CONTENT_UIDLS, CONTENT_SIZES };

struct reply {
    enum reply_stage stage;
    const struct action *action;
    struct buffer status; /* the line, with its CRLF */
    struct buffer text;   /* what a text body borrows */
    enum reply_content content;
    struct body body;
    const struct view *view; /* of a listing */
    uint64_t next;           /* its next number */
    struct buffer scratch;
    uint64_t repeated;
    uint64_t content_sent;
    uint64_t sent;
    char tail[2]; /* the last two bytes produced */
    bool cr_held; /* of `lf`: a CR whose next byte is not known yet */
    bool was_cut;
};

/* An empty reply; anything the last one held is freed. action is borrowed until the end. */
void reply_start(struct reply *reply, const struct action *action);
void reply_free(struct reply *reply);

/* What a correct server says: the status line, and perhaps one content. CRLF is added to
 * status. */
void reply_status(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Over reply->text, filled by the caller with CRLF lines. */
void reply_add_text(struct reply *reply);
void reply_add_message(struct reply *reply, int fd, enum line_ends line_ends,
                       uint64_t top_lines);
void reply_add_listing(struct reply *reply, enum reply_content content,
                       const struct view *view);

/* Bend it as the action says. Once, before the first fill. line_ends: for a `body` of the
 * rule. */
void reply_bend(struct reply *reply, enum line_ends line_ends);
/* Whether a message's own bytes go out with it. */
bool reply_has_message(const struct reply *reply);

/* Append some 16 KiB to out; false when there is no more. */
bool reply_fill(struct reply *reply, struct buffer *out);

#endif
