#include "archive/uidl_rows.h"

#include "archive/digest.h"
#include "archive/error.h"
#include "archive/index_rows.h"

#include <errno.h>

#define HASH_KEY_SIZE 16 /* bytes of the UIDL's SHA-256 */
#define UIDL_KEY_SIZE (8 + HASH_KEY_SIZE)

static struct span uidl_key(struct index_txn *t, uint8_t out[UIDL_KEY_SIZE],
                            uint32_t account, uint32_t source, struct span uidl)
{
    uint8_t hash[SHA256_SIZE];
    struct sha256 *running = index_hash(t);
    put_key32(out, account);
    put_key32(out + 4, source);
    if (running != NULL) {
        sha256_start(running);
        sha256_add(running, uidl.data, uidl.size);
        sha256_finish(running, hash);
    } else {
        sha256_of(uidl.data, uidl.size, hash);
    }
    memcpy(out + 8, hash, HASH_KEY_SIZE);
    return span_of(out, UIDL_KEY_SIZE);
}

int row_find_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  struct uidl_entries *out)
{
    uint8_t key[UIDL_KEY_SIZE];
    struct span value = {0};
    int err = index_get(t, TABLE_UIDLS, uidl_key(t, key, account, source, uidl), &value);
    out->uidl = uidl;
    out->rest = cursor_over(value.data, value.size);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int uidl_entries_next(struct uidl_entries *e, struct uidl_entry *out)
{
    while (cursor_left(&e->rest) > 0) {
        struct span other = take_span(&e->rest);
        out->n = take_u64(&e->rest);
        out->listed_size = take_u64(&e->rest);
        if (e->rest.bad)
            return ERR_INDEX;
        if (span_equal(other, e->uidl)) /* keys are cut hashes: the value decides */
            return 0;
    }
    return ERR_NOT_FOUND;
}

int row_each_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  int (*each)(void *arg, const struct uidl_entry *e), void *arg)
{
    struct uidl_entries entries;
    struct uidl_entry entry;
    int err = row_find_uidl(t, account, source, uidl, &entries);
    while (err == 0) {
        err = uidl_entries_next(&entries, &entry);
        if (err == 0)
            err = each(arg, &entry);
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int same_uidl_entry(void *arg, const struct uidl_entry *e)
{
    const struct uidl_entry *sought = arg;
    return e->n == sought->n && e->listed_size == sought->listed_size ? ERR_EXISTS : 0;
}

void row_add_uidl(struct index_txn *t, uint32_t account, uint32_t source, struct span uidl,
                  const struct uidl_entry *entry)
{
    uint8_t key[UIDL_KEY_SIZE];
    struct uidl_entry sought = *entry;
    int err = row_each_uidl(t, account, source, uidl, same_uidl_entry, &sought);
    if (err == ERR_EXISTS)
        return;
    struct span old = {0}, k = uidl_key(t, key, account, source, uidl);
    if (err == 0)
        err = index_get(t, TABLE_UIDLS, k, &old);
    struct buffer value = {0};
    if (err == 0)
        buffer_put(&value, old.data, old.size);
    buffer_put_span(&value, uidl);
    buffer_put_u64(&value, entry->n);
    buffer_put_u64(&value, entry->listed_size);
    if (err != 0 && err != ERR_NOT_FOUND)
        index_fail(t, err);
    else if (value.failed)
        index_fail(t, -ENOMEM);
    else if (old.size < LIST_ROW_MAX)
        index_put(t, TABLE_UIDLS, k, span_of(value.data, value.size));
    buffer_free(&value);
}
