#include "tools/rates.h"

#include <string.h>

static bool is_behind(const struct rates_look *a, const struct rates_look *b)
{
    for (size_t i = 0; i < RATE_COUNT; i++)
        if (a->values[i] < b->values[i])
            return true;
    return a->at_ms <= b->at_ms;
}

void rates_look(struct rates *r, const struct answer_object *service, int64_t at_ms)
{
#define RATE_FIELD(name, field) field,
    static const char *const fields[] = {RATE_LIST(RATE_FIELD)};
#undef RATE_FIELD
    uint64_t pid = answer_number(service, "pid");
    int64_t since_s = answer_time(service, "since");
    struct rates_look look = {.at_ms = at_ms};
    for (size_t i = 0; i < RATE_COUNT; i++)
        look.values[i] = answer_number(service, fields[i]);
    if (r->count > 0 && (pid != r->pid || since_s != r->since_s ||
                         is_behind(&look, &r->looks[r->count - 1])))
        r->count = 0;
    if (r->count == RATES_LOOKS_MAX) {
        memmove(r->looks, r->looks + 1, (RATES_LOOKS_MAX - 1) * sizeof(r->looks[0]));
        r->count--;
    }
    r->pid = pid;
    r->since_s = since_s;
    r->looks[r->count++] = look;
}

bool rates_get(const struct rates *r, enum rate which, bool minute, double *out)
{
    if (r->count < 2)
        return false;
    const struct rates_look *last = &r->looks[r->count - 1];
    const struct rates_look *first = minute ? &r->looks[0] : last - 1;
    *out = (double)(last->values[which] - first->values[which]) * 1000.0 /
           (double)(last->at_ms - first->at_ms);
    return true;
}
