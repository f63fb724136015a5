#include "tools/period.h"

#include "tools/exits.h"
#include "tools/say.h"

#include <inttypes.h>

static int read_day(const struct options *o, enum option option, day_number *out)
{
    const char *text = o->values[option];
    if (text == NULL || day_parse(text, out) == 0)
        return EXIT_DONE;
    say("--%s %s: a day is written YYYY-MM-DD, as 2026-01-31", option_specs[option].name,
        text);
    return EXIT_USAGE;
}

int period_of_options(const struct options *o, struct period *out)
{
    *out = PERIOD_ALL;
    if (read_day(o, OPTION_SINCE, &out->since) != EXIT_DONE ||
        read_day(o, OPTION_UNTIL, &out->until) != EXIT_DONE)
        return EXIT_USAGE;
    if (out->since <= out->until)
        return EXIT_DONE;
    say("--since %s is later than --until %s", o->values[OPTION_SINCE],
        o->values[OPTION_UNTIL]);
    return EXIT_USAGE;
}

bool message_time(struct message_times *t, const struct message_meta *m, int64_t *out_s)
{
    if (display_date(t->display, m->fields[FIELD_DATE], out_s))
        return true;
    t->undated++;
    *out_s = seconds_of(m->fetched_us);
    return false;
}

void say_undated(const struct message_times *t)
{
    if (t->undated > 0)
        say("%" PRIu64
            " message%s without a readable Date header: taken by the time of fetching",
            t->undated, t->undated == 1 ? "" : "s");
}
