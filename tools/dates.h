/* Days and times as people write them. A time is seconds since 1970 UTC. */
#ifndef MAILCASK_TOOLS_DATES_H
#define MAILCASK_TOOLS_DATES_H

#include <stdbool.h>
#include <stdint.h>

/* A calendar day as the number YYYYMMDD, so that days compare as numbers and no midnight,
 * which a change of the clock may skip, is ever computed. */
typedef int32_t day_number;

/* From one day to another in local time, both included. */
struct period {
    day_number since;
    day_number until;
};

#define PERIOD_ALL ((struct period){.since = INT32_MIN, .until = INT32_MAX})

/* "YYYY-MM-DD", a day that exists: 0 or ERR_SYNTAX. */
int day_parse(const char *text, day_number *out);
/* The day of a time where the process lives (TZ). */
day_number day_local(int64_t time_s);
bool period_holds(const struct period *p, int64_t time_s);

/* Whole seconds of microseconds, rounded down. */
int64_t seconds_of(int64_t time_us);

/* "2026-11-22 00:07:12", local time. */
#define TIME_TEXT_MAX 64
void time_text_local(int64_t time_s, char out[TIME_TEXT_MAX]);
/* "2026-11-22T00:07:12Z" (RFC 3339); false outside the years 0 to 9999. */
bool time_text_utc(int64_t time_s, char out[TIME_TEXT_MAX]);
/* "Sun Nov 22 00:07:12 2026" in UTC, as asctime() writes it, without its newline; false
 * outside the years 1 to 9999. */
bool time_text_mbox(int64_t time_s, char out[TIME_TEXT_MAX]);

#endif
