#include "daemon/backoff.h"

#define DOUBLINGS_MAX 16 /* keeps the shift small */

/* splitmix64 (Steele, Lea, Flood 2014): spreads load, guards nothing. */
static uint64_t next_random(struct chance *chance)
{
    uint64_t z = chance->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t chance_up_to(struct chance *chance, uint64_t range)
{
    return next_random(chance) % (range + 1);
}

uint64_t backoff_jittered(struct chance *chance, uint64_t delay_ms)
{
    uint64_t part = delay_ms / BACKOFF_JITTER;
    return delay_ms - part + chance_up_to(chance, 2 * part);
}

uint64_t backoff_ms(struct chance *chance, uint32_t failures, uint64_t max_ms)
{
    uint32_t doublings = failures > 0 ? failures - 1 : 0;
    if (doublings > DOUBLINGS_MAX)
        doublings = DOUBLINGS_MAX;
    uint64_t delay_ms = BACKOFF_FIRST_MS << doublings;
    return backoff_jittered(chance, delay_ms < max_ms ? delay_ms : max_ms);
}
