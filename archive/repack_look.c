#include "archive/error.h"
#include "archive/repack_choice.h"
#include "archive/repack_internal.h"

#include <errno.h>
#include <stdlib.h>

/* A segment that is looked through. */
struct look {
    struct repack *repack;
    struct segment_file file;
    struct segment_trailer trailer;
    uint64_t offset;  /* of the next record */
    uint64_t records; /* passed that can be read, at least header and meta */
};

/* Damage: what begins at `from` cannot be read, nor what follows up to `to`. */
struct stretch {
    uint64_t segment;
    uint64_t from;
    uint64_t to;
};

/* Does a row lead there, as far as can be seen? */
static bool leads_there(struct index_txn *t, enum index_table table,
                        const struct stretch *s)
{
    struct index_walk row = {0};
    struct span value;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        /* Each of these rows begins with its place. */
        if (value.size >= 16 && get_u64(value.data) == s->segment &&
            get_u64(value.data + 8) >= s->from && get_u64(value.data + 8) < s->to)
            return true;
    }
    return err != ERR_NOT_FOUND;
}

/* Of other types no row tells whether they are needed still. */
static bool can_heal(uint8_t type)
{
    return type == RECORD_BLOCK || type == RECORD_END || type == RECORD_CHUNK ||
           type == RECORD_PART || type == RECORD_COMMIT;
}

/* The table of contents; *out is borrowed from the repack's view. False: it cannot be read.
 */
static bool read_toc(struct look *l, struct span *out, size_t *out_count)
{
    struct record_view *v = &l->repack->view;
    if (segment_read(&l->file, l->trailer.seal_offset, l->file.size, l->repack->codec, v) !=
        0)
        return false;
    *out = span_of(v->meta.data, v->meta.size);
    return toc_decode(*out, out_count) == 0;
}

/* By the table of contents: is it known what was there, and can all of it heal? */
static bool held_what_can_heal(struct look *l, const struct stretch *s)
{
    struct toc_entry e;
    struct span toc;
    size_t count = 0;
    bool known = false;
    if (!read_toc(l, &toc, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        toc_entry_at(toc, i, &e);
        if (e.offset < s->from || e.offset >= s->to)
            continue;
        if (!can_heal(e.type))
            return false;
        known |= e.offset == s->from;
    }
    return known;
}

/* Damaged records may be left behind if they are of those that the index leads to, and the
 * index leads elsewhere: what they held has healed. */
static bool damage_has_healed(struct look *l, const struct stretch *s)
{
    struct index_txn *t = NULL;
    if (!held_what_can_heal(l, s) || index_begin_read(l->repack->archive->index, &t) != 0)
        return false;
    bool healed = !leads_there(t, TABLE_MESSAGES, s) && !leads_there(t, TABLE_PARTS, s) &&
                  !leads_there(t, TABLE_CHUNKS, s);
    index_abort(t);
    return healed;
}

/* On to where the next record can be read. ERR_DAMAGED: what is passed over is needed. */
static int pass_damage(struct look *l)
{
    struct stretch s = {.segment = l->file.header.id, .from = l->offset};
    int err = segment_resync(&l->file, l->offset + 1, l->trailer.seal_offset, &l->offset);
    if (err == ERR_NOT_FOUND) /* damaged up to the seal */
        l->offset = l->trailer.seal_offset;
    else if (err != 0)
        return err;
    s.to = l->offset;
    return damage_has_healed(l, &s) ? 0 : ERR_DAMAGED;
}

/* The next record can be read, or need not be. ERR_DAMAGED: neither. */
static int look_at_record(struct look *l)
{
    struct repack *r = l->repack;
    int err = segment_read(&l->file, l->offset, l->trailer.seal_offset, r->codec, &r->view);
    if (err != 0)
        return err == ERR_DAMAGED ? pass_damage(l) : err;
    const struct stretch s = {
        .segment = l->file.header.id, .from = l->offset, .to = l->offset + 1};
    uint64_t size = record_size(&r->view.header);
    l->offset += size;
    l->records++;
    err = segment_read_body(&l->file, &r->view, NULL);
    if (err == ERR_DAMAGED)
        return damage_has_healed(l, &s) ? 0 : ERR_DAMAGED;
    return err != 0 ? err : repack_progress(r, size);
}

/* Can every record that counts be read? */
static int look_through(struct look *l, bool *out_sound)
{
    int err = segment_read_trailer(&l->file, &l->trailer);
    l->offset = SEGMENT_HEADER_SIZE;
    *out_sound = err == 0 && !l->file.header_damaged;
    while (err == 0 && *out_sound && l->offset < l->trailer.seal_offset)
        err = look_at_record(l);
    if (err != ERR_DAMAGED && err != ERR_VERSION && err != ERR_NOT_FOUND)
        return err;
    *out_sound = false;
    return 0;
}

/* 0; ERR_NOT_FOUND: it holds damage. */
static int take_source(struct repack *r, const struct repack_candidate *c)
{
    struct archive *a = r->archive;
    struct look look = {.repack = r};
    bool sound = false;
    int err = segment_open(a->ops, a->path, c->id, a->cask.uuid, &look.file);
    if (err != 0)
        return err == ERR_DAMAGED || err == ERR_VERSION ? ERR_NOT_FOUND : err;
    err = look_through(&look, &sound);
    segment_file_close(&look.file);
    if (err != 0 || !sound)
        return err != 0 ? err : ERR_NOT_FOUND;
    struct source_segment *s = &r->sources[r->sources_count];
    *s = (struct source_segment){.id = c->id, .size = c->size, .records = look.records};
    err = archive_segment_hash(a, c->id, s->hash);
    if (err != 0)
        return err;
    r->sources_count++;
    r->summary->bytes_before += c->size;
    return 0;
}

/* Sealed, not replaced, and what its header says. True: it is one. */
static bool is_candidate(struct repack *r, uint64_t id, struct repack_candidate *out)
{
    struct archive *a = r->archive;
    struct segment_file f;
    struct segment_row row = {0};
    struct index_txn *t = NULL;
    if (index_begin_read(a->index, &t) != 0)
        return false;
    bool whole =
        row_get_segment(t, id, &row) == 0 && row.sealed && !row_is_superseded(t, id);
    index_abort(t);
    if (!whole)
        return false;
    *out = (struct repack_candidate){.id = id, .size = row.indexed};
    /* One that does not open is damaged, and counted when it is looked through. */
    if (segment_open(a->ops, a->path, id, a->cask.uuid, &f) == 0) {
        out->packed = (f.header.compatible & SEGMENT_REPACKED) != 0;
        segment_file_close(&f);
    }
    return true;
}

/* A run of repacking ends with what it says of its sources, once its copies are proved. */
static bool ends_a_run(struct look *l)
{
    struct toc_entry e;
    struct span toc;
    size_t count = 0;
    if (segment_read_trailer(&l->file, &l->trailer) != 0 || !read_toc(l, &toc, &count) ||
        count == 0)
        return false;
    /* One that was copied has not the LSN of the newest record. */
    toc_entry_at(toc, count - 1, &e);
    return e.type == RECORD_SUPERSEDES && e.lsn == l->trailer.last_lsn;
}

/* 0: it ends a run; ERR_NOT_FOUND: it does not, and every record that counts can be read;
 * ERR_DAMAGED: not every one. */
static int look_at_earlier(struct repack *r, uint64_t id)
{
    const struct archive *a = r->archive;
    struct look look = {.repack = r};
    bool sound = false;
    int err = segment_open(a->ops, a->path, id, a->cask.uuid, &look.file);
    if (err != 0)
        return err == ERR_NOT_FOUND || err == ERR_VERSION ? ERR_DAMAGED : err;
    if (!ends_a_run(&look)) {
        (void)a->ops->evict(a->ops->ctx, look.file.fd, 0, 0);
        err = look_through(&look, &sound);
        if (err == 0)
            err = sound ? ERR_NOT_FOUND : ERR_DAMAGED;
    }
    segment_file_close(&look.file);
    return err;
}

/* Segments of runs that were stopped or killed: nobody has read back yet what was copied
 * into them, and what it was copied from goes with this run. Those that become sources are
 * copied once more. */
static int find_unproven(struct repack *r, const uint64_t *ids, size_t count)
{
    struct repack_candidate c;
    int err = ERR_NOT_FOUND;
    for (size_t i = count; err == ERR_NOT_FOUND && i-- > 0;) {
        if (repack_is_source(r, ids[i]) || !is_candidate(r, ids[i], &c) || !c.packed)
            continue;
        err = look_at_earlier(r, ids[i]);
        if (err == ERR_NOT_FOUND)
            buffer_put_u64(&r->unproven, ids[i]);
    }
    if (err == 0 || err == ERR_NOT_FOUND)
        err = r->unproven.failed ? -ENOMEM : 0;
    return err;
}

/* The work is done four times over: looking, copying, checking copies and messages. */
#define REPACK_PHASES 4u

static int take_chosen(struct repack *r, const struct repack_candidate *candidates,
                       size_t count, size_t chosen)
{
    uint64_t bytes = 0;
    int err = 0;
    for (size_t i = 0; i < count; i++)
        bytes += candidates[i].chosen ? candidates[i].size : 0;
    r->total_bytes = bytes * REPACK_PHASES;
    if (r->options->begin != NULL && chosen > 0)
        r->options->begin(r->options->arg, chosen, bytes);
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = candidates[i].chosen ? take_source(r, &candidates[i]) : 0;
        if (err == ERR_NOT_FOUND) {
            r->summary->segments_skipped++;
            err = 0;
        }
    }
    return err;
}

int repack_look(struct repack *r)
{
    struct repack_candidate *candidates = NULL;
    uint64_t *ids = NULL;
    size_t listed = 0, count = 0;
    int err = segment_list(r->archive->path, &ids, &listed);
    if (err != 0)
        return err;
    candidates = calloc(listed + 1, sizeof(*candidates));
    r->sources = calloc(listed + 1, sizeof(*r->sources));
    if (candidates == NULL || r->sources == NULL)
        err = -ENOMEM;
    for (size_t i = 0; err == 0 && i < listed; i++)
        count += is_candidate(r, ids[i], &candidates[count]);
    if (err == 0) {
        size_t chosen = repack_choose(candidates, count, r->options->in_passing);
        err = take_chosen(r, candidates, count, chosen);
    }
    if (err == 0 && r->sources_count > 0)
        err = find_unproven(r, ids, listed);
    free(candidates);
    free(ids);
    return err;
}
