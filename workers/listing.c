#include "workers/listing.h"

#include "archive/error.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIRST_CAPACITY ((size_t)64)
/* Entries are hashed together: a call of the digest costs more than its few bytes. */
#define UNHASHED_MAX ((size_t)1024)
#define SIZE_DIGITS_MAX 20

const struct listing_limits listing_limits_default = {
    .entries_max = LISTING_ENTRIES_MAX,
    .bytes_max = LISTING_BYTES_MAX,
    .uidl_max = LISTING_UIDL_MAX,
    .stat_slack = LISTING_STAT_SLACK,
    .wanted_max = LISTING_WANTED_MAX,
};

/* Which numbers were seen. One bit each, so that repeats in any order cost nothing to find.
 */
struct number_set {
    uint64_t *words;
    size_t word_count;
};

/* 12 bytes instead of 16: a mailbox may hold two million. */
struct size_row {
    uint32_t number;
    uint32_t size_low;
    uint32_t size_high;
};

struct wanted_row {
    uint32_t number;
    uint32_t uidl_size;
    uint64_t size;
    size_t uidl_offset;
};

struct listing {
    struct listing_limits limits;
    listing_judge_fn *judge;
    void *arg;
    uint32_t blank_from;
    struct listing_summary summary;
    size_t bytes;
    bool finished;

    struct number_set listed;
    struct number_set named;

    /* Sorted by number from listing_list_end() on; cursor: where the next UIDL line's size
     * is, as both listings mostly come in the same order. */
    struct size_row *sizes;
    size_t size_count;
    size_t size_capacity;
    size_t cursor;
    bool ascending;

    struct wanted_row *wanted;
    size_t wanted_count;
    size_t wanted_capacity;

    char *uidls;
    size_t uidls_size;
    size_t uidls_capacity;

    EVP_MD_CTX *digest;
    bool digest_failed;
    char *unhashed; /* UNHASHED_MAX bytes; of these the first unhashed_size wait for it */
    size_t unhashed_size;
    bool disk_full; /* an entry said so (Q10) */
};

static const char *const trust_texts[] = {
    [LISTING_TRUSTED] = "the listing is complete and consistent",
    [LISTING_UNFINISHED] = "the listing was not read to its end",
    [LISTING_NO_STAT] = "STAT gave no count",
    [LISTING_NO_LIST] = "the server refused LIST",
    [LISTING_NO_UIDL] = "the server has no UIDL",
    [LISTING_BAD_NUMBER] = "an entry has an impossible message number",
    [LISTING_REPEATED] = "a message number is listed twice",
    [LISTING_ABOVE_STAT] = "a message number is above the count that STAT gave",
    [LISTING_TOO_MANY] = "more entries are listed than STAT or the limits allow",
    [LISTING_LONG_UIDL] = "a unique ID is longer than allowed",
    [LISTING_BLANK_UIDL] = "an entry has no unique ID",
    [LISTING_DISK_FULL] = "the server is out of disk space and lists an error as a message",
    [LISTING_OTHER_NUMBERS] = "LIST and UIDL name different messages",
    [LISTING_OTHER_COUNT] = "STAT counts other than LIST and UIDL",
};
_Static_assert(sizeof(trust_texts) / sizeof(trust_texts[0]) == LISTING_OTHER_COUNT + 1,
               "a text for every reason");

const char *listing_trust_text(enum listing_trust trust)
{
    return trust_texts[trust];
}

const struct listing_summary *listing_summary(const struct listing *l)
{
    return &l->summary;
}

int listing_create(const struct listing_limits *limits, uint32_t blank_from,
                   listing_judge_fn *judge, void *arg, struct listing **out_listing)
{
    struct listing *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->limits = *limits;
    l->judge = judge;
    l->arg = arg;
    l->blank_from = blank_from;
    l->ascending = true;
    l->summary.trust = LISTING_TRUSTED;
    l->unhashed = malloc(UNHASHED_MAX);
    if (l->unhashed == NULL) {
        listing_free(l);
        return -ENOMEM;
    }
    l->digest = EVP_MD_CTX_new();
    if (l->digest == NULL || EVP_DigestInit_ex(l->digest, EVP_sha256(), NULL) != 1) {
        listing_free(l);
        return ERR_CRYPTO;
    }
    *out_listing = l;
    return 0;
}

static void free_scratch(struct listing *l)
{
    free(l->listed.words);
    free(l->named.words);
    free(l->sizes);
    l->listed = l->named = (struct number_set){0};
    l->sizes = NULL;
    l->size_count = l->size_capacity = 0;
    EVP_MD_CTX_free(l->digest);
    l->digest = NULL;
    free(l->unhashed);
    l->unhashed = NULL;
}

void listing_free(struct listing *l)
{
    if (l == NULL)
        return;
    free_scratch(l);
    free(l->wanted);
    free(l->uidls);
    free(l);
}

/* Makes room for needed items; the block at *items may move. */
static int grow(void **items, size_t *capacity, size_t needed, size_t item_size)
{
    if (needed <= *capacity)
        return 0;
    size_t bigger = *capacity > 0 ? *capacity : FIRST_CAPACITY;
    while (bigger < needed)
        bigger *= 2;
    void *moved = realloc(*items, bigger * item_size);
    if (moved == NULL)
        return -ENOMEM;
    *items = moved;
    *capacity = bigger;
    return 0;
}

/* 1: added; 0: was there; -ENOMEM. */
static int number_set_add(struct number_set *s, uint32_t number)
{
    size_t word = number / 64;
    uint64_t bit = (uint64_t)1 << (number % 64);
    if (word >= s->word_count) {
        size_t count = s->word_count * 2 > word + 1 ? s->word_count * 2 : word + 1;
        uint64_t *words = calloc(count, sizeof(*words));
        if (words == NULL)
            return -ENOMEM;
        if (s->word_count > 0)
            memcpy(words, s->words, s->word_count * sizeof(*words));
        free(s->words);
        s->words = words;
        s->word_count = count;
    }
    if ((s->words[word] & bit) != 0)
        return 0;
    s->words[word] |= bit;
    return 1;
}

static void distrust(struct listing *l, enum listing_trust reason)
{
    if (l->summary.trust == LISTING_TRUSTED)
        l->summary.trust = reason;
}

static void refuse(struct listing *l, enum listing_trust reason)
{
    l->summary.refused++;
    distrust(l, reason);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    return at;
}

/* A decimal number that ends at a blank or the end. *at moves only on success. */
static bool take_number(const char **at, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = *at;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - 1 - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (p == *at || (p < end && !is_blank(*p)))
        return false;
    *at = p;
    *out = value;
    return true;
}

void listing_stat(struct listing *l, const char *text, size_t size)
{
    const char *at = text;
    const char *end = text + size;
    if (!take_number(&at, end, &l->summary.stat_count))
        return;
    l->summary.stat_known = true;
    at = skip_blanks(at, end);
    if (!take_number(&at, end, &l->summary.stat_bytes))
        l->summary.stat_bytes = 0;
}

/* What LIST and UIDL lines have in common. Returns 1 with the number and the position
 * behind it, 0 for a line that is refused, or the error of listing_list_line(). */
static int begin_line(struct listing *l, struct number_set *seen, uint64_t count,
                      const char **at, const char *end, uint32_t *out_number)
{
    size_t size = (size_t)(end - *at) + 2;
    if (size > l->limits.bytes_max - l->bytes)
        return ERR_TOO_LARGE;
    l->bytes += size;

    *at = skip_blanks(*at, end);
    /* Some servers put "+OK" before every line (Q4). */
    if (end - *at > 3 && **at == '+' && strncasecmp(*at, "+OK", 3) == 0 &&
        is_blank((*at)[3]))
        *at = skip_blanks(*at + 3, end);
    uint64_t number;
    if (!take_number(at, end, &number) || number == 0 || number > LISTING_NUMBER_MAX) {
        refuse(l, LISTING_BAD_NUMBER);
        return 0;
    }
    const struct listing_summary *s = &l->summary;
    if (count >= l->limits.entries_max || (s->stat_known && count >= l->limits.stat_slack &&
                                           count - l->limits.stat_slack >= s->stat_count)) {
        refuse(l, LISTING_TOO_MANY);
        return 0;
    }
    int added = number_set_add(seen, (uint32_t)number);
    if (added == 0)
        refuse(l, LISTING_REPEATED);
    if (added == 1 && s->stat_known && number > s->stat_count)
        distrust(l, LISTING_ABOVE_STAT);
    *at = skip_blanks(*at, end);
    *out_number = (uint32_t)number;
    return added;
}

static int add_size(struct listing *l, uint32_t number, uint64_t size)
{
    void *rows = l->sizes;
    int rc = grow(&rows, &l->size_capacity, l->size_count + 1, sizeof(*l->sizes));
    if (rc != 0)
        return rc;
    l->sizes = rows;
    if (l->size_count > 0 && l->sizes[l->size_count - 1].number > number)
        l->ascending = false;
    l->sizes[l->size_count++] = (struct size_row){
        .number = number,
        .size_low = (uint32_t)size,
        .size_high = (uint32_t)(size >> 32),
    };
    return 0;
}

int listing_list_line(struct listing *l, const char *line, size_t size)
{
    assert(!l->summary.list_complete && !l->finished);
    const char *at = line;
    const char *end = line + size;
    uint32_t number;
    int rc = begin_line(l, &l->listed, l->summary.list_count, &at, end, &number);
    if (rc <= 0)
        return rc;
    uint64_t bytes;
    if (!take_number(&at, end, &bytes))
        bytes = LISTING_SIZE_UNKNOWN;
    rc = add_size(l, number, bytes);
    if (rc == 0)
        l->summary.list_count++;
    return rc;
}

static int compare_rows(const void *a, const void *b)
{
    const struct size_row *x = a;
    const struct size_row *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

void listing_list_end(struct listing *l)
{
    l->summary.list_complete = true;
    if (!l->ascending)
        qsort(l->sizes, l->size_count, sizeof(*l->sizes), compare_rows);
}

static uint64_t row_size(const struct size_row *row)
{
    return (uint64_t)row->size_high << 32 | row->size_low;
}

/* LISTING_SIZE_UNKNOWN also where LIST did not name the number: *out_listed tells. */
static uint64_t find_size(struct listing *l, uint32_t number, bool *out_listed)
{
    const struct size_row *row = NULL;
    if (l->cursor < l->size_count && l->sizes[l->cursor].number == number) {
        row = &l->sizes[l->cursor];
    } else if (l->size_count > 0) {
        struct size_row key = {.number = number};
        row = bsearch(&key, l->sizes, l->size_count, sizeof(key), compare_rows);
    }
    *out_listed = row != NULL;
    if (row == NULL)
        return LISTING_SIZE_UNKNOWN;
    l->cursor = (size_t)(row - l->sizes) + 1;
    return row_size(row);
}

static void hash(struct listing *l, const char *data, size_t size)
{
    if (size > 0 && EVP_DigestUpdate(l->digest, data, size) != 1)
        l->digest_failed = true;
}

static void hash_waiting(struct listing *l)
{
    hash(l, l->unhashed, l->unhashed_size);
    l->unhashed_size = 0;
}

static void feed(struct listing *l, const char *data, size_t size)
{
    if (size > UNHASHED_MAX - l->unhashed_size)
        hash_waiting(l);
    if (size > UNHASHED_MAX) {
        hash(l, data, size);
        return;
    }
    memcpy(l->unhashed + l->unhashed_size, data, size);
    l->unhashed_size += size;
}

static void feed_digest(struct listing *l, const char *uidl, size_t uidl_size,
                        uint64_t size)
{
    char tail[1 + SIZE_DIGITS_MAX + 1];
    size_t at = sizeof(tail);
    tail[--at] = '\n';
    if (size == LISTING_SIZE_UNKNOWN) {
        tail[--at] = '-';
    } else {
        do
            tail[--at] = (char)('0' + size % 10);
        while ((size /= 10) > 0);
    }
    tail[--at] = '\0';
    feed(l, uidl, uidl_size);
    feed(l, tail + at, sizeof(tail) - at);
}

static int add_wanted(struct listing *l, uint32_t number, uint64_t size, const char *uidl,
                      size_t uidl_size)
{
    if (l->wanted_count < l->limits.wanted_max) {
        void *rows = l->wanted;
        int rc = grow(&rows, &l->wanted_capacity, l->wanted_count + 1, sizeof(*l->wanted));
        if (rc != 0)
            return rc;
        l->wanted = rows;
        void *bytes = l->uidls;
        rc = grow(&bytes, &l->uidls_capacity, l->uidls_size + uidl_size, 1);
        if (rc != 0)
            return rc;
        l->uidls = bytes;
        if (uidl_size > 0)
            memcpy(l->uidls + l->uidls_size, uidl, uidl_size);
        l->wanted[l->wanted_count++] = (struct wanted_row){
            .number = number,
            .uidl_size = (uint32_t)uidl_size,
            .size = size,
            .uidl_offset = l->uidls_size,
        };
        l->uidls_size += uidl_size;
    }
    l->summary.wanted++;
    return 0;
}

static int add_blank(struct listing *l, uint32_t number, uint64_t size)
{
    l->summary.blank++;
    feed_digest(l, "", 0, size);
    if (number < l->blank_from) {
        l->summary.postponed++;
        return 0;
    }
    return add_wanted(l, number, size, "", 0);
}

/* Courier's error entry (Q10). */
static bool is_disk_full(const char *uidl, size_t size)
{
    return size >= 7 && memcmp(uidl, "ENOMEM-", 7) == 0;
}

static int judge_line(struct listing *l, uint32_t number, const char *uidl,
                      size_t uidl_size)
{
    if (is_disk_full(uidl, uidl_size)) {
        refuse(l, LISTING_DISK_FULL);
        l->disk_full = true;
        return 0;
    }
    bool listed;
    uint64_t size = find_size(l, number, &listed);
    if (!listed && l->summary.list_complete)
        distrust(l, LISTING_OTHER_NUMBERS);
    l->summary.uidl_count++;
    if (uidl_size == 0 || uidl_size > l->limits.uidl_max) {
        distrust(l, uidl_size == 0 ? LISTING_BLANK_UIDL : LISTING_LONG_UIDL);
        return add_blank(l, number, size);
    }
    feed_digest(l, uidl, uidl_size, size);
    if (l->judge(l->arg, number, size, uidl, uidl_size) == LISTING_WANT)
        return add_wanted(l, number, size, uidl, uidl_size);
    l->summary.skipped++;
    return 0;
}

int listing_uidl_line(struct listing *l, const char *line, size_t size)
{
    assert(!l->summary.uidl_complete && !l->finished);
    const char *at = line;
    const char *end = line + size;
    uint32_t number;
    int rc = begin_line(l, &l->named, l->summary.uidl_count, &at, end, &number);
    if (rc <= 0)
        return rc;
    while (end > at && is_blank(end[-1]))
        end--;
    return judge_line(l, number, at, (size_t)(end - at));
}

void listing_uidl_end(struct listing *l)
{
    l->summary.uidl_complete = true;
}

int listing_no_uidl(struct listing *l)
{
    l->summary.no_uidl = true;
    distrust(l, LISTING_NO_UIDL);
    for (size_t i = 0; i < l->size_count; i++) {
        int rc = add_blank(l, l->sizes[i].number, row_size(&l->sizes[i]));
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Nothing repeats, and every number of UIDL was looked up in LIST: equal counts, equal
 * sets. */
static void settle_trust(struct listing *l)
{
    const struct listing_summary *s = &l->summary;
    if (!s->stat_known)
        distrust(l, LISTING_NO_STAT);
    if (!s->list_complete)
        distrust(l, LISTING_NO_LIST);
    if (!s->uidl_complete)
        distrust(l, s->no_uidl ? LISTING_NO_UIDL : LISTING_UNFINISHED);
    if (s->list_count != s->uidl_count)
        distrust(l, LISTING_OTHER_NUMBERS);
    if (s->list_count != s->stat_count)
        distrust(l, LISTING_OTHER_COUNT);
}

static bool number_set_has(const struct number_set *s, uint32_t number)
{
    size_t word = number / 64;
    return word < s->word_count && (s->words[word] >> (number % 64) & 1) != 0;
}

/* What UIDL left out is there all the same (Q3), unless it could not be listed (Q10). */
static int add_unnamed(struct listing *l)
{
    if (!l->summary.uidl_complete || l->disk_full)
        return 0;
    for (size_t i = 0; i < l->size_count; i++) {
        const struct size_row *row = &l->sizes[i];
        if (number_set_has(&l->named, row->number))
            continue;
        distrust(l, LISTING_OTHER_NUMBERS);
        int rc = add_blank(l, row->number, row_size(row));
        if (rc != 0)
            return rc;
    }
    return 0;
}

int listing_finish(struct listing *l)
{
    assert(!l->finished);
    l->finished = true;
    int rc = add_unnamed(l);
    if (rc != 0)
        return rc;
    settle_trust(l);
    hash_waiting(l);
    bool done =
        !l->digest_failed && EVP_DigestFinal_ex(l->digest, l->summary.digest, NULL) == 1;
    free_scratch(l);
    return done ? 0 : ERR_CRYPTO;
}

size_t listing_memory(const struct listing *l)
{
    return (l->listed.word_count + l->named.word_count) * sizeof(*l->listed.words) +
           l->size_capacity * sizeof(*l->sizes) + l->wanted_capacity * sizeof(*l->wanted) +
           l->uidls_capacity;
}

size_t listing_wanted_count(const struct listing *l)
{
    return l->wanted_count;
}

struct listing_entry listing_wanted(const struct listing *l, size_t index)
{
    assert(index < l->wanted_count);
    const struct wanted_row *row = &l->wanted[index];
    return (struct listing_entry){
        .number = row->number,
        .size = row->size,
        .uidl = row->uidl_size > 0 ? l->uidls + row->uidl_offset : "",
        .uidl_size = row->uidl_size,
    };
}
