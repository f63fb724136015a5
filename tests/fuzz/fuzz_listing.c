/* workers/listing.h: lines of STAT, LIST and UIDL of any contents. Input: options, then for
 * each line what it is, its size, and its bytes. A line of the wrong listing is left out:
 * all of LIST comes before all of UIDL. */
#include "archive/error.h"
#include "tests/fuzz/fuzz.h"
#include "workers/listing.h"

enum kind { KIND_STAT, KIND_LIST, KIND_UIDL, KIND_COUNT };
enum options { SMALL_LIMITS = 1, BLANK_FROM = 2, NO_UIDL = 4, CUT_OFF = 8 };

struct counts {
    uint64_t judged;
    uint64_t skipped;
};

static enum listing_verdict judge(void *arg, uint32_t number, uint64_t size,
                                  const char *uidl, size_t uidl_size)
{
    struct counts *counts = arg;
    (void)size;
    FUZZ_CHECK(number >= 1 && number <= LISTING_NUMBER_MAX);
    FUZZ_CHECK(uidl_size > 0 && uidl_size <= LISTING_UIDL_MAX);
    counts->judged++;
    counts->skipped += uidl[0] == 's';
    return uidl[0] == 's' ? LISTING_SKIP : LISTING_WANT;
}

static int take_line(struct listing *l, enum kind kind, const char *line, size_t size)
{
    if (kind == KIND_STAT)
        listing_stat(l, line, size);
    else if (kind == KIND_LIST)
        return listing_list_line(l, line, size);
    else
        return listing_uidl_line(l, line, size);
    return 0;
}

/* False once a limit ends the session. */
static bool take_lines(struct listing *l, enum kind kind, struct cursor input)
{
    while (cursor_left(&input) > 1) {
        enum kind is = (enum kind)(take_u8(&input) % KIND_COUNT);
        size_t size = take_u8(&input);
        size = size < cursor_left(&input) ? size : cursor_left(&input);
        char *line = fuzz_copy(take_bytes(&input, size), size);
        int err = is == kind ? take_line(l, kind, line, size) : 0;
        free(line);
        FUZZ_CHECK(err == 0 || err == ERR_TOO_LARGE);
        if (err != 0)
            return false;
    }
    return true;
}

static bool take_listing(struct listing *l, uint8_t options, struct cursor input)
{
    if (!take_lines(l, KIND_STAT, input) || !take_lines(l, KIND_LIST, input))
        return false;
    listing_list_end(l);
    if ((options & NO_UIDL) != 0)
        return listing_no_uidl(l) == 0;
    if (!take_lines(l, KIND_UIDL, input))
        return false;
    if ((options & CUT_OFF) == 0)
        listing_uidl_end(l);
    return true;
}

static void check_wanted(const struct listing *l, uint64_t blank_from)
{
    const struct listing_summary *s = listing_summary(l);
    size_t count = listing_wanted_count(l);
    FUZZ_CHECK(count <= s->wanted);
    for (size_t i = 0; i < count; i++) {
        struct listing_entry e = listing_wanted(l, i);
        FUZZ_CHECK(e.number >= 1 && e.number <= LISTING_NUMBER_MAX);
        FUZZ_CHECK(e.uidl_size > 0 || e.number >= blank_from);
        for (size_t j = 0; j < i; j++)
            FUZZ_CHECK(listing_wanted(l, j).number != e.number);
    }
}

static void check_summary(const struct listing_summary *s, const struct counts *counts)
{
    uint64_t entries = s->no_uidl ? s->list_count : s->uidl_count;
    FUZZ_CHECK(s->skipped == counts->skipped);
    uint64_t judged = s->skipped + s->wanted + s->postponed;
    uint64_t unnamed_max = s->uidl_complete && !s->no_uidl ? s->list_count : 0;
    FUZZ_CHECK(judged >= entries && judged - entries <= unnamed_max); /* Q3 */
    if (s->trust != LISTING_TRUSTED)
        return;
    FUZZ_CHECK(s->stat_known && s->list_complete && s->uidl_complete && !s->no_uidl);
    FUZZ_CHECK(s->stat_count == s->list_count && s->list_count == s->uidl_count);
    FUZZ_CHECK(s->refused == 0 && s->blank == 0 && judged == entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = fuzz_input(data, size);
    uint8_t options = take_u8(&c);
    uint32_t blank_from = (options & BLANK_FROM) != 0 ? 3 : 0;
    struct listing_limits limits = listing_limits_default;
    struct counts counts = {0};
    struct listing *l = NULL;
    if ((options & SMALL_LIMITS) != 0)
        limits = (struct listing_limits){.entries_max = 4,
                                         .bytes_max = 64,
                                         .uidl_max = 5,
                                         .stat_slack = 1,
                                         .wanted_max = 2};
    FUZZ_CHECK(listing_create(&limits, blank_from, judge, &counts, &l) == 0);
    if (take_listing(l, options, c) && listing_finish(l) == 0) {
        check_wanted(l, blank_from);
        check_summary(listing_summary(l), &counts);
    }
    listing_free(l);
    return 0;
}
