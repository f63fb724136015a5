#include "workers/probe.h"

#include "archive/error.h"
#include "workers/probe_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Addresses that a text names. */
#define ADDRESSES_TEXT_SIZE (RESOLVER_ADDRESSES_MAX * (PROBE_ADDRESS_SIZE + 2))

static const char *const step_names[] = {
    [PROBE_NOWHERE] = "nowhere",
    [PROBE_PASSWORD] = "password",
    [PROBE_RESOLVE] = "resolve",
    [PROBE_CONNECT] = "connect",
    [PROBE_STLS] = "stls",
    [PROBE_TLS] = "tls",
    [PROBE_CERTIFICATE] = "certificate",
    [PROBE_GREETING] = "greeting",
    [PROBE_CAPABILITIES] = "capabilities",
    [PROBE_LOGIN] = "login",
    [PROBE_LISTING] = "listing",
    [PROBE_QUIT] = "quit",
};
_Static_assert(sizeof(step_names) / sizeof(step_names[0]) == PROBE_STEP_COUNT,
               "a name for every step");

const char *probe_step_name(enum probe_step step)
{
    return step_names[step];
}

void probe_step_begins(struct probe *p, enum probe_step step)
{
    p->step = step;
    p->began_us = probe_now_us();
}

static void tell(const struct probe *p, enum probe_cause cause, const char *text)
{
    const struct probe_event event = {.step = p->step,
                                      .cause = cause,
                                      .elapsed_us = probe_now_us() - p->began_us,
                                      .text = text};
    if (p->report != NULL)
        p->report(p->arg, &event);
}

void probe_step_done(struct probe *p, const char *format, ...)
{
    char text[PROBE_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell(p, PROBE_FINE, text);
}

static enum probe_cause look_again(const struct probe *p, enum probe_cause cause);

void probe_step_failed(struct probe *p, enum probe_cause cause, const char *format, ...)
{
    char text[PROBE_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    p->over = true;
    p->cause = p->report != NULL ? look_again(p, cause) : cause;
    tell(p, p->cause, text);
}

/* Name and connection */

static void say_addresses(const struct resolver_answer *answer,
                          char out[ADDRESSES_TEXT_SIZE])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < answer->count; i++) {
        char one[PROBE_ADDRESS_SIZE];
        probe_address_text(&answer->addresses[i], one);
        int n = snprintf(out + used, ADDRESSES_TEXT_SIZE - used, "%s%s", i > 0 ? ", " : "",
                         one);
        used += n > 0 ? (size_t)n : 0;
    }
}

static bool resolve(struct probe *p, struct resolver_answer *answer)
{
    const char *host = p->config->host;
    char text[ADDRESSES_TEXT_SIZE];
    probe_step_begins(p, PROBE_RESOLVE);
    probe_resolve(host, p->config->port, answer);
    if (answer->err == 0) {
        say_addresses(answer, text);
        probe_step_done(p, "%s", text);
        return true;
    }
    if (answer->err == ERR_NOT_FOUND)
        probe_step_failed(p, PROBE_UNKNOWN_HOST, "The host %s is not known (%s).", host,
                          answer->text);
    else
        probe_step_failed(p, answer->err == -ENOMEM ? PROBE_RESOURCES : PROBE_NAME_SERVICE,
                          "The host %s could not be looked up (%s).", host, answer->text);
    return false;
}

static enum probe_cause cause_of_connect(int err)
{
    switch (err) {
    case -ECONNREFUSED:
        return PROBE_REFUSED;
    case -ETIMEDOUT:
        return PROBE_NO_ANSWER;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return PROBE_UNREACHABLE;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOBUFS:
        return PROBE_RESOURCES;
    default:
        return PROBE_CONNECT_FAILED;
    }
}

/* The failure that says most: a machine that answers before one that cannot be reached. */
static bool says_more(int failure, int before)
{
    return before == 0 || cause_of_connect(before) == PROBE_UNREACHABLE ||
           (failure == -ECONNREFUSED && before == -ETIMEDOUT);
}

static bool connect_any(struct probe *p, const struct resolver_answer *answer)
{
    int err = 0;
    char text[PROBE_ADDRESS_SIZE] = "", failed[PROBE_ADDRESS_SIZE] = "";
    probe_step_begins(p, PROBE_CONNECT);
    for (size_t i = 0; i < answer->count; i++) {
        uint64_t deadline = probe_now_us() + (uint64_t)p->config->patience_ms * 1000;
        int failure = probe_connect(&answer->addresses[i], deadline, &p->fd);
        probe_address_text(&answer->addresses[i], text);
        if (failure == 0) {
            probe_step_done(p, "%s%s%s", text, i > 0 ? "; before it in vain: " : "",
                            failed);
            return true;
        }
        if (says_more(failure, err)) {
            err = failure;
            memcpy(failed, text, sizeof(failed));
        }
    }
    probe_step_failed(p, cause_of_connect(err), "%s: %s%s.", failed, error_text(err),
                      answer->count > 1 ? "; the other addresses failed, too" : "");
    return false;
}

/* The walk */

static void walk(struct probe *p)
{
    struct resolver_answer answer = {.count = 0};
    p->fd = -1;
    int err = probe_pop3_create(p);
    if (err != 0) {
        probe_step_begins(p, PROBE_PASSWORD);
        probe_step_failed(p, err == -ENOMEM ? PROBE_RESOURCES : PROBE_BAD_CREDENTIALS,
                          "User or password cannot be sent: %s.", error_text(err));
        return;
    }
    if (resolve(p, &answer) && connect_any(p, &answer) &&
        (!p->config->implicit_tls || probe_start_tls(p)))
        probe_talk(p);
    probe_hang_up(p);
    pop3_free(p->pop3);
    p->pop3 = NULL;
}

/* Whether the other kind of TLS would do, on a connection of its own and without a login.
 */
static enum probe_cause look(const struct probe *p)
{
    struct probe_config config = *p->config;
    struct probe other = {.config = &config};
    config.implicit_tls = !config.implicit_tls;
    config.user = config.password = NULL;
    walk(&other);
    if (config.implicit_tls)
        return other.secured || probe_cause_of_bytes(other.first, other.first_size) ==
                                    PROBE_WANTS_IMPLICIT
                   ? PROBE_WANTS_IMPLICIT
                   : PROBE_NO_GREETING;
    return other.cause == PROBE_PLAINTEXT_ONLY ? PROBE_PLAINTEXT_ONLY
                                               : PROBE_WANTS_STARTTLS;
}

static enum probe_cause look_again(const struct probe *p, enum probe_cause cause)
{
    if (cause == PROBE_WANTS_STARTTLS)
        return look(p);
    if (cause == PROBE_NO_GREETING && !p->config->implicit_tls)
        return look(p);
    return cause;
}

enum probe_cause probe_walk(const struct probe_config *config, probe_report *report,
                            void *arg)
{
    struct probe p = {.config = config, .report = report, .arg = arg};
    walk(&p);
    return p.cause;
}
