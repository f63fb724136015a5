#include "archive/index_rows.h"

#include "archive/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define HASH_KEY_SIZE 16
/* account, then a number of 8 bytes */
#define PAIR_KEY_SIZE 12

static struct span pair_key(uint8_t out[PAIR_KEY_SIZE], uint32_t account, uint64_t number)
{
    put_key32(out, account);
    put_key64(out + 4, number);
    return span_of(out, PAIR_KEY_SIZE);
}

static struct span number_key(uint8_t out[8], uint64_t number)
{
    put_key64(out, number);
    return span_of(out, 8);
}

static int decoded(const struct cursor *c)
{
    return c->bad || cursor_left(c) != 0 ? ERR_INDEX : 0;
}

/* The first row of (account, number >= *number), its number into *number. */
static int next_pair(struct index_txn *t, enum index_table table, uint32_t account,
                     uint64_t *number, struct span *out_value)
{
    uint8_t bytes[PAIR_KEY_SIZE];
    struct span key = pair_key(bytes, account, *number);
    int err = index_seek(t, table, &key, out_value);
    if (err != 0)
        return err;
    if (key.size != PAIR_KEY_SIZE || get_key32(key.data) != account)
        return ERR_NOT_FOUND;
    *number = get_key64(key.data + 4);
    return 0;
}

static int decode_place(struct span value, struct place *out)
{
    struct cursor c = cursor_over(value.data, value.size);
    out->segment = take_u64(&c);
    out->offset = take_u64(&c);
    return decoded(&c);
}

static struct span encode_place(uint8_t out[16], const struct place *place)
{
    put_u64(out, place->segment);
    put_u64(out + 8, place->offset);
    return span_of(out, 16);
}

static int decode_segment(struct span value, struct segment_row *out)
{
    struct cursor c = cursor_over(value.data, value.size);
    out->indexed = take_u64(&c);
    out->sealed = take_u8(&c) != 0;
    take_copy(&c, out->hash, sizeof(out->hash));
    return decoded(&c);
}

int row_get_segment(struct index_txn *t, uint64_t id, struct segment_row *out)
{
    uint8_t key[8];
    struct span value;
    int err = index_get(t, TABLE_SEGMENTS, number_key(key, id), &value);
    return err != 0 ? err : decode_segment(value, out);
}

void row_put_segment(struct index_txn *t, uint64_t id, const struct segment_row *row)
{
    uint8_t key[8], value[8 + 1 + SHA256_SIZE];
    put_u64(value, row->indexed);
    value[8] = row->sealed ? 1 : 0;
    memcpy(value + 9, row->hash, SHA256_SIZE);
    index_put(t, TABLE_SEGMENTS, number_key(key, id), span_of(value, sizeof(value)));
}

int row_next_segment(struct index_txn *t, uint64_t *id, struct segment_row *out)
{
    uint8_t bytes[8];
    struct span value, key = number_key(bytes, *id);
    int err = index_seek(t, TABLE_SEGMENTS, &key, &value);
    if (err != 0)
        return err;
    if (key.size != 8)
        return ERR_INDEX;
    *id = get_key64(key.data);
    return decode_segment(value, out);
}

void row_delete_segment(struct index_txn *t, uint64_t id)
{
    uint8_t key[8];
    index_delete(t, TABLE_SEGMENTS, number_key(key, id));
}

void row_put_superseded(struct index_txn *t, uint64_t id, int64_t time_us)
{
    uint8_t key[8], value[8];
    put_u64(value, (uint64_t)time_us);
    index_put(t, TABLE_SUPERSEDED, number_key(key, id), span_of(value, sizeof(value)));
}

int row_next_superseded(struct index_txn *t, uint64_t *id, int64_t *out_time_us)
{
    uint8_t bytes[8];
    struct span value, key = number_key(bytes, *id);
    int err = index_seek(t, TABLE_SUPERSEDED, &key, &value);
    if (err != 0)
        return err;
    if (key.size != 8 || value.size != 8)
        return ERR_INDEX;
    *id = get_key64(key.data);
    *out_time_us = (int64_t)get_u64(value.data);
    return 0;
}

bool row_is_superseded(struct index_txn *t, uint64_t id)
{
    uint64_t found = id;
    int64_t time_us = 0;
    return row_next_superseded(t, &found, &time_us) == 0 && found == id;
}

static struct span info_key(enum info_number which)
{
    static const char *const names[] = {
        [INFO_LAST_LSN] = "last_lsn",
        [INFO_LAST_ACCOUNT] = "last_account",
        [INFO_PARTS_NAMED] = "parts_named",
        [INFO_PARTS_KEPT] = "parts_kept",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == INFO_COUNT, "a name each");
    return span_text(names[which]);
}

int row_get_number(struct index_txn *t, enum info_number which, uint64_t *out)
{
    struct span value;
    int err = index_get(t, TABLE_INFO, info_key(which), &value);
    *out = err == 0 && value.size == 8 ? get_u64(value.data) : 0;
    return err == ERR_NOT_FOUND ? 0 : err;
}

void row_put_number(struct index_txn *t, enum info_number which, uint64_t value)
{
    uint8_t bytes[8];
    put_u64(bytes, value);
    index_put(t, TABLE_INFO, info_key(which), span_of(bytes, sizeof(bytes)));
}

int row_get_account(struct index_txn *t, uint32_t account, struct account_row *out)
{
    uint8_t key[4];
    struct span value;
    put_key32(key, account);
    int err = index_get(t, TABLE_ACCOUNTS, span_of(key, sizeof(key)), &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    out->messages = take_u64(&c);
    out->bytes = take_u64(&c);
    out->highest = take_u64(&c);
    out->first_us = (int64_t)take_u64(&c);
    out->last_us = (int64_t)take_u64(&c);
    out->last_source = take_u32(&c);
    out->session_lsn = take_u64(&c);
    out->session_us = (int64_t)take_u64(&c);
    out->session_state = take_u8(&c);
    out->name = take_span(&c);
    out->session_text = take_span(&c);
    return decoded(&c);
}

void row_put_account(struct index_txn *t, uint32_t account, const struct account_row *row)
{
    uint8_t key[4];
    struct buffer value = {0};
    put_key32(key, account);
    buffer_put_u64(&value, row->messages);
    buffer_put_u64(&value, row->bytes);
    buffer_put_u64(&value, row->highest);
    buffer_put_u64(&value, (uint64_t)row->first_us);
    buffer_put_u64(&value, (uint64_t)row->last_us);
    buffer_put_u32(&value, row->last_source);
    buffer_put_u64(&value, row->session_lsn);
    buffer_put_u64(&value, (uint64_t)row->session_us);
    buffer_put_u8(&value, row->session_state);
    buffer_put_span(&value, row->name);
    buffer_put_span(&value, row->session_text);
    if (value.failed)
        index_fail(t, -ENOMEM);
    else
        index_put(t, TABLE_ACCOUNTS, span_of(key, sizeof(key)),
                  span_of(value.data, value.size));
    buffer_free(&value);
}

int row_get_name(struct index_txn *t, struct span name, uint32_t *out_account)
{
    struct span value;
    int err = index_get(t, TABLE_NAMES, name, &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    *out_account = take_u32(&c);
    return decoded(&c);
}

void row_put_name(struct index_txn *t, struct span name, uint32_t account)
{
    uint8_t value[4];
    put_u32(value, account);
    index_put(t, TABLE_NAMES, name, span_of(value, sizeof(value)));
}

void row_delete_name(struct index_txn *t, struct span name)
{
    index_delete(t, TABLE_NAMES, name);
}

struct span row_stand_in_name(uint32_t account, char text[ROW_STAND_IN_SIZE])
{
    (void)snprintf(text, ROW_STAND_IN_SIZE, "#%" PRIu32, account);
    return span_text(text);
}

int row_next_name(struct index_txn *t, struct span *name, uint32_t *out_account)
{
    struct span value;
    int err = index_seek(t, TABLE_NAMES, name, &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    *out_account = take_u32(&c);
    return decoded(&c);
}

static struct span source_key(uint8_t out[8], uint32_t account, uint32_t number)
{
    put_key32(out, account);
    put_key32(out + 4, number);
    return span_of(out, 8);
}

void row_put_source(struct index_txn *t, uint32_t account, const struct source_meta *source)
{
    uint8_t key[8];
    struct buffer value = {0};
    source_meta_encode(&value, source);
    if (value.failed)
        index_fail(t, -ENOMEM);
    else
        index_put(t, TABLE_SOURCES, source_key(key, account, source->number),
                  span_of(value.data, value.size));
    buffer_free(&value);
}

int row_get_source(struct index_txn *t, uint32_t account, uint32_t number,
                   struct source_meta *out)
{
    uint8_t key[8];
    struct span value;
    int err = index_get(t, TABLE_SOURCES, source_key(key, account, number), &value);
    if (err != 0)
        return err;
    return source_meta_decode(value, out) == 0 ? 0 : ERR_INDEX;
}

int row_find_source(struct index_txn *t, uint32_t account, uint32_t last, struct span host,
                    struct span login, uint32_t *out_source)
{
    struct source_meta source;
    for (uint32_t i = 1; i <= last; i++) {
        int err = row_get_source(t, account, i, &source);
        if (err == 0 && span_equal(source.host, host) && span_equal(source.login, login)) {
            *out_source = i;
            return 0;
        }
        if (err != 0 && err != ERR_NOT_FOUND)
            return err;
    }
    return ERR_NOT_FOUND;
}

int row_find_origin(struct index_txn *t, struct span name, struct span host,
                    struct span login, uint32_t *out_account, uint32_t *out_source,
                    uint32_t *out_last_source)
{
    struct account_row row;
    *out_account = *out_source = *out_last_source = 0;
    int err = row_get_name(t, name, out_account);
    if (err == 0)
        err = row_get_account(t, *out_account, &row);
    if (err != 0)
        return err;
    *out_last_source = row.last_source;
    return row_find_source(t, *out_account, row.last_source, host, login, out_source);
}

static int decode_message(struct span value, struct message_row *out)
{
    struct cursor c = cursor_over(value.data, value.size);
    out->place.segment = take_u64(&c);
    out->place.offset = take_u64(&c);
    out->ordinal = take_u32(&c);
    out->size = take_u64(&c);
    out->lsn = take_u64(&c);
    return decoded(&c);
}

int row_get_message(struct index_txn *t, uint32_t account, uint64_t n,
                    struct message_row *out)
{
    uint8_t key[PAIR_KEY_SIZE];
    struct span value;
    int err = index_get(t, TABLE_MESSAGES, pair_key(key, account, n), &value);
    return err != 0 ? err : decode_message(value, out);
}

void row_put_message(struct index_txn *t, uint32_t account, uint64_t n,
                     const struct message_row *row)
{
    uint8_t key[PAIR_KEY_SIZE], value[36];
    encode_place(value, &row->place);
    put_u32(value + 16, row->ordinal);
    put_u64(value + 20, row->size);
    put_u64(value + 28, row->lsn);
    index_put(t, TABLE_MESSAGES, pair_key(key, account, n), span_of(value, sizeof(value)));
}

void row_delete_message(struct index_txn *t, uint32_t account, uint64_t n)
{
    uint8_t key[PAIR_KEY_SIZE];
    index_delete(t, TABLE_MESSAGES, pair_key(key, account, n));
}

int row_next_message(struct index_txn *t, uint32_t account, uint64_t *n,
                     struct message_row *out)
{
    struct span value;
    int err = next_pair(t, TABLE_MESSAGES, account, n, &value);
    return err != 0 ? err : decode_message(value, out);
}

#define HASH_ROW_KEY_SIZE (4 + HASH_KEY_SIZE)

static struct span hash_key(uint8_t out[HASH_ROW_KEY_SIZE], uint32_t account,
                            const uint8_t sha256[SHA256_SIZE])
{
    put_key32(out, account);
    memcpy(out + 4, sha256, HASH_KEY_SIZE);
    return span_of(out, HASH_ROW_KEY_SIZE);
}

int row_each_hash(struct index_txn *t, uint32_t account, const uint8_t sha256[SHA256_SIZE],
                  int (*each)(void *arg, uint64_t n), void *arg)
{
    uint8_t key[HASH_ROW_KEY_SIZE];
    struct span value;
    int err = index_get(t, TABLE_HASHES, hash_key(key, account, sha256), &value);
    if (err != 0)
        return err == ERR_NOT_FOUND ? 0 : err;
    for (size_t i = 0; err == 0 && i + 8 <= value.size; i += 8)
        err = each(arg, get_u64(value.data + i));
    return err;
}

static int same_n(void *arg, uint64_t n)
{
    const uint64_t *sought = arg;
    return n == *sought ? ERR_EXISTS : 0;
}

void row_add_hash(struct index_txn *t, uint32_t account, const uint8_t sha256[SHA256_SIZE],
                  uint64_t n)
{
    uint8_t key[HASH_ROW_KEY_SIZE];
    int err = row_each_hash(t, account, sha256, same_n, &n);
    if (err == ERR_EXISTS)
        return;
    struct span old = {0}, k = hash_key(key, account, sha256);
    if (err == 0)
        err = index_get(t, TABLE_HASHES, k, &old);
    struct buffer value = {0};
    if (err == 0)
        buffer_put(&value, old.data, old.size);
    buffer_put_u64(&value, n);
    if (err != 0 && err != ERR_NOT_FOUND)
        index_fail(t, err);
    else if (value.failed)
        index_fail(t, -ENOMEM);
    else if (old.size < LIST_ROW_MAX)
        index_put(t, TABLE_HASHES, k, span_of(value.data, value.size));
    buffer_free(&value);
}

static struct span chunk_key(uint8_t out[STREAM_ID_SIZE + 4], const uint8_t *stream,
                             uint32_t sequence)
{
    memcpy(out, stream, STREAM_ID_SIZE);
    put_key32(out + STREAM_ID_SIZE, sequence);
    return span_of(out, STREAM_ID_SIZE + 4);
}

int row_get_chunk(struct index_txn *t, const uint8_t stream[STREAM_ID_SIZE],
                  uint32_t sequence, struct place *out)
{
    uint8_t key[STREAM_ID_SIZE + 4];
    struct span value;
    int err = index_get(t, TABLE_CHUNKS, chunk_key(key, stream, sequence), &value);
    return err != 0 ? err : decode_place(value, out);
}

void row_put_chunk(struct index_txn *t, const uint8_t stream[STREAM_ID_SIZE],
                   uint32_t sequence, const struct place *place)
{
    uint8_t key[STREAM_ID_SIZE + 4], value[16];
    index_put(t, TABLE_CHUNKS, chunk_key(key, stream, sequence),
              encode_place(value, place));
}

bool row_is_ledger(uint8_t type)
{
    switch (type) {
    case RECORD_SEEN:
    case RECORD_SESSION:
    case RECORD_SESSION_RUN:
    case RECORD_UNLISTED_RUN:
    case RECORD_DELETE_INTENT:
    case RECORD_DELETE_OUTCOME:
    case RECORD_QUARANTINE:
    case RECORD_LOST:
    case RECORD_ACCESS:
        return true;
    default:
        return false;
    }
}

void row_put_ledger(struct index_txn *t, uint32_t account, uint64_t lsn,
                    const struct ledger_row *row)
{
    uint8_t key[PAIR_KEY_SIZE], value[21];
    encode_place(value, &row->place);
    put_u32(value + 16, row->ordinal);
    value[20] = row->type;
    index_put(t, TABLE_LEDGER, pair_key(key, account, lsn), span_of(value, sizeof(value)));
}

int row_next_ledger(struct index_txn *t, uint32_t account, uint64_t *lsn,
                    struct ledger_row *out)
{
    struct span value;
    int err = next_pair(t, TABLE_LEDGER, account, lsn, &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    out->place.segment = take_u64(&c);
    out->place.offset = take_u64(&c);
    out->ordinal = take_u32(&c);
    out->type = take_u8(&c);
    return decoded(&c);
}

int row_get_part(struct index_txn *t, const uint8_t sha256[SHA256_SIZE],
                 struct part_row *out)
{
    struct span value;
    int err = index_get(t, TABLE_PARTS, span_of(sha256, SHA256_SIZE), &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    out->place.segment = take_u64(&c);
    out->place.offset = take_u64(&c);
    out->size = take_u32(&c);
    out->lsn = take_u64(&c);
    return decoded(&c);
}

void row_put_part(struct index_txn *t, const uint8_t sha256[SHA256_SIZE],
                  const struct part_row *row)
{
    uint8_t value[28];
    encode_place(value, &row->place);
    put_u32(value + 16, row->size);
    put_u64(value + 20, row->lsn);
    index_put(t, TABLE_PARTS, span_of(sha256, SHA256_SIZE), span_of(value, sizeof(value)));
}

bool row_is_carried(struct index_txn *t, uint64_t lsn)
{
    uint8_t key[8];
    struct span value;
    return index_get(t, TABLE_CARRIED, number_key(key, lsn), &value) == 0;
}

void row_put_carried(struct index_txn *t, uint64_t lsn)
{
    uint8_t key[8];
    index_put(t, TABLE_CARRIED, number_key(key, lsn), span_text("1"));
}

void row_put_lost(struct index_txn *t, uint32_t account, uint64_t first, uint64_t last)
{
    uint8_t key[PAIR_KEY_SIZE], value[8];
    put_u64(value, last);
    index_put(t, TABLE_LOST, pair_key(key, account, first), span_of(value, sizeof(value)));
}

int row_next_lost(struct index_txn *t, uint32_t account, uint64_t *first,
                  uint64_t *out_last)
{
    struct span value;
    int err = next_pair(t, TABLE_LOST, account, first, &value);
    if (err != 0)
        return err;
    *out_last = value.size == 8 ? get_u64(value.data) : 0;
    return value.size == 8 ? 0 : ERR_INDEX;
}
