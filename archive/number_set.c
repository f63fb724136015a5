#include "archive/number_set.h"

#define RANGE_SIZE 12

struct range {
    uint64_t first;
    uint64_t count;
};

static struct range range_at(struct span set, size_t i)
{
    const uint8_t *at = set.data + i * RANGE_SIZE;
    return (struct range){.first = get_u64(at), .count = get_u32(at + 8)};
}

static void put_range(struct buffer *out, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t count = end - first < UINT32_MAX ? end - first : UINT32_MAX;
        buffer_put_u64(out, first);
        buffer_put_u32(out, (uint32_t)count);
        first += count;
    }
}

void number_set_encode(struct buffer *out, const struct buffer *bits)
{
    uint64_t first = 0, end = (uint64_t)bits->size * 8;
    for (uint64_t n = 1; n < end; n++) {
        bool has = buffer_bit(bits, n);
        if (has && first == 0)
            first = n;
        if (!has && first != 0) {
            put_range(out, first, n);
            first = 0;
        }
    }
    if (first != 0)
        put_range(out, first, end);
}

bool number_set_valid(struct span set)
{
    uint64_t next = 1;
    if (set.size % RANGE_SIZE != 0)
        return false;
    for (size_t i = 0; i < set.size / RANGE_SIZE; i++) {
        struct range r = range_at(set, i);
        if (r.first < next || r.count == 0 || r.first > UINT64_MAX - r.count)
            return false;
        next = r.first + r.count;
    }
    return true;
}

uint64_t number_set_count(struct span set)
{
    uint64_t count = 0;
    for (size_t i = 0; i < set.size / RANGE_SIZE; i++)
        count += range_at(set, i).count;
    return count;
}

/* The first range that ends above n. */
static size_t range_above(struct span set, uint64_t n)
{
    size_t low = 0, high = set.size / RANGE_SIZE;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct range r = range_at(set, middle);
        if (r.first + r.count - 1 < n)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool number_set_has(struct span set, uint64_t n)
{
    size_t i = range_above(set, n);
    return n != 0 && i < set.size / RANGE_SIZE && range_at(set, i).first <= n;
}

uint64_t number_set_next(struct span set, uint64_t n)
{
    if (n == UINT64_MAX)
        return 0;
    size_t i = range_above(set, n + 1);
    if (i == set.size / RANGE_SIZE)
        return 0;
    uint64_t first = range_at(set, i).first;
    return first > n ? first : n + 1;
}
