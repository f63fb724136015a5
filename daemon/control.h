/* The control socket: who connects, and asks, and is answered, without ever holding up the
 * service. Not what is answered: see requests.h. The socket's protocol is in
 * control_protocol.h. One thread, which polls control_fds() and calls control_serve().
 *
 * At most CONTROL_CLIENTS_MAX at once, the others wait to be let in. A client that neither
 * says nor takes anything for CONTROL_PATIENCE_MS is dropped, so is any after
 * CONTROL_LIFE_MS, and at once one who is neither our user nor root. A client costs up to
 * about two pieces of memory, however long its answer. */
#ifndef MAILCASK_DAEMON_CONTROL_H
#define MAILCASK_DAEMON_CONTROL_H

#include "archive/bytes.h"
#include "daemon/config.h"
#include "daemon/control_protocol.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_PATIENCE_MS 5000
#define CONTROL_LIFE_MS 60000
#define CONTROL_PIECE_SIZE 32768 /* bytes of an answer made at a time */
#define CONTROL_FDS_MAX (CONTROL_CLIENTS_MAX + 1)

struct control;

/* A request, and how far its answer is: step and after are zeroed at first and then the
 * answering function's own. */
struct control_request {
    char line[CONTROL_REQUEST_MAX]; /* without its newline */
    unsigned step;
    char after[CONFIG_NAME_MAX + 1];
};

/* Append the next piece of the answer, about CONTROL_PIECE_SIZE bytes or what is left.
 * True: it was the last one. The "end" is not its business. */
typedef bool control_answer(void *arg, struct control_request *request, struct buffer *out);

/* Not listening yet. archive: the path of the archive's folder. 0 or -ENOMEM. */
int control_create(const char *archive, control_answer *answer, void *arg,
                   struct control **out);
/* Clients are dropped, and the socket's file is removed if it is ours. NULL is allowed. */
void control_destroy(struct control *c);

/* Listen, in place of whatever socket is there: the archive's lock is held, so that one is
 * a dead service's. Does nothing if we are listening there already. 0 or -errno. */
int control_listen(struct control *c);

/* What to poll for. Returns how many. */
size_t control_fds(const struct control *c, uint64_t now_ms,
                   struct pollfd out[CONTROL_FDS_MAX]);
/* control_serve() is due after so long even if nothing happens; UINT64_MAX: never. */
uint64_t control_wait_ms(const struct control *c, uint64_t now_ms);
/* Let clients in, hear and answer them as far as it goes without waiting: at most a piece
 * for each. */
void control_serve(struct control *c, uint64_t now_ms);

/* Parts of an answer. A text is cleaned (log_clean()) and cut at 4 KiB; a name goes out as
 * it is and must have no control character; a NULL text is an empty one. number:
 * CONTROL_UNKNOWN is an empty one; time_s: 0 is. */
#define CONTROL_UNKNOWN UINT64_MAX
void control_object(struct buffer *out, const char *kind);
void control_name(struct buffer *out, const char *field, const char *name);
void control_text(struct buffer *out, const char *field, const char *text);
void control_number(struct buffer *out, const char *field, uint64_t number);
void control_time(struct buffer *out, const char *field, int64_t time_s);
void control_object_end(struct buffer *out);

#endif
