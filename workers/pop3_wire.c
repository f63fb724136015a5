/* The wire trace: what is said, line by line, for a person who looks for a fault. */
#include "workers/pop3_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the lines of a listing, or of CAPA, so many first ones, and the last; the others are
 * counted. */
#define WIRE_LISTING_FIRST 5u
#define WIRE_CAPA_FIRST 50u

struct pop3_wire {
    uint64_t lines; /* of the listing under way, so far */
    char last[OUTCOME_QUOTE_SIZE];
};

int pop3_wire_create(struct pop3 *p)
{
    if (!p->config.wire || p->callbacks.wire == NULL)
        return 0;
    p->wire = calloc(1, sizeof(*p->wire));
    return p->wire != NULL ? 0 : -ENOMEM;
}

static void tell(const struct pop3 *p, const char *who, const char *text)
{
    char line[POP3_WIRE_SIZE];
    (void)snprintf(line, sizeof(line), "%s %s", who, text);
    p->callbacks.wire(p->arg, line);
}

void pop3_wire_command(const struct pop3 *p, enum pop3_command command, const char *verb,
                       const char *argument)
{
    char text[OUTCOME_QUOTE_SIZE], both[OUTCOME_QUOTE_SIZE + 32];
    if (p->wire == NULL)
        return;
    if (command == POP3_CMD_AUTH_RESPONSE && strcmp(verb, "*") != 0) {
        tell(p, "C:", "(the credentials, left out)");
        return;
    }
    if (command == POP3_CMD_PASS)
        argument = "(left out)";
    if (argument == NULL) {
        tell(p, "C:", verb);
        return;
    }
    outcome_escape(text, sizeof(text), argument, strlen(argument));
    (void)snprintf(both, sizeof(both), "%s %s", verb, text);
    tell(p, "C:", both);
}

static void tell_rest(const struct pop3 *p, uint64_t shown)
{
    char text[64];
    const struct pop3_wire *w = p->wire;
    if (w->lines > shown + 1) {
        (void)snprintf(text, sizeof(text), "(%" PRIu64 " more lines)",
                       w->lines - shown - 1);
        tell(p, "S:", text);
    }
    if (w->lines > shown)
        tell(p, "S:", w->last);
}

void pop3_wire_reply(struct pop3 *p, const struct line *line)
{
    struct pop3_wire *w = p->wire;
    if (w == NULL)
        return;
    uint64_t first =
        pop3_expected(p)->command == POP3_CMD_CAPA ? WIRE_CAPA_FIRST : WIRE_LISTING_FIRST;
    bool ends = p->multiline && line->size == 1 && line->data[0] == '.';
    if (ends)
        tell_rest(p, first);
    if (!p->multiline || ends)
        w->lines = 0;
    else
        w->lines++;
    pop3_quote(p, line->data, line->size, w->last);
    if (w->lines <= first)
        tell(p, "S:", w->last);
}

void pop3_wire_body(const struct pop3 *p, bool whole)
{
    char text[64];
    if (p->wire == NULL)
        return;
    (void)snprintf(text, sizeof(text), "(%" PRIu64 " bytes of a message%s)", p->body_size,
                   whole ? "" : ", and no more");
    tell(p, "S:", text);
}
