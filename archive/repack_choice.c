#include "archive/repack_choice.h"

/* What the chosen ones are, by which they are worth it. */
struct sums {
    size_t count;
    size_t small;
    size_t packed;
    uint64_t bytes;
    uint64_t unpacked_bytes;
};

static bool gains(const struct repack_candidate *c)
{
    return !c->packed || c->size < REPACK_SMALL_SIZE;
}

static void choose(struct repack_candidate *c, struct sums *sums)
{
    c->chosen = true;
    sums->count++;
    sums->bytes += c->size;
    sums->small += c->size < REPACK_SMALL_SIZE;
    if (c->packed)
        sums->packed++;
    else
        sums->unpacked_bytes += c->size;
}

/* Of what was packed already one by itself gains nothing. */
static bool is_worth_it(const struct sums *sums, bool in_passing)
{
    if (sums->count == sums->packed && sums->count < 2)
        return false;
    return !in_passing || sums->small >= REPACK_SMALL_MIN ||
           sums->unpacked_bytes >= REPACK_UNPACKED_MIN;
}

size_t repack_choose(struct repack_candidate *candidates, size_t count, bool in_passing)
{
    struct sums sums = {0};
    for (size_t i = 0; i < count; i++) {
        struct repack_candidate *c = &candidates[i];
        c->chosen = false;
        if (gains(c) && (!in_passing || sums.bytes + c->size <= REPACK_PASSING_MAX))
            choose(c, &sums);
    }
    if (is_worth_it(&sums, in_passing))
        return sums.count;
    for (size_t i = 0; i < count; i++)
        candidates[i].chosen = false;
    return 0;
}
