/* What a benchmark sees of the light server while it runs, and how it holds sessions back:
 * a file that both have mapped. Each is a uint64_t in this order, little-endian as the
 * machine is. `gate` belongs to the benchmark, the others to the server.
 *
 * With --gated the gate starts at 0, otherwise it is 2. STAT, and what follows it, is
 * answered when the gate is at least 1, to users that are held at least 2: so all sessions
 * can be open before any of them gets on, and some of them go first. */
#ifndef MAILCASK_BENCH_LIGHT_COUNTERS_H
#define MAILCASK_BENCH_LIGHT_COUNTERS_H

#include <stdint.h>

struct counters {
    uint64_t gate;
    uint64_t open; /* connections now */
    uint64_t open_peak;
    uint64_t logins;    /* since the start, as all that follow */
    uint64_t resumed;   /* handshakes that resumed a session */
    uint64_t quits;     /* sessions that ended with QUIT */
    uint64_t retrieved; /* messages handed over */
    uint64_t sent;      /* bytes within TLS */
};

#define GATE_SHUT 0
#define GATE_HELD 2

#endif
