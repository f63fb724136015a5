/* An address of this machine alone, with a port, as the configuration writes it. */
#ifndef MAILCASK_DAEMON_LOOPBACK_H
#define MAILCASK_DAEMON_LOOPBACK_H

#include <sys/socket.h>

#define LOOPBACK_ALLOWED \
    "a loopback address and a port, such as 127.0.0.1:9995 or [::1]:9995"

struct loopback {
    struct sockaddr_storage address;
    socklen_t size;
};

/* 127.0.0.0/8 or ::1, never a name: what names lead to may change. 0 or ERR_SYNTAX. */
int loopback_parse(const char *text, struct loopback *out);

#endif
