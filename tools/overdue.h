/* Which accounts of an answer to `status` had no complete poll for too long. */
#ifndef MAILCASK_TOOLS_OVERDUE_H
#define MAILCASK_TOOLS_OVERDUE_H

#include "tools/control_client.h"
#include "tools/options.h"

#include <stdbool.h>
#include <stdint.h>

/* Accounts that are named; the others are counted. */
#define OVERDUE_LINES_MAX 20

struct overdue {
    const char *max_age; /* as it was given; NULL: nobody is overdue */
    int64_t before_s;    /* a last complete poll before then is too old */
    int64_t began_s;     /* of the service: for accounts without a complete poll */
};

/* From --max-age. False: it is not a duration, which was said. */
bool overdue_parse(struct overdue *v, const struct options *o, int64_t now_s);

/* A look at the service, which may have begun anew since the last one. */
void overdue_look(struct overdue *v, struct span answer);

/* An account without any complete poll is as old as the service. */
bool overdue_is(const struct overdue *v, const struct answer_object *account);

/* Name them on standard error. Returns how many there are. */
uint64_t overdue_say(const struct overdue *v, struct span answer);

#endif
