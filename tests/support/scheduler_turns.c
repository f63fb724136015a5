#include "tests/support/scheduler_turns.h"

#include <netinet/in.h>
#include <string.h>

#define FIRST_ADDRESS 0x0a000001u

bool turns_next(struct scheduler *s, uint64_t now_ms, uint32_t *out_account)
{
    uint32_t server = 0;
    while (!scheduler_next(s, now_ms, out_account)) {
        struct resolver_answer answer = {.text = "", .count = 1};
        struct sockaddr_in in = {.sin_family = AF_INET};
        if (!scheduler_lookup(s, &server))
            return false;
        in.sin_addr.s_addr = htonl(FIRST_ADDRESS + server);
        memcpy(&answer.addresses[0].address, &in, sizeof(in));
        answer.addresses[0].size = sizeof(in);
        scheduler_located(s, server, &answer, now_ms);
    }
    return true;
}
