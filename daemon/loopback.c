#include "daemon/loopback.h"

#include "archive/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PORT_MAX 65535u

/* 0: it is none. */
static uint16_t parse_port(const char *text)
{
    unsigned port = 0;
    if (*text < '1' || *text > '9')
        return 0;
    for (; *text >= '0' && *text <= '9' && port <= PORT_MAX; text++)
        port = port * 10 + (unsigned)(*text - '0');
    return *text == '\0' && port <= PORT_MAX ? (uint16_t)port : 0;
}

static int parse_inet(const char *host, uint16_t port, struct loopback *out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        ntohl(address.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        return ERR_SYNTAX;
    memcpy(&out->address, &address, sizeof(address));
    out->size = sizeof(address);
    return 0;
}

static int parse_inet6(const char *host, uint16_t port, struct loopback *out)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET6, host, &address.sin6_addr) != 1 ||
        !IN6_IS_ADDR_LOOPBACK(&address.sin6_addr))
        return ERR_SYNTAX;
    memcpy(&out->address, &address, sizeof(address));
    out->size = sizeof(address);
    return 0;
}

int loopback_parse(const char *text, struct loopback *out)
{
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    uint16_t port = colon != NULL ? parse_port(colon + 1) : 0;
    bool bracketed = text[0] == '[';
    if (port == 0 || (bracketed && colon[-1] != ']'))
        return ERR_SYNTAX;
    const char *from = text + bracketed;
    size_t size = (size_t)(colon - from) - bracketed;
    if (size >= sizeof(host))
        return ERR_SYNTAX;
    memcpy(host, from, size);
    host[size] = '\0';
    *out = (struct loopback){.size = 0};
    return bracketed ? parse_inet6(host, port, out) : parse_inet(host, port, out);
}
