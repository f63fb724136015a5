#include "archive/maildrop.h"

#include "archive/damage.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/number_set.h"
#include "archive/reader.h"
#include "archive/uidl_rows.h"

#include <errno.h>
#include <stdlib.h>

/* Sets of N, a bit each but for the last two, which are as stored (number_set.h). */
enum {
    SET_CLAIMED,
    SET_DOUBTED, /* of the claimed ones */
    SET_PROBED,  /* to be compared all the same: see maildrop_probe() */
    SET_SPOKEN,  /* a line has named a UIDL of theirs */
    SET_AMBIGUOUS,
    SET_RETURNED, /* deleted by us, and there again */
    SET_UNDONE,   /* the same, where it was not known if it was deleted */
    SET_FRESH,    /* archived or found by its bytes in this session */
    SET_LAST,     /* named by the last listing */
    SET_NAMED,    /* of maildrop_conclude() */
    SET_COUNT,
};

struct maildrop {
    struct lookup *lookup;
    uint32_t account, source;
    uint64_t highest;
    int64_t newest_us;
    uint64_t opened_lsn;     /* what is newer is this session's own */
    struct maildrop_row row; /* named: of SET_LAST */
    struct damaged_message *damaged;
    size_t damaged_count;
    bool any_lost, any_deletions;

    struct buffer sets[SET_COUNT];

    uint64_t lines, known_lines;
    struct maildrop_line last; /* judged last */
    bool trusted;
    bool suspect;
    uint8_t flags; /* SESSION_* */
};

/* The index as it is now; NULL when it fails. */
static struct index_txn *awake(struct maildrop *m)
{
    struct index_txn *t = NULL;
    return lookup_txn(m->lookup, &t) == 0 ? t : NULL;
}

static int load(struct maildrop *m, struct archive *a)
{
    struct account_row account = {0};
    struct index_txn *t = NULL;
    uint64_t first = 0, last = 0;
    int err = lookup_txn(m->lookup, &t);
    if (err == 0)
        err = row_get_account(t, m->account, &account);
    if (err == ERR_NOT_FOUND) /* its ACCOUNT record is still on its way */
        err = 0;
    m->highest = account.highest;
    m->newest_us =
        account.last_us > account.session_us ? account.last_us : account.session_us;
    if (err == 0)
        err = row_get_number(t, INFO_LAST_LSN, &m->opened_lsn);
    if (err == 0) {
        m->any_lost = row_next_lost(t, m->account, &first, &last) == 0;
        m->any_deletions = row_any_deletion(t, m->account, m->source);
        err = row_get_maildrop(t, m->account, m->source, &m->row);
    }
    if (err == ERR_NOT_FOUND)
        err = 0;
    buffer_put(&m->sets[SET_LAST], m->row.named.data, m->row.named.size);
    m->row.named = span_of(m->sets[SET_LAST].data, m->sets[SET_LAST].size);
    if (err == 0)
        err = m->sets[SET_LAST].failed ? -ENOMEM : 0;
    return err != 0 ? err : damage_load(a, m->account, &m->damaged, &m->damaged_count);
}

int maildrop_open(struct archive *a, struct lookup *lookup, uint32_t account,
                  uint32_t source, struct maildrop **out)
{
    struct maildrop *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -ENOMEM;
    m->lookup = lookup;
    m->account = account;
    m->source = source;
    int err = load(m, a);
    if (err != 0) {
        maildrop_close(m);
        return err;
    }
    *out = m;
    return 0;
}

void maildrop_close(struct maildrop *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < SET_COUNT; i++)
        buffer_free(&m->sets[i]);
    free(m->damaged);
    free(m);
}

uint64_t maildrop_highest(const struct maildrop *m)
{
    return m->highest;
}

int64_t maildrop_newest_us(const struct maildrop *m)
{
    return m->newest_us;
}

size_t maildrop_memory(const struct maildrop *m)
{
    size_t size = 0;
    for (size_t i = 0; i < SET_COUNT; i++)
        size += m->sets[i].capacity;
    return size;
}

int maildrop_error(const struct maildrop *m)
{
    for (size_t i = 0; i < SET_COUNT; i++)
        if (m->sets[i].failed)
            return -ENOMEM;
    return 0;
}

const struct maildrop_row *maildrop_row(const struct maildrop *m)
{
    return &m->row;
}

struct deletion_row maildrop_deletion(struct maildrop *m, uint64_t n)
{
    struct deletion_row row = {0};
    struct index_txn *t = m->any_deletions ? awake(m) : NULL;
    if (t == NULL || row_get_deletion(t, m->account, m->source, n, &row) != 0)
        return (struct deletion_row){0};
    return row;
}

/* What is archived */

bool maildrop_is_claimed(const struct maildrop *m, uint64_t n)
{
    return buffer_bit(&m->sets[SET_CLAIMED], n);
}

void maildrop_claim(struct maildrop *m, uint64_t n)
{
    buffer_put_bit(&m->sets[SET_CLAIMED], n);
}

static void listed_again(struct maildrop *m, uint64_t n)
{
    maildrop_claim(m, n);
    uint8_t state = maildrop_deletion(m, n).state;
    if (state == DELETION_INTENDED || state == DELETION_UNKNOWN)
        buffer_put_bit(&m->sets[SET_UNDONE], n);
    else if (deletion_is_tombstone(state))
        buffer_put_bit(&m->sets[SET_RETURNED], n);
}

void maildrop_found(struct maildrop *m, uint64_t n)
{
    listed_again(m, n);
    buffer_put_bit(&m->sets[SET_FRESH], n);
}

bool maildrop_is_lost(struct maildrop *m, uint64_t n)
{
    struct message_row row;
    struct index_txn *t = m->any_lost ? awake(m) : NULL;
    return t != NULL && row_get_message(t, m->account, n, &row) == ERR_NOT_FOUND;
}

bool maildrop_is_damaged(struct maildrop *m, uint64_t n)
{
    return damage_has(m->damaged, m->damaged_count, n, awake(m));
}

void maildrop_healed(struct maildrop *m, uint64_t n)
{
    for (size_t i = 0; i < m->damaged_count; i++)
        if (m->damaged[i].n == n)
            m->damaged[i].n = 0;
}

bool maildrop_has_bytes(struct maildrop *m, uint64_t n, const uint8_t sha256[SHA256_SIZE])
{
    struct message_meta meta;
    return reader_message(lookup_reader(m->lookup), m->account, n, &meta) == 0 &&
           memcmp(meta.sha256, sha256, SHA256_SIZE) == 0;
}

/* The listing */

static bool is_tombstone(struct maildrop *m, struct index_txn *t, uint64_t n)
{
    return m->any_deletions &&
           deletion_is_tombstone((uint8_t)row_deletion_state(t, m->account, m->source, n));
}

/* It should not be listed: we deleted it, or it had vanished from a listing that was
 * believed. What the UIDL means now is to be seen. */
static bool had_gone(struct maildrop *m, struct index_txn *t, uint64_t n)
{
    if (is_tombstone(m, t, n))
        return true;
    return m->row.named_lsn != 0 && n <= m->row.highest && !number_set_has(m->row.named, n);
}

struct judging {
    struct maildrop *maildrop;
    struct index_txn *txn;
    uint64_t listed_size;
    uint64_t gone;  /* the first that had gone; 0: none */
    uint64_t meant; /* by the UIDL's last entry; 0: none yet */
    struct maildrop_line line;
};

static bool other_size(uint64_t a, uint64_t b)
{
    return a != SIZE_UNKNOWN && b != SIZE_UNKNOWN && a != b;
}

static void look_at_entry(struct judging *j, const struct uidl_entry *e)
{
    struct maildrop *m = j->maildrop;
    if (e->n != 0) {
        buffer_put_bit(&m->sets[SET_SPOKEN], e->n);
        j->line.shared |= j->meant != 0 && j->meant != e->n;
        j->meant = e->n;
    }
    if (other_size(e->listed_size, j->listed_size))
        return;
    if (e->n == 0) {
        if (j->line.verdict == MAILDROP_WANTED)
            j->line.verdict = MAILDROP_QUARANTINED;
        return;
    }
    j->line.live += !is_tombstone(m, j->txn, e->n);
    if (e->n > j->line.newest)
        j->line.newest = e->n;
    if (j->line.verdict != MAILDROP_WANTED || maildrop_is_claimed(m, e->n) ||
        maildrop_is_lost(m, e->n))
        return;
    if (maildrop_is_damaged(m, e->n)) {
        maildrop_claim(m, e->n);
        return;
    }
    if (had_gone(m, j->txn, e->n)) {
        if (j->gone == 0)
            j->gone = e->n;
        return;
    }
    maildrop_claim(m, e->n);
    j->line.verdict = MAILDROP_KNOWN;
    j->line.n = e->n;
    j->line.sized = j->listed_size != SIZE_UNKNOWN && e->listed_size == j->listed_size;
}

/* All lines of one UIDL are ambiguous, whatever their sizes and order. */
static void note_twice(struct judging *j, const struct uidl_entry *e)
{
    if (e->n != 0 && buffer_bit(&j->maildrop->sets[SET_SPOKEN], e->n)) {
        j->line.twice = true;
        buffer_put_bit(&j->maildrop->sets[SET_AMBIGUOUS], e->n);
    }
}

static bool usable(struct span uidl)
{
    return uidl.size > 0 && uidl.size <= UIDL_SIZE_MAX;
}

static struct maildrop_line judge(struct maildrop *m, struct span uidl,
                                  uint64_t listed_size)
{
    struct judging j = {.maildrop = m, .listed_size = listed_size};
    struct uidl_entries entries;
    struct uidl_entry entry;
    j.txn = usable(uidl) ? awake(m) : NULL;
    if (j.txn == NULL || row_find_uidl(j.txn, m->account, m->source, uidl, &entries) != 0)
        return j.line;
    /* First all of them: looking at one makes it spoken of. */
    for (struct uidl_entries e = entries; uidl_entries_next(&e, &entry) == 0;)
        note_twice(&j, &entry);
    while (uidl_entries_next(&entries, &entry) == 0)
        look_at_entry(&j, &entry);
    if (j.line.verdict == MAILDROP_WANTED && j.gone != 0) {
        maildrop_claim(m, j.gone);
        buffer_put_bit(&m->sets[SET_DOUBTED], j.gone);
    }
    return j.line;
}

struct maildrop_line maildrop_judge(struct maildrop *m, struct span uidl,
                                    uint64_t listed_size)
{
    m->last = judge(m, uidl, listed_size);
    m->lines++;
    m->known_lines += m->last.verdict == MAILDROP_KNOWN;
    return m->last;
}

bool maildrop_ambiguous(const struct maildrop *m, uint64_t n)
{
    return buffer_bit(&m->sets[SET_AMBIGUOUS], n);
}

/* Of what the last listing named: how much this one names, and how much is gone without our
 * doing. */
static void compare_listings(struct maildrop *m, uint64_t *out_there, uint64_t *out_gone)
{
    struct index_txn *t = awake(m);
    *out_there = *out_gone = 0;
    for (uint64_t n = 0; (n = number_set_next(m->row.named, n)) != 0;) {
        if (maildrop_is_claimed(m, n))
            ++*out_there;
        else if (t == NULL || !is_tombstone(m, t, n))
            ++*out_gone;
    }
}

static bool doubtful(uint64_t there, uint64_t gone)
{
    return there + gone >= MAILDROP_DOUBT_MIN && gone > there;
}

void maildrop_listed(struct maildrop *m, bool trusted)
{
    uint64_t there = 0, gone = 0;
    m->trusted = trusted;
    if (!trusted)
        return;
    compare_listings(m, &there, &gone);
    if (!doubtful(there, gone))
        return;
    m->flags |= SESSION_DOUBTED;
    /* As many messages as before, most of them unknown. */
    if (m->lines >= (there + gone) / 2 && m->lines > 2 * there)
        m->flags |= SESSION_RENUMBERED;
}

uint8_t maildrop_flags(const struct maildrop *m)
{
    return m->flags;
}

void maildrop_probe(struct maildrop *m, uint64_t n)
{
    buffer_put_bit(&m->sets[SET_PROBED], n);
}

void maildrop_suspect(struct maildrop *m)
{
    m->suspect = true;
}

/* Settling */

struct settling {
    struct maildrop *maildrop;
    uint64_t listed_size;
    const uint8_t *sha256;
    uint64_t found;
    uint64_t doubted; /* the first doubted claim */
};

static int settle_entry(void *arg, const struct uidl_entry *e)
{
    struct settling *s = arg;
    struct maildrop *m = s->maildrop;
    if (e->n == 0 || other_size(e->listed_size, s->listed_size) ||
        (!buffer_bit(&m->sets[SET_DOUBTED], e->n) &&
         !buffer_bit(&m->sets[SET_PROBED], e->n)))
        return 0;
    if (s->doubted == 0)
        s->doubted = e->n;
    if (!maildrop_has_bytes(m, e->n, s->sha256))
        return 0;
    s->found = e->n;
    return 1;
}

uint64_t maildrop_settle(struct maildrop *m, struct span uidl, uint64_t listed_size,
                         const uint8_t sha256[SHA256_SIZE])
{
    struct settling s = {.maildrop = m, .listed_size = listed_size, .sha256 = sha256};
    struct index_txn *t = usable(uidl) ? awake(m) : NULL;
    if (t == NULL)
        return 0;
    (void)row_each_uidl(t, m->account, m->source, uidl, settle_entry, &s);
    if (s.found == 0) {
        if (s.doubted != 0) {
            buffer_clear_bit(&m->sets[SET_DOUBTED], s.doubted);
            buffer_clear_bit(&m->sets[SET_PROBED], s.doubted);
            buffer_clear_bit(&m->sets[SET_CLAIMED], s.doubted);
            m->flags |= SESSION_REUSED;
        }
        return 0;
    }
    buffer_clear_bit(&m->sets[SET_DOUBTED], s.found);
    buffer_clear_bit(&m->sets[SET_PROBED], s.found);
    listed_again(m, s.found);
    return s.found;
}

static int note_reused(void *arg, const struct uidl_entry *e)
{
    struct maildrop *m = arg;
    if (e->n != 0)
        m->flags |= SESSION_REUSED;
    return 0;
}

void maildrop_archived(struct maildrop *m, struct span uidl, uint64_t n)
{
    struct index_txn *t = usable(uidl) ? awake(m) : NULL;
    if (t != NULL)
        (void)row_each_uidl(t, m->account, m->source, uidl, note_reused, m);
    maildrop_claim(m, n);
    buffer_put_bit(&m->sets[SET_FRESH], n);
}

/* The conclusion */

static bool perhaps_a_window(const struct maildrop *m)
{
    return m->lines >= MAILDROP_WINDOW_MIN && m->lines == m->row.delete_listed;
}

/* Can a message that this listing lacks be taken for deleted? */
static bool conclusive(const struct maildrop *m, uint64_t gone)
{
    return m->trusted && (m->flags & SESSION_DOUBTED) == 0 && gone == 0 &&
           !perhaps_a_window(m) && m->row.named_lsn != 0;
}

/* Deletions that are older than this session and not confirmed. */
static void look_for_deleted(struct maildrop *m, struct maildrop_news *news)
{
    struct index_txn *t = awake(m);
    struct deletion_row row;
    for (uint64_t n = 1;
         t != NULL && row_next_open_deletion(t, m->account, m->source, &n) == 0; n++) {
        if (maildrop_is_claimed(m, n) ||
            row_get_deletion(t, m->account, m->source, n, &row) != 0 ||
            row.lsn > m->opened_lsn)
            continue;
        buffer_put_bit(row.state == DELETION_ABSENT ? &news->confirmed : &news->absent, n);
    }
}

/* What is not among the named is to be doubted the next time. */
static void forget(struct buffer *set, const struct buffer *those)
{
    size_t size = those->size < set->size ? those->size : set->size;
    for (size_t i = 0; i < size; i++)
        set->data[i] &= (uint8_t)~those->data[i];
}

static void name(struct maildrop *m, struct buffer *set, uint64_t highest,
                 struct session_meta *session)
{
    if (m->suspect)
        forget(set, &m->sets[SET_FRESH]);
    buffer_clear(&m->sets[SET_NAMED]);
    number_set_encode(&m->sets[SET_NAMED], set);
    if (m->sets[SET_NAMED].failed || set->failed)
        return;
    session->flags |= SESSION_NAMES;
    session->highest = highest;
    session->named = span_of(m->sets[SET_NAMED].data, m->sets[SET_NAMED].size);
}

/* This listing is not believed: what the last one named, but up to `highest`, so that what
 * came now is doubted. */
static void name_last(struct maildrop *m, uint64_t highest, struct session_meta *session)
{
    struct buffer set = {0};
    for (uint64_t n = 0; (n = number_set_next(m->row.named, n)) != 0;)
        buffer_put_bit(&set, n);
    name(m, &set, highest, session);
    buffer_free(&set);
}

void maildrop_conclude(struct maildrop *m, uint64_t highest, struct session_meta *session,
                       struct maildrop_news *out)
{
    uint64_t there = 0, gone = 0;
    *out = (struct maildrop_news){.returned = m->sets[SET_RETURNED],
                                  .undone = m->sets[SET_UNDONE]};
    m->sets[SET_RETURNED] = m->sets[SET_UNDONE] = (struct buffer){0};
    session->flags |= m->flags & SESSION_REUSED;
    if (!m->trusted) {
        if (m->suspect)
            name_last(m, highest, session);
        return;
    }
    compare_listings(m, &there, &gone);
    session->vanished = gone;
    if (!doubtful(there, gone)) /* all has been found again by its bytes */
        m->flags &= (uint8_t)~SESSION_DOUBTED;
    session->flags |= m->flags;
    bool doubted = (m->flags & SESSION_DOUBTED) != 0;
    if (doubted && m->row.doubts + 1 < MAILDROP_DOUBTS_MAX) {
        session->doubts = (uint8_t)(m->row.doubts + 1);
        if (m->suspect)
            name_last(m, highest, session);
        return;
    }
    if (conclusive(m, gone))
        look_for_deleted(m, out);
    forget(&m->sets[SET_CLAIMED], &m->sets[SET_DOUBTED]);
    name(m, &m->sets[SET_CLAIMED], highest, session);
}

void maildrop_news_free(struct maildrop_news *news)
{
    buffer_free(&news->absent);
    buffer_free(&news->confirmed);
    buffer_free(&news->returned);
    buffer_free(&news->undone);
}

/* Listings that nobody reads */

static bool any_damaged(struct maildrop *m)
{
    for (size_t i = 0; i < m->damaged_count; i++)
        if (m->damaged[i].n != 0 && maildrop_is_damaged(m, m->damaged[i].n))
            return true;
    return false;
}

uint64_t maildrop_settled(struct maildrop *m)
{
    struct index_txn *t = awake(m);
    uint64_t n = 1;
    if (t == NULL || m->row.doubts != 0 || m->row.weak_lsn != 0 || m->any_lost ||
        any_damaged(m))
        return 0;
    if (m->any_deletions &&
        row_next_open_deletion(t, m->account, m->source, &n) != ERR_NOT_FOUND)
        return 0;
    return m->row.named_lsn;
}

uint64_t maildrop_comparable(struct maildrop *m)
{
    const struct maildrop_line *last = &m->last;
    bool newest =
        last->n != 0 && !last->shared && number_set_next(m->row.named, last->n) == 0;
    if (!m->trusted || m->suspect || m->flags != 0 || m->known_lines != m->lines ||
        perhaps_a_window(m) || (m->lines > 0 && !newest))
        return 0;
    return maildrop_settled(m);
}
