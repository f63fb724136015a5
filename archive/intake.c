#include "archive/intake.h"

#include "archive/archive_internal.h"
#include "archive/damage.h"
#include "archive/envelope.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Bodies of this session that a later equal one may share; beyond, equal bodies are stored
 * again. */
#define SESSION_BODIES_MAX 4096

struct lookup {
    struct archive *archive;
    struct index_txn *txn;
    bool resting;
    struct reader *reader; /* to compare whole hashes */
};

struct session_body {
    uint8_t sha256[SHA256_SIZE];
    uint64_t n;
    uint64_t place;
    bool in_block; /* of the block that is open now */
};

/* Invariants: 1. raw[0, message_start) belongs to the messages already in `meta`. 2.
 * streaming implies message_start == 0 and no messages in `meta`. 3. err is sticky. */
struct intake {
    struct intake_config config;
    int err;
    uint64_t highest;
    bool trusted;
    struct buffer
        claimed; /* a bit for each N that this listing names, or that content claimed */
    struct damaged_message *damaged;
    size_t damaged_count;
    bool any_lost;

    struct buffer raw;
    struct buffer meta;
    struct block_meta_writer block;

    bool in_message;
    bool streaming;
    size_t message_start;
    uint64_t message_size;
    uint64_t listed_size;
    uint32_t chunks;
    uint8_t stream[STREAM_ID_SIZE];
    struct buffer uidl;
    struct sha256 *hash;
    struct envelope envelope;

    struct session_body *bodies;
    size_t bodies_count;
};

int lookup_create(struct archive *a, struct lookup **out)
{
    struct lookup *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->archive = a;
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
    free(l);
}

void lookup_rest(struct lookup *l)
{
    if (!l->resting)
        index_reset(l->txn);
    l->resting = true;
}

static int wake(struct lookup *l)
{
    if (!l->resting)
        return 0;
    int err = index_renew(l->txn);
    if (err == 0)
        l->resting = false;
    return err;
}

int lookup_origin(struct lookup *l, struct span name, struct span host, struct span login,
                  uint32_t *out_account, uint32_t *out_source)
{
    uint32_t last = 0;
    int err = wake(l);
    return err != 0
               ? err
               : row_find_origin(l->txn, name, host, login, out_account, out_source, &last);
}

int intake_open(const struct intake_config *config, struct intake **out)
{
    struct account_row row = {0};
    uint64_t first = 0, last = 0;
    struct intake *in = calloc(1, sizeof(*in));
    if (in == NULL)
        return -ENOMEM;
    in->config = *config;
    in->hash = sha256_create();
    int err = in->hash == NULL ? -ENOMEM : wake(config->lookup);
    if (err == 0)
        err = row_get_account(config->lookup->txn, config->account, &row);
    if (err == ERR_NOT_FOUND) /* its ACCOUNT record is still on its way */
        err = 0;
    in->highest = row.highest;
    if (err == 0)
        in->any_lost =
            row_next_lost(config->lookup->txn, config->account, &first, &last) == 0;
    if (err == 0)
        err =
            damage_load(config->archive, config->account, &in->damaged, &in->damaged_count);
    if (err != 0) {
        intake_close(in);
        return err;
    }
    block_meta_begin(&in->block, &in->meta);
    *out = in;
    return 0;
}

void intake_close(struct intake *in)
{
    if (in == NULL)
        return;
    buffer_free(&in->claimed);
    buffer_free(&in->raw);
    buffer_free(&in->meta);
    buffer_free(&in->uidl);
    sha256_destroy(in->hash);
    free(in->damaged);
    free(in->bodies);
    free(in);
}

static bool is_claimed(const struct intake *in, uint64_t n)
{
    return n / 8 < in->claimed.size && (in->claimed.data[n / 8] >> n % 8 & 1) != 0;
}

static void claim(struct intake *in, uint64_t n)
{
    size_t byte = n / 8;
    if (byte >= in->claimed.size) {
        size_t more = byte + 1 - in->claimed.size;
        uint8_t *to = buffer_reserve(&in->claimed, more);
        if (to == NULL) {
            in->err = -ENOMEM;
            return;
        }
        memset(to, 0, more);
        in->claimed.size += more;
    }
    in->claimed.data[byte] |= (uint8_t)(1u << n % 8);
}

static bool is_lost(struct intake *in, uint64_t n)
{
    struct message_row row;
    return in->any_lost && row_get_message(in->config.lookup->txn, in->config.account, n,
                                           &row) == ERR_NOT_FOUND;
}

/* Hurt, and not healed since it was found so? */
static bool is_damaged(struct intake *in, uint64_t n)
{
    struct message_row row;
    for (size_t i = 0; i < in->damaged_count; i++)
        if (in->damaged[i].n == n)
            return row_get_message(in->config.lookup->txn, in->config.account, n, &row) !=
                       0 ||
                   (row.place.segment == in->damaged[i].place.segment &&
                    row.place.offset == in->damaged[i].place.offset);
    return false;
}

struct judging {
    struct intake *in;
    uint64_t listed_size;
    enum intake_verdict verdict;
};

static int judge_entry(void *arg, const struct uidl_entry *e)
{
    struct judging *j = arg;
    if (j->listed_size != SIZE_UNKNOWN && e->listed_size != SIZE_UNKNOWN &&
        e->listed_size != j->listed_size)
        return 0;
    if (e->n == 0) {
        j->verdict = INTAKE_QUARANTINED;
        return 1;
    }
    if (is_claimed(j->in, e->n) || is_lost(j->in, e->n))
        return 0;
    claim(j->in, e->n);
    if (is_damaged(j->in, e->n))
        return 0;
    j->verdict = INTAKE_KNOWN;
    return 1;
}

static bool usable(struct span uidl)
{
    return uidl.size > 0 && uidl.size <= UIDL_SIZE_MAX;
}

enum intake_verdict intake_judge(struct intake *in, struct span uidl, uint64_t listed_size)
{
    struct judging j = {.in = in, .listed_size = listed_size, .verdict = INTAKE_WANTED};
    if (usable(uidl) && wake(in->config.lookup) == 0)
        row_each_uidl(in->config.lookup->txn, in->config.account, in->config.source, uidl,
                      judge_entry, &j);
    return j.verdict;
}

void intake_listed(struct intake *in, bool trusted)
{
    in->trusted = trusted;
}

static int emit(struct intake *in, struct record *r)
{
    int err = record_prepare(r, in->config.codec);
    if (err != 0)
        record_destroy(r);
    else
        err = in->config.emit(in->config.arg, r);
    if (err != 0)
        in->err = err;
    return err;
}

static struct record *new_record(struct intake *in, enum record_type type)
{
    struct record *r = record_create(type, in->config.account, archive_now_us());
    if (r == NULL)
        in->err = -ENOMEM;
    return r;
}

/* Compress size raw bytes into the record's body, or keep them as they are if that is no
 * smaller. */
static int fill_body(struct intake *in, struct record *r, size_t size)
{
    size_t stored = 0, bound = codec_bound(size);
    r->header.body_raw_size = size;
    if (size == 0)
        return 0;
    r->body = malloc(bound);
    if (r->body == NULL)
        return -ENOMEM;
    int err = codec_compress(in->config.codec, CODEC_LEVEL_FETCH, in->raw.data, size,
                             r->body, bound, &stored);
    if (err != 0)
        return err;
    r->header.codec = CODEC_ZSTD;
    if (stored >= size) {
        memcpy(r->body, in->raw.data, size);
        stored = size;
        r->header.codec = CODEC_STORED;
    }
    r->header.body_size = stored;
    uint8_t *shrunk = realloc(r->body, stored);
    if (shrunk != NULL)
        r->body = shrunk;
    return 0;
}

/* The messages in `meta`, whose bytes are raw[0, size), become a BLOCK. */
static int close_block(struct intake *in, size_t size)
{
    if (in->block.count == 0)
        return 0;
    struct record *r = new_record(in, RECORD_BLOCK);
    if (r == NULL)
        return in->err;
    block_meta_end(&in->block, in->highest);
    r->meta = in->meta;
    in->meta = (struct buffer){0};
    block_meta_begin(&in->block, &in->meta);
    for (size_t i = 0; i < in->bodies_count; i++)
        in->bodies[i].in_block = false;
    int err = fill_body(in, r, size);
    if (err != 0) {
        record_destroy(r);
        in->err = err;
        return err;
    }
    return emit(in, r);
}

static int emit_chunk(struct intake *in)
{
    struct record *r = new_record(in, RECORD_CHUNK);
    if (r == NULL)
        return in->err;
    struct chunk_meta meta = {.sequence = in->chunks++,
                              .raw_offset = in->message_size - in->raw.size};
    memcpy(meta.stream, in->stream, STREAM_ID_SIZE);
    chunk_meta_encode(&r->meta, &meta);
    int err = fill_body(in, r, in->raw.size);
    if (err != 0) {
        record_destroy(r);
        in->err = err;
        return err;
    }
    in->raw.size = 0;
    return emit(in, r);
}

/* The open block is full in the middle of a message: what is complete goes out as a block;
 * a message that fills one by itself becomes a stream of chunks. */
static int make_room(struct intake *in)
{
    if (in->message_start > 0 || in->block.count > 0) {
        size_t start = in->message_start, partial = in->raw.size - start;
        int err = close_block(in, start);
        if (err != 0)
            return err;
        if (partial > 0)
            memmove(in->raw.data, in->raw.data + start, partial);
        in->raw.size = partial;
        in->message_start = 0;
    }
    if (in->raw.size < CHUNK_RAW_MAX)
        return 0;
    if (!in->streaming) {
        int err = random_bytes(in->stream, sizeof(in->stream));
        if (err != 0)
            return in->err = err;
        in->streaming = true;
    }
    return emit_chunk(in);
}

int intake_begin(struct intake *in, struct span uidl, uint64_t listed_size)
{
    assert(!in->in_message);
    if (in->err != 0)
        return in->err;
    in->in_message = true;
    in->streaming = false;
    in->message_start = in->raw.size;
    in->message_size = 0;
    in->listed_size = listed_size;
    in->chunks = 0;
    buffer_clear(&in->uidl);
    if (usable(uidl))
        buffer_put(&in->uidl, uidl.data, uidl.size);
    if (in->uidl.failed)
        in->err = -ENOMEM;
    sha256_start(in->hash);
    envelope_start(&in->envelope);
    return in->err;
}

int intake_add(struct intake *in, const uint8_t *data, size_t size)
{
    assert(in->in_message);
    sha256_add(in->hash, data, size);
    envelope_add(&in->envelope, data, size);
    while (in->err == 0 && size > 0) {
        size_t room = CHUNK_RAW_MAX - in->raw.size;
        size_t part = size < room ? size : room;
        buffer_put(&in->raw, data, part);
        if (in->raw.failed)
            return in->err = -ENOMEM;
        in->message_size += part;
        data += part;
        size -= part;
        if (in->raw.size == CHUNK_RAW_MAX && size > 0)
            make_room(in);
    }
    return in->err;
}

void intake_abort(struct intake *in)
{
    if (in->in_message)
        in->raw.size = in->streaming ? 0 : in->message_start;
    in->in_message = false;
    in->streaming = false;
}

/* What the archive holds with the same bytes. */
struct twins {
    struct intake *in;
    const uint8_t *sha256;
    uint64_t hurt;      /* a damaged message: 0 none */
    uint64_t claimable; /* one that this listing does not name */
    uint64_t any;       /* one whose body can be shared */
};

static int look_at_twin(void *arg, uint64_t n)
{
    struct twins *t = arg;
    struct intake *in = t->in;
    struct message_meta m;
    if (is_lost(in, n))
        return 0;
    if (is_damaged(in, n)) {
        if (t->hurt == 0)
            t->hurt = n; /* its meta may be gone; 16 bytes of the hash have to do */
        return 0;
    }
    int err = reader_message(in->config.lookup->reader, in->config.account, n, &m);
    if (err != 0 || memcmp(m.sha256, t->sha256, SHA256_SIZE) != 0)
        return 0;
    if (t->any == 0)
        t->any = m.kind == BODY_SAME ? m.place : n;
    if (t->claimable == 0 && !is_claimed(in, n))
        t->claimable = n;
    return 0;
}

static struct twins find_twins(struct intake *in, const uint8_t sha256[SHA256_SIZE])
{
    struct twins t = {.in = in, .sha256 = sha256};
    if (wake(in->config.lookup) == 0)
        row_each_hash(in->config.lookup->txn, in->config.account, sha256, look_at_twin, &t);
    return t;
}

static const struct session_body *find_session_body(const struct intake *in,
                                                    const uint8_t sha256[SHA256_SIZE])
{
    for (size_t i = 0; i < in->bodies_count; i++)
        if (memcmp(in->bodies[i].sha256, sha256, SHA256_SIZE) == 0)
            return &in->bodies[i];
    return NULL;
}

static void remember_body(struct intake *in, const struct message_meta *m)
{
    if (in->bodies_count == SESSION_BODIES_MAX || m->kind == BODY_SAME)
        return;
    if ((in->bodies_count & (in->bodies_count - 1)) == 0) { /* grow at powers of two */
        size_t room = in->bodies_count == 0 ? 1 : in->bodies_count * 2;
        struct session_body *bodies = realloc(in->bodies, room * sizeof(*bodies));
        if (bodies == NULL)
            return; /* an equal body will be stored again: no harm */
        in->bodies = bodies;
    }
    struct session_body *b = &in->bodies[in->bodies_count++];
    memcpy(b->sha256, m->sha256, SHA256_SIZE);
    b->n = m->n;
    b->place = m->place;
    b->in_block = m->kind == BODY_SLICE;
}

static int emit_seen(struct intake *in, uint64_t n)
{
    struct record *r;
    if (in->uidl.size == 0)
        return 0;
    r = new_record(in, RECORD_SEEN);
    if (r == NULL)
        return in->err;
    const struct seen_meta meta = {.n = n,
                                   .source = in->config.source,
                                   .listed_size = in->listed_size,
                                   .uidl = span_of(in->uidl.data, in->uidl.size)};
    seen_meta_encode(&r->meta, &meta);
    return emit(in, r);
}

/* Share a body that is stored already, if there is one: then the message's own bytes go. */
static void share_body(struct intake *in, struct message_meta *m, const struct twins *twins)
{
    const struct session_body *body = find_session_body(in, m->sha256);
    if (m->flags & MESSAGE_HEALS)
        return;
    if (body != NULL && body->in_block) {
        m->kind = BODY_SLICE;
        m->place = body->place;
    } else if (body != NULL || twins->any != 0) {
        m->kind = BODY_SAME;
        m->place = body != NULL ? body->n : twins->any;
    } else
        return;
    in->raw.size = in->message_start;
}

static int emit_end(struct intake *in, const struct message_meta *m)
{
    struct record *r = new_record(in, RECORD_END);
    struct block_meta_writer w;
    if (r == NULL)
        return in->err;
    block_meta_begin(&w, &r->meta);
    block_meta_add(&w, m);
    block_meta_end(&w, in->highest);
    return emit(in, r);
}

static int add_to_block(struct intake *in, const struct message_meta *m)
{
    block_meta_add(&in->block, m);
    if (in->meta.failed)
        return in->err = -ENOMEM;
    if (in->raw.size < CHUNK_RAW_MAX && in->block.count < BLOCK_MESSAGES_MAX)
        return 0;
    return intake_flush(in);
}

static int keep_message(struct intake *in, struct message_meta *m,
                        const struct twins *twins)
{
    m->kind = BODY_SLICE;
    m->place = in->message_start;
    if (in->streaming) {
        if (in->raw.size > 0 && emit_chunk(in) != 0)
            return in->err;
        m->kind = BODY_STREAM;
        m->place = in->chunks;
        memcpy(m->stream, in->stream, STREAM_ID_SIZE);
    }
    share_body(in, m, twins);
    remember_body(in, m);
    in->in_message = false;
    in->streaming = false;
    return m->kind == BODY_STREAM ? emit_end(in, m) : add_to_block(in, m);
}

int intake_end(struct intake *in, uint8_t flags, enum intake_result *out_result)
{
    struct message_meta m = {.source = in->config.source,
                             .flags = flags,
                             .listed_size = in->listed_size,
                             .size = in->message_size,
                             .fetched_us = archive_now_us(),
                             .uidl = span_of(in->uidl.data, in->uidl.size)};
    assert(in->in_message);
    if (in->err != 0)
        return in->err;
    sha256_finish(in->hash, m.sha256);
    envelope_fields(&in->envelope, m.fields);
    if (in->uidl.size == 0)
        m.flags |= MESSAGE_NO_UIDL;
    if (!in->trusted)
        m.flags |= MESSAGE_UNTRUSTED;
    struct twins twins = find_twins(in, m.sha256);
    *out_result = INTAKE_ARCHIVED;
    if (twins.hurt != 0) {
        *out_result = INTAKE_HEALED;
        m.n = twins.hurt;
        m.flags |= MESSAGE_HEALS;
        for (size_t i = 0; i < in->damaged_count; i++)
            if (in->damaged[i].n == twins.hurt)
                in->damaged[i].n = 0;
    } else if (twins.claimable != 0 && (in->trusted || in->uidl.size == 0)) {
        *out_result = INTAKE_DEDUPLICATED;
        claim(in, twins.claimable);
        intake_abort(in);
        return emit_seen(in, twins.claimable);
    } else {
        m.n = ++in->highest;
        claim(in, m.n);
    }
    int err = random_bytes(m.salt, sizeof(m.salt));
    if (err == 0)
        err = keep_message(in, &m, &twins);
    return in->err = err;
}

int intake_quarantine(struct intake *in, struct span uidl, uint64_t listed_size,
                      const char *reason)
{
    if (in->err != 0)
        return in->err;
    struct record *r = new_record(in, RECORD_QUARANTINE);
    if (r == NULL)
        return in->err;
    struct quarantine_meta meta = {.source = in->config.source,
                                   .listed_size = listed_size,
                                   .reason = span_text(reason)};
    if (usable(uidl))
        meta.uidl = uidl;
    if (meta.reason.size > TEXT_SIZE_MAX)
        meta.reason.size = TEXT_SIZE_MAX;
    quarantine_meta_encode(&r->meta, &meta);
    return emit(in, r);
}

int intake_flush(struct intake *in)
{
    if (in->err != 0 || in->streaming)
        return in->err;
    size_t size = in->in_message ? in->message_start : in->raw.size;
    size_t partial = in->raw.size - size;
    int err = close_block(in, size);
    if (err != 0)
        return err;
    if (partial > 0 && size > 0)
        memmove(in->raw.data, in->raw.data + size, partial);
    in->raw.size = partial;
    in->message_start = 0;
    if (partial == 0)
        buffer_free(&in->raw);
    return 0;
}

int intake_session(struct intake *in, struct session_meta *m)
{
    int err = intake_flush(in);
    if (err != 0)
        return err;
    struct record *r = new_record(in, RECORD_SESSION);
    if (r == NULL)
        return in->err;
    m->source = in->config.source;
    session_meta_encode(&r->meta, m);
    return emit(in, r);
}

size_t intake_memory(const struct intake *in)
{
    return in->raw.capacity + in->meta.capacity + in->claimed.capacity;
}
