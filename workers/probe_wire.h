/* One blocking TCP connection with deadlines, for a walk that has nothing else to do; the
 * service's sessions are on workers/loop.h. Deadlines are of probe_now_us(). */
#ifndef MAILCASK_WORKERS_PROBE_WIRE_H
#define MAILCASK_WORKERS_PROBE_WIRE_H

#include "workers/resolver.h"

#include <stddef.h>
#include <stdint.h>

#define PROBE_ADDRESS_SIZE 64

/* Microseconds of a clock that never goes back. */
uint64_t probe_now_us(void);

/* host: as for resolver_lookup(), which this waits for, however long; the system's resolver
 * has a limit of its own. */
void probe_resolve(const char *host, uint16_t port, struct resolver_answer *out);

/* "192.0.2.1:995", "[2001:db8::1]:995". */
void probe_address_text(const struct resolver_address *a, char out[PROBE_ADDRESS_SIZE]);

/* 0 with *out_fd, to be closed; else -ETIMEDOUT or -errno. */
int probe_connect(const struct resolver_address *a, uint64_t deadline_us, int *out_fd);

/* All of data. 0, -ETIMEDOUT or -errno. */
int probe_send(int fd, const void *data, size_t size, uint64_t deadline_us);

/* What there is, size > 0. 0 with *out_size, which is 0 at the end of the stream;
 * -ETIMEDOUT or -errno. */
int probe_receive(int fd, void *data, size_t size, uint64_t deadline_us, size_t *out_size);

#endif
