#include "daemon/day_bytes.h"

#define KIB ((uint64_t)1024)

static uint32_t quarter_at(int64_t now_s)
{
    return now_s > 0 ? (uint32_t)(now_s / DAY_BYTES_QUARTER_S) : 0;
}

/* How many quarters have begun since the newest that is counted; all, if it is nonsense. */
static uint32_t begun(const struct day_bytes *d, int64_t now_s)
{
    uint32_t now = quarter_at(now_s);
    if (d->quarter > now)
        return d->quarter - now < DAY_BYTES_QUARTERS ? 0 : DAY_BYTES_QUARTERS;
    return now - d->quarter;
}

/* The newest quarter that counts. */
static uint32_t newest(const struct day_bytes *d, int64_t now_s)
{
    return begun(d, now_s) == 0 ? d->quarter : quarter_at(now_s);
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

void day_bytes_spend(struct day_bytes *d, int64_t now_s, uint64_t bytes)
{
    uint32_t shift = begun(d, now_s);
    uint64_t kib = bytes / KIB + (bytes % KIB != 0);
    for (uint32_t i = DAY_BYTES_QUARTERS; shift > 0 && i-- > 0;)
        d->kib[i] = i >= shift ? d->kib[i - shift] : 0;
    d->quarter = newest(d, now_s);
    d->kib[0] = sum(d->kib[0], kib < UINT32_MAX ? (uint32_t)kib : UINT32_MAX);
}

uint64_t day_bytes_left(const struct day_bytes *d, int64_t now_s, uint64_t limit)
{
    uint64_t spent = 0;
    for (uint32_t i = 0; i + begun(d, now_s) < DAY_BYTES_QUARTERS; i++)
        spent += d->kib[i] * KIB;
    return spent < limit ? limit - spent : 0;
}

uint32_t day_bytes_wait_s(const struct day_bytes *d, int64_t now_s)
{
    uint32_t shift = begun(d, now_s), oldest = 0;
    for (uint32_t i = 0; i + shift < DAY_BYTES_QUARTERS; i++)
        if (d->kib[i] != 0)
            oldest = i + shift;
    int64_t quarters = (int64_t)newest(d, now_s) + DAY_BYTES_QUARTERS - oldest;
    int64_t wait_s = quarters * DAY_BYTES_QUARTER_S - now_s;
    return wait_s > 0 && wait_s <= UINT32_MAX ? (uint32_t)wait_s : 1;
}
