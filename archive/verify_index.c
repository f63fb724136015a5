#include "archive/error.h"
#include "archive/maildrop_rows.h"
#include "archive/uidl_rows.h"
#include "archive/verify_internal.h"

static int same_uidl(void *arg, const struct uidl_entry *e)
{
    const struct uidl_entry *sought = arg;
    return e->n == sought->n && e->listed_size == sought->listed_size ? ERR_EXISTS : 0;
}

static int same_n(void *arg, uint64_t n)
{
    const uint64_t *sought = arg;
    return n == *sought ? ERR_EXISTS : 0;
}

static bool has_uidl(struct verifier *v, uint32_t account, uint32_t source,
                     struct span uidl, uint64_t n, uint64_t listed_size)
{
    struct uidl_entry sought = {.n = n, .listed_size = listed_size};
    return row_each_uidl(v->txn, account, source, uidl, same_uidl, &sought) == ERR_EXISTS;
}

void verify_message_row(struct verifier *v, uint32_t account, const struct message_meta *m,
                        const struct place *place, uint32_t ordinal)
{
    struct message_row row;
    uint64_t n = m->n;
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return;
    if (row_get_message(v->txn, account, n, &row) == 0 &&
        row.place.segment == place->segment && row.place.offset == place->offset &&
        row.ordinal == ordinal && row.size == m->size) {
        struct checked_account *checked = verify_account(v, account);
        if (checked != NULL)
            verify_set_bit(v, &checked->placed, n);
    }
    const char *missing = NULL;
    if (!(m->flags & MESSAGE_NO_UIDL) &&
        !has_uidl(v, account, m->source, m->uidl, n, m->listed_size))
        missing = "its UIDL is not in the index";
    else if (row_each_hash(v->txn, account, m->sha256, same_n, &n) != ERR_EXISTS)
        missing = "its SHA-256 is not in the index";
    index_reset(v->txn);
    if (missing != NULL)
        verify_index_differs(v, account, m->n, place->segment, place->offset, missing);
}

/* A service may have come since the beginning, or have come and gone. v->txn is awake. */
static bool is_beside_writer(struct verifier *v)
{
    uint64_t lsn = v->last_lsn;
    (void)row_get_number(v->txn, INFO_LAST_LSN, &lsn);
    v->beside_writer |= lsn != v->last_lsn;
    return v->beside_writer;
}

bool verify_is_newer(struct verifier *v, uint32_t account, uint64_t n)
{
    struct message_row row;
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return false;
    bool newer = is_beside_writer(v) && row_get_message(v->txn, account, n, &row) == 0;
    index_reset(v->txn);
    for (size_t i = 0; newer && i < v->ids_count; i++)
        newer = v->ids[i] != row.place.segment || row.place.offset >= v->rows[i].indexed;
    return newer;
}

bool verify_is_replaced(struct verifier *v, uint64_t segment)
{
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return false;
    bool replaced = row_is_superseded(v->txn, segment);
    index_reset(v->txn);
    return replaced;
}

/* The row leads here, or to a copy that repacking made later. */
static bool leads_to(const struct place *row, const struct place *at)
{
    return (row->segment == at->segment && row->offset == at->offset) ||
           row->segment > at->segment;
}

static bool seen_row(struct verifier *v, struct span meta)
{
    struct seen_meta m;
    return seen_meta_decode(meta, &m) != 0 ||
           has_uidl(v, v->view.header.account, m.source, m.uidl, m.n, m.listed_size);
}

static bool account_row(struct verifier *v, struct span meta)
{
    struct account_meta m;
    uint32_t number = 0;
    return account_meta_decode(meta, &m) != 0 ||
           (row_get_name(v->txn, m.name, &number) == 0 && number == m.number);
}

static bool source_row(struct verifier *v, struct span meta)
{
    struct source_meta m, row;
    return source_meta_decode(meta, &m) != 0 ||
           (row_get_source(v->txn, v->view.header.account, m.number, &row) == 0 &&
            span_equal(m.host, row.host) && span_equal(m.login, row.login));
}

static bool chunk_row(struct verifier *v, struct span meta, const struct place *at)
{
    struct chunk_meta m;
    struct place row;
    return chunk_meta_decode(meta, &m) != 0 ||
           (row_get_chunk(v->txn, m.stream, m.sequence, &row) == 0 && leads_to(&row, at));
}

static bool part_row(struct verifier *v, struct span meta, const struct place *at)
{
    const uint8_t *sha256 = NULL;
    struct part_row row;
    if (part_meta_decode(meta, &sha256) != 0)
        return true;
    return row_get_part(v->txn, sha256, &row) == 0 &&
           ((row.place.segment == at->segment && row.place.offset == at->offset) ||
            row.lsn >= v->view.header.lsn);
}

static bool ledger_row(struct verifier *v, const struct place *at)
{
    uint64_t lsn = v->view.header.lsn;
    struct ledger_row row;
    return row_next_ledger(v->txn, v->view.header.account, &lsn, &row) == 0 &&
           lsn == v->view.header.lsn && row.type == v->view.header.type &&
           leads_to(&row.place, at);
}

/* The row says what this record says, or what a later one does. */
static bool deletion_row(struct verifier *v, uint32_t source, uint64_t n, uint8_t state)
{
    struct deletion_row row;
    if (row_get_deletion(v->txn, v->view.header.account, source, n, &row) != 0)
        return false;
    return row.lsn > v->view.header.lsn ||
           (row.lsn == v->view.header.lsn && row.state == state);
}

/* What a trusted listing named, or a later one. */
static bool maildrop_row_of(struct verifier *v, struct span meta)
{
    struct session_meta m;
    struct maildrop_row row;
    uint64_t lsn = v->view.header.lsn;
    if (session_meta_decode(meta, &m) != 0 || m.trusted == 0)
        return true;
    if (row_get_maildrop(v->txn, v->view.header.account, m.source, &row) != 0 ||
        row.lsn < lsn)
        return false;
    return (m.flags & SESSION_NAMES) == 0 || row.named_lsn > lsn ||
           (row.named_lsn == lsn && span_equal(row.named, m.named));
}

static bool intent_rows(struct verifier *v, struct span meta)
{
    struct intents_reader reader;
    struct intent_meta m;
    if (intents_open(&reader, meta) != 0)
        return true;
    while (intents_next(&reader, &m) == 0)
        if (!deletion_row(v, reader.source, m.n, DELETION_INTENDED))
            return false;
    return true;
}

static bool outcome_rows(struct verifier *v, struct span meta)
{
    struct outcome_meta m;
    if (outcome_meta_decode(meta, &m) != 0)
        return true;
    for (uint64_t n = 0; (n = number_set_next(m.numbers, n)) != 0;)
        if (!deletion_row(v, m.source, n, m.state))
            return false;
    return true;
}

void verify_rows(struct verifier *v, uint64_t segment)
{
    struct span meta = span_of(v->view.meta.data, v->view.meta.size);
    const struct place at = {.segment = segment, .offset = v->view.offset};
    bool found = true;
    if (v->txn == NULL || index_renew(v->txn) != 0)
        return;
    switch (v->view.header.type) {
    case RECORD_SEEN:
        found = seen_row(v, meta) && ledger_row(v, &at);
        break;
    case RECORD_DELETE_INTENT:
        found = intent_rows(v, meta) && ledger_row(v, &at);
        break;
    case RECORD_DELETE_OUTCOME:
        found = outcome_rows(v, meta) && ledger_row(v, &at);
        break;
    case RECORD_ACCOUNT:
        found = account_row(v, meta);
        break;
    case RECORD_SOURCE:
        found = source_row(v, meta);
        break;
    case RECORD_PART:
        found = part_row(v, meta, &at);
        break;
    case RECORD_CHUNK:
        found = chunk_row(v, meta, &at);
        break;
    case RECORD_SESSION:
        found = maildrop_row_of(v, meta) && ledger_row(v, &at);
        break;
    case RECORD_SESSION_RUN:
    case RECORD_UNLISTED_RUN:
    case RECORD_QUARANTINE:
    case RECORD_LOST:
    case RECORD_ACCESS:
        found = ledger_row(v, &at);
        break;
    default:
        break;
    }
    index_reset(v->txn);
    if (!found)
        verify_index_differs(v, v->view.header.account, 0, segment, v->view.offset,
                             record_type_name(v->view.header.type));
}

/* Rows that no record stands for: counted, and only while nobody writes and nothing is
 * damaged, when the counts must agree. */
int verify_counts(struct verifier *v)
{
    uint64_t messages = 0, ledger = 0, chunks = 0, parts = 0;
    if (v->archive->mode == ARCHIVE_READ) {
        pid_t writer = 0;
        if (archive_lock_holder(v->archive->path, &writer) != 0 || writer != 0)
            return 0;
    }
    if (v->summary->structure + v->summary->messages_hurt + v->summary->healed +
            v->summary->lost >
        0)
        return 0;
    int err = index_renew(v->txn);
    if (err != 0)
        return err;
    if (is_beside_writer(v)) {
        index_reset(v->txn);
        return 0;
    }
    err = index_count(v->txn, TABLE_MESSAGES, &messages);
    if (err == 0)
        err = index_count(v->txn, TABLE_LEDGER, &ledger);
    if (err == 0)
        err = index_count(v->txn, TABLE_CHUNKS, &chunks);
    if (err == 0)
        err = index_count(v->txn, TABLE_PARTS, &parts);
    index_reset(v->txn);
    if (err != 0)
        return err;
    if (messages != v->summary->messages)
        verify_index_differs(v, 0, 0, 0, 0, "it has more messages than the segments");
    if (ledger != v->ledger_records.count)
        verify_index_differs(v, 0, 0, 0, 0, "its ledger differs from the segments");
    if (chunks != v->chunk_records.count)
        verify_index_differs(v, 0, 0, 0, 0,
                             "it has more pieces of messages than the segments");
    if (parts != v->parts.count)
        verify_index_differs(v, 0, 0, 0, 0, "it has more parts than the segments");
    return 0;
}
