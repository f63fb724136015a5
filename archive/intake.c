#include "archive/intake.h"

#include "archive/intake_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct index_txn *intake_awake(struct intake *in)
{
    struct index_txn *t = NULL;
    return lookup_txn(in->config.lookup, &t) == 0 ? t : NULL;
}

static int keep_text(void *arg, const uint8_t *data, size_t size)
{
    struct intake *in = arg;
    return packer_add(in->packer, data, size);
}

static int keep_decoded(void *arg, const uint8_t *data, size_t size)
{
    struct intake *in = arg;
    return parts_add(in->parts, data, size);
}

static int end_run(void *arg, const struct base64_run *run)
{
    struct intake *in = arg;
    return parts_run_end(in->parts, run, packer_message_size(in->packer));
}

static void free_reader(struct intake *in)
{
    if (in->reader != NULL)
        base64_scanner_destroy(in->reader->scanner);
    free(in->reader);
    in->reader = NULL;
}

static int make_reader(struct intake *in)
{
    const struct base64_sink sink = {
        .text = keep_text, .decoded = keep_decoded, .run_end = end_run, .arg = in};
    in->reader = calloc(1, sizeof(*in->reader));
    if (in->reader == NULL)
        return -ENOMEM;
    in->reader->scanner = base64_scanner_create(BASE64_MINIMUM, &sink);
    if (in->reader->scanner != NULL)
        return 0;
    free_reader(in);
    return -ENOMEM;
}

static int load_parts(struct intake *in)
{
    int err =
        damage_load_parts(in->config.archive, &in->damaged_parts, &in->damaged_parts_count);
    if (err != 0)
        return err;
    in->parts = parts_create(in->packer, in->config.lookup, in->damaged_parts,
                             in->damaged_parts_count);
    return in->parts == NULL ? -ENOMEM : 0;
}

/* What only a message needs: most polls bring none. */
static int get_ready(struct intake *in)
{
    if (in->hash == NULL)
        in->hash = sha256_create();
    if (in->hash == NULL)
        return -ENOMEM;
    int err = in->reader == NULL ? make_reader(in) : 0;
    return err == 0 && in->parts == NULL ? load_parts(in) : err;
}

int intake_open(const struct intake_config *config, struct intake **out)
{
    struct intake *in = calloc(1, sizeof(*in));
    if (in == NULL)
        return -ENOMEM;
    in->config = *config;
    in->packer = packer_create(config->account, config->codec, config->emit, config->arg);
    int err = in->packer == NULL ? -ENOMEM : 0;
    if (err == 0)
        err = maildrop_open(config->archive, config->lookup, config->account,
                            config->source, &in->maildrop);
    if (err != 0) {
        intake_close(in);
        return err;
    }
    in->highest = maildrop_highest(in->maildrop);
    *out = in;
    return 0;
}

void intake_close(struct intake *in)
{
    if (in == NULL)
        return;
    parts_destroy(in->parts);
    packer_destroy(in->packer);
    free_reader(in);
    maildrop_close(in->maildrop);
    intake_deletion_free(in);
    buffer_free(&in->uidl);
    sha256_destroy(in->hash);
    free(in->damaged_parts);
    free(in->bodies);
    free(in);
}

static bool usable(struct span uidl)
{
    return uidl.size > 0 && uidl.size <= UIDL_SIZE_MAX;
}

enum intake_verdict intake_judge(struct intake *in, struct span uidl, uint64_t listed_size)
{
    struct maildrop_line line = maildrop_judge(in->maildrop, uidl, listed_size);
    intake_deletion_judged(in, &line, uidl, listed_size);
    switch (line.verdict) {
    case MAILDROP_KNOWN:
        return INTAKE_KNOWN;
    case MAILDROP_QUARANTINED:
        return INTAKE_QUARANTINED;
    case MAILDROP_WANTED:
        break;
    }
    return INTAKE_WANTED;
}

void intake_listed(struct intake *in, bool trusted)
{
    in->trusted = trusted;
    maildrop_listed(in->maildrop, trusted);
    intake_deletion_listed(in);
}

uint8_t intake_flags(const struct intake *in)
{
    return maildrop_flags(in->maildrop);
}

int intake_emit(struct intake *in, struct record *r)
{
    return in->err = packer_emit_record(in->packer, r);
}

struct record *intake_record(struct intake *in, enum record_type type)
{
    struct record *r = record_create(type, in->config.account, archive_now_us());
    if (r == NULL)
        in->err = -ENOMEM;
    return r;
}

int intake_begin(struct intake *in, struct span uidl, uint64_t listed_size)
{
    assert(!in->in_message);
    if (in->err == 0)
        in->err = get_ready(in);
    if (in->err != 0)
        return in->err;
    in->in_message = true;
    in->message_size = 0;
    in->listed_size = listed_size;
    buffer_clear(&in->uidl);
    if (usable(uidl))
        buffer_put(&in->uidl, uidl.data, uidl.size);
    if (in->uidl.failed)
        in->err = -ENOMEM;
    sha256_start(in->hash);
    envelope_start(&in->reader->envelope);
    packer_begin(in->packer);
    parts_begin(in->parts);
    base64_scan_reset(in->reader->scanner);
    in->scanning = !in->config.store_once_off;
    return in->err;
}

int intake_add(struct intake *in, const uint8_t *data, size_t size)
{
    assert(in->in_message);
    if (in->err != 0)
        return in->err;
    sha256_add(in->hash, data, size);
    envelope_add(&in->reader->envelope, data, size);
    in->message_size += size;
    if (!in->scanning)
        return in->err = packer_add(in->packer, data, size);
    in->err = base64_scan(in->reader->scanner, data, size);
    if (in->err == 0 && parts_full(in->parts)) {
        in->err = base64_scan_end(in->reader->scanner);
        in->scanning = false;
    }
    return in->err;
}

struct span intake_field(const struct intake *in, int field)
{
    return envelope_field(&in->reader->envelope, field);
}

void intake_abort(struct intake *in)
{
    packer_abort(in->packer);
    if (in->parts != NULL)
        parts_begin(in->parts);
    in->in_message = false;
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
    if (maildrop_is_lost(in->maildrop, n))
        return 0;
    if (maildrop_is_damaged(in->maildrop, n)) {
        if (t->hurt == 0)
            t->hurt = n; /* its meta may be gone; 16 bytes of the hash have to do */
        return 0;
    }
    int err = reader_message(lookup_reader(in->config.lookup), in->config.account, n, &m);
    if (err != 0 || memcmp(m.sha256, t->sha256, SHA256_SIZE) != 0)
        return 0;
    if (t->any == 0)
        t->any = m.kind == BODY_SAME ? m.place : n;
    if (t->claimable == 0 && !maildrop_is_claimed(in->maildrop, n))
        t->claimable = n;
    return 0;
}

static struct twins find_twins(struct intake *in, const uint8_t sha256[SHA256_SIZE])
{
    struct twins twins = {.in = in, .sha256 = sha256};
    struct index_txn *t = intake_awake(in);
    if (t != NULL)
        row_each_hash(t, in->config.account, sha256, look_at_twin, &twins);
    return twins;
}

static const struct session_body *find_session_body(const struct intake *in,
                                                    const uint8_t sha256[SHA256_SIZE])
{
    for (size_t i = 0; i < in->bodies_count; i++)
        if (memcmp(in->bodies[i].sha256, sha256, SHA256_SIZE) == 0)
            return &in->bodies[i];
    return NULL;
}

static void remember_body(struct intake *in, const struct message_meta *m, uint64_t block)
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
    b->slice = m->kind == BODY_SLICE;
    b->block = block;
}

static int emit_seen(struct intake *in, uint64_t n)
{
    struct record *r;
    if (in->uidl.size == 0)
        return 0;
    r = intake_record(in, RECORD_SEEN);
    if (r == NULL)
        return in->err;
    const struct seen_meta meta = {.n = n,
                                   .source = in->config.source,
                                   .listed_size = in->listed_size,
                                   .uidl = span_of(in->uidl.data, in->uidl.size)};
    seen_meta_encode(&r->meta, &meta);
    return intake_emit(in, r);
}

/* Is a body that m can share stored already? Then where: kind and place of m. */
static bool find_shared(const struct intake *in, struct message_meta *m,
                        const struct twins *twins)
{
    const struct session_body *body = find_session_body(in, m->sha256);
    if (m->flags & MESSAGE_HEALS)
        return false;
    if (body != NULL && body->slice && body->block == packer_block(in->packer)) {
        m->kind = BODY_SLICE;
        m->place = body->place;
        return true;
    }
    uint64_t same = body != NULL ? body->n : twins->any;
    if (same == 0)
        return false;
    m->kind = BODY_SAME;
    m->place = same;
    m->runs = (struct span){0};
    return true;
}

static int keep_message(struct intake *in, struct message_meta *m,
                        const struct twins *twins)
{
    in->in_message = false;
    if (find_shared(in, m, twins))
        return packer_share(in->packer, m, in->highest);
    /* The block that is open now, before keeping the message may close it. */
    uint64_t block = packer_block(in->packer);
    int err = packer_keep(in->packer, m, in->highest);
    if (err == 0)
        remember_body(in, m, block);
    return err;
}

/* All of m that does not depend on what else is archived. */
static int complete_meta(struct intake *in, uint8_t flags, struct message_meta *m)
{
    if (in->err == 0 && in->scanning)
        in->err = base64_scan_end(in->reader->scanner);
    if (in->err != 0)
        return in->err;
    *m = (struct message_meta){.source = in->config.source,
                               .flags = flags,
                               .listed_size = in->listed_size,
                               .size = in->message_size,
                               .fetched_us = archive_now_us(),
                               .uidl = span_of(in->uidl.data, in->uidl.size),
                               .runs = parts_runs(in->parts)};
    sha256_finish(in->hash, m->sha256);
    envelope_fields(&in->reader->envelope, m->fields);
    if (in->uidl.size == 0)
        m->flags |= MESSAGE_NO_UIDL;
    if (!in->trusted)
        m->flags |= MESSAGE_UNTRUSTED;
    return in->err = random_bytes(m->salt, sizeof(m->salt));
}

/* Archive it, under a number of its own or a damaged copy's. */
static int archive_message(struct intake *in, struct message_meta *m,
                           const struct twins *twins, enum intake_result *out_result)
{
    if (twins->hurt != 0) {
        *out_result = INTAKE_HEALED;
        m->n = twins->hurt;
        m->flags |= MESSAGE_HEALS;
        maildrop_healed(in->maildrop, twins->hurt);
    } else {
        *out_result = INTAKE_ARCHIVED;
        m->n = ++in->highest;
        maildrop_archived(in->maildrop, m->uidl, m->n);
    }
    return in->err = keep_message(in, m, twins);
}

int intake_end(struct intake *in, uint8_t flags, enum intake_result *out_result)
{
    struct message_meta m;
    assert(in->in_message);
    if (complete_meta(in, flags, &m) != 0)
        return in->err;
    uint64_t again = maildrop_settle(in->maildrop, m.uidl, m.listed_size, m.sha256);
    if (again != 0) {
        *out_result = INTAKE_AGAIN;
        intake_deletion_compared(in, again);
        intake_abort(in);
        return 0;
    }
    struct twins twins = find_twins(in, m.sha256);
    if (twins.hurt == 0 && twins.claimable != 0 && (in->trusted || in->uidl.size == 0)) {
        *out_result = INTAKE_DEDUPLICATED;
        maildrop_found(in->maildrop, twins.claimable);
        intake_abort(in);
        return emit_seen(in, twins.claimable);
    }
    return archive_message(in, &m, &twins, out_result);
}

int intake_quarantine(struct intake *in, struct span uidl, uint64_t listed_size,
                      const char *reason)
{
    if (in->err != 0)
        return in->err;
    struct record *r = intake_record(in, RECORD_QUARANTINE);
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
    return intake_emit(in, r);
}

int intake_flush(struct intake *in)
{
    if (!in->in_message)
        free_reader(in);
    return in->err != 0 ? in->err : (in->err = packer_flush(in->packer));
}

void intake_suspect(struct intake *in)
{
    maildrop_suspect(in->maildrop);
}

int intake_conclude(struct intake *in, struct session_meta *m, bool *out_quiet)
{
    in->concluded = true;
    m->source = in->config.source;
    *out_quiet = intake_flush(in) == 0 && intake_deletion_conclude(in, m);
    return in->err;
}

int intake_session(struct intake *in, struct session_meta *m)
{
    bool quiet = false;
    int err = in->concluded ? in->err : intake_conclude(in, m, &quiet);
    struct record *r = err == 0 ? intake_record(in, RECORD_SESSION) : NULL;
    if (r == NULL)
        return in->err;
    session_meta_encode(&r->meta, m);
    return intake_emit(in, r);
}

int intake_run(struct intake *in, enum record_type type, struct session_run_meta *m)
{
    struct record *r = in->err == 0 ? intake_record(in, type) : NULL;
    if (r == NULL)
        return in->err;
    m->source = in->config.source;
    session_run_meta_encode(&r->meta, m);
    return intake_emit(in, r);
}

uint64_t intake_settled(struct intake *in)
{
    return maildrop_settled(in->maildrop);
}

uint64_t intake_comparable(struct intake *in)
{
    return maildrop_comparable(in->maildrop);
}

size_t intake_memory(const struct intake *in)
{
    size_t parts = in->parts != NULL ? parts_memory(in->parts) : 0;
    return packer_memory(in->packer) + parts + maildrop_memory(in->maildrop);
}
