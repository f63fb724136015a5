/* Messages with attachments: checked when every PART of the archive has been seen, since a
 * damaged one may have a sound copy behind the messages that name it. */
#include "archive/assemble.h"
#include "archive/error.h"
#include "archive/part_cache.h"
#include "archive/verify_internal.h"

#include <errno.h>

static const struct seen_part *find_part(const struct verifier *v, const uint8_t *sha256)
{
    return hash_set_get(&v->parts, sha256);
}

void verify_note_part(struct verifier *v, const struct place *place, bool sound)
{
    const uint8_t *sha256 = NULL;
    uint8_t hash[SHA256_SIZE];
    if (part_meta_decode(span_of(v->view.meta.data, v->view.meta.size), &sha256) != 0)
        return;
    if (sound && !v->options->quick) {
        sha256_start(v->hash);
        sha256_add(v->hash, v->view.body.data, v->view.body.size);
        sha256_finish(v->hash, hash);
        sound = memcmp(hash, sha256, SHA256_SIZE) == 0;
    }
    struct seen_part *part = hash_set_put(&v->parts, sha256);
    if (part == NULL) {
        v->err = -ENOMEM;
        return;
    }
    if (part->sound && !sound)
        return;
    part->place = *place;
    part->size = (uint32_t)v->view.header.body_raw_size;
    part->sound = sound;
}

void verify_defer(struct verifier *v, const struct place *place,
                  const struct message_meta *m, uint32_t ordinal, struct buffer *chunks)
{
    const struct deferred d = {.place = *place,
                               .account = v->view.header.account,
                               .n = m->n,
                               .ordinal = ordinal,
                               .size = m->size,
                               .chunks = chunks == NULL ? (struct buffer){0} : *chunks};
    buffer_put(&v->deferred, &d, sizeof(d));
    v->deferred_bytes += m->size;
    if (v->deferred.failed)
        v->err = -ENOMEM;
    else if (chunks != NULL)
        *chunks = (struct buffer){0};
}

/* Does the index lead to a damaged copy? That is the one which is read, whatever others
 * there are. */
static bool leads_to_damage(struct verifier *v, const uint8_t *sha256)
{
    struct part_row row;
    struct bad_record bad;
    if (v->bad.size == 0 || v->txn == NULL || index_renew(v->txn) != 0)
        return false;
    int err = row_get_part(v->txn, sha256, &row);
    index_reset(v->txn);
    for (size_t i = 0; err == 0 && i < v->bad.size; i += sizeof(bad)) {
        memcpy(&bad, v->bad.data + i, sizeof(bad));
        if (bad.segment == row.place.segment &&
            (bad.offset == 0 || bad.offset == row.place.offset))
            return true;
    }
    return false;
}

/* With --quick a copy that does not decode passes for a sound one, and may stand for it:
 * what it says of its size is no evidence then. */
static bool is_sound(const struct verifier *v, const struct seen_part *part, uint64_t size)
{
    return part != NULL && part->sound && (v->options->quick || part->size == size);
}

/* Every part that the message names is there, sound and as long as it should be? Those that
 * are not join the list of damaged parts. */
static bool parts_sound(struct verifier *v, struct span runs)
{
    struct run_meta run;
    bool sound = true;
    while (run_meta_next(&runs, &run) == 0)
        for (uint64_t i = 0; i < run_part_count(&run.run); i++) {
            const uint8_t *sha256 = run.parts + i * SHA256_SIZE;
            const struct seen_part *part = find_part(v, sha256);
            if (is_sound(v, part, run_part_size(&run.run, i)) &&
                !leads_to_damage(v, sha256))
                continue;
            sound = false;
            verify_damaged_part(v, sha256);
        }
    return sound;
}

static int segment_of(struct verifier *v, uint64_t id)
{
    if (v->deferred_open && v->deferred_file.header.id == id)
        return 0;
    if (v->deferred_open)
        segment_file_close(&v->deferred_file);
    v->deferred_open = false;
    int err = segment_open(&v->salvage.ops, v->archive->path, id, v->archive->cask.uuid,
                           &v->deferred_file);
    v->deferred_open = err == 0;
    return err;
}

static int read_at(struct verifier *v, const struct place *place, struct record_view *view)
{
    int err = segment_of(v, place->segment);
    if (err == 0)
        err = segment_read(&v->deferred_file, place->offset, v->deferred_file.size,
                           v->codec, view);
    if (err == 0)
        err = segment_read_body(&v->deferred_file, view, v->codec);
    return err;
}

static int find_place(void *arg, const uint8_t sha256[SHA256_SIZE], struct place *out)
{
    const struct verifier *v = arg;
    const struct seen_part *part = find_part(v, sha256);
    if (part == NULL)
        return ERR_NOT_FOUND;
    *out = part->place;
    return 0;
}

static int read_part(void *arg, const struct place *place, struct record_view *view)
{
    return read_at(arg, place, view);
}

static int give_chunks(struct verifier *v, const struct deferred *d, struct assembly *as)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < d->chunks.size; i += sizeof(struct place)) {
        struct place place;
        memcpy(&place, d->chunks.data + i, sizeof(place));
        err = read_at(v, &place, &v->chunk_view);
        if (err == 0)
            err = assemble_own(as, v->chunk_view.body.data, v->chunk_view.body.size);
    }
    return err;
}

static bool hash_sound(struct verifier *v, struct part_cache *cache,
                       const struct deferred *d, const struct message_meta *m)
{
    const struct part_source source = {.get = part_cache_get, .arg = cache};
    struct assembly as;
    struct span own;
    uint64_t encoded = 0, decoded = 0;
    if (run_meta_total(m->runs, &encoded, &decoded) != 0 || encoded > m->size ||
        assemble_start(&as, m, &source, v->hash, NULL, NULL) != 0)
        return false;
    int err;
    if (m->kind == BODY_STREAM)
        err = give_chunks(v, d, &as);
    else if (record_view_slice(&v->view, m->place, m->size - encoded, &own))
        err = assemble_own(&as, own.data, own.size);
    else
        err = ERR_DAMAGED;
    return err == 0 && assemble_end(&as) == 0;
}

static int load_record(struct verifier *v, const struct place *place)
{
    int err = read_at(v, place, &v->view);
    if (err == 0)
        err = block_meta_open(&v->deferred_metas,
                              span_of(v->view.meta.data, v->view.meta.size));
    if (err == 0)
        v->deferred_place = *place;
    return err;
}

static bool load_message(struct verifier *v, const struct deferred *d,
                         struct message_meta *m)
{
    int err = 0;
    /* Messages of a block are deferred in order: it is read once, and so are its metas. */
    if (v->deferred_place.segment != d->place.segment ||
        v->deferred_place.offset != d->place.offset ||
        v->deferred_metas.next > d->ordinal) {
        v->deferred_place.segment = 0;
        err = load_record(v, &d->place);
    }
    while (err == 0 && v->deferred_metas.next <= d->ordinal)
        err = block_meta_next(&v->deferred_metas, m);
    if (err != 0)
        v->deferred_place.segment = 0;
    return err == 0 && m->n == d->n;
}

static void check_deferred(struct verifier *v, struct part_cache *cache,
                           const struct deferred *d)
{
    struct message_meta m;
    if (!load_message(v, d, &m))
        return;
    if (!parts_sound(v, m.runs) || (!v->options->quick && !hash_sound(v, cache, d, &m))) {
        v->attachments_hurt++;
        return;
    }
    struct checked_account *account = verify_account(v, d->account);
    if (account != NULL)
        verify_set_bit(v, &account->valid, d->n);
    verify_message_row(v, d->account, &m, &d->place, d->ordinal);
}

int verify_attachments(struct verifier *v)
{
    const struct part_reader reader = {.find = find_place, .read = read_part, .arg = v};
    struct part_cache *cache = part_cache_create(&reader);
    if (cache == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < v->deferred.size && v->err == 0; i += sizeof(struct deferred)) {
        struct deferred d;
        memcpy(&d, v->deferred.data + i, sizeof(d));
        check_deferred(v, cache, &d);
        v->again_bytes += d.size;
        verify_progress(v);
    }
    part_cache_destroy(cache);
    if (v->deferred_open)
        segment_file_close(&v->deferred_file);
    v->deferred_open = false;
    return v->err;
}

void verify_free_parts(struct verifier *v)
{
    for (size_t i = 0; i < v->deferred.size; i += sizeof(struct deferred)) {
        struct deferred d;
        memcpy(&d, v->deferred.data + i, sizeof(d));
        buffer_free(&d.chunks);
    }
    buffer_free(&v->deferred);
    buffer_free(&v->damaged_parts);
    record_view_free(&v->chunk_view);
    hash_set_free(&v->parts);
}
