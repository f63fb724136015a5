#include "archive/error.h"
#include "workers/pop3_internal.h"

#include <modp_b64.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Challenges in one login. PLAIN needs one; any further one is cancelled. */
#define SASL_ROUNDS_MAX 4u

/* OPENSSL_clear_free() gives it back; malloc's family is not used for it. */
char *pop3_login_plain(const struct pop3 *p, size_t *out_capacity)
{
    size_t user_size = strlen(p->config.user);
    size_t password_size = strlen(p->config.password);
    size_t raw_size = user_size + password_size + 2;
    *out_capacity = modp_b64_encode_len(raw_size);
    char *raw = OPENSSL_malloc(raw_size);
    char *encoded = OPENSSL_malloc(*out_capacity);
    if (raw != NULL && encoded != NULL) {
        raw[0] = '\0';
        memcpy(raw + 1, p->config.user, user_size);
        raw[user_size + 1] = '\0';
        memcpy(raw + user_size + 2, p->config.password, password_size);
        (void)modp_b64_encode(encoded, raw, raw_size);
    } else {
        OPENSSL_free(encoded);
        encoded = NULL;
    }
    OPENSSL_clear_free(raw, raw_size);
    return encoded;
}

static void send_plain(struct pop3 *p)
{
    size_t capacity;
    char *plain = pop3_login_plain(p, &capacity);
    if (plain == NULL) {
        pop3_fail_memory(p);
        return;
    }
    pop3_send(p, POP3_CMD_AUTH_RESPONSE, plain, NULL);
    OPENSSL_clear_free(plain, capacity);
}

static enum pop3_state first_look(const struct pop3 *p)
{
    return p->expects && !p->memory.no_glance ? POP3_GLANCE : POP3_LISTING;
}

/* PIPELINING is the same before login and after (RFC 2449, 6.6): what follows CAPA leaves
 * with it. */
static void look_ahead(struct pop3 *p)
{
    if (!pop3_may_pipeline(p))
        return;
    if (first_look(p) == POP3_GLANCE)
        pop3_glance_enter(p);
    else
        pop3_listing_enter(p);
    p->looked_ahead = true;
}

void pop3_login_enter(struct pop3 *p)
{
    switch (p->state) {
    case POP3_CAPA:
    case POP3_CAPA_PLAIN:
        capabilities_clear(&p->capabilities);
        pop3_send(p, POP3_CMD_CAPA, "CAPA", NULL);
        break;
    case POP3_CAPA_AGAIN:
        pop3_send(p, POP3_CMD_CAPA, "CAPA", NULL);
        look_ahead(p);
        break;
    case POP3_STLS:
        pop3_send(p, POP3_CMD_STLS, "STLS", NULL);
        break;
    case POP3_TLS:
        /* What was learnt in the clear may be forged. */
        capabilities_clear(&p->capabilities);
        p->callbacks.start_tls(p->arg);
        break;
    case POP3_UTF8:
        pop3_send(p, POP3_CMD_UTF8, "UTF8", NULL);
        break;
    case POP3_AUTH:
        pop3_send(p, POP3_CMD_AUTH, "AUTH", "PLAIN");
        break;
    case POP3_AUTH_RESPONSE:
        send_plain(p);
        break;
    case POP3_USER:
        pop3_send(p, POP3_CMD_USER, "USER", p->config.user);
        break;
    case POP3_PASS:
        pop3_send(p, POP3_CMD_PASS, "PASS", p->config.password);
        break;
    case POP3_CONNECTING:
    case POP3_GREETING:
    case POP3_GLANCE:
    case POP3_LISTING:
    case POP3_FETCH:
    case POP3_DURABLE:
    case POP3_DELETE:
    case POP3_QUIT:
    case POP3_DONE:
        break;
    }
}

static void enter_auth(struct pop3 *p)
{
    pop3_enter(p, p->capabilities.sasl_plain ? POP3_AUTH : POP3_USER);
}

static bool asks_capa(const struct pop3 *p)
{
    return !p->memory.no_capa && (p->config.avoid & AVOID_CAPA) == 0;
}

/* Capabilities are known, or known to be unknown; TLS is on. */
static void enter_login(struct pop3 *p)
{
    if (p->config.no_login)
        pop3_enter(p, POP3_QUIT);
    else if (p->capabilities.utf8)
        pop3_enter(p, POP3_UTF8); /* or Courier hides what has 8-bit headers (Q22) */
    else
        enter_auth(p);
}

static void go_by_memory(struct pop3 *p)
{
    const struct pop3_announced *a = &p->memory.announced;
    p->by_memory = true;
    p->capabilities.known = true;
    p->capabilities.sasl_plain = a->sasl_plain;
    p->capabilities.utf8 = a->utf8;
    p->capabilities.pipelining = a->pipelining;
    p->capabilities.uidl = a->uidl;
}

void pop3_login_secured(struct pop3 *p)
{
    if (!asks_capa(p)) {
        enter_login(p);
    } else if (p->memory.announced.known && first_look(p) == POP3_GLANCE) {
        go_by_memory(p);
        enter_login(p);
    } else {
        pop3_enter(p, POP3_CAPA);
    }
}

static void logged_in(struct pop3 *p)
{
    bool asks_again = p->capabilities.known && asks_capa(p) && !p->by_memory;
    if (asks_again)
        p->pipelining_before = p->capabilities.pipelining;
    if (!p->by_memory)
        capabilities_clear(&p->capabilities);
    pop3_enter(p, asks_again ? POP3_CAPA_AGAIN : first_look(p));
}

void pop3_login_capa_line(struct pop3 *p, const struct line *line)
{
    if (capabilities_add(&p->capabilities, line->data, line->size) != 0)
        pop3_fail(
            p, SCOPE_SERVER, RETRY_BACKOFF,
            "The server's CAPA reply is longer than %u lines or %zu bytes; is this a POP3 "
            "server?",
            CAPABILITIES_LINES_MAX, CAPABILITIES_BYTES_MAX);
}

static void announced_before_login(struct pop3 *p)
{
    const struct capabilities *c = &p->capabilities;
    p->memory.announced =
        (struct pop3_announced){.sasl_plain = c->sasl_plain, .utf8 = c->utf8};
    if (c->known)
        p->memory.login_delay_s = c->login_delay_s;
}

static void announced_after_login(struct pop3 *p)
{
    const struct capabilities *c = &p->capabilities;
    struct pop3_announced *a = &p->memory.announced;
    a->known = c->known;
    a->pipelining = c->pipelining;
    a->uidl = c->uidl;
    if (c->login_delay_s > p->memory.login_delay_s)
        p->memory.login_delay_s = c->login_delay_s;
    p->pipelining_before = false;
    p->looked_too_far = p->looked_ahead && !c->pipelining;
}

/* After a complete CAPA reply, or a refused one (known is false then). */
static void capa_settled(struct pop3 *p)
{
    const struct capabilities *c = &p->capabilities;
    if (p->state == POP3_CAPA_AGAIN)
        announced_after_login(p);
    else if (p->state == POP3_CAPA) /* what was said before TLS is not believed */
        announced_before_login(p);
    if (p->state == POP3_CAPA_AGAIN)
        pop3_enter(p, first_look(p));
    else if (p->state == POP3_CAPA)
        enter_login(p);
    else if (c->known && !c->stls)
        pop3_fail(
            p, SCOPE_SERVER, RETRY_BACKOFF,
            "The server does not offer STLS and TLS is required, so no password was sent; "
            "use tls = implicit with port 995, or ask its operator.");
    else
        pop3_enter(p, POP3_STLS);
}

void pop3_login_capa_done(struct pop3 *p)
{
    p->capabilities.known = true;
    capabilities_avoid(&p->capabilities, p->config.avoid);
    capa_settled(p);
}

static void capa_reply(struct pop3 *p, const struct reply *reply)
{
    if (reply->status == REPLY_OK) {
        p->multiline = true;
        return;
    }
    pop3_answered(p);
    capabilities_clear(&p->capabilities);
    capa_settled(p);
}

static void greeting_reply(struct pop3 *p, const struct reply *reply)
{
    pop3_answered(p);
    if (reply->status != REPLY_OK) {
        char quote[OUTCOME_QUOTE_SIZE];
        pop3_quote(p, reply->text, reply->text_size, quote);
        pop3_fail(
            p, SCOPE_SERVER, RETRY_BACKOFF,
            "The server refused the connection: \"%s\"; it will be tried again later, "
            "perhaps with fewer connections (max-connections).",
            quote);
        return;
    }
    if (p->config.implicit_tls)
        pop3_login_secured(p);
    else
        pop3_enter(p, asks_capa(p) ? POP3_CAPA_PLAIN : POP3_STLS);
}

static void stls_reply(struct pop3 *p, const struct reply *reply)
{
    pop3_answered(p);
    if (reply->status == REPLY_OK) {
        pop3_enter(p, POP3_TLS);
        return;
    }
    char quote[OUTCOME_QUOTE_SIZE];
    pop3_quote(p, reply->text, reply->text_size, quote);
    pop3_fail(
        p, SCOPE_SERVER, RETRY_BACKOFF,
        "The server refused STLS (\"%s\") and TLS is required, so no password was sent; "
        "use tls = implicit with port 995, or ask its operator.",
        quote);
}

static void refused_uncoded(struct pop3 *p, const struct reply *reply, const char *quote)
{
    if (reply_speaks_of_lock(reply)) {
        pop3_fail(
            p, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The mailbox is in use by another program: \"%s\"; it will be tried again "
            "later.",
            quote);
        return;
    }
    pop3_fail(
        p, SCOPE_ACCOUNT, RETRY_BACKOFF,
        "The server refused the login without saying why: \"%s\"; check user and password, "
        "tries are widely spaced so that the address is not banned.",
        quote);
}

/* Q38-Q40: only a code says what is the matter. */
static void login_refused(struct pop3 *p, const struct reply *reply)
{
    char quote[OUTCOME_QUOTE_SIZE];
    pop3_quote(p, reply->text, reply->text_size, quote);
    switch (reply->code) {
    case REPLY_CODE_IN_USE:
        pop3_fail(
            p, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The mailbox is in use by another program: \"%s\"; it will be tried again "
            "later.",
            quote);
        break;
    case REPLY_CODE_LOGIN_DELAY:
        p->outcome.delay_s = p->memory.login_delay_s;
        pop3_fail(
            p, SCOPE_MAILBOX, RETRY_BACKOFF,
            "The server wants more time between two logins (%u s announced): \"%s\"; poll "
            "this mailbox less often.",
            (unsigned)p->memory.login_delay_s, quote);
        break;
    case REPLY_CODE_SYS_TEMP:
        pop3_fail(p, SCOPE_SERVER, RETRY_BACKOFF,
                  "The server has a temporary fault: \"%s\"; it will be tried again later.",
                  quote);
        break;
    case REPLY_CODE_SYS_PERM:
        pop3_fail(p, SCOPE_ACCOUNT, RETRY_NEVER,
                  "The server refuses this account for good: \"%s\"; ask its operator.",
                  quote);
        break;
    case REPLY_CODE_AUTH:
        pop3_fail(
            p, SCOPE_ACCOUNT, RETRY_NEVER,
            "The server says that user or password is wrong: \"%s\"; correct them in the "
            "configuration.",
            quote);
        break;
    case REPLY_CODE_NONE:
    case REPLY_CODE_OTHER:
        refused_uncoded(p, reply, quote);
        break;
    }
}

/* The answer to AUTH PLAIN, before any credential went out. */
static void auth_reply(struct pop3 *p, const struct reply *reply)
{
    bool challenge = reply->status == REPLY_CONTINUE ||
                     (reply->status == REPLY_OK && reply->text_size == 0); /* Q51 */
    pop3_answered(p);
    if (challenge) {
        p->sasl_rounds = 1;
        pop3_enter(p, POP3_AUTH_RESPONSE);
        return;
    }
    if (reply->status == REPLY_OK) {
        pop3_desynchronised(p, reply->text, reply->text_size);
        return;
    }
    /* Offered, and refused before it was tried: a matter of the mechanism, unless a code
     * says more. */
    if (reply->code == REPLY_CODE_NONE || reply->code == REPLY_CODE_OTHER)
        pop3_enter(p, POP3_USER);
    else
        login_refused(p, reply);
}

static void auth_response_reply(struct pop3 *p, const struct reply *reply)
{
    pop3_answered(p);
    if (reply->status == REPLY_OK) {
        logged_in(p);
        return;
    }
    if (reply->status == REPLY_ERR) {
        login_refused(p, reply);
        return;
    }
    if (++p->sasl_rounds > SASL_ROUNDS_MAX)
        pop3_fail(
            p, SCOPE_SERVER, RETRY_BACKOFF,
            "The server asked more than %u times during AUTH PLAIN; it will be tried again "
            "later.",
            SASL_ROUNDS_MAX);
    else
        pop3_send(p, POP3_CMD_AUTH_RESPONSE, "*", NULL); /* cancels (RFC 5034) */
}

void pop3_login_reply(struct pop3 *p, enum pop3_command command, const struct reply *reply)
{
    switch ((int)command) {
    case POP3_CMD_GREETING:
        greeting_reply(p, reply);
        break;
    case POP3_CMD_CAPA:
        capa_reply(p, reply);
        break;
    case POP3_CMD_STLS:
        stls_reply(p, reply);
        break;
    case POP3_CMD_UTF8:
        pop3_answered(p);
        enter_auth(p);
        break;
    case POP3_CMD_AUTH:
        auth_reply(p, reply);
        break;
    case POP3_CMD_AUTH_RESPONSE:
        auth_response_reply(p, reply);
        break;
    case POP3_CMD_USER:
    case POP3_CMD_PASS:
        pop3_answered(p);
        if (reply->status != REPLY_OK)
            login_refused(p, reply);
        else if (command == POP3_CMD_USER)
            pop3_enter(p, POP3_PASS);
        else
            logged_in(p);
        break;
    default:
        break;
    }
}
