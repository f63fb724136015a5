#include "archive/error.h"
#include "archive/repack_choice.h"
#include "archive/repack_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Does a row lead to this very place, as far as can be seen? */
static bool leads_here(struct index_txn *t, enum index_table table,
                       const struct place *place)
{
    struct index_walk row = {0};
    struct span value;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        /* Each of these rows begins with its place. */
        if (value.size >= 16 && get_u64(value.data) == place->segment &&
            get_u64(value.data + 8) == place->offset)
            return true;
    }
    return err != ERR_NOT_FOUND;
}

/* What the table of contents says is at this place; 0: nothing, or it cannot be read. */
static uint8_t type_by_toc(struct repack *r, struct segment_file *f,
                           const struct segment_trailer *trailer, uint64_t offset)
{
    struct toc_entry e;
    size_t count = 0;
    if (segment_read(f, trailer->seal_offset, f->size, r->codec, &r->view) != 0 ||
        toc_decode(span_of(r->view.meta.data, r->view.meta.size), &count) != 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        toc_entry_at(span_of(r->view.meta.data, r->view.meta.size), i, &e);
        if (e.offset == offset)
            return e.type;
    }
    return 0;
}

/* A damaged record may be left behind if it is one of those that the index leads to, and
 * the index leads elsewhere: what it held has healed. */
static bool damage_has_healed(struct repack *r, struct segment_file *f,
                              const struct segment_trailer *trailer, uint64_t offset)
{
    const struct place place = {.segment = f->header.id, .offset = offset};
    struct index_txn *t = NULL;
    uint8_t type = type_by_toc(r, f, trailer, offset);
    if (type != RECORD_BLOCK && type != RECORD_END && type != RECORD_CHUNK &&
        type != RECORD_PART && type != RECORD_COMMIT)
        return false;
    if (index_begin_read(r->archive->index, &t) != 0)
        return false;
    bool healed = !leads_here(t, TABLE_MESSAGES, &place) &&
                  !leads_here(t, TABLE_PARTS, &place) &&
                  !leads_here(t, TABLE_CHUNKS, &place);
    index_abort(t);
    return healed;
}

/* The next record behind *offset can be read, or need not be. ERR_DAMAGED: neither. */
static int look_at_record(struct repack *r, struct segment_file *f,
                          const struct segment_trailer *trailer, uint64_t *offset)
{
    uint64_t at = *offset;
    int err = segment_read(f, at, trailer->seal_offset, r->codec, &r->view);
    bool readable = err == 0; /* header and meta */
    uint64_t size = readable ? record_size(&r->view.header) : 0;
    if (readable)
        err = segment_read_body(f, &r->view, NULL);
    *offset = at + size;
    if (err != ERR_DAMAGED)
        return err != 0 ? err : repack_progress(r, size);
    if (!damage_has_healed(r, f, trailer, at))
        return ERR_DAMAGED;
    err = readable ? 0 : segment_resync(f, at + 1, trailer->seal_offset, offset);
    if (err == ERR_NOT_FOUND) { /* damaged up to the seal */
        *offset = trailer->seal_offset;
        err = 0;
    }
    return err;
}

/* Can every record that counts be read? */
static int look_through(struct repack *r, struct segment_file *f, bool *out_sound)
{
    struct segment_trailer trailer;
    int err = segment_read_trailer(f, &trailer);
    uint64_t offset = SEGMENT_HEADER_SIZE;
    *out_sound = err == 0 && !f->header_damaged;
    while (err == 0 && *out_sound && offset < trailer.seal_offset)
        err = look_at_record(r, f, &trailer, &offset);
    if (err != ERR_DAMAGED && err != ERR_VERSION && err != ERR_NOT_FOUND)
        return err;
    *out_sound = false;
    return 0;
}

/* 0; ERR_NOT_FOUND: it holds damage. */
static int take_source(struct repack *r, const struct repack_candidate *c)
{
    struct archive *a = r->archive;
    struct segment_file f;
    bool sound = false;
    int err = segment_open(a->ops, a->path, c->id, a->cask.uuid, &f);
    if (err != 0)
        return err == ERR_DAMAGED || err == ERR_VERSION ? ERR_NOT_FOUND : err;
    err = look_through(r, &f, &sound);
    segment_file_close(&f);
    if (err != 0 || !sound)
        return err != 0 ? err : ERR_NOT_FOUND;
    struct source_segment *s = &r->sources[r->sources_count++];
    *s = (struct source_segment){.id = c->id, .size = c->size};
    archive_segment_hash(a, c->id, s->hash);
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

/* The work is done three times over: looking, copying, checking. */
#define REPACK_PHASES 3u

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
    free(candidates);
    free(ids);
    return err;
}
