#include "archive/lookup.h"

#include "archive/archive_internal.h"
#include "archive/index_rows.h"
#include "archive/reader.h"

#include <errno.h>
#include <stdlib.h>

/* A cache with one place for each value of the hash's first bits. */
#define RECENT_PARTS 4096

struct lookup {
    struct index_txn *txn;
    bool resting;
    struct reader *reader;
    uint8_t (*recent)[SHA256_SIZE]; /* RECENT_PARTS of them; made with the first part */
};

int lookup_create(struct archive *a, struct lookup **out)
{
    struct lookup *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->resting = true;
    int err = reader_create(a, &l->reader);
    if (err == 0)
        err = index_begin_read(a->index, &l->txn);
    if (err != 0) {
        lookup_destroy(l);
        return err;
    }
    index_reset(l->txn);
    *out = l;
    return 0;
}

void lookup_destroy(struct lookup *l)
{
    if (l == NULL)
        return;
    reader_destroy(l->reader);
    index_abort(l->txn);
    free(l->recent);
    free(l);
}

void lookup_rest(struct lookup *l)
{
    if (!l->resting)
        index_reset(l->txn);
    l->resting = true;
    reader_let_go(l->reader);
}

int lookup_txn(struct lookup *l, struct index_txn **out)
{
    *out = l->txn;
    if (!l->resting)
        return 0;
    int err = index_renew(l->txn);
    if (err == 0)
        l->resting = false;
    return err;
}

struct reader *lookup_reader(struct lookup *l)
{
    return l->reader;
}

static size_t recent_slot(const uint8_t sha256[SHA256_SIZE])
{
    return get_u16(sha256) % RECENT_PARTS;
}

bool lookup_recent_part(const struct lookup *l, const uint8_t sha256[SHA256_SIZE])
{
    return l->recent != NULL &&
           memcmp(l->recent[recent_slot(sha256)], sha256, SHA256_SIZE) == 0;
}

void lookup_remember_part(struct lookup *l, const uint8_t sha256[SHA256_SIZE])
{
    if (l->recent == NULL)
        l->recent = calloc(RECENT_PARTS, sizeof(*l->recent));
    if (l->recent != NULL)
        memcpy(l->recent[recent_slot(sha256)], sha256, SHA256_SIZE);
}

int lookup_origin(struct lookup *l, struct span name, struct span host, struct span login,
                  uint32_t *out_account, uint32_t *out_source)
{
    uint32_t last = 0;
    struct index_txn *t = NULL;
    int err = lookup_txn(l, &t);
    return err != 0 ? err
                    : row_find_origin(t, name, host, login, out_account, out_source, &last);
}
