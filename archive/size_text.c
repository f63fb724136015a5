#include "archive/size_text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

void size_text(uint64_t size_bytes, char out[SIZE_TEXT_MAX])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (size_bytes < 1000) {
        (void)snprintf(out, SIZE_TEXT_MAX, "%u B", (unsigned)size_bytes);
        return;
    }
    size_t unit = 0;
    uint64_t one = 1000; /* bytes */
    /* What would be rounded to 1000 of a unit is 1.0 of the next. */
    while (unit + 1 < sizeof(units) / sizeof(units[0]) &&
           size_bytes >= one * 1000 - one / 2) {
        one *= 1000;
        unit++;
    }
    uint64_t tenths = size_bytes / (one / 10) + (size_bytes % (one / 10) >= one / 20);
    if (tenths < 1000)
        (void)snprintf(out, SIZE_TEXT_MAX, "%u.%u %s", (unsigned)(tenths / 10),
                       (unsigned)(tenths % 10), units[unit]);
    else
        (void)snprintf(out, SIZE_TEXT_MAX, "%u %s",
                       (unsigned)(size_bytes / one + (size_bytes % one >= one / 2)),
                       units[unit]);
}

void duration_text(uint64_t seconds, char out[DURATION_TEXT_MAX])
{
    if (seconds >= 3600)
        (void)snprintf(out, DURATION_TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min",
                       seconds / 3600, seconds / 60 % 60);
    else if (seconds >= 60)
        (void)snprintf(out, DURATION_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s",
                       seconds / 60, seconds % 60);
    else
        (void)snprintf(out, DURATION_TEXT_MAX, "%" PRIu64 " s", seconds);
}
