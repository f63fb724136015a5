/* POP3 itself: what each command does and what a correct server answers. Every function
 * here leaves a bent reply in session->reply and sets session->finish. */
#ifndef MAILCASK_POP3D_PROTOCOL_H
#define MAILCASK_POP3D_PROTOCOL_H

#include "tests/pop3d/session.h"

/* The rule's part of a moment that is not a command: EVENT_CONNECT (by itself it sends
 * nothing) or EVENT_GREETING. */
void protocol_moment(struct session *session, enum event event);
/* One line from the client, without its line end, with a NUL behind it. */
void protocol_line(struct session *session, char *line);
/* Refuse a line that is longer than any command. */
void protocol_line_too_long(struct session *session);
/* Give the mailbox back: its lock, and the view of it. */
void protocol_release(struct session *session);

#endif
