#include "archive/error.h"
#include "workers/probe_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a server that waits to be spoken to says of a line that is POP3's. */
#define PROVOKE_US ((uint64_t)3 * 1000 * 1000)

#define HOST_SIZE 256

static uint64_t patience(const struct probe *p)
{
    return probe_now_us() + (uint64_t)p->config->patience_ms * 1000;
}

static uint64_t now_ms(void)
{
    return probe_now_us() / 1000;
}

/* Bytes of the socket into the buffer, which tls has given back. */
static int receive(struct probe *p, uint64_t deadline_us, size_t *out_size)
{
    int err = probe_receive(p->fd, p->buffer, sizeof(p->buffer), deadline_us, out_size);
    size_t room = sizeof(p->first) - p->first_size;
    size_t n = *out_size < room ? *out_size : room;
    memcpy(p->first + p->first_size, p->buffer, n);
    p->first_size += n;
    return err;
}

static int flush(struct probe *p)
{
    const uint8_t *data;
    size_t size;
    while ((size = tls_output(p->tls, &data)) > 0) {
        int err = probe_send(p->fd, data, size, patience(p));
        if (err != 0)
            return err;
        tls_output_consume(p->tls, size);
    }
    return 0;
}

/* TLS */

/* More for tls, or its end. */
static int feed(struct probe *p, uint64_t deadline_us)
{
    size_t size = 0;
    int err = receive(p, deadline_us, &size);
    if (err != 0)
        return err;
    if (size == 0)
        tls_end_of_input(p->tls);
    else
        tls_feed(p->tls, p->buffer, size);
    return 0;
}

static int shake_hands(struct probe *p)
{
    uint64_t deadline = patience(p);
    for (;;) {
        int step = tls_handshake(p->tls);
        int err = flush(p);
        if (step <= 0)
            return step;
        if (err == 0 && step == TLS_WANT)
            err = feed(p, deadline);
        if (err != 0)
            return err;
    }
}

/* Why it failed, when the certificate is not it. */
static enum probe_cause cause_of_handshake(const struct probe *p, int err)
{
    enum tls_fault fault = tls_fault(p->tls);
    if (fault != TLS_FAULT_NONE && fault != TLS_FAULT_OTHER)
        return probe_cause_of_tls(fault);
    if (p->first_size == 0)
        return err == -ENOMEM ? PROBE_RESOURCES : PROBE_NO_TLS;
    enum probe_cause first = probe_cause_of_bytes(p->first, p->first_size);
    return first == PROBE_WANTS_IMPLICIT ? PROBE_TLS_FAILED : first;
}

static void handshake_failed(struct probe *p, int err)
{
    enum probe_cause cause = cause_of_handshake(p, err);
    if (cause >= PROBE_CERTIFICATE_EXPIRED && cause <= PROBE_CERTIFICATE_OTHER)
        p->step = PROBE_CERTIFICATE;
    const char *text = tls_error(p->tls);
    if (text[0] != '\0')
        probe_step_failed(p, cause, "%s:%u: %s.", p->config->host, p->config->port, text);
    else if (err == -ETIMEDOUT)
        probe_step_failed(p, cause, "The server did not answer the beginning of TLS.");
    else
        probe_step_failed(p, cause, "The connection ended within TLS's handshake: %s.",
                          error_text(err));
}

/* An IPv6 address without its brackets, as certificates have it. */
static void bare_host(const char *host, char out[HOST_SIZE])
{
    size_t size = strlen(host);
    bool brackets = size >= 2 && host[0] == '[' && host[size - 1] == ']';
    (void)snprintf(out, HOST_SIZE, "%.*s", (int)(brackets ? size - 2 : size),
                   brackets ? host + 1 : host);
}

bool probe_start_tls(struct probe *p)
{
    char text[TLS_TEXT_SIZE], host[HOST_SIZE];
    probe_step_begins(p, PROBE_TLS);
    int err = tls_context_create(&p->config->policy, &p->context, text);
    if (err != 0) {
        probe_step_failed(p, err == ERR_NOT_FOUND ? PROBE_CA_FILE : PROBE_RESOURCES, "%s.",
                          text);
        return false;
    }
    bare_host(p->config->host, host);
    err = tls_create(p->context, host, &p->tls);
    if (err != 0) {
        probe_step_failed(p, PROBE_RESOURCES, "TLS could not start: %s.", error_text(err));
        return false;
    }
    p->first_size = 0;
    err = shake_hands(p);
    if (err != 0) {
        handshake_failed(p, err);
        return false;
    }
    p->secured = true;
    tls_describe(p->tls, text, sizeof(text));
    probe_step_done(p, "%s", text);
    probe_step_begins(p, PROBE_CERTIFICATE);
    tls_describe_certificate(p->tls, text);
    probe_step_done(p, "%s%s", text,
                    p->config->policy.fingerprint != NULL ? "; its fingerprint is pinned"
                                                          : "");
    return true;
}

void probe_hang_up(struct probe *p)
{
    if (p->secured) {
        (void)tls_close_notify(p->tls);
        (void)flush(p);
    }
    tls_destroy(p->tls);
    tls_context_destroy(p->context);
    p->tls = NULL;
    p->context = NULL;
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
}

/* POP3 */

/* Keep the line that the server is saying; further lines take its place. */
static void note_line(struct probe *p, const char *data, size_t size)
{
    if (p->line_ended)
        p->line_size = 0;
    p->line_ended = size > 0 && data[size - 1] == '\n';
    while (size > 0 && (data[size - 1] == '\n' || data[size - 1] == '\r'))
        size--;
    size_t room = sizeof(p->line) - p->line_size;
    size_t n = size < room ? size : room;
    memcpy(p->line + p->line_size, data, n);
    p->line_size += n;
}

/* A line at a time, so that what pop3 says of one finds it noted. */
static void hear(struct probe *p, const char *data, size_t size)
{
    while (size > 0 && !pop3_done(p->pop3)) {
        const char *end = memchr(data, '\n', size);
        size_t n = end != NULL ? (size_t)(end - data) + 1 : size;
        note_line(p, data, n);
        (void)pop3_input(p->pop3, now_ms(), data, n);
        data += n;
        size -= n;
    }
}

static void lose(struct probe *p, bool clean)
{
    p->loss = PROBE_CLOSED;
    pop3_eof(p->pop3, now_ms(), clean);
}

/* TLS's own failures within a session that stands. */
static void break_off(struct probe *p)
{
    probe_step_failed(p, PROBE_TLS_FAILED, "%s:%u: %s.", p->config->host, p->config->port,
                      tls_error(p->tls));
    pop3_abandon(p->pop3, "");
}

/* True while there was something in what tls has. */
static bool read_secured(struct probe *p)
{
    char plain[PROBE_BUFFER_SIZE];
    size_t size = 0;
    int step = tls_read(p->tls, plain, sizeof(plain), &size);
    if (step == 0)
        hear(p, plain, size);
    else if (step == TLS_CLOSED || step == ERR_CLOSED)
        lose(p, step == TLS_CLOSED);
    else if (step < 0)
        break_off(p);
    return step != TLS_WANT;
}

/* Wait for the server until pop3's deadline. */
static void listen_on(struct probe *p)
{
    uint64_t deadline_ms = pop3_deadline(p->pop3);
    uint64_t deadline = deadline_ms == POP3_NO_DEADLINE ? patience(p) : deadline_ms * 1000;
    size_t size = 0;
    int err = p->secured ? feed(p, deadline) : receive(p, deadline, &size);
    if (err == -ETIMEDOUT) {
        p->loss = PROBE_TIMED_OUT;
        pop3_timeout(p->pop3, now_ms());
    } else if (err != 0 || (!p->secured && size == 0)) {
        lose(p, err == 0);
    } else if (!p->secured) {
        hear(p, (const char *)p->buffer, size);
    }
}

static int send_some(struct probe *p, const char *data, size_t size, size_t *out_sent)
{
    *out_sent = size;
    if (!p->secured)
        return probe_send(p->fd, data, size, patience(p));
    int step = tls_write(p->tls, data, size, out_sent);
    int err = flush(p);
    return step < 0 ? step : err;
}

static void push(struct probe *p)
{
    const char *data;
    size_t size, sent = 0;
    while ((size = pop3_output(p->pop3, &data)) > 0) {
        p->line_size = 0;
        p->line_ended = false;
        if (send_some(p, data, size, &sent) != 0) {
            lose(p, false);
            return;
        }
        pop3_output_consume(p->pop3, sent);
    }
}

static void follow_stls(struct probe *p)
{
    p->start_tls = false;
    if (probe_start_tls(p))
        pop3_tls_started(p->pop3, now_ms());
    else
        pop3_abandon(p->pop3, "");
}

void probe_provoke(struct probe *p)
{
    static const char quit[] = "QUIT\r\n";
    char plain[PROBE_LINE_SIZE];
    size_t size = 0;
    uint64_t deadline = probe_now_us() + PROVOKE_US;
    if (send_some(p, quit, sizeof(quit) - 1, &size) != 0)
        return;
    if (!p->secured) {
        if (receive(p, deadline, &size) == 0)
            note_line(p, (const char *)p->buffer, size);
        return;
    }
    int step;
    while ((step = tls_read(p->tls, plain, sizeof(plain), &size)) == TLS_WANT)
        if (feed(p, deadline) != 0)
            return;
    if (step == 0)
        note_line(p, plain, size);
}

void probe_talk(struct probe *p)
{
    pop3_connected(p->pop3, now_ms());
    while (!pop3_done(p->pop3)) {
        push(p);
        if (p->start_tls)
            follow_stls(p);
        else if (!pop3_done(p->pop3) && (!p->secured || !read_secured(p)))
            listen_on(p);
    }
}
