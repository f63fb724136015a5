/* Reading an account's ledger (archive.h). */
#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/segment.h"

#include <errno.h>

struct ledger_walk {
    struct archive *archive;
    uint32_t account;
    unsigned types;
    uint64_t lsn;
    struct ledger_row row;
    struct segment_file file; /* of the entry read last; fd -1: none */
    struct record_view view;
    struct record_view pack; /* that holds it */
    struct codec *codec;
    struct buffer source; /* the entry's source, encoded: its spans borrow from here */
};

/* The next row, copied out of the index: no transaction is open while a segment is read. */
static int next_row(struct ledger_walk *w)
{
    struct index_txn *t = NULL;
    int err =
        w->archive->index == NULL ? ERR_NO_INDEX : index_begin_read(w->archive->index, &t);
    if (err != 0)
        return err;
    do {
        w->lsn++;
        err = row_next_ledger(t, w->account, &w->lsn, &w->row);
    } while (err == 0 && (w->types & LEDGER_TYPE(w->row.type)) == 0);
    index_abort(t);
    return err;
}

static void find_source(struct ledger_walk *w, uint32_t number, struct source_meta *out)
{
    struct index_txn *t = NULL;
    struct source_meta found;
    *out = (struct source_meta){0};
    buffer_clear(&w->source);
    if (index_begin_read(w->archive->index, &t) != 0)
        return;
    if (row_get_source(t, w->account, number, &found) == 0)
        source_meta_encode(&w->source, &found);
    index_abort(t);
    if (w->source.size > 0)
        source_meta_decode(span_of(w->source.data, w->source.size), out);
}

static int read_entry(struct ledger_walk *w)
{
    struct archive *a = w->archive;
    if (w->file.fd >= 0 && w->file.header.id != w->row.place.segment)
        segment_file_close(&w->file);
    if (w->file.fd < 0) {
        int err =
            segment_open(a->ops, a->path, w->row.place.segment, a->cask.uuid, &w->file);
        if (err != 0)
            return err;
    }
    struct stat st;
    if (a->ops->fstat(a->ops->ctx, w->file.fd, &st) == 0) /* it may be the open one */
        w->file.size = (uint64_t)st.st_size;
    int err = segment_read(&w->file, w->row.place.offset, w->file.size, w->codec, &w->view);
    if (err != 0 || w->view.header.type != RECORD_PACK)
        return err;
    struct record_view pack = w->view;
    w->view = w->pack;
    w->pack = pack;
    struct span rest = span_of(w->pack.meta.data, w->pack.meta.size);
    for (uint32_t i = 0; err == 0 && i <= w->row.ordinal; i++)
        err = record_view_unpack(&w->pack, &rest, &w->view);
    return err;
}

/* *out_source: 0 where the entry names none. */
static int decode_meta(struct span meta, struct ledger_entry *e, uint32_t *out_source)
{
    int err = ERR_DAMAGED;
    *out_source = 0;
    switch (e->type) {
    case RECORD_SESSION:
        err = session_meta_decode(meta, &e->session);
        *out_source = e->session.source;
        break;
    case RECORD_SESSION_RUN:
    case RECORD_UNLISTED_RUN:
        err = session_run_meta_decode(meta, &e->run);
        *out_source = e->run.source;
        break;
    case RECORD_DELETE_INTENT:
        err = intents_open(&e->intents, meta);
        *out_source = e->intents.source;
        break;
    case RECORD_DELETE_OUTCOME:
        err = outcome_meta_decode(meta, &e->outcome);
        *out_source = e->outcome.source;
        break;
    case RECORD_SEEN:
        err = seen_meta_decode(meta, &e->seen);
        *out_source = e->seen.source;
        break;
    case RECORD_QUARANTINE:
        err = quarantine_meta_decode(meta, &e->quarantine);
        *out_source = e->quarantine.source;
        break;
    case RECORD_LOST:
        err = lost_meta_decode(meta, &e->lost);
        break;
    case RECORD_ACCESS:
        err = access_meta_decode(meta, &e->access);
        break;
    default:
        break;
    }
    return err;
}

static int decode_entry(struct ledger_walk *w, struct ledger_entry *e)
{
    uint32_t source = 0;
    e->type = w->view.header.type;
    int err = decode_meta(span_of(w->view.meta.data, w->view.meta.size), e, &source);
    if (err != 0)
        return err;
    e->time_us = w->view.header.time_us;
    find_source(w, source, &e->source);
    return 0;
}

int archive_each_entry_of(struct archive *a, uint32_t account, unsigned types,
                          int (*each)(void *arg, const struct ledger_entry *e), void *arg)
{
    struct ledger_walk w = {
        .archive = a, .account = account, .types = types, .file = {.fd = -1}};
    int err = (w.codec = codec_create()) == NULL ? -ENOMEM : 0;
    while (err == 0 && (err = next_row(&w)) == 0) {
        struct ledger_entry e = {.lsn = w.lsn};
        if (read_entry(&w) != 0 || decode_entry(&w, &e) != 0)
            e = (struct ledger_entry){.lsn = w.lsn};
        err = each(arg, &e);
    }
    segment_file_close(&w.file);
    record_view_free(&w.view);
    record_view_free(&w.pack);
    buffer_free(&w.source);
    codec_destroy(w.codec);
    return err == ERR_NOT_FOUND ? 0 : err;
}

int archive_each_ledger_entry(struct archive *a, uint32_t account,
                              int (*each)(void *arg, const struct ledger_entry *e),
                              void *arg)
{
    return archive_each_entry_of(a, account, LEDGER_TYPES, each, arg);
}
