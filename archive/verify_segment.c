#include "archive/error.h"
#include "archive/verify_internal.h"

#include <errno.h>
#include <stdlib.h>

/* One segment as it is being checked. */
struct segment_check {
    struct verifier *v;
    struct segment_file *file;
    struct seal seal;  /* built anew from the records, to compare */
    struct buffer toc; /* SEAL's, raw; empty: none, or unreadable */
    bool sealed;
    bool replaced; /* superseded: its records no longer count */
    struct segment_trailer trailer;
    uint64_t limit; /* records end here */
    uint64_t bad;   /* damaged records met */
};

static void count_read(struct verifier *v, uint64_t bytes)
{
    v->summary->bytes += bytes;
    verify_progress(v);
}

/* Mark the numbers that the table of contents gives for the record at offset; returns
 * whether it knows the record at all. */
static bool add_from_toc(struct segment_check *c, struct bad_record *bad)
{
    struct toc_entry e;
    size_t count = 0;
    bool found = false;
    if (toc_decode(span_of(c->toc.data, c->toc.size), &count) != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        toc_entry_at(span_of(c->toc.data, c->toc.size), i, &e);
        if (e.offset != bad->offset)
            continue;
        struct checked_account *account = verify_account(c->v, e.account);
        bad->type = e.type;
        bad->account = e.account;
        bad->first_n = e.type == RECORD_SEEN ? 0 : e.first_n;
        bad->count_n = e.type == RECORD_SEEN ? 0 : e.count_n;
        if (account != NULL && bad->count_n > 0 &&
            e.first_n + e.count_n - 1 > account->highest)
            account->highest = e.first_n + e.count_n - 1;
        buffer_put(&c->v->bad, bad, sizeof(*bad));
        found = true;
    }
    return found;
}

/* type: of a record whose header is sound; 0 where that is not known. */
static void add_bad(struct segment_check *c, uint64_t offset, uint8_t type,
                    const char *text)
{
    struct bad_record bad = {
        .type = type, .segment = c->file->header.id, .offset = offset, .text = text};
    c->bad++;
    if (!add_from_toc(c, &bad))
        buffer_put(&c->v->bad, &bad, sizeof(bad));
    if (c->v->bad.failed)
        c->v->err = -ENOMEM;
}

static void message_sound(struct segment_check *c, const struct message_meta *m,
                          uint32_t ordinal)
{
    struct verifier *v = c->v;
    struct checked_account *account = verify_account(v, v->view.header.account);
    const struct place place = {.segment = c->file->header.id, .offset = v->view.offset};
    if (account == NULL)
        return;
    if (m->kind == BODY_SAME) {
        const struct sharing s = {.n = m->n, .target = m->place};
        buffer_put(&account->sharing, &s, sizeof(s));
        if (account->sharing.failed)
            v->err = -ENOMEM;
    } else
        verify_set_bit(v, &account->valid, m->n);
    verify_message_row(v, v->view.header.account, m, &place, ordinal);
}

/* What the message keeps of its own: all of it, less its runs. */
static bool own_size(const struct message_meta *m, uint64_t *out)
{
    uint64_t encoded = 0, decoded = 0;
    if (run_meta_total(m->runs, &encoded, &decoded) != 0 || encoded > m->size)
        return false;
    *out = m->size - encoded;
    return true;
}

static bool slice_sound(struct verifier *v, const struct message_meta *m)
{
    uint8_t hash[SHA256_SIZE];
    if (v->options->quick)
        return m->place <= v->view.header.body_raw_size &&
               m->size <= v->view.header.body_raw_size - m->place;
    struct span body;
    if (!record_view_slice(&v->view, m->place, m->size, &body))
        return false;
    sha256_start(v->hash);
    sha256_add(v->hash, body.data, body.size);
    sha256_finish(v->hash, hash);
    return memcmp(hash, m->sha256, SHA256_SIZE) == 0;
}

static struct open_stream *find_stream(struct verifier *v, const uint8_t *id)
{
    for (size_t i = 0; i < v->streams.size; i += sizeof(struct open_stream)) {
        void *at = v->streams.data + i; /* malloc()ed, whole structs only: aligned */
        struct open_stream *s = at;
        if (memcmp(s->id, id, STREAM_ID_SIZE) == 0)
            return s;
    }
    return NULL;
}

static struct open_stream *begin_stream(struct verifier *v, const uint8_t *id)
{
    struct open_stream s = {0};
    memcpy(s.id, id, STREAM_ID_SIZE);
    if (!v->options->quick && (s.hash = sha256_create()) == NULL)
        v->err = -ENOMEM;
    buffer_put(&v->streams, &s, sizeof(s));
    if (v->streams.failed) {
        sha256_destroy(s.hash);
        v->err = -ENOMEM;
        return NULL;
    }
    return find_stream(v, id);
}

static void end_stream(struct verifier *v, struct open_stream *s)
{
    void *last_at = v->streams.data + v->streams.size - sizeof(*s);
    const struct open_stream *last = last_at;
    sha256_destroy(s->hash);
    buffer_free(&s->places);
    if (s != last)
        *s = *last;
    v->streams.size -= sizeof(*s);
}

static void check_chunk(struct segment_check *c, bool body_sound)
{
    struct verifier *v = c->v;
    struct chunk_meta m;
    if (chunk_meta_decode(span_of(v->view.meta.data, v->view.meta.size), &m) != 0)
        return;
    uint8_t key[SHA256_SIZE] = {0};
    put_u64(key, get_u64(m.stream) + m.sequence); /* spreads the slots */
    memcpy(key + 8, m.stream, STREAM_ID_SIZE);
    put_u32(key + 8 + STREAM_ID_SIZE, m.sequence);
    if (hash_set_put(&v->chunk_records, key) == NULL)
        v->err = -ENOMEM;
    struct open_stream *s = find_stream(v, m.stream);
    if (s != NULL &&
        m.sequence == 0) { /* a copy that repacking did not finish came before */
        end_stream(v, s);
        s = NULL;
    }
    if (s == NULL)
        s = begin_stream(v, m.stream);
    if (s == NULL || v->err != 0)
        return;
    if (!body_sound || m.sequence != s->next || m.raw_offset != s->size)
        s->broken = true;
    s->next = m.sequence + 1;
    s->size += v->view.header.body_raw_size;
    const struct place place = {.segment = c->file->header.id, .offset = v->view.offset};
    buffer_put(&s->places, &place, sizeof(place));
    if (s->places.failed)
        v->err = -ENOMEM;
    if (s->hash != NULL && body_sound)
        sha256_add(s->hash, v->view.body.data, v->view.body.size);
}

/* Its chunks are all there. With attachments the rest is checked at the end. */
static bool stream_sound(struct segment_check *c, const struct message_meta *m,
                         uint32_t ordinal)
{
    struct verifier *v = c->v;
    uint8_t hash[SHA256_SIZE];
    uint64_t own = 0;
    struct open_stream *s = find_stream(v, m->stream);
    if (s == NULL)
        return false;
    bool sound = own_size(m, &own) && !s->broken && s->next == m->place && s->size == own;
    if (sound && m->runs.size > 0) {
        const struct place place = {.segment = c->file->header.id,
                                    .offset = v->view.offset};
        verify_defer(v, &place, m, ordinal, &s->places);
    } else if (sound && s->hash != NULL) {
        sha256_finish(s->hash, hash);
        sound = memcmp(hash, m->sha256, SHA256_SIZE) == 0;
    }
    end_stream(v, s);
    return sound;
}

static void note_broken(struct verifier *v, uint32_t number, uint64_t n)
{
    struct checked_account *account = verify_account(v, number);
    if (account != NULL) {
        buffer_put_u64(&account->broken, n);
        if (account->broken.failed)
            v->err = -ENOMEM;
    }
}

static void check_message(struct segment_check *c, const struct message_meta *m,
                          uint32_t ordinal, bool body_sound)
{
    struct verifier *v = c->v;
    const struct place place = {.segment = c->file->header.id, .offset = v->view.offset};
    bool attachments = m->runs.size > 0;
    if (m->kind == BODY_STREAM && !stream_sound(c, m, ordinal))
        note_broken(v, v->view.header.account, m->n);
    else if (m->kind == BODY_SLICE && attachments && body_sound)
        verify_defer(v, &place, m, ordinal, NULL);
    else if (!attachments && (m->kind != BODY_SLICE || (body_sound && slice_sound(v, m))))
        message_sound(c, m, ordinal);
}

/* BLOCK or END. body_sound: its body decodes. */
static void check_messages(struct segment_check *c, bool body_sound)
{
    struct verifier *v = c->v;
    struct block_meta_reader metas;
    struct message_meta m;
    uint32_t number = v->view.header.account;
    int err = block_meta_open(&metas, span_of(v->view.meta.data, v->view.meta.size));
    struct checked_account *account = verify_account(v, number);
    if (err == 0 && account != NULL && metas.highest > account->highest)
        account->highest = metas.highest;
    while (err == 0 && v->err == 0 && (err = block_meta_next(&metas, &m)) == 0)
        check_message(c, &m, metas.next - 1, body_sound);
    if (err == ERR_DAMAGED)
        verify_structure(v, c->file->header.id, v->view.offset,
                         "a meta that does not decode");
}

static void check_lost(struct verifier *v)
{
    struct lost_meta m;
    if (lost_meta_decode(span_of(v->view.meta.data, v->view.meta.size), &m) != 0)
        return;
    uint32_t account = v->view.header.account;
    const struct lost_range range = {.account = account,
                                     .first = account == 0 ? m.segment : m.first,
                                     .last = account == 0 ? m.segment : m.last};
    buffer_put(&v->lost, &range, sizeof(range));
    if (v->lost.failed)
        v->err = -ENOMEM;
}

static void note_superseded(struct verifier *v)
{
    struct span meta = span_of(v->view.meta.data, v->view.meta.size);
    struct superseded s;
    size_t count = 0;
    if (superseded_count(meta, &count) != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        superseded_at(meta, i, &s);
        buffer_put(&v->superseded, &s, sizeof(s));
    }
    if (v->superseded.failed)
        v->err = -ENOMEM;
}

/* A record that has a row of its own, by its LSN. */
static void note_ledger(struct verifier *v)
{
    uint8_t key[SHA256_SIZE] = {0};
    put_u64(key, v->view.header.lsn);
    put_u32(key + 8, v->view.header.account);
    if (hash_set_put(&v->ledger_records, key) == NULL)
        v->err = -ENOMEM;
}

static void note_name(struct verifier *v)
{
    struct account_meta m;
    if (account_meta_decode(span_of(v->view.meta.data, v->view.meta.size), &m) != 0)
        return;
    struct checked_account *account = verify_account(v, m.number);
    if (account != NULL && account->name.size == 0)
        buffer_put(&account->name, m.name.data, m.name.size);
}

/* What the record means. */
static void account_for(struct segment_check *c, bool body_sound)
{
    struct verifier *v = c->v;
    const struct record_header *h = &v->view.header;
    const struct place place = {.segment = c->file->header.id, .offset = v->view.offset};
    if (h->type == RECORD_BLOCK || h->type == RECORD_END)
        check_messages(c, body_sound);
    else if (h->type == RECORD_CHUNK)
        check_chunk(c, body_sound);
    else if (h->type == RECORD_PART)
        verify_note_part(v, &place, body_sound);
    else if (h->type == RECORD_LOST)
        check_lost(v);
    else if (h->type == RECORD_ACCOUNT)
        note_name(v);
    else if (h->type == RECORD_SUPERSEDES)
        note_superseded(v);
    if (row_is_ledger(h->type))
        note_ledger(v);
    verify_rows(v, c->file->header.id);
}

static void swap_views(struct verifier *v)
{
    struct record_view view = v->view;
    v->view = v->pack;
    v->pack = view;
}

/* Each record of the PACK in v->view takes its place there in turn. */
static void account_for_pack(struct segment_check *c)
{
    struct verifier *v = c->v;
    int err;
    swap_views(v);
    struct span rest = span_of(v->pack.meta.data, v->pack.meta.size);
    while ((err = record_view_unpack(&v->pack, &rest, &v->view)) == 0)
        account_for(c, true);
    swap_views(v);
    if (err == ERR_DAMAGED)
        add_bad(c, v->view.offset, RECORD_PACK, "a meta that does not decode");
    else if (err != ERR_NOT_FOUND)
        v->err = err;
}

/* The record in v->view: header and meta are sound. */
static int check_record(struct segment_check *c)
{
    struct verifier *v = c->v;
    const struct record_header *h = &v->view.header;
    int err = segment_read_body(c->file, &v->view, v->options->quick ? NULL : v->codec);
    if (err != 0 && err != ERR_DAMAGED)
        return err;
    if (err != 0)
        add_bad(c, v->view.offset, h->type, "damaged body");
    v->summary->records++;
    count_read(v, record_size(h));
    if (!c->replaced && h->type == RECORD_PACK)
        account_for_pack(c);
    else if (!c->replaced)
        account_for(c, err == 0);
    err = seal_add(&c->seal, v->view.offset, h,
                   span_of(v->view.head.data, record_header_size(h) + h->meta_size),
                   span_of(v->view.meta.data, v->view.meta.size));
    if (err == ERR_DAMAGED)
        add_bad(c, v->view.offset, h->type, "a meta that does not decode");
    return err == ERR_DAMAGED ? 0 : err;
}

static int check_records(struct segment_check *c)
{
    struct verifier *v = c->v;
    uint64_t offset = SEGMENT_HEADER_SIZE;
    while (offset < c->limit && v->err == 0) {
        int err = segment_read(c->file, offset, c->limit, v->codec, &v->view);
        if (err == 0 && v->view.header.type == RECORD_SEAL)
            break; /* the trailer behind it is damaged: reported already */
        if (err == 0) {
            err = check_record(c);
            if (err != 0)
                return err;
            offset += record_size(&v->view.header);
            continue;
        }
        if (err != ERR_DAMAGED && err != ERR_VERSION)
            return err;
        add_bad(c, offset, 0,
                err == ERR_VERSION ? "a record of a later version" : "damaged record");
        err = segment_resync(c->file, offset + 1, c->limit, &offset);
        if (err != 0)
            return err == ERR_NOT_FOUND ? 0 : err;
    }
    return v->err;
}

/* SEAL's own record: the table of contents is needed before the records are read. */
static int load_toc(struct segment_check *c)
{
    struct verifier *v = c->v;
    uint64_t id = c->file->header.id, end = c->file->size - SEGMENT_TRAILER_SIZE;
    int err = segment_read(c->file, c->trailer.seal_offset, end, v->codec, &v->view);
    if (err == ERR_DAMAGED || err == ERR_VERSION ||
        (err == 0 && v->view.header.type != RECORD_SEAL)) {
        verify_structure(v, id, c->trailer.seal_offset, "damaged table of contents");
        c->bad++;
        return 0;
    }
    if (err != 0)
        return err;
    if (c->trailer.seal_offset + record_size(&v->view.header) != end)
        verify_structure(v, id, c->trailer.seal_offset,
                         "the file was cut or grew behind its seal");
    buffer_put(&c->toc, v->view.meta.data, v->view.meta.size);
    return c->toc.failed ? -ENOMEM : 0;
}

/* With all records sound, what was sealed must be what is there now. */
static int check_seal(struct segment_check *c)
{
    struct verifier *v = c->v;
    uint8_t hash[SHA256_SIZE];
    uint64_t id = c->file->header.id, end = c->file->size - SEGMENT_TRAILER_SIZE;
    if (!c->sealed || c->bad > 0 || c->file->header_damaged)
        return 0;
    int err = segment_read(c->file, c->trailer.seal_offset, end, v->codec, &v->view);
    if (err != 0)
        return err == ERR_DAMAGED ? 0 : err;
    v->summary->records++;
    sha256_add(c->seal.content, v->view.head.data,
               record_header_size(&v->view.header) + v->view.header.meta_size);
    sha256_peek(c->seal.content, hash);
    if (memcmp(hash, c->trailer.content_hash, SHA256_SIZE) != 0 ||
        c->trailer.records != c->seal.records + 1)
        verify_structure(v, id, c->trailer.seal_offset,
                         "the records are not those that were sealed");
    if (!span_equal(span_of(c->toc.data, c->toc.size),
                    span_of(c->seal.toc.data, c->seal.toc.size)))
        verify_structure(v, id, c->trailer.seal_offset, "the table of contents is wrong");
    return 0;
}

static void check_chain(struct segment_check *c)
{
    struct verifier *v = c->v;
    uint64_t id = c->file->header.id;
    static const uint8_t none[SHA256_SIZE];
    if (!c->file->header_damaged && c->file->header.predecessor != id - 1)
        verify_structure(v, id, 0, "names a predecessor that it cannot have had");
    if (c->sealed && (id == 1 || (v->previous_id == id - 1 && v->previous_sealed)) &&
        memcmp(c->trailer.predecessor_hash, id == 1 ? none : v->previous_hash,
               SHA256_SIZE) != 0)
        verify_structure(
            v, id, c->trailer.seal_offset,
            "the chain is broken: its predecessor is not the one it was sealed after");
    v->previous_id = id;
    v->previous_sealed = c->sealed;
    memcpy(v->previous_hash, c->trailer.hash, SHA256_SIZE);
}

/* Made by repacking, and not sealed? */
static bool is_packing(const struct verifier *v, uint64_t id)
{
    struct segment_file f;
    struct segment_trailer t;
    const struct archive *a = v->archive;
    if (segment_open(&v->salvage.ops, a->path, id, a->cask.uuid, &f) != 0)
        return false;
    bool packing = (f.header.compatible & SEGMENT_REPACKED) != 0 &&
                   segment_read_trailer(&f, &t) == ERR_NOT_FOUND;
    segment_file_close(&f);
    return packing;
}

/* Without an index: the newest one, and the one before it if one of the two is repacking's.
 */
static bool may_be_open(const struct segment_check *c)
{
    uint64_t id = c->file->header.id, highest = c->v->archive->cask.highest_segment;
    return id >= highest ||
           (id + 1 == highest && ((c->file->header.compatible & SEGMENT_REPACKED) != 0 ||
                                  is_packing(c->v, highest)));
}

/* Where the records end, and whether there should be a seal. */
static int find_limit(struct segment_check *c, const struct segment_row *row)
{
    struct verifier *v = c->v;
    int err = segment_read_trailer(c->file, &c->trailer);
    if (err != 0 && err != ERR_NOT_FOUND)
        return err;
    c->sealed = err == 0;
    c->limit = c->sealed ? c->trailer.seal_offset : c->file->size;
    if (row != NULL && row->sealed) {
        if (!c->sealed)
            verify_structure(v, c->file->header.id, 0,
                             "the trailer is damaged, or the file was cut");
        else if (row->indexed != c->file->size ||
                 memcmp(row->hash, c->trailer.hash, SHA256_SIZE) != 0)
            verify_index_differs(v, 0, 0, c->file->header.id, 0,
                                 "the index knows another seal of this segment");
    } else if (row == NULL && !c->sealed && !may_be_open(c)) {
        verify_structure(v, c->file->header.id, 0, "not sealed, or its trailer is damaged");
    } else if (row != NULL) {
        c->sealed = false; /* sealed since the snapshot, or awaiting recovery */
        c->limit = row->indexed;
        if (c->limit > c->file->size) {
            verify_structure(v, c->file->header.id, c->file->size,
                             "the file is shorter than what was written to it");
            c->limit = c->file->size;
        }
    }
    return 0;
}

/* Without an index an unsealed segment proves nothing of its tail: damage there may be a
 * torn write that was never acknowledged. */
static void forgive_tail(struct segment_check *c, const struct segment_row *row,
                         size_t bad_before)
{
    if (row == NULL && !c->sealed && c->bad > 0 && may_be_open(c))
        c->v->bad.size = bad_before;
}

/* A kill between making the file and writing its header leaves it to the next recovery; a
 * service may be just there. CASK names a segment only once its header is durable. */
static bool is_stillborn(const struct verifier *v, uint64_t id, int err)
{
    return id > v->archive->cask.highest_segment &&
           (err == ERR_DAMAGED || err == ERR_VERSION || err == ERR_NOT_FOUND);
}

static int check_segment(struct verifier *v, uint64_t id, const struct segment_row *row)
{
    struct segment_file f;
    struct segment_check c = {.v = v, .file = &f};
    size_t bad_before = v->bad.size;
    int err =
        segment_open(&v->salvage.ops, v->archive->path, id, v->archive->cask.uuid, &f);
    if (is_stillborn(v, id, err))
        return 0;
    v->summary->segments++;
    if (err == ERR_DAMAGED || err == ERR_VERSION || err == ERR_NOT_FOUND) {
        verify_structure(v, id, 0,
                         err == ERR_VERSION ? error_text(err) : "damaged segment header");
        return 0;
    }
    if (err != 0)
        return err;
    if (f.header_damaged)
        verify_structure(v, id, 0, "damaged segment header; its records can still be read");
    count_read(v, SEGMENT_HEADER_SIZE);
    c.replaced = verify_is_replaced(v, id);
    err = seal_begin(&c.seal, &f.header);
    if (err == 0)
        err = find_limit(&c, row);
    if (err == 0 && c.sealed)
        err = load_toc(&c);
    if (err == 0)
        err = check_records(&c);
    if (err == 0)
        err = check_seal(&c);
    if (err == 0) {
        check_chain(&c);
        forgive_tail(&c, row, bad_before);
    }
    seal_free(&c.seal);
    buffer_free(&c.toc);
    segment_file_close(&f);
    return err;
}

int verify_segment(struct verifier *v, uint64_t id, const struct segment_row *row)
{
    v->salvage.failed = false;
    int err = check_segment(v, id, row);
    if (err == 0 && v->salvage.failed)
        verify_structure(v, id, v->salvage.failed_at,
                         "the disk fails to read this (Input/output error)");
    return err;
}
