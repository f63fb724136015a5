#include "tools/overdue.h"

#include "daemon/config.h"
#include "tools/dates.h"
#include "tools/say.h"

#include <inttypes.h>

#define MAX_AGE_MIN_MS ((uint64_t)1000)
#define MAX_AGE_MAX_MS ((uint64_t)3650 * 24 * 3600 * 1000)

bool overdue_parse(struct overdue *v, const struct options *o, int64_t now_s)
{
    uint64_t age_ms = 0;
    *v = (struct overdue){.max_age = o->values[OPTION_MAX_AGE]};
    if (v->max_age == NULL)
        return true;
    if (config_duration_parse(v->max_age, MAX_AGE_MIN_MS, MAX_AGE_MAX_MS, &age_ms) != 0) {
        say("--max-age %s: allowed is a duration from 1s to 3650d, such as 30s, 15m, 24h, "
            "2d",
            v->max_age);
        return false;
    }
    v->before_s = now_s - (int64_t)(age_ms / 1000);
    return true;
}

void overdue_look(struct overdue *v, struct span answer)
{
    struct answer_object o;
    while (answer_next(&answer, &o))
        if (answer_is(&o, "service"))
            v->began_s = answer_time(&o, "since");
}

bool overdue_is(const struct overdue *v, const struct answer_object *account)
{
    int64_t last_s = answer_time(account, "last_complete");
    return v->max_age != NULL && (last_s != 0 ? last_s : v->began_s) < v->before_s;
}

static void say_one(const struct overdue *v, const struct answer_object *account)
{
    char last[TIME_TEXT_MAX] = "never";
    struct span name = answer_text(account, "account");
    if (answer_time(account, "last_complete") != 0)
        time_text_local(answer_time(account, "last_complete"), last);
    say("%.*s: no complete poll for over %s, the last one: %s", (int)name.size,
        (const char *)name.data, v->max_age, last);
}

uint64_t overdue_say(const struct overdue *v, struct span answer)
{
    struct answer_object o;
    uint64_t count = 0;
    while (answer_next(&answer, &o))
        if (answer_is(&o, "account") && overdue_is(v, &o) && count++ < OVERDUE_LINES_MAX)
            say_one(v, &o);
    if (count > OVERDUE_LINES_MAX)
        say("and %" PRIu64 " more without a complete poll for over %s",
            count - OVERDUE_LINES_MAX, v->max_age);
    return count;
}
