/* Asking the running service: one request, its whole answer, and the objects in it; see
 * daemon/control_protocol.h. */
#ifndef MAILCASK_TOOLS_CONTROL_CLIENT_H
#define MAILCASK_TOOLS_CONTROL_CLIENT_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_PATIENCE_S 15              /* for the next bytes */
#define ANSWER_SIZE_MAX ((size_t)1 << 30) /* more than any configuration makes */
#define ANSWER_FIELDS_MAX 64              /* of an object; more are left out */

/* Ask the service that has the archive at this path. 0, with the answer whole in out, which
 * is to be freed in any case; -ENOENT or -ECONNREFUSED: no service listens; -EACCES;
 * -EAGAIN: it said nothing for too long; ERR_CLOSED: the answer broke off; ERR_TOO_LARGE;
 * -ENOMEM; -errno. */
int control_ask(const char *archive, const char *request, struct buffer *out);
/* The same, but given up once stop_fd can be read from: ERR_STOPPED. -1: never. */
int control_ask_until(const char *archive, const char *request, int stop_fd,
                      struct buffer *out);

enum answer_type { ANSWER_TEXT, ANSWER_NUMBER, ANSWER_TIME };

struct answer_field {
    struct span name;
    enum answer_type type;
    struct span value;
};

struct answer_object {
    struct span kind;
    struct answer_field fields[ANSWER_FIELDS_MAX];
    size_t count;
};

/* Take the next object off the rest of an answer; what is no field is left out. Spans are
 * borrowed from the answer. False at its end. */
bool answer_next(struct span *rest, struct answer_object *out);
bool answer_is(const struct answer_object *o, const char *kind);

/* A field's value; empty, or 0, where it is not there or of another type. */
struct span answer_text(const struct answer_object *o, const char *name);
uint64_t answer_number(const struct answer_object *o, const char *name);
int64_t answer_time(const struct answer_object *o, const char *name);
/* Of one field, whose type it is. False where it is empty or not such a number. */
bool answer_field_number(const struct answer_field *f, uint64_t *out);
bool answer_field_time(const struct answer_field *f, int64_t *out);

#endif
