/* HTTP for Prometheus: GET /metrics on a loopback address, and nothing else. It has no
 * thread: its owner's one polls metrics_server_fd() and calls metrics_server_serve(), which
 * never waits.
 *
 * At most METRICS_CLIENTS_MAX at once, the others wait to be let in; each has one request,
 * is dropped when it neither says nor takes anything for METRICS_PATIENCE_S, and in any
 * case after METRICS_LIFE_MS. The text is made anew at most each METRICS_FRESH_MS, however
 * many ask for it. */
#ifndef MAILCASK_DAEMON_METRICS_SERVER_H
#define MAILCASK_DAEMON_METRICS_SERVER_H

#include "archive/bytes.h"
#include "daemon/log.h"

#include <stdint.h>

#define METRICS_CLIENTS_MAX 8u
#define METRICS_PATIENCE_S 5u
#define METRICS_LIFE_MS 20000u
#define METRICS_FRESH_MS 250u
#define METRICS_AGAIN_MS 60000u /* between tries to listen */
#define METRICS_PATH "/metrics"

struct metrics_server;

/* Append the text of the moment; out->failed: there is none now. */
typedef void metrics_make_text(void *arg, struct buffer *out);

/* Not listening yet. log: borrowed. 0 or -ENOMEM. */
int metrics_server_create(metrics_make_text *make_text, void *arg, struct log *log,
                          struct metrics_server **out);
/* Connections are cut. NULL is allowed. */
void metrics_server_destroy(struct metrics_server *s);

/* Listen at this address (loopback_parse()), or nowhere for NULL; connections to another
 * one are cut, and nothing happens if it is the same. Where that fails, the log says so,
 * once, and metrics_server_serve() tries it again until it succeeds. */
void metrics_server_listen(struct metrics_server *s, const char *address, uint64_t now_ms);

/* To poll for POLLIN, or -1. s may be NULL here and below. */
int metrics_server_fd(const struct metrics_server *s);
/* metrics_server_serve() is due after so long even if nothing happens; UINT64_MAX: never.
 */
uint64_t metrics_server_wait_ms(const struct metrics_server *s, uint64_t now_ms);
void metrics_server_serve(struct metrics_server *s, uint64_t now_ms);

#endif
