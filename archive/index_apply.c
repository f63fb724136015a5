#include "archive/index_apply.h"

#include "archive/error.h"
#include "archive/maildrop_rows.h"
#include "archive/uidl_rows.h"

#include <errno.h>

/* The number is taken, whatever became of the record that gave it out. */
static void take_number(struct index_txn *t, uint32_t account)
{
    uint64_t last = 0;
    int err = row_get_number(t, INFO_LAST_ACCOUNT, &last);
    if (err != 0)
        index_fail(t, err);
    else if (account > last)
        row_put_number(t, INFO_LAST_ACCOUNT, account);
}

/* So its messages are found. */
static void put_stand_in(struct index_txn *t, uint32_t account)
{
    char text[ROW_STAND_IN_SIZE];
    uint32_t other = 0;
    struct span name = row_stand_in_name(account, text);
    int err = row_get_name(t, name, &other);
    if (err == ERR_NOT_FOUND)
        row_put_name(t, name, account);
    else if (err != 0)
        index_fail(t, err);
}

static void drop_stand_in(struct index_txn *t, uint32_t account)
{
    char text[ROW_STAND_IN_SIZE];
    uint32_t other = 0;
    struct span name = row_stand_in_name(account, text);
    if (row_get_name(t, name, &other) == 0 && other == account)
        row_delete_name(t, name);
}

static bool load_account(struct index_txn *t, uint32_t account, struct account_row *row)
{
    *row = (struct account_row){0};
    int err = row_get_account(t, account, row);
    if (err == ERR_NOT_FOUND) {
        take_number(t, account);
        put_stand_in(t, account);
    } else if (err != 0)
        index_fail(t, err);
    return err == 0 || err == ERR_NOT_FOUND;
}

static void apply_account(struct index_txn *t, struct span raw_meta)
{
    struct account_meta meta;
    struct account_row row;
    int err = account_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    if (load_account(t, meta.number, &row)) {
        bool nameless = row.name.size == 0;
        row.name = meta.name;
        row_put_account(t, meta.number, &row); /* whose spans no change may precede */
        if (nameless)
            drop_stand_in(t, meta.number);
    }
    row_put_name(t, meta.name, meta.number);
}

static void apply_source(struct index_txn *t, uint32_t account, struct span raw_meta)
{
    struct source_meta meta;
    struct account_row row;
    int err = source_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    row_put_source(t, account, &meta);
    if (load_account(t, account, &row) && meta.number > row.last_source) {
        row.last_source = meta.number;
        row_put_account(t, account, &row);
    }
}

static void add_number(struct index_txn *t, enum info_number which, uint64_t more)
{
    uint64_t value = 0;
    int err = more > 0 ? row_get_number(t, which, &value) : 0;
    if (err != 0)
        index_fail(t, err);
    else if (more > 0)
        row_put_number(t, which, value + more);
}

/* True if the message is new to the index, and so counts. */
static bool place_message(struct index_txn *t, const struct record_header *h,
                          const struct message_meta *m, const struct place *place,
                          uint32_t ordinal)
{
    struct message_row row;
    int err = row_get_message(t, h->account, m->n, &row);
    if (err != 0 && err != ERR_NOT_FOUND)
        index_fail(t, err);
    if (err == 0 && row.lsn > h->lsn)
        return false;
    row = (struct message_row){
        .place = *place, .ordinal = ordinal, .size = m->size, .lsn = h->lsn};
    row_put_message(t, h->account, m->n, &row);
    return err == ERR_NOT_FOUND;
}

static void apply_part(struct index_txn *t, const struct record_header *h,
                       struct span raw_meta, const struct place *place)
{
    const uint8_t *sha256 = NULL;
    struct part_row row;
    int err = part_meta_decode(raw_meta, &sha256);
    if (err == 0)
        err = row_get_part(t, sha256, &row);
    if (err == 0 && row.lsn > h->lsn)
        return;
    if (err == ERR_NOT_FOUND)
        add_number(t, INFO_PARTS_KEPT, h->body_raw_size);
    else if (err != 0) {
        index_fail(t, err);
        return;
    }
    row = (struct part_row){
        .place = *place, .size = (uint32_t)h->body_raw_size, .lsn = h->lsn};
    row_put_part(t, sha256, &row);
}

static void apply_messages(struct index_txn *t, const struct record_header *h,
                           struct span raw_meta, const struct place *place)
{
    struct block_meta_reader reader;
    struct message_meta m;
    uint32_t account = h->account;
    uint64_t encoded = 0, decoded = 0, named = 0;
    struct account_row row;
    int err = block_meta_open(&reader, raw_meta);
    if (err != 0 || !load_account(t, account, &row)) {
        index_fail(t, err);
        return;
    }
    /* The row's spans borrow from the map, which the puts below may move. */
    struct buffer spans = {0};
    buffer_put(&spans, row.name.data, row.name.size);
    buffer_put(&spans, row.session_text.data, row.session_text.size);
    while ((err = block_meta_next(&reader, &m)) == 0) {
        if (place_message(t, h, &m, place, reader.next - 1)) {
            if (m.kind != BODY_SAME && run_meta_total(m.runs, &encoded, &decoded) == 0)
                named += decoded;
            row.messages++;
            row.bytes += m.size;
            if (row.first_us == 0 || m.fetched_us < row.first_us)
                row.first_us = m.fetched_us;
            if (m.fetched_us > row.last_us)
                row.last_us = m.fetched_us;
        }
        if (m.source > row.last_source) /* its SOURCE record is damaged */
            row.last_source = m.source;
        row_add_hash(t, account, m.sha256, m.n);
        if (!(m.flags & MESSAGE_NO_UIDL)) {
            const struct uidl_entry entry = {.n = m.n, .listed_size = m.listed_size};
            row_add_uidl(t, account, m.source, m.uidl, &entry);
        }
    }
    if (err != ERR_NOT_FOUND)
        index_fail(t, err);
    if (reader.highest > row.highest)
        row.highest = reader.highest;
    if (buffer_reserve(&spans, 1) != NULL) {
        row.session_text = span_of(spans.data + row.name.size, row.session_text.size);
        row.name = span_of(spans.data, row.name.size);
    }
    row_put_account(t, account, &row);
    add_number(t, INFO_PARTS_NAMED, named);
    buffer_free(&spans);
}

static void apply_chunk(struct index_txn *t, struct span raw_meta,
                        const struct place *place)
{
    struct chunk_meta meta;
    int err = chunk_meta_decode(raw_meta, &meta);
    if (err != 0)
        index_fail(t, err);
    else
        row_put_chunk(t, meta.stream, meta.sequence, place);
}

static void apply_seen(struct index_txn *t, uint32_t account, struct span raw_meta)
{
    struct seen_meta meta;
    int err = seen_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    const struct uidl_entry entry = {.n = meta.n, .listed_size = meta.listed_size};
    row_add_uidl(t, account, meta.source, meta.uidl, &entry);
}

/* What the newest session with a trusted listing says of the maildrop. */
static void apply_listing(struct index_txn *t, const struct record_header *h,
                          const struct session_meta *m)
{
    struct maildrop_row row;
    int err = row_get_maildrop(t, h->account, m->source, &row);
    if (err != 0 && err != ERR_NOT_FOUND) {
        index_fail(t, err);
        return;
    }
    struct buffer kept = {0}; /* the row's set borrows from the map */
    buffer_put(&kept, row.named.data, row.named.size);
    row.named = span_of(kept.data, kept.size);
    if ((m->flags & (SESSION_RENUMBERED | SESSION_REUSED)) != 0 && h->lsn > row.weak_lsn)
        row.weak_lsn = h->lsn;
    if (m->deleted + m->unknown > 0 && h->lsn > row.delete_lsn) {
        row.delete_lsn = h->lsn;
        row.delete_listed = m->listed;
    }
    if (m->trusted != 0 && h->lsn > row.lsn) {
        row.lsn = h->lsn;
        row.doubts = m->doubts;
    }
    if ((m->flags & SESSION_NAMES) != 0 && h->lsn > row.named_lsn) {
        row.named_lsn = h->lsn;
        row.highest = m->highest;
        row.named = m->named;
    }
    if (kept.failed)
        index_fail(t, -ENOMEM);
    else
        row_put_maildrop(t, h->account, m->source, &row);
    buffer_free(&kept);
}

/* Numbers up to this one are taken, whatever became of the records that gave them out. */
static void raise_highest(struct index_txn *t, uint32_t account, uint64_t highest)
{
    struct account_row row;
    if (load_account(t, account, &row) && highest > row.highest) {
        row.highest = highest;
        row_put_account(t, account, &row);
    }
}

/* The account's newest session, or run of quiet polls. */
static void apply_newest(struct index_txn *t, const struct record_header *h, int64_t end_us,
                         uint8_t state, struct span text)
{
    struct account_row row;
    if (load_account(t, h->account, &row) && h->lsn >= row.session_lsn) {
        row.session_lsn = h->lsn;
        row.session_us = end_us;
        row.session_state = state;
        row.session_text = text;
        row_put_account(t, h->account, &row);
    }
}

static void apply_session(struct index_txn *t, const struct record_header *h,
                          struct span raw_meta)
{
    struct session_meta meta;
    int err = session_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    apply_newest(t, h, meta.ended_us, meta.state, meta.text);
    apply_listing(t, h, &meta);
    if ((meta.flags & SESSION_NAMES) != 0)
        raise_highest(t, h->account, meta.highest);
}

static void apply_run(struct index_txn *t, const struct record_header *h,
                      struct span raw_meta)
{
    struct session_run_meta meta;
    int err = session_run_meta_decode(raw_meta, &meta);
    if (err != 0)
        index_fail(t, err);
    else
        apply_newest(t, h, meta.last_us, SESSION_COMPLETE, (struct span){0});
}

/* An older record changes no state; its attempt counts all the same. */
static void set_deletion(struct index_txn *t, const struct record_header *h,
                         uint32_t source, uint64_t n, uint8_t state, uint8_t attempt)
{
    struct deletion_row row;
    int err = row_get_deletion(t, h->account, source, n, &row);
    if (err != 0 && err != ERR_NOT_FOUND) {
        index_fail(t, err);
        return;
    }
    if (attempt > row.attempt)
        row.attempt = attempt;
    if (h->lsn >= row.lsn) {
        row.lsn = h->lsn;
        row.time_us = h->time_us;
        row.state = state;
    }
    row_put_deletion(t, h->account, source, n, &row);
}

static void apply_intents(struct index_txn *t, const struct record_header *h,
                          struct span raw_meta)
{
    struct intents_reader reader;
    struct intent_meta m;
    int err = intents_open(&reader, raw_meta);
    while (err == 0 && (err = intents_next(&reader, &m)) == 0)
        set_deletion(t, h, reader.source, m.n, DELETION_INTENDED, m.attempt);
    if (err != ERR_NOT_FOUND)
        index_fail(t, err);
}

static void apply_outcome(struct index_txn *t, const struct record_header *h,
                          struct span raw_meta)
{
    struct outcome_meta m;
    int err = outcome_meta_decode(raw_meta, &m);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    for (uint64_t n = 0; (n = number_set_next(m.numbers, n)) != 0;)
        set_deletion(t, h, m.source, n, m.state, 0);
}

/* A quarantined UIDL means message 0: it is not fetched again while its size stays the
 * same. */
static void apply_quarantine(struct index_txn *t, const struct record_header *h,
                             struct span raw_meta)
{
    struct quarantine_meta meta;
    int err = quarantine_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    const struct uidl_entry entry = {.n = 0, .listed_size = meta.listed_size};
    if (meta.uidl.size > 0)
        row_add_uidl(t, h->account, meta.source, meta.uidl, &entry);
}

/* The rows of messages that were acknowledged as lost go, and they no longer count. */
static void forget_messages(struct index_txn *t, uint32_t account, uint64_t first,
                            uint64_t last)
{
    struct account_row row;
    struct message_row message;
    uint64_t n = first, bytes = 0, messages = 0;
    while (row_next_message(t, account, &n, &message) == 0 && n <= last) {
        row_delete_message(t, account, n);
        bytes += message.size;
        messages++;
    }
    if (messages > 0 && load_account(t, account, &row)) {
        row.messages -= messages < row.messages ? messages : row.messages;
        row.bytes -= bytes < row.bytes ? bytes : row.bytes;
        row_put_account(t, account, &row);
    }
}

static void apply_lost(struct index_txn *t, const struct record_header *h,
                       struct span raw_meta)
{
    struct lost_meta meta;
    int err = lost_meta_decode(raw_meta, &meta);
    if (err != 0) {
        index_fail(t, err);
        return;
    }
    row_put_lost(t, h->account, h->account == 0 ? meta.segment : meta.first,
                 h->account == 0 ? meta.segment : meta.last);
    if (h->account != 0)
        forget_messages(t, h->account, meta.first, meta.last);
}

static void apply_supersedes(struct index_txn *t, const struct record_header *h,
                             struct span raw_meta)
{
    struct superseded s;
    size_t count = 0;
    int err = superseded_count(raw_meta, &count);
    if (err != 0)
        index_fail(t, err);
    for (size_t i = 0; err == 0 && i < count; i++) {
        superseded_at(raw_meta, i, &s);
        row_put_superseded(t, s.segment, h->time_us);
    }
}

static void apply_one(struct index_txn *t, const struct record_header *h,
                      struct span raw_meta, const struct place *place, uint32_t ordinal)
{
    if (row_is_ledger(h->type)) {
        const struct ledger_row row = {
            .place = *place, .ordinal = ordinal, .type = h->type};
        row_put_ledger(t, h->account, h->lsn, &row);
    }
    switch (h->type) {
    case RECORD_ACCOUNT:
        apply_account(t, raw_meta);
        break;
    case RECORD_SOURCE:
        apply_source(t, h->account, raw_meta);
        break;
    case RECORD_BLOCK:
    case RECORD_END:
        apply_messages(t, h, raw_meta, place);
        break;
    case RECORD_PART:
        apply_part(t, h, raw_meta, place);
        break;
    case RECORD_CHUNK:
        apply_chunk(t, raw_meta, place);
        break;
    case RECORD_SEEN:
        apply_seen(t, h->account, raw_meta);
        break;
    case RECORD_SESSION:
        apply_session(t, h, raw_meta);
        break;
    case RECORD_SESSION_RUN:
        apply_run(t, h, raw_meta);
        break;
    case RECORD_DELETE_INTENT:
        apply_intents(t, h, raw_meta);
        break;
    case RECORD_DELETE_OUTCOME:
        apply_outcome(t, h, raw_meta);
        break;
    case RECORD_QUARANTINE:
        apply_quarantine(t, h, raw_meta);
        break;
    case RECORD_LOST:
        apply_lost(t, h, raw_meta);
        break;
    case RECORD_SUPERSEDES:
        apply_supersedes(t, h, raw_meta);
        break;
    default: /* COMMIT, SEAL, and compatible types of a later version: no rows */
        break;
    }
    if (h->flags & RECORD_CARRIED)
        row_put_carried(t, h->lsn);
}

static void apply_pack(struct index_txn *t, struct span rest, const struct place *place)
{
    struct packed_record r;
    uint32_t ordinal = 0;
    int err;
    while ((err = packed_record_next(&rest, &r)) == 0) {
        const struct record_header h = {
            .type = r.type, .account = r.account, .lsn = r.lsn, .time_us = r.time_us};
        apply_one(t, &h, r.meta, place, ordinal++);
    }
    if (err != ERR_NOT_FOUND)
        index_fail(t, err);
}

void index_apply(struct index_txn *t, const struct record_header *h, struct span raw_meta,
                 const struct place *place)
{
    if (h->type == RECORD_PACK)
        apply_pack(t, raw_meta, place);
    else
        apply_one(t, h, raw_meta, place, 0);
}

static int check_messages(struct span raw_meta)
{
    struct block_meta_reader reader;
    struct message_meta m;
    int err = block_meta_open(&reader, raw_meta);
    while (err == 0)
        err = block_meta_next(&reader, &m);
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int check_intents(struct span raw_meta)
{
    struct intents_reader reader;
    struct intent_meta m;
    int err = intents_open(&reader, raw_meta);
    while (err == 0)
        err = intents_next(&reader, &m);
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int check_pack(struct span rest)
{
    struct packed_record r;
    int err;
    while ((err = packed_record_next(&rest, &r)) == 0) {
        const struct record_header h = {.type = r.type};
        err = index_check(&h, r.meta);
        if (err != 0)
            return err;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int index_check(const struct record_header *h, struct span raw_meta)
{
    union {
        struct account_meta account;
        struct source_meta source;
        struct chunk_meta chunk;
        struct seen_meta seen;
        struct session_meta session;
        struct session_run_meta run;
        struct outcome_meta outcome;
        struct quarantine_meta quarantine;
        struct lost_meta lost;
        struct access_meta access;
    } m;
    const uint8_t *sha256 = NULL;
    size_t count = 0;
    switch (h->type) {
    case RECORD_ACCOUNT:
        return account_meta_decode(raw_meta, &m.account);
    case RECORD_SOURCE:
        return source_meta_decode(raw_meta, &m.source);
    case RECORD_BLOCK:
    case RECORD_END:
        return check_messages(raw_meta);
    case RECORD_PART:
        return part_meta_decode(raw_meta, &sha256);
    case RECORD_CHUNK:
        return chunk_meta_decode(raw_meta, &m.chunk);
    case RECORD_SEEN:
        return seen_meta_decode(raw_meta, &m.seen);
    case RECORD_SESSION:
        return session_meta_decode(raw_meta, &m.session);
    case RECORD_SESSION_RUN:
    case RECORD_UNLISTED_RUN:
        return session_run_meta_decode(raw_meta, &m.run);
    case RECORD_DELETE_INTENT:
        return check_intents(raw_meta);
    case RECORD_DELETE_OUTCOME:
        return outcome_meta_decode(raw_meta, &m.outcome);
    case RECORD_QUARANTINE:
        return quarantine_meta_decode(raw_meta, &m.quarantine);
    case RECORD_LOST:
        return lost_meta_decode(raw_meta, &m.lost);
    case RECORD_ACCESS:
        return access_meta_decode(raw_meta, &m.access);
    case RECORD_SUPERSEDES:
        return superseded_count(raw_meta, &count);
    case RECORD_PACK:
        return check_pack(raw_meta);
    default:
        return 0;
    }
}
