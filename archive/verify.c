#include "archive/verify.h"

#include "archive/damage.h"
#include "archive/error.h"
#include "archive/removal.h"
#include "archive/verify_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

bool verify_found_damage(const struct verify_summary *s)
{
    return s->structure > 0 || s->messages_hurt > 0 || s->index_differences > 0;
}

/* An account's highest number may be so far beyond the last message met. */
#define MISSING_AT_END_MAX (1u << 20)

/* Messages with attachments are read a second time: how many bytes that will be is
 * reckoned from the part of the segments that was seen, until it is known. */
void verify_progress(struct verifier *v)
{
    const struct verify_options *o = v->options;
    uint64_t total = v->segment_bytes + v->deferred_bytes;
    uint64_t seen = v->summary->bytes;
    if (seen > 0 && seen < v->segment_bytes)
        total = v->segment_bytes + (uint64_t)((double)v->deferred_bytes *
                                              (double)v->segment_bytes / (double)seen);
    if (o->progress != NULL && o->progress(o->arg, seen + v->again_bytes, total) != 0 &&
        v->err == 0)
        v->err = ERR_STOPPED;
}

void verify_set_bit(struct verifier *v, struct buffer *bits, uint64_t n)
{
    buffer_put_bit(bits, n);
    if (bits->failed)
        v->err = -ENOMEM;
}

/* By the index, else by the records met so far, else its number. */
static void account_name(const struct verifier *v, uint32_t number,
                         char out[NAME_SIZE_MAX + 1])
{
    const struct checked_account *account = verify_find_account(v, number);
    archive_account_name(v->archive, number, out);
    if (out[0] != '#' || account == NULL || account->name.size == 0)
        return;
    memcpy(out, account->name.data, account->name.size);
    out[account->name.size] = '\0';
}

static void report(struct verifier *v, const struct finding *found)
{
    char name[NAME_SIZE_MAX + 1];
    struct finding copy = *found, *f = &copy;
    uint64_t *const counts[] = {
        [FINDING_STRUCTURE] = &v->summary->structure,
        [FINDING_MESSAGE] = &v->summary->messages_hurt,
        [FINDING_INDEX] = &v->summary->index_differences,
        [FINDING_HEALED] = &v->summary->healed,
        [FINDING_LOST] = &v->summary->lost,
    };
    (*counts[f->kind])++;
    if (f->account_number != 0) {
        account_name(v, f->account_number, name);
        f->account = name;
    }
    if (v->options->report != NULL)
        v->options->report(v->options->arg, f);
}

void verify_structure(struct verifier *v, uint64_t segment, uint64_t offset,
                      const char *text)
{
    struct finding f = {
        .kind = FINDING_STRUCTURE, .segment = segment, .offset = offset, .text = text};
    report(v, &f);
}

void verify_index_differs(struct verifier *v, uint32_t account, uint64_t n,
                          uint64_t segment, uint64_t offset, const char *text)
{
    struct finding f = {.kind = FINDING_INDEX,
                        .segment = segment,
                        .offset = offset,
                        .account_number = account,
                        .n = n,
                        .text = text};
    report(v, &f);
}

static bool is_lost(const struct verifier *v, uint32_t account, uint64_t n)
{
    struct lost_range range;
    for (size_t i = 0; i < v->lost.size; i += sizeof(range)) {
        memcpy(&range, v->lost.data + i, sizeof(range));
        if (range.account == account && n >= range.first && n <= range.last)
            return true;
    }
    return false;
}

/* Messages that share a body are as sound as the one they share it with. */
static void settle_sharing(struct verifier *v, struct checked_account *account)
{
    struct sharing s;
    for (size_t i = 0; i < account->sharing.size; i += sizeof(s)) {
        memcpy(&s, account->sharing.data + i, sizeof(s));
        if (buffer_bit(&account->valid, s.target))
            verify_set_bit(v, &account->valid, s.n);
    }
}

static bool all_valid(struct verifier *v, const struct bad_record *bad)
{
    const struct checked_account *account = verify_account(v, bad->account);
    for (uint64_t n = bad->first_n; account != NULL && n < bad->first_n + bad->count_n; n++)
        if (!buffer_bit(&account->valid, n) && !is_lost(v, bad->account, n))
            return false;
    return account != NULL;
}

/* No message is hurt whose stream is broken? Then a damaged CHUNK hurts nothing. */
static bool streams_healed(struct verifier *v)
{
    for (size_t i = 0; i < v->accounts_count; i++) {
        const struct checked_account *account = &v->accounts[i];
        for (size_t at = 0; at + 8 <= account->broken.size; at += 8) {
            uint64_t n = get_u64(account->broken.data + at);
            if (!buffer_bit(&account->valid, n) && !is_lost(v, account->number, n))
                return false;
        }
    }
    return true;
}

static bool is_superseded(const struct verifier *v, uint64_t segment)
{
    struct superseded s;
    for (size_t i = 0; i < v->superseded.size; i += sizeof(s)) {
        memcpy(&s, v->superseded.data + i, sizeof(s));
        if (s.segment == segment)
            return true;
    }
    return false;
}

static void settle_bad(struct verifier *v)
{
    struct bad_record bad;
    for (size_t i = 0; i < v->bad.size; i += sizeof(bad)) {
        memcpy(&bad, v->bad.data + i, sizeof(bad));
        bool healed = (bad.count_n > 0 && all_valid(v, &bad)) ||
                      (bad.type == RECORD_CHUNK && streams_healed(v)) ||
                      (bad.type == RECORD_PART && v->attachments_hurt == 0);
        struct finding f = {.kind = FINDING_STRUCTURE,
                            .segment = bad.segment,
                            .offset = bad.offset,
                            .text = bad.text};
        bool replaced = is_superseded(v, bad.segment);
        if (replaced && bad.offset == 0)
            continue; /* removed, as it should be */
        if (is_lost(v, 0, bad.segment))
            f.kind = FINDING_LOST;
        else if (replaced) {
            f.kind = FINDING_HEALED;
            f.text = "damaged record in a segment that repacking has replaced";
        } else if (healed) {
            f.kind = FINDING_HEALED;
            f.text = "damaged record; sound copies of all it held were stored later";
        }
        report(v, &f);
    }
}

/* Where the index has it: that copy satisfies no look-up from now on. */
void verify_damaged_part(struct verifier *v, const uint8_t sha256[SHA256_SIZE])
{
    struct damaged_part part = {0};
    struct part_row row;
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return;
    if (row_get_part(v->txn, sha256, &row) == 0) {
        memcpy(part.sha256, sha256, SHA256_SIZE);
        part.place = row.place;
        buffer_put(&v->damaged_parts, &part, sizeof(part));
    }
    index_reset(v->txn);
}

static struct place place_of(struct verifier *v, uint32_t account, uint64_t n)
{
    struct message_row row = {0};
    if (v->txn != NULL && index_renew(v->txn) == 0) {
        if (row_get_message(v->txn, account, n, &row) != 0)
            row.place = (struct place){0};
        index_reset(v->txn);
    }
    return row.place;
}

static void report_hurt(struct verifier *v, uint32_t number, uint64_t n,
                        struct buffer *damaged)
{
    struct place place = place_of(v, number, n);
    struct finding f = {.kind = FINDING_MESSAGE,
                        .account_number = number,
                        .n = n,
                        .segment = place.segment,
                        .offset = place.offset,
                        .text = place.segment == 0 ? "missing" : "damaged"};
    if (is_lost(v, number, n)) {
        f.kind = FINDING_LOST;
        f.text = "lost, as acknowledged";
    } else {
        const struct damaged_message m = {.account = number, .n = n, .place = place};
        buffer_put(damaged, &m, sizeof(m));
    }
    report(v, &f);
}

/* Numbers count from 1 without a gap: one without a sound copy is hurt (P4). */
static void settle_account(struct verifier *v, struct checked_account *account,
                           struct buffer *damaged)
{
    const uint32_t number = account->number;
    struct account_row row;
    if (v->txn != NULL && index_renew(v->txn) == 0) {
        if (row_get_account(v->txn, number, &row) == 0 && row.highest > account->highest &&
            row.highest < account->highest + SEGMENT_SIZE_MAX)
            account->highest = row.highest;
        index_reset(v->txn);
    }
    if (account->highest > account->valid.size * 8 + MISSING_AT_END_MAX) {
        verify_structure(v, 0, 0, "an account's highest number is far beyond its messages");
        account->highest = account->valid.size * 8;
    }
    for (uint64_t n = 1; n <= account->highest; n++) {
        bool valid = buffer_bit(&account->valid, n);
        bool placed = v->txn == NULL || buffer_bit(&account->placed, n);
        if ((!valid || !placed) && verify_is_newer(v, number, n))
            continue; /* fetched, or moved by repacking, since we began */
        if (!valid)
            report_hurt(v, number, n, damaged);
        else if (!placed && !is_lost(v, number, n))
            verify_index_differs(v, number, n, 0, 0,
                                 "the index does not lead to its sound copy");
        else
            v->summary->messages++;
    }
}

/* An account whose records are all gone is still known to the index. */
static void add_indexed_accounts(struct verifier *v)
{
    uint64_t last = 0;
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return;
    if (row_get_number(v->txn, INFO_LAST_ACCOUNT, &last) == 0)
        for (uint32_t number = 1; number <= last && v->err == 0; number++)
            verify_account(v, number);
    index_reset(v->txn);
}

static int settle(struct verifier *v)
{
    struct buffer damaged = {0};
    add_indexed_accounts(v);
    for (size_t i = 0; i < v->accounts_count; i++)
        settle_sharing(v, &v->accounts[i]);
    settle_bad(v);
    verify_sort_accounts(v);
    for (size_t i = 0; i < v->accounts_count; i++)
        if (v->accounts[i].number != 0)
            settle_account(v, &v->accounts[i], &damaged);
    int err = v->err != 0 || damaged.failed ? -ENOMEM : 0;
    if (err == 0 && !v->options->quick) {
        const void *list = damaged.data, *parts = v->damaged_parts.data;
        damage_save(v->archive, list, damaged.size / sizeof(struct damaged_message), parts,
                    v->damaged_parts.size / sizeof(struct damaged_part));
    }
    buffer_free(&damaged);
    return err;
}

/* What the index says of each segment, before anything is read: beside a running service
 * the archive ends there for us. */
static int snapshot(struct verifier *v, const uint64_t *ids, size_t count,
                    struct segment_row *rows, bool *known)
{
    int err = v->txn == NULL ? 0 : index_renew(v->txn);
    if (err == 0 && v->txn != NULL)
        (void)row_get_number(v->txn, INFO_LAST_LSN, &v->last_lsn);
    for (size_t i = 0; err == 0 && i < count; i++) {
        known[i] = v->txn != NULL;
        if (v->txn == NULL)
            continue;
        err = row_get_segment(v->txn, ids[i], &rows[i]);
        if (err == ERR_NOT_FOUND) {
            rows[i] = (struct segment_row){.indexed = SEGMENT_HEADER_SIZE};
            err = 0;
        }
    }
    if (v->txn != NULL)
        index_reset(v->txn);
    return err;
}

static void note_missing(struct verifier *v, const uint64_t *ids, size_t count)
{
    size_t at = 0;
    for (uint64_t id = 1; id <= v->archive->cask.highest_segment; id++) {
        if (at < count && ids[at] == id) {
            at++;
            continue;
        }
        const struct bad_record bad = {.segment = id, .text = "the segment is missing"};
        buffer_put(&v->bad, &bad, sizeof(bad));
    }
}

static bool someone_writes(const struct archive *a)
{
    pid_t writer = 0;
    return a->mode == ARCHIVE_READ && archive_lock_holder(a->path, &writer) == 0 &&
           writer != 0;
}

static int verify_all(struct verifier *v, const uint64_t *ids, size_t count)
{
    struct segment_row *rows = calloc(count + 1, sizeof(*rows));
    bool *known = calloc(count + 1, sizeof(*known));
    int err =
        rows == NULL || known == NULL ? -ENOMEM : snapshot(v, ids, count, rows, known);
    if (err == 0)
        note_missing(v, ids, count);
    v->ids = ids;
    v->rows = rows;
    v->ids_count = count;
    v->beside_writer = someone_writes(v->archive);
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = verify_segment(v, ids[i], known[i] ? &rows[i] : NULL);
        if (err == 0)
            err = v->err;
    }
    if (err == 0)
        err = verify_attachments(v);
    if (err == 0)
        err = settle(v);
    if (err == 0 && v->txn != NULL)
        err = verify_counts(v);
    free(rows);
    free(known);
    return err;
}

static void free_verifier(struct verifier *v)
{
    struct open_stream s;
    for (size_t i = 0; i < v->streams.size; i += sizeof(s)) {
        memcpy(&s, v->streams.data + i, sizeof(s));
        sha256_destroy(s.hash);
        buffer_free(&s.places);
    }
    verify_free_parts(v);
    verify_free_accounts(v);
    buffer_free(&v->bad);
    buffer_free(&v->streams);
    buffer_free(&v->lost);
    buffer_free(&v->superseded);
    hash_set_free(&v->ledger_records);
    hash_set_free(&v->chunk_records);
    record_view_free(&v->view);
    record_view_free(&v->pack);
    index_abort(v->txn);
    sha256_destroy(v->hash);
    codec_destroy(v->codec);
}

int archive_verify(struct archive *a, const struct verify_options *options,
                   struct verify_summary *out)
{
    int held = -1;
    struct verifier v = {.archive = a,
                         .options = options,
                         .summary = out,
                         .parts = {.value_size = sizeof(struct seen_part)},
                         .accounts_by_number = {.value_size = sizeof(uint32_t)}};
    uint64_t *ids = NULL;
    size_t count = 0;
    /* Nothing that is listed is removed meanwhile; where that cannot be had, nobody writes.
     */
    (void)removal_hold(a->path, &held);
    salvage_init(&v.salvage, a->ops);
    *out = (struct verify_summary){.with_index = a->index != NULL};
    v.codec = codec_create();
    v.hash = sha256_create();
    int err = v.codec == NULL || v.hash == NULL ? -ENOMEM : 0;
    if (err == 0 && a->index != NULL) {
        err = index_begin_read(a->index, &v.txn);
        if (err == 0)
            index_reset(v.txn);
    }
    if (err == 0)
        err = segment_list(a->path, &ids, &count);
    /* The list may be older than CASK beside a running service: what is newer is not ours
     * to miss. */
    if (err == 0) {
        v.segment_bytes = segment_bytes(a->path, ids, count);
        err = verify_all(&v, ids, count);
    }
    removal_release(held);
    free(ids);
    free_verifier(&v);
    return err;
}
