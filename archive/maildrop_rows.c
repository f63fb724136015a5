#include "archive/maildrop_rows.h"

#include "archive/error.h"

#include <errno.h>

#define MAILDROP_KEY_SIZE 8
#define DELETION_KEY_SIZE 16

static struct span deletion_key(uint8_t out[DELETION_KEY_SIZE], uint32_t account,
                                uint32_t source, uint64_t n)
{
    put_key32(out, account);
    put_key32(out + 4, source);
    put_key64(out + 8, n);
    return span_of(out, DELETION_KEY_SIZE);
}

static struct span maildrop_key(uint8_t out[MAILDROP_KEY_SIZE], uint32_t account,
                                uint32_t source)
{
    put_key32(out, account);
    put_key32(out + 4, source);
    return span_of(out, MAILDROP_KEY_SIZE);
}

int row_get_maildrop(struct index_txn *t, uint32_t account, uint32_t source,
                     struct maildrop_row *out)
{
    uint8_t key[MAILDROP_KEY_SIZE];
    struct span value;
    *out = (struct maildrop_row){0};
    int err = index_get(t, TABLE_MAILDROPS, maildrop_key(key, account, source), &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    out->lsn = take_u64(&c);
    out->doubts = take_u8(&c);
    out->named_lsn = take_u64(&c);
    out->highest = take_u64(&c);
    out->weak_lsn = take_u64(&c);
    out->delete_lsn = take_u64(&c);
    out->delete_listed = take_u64(&c);
    out->named = span_of(c.at, cursor_left(&c));
    return c.bad || !number_set_valid(out->named) ? ERR_INDEX : 0;
}

void row_put_maildrop(struct index_txn *t, uint32_t account, uint32_t source,
                      const struct maildrop_row *row)
{
    uint8_t key[MAILDROP_KEY_SIZE];
    struct buffer value = {0};
    buffer_put_u64(&value, row->lsn);
    buffer_put_u8(&value, row->doubts);
    buffer_put_u64(&value, row->named_lsn);
    buffer_put_u64(&value, row->highest);
    buffer_put_u64(&value, row->weak_lsn);
    buffer_put_u64(&value, row->delete_lsn);
    buffer_put_u64(&value, row->delete_listed);
    buffer_put(&value, row->named.data, row->named.size);
    if (value.failed)
        index_fail(t, -ENOMEM);
    else
        index_put(t, TABLE_MAILDROPS, maildrop_key(key, account, source),
                  span_of(value.data, value.size));
    buffer_free(&value);
}

int row_get_deletion(struct index_txn *t, uint32_t account, uint32_t source, uint64_t n,
                     struct deletion_row *out)
{
    uint8_t key[DELETION_KEY_SIZE];
    struct span value;
    *out = (struct deletion_row){0};
    int err = index_get(t, TABLE_DELETIONS, deletion_key(key, account, source, n), &value);
    if (err != 0)
        return err;
    struct cursor c = cursor_over(value.data, value.size);
    out->lsn = take_u64(&c);
    out->time_us = (int64_t)take_u64(&c);
    out->state = take_u8(&c);
    out->attempt = take_u8(&c);
    return c.bad || cursor_left(&c) != 0 ? ERR_INDEX : 0;
}

enum deletion_state row_deletion_state(struct index_txn *t, uint32_t account,
                                       uint32_t source, uint64_t n)
{
    struct deletion_row row;
    return row_get_deletion(t, account, source, n, &row) == 0
               ? (enum deletion_state)row.state
               : DELETION_NONE;
}

bool row_any_deletion(struct index_txn *t, uint32_t account, uint32_t source)
{
    uint8_t bytes[DELETION_KEY_SIZE];
    struct span value, key = deletion_key(bytes, account, source, 0);
    int err = index_seek(t, TABLE_DELETIONS, &key, &value);
    return err == 0 ? get_key32(key.data) == account && get_key32(key.data + 4) == source
                    : err != ERR_NOT_FOUND;
}

void row_put_deletion(struct index_txn *t, uint32_t account, uint32_t source, uint64_t n,
                      const struct deletion_row *row)
{
    uint8_t bytes[DELETION_KEY_SIZE], value[18];
    struct span key = deletion_key(bytes, account, source, n);
    put_u64(value, row->lsn);
    put_u64(value + 8, (uint64_t)row->time_us);
    value[16] = row->state;
    value[17] = row->attempt;
    index_put(t, TABLE_DELETIONS, key, span_of(value, sizeof(value)));
    if (deletion_is_open(row->state))
        index_put(t, TABLE_UNCONFIRMED, key, span_text("1"));
    else
        index_delete(t, TABLE_UNCONFIRMED, key);
}

int row_next_open_deletion(struct index_txn *t, uint32_t account, uint32_t source,
                           uint64_t *n)
{
    uint8_t bytes[DELETION_KEY_SIZE];
    struct span value, key = deletion_key(bytes, account, source, *n);
    int err = index_seek(t, TABLE_UNCONFIRMED, &key, &value);
    if (err != 0)
        return err;
    if (key.size != DELETION_KEY_SIZE || get_key32(key.data) != account ||
        get_key32(key.data + 4) != source)
        return ERR_NOT_FOUND;
    *n = get_key64(key.data + 8);
    return 0;
}

int row_count_open_deletions(struct index_txn *t, uint32_t account, uint64_t *out)
{
    uint64_t all = 0, n = 0;
    uint32_t source = 0;
    uint8_t bytes[DELETION_KEY_SIZE];
    int err = index_count(t, TABLE_UNCONFIRMED, &all);
    *out = account == 0 ? all : 0;
    while (err == 0 && *out < all) { /* nearly always there are none at all */
        struct span value, key = deletion_key(bytes, account, source, n);
        err = index_seek(t, TABLE_UNCONFIRMED, &key, &value);
        if (err != 0 || key.size != DELETION_KEY_SIZE || get_key32(key.data) != account)
            break;
        source = get_key32(key.data + 4);
        n = get_key64(key.data + 8) + 1;
        ++*out;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}
