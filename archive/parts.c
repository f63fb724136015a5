#include "archive/parts.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_rows.h"

#include <errno.h>
#include <stdlib.h>

/* The buffer of a part: most are small, and PART_RAW_MAX is two steps away. */
#define DECODED_FIRST ((size_t)64 * 1024)
#define DECODED_GROWTH 4

struct parts {
    struct packer *packer;
    struct lookup *lookup;
    struct damaged_part *damaged;
    size_t damaged_count;
    struct sha256 *hash;
    struct buffer decoded; /* of the part that is filling */
    struct buffer hashes;  /* of the run's parts so far */
    struct buffer runs;
    uint32_t runs_count;
};

struct parts *parts_create(struct packer *packer, struct lookup *lookup,
                           struct damaged_part *damaged, size_t damaged_count)
{
    struct parts *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->packer = packer;
    p->lookup = lookup;
    p->damaged = damaged;
    p->damaged_count = damaged_count;
    p->hash = sha256_create();
    if (p->hash == NULL) {
        free(p);
        return NULL;
    }
    return p;
}

void parts_destroy(struct parts *p)
{
    if (p == NULL)
        return;
    sha256_destroy(p->hash);
    buffer_free(&p->decoded);
    buffer_free(&p->hashes);
    buffer_free(&p->runs);
    free(p);
}

/* Between runs a small buffer is kept; what a large part took would count as memory of the
 * open block, which would be closed before it is full. */
static void forget_decoded(struct parts *p)
{
    if (p->decoded.capacity > DECODED_FIRST)
        buffer_free(&p->decoded);
    else
        buffer_clear(&p->decoded);
}

/* In few steps: each moves what is there. */
static bool make_room(struct parts *p, size_t size)
{
    size_t capacity = DECODED_FIRST;
    while (capacity < p->decoded.size + size)
        capacity *= DECODED_GROWTH;
    if (capacity <= p->decoded.capacity)
        return true;
    return buffer_reserve(&p->decoded, capacity - p->decoded.size) != NULL;
}

void parts_begin(struct parts *p)
{
    forget_decoded(p);
    buffer_clear(&p->hashes);
    buffer_clear(&p->runs);
    p->runs_count = 0;
}

bool parts_full(const struct parts *p)
{
    return p->runs_count >= MESSAGE_RUNS_MAX;
}

enum part_state { PART_NEW, PART_KEPT, PART_HURT };

/* The entry of a part that is hurt where the index has it; NULL: none. */
static struct damaged_part *find_damaged(struct parts *p, const uint8_t sha256[SHA256_SIZE],
                                         const struct part_row *row)
{
    for (size_t i = 0; i < p->damaged_count; i++)
        if (memcmp(p->damaged[i].sha256, sha256, SHA256_SIZE) == 0 &&
            p->damaged[i].place.segment == row->place.segment &&
            p->damaged[i].place.offset == row->place.offset)
            return &p->damaged[i];
    return NULL;
}

/* What is hurt comes first: this thread may well have stored it itself, lately. */
static enum part_state look_up(struct parts *p, const uint8_t sha256[SHA256_SIZE])
{
    struct index_txn *t = NULL;
    struct part_row row;
    bool indexed = lookup_txn(p->lookup, &t) == 0 && row_get_part(t, sha256, &row) == 0;
    struct damaged_part *damaged = indexed ? find_damaged(p, sha256, &row) : NULL;
    if (damaged != NULL) {
        damaged->place.segment = 0; /* it is written anew: once is enough */
        return PART_HURT;
    }
    /* If in doubt it is handed over: the store looks again. */
    return indexed || lookup_recent_part(p->lookup, sha256) ? PART_KEPT : PART_NEW;
}

static int emit_part(struct parts *p, const uint8_t sha256[SHA256_SIZE],
                     enum part_state state)
{
    struct record *r = record_create(RECORD_PART, 0, archive_now_us());
    if (r == NULL)
        return -ENOMEM;
    if (state == PART_HURT)
        r->header.flags |= RECORD_HEALS;
    part_meta_encode(&r->meta, sha256);
    int err =
        packer_fill_body(p->packer, r, CODEC_FETCH_PART, p->decoded.data, p->decoded.size);
    if (err != 0) {
        record_destroy(r);
        return err;
    }
    err = packer_emit_record(p->packer, r);
    if (err == 0)
        lookup_remember_part(p->lookup, sha256);
    return err;
}

static int end_part(struct parts *p)
{
    uint8_t sha256[SHA256_SIZE];
    sha256_start(p->hash);
    sha256_add(p->hash, p->decoded.data, p->decoded.size);
    sha256_finish(p->hash, sha256);
    buffer_put(&p->hashes, sha256, sizeof(sha256));
    enum part_state state = look_up(p, sha256);
    int err = state == PART_KEPT ? 0 : emit_part(p, sha256, state);
    buffer_clear(&p->decoded);
    return err;
}

int parts_add(struct parts *p, const uint8_t *data, size_t size)
{
    int err = 0;
    while (err == 0 && size > 0) {
        size_t room = PART_RAW_MAX - p->decoded.size;
        size_t step = size < room ? size : room;
        if (!make_room(p, step))
            return -ENOMEM;
        buffer_put(&p->decoded, data, step);
        data += step;
        size -= step;
        if (p->decoded.size == PART_RAW_MAX)
            err = end_part(p);
    }
    return err;
}

int parts_run_end(struct parts *p, const struct base64_run *run, uint64_t at)
{
    int err = p->decoded.size > 0 ? end_part(p) : 0;
    if (err != 0)
        return err;
    const struct run_meta meta = {.at = at, .run = *run, .parts = p->hashes.data};
    run_meta_encode(&p->runs, &meta);
    p->runs_count++;
    bool failed = p->runs.failed || p->hashes.failed;
    buffer_clear(&p->hashes);
    forget_decoded(p);
    return failed ? -ENOMEM : 0;
}

struct span parts_runs(const struct parts *p)
{
    return span_of(p->runs.data, p->runs.size);
}

size_t parts_memory(const struct parts *p)
{
    return p->decoded.capacity + p->hashes.capacity + p->runs.capacity;
}
