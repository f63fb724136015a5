#include "archive/usage.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/segment.h"
#include "archive/usage_tally.h"

#include <errno.h>
#include <stdlib.h>

/* What a message weighs in its record besides what it keeps of its own: its meta. */
#define META_WEIGHT 256

/* As it was at the beginning: what comes later, or is moved meanwhile, is not looked at. */
struct known_segment {
    uint64_t id;
    uint64_t indexed;
    bool sealed;
};

struct survey {
    struct archive *archive;
    struct index_txn *txn;  /* reset while segments are read */
    struct buffer segments; /* struct known_segment each; without superseded ones */
    uint64_t bytes_total, bytes_done;
    void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    void *progress_arg;
    struct codec *codec;
    struct record_view view;
    struct tally tally;
    uint64_t messages; /* that the index knows, */
    uint64_t counted;  /* and that were met */
};

static int list_segments(struct survey *s)
{
    struct segment_row row;
    uint64_t id = 0;
    int err;
    while ((err = row_next_segment(s->txn, &id, &row)) == 0) {
        const struct known_segment known = {
            .id = id, .indexed = row.indexed, .sealed = row.sealed};
        if (!row_is_superseded(s->txn, id)) {
            buffer_put(&s->segments, &known, sizeof(known));
            s->bytes_total += known.indexed;
        }
        id++;
    }
    if (err == ERR_NOT_FOUND)
        err = s->segments.failed ? -ENOMEM : 0;
    return err;
}

/* Of the same moment as the list of segments: so many must be met in these. */
static int count_messages(struct survey *s, uint64_t last_account)
{
    struct account_row row;
    for (uint64_t number = 1; number <= last_account; number++) {
        int err = row_get_account(s->txn, (uint32_t)number, &row);
        if (err == 0)
            s->messages += row.messages;
        else if (err != ERR_NOT_FOUND)
            return err;
    }
    return 0;
}

static int begin(struct survey *s)
{
    uint64_t last_account = 0;
    int err = index_begin_read(s->archive->index, &s->txn);
    if (err != 0)
        return err;
    err = list_segments(s);
    if (err == 0)
        err = row_get_number(s->txn, INFO_LAST_ACCOUNT, &last_account);
    if (err == 0 && last_account > UINT32_MAX)
        err = ERR_INDEX;
    if (err == 0)
        err = count_messages(s, last_account);
    index_reset(s->txn);
    if (err != 0)
        return err;
    s->codec = codec_create();
    tally_begin(&s->tally, (uint32_t)last_account);
    return s->codec == NULL ? -ENOMEM : 0;
}

static void name_parts(struct survey *s, uint32_t account, const struct message_meta *m)
{
    struct run_meta run;
    struct span runs = m->runs;
    while (run_meta_next(&runs, &run) == 0)
        for (uint64_t i = 0; i < run_part_count(&run.run); i++)
            tally_name(&s->tally, run.parts + i * SHA256_SIZE, account, m->fetched_us);
}

/* By the size of what a message keeps of its own; what lies elsewhere is not in this
 * record.
 */
static uint64_t weight_of(const struct message_meta *m)
{
    uint64_t encoded = 0, decoded = 0;
    if (m->kind != BODY_SLICE || run_meta_total(m->runs, &encoded, &decoded) != 0 ||
        encoded > m->size || m->size - encoded > BLOCK_RAW_MAX)
        return META_WEIGHT;
    return m->size - encoded + META_WEIGHT;
}

static int weigh(struct span meta, struct portions *p)
{
    struct block_meta_reader metas;
    struct message_meta m;
    int err = block_meta_open(&metas, meta);
    while (err == 0 && (err = block_meta_next(&metas, &m)) == 0)
        p->weight += weight_of(&m);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* A message that was acknowledged as lost has no row any more. */
static bool is_there(struct survey *s, uint32_t account, uint64_t n)
{
    struct message_row row;
    return row_get_message(s->txn, account, n, &row) == 0;
}

/* BLOCK or END. */
static int take_messages(struct survey *s, const struct record_view *v)
{
    const struct record_header *h = &v->header;
    struct span meta = span_of(v->meta.data, v->meta.size);
    struct portions p = {.whole = record_size(h)};
    struct block_meta_reader metas;
    struct message_meta m;
    int err = weigh(meta, &p);
    if (err != 0 || p.weight == 0) {
        tally_stored(&s->tally, h->account, h->time_us, p.whole);
        return 0;
    }
    err = index_renew(s->txn);
    if (err != 0)
        return err;
    err = block_meta_open(&metas, meta);
    while (err == 0 && (err = block_meta_next(&metas, &m)) == 0) {
        tally_stored(&s->tally, h->account, m.fetched_us, portion(&p, weight_of(&m)));
        if (!is_there(s, h->account, m.n) ||
            !tally_message(&s->tally, h->account, m.n, m.fetched_us, m.size))
            continue;
        s->counted++;
        name_parts(s, h->account, &m);
    }
    index_reset(s->txn);
    return 0;
}

static void take_part(struct survey *s, const struct record_view *v)
{
    const uint8_t *sha256 = NULL;
    if (part_meta_decode(span_of(v->meta.data, v->meta.size), &sha256) == 0)
        tally_part(&s->tally, sha256, record_size(&v->header));
}

/* Its records share it by the size of their metas. */
static void take_pack(struct survey *s, const struct record_view *v)
{
    struct span rest = span_of(v->meta.data, v->meta.size);
    struct portions p = {.whole = record_size(&v->header), .weight = rest.size};
    struct packed_record r;
    size_t before = rest.size;
    while (packed_record_next(&rest, &r) == 0) {
        tally_stored(&s->tally, r.account, r.time_us, portion(&p, before - rest.size));
        before = rest.size;
    }
}

static int take_record(struct survey *s, const struct record_view *v)
{
    switch (v->header.type) {
    case RECORD_BLOCK:
    case RECORD_END:
        return take_messages(s, v);
    case RECORD_PART:
        take_part(s, v);
        return 0;
    case RECORD_PACK:
        take_pack(s, v);
        return 0;
    default: /* of account 0 they count to nobody */
        tally_stored(&s->tally, v->header.account, v->header.time_us,
                     record_size(&v->header));
        return 0;
    }
}

static int read_records(struct survey *s, struct segment_file *f, uint64_t limit)
{
    uint64_t offset = SEGMENT_HEADER_SIZE;
    while (offset < limit) {
        int err = segment_read(f, offset, limit, s->codec, &s->view);
        if (err == ERR_DAMAGED) {
            if (segment_resync(f, offset + 1, limit, &offset) != 0)
                return 0;
            continue;
        }
        if (err == 0)
            err = take_record(s, &s->view);
        if (err != 0)
            return err;
        offset += record_size(&s->view.header);
        if (s->progress != NULL)
            s->progress(s->progress_arg, s->bytes_done + offset, s->bytes_total);
    }
    return 0;
}

/* The file is not there: if repacking has removed it, messages may have moved to where we
 * do not look. */
static int missing(struct survey *s, uint64_t id)
{
    int err = index_renew(s->txn);
    if (err != 0)
        return err;
    struct segment_row row;
    bool replaced = row_is_superseded(s->txn, id);
    err = row_get_segment(s->txn, id, &row);
    index_reset(s->txn);
    return replaced || err == ERR_NOT_FOUND ? -EAGAIN : 0;
}

static int read_segment(struct survey *s, const struct known_segment *known)
{
    const struct archive *a = s->archive;
    struct segment_file f;
    struct segment_trailer trailer;
    int err = segment_open(a->ops, a->path, known->id, a->cask.uuid, &f);
    if (err == ERR_NOT_FOUND)
        return missing(s, known->id);
    if (err != 0)
        return err == ERR_DAMAGED ? 0 : err;
    uint64_t limit = known->indexed < f.size ? known->indexed : f.size;
    if (known->sealed && segment_read_trailer(&f, &trailer) == 0)
        limit = trailer.seal_offset;
    err = read_records(s, &f, limit);
    segment_file_close(&f);
    s->bytes_done += known->indexed;
    return err;
}

static int read_segments(struct survey *s)
{
    struct known_segment known;
    int err = 0;
    for (size_t i = 0; err == 0 && i < s->segments.size; i += sizeof(known)) {
        memcpy(&known, s->segments.data + i, sizeof(known));
        err = read_segment(s, &known);
    }
    return err;
}

static void conclude(const struct survey *s, struct archive_usage *out)
{
    out->nobody_bytes = (int64_t)(out->stats.segment_bytes + out->stats.index_bytes);
    for (size_t i = 0; i < out->count; i++)
        out->nobody_bytes -= (int64_t)out->rows[i].stored_bytes;
    out->missing = s->messages > s->counted ? s->messages - s->counted : 0;
}

int archive_usage(struct archive *a,
                  void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total),
                  void *arg, struct archive_usage *out)
{
    struct survey s = {.archive = a, .progress = progress, .progress_arg = arg};
    *out = (struct archive_usage){0};
    int err = a->index == NULL ? ERR_NO_INDEX : archive_stats(a, &out->stats);
    if (err == 0)
        err = begin(&s);
    if (err == 0)
        err = read_segments(&s);
    int ended = tally_end(&s.tally, out);
    if (err == 0)
        err = ended;
    if (err == 0)
        conclude(&s, out);
    else
        archive_usage_free(out);
    record_view_free(&s.view);
    buffer_free(&s.segments);
    index_abort(s.txn);
    codec_destroy(s.codec);
    return err;
}

void archive_usage_free(struct archive_usage *u)
{
    free(u->rows);
    *u = (struct archive_usage){0};
}
