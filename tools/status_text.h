/* The answer to `status` for a person: the service, then servers and accounts that have a
 * problem or are paused, or all of them; and the lines it is made of. */
#ifndef MAILCASK_TOOLS_STATUS_TEXT_H
#define MAILCASK_TOOLS_STATUS_TEXT_H

#include "tools/control_client.h"
#include "tools/output.h"

/* Of servers, and of accounts, with a problem or paused, that are printed without `all`. */
#define STATUS_LINES_MAX 20

/* answer: whole. */
void status_text(struct output *out, struct span answer, bool all);

/* What is counted in a first look, since it is printed before the lists. */
#define STATUS_STATES 8
struct status_counts {
    uint64_t servers, servers_failing;
    uint64_t accounts, accounts_failing;
    uint64_t never; /* no complete poll is known of */
    uint64_t in_state[STATUS_STATES];
};

void status_count(struct span answer, struct status_counts *out);
/* A server or an account whose last try failed. */
bool status_is_failing(const struct answer_object *o);

/* Lines. The service's: what runs, its archive and state; disk and memory; deletions that
 * are not confirmed yet, if there are any. */
void status_put_service(struct output *out, const struct answer_object *o);
void status_put_room(struct output *out, const struct answer_object *o);
void status_put_unconfirmed(struct output *out, const struct answer_object *o);
/* How many there are, in which state. */
void status_put_servers(struct output *out, const struct status_counts *c);
void status_put_accounts(struct output *out, const struct status_counts *c);
/* One of them, with its error on a second line. */
void status_put_server(struct output *out, const struct answer_object *o);
void status_put_account(struct output *out, const struct answer_object *o);
/* A line's first column. */
void status_put_label(struct output *out, const char *label);

#endif
