#include "archive/error.h"
#include "archive/repack_internal.h"

/* Does a table still lead into a source? Then something was not copied. */
static int check_table(struct repack *r, struct index_txn *t, enum index_table table)
{
    struct index_walk row = {0};
    struct span value;
    int err;
    while ((err = index_walk(t, table, &row, &value)) == 0) {
        uint8_t name[SHA256_SIZE] = {0};
        bool nameable = true;
        if (table == TABLE_PARTS)
            memcpy(name, row.key, SHA256_SIZE);
        else if (table == TABLE_CHUNKS)
            memcpy(name, row.key, STREAM_ID_SIZE);
        else
            nameable = false;
        /* Each of these rows begins with its place. */
        if (value.size >= 8 && repack_is_source(r, get_u64(value.data)) &&
            !(nameable && repack_is_garbage(r, name)))
            return ERR_DAMAGED;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* With an error nothing may go. */
static int check_left(struct repack *r)
{
    static const enum index_table tables[] = {TABLE_MESSAGES, TABLE_LEDGER, TABLE_PARTS,
                                              TABLE_CHUNKS};
    struct index_txn *t = NULL;
    int err = index_begin_read(r->archive->index, &t);
    for (size_t i = 0; err == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
        err = check_table(r, t, tables[i]);
    index_abort(t);
    return err;
}

static int ignore(void *arg, const uint8_t *data, size_t size)
{
    (void)arg;
    (void)data;
    (void)size;
    return 0;
}

static bool holds_copies(const struct repack *r, uint64_t segment)
{
    return repack_lists(&r->made, segment) || repack_lists(&r->unproven, segment);
}

/* Every record as it was written: parts also that no copied message names. */
static int check_records(struct repack *r, struct segment_file *f)
{
    struct segment_trailer trailer;
    uint64_t offset = SEGMENT_HEADER_SIZE;
    int err = segment_read_trailer(f, &trailer);
    uint64_t end = err == 0 ? trailer.seal_offset : f->size;
    if (err == ERR_NOT_FOUND) /* it is still open */
        err = 0;
    while (err == 0 && offset < end) {
        err = segment_read(f, offset, end, r->codec, &r->view);
        if (err == 0)
            err = segment_read_body(f, &r->view, NULL);
        offset += record_size(&r->view.header);
        if (err == 0)
            err = repack_progress(r, record_size(&r->view.header));
    }
    return err;
}

/* What the page cache has is no proof of what the disk has: it is asked to let go. */
static int check_segments(struct repack *r)
{
    struct archive *a = r->archive;
    struct segment_file f;
    int err = 0;
    for (size_t i = 0; err == 0 && i < r->made.size; i += sizeof(uint64_t)) {
        err = segment_open(a->ops, a->path, get_u64(r->made.data + i), a->cask.uuid, &f);
        if (err != 0)
            break;
        (void)a->ops->evict(a->ops->ctx, f.fd, 0, 0);
        err = check_records(r, &f);
        segment_file_close(&f);
    }
    return err == ERR_NOT_FOUND || err == ERR_VERSION ? ERR_DAMAGED : err;
}

/* The account's next message behind *n that this run, or one before it, has copied. */
static int next_copied(struct repack *r, uint32_t account, uint64_t *n,
                       struct message_row *row)
{
    struct index_txn *t = NULL;
    int err = index_begin_read(r->archive->index, &t);
    if (err != 0)
        return err;
    do {
        ++*n;
        err = row_next_message(t, account, n, row);
    } while (err == 0 && !holds_copies(r, row->place.segment));
    index_abort(t);
    return err;
}

static int check_account(void *arg, const struct account_info *info)
{
    struct repack *r = arg;
    struct message_row row;
    uint64_t n = 0;
    int err;
    while ((err = next_copied(r, info->number, &n, &row)) == 0) {
        err = reader_body(r->reader, info->number, n, ignore, NULL);
        if (err == 0)
            err = repack_progress(r, row.size);
        if (err != 0)
            return err;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int repack_check(struct repack *r)
{
    int err = check_left(r);
    if (err == 0)
        err = check_segments(r);
    return err != 0 ? err : archive_each_account(r->archive, check_account, r);
}
