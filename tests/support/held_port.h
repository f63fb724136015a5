/* A port of 127.0.0.1 that is a test's own, also between two servers on it: connections
 * are refused while nobody listens there, a server with SO_REUSEADDR may, and the kernel
 * gives it to nobody else. */
#ifndef MAILCASK_SUPPORT_HELD_PORT_H
#define MAILCASK_SUPPORT_HELD_PORT_H

#include <stdint.h>

struct held_port {
    int fd;
    uint16_t number;
};

struct held_port held_port_take(void);
void held_port_release(const struct held_port *port);

#endif
