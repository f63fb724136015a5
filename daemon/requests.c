#include "daemon/requests.h"

#include "daemon/clock.h"

#include <stdio.h>
#include <string.h>

#define TEXT_SIZE (CONFIG_NAME_MAX + 128)

static bool refuse(struct buffer *out, const char *cause, const char *text)
{
    control_object(out, "error");
    control_name(out, "cause", cause);
    control_text(out, "text", text);
    control_object_end(out);
    return true;
}

/* Its turn comes with the next look at the scheduler, which is when the clients have been
 * served. */
static bool poll_account(const struct status *s, const char *name, struct buffer *out)
{
    char text[TEXT_SIZE];
    const struct rounds *r = s->rounds;
    const struct config_account *account = config_find_account(r->config, name);
    if (s->once)
        return refuse(out, "refused",
                      "this is a single pass with --once, which polls each account anyway");
    if (account == NULL) {
        (void)snprintf(text, sizeof(text),
                       "there is no account %.*s in the service's configuration",
                       CONFIG_NAME_MAX, name);
        return refuse(out, "not-found", text);
    }
    uint32_t index = (uint32_t)(account - r->config->accounts);
    scheduler_hurry(r->scheduler, index, clock_now_ms());
    status_put_service(out, s);
    status_put_account(out, s, index);
    return true;
}

bool requests_answer(void *arg, struct control_request *request, struct buffer *out)
{
    const struct status *s = arg;
    char text[TEXT_SIZE];
    if (strcmp(request->line, "status") == 0)
        return status_answer(s, request, out);
    if (strncmp(request->line, "poll ", 5) == 0)
        return poll_account(s, request->line + 5, out);
    (void)snprintf(text, sizeof(text), "this service (%s) cannot do '%.40s'",
                   MAILCASK_VERSION, request->line);
    return refuse(out, "unknown", text);
}
