#include "tools/dates.h"

#include "archive/error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int digits(const char *text, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

int day_parse(const char *text, day_number *out)
{
    if (strlen(text) != strlen("YYYY-MM-DD") || text[4] != '-' || text[7] != '-')
        return ERR_SYNTAX;
    int year = digits(text, 4);
    int month = digits(text + 5, 2);
    int day = digits(text + 8, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return ERR_SYNTAX;
    *out = year * 10000 + month * 100 + day;
    return 0;
}

day_number day_local(int64_t time_s)
{
    time_t t = (time_t)time_s;
    struct tm tm;
    /* Fails only for years beyond an int: later than any day that can be written. */
    if (localtime_r(&t, &tm) == NULL || tm.tm_year > 200000)
        return time_s < 0 ? INT32_MIN : INT32_MAX;
    if (tm.tm_year < -200000)
        return INT32_MIN;
    return (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

bool period_holds(const struct period *p, int64_t time_s)
{
    day_number day = day_local(time_s);
    return day >= p->since && day <= p->until;
}

int64_t seconds_of(int64_t time_us)
{
    return time_us / 1000000 - (time_us % 1000000 < 0 ? 1 : 0);
}

void time_text_local(int64_t time_s, char out[TIME_TEXT_MAX])
{
    time_t t = (time_t)time_s;
    struct tm tm;
    if (localtime_r(&t, &tm) == NULL || strftime(out, TIME_TEXT_MAX, "%F %T", &tm) == 0)
        (void)snprintf(out, TIME_TEXT_MAX, "-");
}

static bool utc(int64_t time_s, int first_year, struct tm *out)
{
    time_t t = (time_t)time_s;
    return gmtime_r(&t, out) != NULL && out->tm_year >= first_year - 1900 &&
           out->tm_year <= 9999 - 1900;
}

bool time_text_utc(int64_t time_s, char out[TIME_TEXT_MAX])
{
    struct tm tm;
    if (!utc(time_s, 0, &tm))
        return false;
    (void)snprintf(out, TIME_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return true;
}

bool time_text_mbox(int64_t time_s, char out[TIME_TEXT_MAX])
{
    /* Not strftime: its names follow the locale, the From_ line's do not. */
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    if (!utc(time_s, 1, &tm))
        return false;
    (void)snprintf(out, TIME_TEXT_MAX, "%s %s %2d %02d:%02d:%02d %d", days[tm.tm_wday],
                   months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   tm.tm_year + 1900);
    return true;
}
